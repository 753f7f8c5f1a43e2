"""Read the sources' times into instants. Pure.

Three forms, by the source's `times`: `utc` (no offset means UTC), `epoch` (seconds), `local` (wall
clock in the row's zone). A text that carries its own offset is taken at its word in either of the
text forms. At a change of clocks an ambiguous wall time is its first occurrence, and one that does
not exist is read with the offset before the gap, so it lies later by the gap (RFC 5545, 3.3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from transforms.arrow.columns import to_arrow, to_mask
from transforms.arrow.rows import number_groups

INSTANT = "datetime64[us, UTC]"
_OFFSET = r"(?:[zZ]|[+-]\d{2}:\d{2}|[ tT]\d.*[+-]\d{1,2}(?::?\d{2})*)\s*$"
_DATED = r"^\d{4}-?\d{2}-?\d{2}(?:[ tT]|$)"
"""What an instant must begin with: a date, and no word such as `now`, which pandas would read from
the clock.
"""
_FIRST, _LAST = pd.Timestamp("1900-01-01"), pd.Timestamp("2200-01-01")
"""Outside lie the placeholders of systems (0001-01-01, 9999-12-31), which are no instants."""


@dataclass(frozen=True)
class Instants:
    """`at`: datetime64[us, UTC], NaT where unreadable or missing. `ambiguous`, `shifted`: what a
    change of clocks did.
    """

    at: pd.Series
    ambiguous: pd.Series
    shifted: pd.Series


def read_instants(values: pd.Series, *, times: str, zones: pd.Series) -> Instants:
    """Turn text into instants; `zones` holds an IANA name a row and is used for `local` alone.

    Bookings start on the quarter of an hour: each distinct text (and zone) is read once.
    """
    numbers = number_groups(values, zones) if times == "local" else number_groups(values)
    first = np.empty(numbers.max(initial=-1) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    read = _read_distinct(values.take(first), times=times, zones=zones.take(first))
    return Instants(
        *(
            column.take(numbers).set_axis(values.index)
            for column in (read.at, read.ambiguous, read.shifted)
        )
    )


def _read_distinct(values: pd.Series, *, times: str, zones: pd.Series) -> Instants:
    values, zones = values.reset_index(drop=True), zones.reset_index(drop=True)
    none = pd.Series(False, index=values.index)
    text = values.astype("str").str.strip()
    if times == "epoch":
        seconds = pd.to_numeric(text, errors="coerce")
        # year 5138; milliseconds would be read as far future
        seconds = seconds.where(seconds.abs() < 1e11)
        micros = (seconds * 1_000_000).round()
        at = pd.to_datetime(
            micros.astype("Float64").astype("Int64"), unit="us", utc=True, errors="coerce"
        )
        return Instants(_without_placeholders(at.astype(INSTANT)), none, none)
    text = text.where(
        pd.Series(to_mask(pc.match_substring_regex(to_arrow(text), _DATED)), index=text.index)
    )
    own = have_offsets(text)
    if times == "utc" or own.all():
        return Instants(_parse_utc(text), none, none)
    wall = _parse_wall(text.mask(own))
    at = pd.Series(pd.NaT, index=values.index, dtype=INSTANT)
    if own.any():
        at = at.mask(own, _parse_utc(text.where(own)))
    ambiguous, shifted = none.copy(), none.copy()
    for zone in zones[wall.notna()].dropna().unique():
        rows = (zones == zone) & wall.notna()
        first, gap, twice = _localise(wall[rows], str(zone))
        at = at.mask(rows, first.reindex(at.index))
        shifted = shifted.mask(rows, gap.reindex(at.index, fill_value=False)).astype(bool)
        ambiguous = ambiguous.mask(rows, twice.reindex(at.index, fill_value=False)).astype(bool)
    return Instants(at, ambiguous, shifted)


def have_offsets(text: pd.Series) -> pd.Series:
    """True for each text that ends in a Z or an offset of its own."""
    return pd.Series(to_mask(pc.match_substring_regex(to_arrow(text), _OFFSET)), index=text.index)


def _parse_utc(text: pd.Series) -> pd.Series:
    return _without_placeholders(
        pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce").astype(INSTANT)
    )


def _parse_wall(text: pd.Series) -> pd.Series:
    """Wall-clock times; the texts have no offset, so UTC is but a form in which they are read, and
    one odd text does not fail all.
    """
    return _parse_utc(text).dt.tz_localize(None)


def _without_placeholders(at: pd.Series) -> pd.Series:
    return at.where((at >= _FIRST.tz_localize("UTC")) & (at < _LAST.tz_localize("UTC")))


def _localise(wall: pd.Series, zone: str) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Instants of wall-clock times of one zone, whether they fell into a gap, whether they happened
    twice.
    """
    strict = wall.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    at = strict.dt.tz_convert("UTC").astype(INSTANT)
    odd = strict.isna()
    gap = pd.Series(False, index=wall.index)
    if odd.any():
        # Few rows at most: the two clock changes a year. zoneinfo's fold=0 is the first occurrence
        # and the offset before a gap.
        read = [
            value.to_pydatetime().replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
            for value in wall[odd]
        ]
        fixed = pd.Series(pd.DatetimeIndex(read).as_unit("us"), index=wall.index[odd]).astype(
            INSTANT
        )
        at = at.mask(odd, fixed.reindex(at.index))
        back = fixed.dt.tz_convert(zone).dt.tz_localize(None)
        gap = gap.mask(odd, (back != wall[odd]).reindex(gap.index, fill_value=False)).astype(bool)
    return at, gap, odd & ~gap
