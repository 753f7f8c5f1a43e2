"""Texts into instants: three forms, changes of clocks, rubbish."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.arrow.instants import format_instants
from transforms.validate.times import INSTANT, read_instants


def _read(text: str | None, times: str, zone: str | None = "Europe/Berlin") -> str | None:
    at = read_instants(
        pd.Series([text], dtype="str"), times=times, zones=pd.Series([zone], dtype="str")
    ).at
    assert at.dtype == INSTANT
    return None if at.isna()[0] else at[0].strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("text", "times", "expected"),
    [
        ("2026-07-01 09:00:00", "utc", "2026-07-01T09:00:00Z"),
        ("2026-07-01T09:00", "utc", "2026-07-01T09:00:00Z"),
        ("2026-07-01T09:00:00+02:00", "utc", "2026-07-01T07:00:00Z"),
        ("2026-07-01 09:00:00", "local", "2026-07-01T07:00:00Z"),
        ("2026-01-01 09:00:00", "local", "2026-01-01T08:00:00Z"),
        ("2026-07-01T09:00:00Z", "local", "2026-07-01T09:00:00Z"),
        ("2026-07-01T09:00:00-0500", "local", "2026-07-01T14:00:00Z"),
        ("  2026-07-01 09:00:00 ", "local", "2026-07-01T07:00:00Z"),
        ("1782896400", "epoch", "2026-07-01T09:00:00Z"),
        ("1782896400.0", "epoch", "2026-07-01T09:00:00Z"),
        ("0", "epoch", "1970-01-01T00:00:00Z"),
    ],
)
def test_forms(text: str, times: str, expected: str) -> None:
    assert _read(text, times) == expected


@pytest.mark.parametrize("times", ["utc", "epoch", "local"])
@pytest.mark.parametrize(
    "text", ["0000-00-00 00:00:00", "", "soon", "2026-13-01 09:00:00", "2026-02-30 09:00:00", None]
)
def test_zero_dates_and_rubbish_are_missing(text: str | None, times: str) -> None:
    assert _read(text, times) is None


def test_milliseconds_are_no_epoch_seconds() -> None:
    assert _read("1782896400000", "epoch") is None


def test_local_without_a_zone_is_missing_but_an_offset_is_enough() -> None:
    assert _read("2026-07-01 09:00:00", "local", None) is None
    assert _read("2026-07-01T09:00:00+02:00", "local", None) == "2026-07-01T07:00:00Z"


def test_ambiguous_time_is_the_first_and_a_gap_has_the_offset_before_it() -> None:
    text = pd.Series(
        ["2026-10-25 02:30:00", "2026-03-29 02:30:00", "2026-03-29 03:30:00"], dtype="str"
    )
    read = read_instants(text, times="local", zones=pd.Series(["Europe/Berlin"] * 3, dtype="str"))
    assert format_instants(read.at).tolist() == [
        "2026-10-25T00:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-29T01:30:00Z",
    ]
    assert read.ambiguous.tolist() == [True, False, False]
    assert read.shifted.tolist() == [False, True, False]


def test_rows_of_several_zones_keep_index_and_inputs() -> None:
    index = [9, 2, 5, 1]
    text = pd.Series(
        ["2026-07-01 09:00", "2026-07-01 09:00", "rubbish", "2026-07-01T09:00Z"],
        index=index,
        dtype="str",
    )
    zones = pd.Series(["Europe/Berlin", "America/New_York", "UTC", None], index=index, dtype="str")
    before = text.copy(), zones.copy()
    at = read_instants(text, times="local", zones=zones).at
    pd.testing.assert_series_equal(text, before[0])
    pd.testing.assert_series_equal(zones, before[1])
    assert at.index.tolist() == index
    expected = ["2026-07-01T07:00:00Z", "2026-07-01T13:00:00Z", "none", "2026-07-01T09:00:00Z"]
    assert format_instants(at).fillna("none").tolist() == expected


def test_no_rows() -> None:
    none = pd.Series([], dtype="str")
    for times in ("utc", "epoch", "local"):
        assert read_instants(none, times=times, zones=none).at.empty


_zones = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "UTC",
)


@settings(max_examples=150)
@given(
    wall=st.datetimes(datetime(2025, 1, 1), datetime(2030, 12, 31)).map(
        lambda at: at.replace(microsecond=0)
    ),
    zone=st.sampled_from(_zones),
)
@example(wall=datetime(2026, 10, 25, 2, 0), zone="Europe/Berlin")
@example(wall=datetime(2026, 3, 8, 2, 59, 59), zone="America/New_York")
@example(wall=datetime(2026, 4, 5, 1, 45), zone="Australia/Lord_Howe")
@example(wall=datetime(2026, 10, 4, 2, 15), zone="Australia/Lord_Howe")
def test_local_agrees_with_zoneinfo(wall: datetime, zone: str) -> None:
    expected = wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
    assert _read(wall.isoformat(" "), "local", zone) == expected.strftime("%Y-%m-%dT%H:%M:%SZ")


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=0)
    )
)
def test_epoch_agrees_with_datetime(at: datetime) -> None:
    assert _read(str(int(at.timestamp())), "epoch") == at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_format_cuts_to_seconds_and_keeps_missing() -> None:
    values = pd.Series(pd.to_datetime(["2026-07-01T09:00:00.987654Z", None], utc=True)).astype(
        INSTANT
    )
    assert format_instants(values).fillna("none").tolist() == ["2026-07-01T09:00:00Z", "none"]
