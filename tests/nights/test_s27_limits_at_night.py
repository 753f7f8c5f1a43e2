"""Limits over a day, reads judged by what is to come, a first run after `adopt`, a re-keying and a
pilot by site: whole nights (S15, S18, S27).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.night import steps as nightly
from flows.operations.adopt import adopt_events
from flows.operations.part import run_part
from flows.sandbox.records import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.errors import GuardTripped
from tests.firm import START, Firm, guards_of
from transforms.guards.restriction import read_restriction


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings()) as sandbox:
        yield sandbox


@pytest.fixture
def firm(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Firm:
    """An empty firm; nothing has been sent."""
    server.clear_faults()
    server.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
    return Firm(tmp_path, server)


def cancel_some(firm: Firm, count: int) -> None:
    firm.cancel(*list(firm.meetings["rooms"])[:count])


def test_s27_cancellations_hour_by_hour_trip_as_in_one_run(firm: Firm) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 20, "max_delete_share": 1.0}
    firm.night()
    for _ in range(2):
        cancel_some(firm, 10)
        assert firm.night().exit_code == 0
    cancel_some(firm, 1)
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.mails()["cancelled"]) == (
        4,
        {"max_deletes"},
        20,
    )
    assert "20 of them in the 24 hours before" in result.report["guards"][0]["message"]
    firm.now += timedelta(hours=23)  # another day
    assert firm.night().exit_code == 0
    assert firm.mails()["cancelled"] == 21


def plan_some(firm: Firm, first: int, last: int) -> str:
    """`plan --event` for each of these; the plan's id. It trips nothing by itself."""
    firm.write()
    firm.now += timedelta(minutes=1)
    only = read_restriction(events=[f"rooms-m{number:03}" for number in range(first, last)])
    planned = run_part(firm.config, only, as_of=firm.now, send=False).result
    assert (planned.exit_code, guards_of(planned)) == (0, set())
    return str(planned.report["plan"]["plan_id"])


def test_s27_plans_that_are_sent_one_after_another_count_together(firm: Firm) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0}
    firm.night()
    cancel_some(firm, 9)
    one, other = plan_some(firm, 0, 5), plan_some(firm, 5, 9)
    assert firm.apply(one).exit_code == 0
    held = firm.apply(other)
    assert (held.exit_code, guards_of(held), firm.mails()["cancelled"]) == (4, {"max_deletes"}, 5)
    assert "5 of them in the 24 hours before" in held.report["guards"][0]["message"]
    with pytest.raises(GuardTripped, match="waits for approval"):
        firm.apply(other)
    assert firm.approve(other)
    assert firm.apply(other).exit_code == 0
    assert firm.mails()["cancelled"] == 9


def test_s27_what_is_sent_beside_a_nights_plan_counts_when_that_goes(firm: Firm) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0}
    firm.night()
    cancel_some(firm, 5)
    firm.write()
    firm.now += timedelta(hours=1)
    plan = nightly.run_plan(firm.config, as_of=firm.now)
    assert plan.exit_code == 0
    firm.cancel("m030")
    assert firm.apply(plan_some(firm, 30, 31)).exit_code == 0
    held = firm.apply(plan.report["plan"]["plan_id"])
    assert (held.exit_code, guards_of(held), firm.mails()["cancelled"]) == (4, {"max_deletes"}, 1)
    assert firm.approve(plan.report["plan"]["plan_id"])
    assert firm.apply(plan.report["plan"]["plan_id"]).exit_code == 0
    assert firm.mails()["cancelled"] == 6


