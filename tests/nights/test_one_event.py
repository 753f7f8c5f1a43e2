"""A run that is restricted to some events: they go by every check of a night, and for all others it
is as if it had never been.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.night.session import open_state
from flows.operations.history import find_run
from flows.operations.part import PartResult, run_part
from schemas.errors import ConfigurationError, StalePlanError
from tests.firm import Firm, guards_of
from transforms.guards.restriction import read_restriction
from transforms.report.check import judge_runs
from transforms.report.history import list_history


def send(
    firm: Firm, *events: str, full: bool = False, dry: bool = False, **chosen: Any
) -> PartResult:
    firm.write()
    firm.now += timedelta(minutes=1)
    only = read_restriction(events=events, **chosen)
    return run_part(firm.config, only, as_of=firm.now, full=full, send=not dry)


def mailed(firm: Firm) -> set[tuple[str, str]]:
    return {(kind, event) for kind, event, _, _ in firm.new_mails()}


def titled(firm: Firm, key: str) -> str:
    return str(firm.sandbox.state()["events"][f"rooms-{key}"]["name"])


def standing(firm: Firm) -> tuple[Any, ...]:
    """What a night owes and a selection must leave as it is."""
    with open_state(firm.config) as state:
        rows = state.read_fingerprints()
        return (
            state.last_good_reads(),
            state.policy_digest(),
            state.policy_json(),
            state.list_absent().to_dict("records"),
            len(rows),
        )


@pytest.fixture
def office(firm: Firm) -> Firm:
    """Six meetings that essentry holds; then a new title in one, a new guest in a second, a third
    gone, and one that is new.
    """
    firm.book_many(6)
    assert firm.night().exit_code == 0
    firm.new_mails()
    firm.meetings["rooms"]["m000"]["name"] = "Another title"
    firm.meetings["rooms"]["m001"]["guests"]["zoe"] = "zoe@out.example"
    firm.cancel("m002")
    firm.book("new")
    return firm


def test_one_event_goes_and_the_others_wait_for_the_night(office: Firm) -> None:
    before = standing(office)
    found = send(office, "rooms-m001")
    assert (
        found.result.exit_code,
        found.result.report["run"]["kind"],
        found.result.report["outcomes"],
    ) == (0, "part", {"confirmed": 1})
    assert mailed(office) == {("invited", "rooms-m001")}
    assert titled(office, "m000") == "Visit m000"
    assert standing(office) == before
    night = office.night()
    assert (night.exit_code, night.report["outcomes"]) == (0, {"confirmed": 3})
    assert mailed(office) == {
        ("updated", "rooms-m000"),
        ("cancelled", "rooms-m002"),
        ("invited", "rooms-new"),
    }
    assert office.night().report["outcomes"] == {}


def test_each_step_is_told_and_nobody_is_named(office: Firm) -> None:
    (event,) = send(office, "m001").explained  # the source's own key
    assert event["source_id"] == "rooms-m001"
    assert "rooms shows 'm001'" in event["read"]
    assert "h…@corp.example; 2 guest rows" in event["read"]
    assert event["validated"] == "nothing was set aside"
    assert "location 11, 2 guests" in event["built"]
    assert event["compared"].startswith("update: +1 guest")
    assert event["guards"] == "none trips"
    assert event["request"] == "PUT, no field; 1 guest; guests that it leaves out stay"
    assert event["answer"] == "confirmed"
    assert "zoe@" not in str(event)
    assert "Zoe" not in str(event)
    (again,) = send(office, "rooms-m001").explained
    assert again["compared"].startswith("unchanged")
    assert again["answer"] == "none: nothing was asked"


def test_absences_are_counted_by_nights_alone_and_the_shrink_measure_stays(firm: Firm) -> None:
    firm.sections["guards"] |= {"delete_after_runs": 2}
    firm.book_many(6)
    assert firm.night().exit_code == 0
    firm.cancel("m002")
    firm.new_mails()
    for _ in range(3):  # each finds it missing, and none is a night in which it was
        found = send(firm, "rooms-m002")
        assert "waits for more runs" in found.explained[0]["compared"]
        send(firm, "rooms-m000")
    assert mailed(firm) == set()
    firm.night()
    assert mailed(firm) == set()
    firm.night()
    assert mailed(firm) == {("cancelled", "rooms-m002")}


def test_a_source_that_shrank_stops_the_selection_and_the_next_night_alike(office: Firm) -> None:
    office.book_many(20, first=100)
    assert office.night().exit_code == 0
    office.new_mails()
    office.cancel(*[f"m{number}" for number in range(100, 120)])
    office.meetings["rooms"]["m000"]["name"] = "A third title"
    found = send(office, "rooms-m000")
    assert (found.result.exit_code, guards_of(found.result)) == (4, {"max_shrink_share"})
    assert "max_shrink_share" in found.explained[0]["guards"]
    assert mailed(office) == set()
    night = office.night()
    assert (night.exit_code, "max_shrink_share" in guards_of(night), mailed(office)) == (
        4,
        True,
        set(),
    )


def test_a_waiting_plan_is_not_touched_unless_it_has_the_event(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 0}
    assert office.night().exit_code == 4
    waiting = office.plan_of()[0]
    office.book("later")
    assert send(office, "rooms-later").result.exit_code == 0
    assert office.plan_of()[0] == waiting  # still the latest, and still waits
    assert office.approve()
    assert office.apply().exit_code == 0
    assert mailed(office) == {
        ("invited", "rooms-later"), ("invited", "rooms-m001"), ("updated", "rooms-m000"),
        ("cancelled", "rooms-m002"), ("invited", "rooms-new"),
    }  # fmt: skip


def test_a_waiting_plan_with_the_event_is_stale(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 0}
    assert office.night().exit_code == 4
    assert send(office, "rooms-m000").result.exit_code == 0
    assert office.approve()
    with pytest.raises(StalePlanError, match=r"1 of its events have moved since \(rooms-m000\)"):
        office.apply()
    assert mailed(office) == {("updated", "rooms-m000")}


def test_s08_a_waiting_plan_does_not_know_of_a_request_without_an_answer(office: Firm) -> None:
    """The source goes back to what the plan has, and what was asked in between may stand in
    essentry.
    """
    office.sections["guards"] |= {"max_deletes": 0}
    assert office.night().exit_code == 4
    office.meetings["rooms"]["m001"]["guests"]["yan"] = "yan@out.example"
    office.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    assert send(office, "rooms-m001").result.exit_code != 0
    del office.meetings["rooms"]["m001"]["guests"]["yan"]
    office.sandbox.clear_faults()
    office.write()
    assert office.approve()
    with pytest.raises(StalePlanError, match="rooms-m001"):
        office.apply()
    office.sections["guards"] |= {"max_deletes": 5}
    assert {guest for guest in office.held()["rooms-m001"] if "yan" in guest}
    office.night()
    assert not {guest for guest in office.held()["rooms-m001"] if "yan" in guest}


def test_a_standing_approval_survives_and_a_selection_is_none(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 0}
    assert office.night().exit_code == 4
    assert office.approve()
    assert send(office, "rooms-new").result.exit_code == 0
    assert office.night().exit_code == 0  # the approval of the newest plan of a night
    assert ("cancelled", "rooms-m002") in mailed(office)
    office.cancel("m003", "m004")
    held = send(office, "rooms-m003")
    assert held.result.exit_code == 4
    assert office.approve(held.result.report["plan"]["plan_id"])
    night = office.night()
    assert (night.exit_code, "max_deletes" in guards_of(night), mailed(office)) == (4, True, set())


def test_a_guard_holds_the_selection_and_its_plan_can_be_approved(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 0}
    before = standing(office)
    found = send(office, "rooms-m002")
    assert (found.result.exit_code, guards_of(found.result), mailed(office)) == (
        4,
        {"max_deletes"},
        set(),
    )
    assert found.explained[0]["answer"] == "none: it was not sent"
    plan = found.result.report["plan"]["plan_id"]
    assert office.approve(plan)
    assert office.apply(plan).exit_code == 0
    assert mailed(office) == {("cancelled", "rooms-m002")}
    assert standing(office) == before
    with open_state(office.config) as state:
        runs = state.runs()
    assert runs["kind"].tolist() == ["sync", "part", "part"]
    # it is no night, for the history or for monitoring
    assert [run["kind"] for run in list_history(runs)] == ["sync"]
    late = judge_runs(
        runs, now=datetime.now(UTC) + timedelta(hours=27), max_age=timedelta(hours=26)
    )
    assert late[1] == "LATE"


def test_the_next_night_replaces_a_selection_that_waits(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 0}
    plan = send(office, "rooms-m002").result.report["plan"]["plan_id"]
    office.sections["guards"] |= {"max_deletes": 5}
    assert office.night().exit_code == 0
    assert not office.approve(plan)
    with pytest.raises(StalePlanError, match="superseded"):
        office.apply(plan)


def test_a_limit_of_the_day_counts_what_was_sent_before_one_by_one(office: Firm) -> None:
    office.sections["guards"] |= {"max_deletes": 1}
    office.cancel("m003")
    assert send(office, "rooms-m002").result.exit_code == 0
    found = send(office, "rooms-m003")
    assert (found.result.exit_code, guards_of(found.result)) == (4, {"max_deletes"})
    assert "1 of them in the 24 hours before" in found.explained[0]["guards"]


def test_full_sends_an_event_again_that_has_not_changed(office: Firm) -> None:
    office.sections["guards"] |= {"max_full_resend": 1}
    found = send(office, "rooms-m004", full=True)
    assert (found.result.exit_code, found.result.report["outcomes"]) == (0, {"confirmed": 1})
    assert found.explained[0]["compared"].startswith("update: full")
    assert {event for _, event in mailed(office)} <= {"rooms-m004"}
    office.sections["guards"] |= {"max_full_resend": 0}
    assert guards_of(send(office, "rooms-m004", full=True).result) == {"max_full_resend"}


def test_a_part_is_sent_again_by_source_location_and_day(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    firm.book("a")
    firm.book("b", site="2")
    firm.book("c", site="2", start=firm.meetings["rooms"]["b"]["start"] + timedelta(days=3))
    firm.book("d", source="hr", site="2")
    assert firm.night().exit_code == 0
    firm.sections["guards"] |= {"max_full_resend": 9}
    day = firm.meetings["rooms"]["b"]["start"].date().isoformat()
    last = (firm.meetings["rooms"]["b"]["start"] + timedelta(days=1)).date().isoformat()

    def replay(**chosen: Any) -> set[str]:
        found = send(firm, full=True, **chosen)
        assert found.result.exit_code == 0
        return {event["source_id"] for event in found.explained if event["answer"] == "confirmed"}

    assert replay(sources=["rooms"], locations=[12], first=day, last=last) == {"rooms-b"}
    assert replay(sources=["rooms"], locations=[12]) == {"rooms-b", "rooms-c"}
    assert replay(locations=[12]) == {"rooms-b", "rooms-c", "hr-d"}
    assert replay(sources=["hr"]) == {"hr-d"}
    assert replay(first="2001-01-01", last="2001-01-02") == set()


def test_a_guest_is_found_in_the_source_and_in_essentry(office: Firm) -> None:
    found = send(office, guests=["zoe@out.example"])
    assert (found.result.exit_code, mailed(office)) == (0, {("invited", "rooms-m001")})
    del office.meetings["rooms"]["m001"]["guests"]["zoe"]
    (invitation,) = (guest for guest in office.held()["rooms-m001"] if "zoe" in guest)
    found = send(office, guests=[invitation])
    assert (found.result.exit_code, mailed(office)) == (0, {("cancelled", "rooms-m001")})
    assert "zoe@out.example" not in str(office.plan_of(found.result.report["plan"]["plan_id"])[0])


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"events": ["rooms-m00l"]}, "near it are rooms-m00"),
        ({"events": ["nobody's"]}, "neither essentry nor a source has an event"),
        ({"guests": ["nobody@out.example"]}, "n…@out.example: no event to come has this guest"),
        ({"events": ["rooms-m000"], "guests": ["zoe@out.example"]}, "no guest of rooms-m000"),
        ({"sources": ["hr"]}, "the configuration names rooms"),
        ({"locations": [99]}, "essentry's locations here are 11, 12"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_remedy(
    office: Firm, chosen: dict[str, Any], told: str
) -> None:
    events = chosen.pop("events", [])
    with pytest.raises(ConfigurationError, match=told):
        send(office, *events, **chosen)
    assert mailed(office) == set()


def test_an_event_of_a_source_that_failed_is_refused_and_one_of_another_goes(firm: Firm) -> None:
    firm.sections["on_source_failure"] = "others"
    firm.meetings["hr"] = {}
    firm.book("a")
    firm.book("b", source="hr")
    assert firm.night().exit_code == 0
    firm.new_mails()
    firm.broken.add("hr")
    firm.meetings["rooms"]["a"]["name"] = "Another title"
    for chosen in ({"events": ["hr-b"]}, {"sources": ["hr"]}, {"locations": [11]}):
        with pytest.raises(ConfigurationError, match="the source hr could not be read"):
            send(firm, *chosen.pop("events", []), **chosen)
    found = send(firm, "rooms-a")
    assert (found.result.exit_code, mailed(firm)) == (0, {("updated", "rooms-a")})


@pytest.mark.parametrize("planned", [False, True])
def test_a_guest_who_may_have_meetings_in_a_source_that_failed_is_told(
    firm: Firm, planned: bool
) -> None:
    firm.sections["on_source_failure"] = "others"
    firm.meetings["hr"] = {}
    firm.book("a", "ada")
    firm.book("b", "bob", source="hr")
    assert firm.night().exit_code == 0
    firm.new_mails()
    firm.broken.add("hr")
    firm.meetings["rooms"]["a"]["name"] = "Another title"
    found = send(firm, guests=["ada@out.example"], dry=planned).result
    if planned:
        assert mailed(firm) == set()
        found = firm.apply(found.report["plan"]["plan_id"])
    assert (found.exit_code, mailed(firm)) == (3, {("updated", "rooms-a")})
    assert set(found.report["failed_sources"]) == {"hr"}


def test_nothing_can_be_chosen_before_the_first_run_or_of_a_new_source(firm: Firm) -> None:
    firm.book("a")
    with pytest.raises(ConfigurationError, match="nothing was ever sent"):
        send(firm, "rooms-a")
    assert firm.night().exit_code == 0
    firm.meetings["hr"] = {}
    firm.book("b", source="hr")
    with pytest.raises(ConfigurationError, match="nothing was ever sent of the source 'hr'"):
        send(firm, "hr-b")
    assert set(firm.held()) == {"rooms-a"}


def test_s24_a_selection_does_not_answer_for_changed_settings(office: Firm) -> None:
    office.source_settings["rooms"] = {"guests": "all"}
    found = send(office, "rooms-m000")
    assert "approve_policy_change" in guards_of(found.result)
    plan = found.result.report["plan"]["plan_id"]
    office.approve(plan)
    office.apply(plan)
    assert "approve_policy_change" in guards_of(office.night())


def test_s21_a_guest_who_moves_brings_the_other_meeting_along(firm: Firm) -> None:
    firm.book("a", "ann", "bob")
    firm.book("b", "cay")
    firm.book("c")
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"]["a"]["guests"] = {"bob": "bob@out.example"}
    firm.meetings["rooms"]["b"]["guests"] = {"cay": "cay@out.example", "ann": "ann@out.example"}
    firm.meetings["rooms"]["c"]["name"] = "Another title"
    found = send(firm, "rooms-a")
    assert found.along == "1 event comes along with event rooms-a: rooms-b"
    assert mailed(firm) == {("invited", "rooms-b"), ("cancelled", "rooms-a")}


def test_s21_a_merged_meeting_goes_as_a_whole_by_any_of_its_records(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    firm.book("a", "ann")
    firm.book("b", "bob", source="hr")
    firm.book("c")
    firm.night()
    firm.new_mails()
    firm.meetings["hr"]["b"] |= {"linked_source": "rooms", "linked_event_id": "a"}
    firm.meetings["rooms"]["c"]["name"] = "Another title"
    found = send(firm, "hr-b")
    assert found.result.exit_code == 0
    assert {event for _, event in mailed(firm)} <= {"rooms-a", "hr-b"}
    (whole,) = (key for key in firm.held() if key != "rooms-c")
    assert len(firm.held()[whole]) == 2
    other = {"rooms-a": "hr-b", "hr-b": "rooms-a"}[whole]
    firm.meetings["hr"]["b"]["guests"]["dan"] = "dan@out.example"
    # a record that is no event of its own any more means the meeting that it is part of
    again = send(firm, other)
    assert (again.result.exit_code, mailed(firm)) == (0, {("invited", whole)})


def test_a_dry_run_sends_nothing_and_touches_nothing(office: Firm) -> None:
    before = standing(office), office.plan_of()[0]["plan_id"]
    found = send(office, "rooms-m001", dry=True)
    assert (found.result.exit_code, found.result.report["counts"]["update"], mailed(office)) == (
        0,
        1,
        set(),
    )
    assert (standing(office), office.plan_of()[0]["plan_id"]) == before
    plan = found.result.report["plan"]["plan_id"]
    assert office.apply(plan).exit_code == 0
    assert mailed(office) == {("invited", "rooms-m001")}


def test_a_divided_night_is_restricted_alike(office: Firm) -> None:
    office.sections["scale"] = {"partitions": 3, "runner": "threads", "folder": "parts"}
    found = send(office, "m001")
    assert (found.result.exit_code, mailed(office)) == (0, {("invited", "rooms-m001")})
    assert "are not kept" in found.explained[0]["read"]  # they were dealt to files
    found = send(office, guests=["gm000@out.example"])
    assert mailed(office) == {("updated", "rooms-m000")}


def test_what_a_row_lacks_is_told_with_its_remedy(office: Firm) -> None:
    office.meetings["rooms"]["m000"]["host"] = "no address"
    found = send(office, "rooms-m000")
    assert found.result.exit_code == 3
    assert found.explained[0]["validated"].startswith("events: ")
    assert found.explained[0]["answer"] == "none: nothing was asked"
    office.book("odd", host="no address")
    assert "set aside" in send(office, "odd").explained[0]["compared"]
    office.book("soon", status="pending")
    assert "waits in the source" in send(office, "soon").explained[0]["compared"]


def test_the_newest_run_that_others_ask_for_is_a_night(office: Firm) -> None:
    office.book("odd", host="no address")
    night = office.night()
    send(office, "rooms-m000", full=True, dry=True)
    with open_state(office.config) as state:
        assert find_run(state, "latest")["run_id"] == night.report["run"]["run_id"]
        assert len(state.quarantine(find_run(state, "latest")["run_id"])) == 1
