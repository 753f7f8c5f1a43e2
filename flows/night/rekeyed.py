"""Meetings that came back under another key keep the id that essentry has of them. Sends nothing;
the state learns which they are.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from flows.night.run import Night
from flows.parts.work import BuiltPart, ValidatedPart, rename_part
from flows.sources.limits import find_limits
from transforms.arrow.columns import find_positions, is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.build import Desired
from transforms.diff.changes import Known, SourceHealth
from transforms.diff.rekeyed import (
    GONE_COLUMNS,
    find_perhaps_parted,
    find_perhaps_rekeyed,
    find_rekeyed,
    find_returned,
    join_places,
    list_new,
    swap_columns,
    swap_ids,
)
from transforms.diff.unions import list_members
from transforms.naming.naming import Naming

log = logging.getLogger(__name__)
NOTE = "meetings_under_another_key"


def ask_returned(naming: Naming, rekeyed: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """The ids of whose rows a night must know whether they are there, by source."""
    asked: dict[str, set[str]] = {}
    for own, kept in rekeyed.items():
        asked.setdefault(naming.find_owner(own), set()).update((own, kept))
    return {source: frozenset(ids) for source, ids in asked.items()}


def find_given_back(
    night: Night, naming: Naming, rekeyed: Mapping[str, str], validated: Sequence[ValidatedPart]
) -> set[str]:
    """The built ids that give their meeting's id back this night: their row is gone again, and the
    first row of the meeting is back.

    That a row is gone, only a read shows that leaves none out and has no key that cannot be read.
    """
    returned = find_returned(rekeyed, frozenset().union(*(part.shown for part in validated)))
    if not returned:
        return returned
    unreadable = {
        source.source for part in validated for source in part.found if source.unreadable_event_keys
    }
    sources = {own: naming.find_owner(own) for own in returned}
    config = night.config
    doubtful = unreadable | {
        name
        for name in set(sources.values())
        if "events" in find_limits(name, config.sources[name], root=config.root)
    }
    return {own for own, source in sources.items() if source not in doubtful}


def without(naming: Naming, returned: Collection[str]) -> Naming:
    """The naming in which these ids are their first rows' again."""
    return (
        replace(
            naming, events={own: kept for own, kept in naming.events.items() if own not in returned}
        )
        if returned
        else naming
    )


def remember_given_back(
    night: Night, returned: Collection[str], health: Mapping[str, SourceHealth], naming: Naming
) -> None:
    """Forget the keys that gave their ids back, in sources whose reads are as usual; of others the
    next night asks again.
    """
    sure = {own for own in returned if health[naming.find_owner(own)].events}
    if sure:
        night.state.keep_rekeyed({}, {}, returned=sure)
        log.info("%d meetings are back under their first key", len(sure))


def keep_confirmed_ids(
    night: Night,
    known: Known,
    built: list[BuiltPart],
    desired: Desired,
    health: Mapping[str, SourceHealth],
    naming: Naming,
) -> tuple[list[BuiltPart], Desired, Naming]:
    """The night with every meeting that is surely one of essentry's under the id that it has there;
    see `find_rekeyed`.

    A row counts as gone only in a source that was read whole, without a key that cannot be read.
    Unions of several records, ids that were taken over, and what an unresolved link protects stay a
    matter for the guards.
    """
    gone, place = _list_gone(night, known, built, desired, health, naming)
    new = np.split(place < 0, np.cumsum([len(part.ids) for part in built])[:-1])
    wanted = join_places(gone) if len(gone) else np.array([], dtype="int64")
    near = [
        part.ids[mine & np.isin(part.places, wanted)] for part, mine in zip(built, new, strict=True)
    ]
    if not any(map(len, near)):
        return built, desired, naming
    refused = set(known.rejections["source_id"])
    came_by_part = []
    # one at a time: a large night has no room for all
    for part, ids in zip(built, near, strict=True):
        content = part.rows.look()
        for column in ("own_id", "source_id"):
            gone = pick_rows(gone, ~is_among(gone["source_id"], content.dispositions[column]))
        if len(ids):
            came_by_part.append(list_new(content.events, content.invitations, set(ids) - refused))
    del content
    came = pd.concat(came_by_part, ignore_index=True)
    kept = find_rekeyed(
        came, gone, known.read_people, sent=known.sent, unread=_count_unread(desired)
    )
    if not kept:
        return built, desired, naming
    sources = dict(zip(came["source_id"], came["source"], strict=True))
    night.state.keep_rekeyed(kept, sources)
    log.info("%d meetings came back under another key and keep the id that essentry has", len(kept))
    built = [rename_part(part, kept, night.shelf) if _has(part, kept) else part for part in built]
    return built, _rename(desired, kept), replace(naming, events={**naming.events, **kept})


