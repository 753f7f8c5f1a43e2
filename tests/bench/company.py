"""A large company's nights, the same for the same size: canonical columns as text, and the tables
of a source database.

W is 1,000,000 events with 3,000,000 guests. On night 2 one row in a hundred differs: events moved,
renamed or gone, guests who came, went or are written otherwise, so that about four events in a
hundred are touched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

W = 1_000_000
GUESTS_AN_EVENT = 3
SITES = 40
FIRST_DAY = np.datetime64("2027-01-04T07:00:00", "s")
AS_OF = pd.Timestamp("2027-01-01T02:00:00Z").as_unit("us")
CONFIG = """
[state]
url = "sqlite:///state.sqlite"
[sources.rooms]
url = "{url}"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
internal_domains = ["corp.example"]
[window]
days_ahead = 400
[guards]
approve_first_run = false
approve_policy_change = false
max_deletes = 100_000_000
max_delete_share = 1.0
max_guest_removals = 100_000_000
max_new_invitations = 100_000_000
max_people_mailed = 100_000_000
max_mails_per_guest = 100_000_000
max_churn = 100_000_000
[essentry]
base_url = "{essentry}"
"""
SELECT_EVENTS = (
    "SELECT source_event_id, name, description, starts_at, ends_at, site_key, room_key, status, "
    "host_email, host_first_name, host_last_name, updated_at FROM events"
)
SELECT_GUESTS = (
    "SELECT source_event_id, guest_id, email, first_name, last_name, company_name, "
    "language FROM guests"
)
_WORDS = [
    "Review",
    "Besuch",
    "Interview",
    "Workshop",
    "Audit",
    "Führung",
    "Abnahme",
    "Vertrag",
    "Termin",
    "Quartal",
    "Kick-off",
    "Schulung",
]
_NAMES = [
    "Aalto",
    "Bauhaus",
    "Čapek",
    "Dürer",
    "Eames",
    "Falk",
    "Gropius",
    "Hölderlin",
    "Ibsen",
    "Jansson",
    "Klee",
    "Łuczak",
    "Müller",
    "Nolde",
]


def _text(pattern: str, numbers: np.ndarray) -> pa.Array:
    before, _, after = pattern.partition("{}")
    return pc.binary_join_element_wise(before, pa.array(numbers).cast(pa.string()), after, "")


def _pick(words: list[str], numbers: np.ndarray) -> pa.Array:
    return pa.array(words).take(pa.array(numbers % len(words)))


def build_night(rows: int, night: int) -> tuple[pa.Table, pa.Table]:
    """The source's `events` and `guests` tables on night 1 or 2; instants are timestamp[us, UTC],
    the rest text and integers.
    """
    rng = np.random.default_rng(20_260_104)
    number = np.arange(rows, dtype=np.int64)
    start = FIRST_DAY + (number * 7919 % (350 * 24 * 4)).astype("timedelta64[s]") * 900
    title, host, site = (
        rng.integers(0, 10_000, rows),
        rng.integers(0, 30_000, rows),
        rng.integers(1, SITES + 1, rows),
    )
    guest_event = np.repeat(number, GUESTS_AN_EVENT)
    person = rng.integers(0, max(rows, 10), rows * GUESTS_AN_EVENT)
    # an event's guests are different people
    person = person - person % GUESTS_AN_EVENT + np.tile(np.arange(GUESTS_AN_EVENT), rows)
    surname = person * 31 % 97
    gone_event = np.zeros(rows, dtype=bool)
    gone_guest = np.zeros(len(guest_event), dtype=bool)
    extra = 0
    if night == 2:
        touched = rng.permutation(rows)[: rows // 100]
        moved, renamed, gone = np.split(touched, [len(touched) * 5 // 10, len(touched) * 9 // 10])
        start[moved] += np.timedelta64(1800, "s")
        title[renamed] += 1
        gone_event[gone] = True
        guests = rng.permutation(len(guest_event))[: len(guest_event) // 100]
        rewritten, removed = np.split(guests, [len(guests) * 7 // 10])
        surname[rewritten] += 1
        gone_guest[removed] = True
        gone_guest |= gone_event[guest_event]
        extra = len(gone)
    base = "EV-{}"
    events = pa.table(
        {
            "source_event_id": _text(base, number),
            "name": pc.binary_join_element_wise(
                _pick(_WORDS, title), pa.array(title).cast(pa.string()), " "
            ),
            "description": pc.if_else(
                pa.array(number % 3 == 0),
                _text("Agenda of meeting {}\nplease bring a badge", number),
                None,
            ),
            "starts_at": pa.array(start).cast(pa.timestamp("us", "UTC")),
            "ends_at": pa.array(start + np.timedelta64(3600, "s")).cast(pa.timestamp("us", "UTC")),
            "site_key": pa.array(site).cast(pa.string()),
            "room_key": _text("R{}", site * 7 % 300),
            "status": pa.array(np.where(number % 50 == 7, "pending", "confirmed")),
            "host_email": _text("host{}@corp.example", host),
            "host_first_name": _pick(_NAMES, host * 5),
            "host_last_name": _pick(_NAMES, host * 3 + 1),
            "updated_at": pa.array(start - np.timedelta64(86_400 * 20, "s")).cast(
                pa.timestamp("us", "UTC")
            ),
        }
    ).filter(pa.array(~gone_event))
    guests = pa.table(
        {
            "source_event_id": _text(base, guest_event),
            "guest_id": pa.array(person),
            "email": _text("guest{}@visitor.example", person),
            "first_name": _pick(_NAMES, person),
            "last_name": pc.binary_join_element_wise(
                _pick(_NAMES, surname), pa.array(surname).cast(pa.string()), "-"
            ),
            "company_name": _text("Company {} GmbH", person % 5_000),
            "language": _pick(["DE", "EN", "FR", "de_CH"], person),
        }
    ).filter(pa.array(~gone_guest))
    if extra:
        events = pa.concat_tables([events, _renumber(events.slice(0, extra), base, rows)])
        guests = pa.concat_tables(
            [guests, _renumber(guests.filter(_among(guests, extra)), base, rows)]
        )
    return events, guests


def _among(guests: pa.Table, count: int) -> pa.Array:
    numbers = pc.cast(pc.utf8_slice_codeunits(guests["source_event_id"], 3), pa.int64())
    return pc.less(numbers, count)


def _renumber(table: pa.Table, base: str, by: int) -> pa.Table:
    """The same rows under new keys: what is new on night 2."""
    numbers = pc.add(pc.cast(pc.utf8_slice_codeunits(table["source_event_id"], 3), pa.int64()), by)
    keys = pc.binary_join_element_wise(base[: base.index("{")], numbers.cast(pa.string()), "")
    return table.set_column(0, "source_event_id", keys)


def save_nights(rows: int, folder: Path) -> None:
    """Both nights as Parquet files, once."""
    folder.mkdir(parents=True, exist_ok=True)
    for night in (1, 2):
        events, guests = build_night(rows, night)
        pq.write_table(events, folder / f"events{night}.parquet")
        pq.write_table(guests, folder / f"guests{night}.parquet")
