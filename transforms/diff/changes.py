"""The changes of a night, what is known of essentry before it, and the parts of both put together.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.frames import MAIL_COLUMNS, empty_frame
from transforms.arrow.codes import to_codes, unite_frames
from transforms.arrow.columns import Positions, to_arrow
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import list_guests

SENT = ("create", "update", "delete")
CHANGE_COLUMNS = [
    "source_id", "source", "location_id", "action", "reason", "base_fingerprint", "base_run",
    "fingerprint", "fingerprint_version",
    "starts_at", "ends_at", "name", "fields_json", "guests_json", "after", "body", "members_json",
    "ignore_missing", "guests",
]  # fmt: skip

SLIM_COLUMNS = [
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "fingerprint",
    "starts_at",
    "guests",
    "members_json",
]
"""Of the changes what guards, approvals and reports ask for."""


@dataclass(frozen=True)
class SourceHealth:
    """What a source's reads allow. `read`: it was read to the end; the other two: rows and shares
    are as usual (S4).

    events_limited, guests_limited: the SELECT leaves rows out by their number, so what it does not
    show is not gone (S23).
    """

    read: bool = True
    events: bool = True
    guests: bool = True
    unreadable_event_keys: int = 0
    unreadable_guest_events: int = 0
    events_limited: bool = False
    guests_limited: bool = False


@dataclass(frozen=True)
class Diff:
    """`changes`: CHANGE_COLUMNS, what is sent or settled; `decisions`: what became of every event
    in source or snapshot.

    `mails`: a row a guest and event that would be mailed, kind invited, updated or cancelled.
    `absent_now`: ids counted absent; `refreshed`: id → fingerprint of events whose content is as it
    was, under a new FINGERPRINT_VERSION. `kept`: id → why guests stay in it whom its source no
    longer names. `rejoined`: id → members_json of events whose records differ, and whose content
    does not. `conditions`: event, kind, other: what must hold when its change is sent, see
    `transforms.diff.moves`. `awaited`: MAIL_COLUMNS of guests whom an event that is held would
    invite. `removing`: events whose update does nothing but remove guests. `uncleared`: (source_id,
    invitation id or None, field) of what would still not surely be taken away when the changes are
    done, of the events that are due (S22).
    """

    changes: pd.DataFrame
    decisions: pd.DataFrame
    mails: pd.DataFrame
    absent_now: list[str] = field(default_factory=list)
    rebound: int = 0
    refreshed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    rejoined: dict[str, str | None] = field(default_factory=dict)
    conditions: list[tuple[str, str, str]] = field(default_factory=list)
    awaited: pd.DataFrame = field(default_factory=lambda: empty_frame(MAIL_COLUMNS))
    removing: frozenset[str] = frozenset()
    uncleared: list[tuple[str, str | None, str]] = field(default_factory=list)

    def slim(self) -> Diff:
        """The diff as it is kept in memory until the night ends: no texts of changes, and what
        repeats in the mails as codes.
        """
        return replace(
            self,
            changes=_code(self.changes[SLIM_COLUMNS], "source", "action", "reason", "members_json"),
            decisions=_code(self.decisions, "source", "action", "reason"),
            mails=code_mails(self.mails),
            awaited=code_mails(self.awaited),
        )


@dataclass(frozen=True)
class Known:
    """What is known of essentry. `snapshot`: read_fingerprints with unanswered creates added and
    `dirty` marked.

    `payloads`: reads the confirmed canonical JSON of ids. `unanswered`: id → guests of requests
    whose answer was lost. `rejections`: source_id, fingerprint, next_at, code of events that
    essentry rejected. `removals`: id → guests whom such a request removes. `ours`: id → reason of
    our own delete, of events that are deleted. `sent`: id → payloads of requests whose answer was
    lost. `former`: reads the guests whom essentry confirmed as removed from an event, as they were.
    `perhaps_deleted`: id → reason of a cancellation whose answer was lost: essentry may have the
    event or not.
    """

    snapshot: pd.DataFrame
    payloads: Callable[[list[str]], Mapping[str, str]]
    unanswered: Mapping[str, Mapping[str, dict]]
    rejections: pd.DataFrame
    removals: Mapping[str, set[str]] = field(default_factory=dict)
    ours: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[str, list[dict]] = field(default_factory=dict)
    former: Callable[[str], list[dict]] = lambda source_id: []
    perhaps_deleted: Mapping[str, str] = field(default_factory=dict)

    def read_people(self, ids: list[str]) -> dict[str, str]:
        """`payloads`, for asking who the guests are: one of whom the id alone is kept, as an audit
        has it sent again, is whom essentry confirmed under that id before.
        """
        found = dict(self.payloads(ids))
        for key, text in found.items():
            payload = orjson.loads(text or "{}")
            guests = list_guests(payload)
            if any(map(_is_bare, guests.values())):  # few: what an audit marked since
                named = list(self.name_guests(key, guests).values())
                found[key] = orjson.dumps(payload | {"invitations": named}).decode()
        return found

    def name_guests(self, source_id: str, guests: Mapping[str, dict]) -> dict[str, dict]:
        """The guests of an event by their ids, with what was sent of those of whom the id alone is
        kept.
        """
        bare = {key for key, guest in guests.items() if _is_bare(guest)}
        sent = {
            key: guest
            for payload in (self.former(source_id) if bare else ())
            for key, guest in list_guests(payload).items()
            if key in bare and not _is_bare(guest)
        }
        return {**guests, **sent}


def unite_diffs(parts: list[Diff]) -> tuple[Diff, Positions]:
    """The diff of a night from those of its parts, the changes by start, then id; and for each
    change the part it comes from.

    parts is emptied: a large night needs the room.
    """
    sizes = [len(part.changes) for part in parts]
    absent = [source_id for part in parts for source_id in part.absent_now]
    uncleared = [mark for part in parts for mark in part.uncleared]
    rebound, refreshed = (
        sum(part.rebound for part in parts),
        {key: text for part in parts for key, text in part.refreshed.items()},
    )
    kept, rejoined = (
        {key: text for part in parts for key, text in getattr(part, name).items()}
        for name in ("kept", "rejoined")
    )
    conditions, removing = (
        [row for part in parts for row in part.conditions],
        frozenset().union(*(part.removing for part in parts)),
    )
    frames = {
        name: [frame for part in parts if len(frame := getattr(part, name))]
        or [getattr(parts[0], name)]
        for name in ("mails", "awaited", "decisions", "changes")
    }
    parts.clear()
    mails, awaited, decisions, changes = (unite_frames(frames.pop(name)) for name in list(frames))
    order = find_order(changes)
    diff = Diff(
        pick_rows(changes, order),
        decisions,
        mails,
        absent,
        rebound,
        refreshed,
        kept,
        rejoined,
        conditions,
        awaited,
        removing,
        uncleared,
    )
    return diff, np.repeat(np.arange(len(sizes)), sizes)[order]


def _is_bare(guest: Mapping[str, Any]) -> bool:
    """Whether nothing of a guest but the id is kept."""
    return set(guest) == {"sourceId"}


def code_mails(mails: pd.DataFrame) -> pd.DataFrame:
    """MAIL_COLUMNS as codes: there are several mails an event and a person."""
    return _code(mails, *MAIL_COLUMNS)


def _code(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{name: to_codes(frame[name]) for name in columns})


def order_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """By start, then id: what is soonest is sent first."""
    return pick_rows(changes, find_order(changes))


def find_order(changes: pd.DataFrame) -> Positions:
    """The rows in the order in which they are sent."""
    keys = pa.table(
        {"starts_at": pa.array(changes["starts_at"]), "source_id": to_arrow(changes["source_id"])}
    )
    order = pc.sort_indices(
        keys, sort_keys=[("starts_at", "ascending"), ("source_id", "ascending")]
    )
    return np.asarray(order, dtype=np.int64)


def type_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """The changes with the types of their columns."""
    text = [
        "source_id",
        "source",
        "action",
        "reason",
        "base_fingerprint",
        "base_run",
        "fingerprint",
        "name",
        "fields_json",
        "guests_json",
    ]
    text += ["after", "body", "members_json"]
    # of what was taken over and never read, no instant is known: such a column has no zone
    naive = [
        name
        for name in ("starts_at", "ends_at")
        if getattr(changes[name].dtype, "tz", None) is None
    ]
    changes = changes.assign(**{name: pd.to_datetime(changes[name], utc=True) for name in naive})
    return changes.astype(
        {
            **dict.fromkeys(text, "str"),
            "location_id": "Int64",
            "fingerprint_version": "Int64",
            "guests": "Int64",
            "ignore_missing": "boolean",
        }
        | {"starts_at": "datetime64[us, UTC]", "ends_at": "datetime64[us, UTC]"}
    )
