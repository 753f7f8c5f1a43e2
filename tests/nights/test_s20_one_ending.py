"""S20: a night that ends by `apply` pays what one that ends by `sync` pays. Every test here is run
both ways.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import open_session, open_state
from flows.state import tables as t
from schemas.errors import GuardTripped, StalePlanError
from tests.firm import Firm, guards_of

pytestmark = pytest.mark.every_way
both_ways = pytest.mark.usefixtures("way")


@both_ways
def test_s20_half_of_the_guests_gone_has_a_measure(firm: Firm) -> None:
    for number in range(40):
        firm.book(f"m{number:02}", f"a{number}", f"b{number}")
    assert firm.night().exit_code == 0
    for meeting in firm.meetings["rooms"].values():
        meeting["guests"].popitem()
    night = firm.night()
    assert night.exit_code == 4
    assert "max_shrink_share" in guards_of(night)
    assert firm.mails()["cancelled"] == 0


@both_ways
def test_s20_absences_are_counted_until_the_event_is_cancelled(firm: Firm) -> None:
    firm.sections["guards"] |= {"delete_after_runs": 3}
    firm.book("gone", "ada")
    firm.book_many(9)
    firm.night()
    firm.cancel("gone")
    held = []
    for _ in range(4):
        firm.night()
        held.append("rooms-gone" in firm.held())
    assert held == [True, True, False, False]
    assert firm.mails()["cancelled"] == 1


@both_ways
def test_s20_an_event_that_is_back_starts_over(firm: Firm) -> None:
    firm.sections["guards"] |= {"delete_after_runs": 2}
    gone = firm.book("gone", "ada")
    firm.book_many(9)
    firm.night()
    for _ in range(3):
        firm.cancel("gone")
        firm.night()
        firm.meetings["rooms"]["gone"] = gone
        firm.night()
    assert firm.mails()["cancelled"] == 0


@both_ways
def test_s20_a_rejection_is_over_when_nobody_wants_the_event_any_more(firm: Firm) -> None:
    firm.book("odd", "ada")
    firm.book("plain", "bob")
    firm.sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-odd", "code": "ERROR_X"}])
    assert firm.night().exit_code == 3
    firm.cancel("odd")
    firm.night()
    with open_state(firm.config) as state:
        assert state.rejections().empty
    assert firm.night().exit_code == 0


@both_ways
def test_s20_what_has_served_its_time_is_forgotten(firm: Firm) -> None:
    firm.sections["state"] = {"url": "sqlite:///state.sqlite", "keep_runs_days": 30}
    firm.book("m", "ada")
    first = firm.night()
    with open_state(firm.config) as state, state.engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(days=40)
        for table, column in (
            (t.runs, "started_at"),
            (t.plans, "created_at"),
            (t.source_reads, "read_at"),
        ):
            connection.execute(table.update().values({column: past}))
    firm.book("n", "bob")
    firm.night()
    with open_state(firm.config) as state:
        assert first.report["run"]["run_id"] not in set(state.runs()["run_id"])
    assert not (first.folder / "report.json").exists()


@both_ways
def test_s20_every_ending_keeps_its_quarantine_and_its_reads(firm: Firm) -> None:
    firm.book("good", "ada")
    firm.book("bad", "bob", host="nobody")
    night = firm.night()
    run = night.report["run"]["run_id"]
    with open_state(firm.config) as state:
        assert state.quarantine(run)["source_id"].tolist() == ["rooms-bad"]
        read = state.last_good_reads()["rooms"]
    assert (read["run_id"], read["events"]) == (run, 2)
    assert night.report["counts"]["create"] == 1
    assert sum(night.report["balance"]["rows"].values()) == 2


def test_s20_an_empty_plan_is_applied_once(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.night()
    plan = firm.night(kind="plan").report["plan"]["plan_id"]
    puts = firm.puts()
    done = firm.apply(plan)
    assert (done.exit_code, firm.puts()) == (0, puts)
    assert "in step" in done.report["verdict"]
    with pytest.raises(StalePlanError, match="is applied"):
        firm.apply(plan)


# S24: what is sent hours later is what the sources still ask for


def test_s24_an_approved_plan_invites_nobody_to_what_is_over_or_called_off(firm: Firm) -> None:
    firm.sections["guards"] |= {"approve_first_run": True}
    firm.book("past", "ada", start=firm.now + timedelta(hours=3))
    firm.book("off", "bob")
    firm.book("moved", "cyd")
    firm.book("gone", "dan")
    firm.book("ok", "eve")
    assert firm.night().exit_code == 4
    assert firm.approve()
    firm.now += timedelta(hours=9)
    firm.meetings["rooms"]["off"]["status"] = "cancelled"
    firm.meetings["rooms"]["moved"]["start"] += timedelta(hours=2)
    firm.cancel("gone")
    firm.write()
    done = firm.apply()
    assert set(firm.held()) == {"rooms-ok"}
    assert [mail[0] for mail in firm.new_mails()] == ["invited"]
    assert done.exit_code == 3
    told = {row["source_id"]: row["code"] for row in done.report["problems"]}
    assert told == dict.fromkeys(
        ["rooms-past", "rooms-off", "rooms-moved", "rooms-gone"], "CHANGED_SINCE"
    )
    assert firm.night().exit_code == 0  # the approval covers what is left of it
    assert set(firm.held()) == {"rooms-ok", "rooms-moved"}


def test_s24_an_update_and_a_delete_that_are_taken_back_are_not_sent(firm: Firm) -> None:
    firm.book_many(9)
    firm.book("renamed", "ada")
    gone = firm.book("gone", "bob")
    firm.night()
    firm.meetings["rooms"]["renamed"]["name"] = "Typed wrongly"
    firm.cancel("gone")
    plan = firm.night(kind="plan").report["plan"]["plan_id"]
    firm.meetings["rooms"]["renamed"]["name"] = "Visit renamed"
    firm.meetings["rooms"]["gone"] = gone
    firm.write()
    firm.new_mails()
    assert firm.apply(plan).exit_code == 3
    assert firm.new_mails() == []
    assert firm.night().exit_code == 0


def test_s24_a_plan_of_other_settings_is_refused(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.meetings["rooms"]["m"]["guests"]["emp"] = "emp@corp.example"
    firm.night(kind="plan")
    firm.source_settings["rooms"] = {"internal_domains": ["corp.example"]}
    with pytest.raises(StalePlanError, match="other settings"):
        firm.apply()
    assert firm.new_mails() == []


def test_s24_the_kill_switch_stops_an_approved_plan_before_anything_is_read(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.night(kind="plan")
    firm.sections["pilot"] = {"paused": True}
    firm.broken = {"rooms"}
    firm.write()
    with pytest.raises(GuardTripped, match="paused"):
        firm.apply()


def test_s24_latest_is_not_guessed_when_a_plan_in_between_went_unsent(firm: Firm) -> None:
    firm.book("m", "ada")
    first = firm.night(kind="plan").report["plan"]["plan_id"]
    firm.book("n", "bob")
    firm.night(kind="plan")
    with open_state(firm.config) as state:
        newest = state.load_plan("latest")[0]
        assert state.list_passed_over(newest) == [first]
    firm.apply()
    firm.book("o", "cyd")
    firm.night(kind="plan")
    with open_state(firm.config) as state:
        assert state.list_passed_over(state.load_plan("latest")[0]) == []


def test_s20_the_last_good_read_is_that_of_the_run_that_sent(firm: Firm) -> None:
    firm.book_many(3)
    plan = firm.night(kind="plan")
    with open_state(firm.config) as state:
        assert state.last_good_reads() == {}
    firm.apply(plan.report["plan"]["plan_id"])
    with open_state(firm.config) as state:
        query = sa.select(t.source_reads.c.run_id).where(t.source_reads.c.events_healthy)
        with state.engine.connect() as connection:
            healthy = connection.execute(query).scalars().all()
        applied = state.runs()
    assert healthy == applied.loc[applied["kind"] == "apply", "run_id"].tolist()


def test_s20_a_run_that_slept_after_its_load_settles_nothing_over_the_one_that_replaced_it(
    firm: Firm,
) -> None:
    """Asleep between what it sent and its end: meanwhile another run sends newer content, which
    essentry refuses.
    """
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    firm.meetings["rooms"]["m"]["name"] = "A"
    firm.write()
    firm.now += timedelta(hours=1)
    with open_session(firm.config, kind="sync", as_of=firm.now) as first:
        nightly.load(first, nightly.plan(first, *nightly.extract(first)))
        with open_state(firm.config) as state, state.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE lease SET expires_at = 0")
        firm.meetings["rooms"]["m"]["name"] = "B"
        firm.sandbox.add_faults(
            [{"kind": "reject_event", "source_id": "rooms-m", "code": "ERROR_X"}]
        )
        assert firm.night().exit_code == 3
        ended = finish(first)
    assert (ended.exit_code, "may have been replaced" in ended.report["verdict"]) == (4, True)
    with open_state(firm.config) as state:
        assert state.rejections()["code"].tolist() == ["ERROR_X"]
        assert state.runs()["exit_code"].tolist()[-2:] == [4, 3]
