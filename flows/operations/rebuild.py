"""Rebuild a lost snapshot: send every current event once more, complete and additive, delete
nothing, and list what may be left over.

essentry knows most of what is sent by its sourceId, so for it this is an update. Guests without a
key in their source are another matter, and so is everybody where seals have no secret of their own:
their ids rest on the salt of the lost state. They get new ids, which essentry has never seen, and
are invited again; a backup of the state, however old, has the salt, so restoring one is better than
rebuilding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.pages import PAGE_ROWS
from flows.night.plan import Planned
from flows.night.session import Result, open_session, open_state
from flows.sources.contents import find_contents
from flows.sources.presets import complete_config
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SourceError, StateError
from transforms.desired.payload import list_guests, name_person
from transforms.guards.policy import digest_policy

_NUMBERED = re.compile(r"-~g\d+(?:~s[a-z2-7]{16})?$")


@dataclass(frozen=True)
class Rebuild:
    """What a rebuild would send. `renumbered`: guests whose invitations get new ids, and who are
    invited again; `sealed`: by what all ids are sealed, the state's `salt` or a `secret`, or empty.
    """

    plan_id: str
    events: int
    invitations: int
    people: int
    renumbered: int
    sealed: str = ""


def plan_rebuild(config: Config) -> Rebuild:
    """Make and store the plan; it waits for an approval. Raises StateError when the snapshot is not
    lost, SourceError when a source cannot be read: which meetings it has in common with others, and
    by which ids they go, nothing else tells.
    """
    with open_session(additive(config), kind="plan") as session:
        if len(session.state.read_fingerprints()):
            raise StateError(
                f"the state store {session.state.label} still knows events: "
                "there is nothing to rebuild; `essentry-sync sync --full` sends all again"
            )
        extracted, failed = nightly.extract(session)
        if failed:
            raise SourceError(
                f"{'; '.join(failed.values())}: nothing is rebuilt without a look at every source, "
                "for a meeting that two of them have in common could be invited again under "
                "another id; mend the source and run `essentry-sync rebuild` again"
            )
        planned = nightly.plan(session, extracted, failed)
        finish(session)
        return _count(session.config, session.state, planned)


def _count(config: Config, state: State, planned: Planned) -> Rebuild:
    """What the stored plan sends; its payloads are read a page at a time."""
    renumbered: set[str] = set()
    sealed = ""
    if config.essentry.invitation_ids == "sealed":
        sealed = "secret" if config.essentry.invitation_secret_env else "salt"
    for first in range(1, len(planned.diff.changes) + 1, PAGE_ROWS):
        for text in state.read_page(planned.plan_id, first, first + PAGE_ROWS - 1)["body"]:
            renumbered |= {
                name_person(guest)
                for key, guest in list_guests(orjson.loads(text)).items()
                if sealed == "salt" or _NUMBERED.search(key)
            }
    mails = planned.diff.mails["identity"]
    return Rebuild(
        planned.plan_id,
        len(planned.diff.changes),
        len(mails),
        mails.nunique(),
        len(renumbered),
        sealed,
    )


def additive(config: Config) -> Config:
    """The configuration with additive guest lists: a rebuild takes nobody off a list."""
    return config.model_copy(
        update={"essentry": config.essentry.model_copy(update={"guest_list": "additive"})}
    )


def apply_rebuild(config: Config, plan_id: str) -> Result:
    """Send the plan; afterwards diffing goes on under the configuration as it is."""
    result = nightly.run_apply(additive(config), plan_id)
    with open_state(config) as state:
        state.save_policy(*digest_policy(find_contents(complete_config(config))))
    return result
