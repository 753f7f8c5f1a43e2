"""Type a source's rows, check them with pandera, and set the bad ones aside with a reason each. Pure.

In: the canonical columns as text. Out: typed `events` and `guests` and the `rejects`. No row is lost: it is in one of the
three. A row with a readable key that says `cancelled` passes whatever else is wrong with it (S5).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pandas as pd

from schemas.config import SourceConfig
from schemas.frames import REJECT_COLUMNS, SourceEvents, SourceGuests, empty_frame
from transforms.arrow.columns import Mask, is_among
from transforms.arrow.rows import pick_rows, sort_rows
from transforms.validate.rejects import _check, _named, _rejects
from transforms.validate.typed import IGNORED, _drop_copies, _type_events, _type_guests


@dataclass(frozen=True)
class Validated:
    """One source after validation.

    `events`, `guests`: typed frames. `rejects`: a row a failed check. `held_guests`: source_event_id and guest_key (missing:
    unreadable, the whole guest list is frozen) of rejected guests. `unreadable_event_keys`: rows of the events SELECT without a
    key; `unreadable_guest_events`: guest rows that name no event. `odd_times`: source_event_id, value and what of the first 50 rows
    whose clock time a change of clocks made ambiguous.
    """

    source: str
    events: pd.DataFrame
    guests: pd.DataFrame
    rejects: pd.DataFrame
    held_guests: pd.DataFrame
    event_rows: int
    guest_rows: int
    rejected_events: int = 0
    rejected_guests: int = 0
    unreadable_event_keys: int = 0
    unreadable_guest_events: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    odd_times: list[dict[str, str]] = field(default_factory=list)


def validate_source(source: str, raw_events: pd.DataFrame, raw_guests: pd.DataFrame, config: SourceConfig) -> Validated:
    """Type and check both frames of one source; `config.times` must be set. See `Validated`."""
    beside = ThreadPoolExecutor(1, thread_name_prefix="guests")  # Arrow's kernels let the other thread run meanwhile
    job = beside.submit(_type_guests, raw_guests, config)
    beside.shutdown(wait=False)
    typed, notes, odd_times = _type_events(raw_events, config)
    keyless = typed["source_event_id"].isna()
    rejects = [_rejects(source, "events", typed[keyless], "source_event_id", "key")]
    keyed = _drop_copies(pick_rows(typed, ~keyless.to_numpy(dtype=bool)), ["source_event_id"])
    copies = len(typed) - int(keyless.sum()) - len(keyed)
    certain = _surely_cancelled(keyed) | _surely_ignored(keyed)
    sure = pick_rows(keyed, certain).drop_duplicates("source_event_id")
    copies += int(certain.sum()) - len(sure)
    checked = pick_rows(keyed, ~certain)
    bad, failures = _check(SourceEvents, checked)
    rejects.append(_named(source, "events", failures, checked))
    good = pick_rows(checked, ~bad)
    events = pd.concat([sure, good], ignore_index=True) if len(sure) else good
    events = sort_rows(events.drop(columns=["starts_at_text", "ends_at_text"]), ["source_event_id"])

    guests, eventless = job.result()
    rejects.append(_rejects(source, "guests", eventless, "source_event_id", "guest_event_key"))
    bad_guests, guest_failures = _check(SourceGuests, guests)
    rejects.append(_named(source, "guests", guest_failures, guests))
    held = guests.loc[bad_guests, ["source_event_id", "guest_key"]].reset_index(drop=True)
    notes["copies_dropped"] = copies
    all_rejects = pd.concat([frame for frame in rejects if len(frame)] or [empty_frame(REJECT_COLUMNS)], ignore_index=True)
    return Validated(
        source=source,
        events=events,
        guests=pick_rows(guests, ~bad_guests),
        rejects=all_rejects,
        held_guests=held,
        event_rows=len(raw_events),
        guest_rows=len(raw_guests),
        rejected_events=int(bad.sum()) + int(keyless.sum()),
        rejected_guests=int(bad_guests.sum()) + len(eventless),
        unreadable_event_keys=int(keyless.sum()),
        unreadable_guest_events=len(eventless),
        notes={key: value for key, value in notes.items() if value},
        odd_times=odd_times,
    )


def _surely_cancelled(keyed: pd.DataFrame) -> Mask:
    """S5: only a key whose rows all say cancelled is a cancellation without question."""
    cancelled = (keyed["status"] == "cancelled").to_numpy(dtype=bool)
    if not cancelled.any():
        return cancelled
    called_off = keyed.loc[cancelled, "source_event_id"]
    unsure = called_off[is_among(called_off, keyed.loc[~cancelled, "source_event_id"])]
    return cancelled & ~is_among(keyed["source_event_id"], unsure)


def _surely_ignored(keyed: pd.DataFrame) -> Mask:
    """Rows of a place that is left out on purpose, unless their key has a row elsewhere."""
    ignored = (keyed["status"] == IGNORED).to_numpy(dtype=bool)
    if not ignored.any():
        return ignored
    return ignored & ~is_among(keyed["source_event_id"], keyed.loc[~ignored, "source_event_id"])
