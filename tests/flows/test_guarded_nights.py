"""Nights that a guard stops, holds in part or lets go: from the database to the sandbox, with the
approval of a person in between.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flows.night.session import open_state
from schemas.errors import GuardTripped, StalePlanError
from tests.firm import Firm, guards_of

pytestmark = pytest.mark.usefixtures("way")


def settle(firm: Firm, count: int) -> None:
    """A night in which `count` meetings are created."""
    firm.book_many(count)
    assert firm.night().exit_code == 0
    assert len(firm.held()) == count


# -- on_trip ---------------------------------------------------------------------------------------


def test_a_guard_stops_the_whole_night_by_default(firm: Firm) -> None:
    settle(firm, 8)
    firm.sections["guards"] |= {"max_deletes": 2}
    firm.cancel("m000", "m001", "m002")
    firm.book("new")
    before = firm.puts()
    stopped = firm.night()
    assert (stopped.exit_code, firm.puts()) == (4, before)
    assert "nothing was sent" in stopped.report["verdict"]
    assert firm.plan_of()[0]["status"] == "waiting"


def test_hold_deletes_sends_the_rest_and_an_approval_sends_the_deletes(firm: Firm) -> None:
    settle(firm, 8)
    firm.sections["guards"] |= {"max_deletes": 2, "on_trip": "hold-deletes"}
    firm.cancel("m000", "m001", "m002")
    firm.book("new")
    firm.meetings["rooms"]["m003"]["name"] = "Another title"
    held = firm.night()
    assert held.exit_code == 4
    assert "3 cancellations held back" in held.report["verdict"]
    assert held.report["outcomes"] == {"confirmed": 2, "planned": 3}
    assert {"rooms-m000", "rooms-m001", "rooms-m002", "rooms-new"} <= set(firm.held())
    assert firm.sandbox.state()["events"]["rooms-m003"]["name"] == "Another title"
    assert firm.mails()["cancelled"] == 0
    text = (held.folder / "report.md").read_text(encoding="utf-8")
    assert "max_deletes" in text
    assert f"essentry-sync approve {held.report['plan']['plan_id']}" in text

    plan, _ = firm.plan_of()
    assert (plan["status"], plan["approved_at"]) == ("waiting", None)
    with pytest.raises(GuardTripped, match="waits for approval"):
        firm.apply()  # on_trip is nobody's word
    assert firm.approve()
    sent = firm.apply()
    assert (sent.exit_code, sent.report["plan"]["approval"]["by"]) == (0, "anna")
    assert not {"rooms-m000", "rooms-m001", "rooms-m002"} & set(firm.held())
    assert firm.mails()["cancelled"] == 3
    assert firm.night().exit_code == 0


def test_hold_deletes_stops_when_more_than_deletes_is_over(firm: Firm) -> None:
    settle(firm, 8)
    firm.sections["guards"] |= {
        "max_deletes": 2,
        "max_new_invitations": 1,
        "on_trip": "hold-deletes",
    }
    firm.cancel("m000", "m001", "m002")
    firm.book("new", "a", "b")
    before = firm.puts()
    stopped = firm.night()
    assert guards_of(stopped) == {"max_deletes", "max_new_invitations"}
    assert (stopped.exit_code, firm.puts()) == (4, before)


def test_hold_deletes_answers_a_source_that_shrank(firm: Firm) -> None:
    settle(firm, 20)
    firm.sections["guards"] |= {"on_trip": "hold-deletes"}
    firm.cancel(*[f"m{number:03}" for number in range(10)])
    firm.book("new")
    result = firm.night()
    assert guards_of(result) == {"max_shrink_share"}
    assert result.report["guards"][0]["causes"] == ("rooms, location 11: 10 events held",)
    assert result.exit_code == 4
    assert len(firm.held()) == 21
    assert firm.mails()["cancelled"] == 0


def test_held_deletes_of_one_night_are_planned_anew_and_not_sent_twice(firm: Firm) -> None:
    settle(firm, 8)
    firm.sections["guards"] |= {"max_deletes": 2, "on_trip": "hold-deletes"}
    firm.cancel("m000", "m001", "m002")
    first = firm.night()
    again = firm.night()
    assert again.exit_code == 4
    with open_state(firm.config) as state:
        # superseded
        assert not state.approve_plan(
            first.report["plan"]["plan_id"], by="", reason="", now=datetime.now(UTC)
        )
    assert firm.approve()
    assert firm.apply().exit_code == 0
    assert firm.mails()["cancelled"] == 3


# -- an approval is a ceiling ----------------------------------------------------------------------


def stopped_at(firm: Firm, deletes: int) -> None:
    """Twenty meetings; `deletes` of them are cancelled, two may be, and a person has approved the
    plan without sending it.
    """
    settle(firm, 20)
    firm.sections["guards"] |= {"max_deletes": 2, "max_delete_share": 1.0, "max_shrink_share": 1.0}
    for number in range(deletes):
        firm.meetings["rooms"][f"m{number:03}"]["status"] = "cancelled"
    assert firm.night().exit_code == 4
    assert firm.approve()


def test_what_was_approved_goes_in_the_next_night(firm: Firm) -> None:
    stopped_at(firm, 5)
    result = firm.night()
    assert result.exit_code == 0
    assert firm.mails()["cancelled"] == 5
    approval = result.report["plan"]["approval"]
    assert (approval["by"], approval["reason"]) == ("anna", "read")
    assert approval["plan_id"] != result.report["plan"]["plan_id"]


def test_more_than_was_approved_trips_again(firm: Firm) -> None:
    stopped_at(firm, 5)
    firm.meetings["rooms"]["m010"]["status"] = "cancelled"
    result = firm.night()
    assert (result.exit_code, firm.mails()["cancelled"]) == (4, 0)
    assert "does not cover it" in result.report["guards"][0]["message"]
    assert "is 6 and was 5" in result.report["guards"][0]["message"]


def test_as_many_but_others_than_approved_trip_again(firm: Firm) -> None:
    stopped_at(firm, 5)
    for number in range(5):
        firm.meetings["rooms"][f"m{number:03}"]["status"] = "confirmed"
        firm.meetings["rooms"][f"m{number + 10:03}"]["status"] = "cancelled"
    result = firm.night()
    assert (result.exit_code, firm.mails()["cancelled"]) == (4, 0)
    assert "trips max_deletes" in result.report["guards"][0]["message"]


def test_a_few_new_changes_within_the_limits_go_with_what_was_approved(firm: Firm) -> None:
    stopped_at(firm, 5)
    firm.meetings["rooms"]["m000"]["status"] = "confirmed"
    firm.meetings["rooms"]["m010"]["status"] = "cancelled"
    firm.book("new")
    result = firm.night()
    assert (result.exit_code, firm.mails()["cancelled"]) == (0, 5)
    assert "rooms-m010" not in firm.held()
    assert "rooms-m000" in firm.held()


def test_an_approval_ends_with_its_age_and_with_other_settings(firm: Firm) -> None:
    stopped_at(firm, 5)
    with sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}").begin() as connection:
        past = int((datetime.now(UTC) - timedelta(hours=25)).timestamp() * 1e6)
        connection.exec_driver_sql(
            "UPDATE plans SET approved_at = ? WHERE approved_at IS NOT NULL", (past,)
        )
    assert firm.night().exit_code == 4
    assert firm.approve()
    firm.sections["window"] = {"days_ahead": 300}
    result = firm.night()
    assert result.exit_code == 4
    assert any("settings have changed" in finding["message"] for finding in result.report["guards"])


def test_a_spent_approval_releases_nothing_more(firm: Firm) -> None:
    stopped_at(firm, 5)
    assert firm.apply().exit_code == 0
    for number in range(5, 10):
        firm.meetings["rooms"][f"m{number:03}"]["status"] = "cancelled"
    assert firm.night().exit_code == 4
    assert firm.mails()["cancelled"] == 5


def test_an_approved_shrink_is_the_measure_of_the_next_night(firm: Firm) -> None:
    settle(firm, 20)
    firm.cancel(*[f"m{number:03}" for number in range(10)])
    firm.book("new")
    firm.sections["guards"] |= {"max_delete_share": 1.0}
    assert guards_of(firm.night()) == {"max_shrink_share"}
    assert guards_of(firm.night()) == {"max_shrink_share"}  # for ever, without a word
    assert firm.approve()
    assert firm.apply().exit_code == 0
    assert firm.mails()["cancelled"] == 0
    assert firm.night().exit_code == 0
    assert firm.mails()["cancelled"] == 10


# -- plans age (S17) -------------------------------------------------------------------------------


def test_s17_an_old_plan_and_one_from_the_future_are_refused(firm: Firm) -> None:
    firm.book("a")
    firm.night(kind="plan")
    engine = sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}")
    for hours, words in ((-25, "hours old"), (2, "made in the future")):
        with engine.begin() as connection:
            made = int((datetime.now(UTC) + timedelta(hours=hours)).timestamp() * 1e6)
            connection.exec_driver_sql("UPDATE plans SET created_at = ?", (made,))
        with pytest.raises(StalePlanError, match=words):
            firm.apply()
    assert firm.puts() == 0


def test_s17_staleness_is_judged_change_by_change(firm: Firm) -> None:
    settle(firm, 3)
    firm.meetings["rooms"]["m000"]["name"] = "One"
    planned = firm.night(kind="plan")
    with sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}").begin() as connection:
        connection.exec_driver_sql(
            "UPDATE snapshot_events SET confirmed_run = 'another', fingerprint = 'x' WHERE "
            "source_id = 'rooms-m001'"
        )
    # another event has moved, this one has not
    assert firm.apply(planned.report["plan"]["plan_id"]).exit_code == 0
    firm.meetings["rooms"]["m000"]["name"] = "Two"
    planned = firm.night(kind="plan")
    with sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}").begin() as connection:
        connection.exec_driver_sql(
            "UPDATE snapshot_events SET fingerprint = 'x' WHERE source_id = 'rooms-m000'"
        )
    with pytest.raises(StalePlanError, match=r"stale: 1 of its events .*rooms-m000"):
        firm.apply(planned.report["plan"]["plan_id"])


def test_s17_a_plan_changed_by_hand_is_refused(firm: Firm) -> None:
    firm.book("a")
    firm.night(kind="plan")
    with sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}").begin() as connection:
        connection.exec_driver_sql(
            "UPDATE plan_changes SET after = replace(after, 'Visit a', 'Visit b')"
        )
    with pytest.raises(StalePlanError, match="digest"):
        firm.apply()
    assert firm.puts() == 0


def test_s17_deletes_are_confirmed_again_when_the_plan_is_applied(firm: Firm) -> None:
    settle(firm, 4)
    firm.meetings["rooms"]["m000"]["status"] = "cancelled"
    gone = firm.meetings["rooms"].pop("m001")
    firm.meetings["rooms"]["m002"]["guests"] = {}
    firm.meetings["rooms"]["m003"]["status"] = "cancelled"
    planned = firm.night(kind="plan")
    assert planned.report["counts"]["delete"] == 4
    # by the time a person has approved it, three of the four are on again
    firm.meetings["rooms"]["m000"]["status"] = "confirmed"
    firm.meetings["rooms"]["m001"] = gone
    firm.meetings["rooms"]["m002"]["guests"] = {"gm002": "gm002@out.example"}
    firm.write()
    firm.apply()
    assert set(firm.held()) == {"rooms-m000", "rooms-m001", "rooms-m002"}
    assert firm.mails()["cancelled"] == 1
    assert firm.night().exit_code == 0
    assert firm.mails()["cancelled"] == 1


def test_s17_what_is_over_by_now_is_not_cancelled(firm: Firm) -> None:
    settle(firm, 2)
    firm.meetings["rooms"]["m000"]["status"] = "cancelled"
    firm.night(kind="plan")
    firm.now += timedelta(days=31)
    firm.apply()
    assert firm.mails()["cancelled"] == 0


def test_report_json_names_who_and_why(firm: Firm) -> None:
    stopped_at(firm, 3)
    result = firm.apply()
    report = json.loads((result.folder / "report.json").read_text(encoding="utf-8"))
    assert (report["plan"]["approval"]["by"], report["plan"]["approval"]["reason"]) == (
        "anna",
        "read",
    )
    assert "Released by anna" in (result.folder / "report.md").read_text(encoding="utf-8")
