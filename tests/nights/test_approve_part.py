"""A part of a plan is approved: it goes and no more, whatever commands follow in whatever order."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from typer.testing import CliRunner

from flows.commands import main
from flows.night import steps as nightly
from flows.night.lease import hold_lease
from flows.night.part import Parted, approve_part
from flows.night.run import new_run
from flows.night.session import open_state
from schemas.errors import ConfigurationError, GuardTripped, LeaseHeld, StalePlanError, StateError
from tests.firm import Firm, guards_of
from transforms.guards.selection import read_choice

CANCELLED = {"rooms-m000", "rooms-m001", "rooms-m002"}


@pytest.fixture
def stopped(firm: Firm) -> Firm:
    """Six meetings, three at each site; three are cancelled, two of them at location 11, and the
    guard has stopped the night.
    """
    firm.book_many(3)
    firm.book_many(3, first=3, site="2")
    firm.meetings["rooms"]["m002"]["site"] = "2"
    assert firm.night().exit_code == 0
    firm.sections["guards"] |= {"max_deletes": 1}
    firm.cancel("m000", "m001", "m002")
    firm.meetings["rooms"]["m003"]["name"] = "Another title"
    assert firm.night().exit_code == 4
    firm.new_mails()
    return firm


def part(firm: Firm, *only: str, but: tuple[str, ...] = (), plan: str = "latest") -> Parted:
    with open_state(firm.config) as state:
        choice = read_choice(only, but)
        return approve_part(
            firm.config, state, plan, choice, by="anna", reason="read", now=datetime.now(UTC)
        )


def cancelled(firm: Firm) -> set[str]:
    return {event for kind, event, _, _ in firm.new_mails() if kind == "cancelled"}


def test_the_part_goes_and_the_rest_waits_for_an_approval_of_its_own(stopped: Firm) -> None:
    whole, _ = stopped.plan_of()
    found = part(stopped, "location=12,action=delete")
    name = found.part["plan_id"]
    assert (name, found.part["changes"], found.rest["changes"]) == (whole["plan_id"], 1, 3)
    assert len({whole["digest"], found.part["digest"], found.rest["digest"]}) == 3
    assert stopped.apply(name).exit_code == 0
    assert cancelled(stopped) == {"rooms-m002"}
    assert stopped.plan_of(name)[0]["status"] == "applied"
    report = stopped.plan_of(name)[0]
    assert report["approve_reason"] == "read [only location=12,action=delete]"

    with pytest.raises(GuardTripped, match="left out of an approval"):
        stopped.apply(found.rest["plan_id"])
    assert stopped.approve(found.rest["plan_id"])
    assert stopped.apply(found.rest["plan_id"]).exit_code == 0
    assert cancelled(stopped) == {"rooms-m000", "rooms-m001"}
    assert stopped.night().report["outcomes"] == {}  # nothing is left, nothing went twice
    assert stopped.new_mails() == []


def test_a_night_between_sends_nothing_of_the_rest_and_the_part_is_superseded(
    stopped: Firm,
) -> None:
    found = part(stopped, but=("location=11",))
    night = stopped.night()
    assert (night.exit_code, "left_out" in guards_of(night), stopped.new_mails()) == (4, True, [])
    for old in (found.part["plan_id"], found.rest["plan_id"]):
        with pytest.raises(StalePlanError, match="superseded"):
            stopped.apply(old)
        with pytest.raises(StalePlanError, match="superseded"):
            part(stopped, "location=12", plan=old)
    assert stopped.new_mails() == []
    assert stopped.approve()  # of the night's plan: a person has now seen the whole
    assert stopped.apply().exit_code == 0
    assert cancelled(stopped) == CANCELLED


def test_what_was_left_out_does_not_slip_under_the_limit_in_later_nights(stopped: Firm) -> None:
    """Two of three cancellations were approved: the third alone is within every limit, and somebody
    said no to it.
    """
    part(stopped, but=("event=rooms-m002",))
    assert stopped.apply().exit_code == 0
    assert cancelled(stopped) == {"rooms-m000", "rooms-m001"}
    for _ in range(2):
        night = stopped.night()
        assert (night.exit_code, guards_of(night), stopped.new_mails()) == (4, {"left_out"}, [])
    again = part(stopped, "event=rooms-m002")
    assert again.rest is None  # all of it: an approval like any other
    assert stopped.apply().exit_code == 0
    assert cancelled(stopped) == {"rooms-m002"}
    stopped.cancel("m003")
    assert stopped.night().exit_code == 0  # and nothing is asked about any more


def test_the_rest_can_be_parted_again_and_a_sent_or_approved_plan_cannot(stopped: Firm) -> None:
    first = part(stopped, "event=rooms-m003")
    with pytest.raises(StalePlanError, match="is approved"):
        part(stopped, "event=rooms-m003")
    assert not stopped.approve(first.part["plan_id"])
    second = part(stopped, "event=rooms-m002", plan=first.rest["plan_id"])
    assert second.part["plan_id"] == first.rest["plan_id"]
    assert stopped.apply(second.part["plan_id"]).exit_code == 0
    assert cancelled(stopped) == {"rooms-m002"}
    with pytest.raises(GuardTripped):
        stopped.apply(second.rest["plan_id"])
    with pytest.raises(StalePlanError, match="is applied"):
        part(stopped, "event=rooms-m002", plan=second.part["plan_id"])
    assert stopped.apply(first.part["plan_id"]).exit_code == 0
    assert {key for key in CANCELLED if key in stopped.held()} == {"rooms-m000", "rooms-m001"}


def test_an_approved_part_is_no_cheque_for_more(stopped: Firm) -> None:
    """The ceiling is the part's own numbers: two cancellations, not the three of the plan that it
    was taken from.
    """
    found = part(stopped, but=("event=rooms-m002",))
    (finding,) = [
        f
        for f in orjson.loads(found.part["findings_json"])
        if (f["guard"], f["scope"]) == ("max_deletes", "run")
    ]
    assert finding["number"] == 2
    stopped.book(
        "m002", site="2", start=stopped.meetings["rooms"]["m005"]["start"] - timedelta(hours=3)
    )
    stopped.meetings["rooms"]["m002"]["name"] = "Visit m002"
    stopped.cancel("m004")  # one more, within the limit by itself
    night = stopped.night()
    assert (night.exit_code, "max_deletes" in guards_of(night), "left_out" in guards_of(night)) == (
        4,
        True,
        False,
    )
    assert cancelled(stopped) == set()


def test_a_full_run_that_was_approved_in_part_asks_no_later_night(firm: Firm) -> None:
    firm.book("a")
    firm.book("b", site="2")
    firm.night()
    firm.sections["guards"] |= {"max_full_resend": 0}
    assert firm.night(full=True).exit_code == 4
    part(firm, "location=12")
    assert firm.apply().exit_code == 0
    # of the first night, and b once more
    assert {event for _, event, _, _ in firm.new_mails()} == {"rooms-a", "rooms-b"}
    firm.meetings["rooms"]["a"]["name"] = "Another title"
    night = firm.night()
    assert (night.exit_code, night.report["outcomes"]) == (0, {"confirmed": 1})


def test_a_choice_that_would_send_nothing_or_is_mistyped_changes_nothing(stopped: Firm) -> None:
    before = stopped.plan_of()
    with pytest.raises(ConfigurationError, match="names no change"):
        part(stopped, but=("event=rooms-m0O2",))
    with pytest.raises(ConfigurationError, match="nothing of the plan"):
        part(stopped, "location=12", but=("location=12",))
    after = stopped.plan_of()
    assert before[0] == after[0]
    assert before[1].equals(after[1])


@pytest.mark.parametrize("table", ["plan_looks", "plans"])
def test_a_fault_in_between_leaves_the_plan_whole(stopped: Firm, table: str) -> None:
    plan, changes = stopped.plan_of()
    with closing(sqlite3.connect(stopped.folder / "state.sqlite")) as connection:
        connection.execute(
            f"CREATE TRIGGER fault BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
    with pytest.raises(StateError):
        part(stopped, "location=12")
    with closing(sqlite3.connect(stopped.folder / "state.sqlite")) as connection:
        connection.execute("DROP TRIGGER fault")
    assert stopped.plan_of()[0] == plan
    assert stopped.plan_of()[1].equals(changes)
    with pytest.raises(GuardTripped):
        stopped.apply()
    part(stopped, "location=12")
    assert stopped.apply().exit_code == 0
    assert cancelled(stopped) == {"rooms-m002"}


def test_an_old_part_goes_no_more(stopped: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    found = part(stopped, "location=12")
    stopped.sections["guards"] |= {"plan_max_age_hours": 0.5}
    with closing(sqlite3.connect(stopped.folder / "state.sqlite")) as connection:
        connection.execute("UPDATE plans SET created_at = created_at - 3600000000")
        connection.commit()
    for name in (found.part["plan_id"], found.rest["plan_id"]):
        with pytest.raises(StalePlanError, match="hours old"):
            stopped.apply(name)
    assert stopped.new_mails() == []


def test_s21_a_guest_who_moves_is_taken_with_both_meetings_or_none(firm: Firm) -> None:
    firm.book("a", "ann", "bob")
    firm.book("b", "cay", site="2")
    firm.night()
    firm.sections["guards"] |= {"max_new_invitations": 0}
    firm.meetings["rooms"]["a"]["guests"] = {"bob": "bob@out.example"}
    firm.meetings["rooms"]["b"]["guests"] = {"cay": "cay@out.example", "ann": "ann@out.example"}
    assert firm.night().exit_code == 4
    for only in ("event=rooms-a", "location=12"):
        with pytest.raises(ConfigurationError, match="belong together"):
            part(firm, only)
    assert part(firm, "event=rooms-a", "location=12").rest is None


def test_s24_a_part_does_not_answer_for_changed_settings(firm: Firm) -> None:
    """The first night asks; a part of it is no answer for the rest, and the next night asks for
    what was left out.
    """
    firm.sections["guards"] = {"approve_first_run": True}
    firm.book("a")
    firm.book("b", site="2")
    assert firm.night().exit_code == 4
    found = part(firm, "location=12")
    assert firm.apply(found.part["plan_id"]).exit_code == 0
    assert set(firm.held()) == {"rooms-b"}
    night = firm.night()
    assert (night.exit_code, "left_out" in guards_of(night), set(firm.held())) == (
        4,
        True,
        {"rooms-b"},
    )


def test_a_night_is_planned_and_approved_in_part_by_its_plan(stopped: Firm) -> None:
    """`plan`, not `sync`, and a plan of many pages of one row's worth of change: numbers are from 1
    in both.
    """
    planned = nightly.run_plan(stopped.config, as_of=stopped.now + timedelta(minutes=5))
    found = part(stopped, "event=rooms-m002", plan=planned.report["plan"]["plan_id"])
    for head in (found.part, found.rest):
        _, changes = stopped.plan_of(head["plan_id"])
        assert changes["seq"].tolist() == list(range(1, head["changes"] + 1))


def test_the_command_tells_both_and_what_is_typed_wrongly(
    stopped: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.commands.decide.load_settings", lambda path: stopped.config)

    def approve(*arguments: str) -> tuple[str, BaseException | None]:
        result = CliRunner().invoke(main.app, ["approve", "latest", "--by", "anna", *arguments])
        return result.output, result.exception

    assert "'12' is no choice: write source=" in str(approve("--only", "12")[1])
    with open_state(stopped.config) as state, hold_lease(state, new_run(), stopped.config):
        # a run at work may be sending it
        assert isinstance(approve("--only", "location=12")[1], LeaseHeld)
    name = stopped.plan_of()[0]["plan_id"]
    words, error = approve("--only", "location=12", "--except", "action=update")
    assert error is None
    assert f"approved the chosen part of {name}, digest " in words
    assert f"the rest waits as {name}-rest, digest " in words
    assert f"`essentry-sync apply {name}`" in words
    assert stopped.apply(name).exit_code == 0
    assert cancelled(stopped) == {"rooms-m002"}
