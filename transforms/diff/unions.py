"""Which records speak for an event, and what is known of each of them tonight (S21). Pure: no I/O,
no clock.

An event is one record as a rule; a union has members: every record that gives or gave it content or
guests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import orjson
import pandas as pd

from transforms.arrow.columns import is_among, to_list
from transforms.arrow.rows import pick_rows
from transforms.diff.changes import SourceHealth
from transforms.diff.fates import MISSING, Record
from transforms.naming.naming import Naming

_UNREAD = SourceHealth(read=False, events=False, guests=False)
_FILLED_OF_HOST = ("firstName", "lastName", "phoneNumber")
_ORDER = (
    "sourceId", "name", "description", "startsAt", "endsAt", "locationId", "entranceId", "host",
    "creator", "customFields", "invitations",
)  # fmt: skip


def read_members(text: object) -> list[str]:
    """The ids of a `members_json`; none of a missing one."""
    return [str(member) for member in orjson.loads(text)] if isinstance(text, str) and text else []


def list_members(snapshot: pd.DataFrame) -> set[str]:
    """Every record that is part of a union in this snapshot, without those whose id an event
    carries.
    """
    return {member for text in snapshot["members_json"].dropna() for member in read_members(text)}


def list_sources(source_id: str, source: str, members_json: object, naming: Naming) -> list[str]:
    """The sources of an event's records: its own, and of a union those of every record in it."""
    if not isinstance(members_json, str):
        return [source]
    return sorted(
        {
            source,
            *(naming.find_source(record) for record in (source_id, *read_members(members_json))),
        }
    )


def find_united_with(snapshot: pd.DataFrame, source: str) -> set[str]:
    """The events of other sources that records of this one are part of, by what their ids begin
    with.
    """
    some = snapshot.loc[
        snapshot["members_json"].notna() & (snapshot["source"] != source),
        ["source_id", "members_json"],
    ]
    return {
        source_id
        for source_id, members in some.itertuples(index=False, name=None)
        if any(record.partition("-")[0] == source for record in (source_id, *read_members(members)))
    }


def spread_sources(frame: pd.DataFrame, naming: Naming) -> pd.DataFrame:
    """The rows of events, a united one once more for every other source of its records. Columns
    source_id, source and members_json are asked.
    """
    if "members_json" not in frame or not frame["members_json"].notna().any():
        return frame
    united = np.flatnonzero(frame["members_json"].notna().to_numpy(dtype=bool))
    facts = (
        frame[["source_id", "source", "members_json"]]
        .iloc[united]
        .astype("object")
        .itertuples(index=False, name=None)
    )
    more = [
        (place, name)
        for place, (source_id, source, members) in zip(united, facts, strict=True)
        for name in list_sources(source_id, source, members, naming)
        if name != source
    ]
    copies = frame.iloc[[place for place, _ in more]].assign(source=[name for _, name in more])
    return pd.concat(
        [frame.assign(source=frame["source"].astype("str")), copies], ignore_index=True
    )


