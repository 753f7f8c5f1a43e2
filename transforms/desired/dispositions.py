"""Where every row of an events SELECT goes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from schemas.config import Config
from transforms.arrow.columns import TEXT, Mask, find_positions, is_among, to_series
from transforms.desired.link import Linked
from transforms.validate.typed import IGNORED


def _dispose(
    records: pd.DataFrame,
    linked: Linked,
    has_guests: Mask,
    held: pd.DataFrame,
    config: Config,
    *,
    as_of: pd.Timestamp,
) -> pd.Series:
    """Where each record goes; the first rule that fits wins. has_guests: true for records with an
    outside guest who is not the host.
    """
    horizon = as_of + pd.Timedelta(days=config.window.days_ahead)
    skip = records["source"].isin(
        [name for name, entry in config.sources.items() if entry.events_without_guests == "skip"]
    )
    some_held = is_among(records["source_id"], held["source_id"])
    rules = [
        (records["status"] == "cancelled", "cancelled"),
        (records["own_id"].isin(linked.problems["own_id"]), "quarantined"),
        (records["status"] == "merged", "merged"),
        (records["status"].isin(["pending", IGNORED]), "pending"),
        (records["ends_at"] <= as_of, "past"),
        (records["starts_at"] > horizon, "beyond_window"),
        (skip & ~has_guests & some_held, "quarantined"),
        (skip & ~has_guests, "guestless"),
    ]
    chosen = np.select(
        [rule.to_numpy(dtype=bool) for rule, _ in rules], range(len(rules)), default=len(rules)
    )
    return to_series(
        pa.array([*(name for _, name in rules), "due"], TEXT).take(pa.array(chosen)), records.index
    )


class _Places:
    """Which guests are of which records, by the sourceId of the meeting, looked up once.
    `of_guests`: a record of that id, or -1.
    """

    def __init__(self, guest_ids: pd.Series, record_ids: pd.Series) -> None:
        self.of_guests = find_positions(guest_ids, record_ids)
        self._of_records = find_positions(record_ids, record_ids)

    def are_of(self, records: Mask) -> Mask:
        """True for the guests of these records."""
        marked = np.zeros(len(records) + 1, dtype=bool)
        marked[self._of_records[records]] = True
        return marked[self.of_guests]

    def have_guests(self, guests: Mask) -> Mask:
        """True for the records with one of these guests."""
        marked = np.zeros(len(self._of_records) + 1, dtype=bool)
        marked[self.of_guests[guests]] = True
        return marked[self._of_records]
