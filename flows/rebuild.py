"""Rebuild a lost snapshot: send every current event once more, complete and additive, delete nothing, and list what may be left over.

essentry knows most of what is sent by its sourceId, so for it this is an update. Guests without a key in their source are another matter: their
ids rest on the salt of the lost state. They get new ids, which essentry has never seen, and are invited again; a backup of the state, however
old, has the salt, so restoring one is better than rebuilding.
"""

from __future__ import annotations

from dataclasses import dataclass

from flows import nightly
from flows.plan import Planned
from schemas.config import Config
from schemas.errors import StateError
from transforms.policy import digest_policy


@dataclass(frozen=True)
class Rebuild:
    """What a rebuild would send. `renumbered`: guests whose invitations get new ids, and who are invited again."""

    plan_id: str
    events: int
    invitations: int
    people: int
    renumbered: int


def plan_rebuild(config: Config) -> Rebuild:
    """Make and store the plan; it waits for an approval. Raises StateError when the snapshot is not lost."""
    with nightly.open_session(additive(config), kind="plan") as session:
        if len(session.state.read_fingerprints()):
            raise StateError(
                f"the state store {session.state.label} still knows events: there is nothing to rebuild; `essentry-sync sync --full` sends all again"
            )
        planned = nightly.plan(session, *nightly.extract(session))
        nightly.finish(session)
    return _count(planned)


def _count(planned: Planned) -> Rebuild:
    sent = planned.diff.changes["source_id"]
    guests = planned.desired.invitations[planned.desired.invitations["source_id"].isin(sent)]
    numbered = guests["invitation_id"].str.contains(r"-~g\d+$", regex=True).fillna(False)
    return Rebuild(planned.plan_id, len(sent), len(guests), guests["identity"].nunique(), guests.loc[numbered, "identity"].nunique())


def additive(config: Config) -> Config:
    """The configuration with additive guest lists: a rebuild takes nobody off a list."""
    return config.model_copy(update={"essentry": config.essentry.model_copy(update={"guest_list": "additive"})})


def apply_rebuild(config: Config, plan_id: str) -> nightly.Result:
    """Send the plan; afterwards diffing goes on under the configuration as it is."""
    result = nightly.run_apply(additive(config), plan_id)
    with nightly.open_state(config) as state:
        state.save_policy(*digest_policy(config))
    return result
