"""Type a source's rows, check them with pandera, and set the bad ones aside with a reason each.
Pure.

In: the canonical columns as text. Out: typed `events` and `guests` and the `rejects`. No row is
lost: it is in one of the three. A row with a readable key that says `cancelled` passes whatever
else is wrong with it (S5).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from schemas.config import WindowConfig
from schemas.config_source import SourceConfig
from schemas.frames import REJECT_COLUMNS, SourceEvents, SourceGuests, empty_frame
from transforms.arrow.columns import Mask, is_among, to_arrow
from transforms.arrow.rows import pick_rows, sort_rows
from transforms.validate.people import fold_keys
from transforms.validate.rejects import _check, _named, _rejects
from transforms.validate.typed import IGNORED, _drop_copies, _type_events, _type_guests

LONGEST_HOURS = int(WindowConfig.model_fields["longest_hours"].default)
UNREAD_COLUMNS = ["source_event_id", "starts_at", "location_id"]
SAMPLE_KEYS = 20
"""So many keys of a source are kept for a second look."""


@dataclass(frozen=True)
class Validated:
    """One source after validation.

    `events`, `guests`: typed frames. `rejects`: a row a failed check; `past` beside REJECT_COLUMNS:
    its event is over. `held_guests`: source_event_id and guest_key (missing: unreadable, the whole
    guest list is frozen) of rejected guests. `unreadable_event_keys`: rows of the events SELECT
    without a key; `unreadable_guest_events`: guest rows that name no event. `coming`: events,
    guests, rejected_events and rejected_guests among the rows that could be due, passed_events and
    passed_guests among those that could until lately; empty without a clock. `odd_times`:
    source_event_id, value and what of the first 50 rows whose clock time a change of clocks made
    ambiguous. `sample_keys`: some keys of the events SELECT, which a second look must find.
    `unread_events`: source_event_id, starts_at and location_id of the rejected events that have
    them.
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
    sample_keys: list[str] = field(default_factory=list)
    coming: dict[str, int] = field(default_factory=dict)
    unread_events: pd.DataFrame = field(default_factory=lambda: empty_frame(UNREAD_COLUMNS))


def validate_source(
    source: str,
    raw_events: pd.DataFrame,
    raw_guests: pd.DataFrame,
    config: SourceConfig,
    *,
    longest_hours: int = LONGEST_HOURS,
    as_of: pd.Timestamp | None = None,
    since: pd.Timestamp | None = None,
) -> Validated:
    """Type and check both frames of one source; `config.times` must be set. See `Validated`.

    longest_hours: of an event. as_of: the clock, to count the rows that could be due; since: that
    of the read they are measured by.
    """
    # Arrow's kernels let the other thread run meanwhile
    beside = ThreadPoolExecutor(1, thread_name_prefix="guests")
    job = beside.submit(_type_guests, raw_guests, config)
    beside.shutdown(wait=False)
    typed, notes, odd_times = _type_events(raw_events, config, longest_hours=longest_hours)
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
    events = sort_rows(
        events.drop(columns=["starts_at_text", "ends_at_text", "private_text", "unreadable"]),
        ["source_event_id"],
    )

    guests, eventless = job.result()
    rejects.append(_rejects(source, "guests", eventless, "source_event_id", "guest_event_key"))
    bad_guests, guest_failures = _check(SourceGuests, guests)
    rejects.append(_named(source, "guests", guest_failures, guests))
    held = guests.loc[bad_guests, ["source_event_id", "guest_key"]].reset_index(drop=True)
    strangers, other_case = _find_eventless(
        guests["source_event_id"], typed["source_event_id"], notes
    )
    if other_case.any():
        rejects.append(
            _rejects(
                source,
                "guests",
                pick_rows(guests, other_case & ~bad_guests),
                "source_event_id",
                "guest_event_case",
            )
        )
        held = pd.concat(
            [held, _hold_by_case(pick_rows(guests, other_case), typed["source_event_id"])],
            ignore_index=True,
        )
        bad_guests |= other_case
    notes["guests_of_no_event"] = int(strangers.sum())
    coming = (
        {}
        if as_of is None
        else _count_coming(
            typed, checked, bad, guests, bad_guests, len(eventless), as_of=as_of, since=since
        )
    )
    notes["copies_dropped"] = copies
    all_rejects = pd.concat(
        [frame for frame in rejects if len(frame)] or [empty_frame(REJECT_COLUMNS)],
        ignore_index=True,
    )
    all_rejects = all_rejects.assign(past=_are_past(all_rejects["source_event_id"], typed, as_of))
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
        sample_keys=_sample_keys(keyed),
        coming=coming,
        unread_events=pick_rows(
            checked[UNREAD_COLUMNS],
            bad & checked[UNREAD_COLUMNS].notna().all(axis=1).to_numpy(dtype=bool),
        ),
    )