@pytest.mark.parametrize(
    "guard",
    [
        {"max_deletes": 4},
        {"max_delete_share": 0.05, "min_count": 1},
        {"max_people_mailed": 4},
    ],
    ids=lambda guard: next(iter(guard)),
)
def test_a_limit_that_was_lowered_after_the_plan_holds_it(
    firm: Firm, guard: dict[str, Any]
) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0}
    firm.night()
    cancel_some(firm, 5)
    firm.write()
    firm.now += timedelta(hours=1)
    plan = nightly.run_plan(firm.config, as_of=firm.now).report["plan"]["plan_id"]
    firm.sections["guards"] |= guard
    held = firm.apply(plan)
    assert (held.exit_code, len(guards_of(held)), firm.mails()["cancelled"]) == (4, 1, 0)
    assert firm.approve(plan)
    assert firm.apply(plan).exit_code == 0
    assert firm.mails()["cancelled"] == 5


def test_a_plan_is_held_by_no_limit_for_the_time_that_goes_by(firm: Firm) -> None:
    firm.book_many(60)  # an hour apart
    firm.sections["guards"] |= {"max_deletes": 6, "max_delete_share": 0.1}
    firm.night()
    firm.cancel(*list(firm.meetings["rooms"])[-6:])
    firm.write()
    firm.now += timedelta(hours=1)
    plan = nightly.run_plan(firm.config, as_of=firm.now)
    assert plan.exit_code == 0
    firm.now = START + timedelta(hours=12)  # many of the sixty are over
    assert firm.apply(plan.report["plan"]["plan_id"]).exit_code == 0
    assert firm.mails()["cancelled"] == 6


def test_s27_what_a_person_released_does_not_count_against_the_day(firm: Firm) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0}
    firm.night()
    cancel_some(firm, 9)
    assert firm.night().exit_code == 4
    assert firm.approve()
    assert firm.apply().exit_code == 0
    cancel_some(firm, 5)
    assert firm.night().exit_code == 0
    cancel_some(firm, 1)
    assert firm.night().exit_code == 4
    assert firm.mails()["cancelled"] == 14


def test_s27_a_standing_approval_counts_what_it_has_released(firm: Firm) -> None:
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0, "max_shrink_share": 1.0}
    firm.sections["essentry"] = {"max_rejected_batches": 9}
    firm.night()
    cancel_some(firm, 9)
    assert firm.night().exit_code == 4
    assert firm.approve()
    firm.sandbox.add_faults(
        [{"kind": "reject_event", "source_id": "rooms-m008", "code": "ERROR_TRY_LATER"}]
    )
    assert firm.apply().exit_code == 3  # eight went, the plan is sent in part
    firm.sandbox.clear_faults()
    cancel_some(firm, 2)
    assert firm.mails()["cancelled"] == 8
    assert firm.night().exit_code != 4
    assert firm.mails()["cancelled"] in (10, 11)  # the ninth is tried again by then, or waits
    cancel_some(firm, 5)
    # what is new since is over the limit by itself, in whichever night it came
    result = firm.night()
    assert (result.exit_code, firm.mails()["cancelled"] <= 11) == (4, True)


def test_s27_all_times_moved_by_an_hour_are_asked_about(firm: Firm) -> None:
    firm.book_many(12)
    firm.night()
    for meeting in firm.meetings["rooms"].values():
        meeting["start"] += timedelta(hours=1)
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.mails()["updated"]) == (
        4,
        {"max_update_share"},
        0,
    )


