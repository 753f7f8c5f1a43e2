"""What is known of essentry before a comparison, and the numbers of guests without a key of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import pandas as pd

from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.load_config import read_secret
from transforms.arrow.columns import Mask, find_positions, is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import list_guests
from transforms.diff.changes import Known
from transforms.diff.unions import list_sources, read_members
from transforms.naming.guest_numbers import digest_guest_keys, find_older_digests
from transforms.naming.naming import Naming, name_by


def number_guests(
    state: State, keyless: Sequence[Mapping[str, Sequence[str]]]
) -> dict[str, dict[str, int]]:
    """Numbers for guests without a key of their own, of all partitions; new ones are kept in the
    state store, so that a plan's ids hold.

    keyless: source → texts, of each partition. Returns source → text → number.
    """
    texts: dict[str, set[str]] = {}
    for part in keyless:
        for source, found in part.items():
            texts.setdefault(source, set()).update(found)
    numbers: dict[str, dict[str, int]] = {}
    for name, some in texts.items():
        ordered = sorted(some)
        digests = digest_guest_keys(ordered, state.salt())
        known = state.guest_numbers(
            name, digests, older=find_older_digests(ordered, digests, state.salt())
        )
        numbers[name] = {text: known[digest] for text, digest in zip(ordered, digests, strict=True)}
    return numbers


def read_seal(config: Config, state: State) -> str | None:
    """The secret of the seals of invitations; none when they are not sealed. Raises
    ConfigurationError when its variable is not set.
    """
    settings = config.essentry
    if settings.invitation_ids != "sealed":
        return None
    if settings.invitation_secret_env:
        return read_secret(
            settings.invitation_secret_env, purpose="the secret of the seals of invitations"
        )
    return state.salt()


def _pick_numbers(
    numbers: Mapping[str, Mapping[str, int]], keyless: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, int]]:
    return {
        source: {text: numbers[source][text] for text in texts} for source, texts in keyless.items()
    }


def check_sources(config: Config, snapshot: pd.DataFrame, naming: Naming | None = None) -> None:
    """S15: a source that essentry has events of, or guests in another source's meeting, may not
    just leave the configuration.

    naming: with ids that were taken over. Raises ConfigurationError.
    """
    active = pick_rows(
        snapshot[["source_id", "source", "state", "members_json"]],
        (snapshot["state"] == "active").to_numpy(dtype=bool),
    )
    missing = set(active["source"].unique()) - set(config.sources)
    united, naming = (
        pick_rows(active, active["members_json"].notna().to_numpy(dtype=bool)),
        naming or name_by(config),
    )
    # few
    for source_id, source, members in united[["source_id", "source", "members_json"]].itertuples(
        index=False, name=None
    ):
        missing |= {
            name
            for name in list_sources(source_id, source, members, naming)
            if name not in config.sources
        }
    for name in sorted(missing):
        raise ConfigurationError(
            f"the state holds events of the source {name!r}, which the configuration does not "
            "name: put it back, "
            f'or give its new name id_prefix = "{name}" and run `essentry-sync rename {name} NEW` '
            "(the ids stay, nobody is mailed), "
            f"or `essentry-sync retire {name}` (its events stay in essentry as they are)"
        )


def were_sent(snapshot: pd.DataFrame) -> Mask:
    """True for the events of the snapshot that were ever sent: those that were taken over were
    not.
    """
    return ((snapshot["fingerprint_version"] > 0) | snapshot["dirty"]).to_numpy(
        dtype=bool, na_value=False
    )


def load_known(state: State) -> Known:
    """What is known of essentry: the snapshot, and on top of it every request whose outcome is
    unknown (S8).
    """
    snapshot = state.read_fingerprints()
    intents = state.open_intents()
    unanswered: dict[str, dict[str, dict]] = {}
    removals: dict[str, set[str]] = {}
    latest: dict[str, dict] = {}
    sent: dict[str, list[dict]] = {}
    perhaps_deleted: dict[str, str] = {}
    for intent in intents.to_dict("records"):
        guests = unanswered.setdefault(intent["source_id"], {})
        for text in (intent["after"], intent["body"]):
            if isinstance(text, str):
                for key, guest in list_guests(orjson.loads(text)).items():
                    if "deletedAt" in guest:
                        removals.setdefault(intent["source_id"], set()).add(key)
                    else:
                        guests.setdefault(key, guest)
        if isinstance(intent["after"], str):
            sent.setdefault(intent["source_id"], []).append(orjson.loads(intent["after"]))
        latest[intent["source_id"]] = intent
        if intent["action"] == "delete":
            perhaps_deleted[intent["source_id"]] = intent["reason"]
    snapshot = _join_unanswered(
        snapshot.assign(dirty=is_among(snapshot["source_id"], list(latest))), intents
    )
    asked = snapshot[snapshot["dirty"]]  # few
    active = set(asked.loc[asked["state"] == "active", "source_id"])
    lost = [row for key, row in latest.items() if key not in active and row["action"] != "expire"]
    ghosts = {row["source_id"] for row in lost}
    if lost:
        rows = pd.DataFrame(lost).reindex(columns=snapshot.columns)
        # an event that was deleted or over before: a plan is judged stale by it
        trace = asked.set_index("source_id")
        rows = rows.assign(
            **{name: rows["source_id"].map(trace[name]) for name in ("fingerprint",
                "confirmed_run")},
            fingerprint_version=0, state="active", absent_runs=0, dirty=True, guests=0,
        )  # fmt: skip
        snapshot = pd.concat(
            [
                snapshot[~is_among(snapshot["source_id"], ghosts)],
                rows.astype(snapshot.dtypes.to_dict()),
            ],
            ignore_index=True,
        )

    def payloads(ids: list[str]) -> dict[str, str]:
        stored = dict(state.read_payloads([key for key in ids if key not in ghosts]))
        return stored | {key: "{}" for key in ids if key in ghosts}

    def former(source_id: str) -> list[dict]:
        return [orjson.loads(text) for text in state.read_sent(source_id)]

    return Known(
        snapshot,
        payloads,
        unanswered,
        state.rejections(),
        removals,
        state.list_own_deletes(),
        sent,
        former,
        perhaps_deleted,
    )


def _join_unanswered(snapshot: pd.DataFrame, intents: pd.DataFrame) -> pd.DataFrame:
    """The snapshot with the records of a united meeting that an unanswered request may have put
    into it.
    """
    asked = intents[intents["members_json"].notna() & (intents["action"] == "update")]
    if asked.empty:
        return snapshot
    members = snapshot["members_json"].astype("object")
    # few
    for place, text in zip(
        find_positions(asked["source_id"], snapshot["source_id"]),
        asked["members_json"],
        strict=True,
    ):
        if place >= 0:
            united = {*read_members(members.iloc[place]), *read_members(text)}
            members.iloc[place] = orjson.dumps(sorted(united)).decode()
    return snapshot.assign(members_json=members.astype("str"))