def _sample_keys(keyed: pd.DataFrame) -> list[str]:
    """Keys from all over the rows, the latest starts first: a second look finds them unless it
    reads something else.
    """
    spread = keyed[["source_event_id", "starts_at"]].iloc[
        :: max(1, len(keyed) // (10 * SAMPLE_KEYS))
    ]
    return (
        spread.sort_values("starts_at", ascending=False, kind="stable")["source_event_id"]
        .head(SAMPLE_KEYS)
        .tolist()
    )


def _count_coming(
    typed: pd.DataFrame,
    checked: pd.DataFrame,
    bad: Mask,
    guests: pd.DataFrame,
    bad_guests: Mask,
    eventless: int,
    *,
    as_of: pd.Timestamp,
    since: pd.Timestamp | None,
) -> dict[str, int]:
    """S27: how many rows could be due, and how many were until the clock went past them. What
    cannot be read could be.

    A guest's row could be due when its event could.
    """
    ends = _find_ends(typed)
    due = (ends.isna() | (ends > as_of)).to_numpy(dtype=bool)
    passed = (
        ((ends <= as_of) & (ends > since)).to_numpy(dtype=bool)
        if since is not None
        else ~due & False
    )
    of_due = is_among(guests["source_event_id"], typed.loc[due, "source_event_id"].dropna())
    of_passed = (
        is_among(guests["source_event_id"], typed.loc[passed, "source_event_id"].dropna()) & ~of_due
    )
    rejected = _find_ends(checked[np.asarray(bad, dtype=bool)])
    keyless = typed["source_event_id"].isna().to_numpy(dtype=bool)
    return {
        "events": int(due.sum()),
        "guests": int(of_due.sum()) + eventless,
        "rejected_events": int((rejected.isna() | (rejected > as_of)).sum())
        + int((due & keyless).sum()),
        "rejected_guests": int((of_due & np.asarray(bad_guests, dtype=bool)).sum()) + eventless,
        "passed_events": int(passed.sum()),
        "passed_guests": int(of_passed.sum()),
    }


def _are_past(keys: pd.Series, typed: pd.DataFrame, as_of: pd.Timestamp | None) -> Mask:
    """True for the rows whose event is surely over: nobody waits for them."""
    if as_of is None or keys.empty:
        return np.zeros(len(keys), dtype=bool)
    over = (_find_ends(typed) <= as_of).to_numpy(dtype=bool)
    return is_among(keys, typed.loc[over, "source_event_id"].dropna()) & ~is_among(
        keys, typed.loc[~over, "source_event_id"].dropna()
    )


def _find_ends(events: pd.DataFrame) -> pd.Series:
    """When each row is surely over: a start alone is believed for a day, an end before its start
    for nothing.
    """
    return (
        events[["starts_at", "ends_at"]]
        .max(axis=1)
        .where(events["ends_at"].notna(), events["starts_at"] + pd.Timedelta(days=1))
    )


def _surely_cancelled(keyed: pd.DataFrame) -> Mask:
    """S5: only a key whose rows all say cancelled is a cancellation without question."""
    cancelled = (keyed["status"] == "cancelled").to_numpy(dtype=bool)
    if not cancelled.any():
        return cancelled
    called_off = keyed.loc[cancelled, "source_event_id"]
    unsure = called_off[is_among(called_off, keyed.loc[~cancelled, "source_event_id"])]
    return cancelled & ~is_among(keyed["source_event_id"], unsure)


def _find_eventless(
    guest_keys: pd.Series, event_keys: pd.Series, notes: dict[str, int]
) -> tuple[Mask, Mask]:
    """Guests whose event the events SELECT does not show; and those of them whose key it shows in
    other capitals.

    A database that compares without regard to capitals joins the latter; here they would vanish
    without a word.
    """
    known = event_keys.dropna()
    folded = fold_keys(known)
    changed = not pc.all(pc.equal(to_arrow(folded), to_arrow(known))).as_py()
    notes["event_keys_by_case"] = len(known.drop_duplicates()) - folded.nunique() if changed else 0
    strangers = ~is_among(guest_keys, known)
    other_case = np.zeros(len(strangers), dtype=bool)
    if strangers.any():
        other_case[strangers] = is_among(fold_keys(guest_keys[strangers]), folded)
    return strangers & ~other_case, other_case


def _hold_by_case(guests: pd.DataFrame, event_keys: pd.Series) -> pd.DataFrame:
    """The guests as held guests of the events that they may be of."""
    events = pd.DataFrame({"event": event_keys.dropna().drop_duplicates()})
    events = events.assign(folded=fold_keys(events["event"]))
    mine = guests[["source_event_id", "guest_key"]].assign(
        folded=fold_keys(guests["source_event_id"])
    )
    both = mine.merge(events, on="folded", how="inner", validate="m:m")
    return pd.DataFrame({"source_event_id": both["event"], "guest_key": both["guest_key"]}).astype(
        "str"
    )


def _surely_ignored(keyed: pd.DataFrame) -> Mask:
    """Rows of a place that is left out on purpose, unless their key has a row elsewhere."""
    ignored = (keyed["status"] == IGNORED).to_numpy(dtype=bool)
    if not ignored.any():
        return ignored
    return ignored & ~is_among(keyed["source_event_id"], keyed.loc[~ignored, "source_event_id"])