def test_s27_mails_to_one_guest_are_counted_over_the_day(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.sections["guards"] |= {"max_mails_per_guest": 2}
    firm.night()
    for title, code in (("One", 0), ("Two", 4)):
        firm.meetings["rooms"]["m"]["name"] = title
        assert firm.night().exit_code == code
    assert firm.mails()["updated"] == 1


def test_s27_bookings_of_the_past_are_no_doubt(firm: Firm) -> None:
    """Hosts who have left: their bookings of the past cannot be read, for good."""
    for number in range(30):
        firm.book(f"old{number}", start=firm.now - timedelta(days=40), host="nobody")
    firm.book_many(70)
    assert firm.night().exit_code == 0
    firm.cancel("m000")
    result = firm.night()
    assert (guards_of(result), firm.mails()["cancelled"]) == (set(), 1)


@pytest.mark.parametrize("partitions", [1, 3])
def test_s27_the_loss_of_what_is_to_come_does_not_hide_behind_history(
    firm: Firm, partitions: int
) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    for number in range(60):
        firm.book(f"old{number}", start=firm.now - timedelta(days=40))
    firm.book_many(10)
    assert firm.night().exit_code == 0
    firm.cancel(*[f"m{number:03}" for number in range(8)])
    result = firm.night()
    assert (guards_of(result), firm.mails()["cancelled"]) == ({"max_shrink_share"}, 0)
    assert "10 to 2 rows of meetings to come" in result.report["guards"][0]["message"]


def test_s27_meetings_that_went_by_are_not_missing(firm: Firm) -> None:
    for number in range(20):
        firm.book(f"soon{number}", start=firm.now + timedelta(hours=2))
    firm.book_many(4)
    assert firm.night().exit_code == 0
    firm.now += timedelta(hours=5)
    assert firm.night().exit_code == 0


def test_s27_adopting_one_event_is_no_first_run(firm: Firm) -> None:
    firm.sections["guards"] = {}
    firm.book("m", "ada")
    firm.book_many(30)
    firm.write()
    file = firm.folder / "ids.csv"
    file.write_text("source,source_event_id,event_id\nrooms,m,old-m\n")
    adopt_events(firm.config, file, write=True)
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.mails().total()) == (
        4,
        {"approve_first_run"},
        0,
    )
    assert firm.approve()
    assert firm.apply().exit_code == 0
    firm.book("n")
    assert firm.night().exit_code == 0


@pytest.mark.parametrize("count", [1, 4])
def test_s15_a_rekeying_of_a_few_is_asked_about(firm: Firm, count: int) -> None:
    firm.book_many(6)
    firm.night()
    some = list(firm.meetings["rooms"])[:count]
    firm.meetings["rooms"] = {
        f"uuid-{k}" if k in some else k: m for k, m in firm.meetings["rooms"].items()
    }
    firm.book("", "zoe", source_event_id=None)  # without it they would surely be the same meetings
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.mails()["cancelled"]) == (4, {"max_churn"}, 0)


def test_s18_a_pilot_by_site_compares_sites(firm: Firm) -> None:
    """Two sites share a location, and a room of the pilot's site stands elsewhere."""
    firm.source_settings["rooms"] = {
        "sites": {
            "1": {"location_id": 11, "entrance_id": 1},
            "2": {"location_id": 11, "entrance_id": 2},
        },
        "rooms": {"hall": {"location_id": 13}},
    }
    firm.sections["pilot"] = {"sites": ["1"]}
    firm.book("in", site="1")
    firm.book("out", site="2")
    firm.book("hall", site="1", room_key="hall")
    firm.night()
    assert set(firm.held()) == {"rooms-in", "rooms-hall"}
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.sections["pilot"] = {}
    firm.night()
    firm.sections["pilot"] = {"sites": ["1"]}
    firm.cancel("in", "out")  # no record says a site any more, and the location is that of both
    result = firm.night()
    assert set(firm.held()) == {"rooms-in", "rooms-out", "rooms-hall"}
    assert result.report["held_by_reason"] == {"pilot": 2}


def test_s27_a_first_run_in_two_commands_trips_what_it_does_in_one(firm: Firm) -> None:
    firm.book_many(60)  # all guests of one domain that was never invited
    firm.sections["guards"] |= {"max_new_domain_guests": 5}
    firm.write()
    firm.now += timedelta(hours=1)
    plan = nightly.run_plan(firm.config, as_of=firm.now)
    assert (plan.exit_code, guards_of(plan)) == (0, set())
    assert firm.apply(plan.report["plan"]["plan_id"]).exit_code == 0
    assert firm.mails()["invited"] == 60
