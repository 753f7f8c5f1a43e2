"""Each guard trips over its limit and not on it; 0 means none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from literal_frames import NOW, compare, config, desire, guest, know, meeting

from schemas.config import Config
from schemas.config_guards import GuardsConfig
from transforms.diff.changes import Diff
from transforms.diff.rekeyed import join_places
from transforms.guards.churn import find_churn, list_candidates
from transforms.guards.findings import Finding
from transforms.guards.guards import check_guards

OFF = {"max_deletes": 10**6, "max_delete_share": 1.0, "max_update_share": 1.0, "max_churn": 10**6}


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
    assert found == (
        {("max_deletes", "run"), ("max_deletes", "source hr"), ("max_deletes", "location 1")}
        if trips
        else set()
    )


def test_scopes_left_out_of_a_table_have_their_default() -> None:
    diff, snapshot = _deleting(26, 300)
    assert _tripped(_check(diff, snapshot, _guards(max_deletes={"run": 100}))) == {
        ("max_deletes", "location 1")
    }


@pytest.mark.parametrize(("limit", "trips"), [(0.5, False), (0.49, True)])
def test_deletes_by_share(limit: float, trips: bool) -> None:
    found = _tripped(_check(*_deleting(5, 10), _guards(max_delete_share=limit)))
    assert (("max_delete_share", "run") in found) is trips


def test_share_needs_min_count_unless_it_is_0() -> None:
    diff, snapshot = _deleting(4, 4)
    assert _tripped(_check(diff, snapshot, _guards(max_delete_share=0.1, min_count=5))) == set()
    assert ("max_delete_share", "run") in _tripped(
        _check(diff, snapshot, _guards(max_delete_share=0.1, min_count=4))
    )
    assert ("max_delete_share", "run") in _tripped(
        _check(diff, snapshot, _guards(max_delete_share=0, min_count=5))
    )


def test_a_small_sites_wipe_does_not_hide_behind_the_rest() -> None:
    large = [meeting(f"hr-{n:03}", guest(f"g{n}")) for n in range(100)]
    small = [meeting(f"hr-s{n}", guest(f"s{n}"), location_id=2) for n in range(6)]
    known = know(*large, *small)
    diff = compare(
        desire(*large, dispositions={row["source_id"]: "cancelled" for row in small}), known
    )
    assert _tripped(_check(diff, known.snapshot, config())) == {("max_delete_share", "location 2")}


def test_no_delete_trips_nothing_at_limit_0() -> None:
    diff, snapshot = _deleting(0, 3)
    assert (
        _check(
            diff,
            snapshot,
            _guards(max_deletes=0, max_delete_share=0, max_people_mailed=0, max_guest_removals=0),
        )
        == []
    )


def test_findings_about_deletes_name_their_causes() -> None:
    findings = _check(*_deleting(2, 3), _guards(max_deletes=1))
    assert findings[0].causes == ("hr-000: 1 guest, cancelled", "hr-001: 1 guest, cancelled")
    assert (
        "2 cancellations of 3 upcoming events (2 cancelled), over the limit of 1 (run)"
        in findings[0].message
    )
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
    return compare(
        desire(meeting("hr-1", one, guest("b")), meeting("hr-2", two)), known
    ), known.snapshot


@pytest.mark.parametrize(
    ("guard", "scope", "number"),
    [
        ("max_new_invitations", "run", 3),
        ("max_people_mailed", "run", 2),
        ("max_mails_per_guest", "run", 2),
    ],
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
    assert _tripped(_check(diff, known.snapshot, _guards(max_people_mailed={kind: 0}))) == {
        ("max_people_mailed", kind)
    }


def test_full_resend_needs_approval_by_default() -> None:
    known = know(meeting("hr-1", guest("a")))
    diff = compare(desire(meeting("hr-1", guest("a"))), known, full=True)
    assert _tripped(_check(diff, known.snapshot, _guards(), full=True)) == {
        ("max_full_resend", "run")
    }
    assert _check(diff, known.snapshot, _guards(max_full_resend=1), full=True) == []
    assert _check(diff, known.snapshot, _guards(), full=False) == []


def _churn(diff: Diff, desired: Any, known: Any) -> tuple[str, ...]:
    active = known.snapshot[known.snapshot["state"] == "active"]
    candidates = list_candidates(
        diff, desired.events, desired.invitations, np.sort(join_places(active))
    )
    return find_churn(diff, candidates, known.snapshot, known.payloads)


@pytest.mark.parametrize(
    "gone",
    [{}, {"hr-1": "cancelled"}, {"hr-1": "quarantined"}, {"hr-1": "pending"}],
    ids=["absent", "cancelled", "quarantined", "pending"],
)
def test_s15_churn_pairs_creates_with_what_is_gone_or_held(gone: dict[str, str]) -> None:
    known = know(meeting("hr-1", guest("a")))
    desired = desire(meeting("hr-9", guest("z", "a@guest.example")), dispositions=gone)
    diff = compare(desired, known)
    churn = _churn(diff, desired, known)
    assert churn == ("hr-1 → hr-9",)
    tripped = _check(diff, known.snapshot, _guards(max_churn=0), churn=churn)
    assert [(f.guard, f.causes, f.about_deletes) for f in tripped] == [("max_churn", churn, False)]
    assert _check(diff, known.snapshot, _guards(max_churn=1), churn=churn) == []


@pytest.mark.parametrize(
    "other",
    [
        meeting("hr-9", guest("z", "a@guest.example"), starts_at="2026-03-10T10:00:00Z"),
        meeting("hr-9", guest("z", "a@guest.example"), location_id=2),
        meeting("hr-9", guest("z", "a@guest.example"), host_email="other@corp.example"),
        meeting("hr-9", guest("z", "b@guest.example")),
    ],
    ids=["start", "place", "host", "guests"],
)
def test_s15_another_meeting_is_no_churn(other: dict) -> None:
    known = know(meeting("hr-1", guest("a")))
    desired = desire(other)
    assert _churn(compare(desired, known), desired, known) == ()


def test_s15_each_gone_event_pairs_once() -> None:
    known = know(meeting("hr-1", guest("a")))
    desired = desire(
        meeting("hr-8", guest("y", "a@guest.example")),
        meeting("hr-9", guest("z", "a@guest.example")),
    )
    assert len(_churn(compare(desired, known), desired, known)) == 1


def test_s15_churn_looks_at_invitations_too() -> None:
    old, new = (
        guest("a", "a@guest.example", last_name="Doe, Jane"),
        guest("z", "a@guest.example", last_name="Jane Doe"),
    )
    known = know(meeting("hr-1", old, guest("b")))
    desired = desire(meeting("hr-1", new, guest("b")))
    assert _churn(compare(desired, known), desired, known) == (
        "a guest of hr-1 under another invitation id",
    )
    desired = desire(meeting("hr-1", guest("c"), guest("b")))
    assert _churn(compare(desired, known), desired, known) == ()


@pytest.mark.parametrize(
    ("flag", "guard"),
    [("first_run", "approve_first_run"), ("policy_changed", "approve_policy_change")],
)
def test_approvals(flag: str, guard: str) -> None:
    diff, snapshot = _inviting()
    assert _tripped(_check(diff, snapshot, _guards(), **{flag: True})) == {(guard, "run")}
    assert _check(diff, snapshot, _guards(**{guard: False}), **{flag: True}) == []
    nothing = compare(desire(), know())
    assert _check(nothing, know().snapshot, _guards(), **{flag: True}) == []


def test_limits_left_out_of_a_table_of_people_have_their_default() -> None:
    many = [meeting(f"hr-{n}", *(guest(f"g{n}-{m}") for m in range(100))) for n in range(11)]
    diff = compare(desire(*many), know())
    wide = {"max_new_invitations": 10**6, "max_people_mailed": {"cancelled": 5}}
    assert _tripped(_check(diff, know().snapshot, _guards(**wide))) == {
        ("max_people_mailed", "run")
    }


@pytest.mark.parametrize(
    ("limits", "about"),
    [
        ({"max_deletes": 0}, True),
        ({"max_delete_share": 0}, True),
        ({"max_people_mailed": 2}, True),
        ({"max_people_mailed": 1}, False),
        ({"max_people_mailed": {"cancelled": 1}}, True),
        ({"max_people_mailed": {"cancelled": 0}}, False),
        ({"max_people_mailed": {"invited": 0}}, False),
        ({"max_mails_per_guest": 1}, True),
        ({"max_mails_per_guest": 0}, False),
        ({"max_guest_removals": 0}, False),
        ({"max_new_invitations": 0}, False),
    ],
)
def test_which_findings_are_answered_by_holding_deletes_back(limits: dict, about: bool) -> None:
    """hr-1 loses a guest and gets one; hr-2 and hr-3 are cancelled, whose guest is one person."""
    twice = guest("x", "x@guest.example")
    known = know(
        meeting("hr-1", guest("a"), guest("b")),
        meeting("hr-2", twice),
        meeting("hr-3", {**twice, "invitation_id": "y"}),
    )
    diff = compare(
        desire(
            meeting("hr-1", guest("a"), guest("n")),
            dispositions={"hr-2": "cancelled", "hr-3": "cancelled"},
        ),
        known,
    )
    findings = _check(diff, known.snapshot, _guards(**limits))
    assert findings
    assert {finding.about_deletes for finding in findings} == {about}


def test_causes_are_the_ten_largest_and_name_no_person() -> None:
    large = [meeting(f"hr-{n:02}", *(guest(f"g{n}-{m}") for m in range(n))) for n in range(1, 13)]
    diff = compare(desire(*large), know())
    invited = next(
        f
        for f in _check(diff, know().snapshot, _guards(max_new_invitations=0))
        if f.guard == "max_new_invitations"
    )
    assert invited.causes[0] == "hr-12: 12 guests"
    assert invited.causes[-1] == "hr-03: 3 guests"
    assert len(invited.causes) == 10
    diff, snapshot = _inviting()
    named = next(
        f
        for f in _check(diff, snapshot, _guards(max_mails_per_guest=0))
        if f.guard == "max_mails_per_guest"
    )
    assert named.causes == ("a…@guest.example: 2 mails", "b…@guest.example: 1 mail")


def test_first_run_names_its_places() -> None:
    diff, snapshot = _inviting()
    (first,) = _check(diff, snapshot, _guards(), first_run=True)
    assert first.causes == ("hr, location 1: 2 events",)
    assert "create 2 events and invite 2 people (3 invitations)" in first.message


# -- every key, one below its limit and over it ----------------------------------------------------


def _night() -> tuple[Diff, pd.DataFrame]:
    """Of ten events: two cancelled (two people), one changed with a guest removed and one added
    (three people), one new; x gets two mails.
    """
    known = know(
        *(
            meeting(f"hr-{n}", guest(f"g{n}"), guest(f"x{n}", f"x{n}@guest.example"))
            for n in range(10)
        )
    )
    kept = [
        meeting(f"hr-{n}", guest(f"g{n}"), guest(f"x{n}", f"x{n}@guest.example"))
        for n in range(3, 10)
    ]
    changed = meeting("hr-2", guest("g2"), guest("n", "n@guest.example"), name="Another title")
    new = meeting("hr-new", guest("n2", "n@guest.example"))
    diff = compare(
        desire(*kept, changed, new, dispositions={"hr-0": "cancelled", "hr-1": "cancelled"}), known
    )
    return diff, known.snapshot


# key: (a limit that just holds, one that does not, flags of the plan)
TABLE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "max_deletes": (2, 1, {}),
    "max_delete_share": (0.2, 0.19, {}),
    "max_guest_removals": (1, 0, {}),
    "max_new_invitations": (2, 1, {}),
    "max_people_mailed": (7, 6, {}),
    "max_people_mailed.total": ({"total": 7}, {"total": 6}, {}),
    "max_people_mailed.invited": ({"invited": 1}, {"invited": 0}, {}),
    "max_people_mailed.updated": ({"updated": 1}, {"updated": 0}, {}),
    "max_people_mailed.cancelled": ({"cancelled": 5}, {"cancelled": 4}, {}),
    "max_mails_per_guest": (2, 1, {}),
    "max_update_share": (0.1, 0.09, {}),
    "max_churn": (1, 0, {"churn": ("a → b",)}),
    "max_full_resend": (7, 6, {"full": True}),
    "approve_first_run": (False, True, {"first_run": True}),
    "approve_policy_change": (False, True, {"policy_changed": True}),
    "min_count": (3, 2, {}),
}
ELSEWHERE = {  # judged before there is a plan, or when one is sent
    "max_quarantine_share": "test_health", "max_shrink_share": "test_health",
    "delete_after_runs": "test_rules_at_night",
    "max_outside_hosts": "test_s24_strangers",
    "max_host_domain_guests": "test_s24_strangers", "max_new_domain_guests": "test_s24_strangers",
    "limit_hours": "test_s27_limits", "max_clock_minutes": "test_wrong_clocks",
    "clock_tolerance_minutes": "test_wrong_clocks",
    "on_trip": "test_guarded_nights", "plan_max_age_hours": "test_rules_at_night",
    "approval_wait_minutes": "test_waiting",
    "sql": "nights/test_sql_guards", "sql_seconds": "nights/test_sql_guards",
}  # fmt: skip


@pytest.mark.parametrize("key", TABLE)
def test_every_guard_trips_over_its_limit_and_not_on_it(key: str) -> None:
    holds, trips, flags = TABLE[key]
    name = key.partition(".")[0]
    wide = {
        "max_guest_removals": 99,
        "max_new_invitations": 99,
        "max_mails_per_guest": 99,
        "min_count": 1,
    }
    wide |= {"max_full_resend": 99, "approve_first_run": False, "approve_policy_change": False}
    wide |= {"max_delete_share": 0.1} if key == "min_count" else {}
    diff, snapshot = _night()
    assert _check(diff, snapshot, _guards(**(wide | {name: holds})), **flags) == []
    tripped = _check(diff, snapshot, _guards(**(wide | {name: trips})), **flags)
    assert {finding.guard for finding in tripped} == {
        "max_delete_share" if key == "min_count" else name
    }
    assert all(finding.causes for finding in tripped if name != "approve_policy_change")


def test_no_key_of_the_guards_is_without_a_test() -> None:
    assert {key.partition(".")[0] for key in TABLE} | set(ELSEWHERE) == set(
        GuardsConfig.model_fields
    )