class Records:
    """The records of the events that are asked about. dispositions: own_id, source_id, source,
    disposition, at least of these events' records.

    held: own_id of every guest row that cannot be read. frozen: events whose guest rows have no
    readable key. held_targets: ids that an unresolved link protects.
    """

    def __init__(
        self,
        dispositions: pd.DataFrame,
        health: Mapping[str, SourceHealth],
        naming: Naming,
        *,
        held: Collection[str],
        frozen: Collection[str],
        held_targets: Collection[str],
        followed: Mapping[str, str],
        ids: Collection[str],
    ) -> None:
        self._health, self._naming = health, naming
        self._held, self._frozen, self._held_targets, self._followed = (
            held,
            frozen,
            held_targets,
            followed,
        )
        self._said: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        self._parts: dict[str, set[str]] = defaultdict(set)
        wanted = list(ids)
        some = pick_rows(
            dispositions,
            is_among(dispositions["own_id"], wanted) | is_among(dispositions["source_id"], wanted),
        )
        columns = ["own_id", "source_id", "source", "disposition"]
        # of the events asked about alone
        for own, target, source, said in some[columns].itertuples(index=False, name=None):
            self._said[own].append((target, source, said))
            self._parts[target].add(own)

    def speak(self, source_id: str, source: str, members_json: object) -> dict[str, list[Record]]:
        """Record id → what it says, of every record of the event. source: of the event, which an
        absent record of its id has too.
        """
        members = read_members(members_json)
        found = {}
        for own in sorted({source_id, *members, *self._parts.get(source_id, ())}):
            said = self._said.get(own)
            if said:
                found[own] = [self._read(source_id, own, *words) for words in said]
            else:
                # without a union the event's source is its record's: an id that was taken over
                # names another
                owner = (
                    source if own == source_id and not members else self._naming.find_source(own)
                )
                found[own] = [self._read(source_id, own, own, owner, "absent")]
        return found

    def _read(self, source_id: str, own: str, target: str, source: str, said: str) -> Record:
        health = self._health.get(source, _UNREAD)
        state = said
        if said in ("merged", "due") and target == source_id:
            state = "joined"
        sure = (
            health.read
            and health.guests
            and not health.unreadable_guest_events
            and not health.guests_limited
        )
        sure = (
            sure
            and own not in self._held
            and own not in self._frozen
            and source_id not in self._frozen
        )
        return Record(
            state,
            read=health.read,
            events=health.events,
            whole=not health.events_limited,
            keys=not health.unreadable_event_keys,
            linked=own not in self._held_targets and source_id not in self._held_targets,
            guests=sure,
            followed=self._followed.get(target) in ("unchanged", "create", "update"),
        )

    def find_targets(self, source_id: str, members_json: object) -> set[str]:
        """The events that records of this one are part of now."""
        records = {source_id, *read_members(members_json), *self._parts.get(source_id, ())}
        return {
            target
            for own in records
            for target, _, said in self._said.get(own, ())
            if said in ("merged", "due") and target != source_id
        }


def is_missing(records: Collection[Record]) -> bool:
    """Whether a record gives no content tonight that may have given some before, without proof that
    it is gone.
    """
    return any(
        r.state in MISSING and not (r.state == "absent" and r.read and r.events and r.keys)
        for r in records
    )


def keep_content(before: dict, after: dict) -> dict:
    """The payload with what a record that is missing tonight may have given it: the place, and what
    else would be lost.
    """
    kept = {key: before[key] for key in ("description",) if key in before and key not in after}
    if before.get("locationId") is not None:
        kept |= {key: before[key] for key in ("locationId", "entranceId") if key in before}
    old, new = before.get("host", {}), after.get("host", {})
    if old.get("email") == new.get("email"):
        host = new | {key: old[key] for key in _FILLED_OF_HOST if key in old and key not in new}
        kept["host"] = {key: host[key] for key in ("email", *_FILLED_OF_HOST) if key in host}
    merged = after | kept
    if "locationId" in kept and "entranceId" not in kept:
        merged.pop("entranceId", None)
    return {key: merged[key] for key in _ORDER if key in merged}


def keep_dispositions(dispositions: pd.DataFrame, snapshot: pd.DataFrame) -> pd.DataFrame:
    """The dispositions that are asked for once their part is compared: of ids that the snapshot
    knows and that are not just due, of the records of united meetings, and of what is quarantined.
    """
    plain = (
        (dispositions["disposition"] == "due")
        & (dispositions["own_id"] == dispositions["source_id"])
    ).to_numpy(dtype=bool)
    members = list_members(snapshot)
    united = (
        is_among(dispositions["own_id"], members)
        if members
        else np.zeros(len(dispositions), dtype=bool)
    )
    rest = pick_rows(dispositions, ~plain | united)
    known = is_among(rest["source_id"], snapshot["source_id"]) | is_among(
        rest["own_id"], snapshot["source_id"]
    )
    known |= is_among(rest["own_id"], members) if members else known
    return pick_rows(rest, known | (rest["disposition"] == "quarantined").to_numpy(dtype=bool))


def list_followed(dispositions: pd.DataFrame, decisions: pd.DataFrame) -> dict[str, str]:
    """What was decided about the events that records of other ids are part of: event → action."""
    moved = dispositions["disposition"].isin(["merged", "due"]) & (
        dispositions["own_id"] != dispositions["source_id"]
    )
    united = set(dispositions.loc[moved, "source_id"]) | set(
        dispositions.loc[dispositions["disposition"] == "due", "source_id"]
    )
    mine = pick_rows(decisions, is_among(decisions["source_id"], list(united)))
    return dict(zip(to_list(mine["source_id"]), to_list(mine["action"]), strict=True))
