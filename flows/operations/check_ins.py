"""Bring the visits back: read essentry's check-ins, keep them in the state store, and find the
event that each belongs to. Nothing is sent.

A page is stored before the next is asked for, and a location's mark moves on when a window is
stored whole. So a run that is killed has stored some pages that the next run stores once more,
under the same ids. Two runs at once do no harm, and no run holds the lease: a night goes on beside
it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pandas as pd

from flows.connections.secrets import hash_token, read_tokens
from flows.essentry.check_ins import CheckInReader, open_reader
from flows.operations.visits_table import Copied, copy_visits
from flows.state.check_ins import Reading
from flows.state.store import State
from schemas.check_ins import SEVERAL_EVENTS, UNKNOWN_INVITATION
from schemas.config import Config
from schemas.errors import EssentryError, EssentryUnauthorised
from transforms.naming.naming import name_by
from transforms.operations.check_ins import (
    NEAR,
    Candidate,
    choose_event,
    name_event,
    read_check_ins,
    read_guest_ids,
)

OVERLAP = timedelta(hours=2)
"""So far before its mark a location is read again: clocks differ, and a departure may be entered
late.
"""
FIRST = timedelta(days=7)
"""So far back the first reading of a location goes."""
ASK_AGAIN = timedelta(hours=12)
"""So often a location is read again as far back as FIRST, and as the arrival of whoever has not
left: a departure may have been entered for a time long read.
"""
MOST_FAILED = 3
"""Locations that fail before the rest is not tried any more: essentry is not there."""
LONGEST_OPEN = timedelta(days=30)
"""An older visit that has not ended is asked for no more."""


@dataclass
class Visits:
    """What a reading did. `pages`, `check_ins`: as answered, with those that were stored before.
    `resolved`: now with their event. `copied`: into the table of `[checkins]`.
    """

    pages: int = 0
    check_ins: int = 0
    unreadable: int = 0
    resolved: int = 0
    unresolved: int = 0
    locations: list[int] = field(default_factory=list)
    copied: Copied = field(default_factory=Copied)


def read_visits(
    config: Config, state: State, *, now: datetime, since: datetime | None = None
) -> Visits:
    """Read every mapped location up to now, and resolve what was read. since: read again from here
    on.

    Raises EssentryError when a location could not be read, once the others are: what was read is
    kept. Raises StateError for another essentry's state.
    """
    _, agent_token = read_tokens(config)
    state.check_identity(
        config.essentry.base_url, hash_token(agent_token), config.essentry.invitation_ids
    )
    done = Visits(locations=_list_locations(config, state))
    failed: list[EssentryError] = []
    try:
        with open_reader(config) as reader:
            for place in done.locations:
                try:
                    _read_location(config, state, reader, place, done, now=now, since=since)
                except EssentryUnauthorised:
                    raise
                except EssentryError as error:
                    failed.append(error)
                    if len(failed) >= MOST_FAILED:
                        break
    finally:  # what was stored before a failure has its events, too
        _resolve(config, state, done)
    done.copied = copy_visits(config, state)
    if failed:
        raise failed[0]
    return done


def _list_locations(config: Config, state: State) -> list[int]:
    tables = [table for entry in config.sources.values() for table in (entry.sites, entry.rooms)]
    mapped = {
        site.location_id
        for table in tables
        for site in table.values()
        if site.location_id is not None
    }
    return sorted(mapped | state.list_locations())


def _read_location(
    config: Config,
    state: State,
    reader: CheckInReader,
    place: int,
    done: Visits,
    *,
    now: datetime,
    since: datetime | None,
) -> None:
    begin, asks_again = _find_begin(state.find_reading(place), now, since)
    personal_since = now - timedelta(days=config.report.keep_personal_days)
    for end, pages in reader.read_windows(place, begin, now):
        for asked_at, page in pages:
            frame, unreadable = read_check_ins(page)
            state.save_check_ins(place, frame, read_at=asked_at, personal_since=personal_since)
            done.pages += 1
            done.check_ins += len(frame)
            done.unreadable += unreadable
        state.note_read(place, end)
    if asks_again:
        state.note_read(place, now, open_asked_at=now)


def _find_begin(reading: Reading, now: datetime, since: datetime | None) -> tuple[datetime, bool]:
    """From where on a location is read, and whether what was read long ago is asked for again."""
    mark = reading.read_until
    # of a clock that was ahead: how far was read is not known
    if mark is not None and mark > now + OVERLAP:
        mark = None
    begin = now - FIRST if mark is None else min(mark, now) - OVERLAP
    if since is not None and (reading.read_until is None or since < begin):
        begin = since
    asked_at = reading.open_asked_at
    # an instant ahead is of a clock that was
    late = asked_at is None or not now - ASK_AGAIN <= asked_at <= now
    if mark is None or not late:
        return begin, False
    # of who is inside and not listed so, nothing is known until the departure is
    oldest = max(reading.oldest_open or now, now - LONGEST_OPEN)
    return min(begin, oldest, now - FIRST), True


def _resolve(config: Config, state: State, done: Visits) -> None:
    """Find the events of check-ins that have none. Those of an unknown invitation are looked at
    again when a run has been in between.
    """
    run = state.newest_run()
    naming = name_by(config, state.adopted())
    built = {adopted: own for own, adopted in naming.guests.items()}
    shared = config.essentry.invitation_ids == "shared"
    for part in state.iterate_unresolved(run):
        named = {
            key: name_event(key, naming, built, shared=shared)
            for key in part["invitation_id"].unique()
        }
        found: dict[str, list[Candidate]] = {key: [] for key in named}
        owners: dict[str, list[str]] = {}
        for key, event in named.items():
            if event is not None:
                owners.setdefault(event, []).append(key)
        for row in state.iterate_events(source_ids=sorted(owners)):
            guests = read_guest_ids(row["payload"])
            for key in owners[row["source_id"]]:
                found[key].append(
                    Candidate(
                        row["source_id"], row["state"] == "active", key in guests, row["starts_at"]
                    )
                )
        rest = part[
            [not any(c.listed and c.active for c in found[key]) for key in part["invitation_id"]]
        ]
        _look_around(state, rest, found)
        told: dict[str, tuple[str | None, str | None]] = {}
        for visit in part.to_dict("records"):
            starts_at = None if pd.isna(visit["starts_at"]) else visit["starts_at"].to_pydatetime()
            event, known = choose_event(found[visit["invitation_id"]], starts_at)
            told[visit["checkin_id"]] = (
                event,
                None if event else SEVERAL_EVENTS if known else UNKNOWN_INVITATION,
            )
        state.resolve_check_ins(told, run)
        done.resolved += sum(event is not None for event, _ in told.values())
        done.unresolved += sum(event is None for event, _ in told.values())


def _look_around(state: State, visits: pd.DataFrame, found: dict[str, list[Candidate]]) -> None:
    """Events near the visits that have the invitation on their list, whatever its id says: shared,
    shortened, or of a merged meeting.
    """
    near = visits["starts_at"].fillna(visits["arrived_at"]).dropna()
    if near.empty:
        return
    between = (near.min() - NEAR).to_pydatetime(), (near.max() + NEAR).to_pydatetime()
    wanted = set(visits["invitation_id"])
    for row in state.iterate_events(between=between):
        for key in wanted & read_guest_ids(row["payload"]):
            if all(c.source_id != row["source_id"] for c in found[key]):
                found[key].append(
                    Candidate(row["source_id"], row["state"] == "active", True, row["starts_at"])
                )
