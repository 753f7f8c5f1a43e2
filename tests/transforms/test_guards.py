"""Each guard trips over its limit and not on it; 0 means none."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from literal_frames import NOW, compare, config, desire, guest, know, meeting

from schemas.config import Config, GuardsConfig
from transforms.diff import Diff
from transforms.guards import Finding, check_guards, digest_policy, judge_health
from transforms.validate import Validated

OFF = {"max_deletes": 10**6, "max_delete_share": 1.0, "max_churn": 10**6}


def _guards(**limits: Any) -> Config:
    return config(guards=OFF | limits)


def _check(diff: Diff, snapshot: pd.DataFrame, settings: Config, **flags: Any) -> list[Finding]:
    plain = {"first_run": False, "policy_changed": False, "full": False}
    return check_guards(diff, snapshot, settings, as_of=NOW, **(plain | flags))


def _tripped(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.guard, finding.scope) for finding in findings}


def _deleting(count: int, of: int) -> tuple[Diff, pd.DataFrame]:
    every = [meeting(f"hr-{n:03}", guest(f"g{n}")) for n in range(of)]
    known = know(*every)
    gone = {row["source_id"]: "cancelled" for row in every[:count]}
    return compare(desire(*every[count:], dispositions=gone), known), known.snapshot


@pytest.mark.parametrize(("limit", "trips"), [(3, False), (2, True), (0, True)])
def test_deletes_by_count(limit: int, trips: bool) -> None:
    found = _tripped(_check(*_deleting(3, 10), _guards(max_deletes=limit)))
    assert found == ({("max_deletes", "run"), ("max_deletes", "source hr"), ("max_deletes", "location 1")} if trips else set())


def test_scopes_left_out_of_a_table_have_their_default() -> None:
    diff, snapshot = _deleting(26, 300)
    assert _tripped(_check(diff, snapshot, _guards(max_deletes={"run": 100}))) == {("max_deletes", "location 1")}


@pytest.mark.parametrize(("limit", "trips"), [(0.5, False), (0.49, True)])
def test_deletes_by_share(limit: float, trips: bool) -> None:
    found = _tripped(_check(*_deleting(5, 10), _guards(max_delete_share=limit)))
    assert (("max_delete_share", "run") in found) is trips


def test_share_needs_min_count_unless_it_is_0() -> None:
    diff, snapshot = _deleting(4, 4)
    assert _tripped(_check(diff, snapshot, _guards(max_delete_share=0.1, min_count=5))) == set()
    assert ("max_delete_share", "run") in _tripped(_check(diff, snapshot, _guards(max_delete_share=0.1, min_count=4)))
    assert ("max_delete_share", "run") in _tripped(_check(diff, snapshot, _guards(max_delete_share=0, min_count=5)))


def test_no_delete_trips_nothing_at_limit_0() -> None:
    diff, snapshot = _deleting(0, 3)
    assert _check(diff, snapshot, _guards(max_deletes=0, max_delete_share=0, max_people_mailed=0, max_guest_removals=0)) == []


def test_findings_about_deletes_name_their_causes() -> None:
    findings = _check(*_deleting(2, 3), _guards(max_deletes=1))
    assert findings[0].causes == ("hr-000", "hr-001")
    assert findings[0].number == 2
    assert findings[0].limit == 1


@pytest.mark.parametrize(("limit", "trips"), [(2, False), (1, True), (0, True)])
def test_guest_removals_count_meetings_that_stay_alone(limit: int, trips: bool) -> None:
    known = know(meeting("hr-1", guest("a"), guest("b"), guest("c")), meeting("hr-2", guest("d")))
    diff = compare(desire(meeting("hr-1", guest("c")), dispositions={"hr-2": "cancelled"}), known)
    found = _tripped(_check(diff, known.snapshot, _guards(max_guest_removals=limit)))
    assert (("max_guest_removals", "run") in found) is trips


def _inviting() -> tuple[Diff, pd.DataFrame]:
    """Two people, three invitations."""
    one, two = guest("a1", "a@guest.example"), guest("a2", "a@guest.example")
    known = know()
    return compare(desire(meeting("hr-1", one, guest("b")), meeting("hr-2", two)), known), known.snapshot


@pytest.mark.parametrize(
    ("guard", "scope", "number"),
    [("max_new_invitations", "run", 3), ("max_people_mailed", "run", 2), ("max_mails_per_guest", "run", 2)],
)
def test_people(guard: str, scope: str, number: int) -> None:
    assert (guard, scope) not in _tripped(_check(*_inviting(), _guards(**{guard: number})))
    tripped = [f for f in _check(*_inviting(), _guards(**{guard: number - 1})) if f.guard == guard]
    assert [(f.scope, f.number, f.limit) for f in tripped] == [(scope, number, number - 1)]
    assert (guard, scope) in _tripped(_check(*_inviting(), _guards(**{guard: 0})))


@pytest.mark.parametrize("kind", ["invited", "updated", "cancelled"])
def test_people_by_kind(kind: str) -> None:
    known = know(meeting("hr-1", guest("a"), guest("b")))
    diff = compare(desire(meeting("hr-1", guest("a"), guest("n"), name="New")), known)
    assert _tripped(_check(diff, known.snapshot, _guards(max_people_mailed={kind: 1}))) == set()
    assert _tripped(_check(diff, known.snapshot, _guards(max_people_mailed={kind: 0}))) == {("max_people_mailed", kind)}


def test_full_resend_needs_approval_by_default() -> None:
    known = know(meeting("hr-1", guest("a")))
    diff = compare(desire(meeting("hr-1", guest("a"))), known, full=True)
    assert _tripped(_check(diff, known.snapshot, _guards(), full=True)) == {("max_full_resend", "run")}
    assert _check(diff, known.snapshot, _guards(max_full_resend=1), full=True) == []
    assert _check(diff, known.snapshot, _guards(), full=False) == []


def test_s15_churn_pairs_creates_with_what_is_gone() -> None:
    known = know(meeting("hr-1", guest("a")))
    diff = compare(desire(meeting("hr-9", guest("z", "a@guest.example"))), known)
    same = ("start", 1, "host", ("a@guest.example",))
    contents = {"hr-1": same, "hr-9": same}
    tripped = _check(diff, known.snapshot, _guards(max_churn=0), contents=contents)
    assert [(f.guard, f.causes) for f in tripped] == [("max_churn", ("hr-1 → hr-9",))]
    assert _check(diff, known.snapshot, _guards(max_churn=1), contents=contents) == []
    assert _check(diff, known.snapshot, _guards(max_churn=0), contents={**contents, "hr-1": ("other",)}) == []


@pytest.mark.parametrize(("flag", "guard"), [("first_run", "approve_first_run"), ("policy_changed", "approve_policy_change")])
def test_approvals(flag: str, guard: str) -> None:
    diff, snapshot = _inviting()
    assert _tripped(_check(diff, snapshot, _guards(), **{flag: True})) == {(guard, "run")}
    assert _check(diff, snapshot, _guards(**{guard: False}), **{flag: True}) == []
    nothing = compare(desire(), know())
    assert _check(nothing, know().snapshot, _guards(), **{flag: True}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"essentry": {"guest_list": "authoritative"}},
        {"window": {"days_ahead": 7}},
        {"guests": "all"},
        {"internal_domains": ["other.example"]},
        {"sites": {"hq": {"location_id": 2}}},
        {"private_title": "Busy"},
        {"pending": "send"},
    ],
)
def test_s14_policy_digest_follows_who_is_invited(change: dict) -> None:
    base = config()
    if set(change) <= {"essentry", "window"}:
        other = config(**change)
    else:
        other = config(sources={"hr": base.sources["hr"].model_dump(exclude_none=True) | change})
    assert digest_policy(other)[0] != digest_policy(base)[0]


def test_s14_policy_digest_leaves_the_rest_alone() -> None:
    assert digest_policy(config(essentry={"concurrency": 1}, guards={"max_deletes": 1}))[0] == digest_policy(config())[0]


# -- health of the reads ----------------------------------------------------------------------------------------------


def _read(events: int = 100, guests: int = 100, **columns: int) -> Validated:
    none = pd.DataFrame()
    return Validated("hr", none, none, none, none, events, guests, **columns)


LAST = {"events": 100, "guests": 100, "outside_guests": 100}


@pytest.mark.parametrize(
    ("part", "rows", "healthy"), [("events", 70, True), ("events", 69, False), ("guests", 70, True), ("guests", 69, False)]
)
def test_s04_each_select_is_judged_for_itself(part: str, rows: int, healthy: bool) -> None:
    health, findings = judge_health(_read(**{part: rows}), LAST, 100 if part == "guests" else rows, GuardsConfig())
    assert getattr(health, part) is healthy
    assert getattr(health, "guests" if part == "events" else "events")
    assert [f.guard for f in findings] == ([] if healthy else ["max_shrink_share"])


@pytest.mark.parametrize("part", ["events", "guests"])
def test_s04_nothing_at_all_is_never_healthy(part: str) -> None:
    health, _ = judge_health(_read(**{part: 0}), {"events": 2, "guests": 2, "outside_guests": 2}, 2, GuardsConfig())
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
    health, findings = judge_health(_read(unreadable_event_keys=2, unreadable_guest_events=3), None, 0, GuardsConfig())
    assert (health.events, health.guests, health.unreadable_event_keys, health.unreadable_guest_events) == (True, True, 2, 3)
    assert findings == []