def find_elsewhere(
    night: Night,
    known: Known,
    built: list[BuiltPart],
    desired: Desired,
    health: Mapping[str, SourceHealth],
    naming: Naming,
) -> set[str]:
    """The confirmed meetings whose rows are gone and which a row that is not sent tonight may be,
    under a key that essentry does not know; and the meetings of several records of which such a row
    may be one.
    """
    if desired.waiting.empty:
        return set()
    snapshot, ids = known.snapshot, desired.waiting["source_id"]
    unknown = (find_positions(ids, snapshot["source_id"]) < 0) & ~is_among(
        ids, list(list_members(snapshot))
    )
    waiting = pick_rows(desired.waiting, unknown)
    if waiting.empty:
        return set()
    gone, _ = _list_gone(night, known, built, desired, health, naming)
    united = (
        (snapshot["state"] == "active")
        & (snapshot["ends_at"] > night.run.clock)
        & snapshot["members_json"].notna()
    )
    parts = pick_rows(snapshot[GONE_COLUMNS], united.to_numpy(dtype=bool, na_value=False))
    found = find_perhaps_rekeyed(
        waiting, gone, known.read_people, sent=known.sent, unread=_count_unread(desired)
    )
    return found | find_perhaps_parted(waiting, parts, known.read_people, sent=known.sent)


def _count_unread(desired: Desired) -> dict[str, int]:
    """The id that a row's key makes → how many of its guests cannot be read."""
    return (
        desired.held_guests["own_id"].value_counts().to_dict() if len(desired.held_guests) else {}
    )


def _list_gone(
    night: Night,
    known: Known,
    built: list[BuiltPart],
    desired: Desired,
    health: Mapping[str, SourceHealth],
    naming: Naming,
) -> tuple[pd.DataFrame, np.ndarray]:
    """GONE_COLUMNS of confirmed events to come that no part builds, of sources whose reads prove
    that; and where in the snapshot every id of the parts is, or -1.
    """
    snapshot = known.snapshot
    place = find_positions(
        pd.concat([part.ids for part in built], ignore_index=True), snapshot["source_id"]
    )
    whole = [
        name
        for name, h in health.items()
        if h.read and h.events and not h.events_limited and not h.unreadable_event_keys
    ]
    active = (
        (snapshot["state"] == "active")
        & (snapshot["ends_at"] > night.run.clock)
        & snapshot["members_json"].isna()
    )
    left = active.to_numpy(dtype=bool, na_value=False).copy()
    left[place[place >= 0]] = False
    rows = pick_rows(snapshot[GONE_COLUMNS], left)
    if rows.empty:
        return rows, place
    taken_over = set(naming.events.values()) - set(night.state.rekeyed().values())
    gone = pick_rows(
        rows,
        is_among(rows["source"], whole)
        & ~is_among(rows["source_id"], list(taken_over | desired.held_targets)),
    )
    return gone.reset_index(drop=True), place


def _has(part: BuiltPart, kept: Mapping[str, str]) -> bool:
    return bool(is_among(part.ids, list(kept)).any())


def _rename(desired: Desired, kept: Mapping[str, str]) -> Desired:
    """What all parts found together, by the ids that essentry has."""
    rejects = (
        desired.rejects.assign(source_id=swap_ids(desired.rejects["source_id"], kept))
        if len(desired.rejects)
        else desired.rejects
    )
    return replace(
        desired,
        held_guests=swap_columns(desired.held_guests, kept),
        rejects=rejects,
        notes={**desired.notes, NOTE: len(kept)},
    )
