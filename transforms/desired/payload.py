"""What is sent and remembered of an event: its canonical JSON, the fingerprint of that, and the
request body of a change. Pure.

The canonical JSON holds every field that has a value, in a fixed order, and the guests sorted by
id. It is both the complete payload and what the snapshot keeps; the fingerprint is xxh3_128 of it.
`updatedAt` is no part of it. Another order, another way of writing a value: raise
FINGERPRINT_VERSION, and the next run compares contents instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from transforms.arrow.columns import (
    TEXT,
    Positions,
    find_positions,
    read_bytes,
    to_arrow,
    to_series,
)
from transforms.arrow.instants import format_instants
from transforms.arrow.json_text import build_objects, join, join_groups, member, text_member
from transforms.arrow.rows import pick_rows
from transforms.arrow.threads import on_two_threads

FINGERPRINT_VERSION = 1
OTHER_CONTENT = 9999
"""The version of a fingerprint whose event has other content since: contents are compared."""
CHUNK = 20_000


def _person(frame: pd.DataFrame, role: str) -> pa.Array:
    names = {
        "email": "email",
        "firstName": "first_name",
        "lastName": "last_name",
        "phoneNumber": "phone",
    }
    return build_objects(
        [text_member(key, to_arrow(frame[f"{role}_{column}"])) for key, column in names.items()],
        len(frame),
    )


def _number(column: pd.Series) -> pa.Array:
    return pa.array(column.astype("Int64"), from_pandas=True).cast(TEXT)


def _invitation_texts(invitations: pd.DataFrame) -> pa.Array:
    """Each guest as a JSON object."""
    plain = {
        "sourceId": "invitation_id",
        "email": "email",
        "firstName": "first_name",
        "lastName": "last_name",
    }
    plain |= {"companyName": "company_name", "language": "language"}
    members = [text_member(key, to_arrow(invitations[column])) for key, column in plain.items()]
    members += [
        member("customFields", to_arrow(invitations["custom_fields"])),
        member("accessProfiles", to_arrow(invitations["access_profiles"])),
    ]
    return build_objects(members, len(invitations))


def build_payloads(events: pd.DataFrame, invitations: pd.DataFrame) -> pd.Series:
    """The canonical JSON of each event, aligned with `events`; the guests stand in the order of
    their events.
    """
    position = find_positions(invitations["source_id"], events["source_id"])
    counts = np.bincount(position[position >= 0], minlength=len(events))
    return to_series(_compose(events, pick_rows(invitations, position >= 0), counts), events.index)


def _compose(events: pd.DataFrame, invitations: pd.DataFrame, counts: Positions) -> pa.Array:
    """The canonical JSON of each event, whose guests are the next `counts` rows of
    `invitations`.
    """
    guests = join_groups(_invitation_texts(invitations), pa.array(counts))
    members = [
        text_member("sourceId", to_arrow(events["source_id"])),
        text_member("name", to_arrow(events["name"])),
        text_member("description", to_arrow(events["description"])),
        text_member("startsAt", to_arrow(format_instants(events["starts_at"]))),
        text_member("endsAt", to_arrow(format_instants(events["ends_at"]))),
        member("locationId", _number(events["location_id"])),
        member("entranceId", _number(events["entrance_id"])),
        member("host", _person(events, "host")),
        member("creator", _person(events, "creator")),
        member("customFields", to_arrow(events["custom_fields"])),
        member("invitations", join("[", guests, "]")),
    ]
    return build_objects(members, len(events))


class Payloads:
    """The canonical JSON of events, built when it is asked for. `events` and `invitations` are
    sorted by source_id.
    """

    def __init__(self, events: pd.DataFrame, invitations: pd.DataFrame) -> None:
        self.events, self.invitations = events, invitations
        position = find_positions(invitations["source_id"], events["source_id"])
        self._bounds = np.searchsorted(position, np.arange(len(events) + 1))

    @property
    def guests(self) -> Positions:
        """The number of guests of each event."""
        return np.diff(self._bounds)

    def build(self, rows: Positions) -> pa.Array:
        """The payloads of events by position, in the order given."""
        counts = self.guests[rows]
        # the places of all guests of these events, run by run
        shift = (
            self._bounds[:-1][rows] - np.append(0, np.cumsum(counts)[:-1]) if len(rows) else counts
        )
        places = np.repeat(shift, counts) + np.arange(counts.sum())
        return _compose(pick_rows(self.events, rows), pick_rows(self.invitations, places), counts)

    def iterate(self, *, chunk: int = CHUNK) -> Iterator[pa.Array]:
        """The payloads of all events by runs of `chunk`, so that the texts of all never stand in
        memory at once.
        """
        for start in range(0, len(self.events), chunk):
            yield self.build_run(start, chunk)

    def build_run(self, start: int, length: int) -> pa.Array:
        """The payloads of the events from position `start` on, at most `length`."""
        rows = slice(start, start + length)
        first, last = self._bounds[[start, min(start + length, len(self.events))]]
        return _compose(
            self.events.iloc[rows], self.invitations.iloc[first:last], self.guests[rows]
        )


def add_fingerprints(payloads: Payloads) -> pd.DataFrame:
    """The events with `fingerprint` (32 hex digits) and `guests` (their number)."""
    events = payloads.events

    def hash_run(start: int) -> pa.Array:
        return _hash_texts(payloads.build_run(start, CHUNK))

    prints = on_two_threads(hash_run, range(0, len(events), CHUNK), rows=len(events))
    column = to_series(pa.concat_arrays([pa.array([], TEXT), *prints]), events.index)
    return events.assign(fingerprint=column, guests=pd.Series(payloads.guests, index=events.index))


def _hash_texts(texts: pa.Array) -> pa.Array:
    """xxh3_128 of each text, as hex; a C call a row, there is no vectorised one."""
    content = read_bytes(texts).data
    lengths = np.asarray(pc.binary_length(texts), dtype=np.int64)
    ends = np.cumsum(lengths)
    bounds = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    return pa.array([xxh3_128_hexdigest(content[start:end]) for start, end in bounds], type=TEXT)


def fingerprint(payload: str) -> str:
    """xxh3_128 of a canonical JSON text, as hex."""
    return xxh3_128_hexdigest(payload.encode())


def name_person(guest: Mapping[str, str]) -> str:
    """The identity by which the mails to one person are counted: the address, or the name."""
    return (
        guest.get("email")
        or "name:" + f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip().casefold()
    )


def read_times(payload: dict) -> tuple[datetime | None, datetime | None]:
    """Start and end of a payload, as instants; None of one without."""
    start, end = (
        datetime.fromisoformat(payload[name]) if payload.get(name) else None
        for name in ("startsAt", "endsAt")
    )
    return start, end


def list_guests(payload: dict | None) -> dict[str, dict]:
    """The guests of a payload by their id."""
    return {guest["sourceId"]: guest for guest in (payload or {}).get("invitations", [])}
