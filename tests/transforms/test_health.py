"""Both SELECTs of a source are judged by what they returned before (S4)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from schemas.config_guards import GuardsConfig
from transforms.diff.changes import SourceHealth
from transforms.guards.health import judge_health
from transforms.validate.source import Validated


def _read(events: int = 100, guests: int = 100, **columns: Any) -> Validated:
    none = pd.DataFrame()
    return Validated("hr", none, none, none, none, events, guests, **columns)


LAST = {"events": 100, "guests": 100, "outside_guests": 100}


@pytest.mark.parametrize(
    ("part", "rows", "healthy"),
    [("events", 70, True), ("events", 69, False), ("guests", 70, True), ("guests", 69, False)],
)
def test_s04_each_select_is_judged_for_itself(part: str, rows: int, healthy: bool) -> None:
    health, findings = judge_health(
        _read(**{part: rows}), LAST, 100 if part == "guests" else rows, GuardsConfig()
    )
    assert getattr(health, part) is healthy
    assert getattr(health, "guests" if part == "events" else "events")
    assert [f.guard for f in findings] == ([] if healthy else ["max_shrink_share"])


@pytest.mark.parametrize("part", ["events", "guests"])
def test_s04_nothing_at_all_is_never_healthy(part: str) -> None:
    health, _ = judge_health(
        _read(**{part: 0}), {"events": 2, "guests": 2, "outside_guests": 2}, 2, GuardsConfig()
    )
    assert not getattr(health, part)


@pytest.mark.parametrize(("rejected", "healthy"), [(20, True), (21, False)])
def test_s04_quarantined_share(rejected: int, healthy: bool) -> None:
    events, found = judge_health(_read(rejected_events=rejected), LAST, 100, GuardsConfig())
    guests, _ = judge_health(_read(rejected_guests=rejected), LAST, 100, GuardsConfig())
    assert (events.events, guests.guests) == (healthy, healthy)
    assert [f.guard for f in found] == ([] if healthy else ["max_quarantine_share"])


@pytest.mark.parametrize(("outside", "healthy"), [(70, True), (69, False)])
def test_s04_outside_guests_an_event(outside: int, healthy: bool) -> None:
    health, _ = judge_health(_read(), LAST, outside, GuardsConfig())
    assert health.events
    assert health.guests is healthy


def test_first_read_is_healthy_and_keeps_unreadable_keys() -> None:
    health, findings = judge_health(
        _read(unreadable_event_keys=2, unreadable_guest_events=3), None, 0, GuardsConfig()
    )
    assert (
        health.events,
        health.guests,
        health.unreadable_event_keys,
        health.unreadable_guest_events,
    ) == (True, True, 2, 3)
    assert findings == []


@pytest.mark.parametrize("key", ["max_shrink_share", "max_quarantine_share"])
def test_s04_limit_0_means_none_at_all(key: str) -> None:
    read = _read(events=99, guests=100) if key == "max_shrink_share" else _read(rejected_guests=1)
    _, findings = judge_health(read, LAST, 100, GuardsConfig(**{key: 0}))
    assert [f.guard for f in findings] == [key]
    assert judge_health(_read(), LAST, 100, GuardsConfig(**{key: 0}))[1] == []


@pytest.mark.parametrize(("lost", "healthy"), [(4, True), (5, False)])
def test_s04_a_share_below_min_count_does_not_fire(lost: int, healthy: bool) -> None:
    last = {"events": 6, "guests": 6, "outside_guests": 0}
    health, _ = judge_health(_read(events=6 - lost, guests=6), last, 0, GuardsConfig(min_count=5))
    assert health.events is healthy


@pytest.mark.parametrize("part", ["events", "guests"])
def test_s04_nothing_is_unhealthy_when_essentry_holds_something_of_it(part: str) -> None:
    health, findings = judge_health(
        _read(**{part: 0}), None, 0, GuardsConfig(), confirmed={"events": 3, "guests": 4}
    )
    assert not getattr(health, part)
    assert "returned nothing" in findings[0].message
    assert (
        judge_health(
            _read(**{part: 0}), None, 0, GuardsConfig(), confirmed={"events": 0, "guests": 0}
        )[1]
        == []
    )


def test_s04_findings_are_answered_by_holding_deletes_and_name_the_checks() -> None:
    rejects = pd.DataFrame(
        {
            "part": ["events"] * 25 + ["guests"],
            "check": ["host"] * 20 + ["start"] * 5 + ["guest_address"],
        }
    )
    read = Validated(
        "hr", pd.DataFrame(), pd.DataFrame(), rejects, pd.DataFrame(), 100, 100, rejected_events=25
    )
    _, (finding,) = judge_health(read, LAST, 100, GuardsConfig())
    assert finding.about_deletes
    assert finding.causes == ("host: 20 rows", "start: 5 rows")


# -- S27: rows that could be due -------------------------------------------------------------------

HISTORY = {
    "events": 20_000,
    "guests": 20_000,
    "outside_guests": 20_000,
    "coming_events": 30,
    "coming_guests": 30,
    "coming_outside": 30,
}
COMING = {
    "events": 30,
    "guests": 30,
    "rejected_events": 0,
    "rejected_guests": 0,
    "passed_events": 0,
    "passed_guests": 0,
}


def _judge(
    outside: int = 30, last: dict | None = HISTORY, **coming: int
) -> tuple[SourceHealth, list[str]]:
    read = _read(20_000, 20_000, rejected_events=9_000, coming=COMING | coming)
    health, findings = judge_health(read, last, 20_000, GuardsConfig(), coming_outside=outside)
    return health, [f.guard for f in findings]


def test_s27_quarantined_history_is_no_doubt() -> None:
    assert _judge()[1] == []
    assert _judge(rejected_events=6)[1] == []
    health, guards = _judge(rejected_events=7)
    assert (health.events, health.guests, guards) == (False, True, ["max_quarantine_share"])


@pytest.mark.parametrize("part", ["events", "guests"])
def test_s27_what_is_to_come_does_not_hide_behind_history(part: str) -> None:
    health, guards = _judge(**{part: 0}, outside=0 if part == "guests" else 30)
    assert not getattr(health, part)
    assert "max_shrink_share" in guards
    assert _judge(**{part: 21})[1] == []


@pytest.mark.parametrize("part", ["events", "guests"])
def test_s27_what_went_by_is_not_missing(part: str) -> None:
    assert _judge(events=2, guests=2, outside=2, passed_events=28, passed_guests=28)[1] == []
    assert _judge(**{part: 2})[1] != []


def test_s27_outside_guests_of_what_is_to_come() -> None:
    health, guards = _judge(outside=5)
    assert (health.events, health.guests, guards) == (True, False, ["max_shrink_share"])


def test_s27_a_read_of_an_older_release_is_compared_as_a_whole() -> None:
    old = {
        "events": 20_000,
        "guests": 20_000,
        "outside_guests": 20_000,
        "coming_events": None,
        "coming_guests": None,
        "coming_outside": None,
    }
    assert _judge(last=old, events=0, guests=0, outside=0)[1] == []
    assert _judge(last={**old, "events": 40_000})[1] == ["max_shrink_share"]


def test_s27_a_first_read_without_anything_to_come_is_a_doubt() -> None:
    read = _read(20_000, 20_000, coming=COMING | {"events": 0, "guests": 0})
    health, _ = judge_health(
        read, None, 0, GuardsConfig(), confirmed={"events": 30, "guests": 30}, coming_outside=0
    )
    assert (health.events, health.guests) == (False, False)
