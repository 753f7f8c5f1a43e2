"""What goes by several ways on one day, or by a part, is judged and told as one whole night is."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.night import steps as nightly
from flows.night.part import approve_part
from flows.night.session import Result, open_state
from flows.operations.audit import audit
from flows.operations.history import find_run
from schemas.errors import ConfigurationError, GuardTripped, StalePlanError, SyncError
from tests.firm import Firm, guards_of
from tests.nights.test_one_event import send
from transforms.guards.selection import read_choice
from transforms.report.check import judge_runs
from transforms.report.history import list_history


class Killed(BaseException):
    """Where a process dies."""


def plan(firm: Firm) -> str:
    firm.write()
    firm.now += timedelta(hours=1)
    return name_plan(nightly.run_plan(firm.config, as_of=firm.now))


def name_plan(result: Result) -> str:
    return str(result.report["plan"]["plan_id"])


def leave_out(firm: Firm, *but: str) -> None:
    with open_state(firm.config) as state:
        now = datetime.now(UTC)
        choice = read_choice((), but)
        approve_part(firm.config, state, "latest", choice, by="anna", reason="read", now=now)


def cancel_some(firm: Firm, count: int) -> list[str]:
    keys = list(firm.meetings["rooms"])[:count]
    firm.cancel(*keys)
    return [f"rooms-{key}" for key in keys]


def mailed(firm: Firm) -> set[tuple[str, str, str]]:
    return {(kind, event, address) for kind, event, _, address in firm.new_mails()}


@pytest.fixture
def many(firm: Firm) -> Firm:
    """Sixty meetings that essentry holds; five may be cancelled a day."""
    firm.book_many(60)
    firm.sections["guards"] |= {"max_deletes": 5, "max_delete_share": 1.0, "max_shrink_share": 1.0}
    assert firm.night().exit_code == 0
    firm.new_mails()
    return firm


@pytest.fixture
def two(firm: Firm) -> Firm:
    """Two sources and two locations, all in step."""
    firm.meetings["hr"] = {}
    firm.sections["on_source_failure"] = "others"
    firm.book("a", "ann", "art")
    firm.book("b", "bob", site="2")
    firm.book("h", "hal", source="hr")
    firm.book_many(3)
    assert firm.night().exit_code == 0
    firm.new_mails()
    return firm


def test_s12_cancellations_without_an_answer_count_in_the_day(many: Firm) -> None:
    """essentry did them; what a selection sends beside them is over the limit with them."""
    cancel_some(many, 5)
    many.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    assert many.night().exit_code == 6
    many.sandbox.clear_faults()
    held = send(many, *cancel_some(many, 5)).result
    assert (held.exit_code, guards_of(held), many.mails()["cancelled"]) == (4, {"max_deletes"}, 5)


def test_s12_a_night_that_repeats_what_had_no_answer_counts_it_once(many: Firm) -> None:
    cancel_some(many, 5)
    many.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    for _ in range(3):
        assert many.night().exit_code == 6
    many.sandbox.clear_faults()
    assert many.night().exit_code == 0
    assert many.mails()["cancelled"] == 5


def test_s27_what_a_restored_state_does_not_know_counts_in_the_day(many: Firm) -> None:
    state = many.folder / "state.sqlite"
    shutil.copy(state, many.folder / "copy.sqlite")
    cancel_some(many, 5)
    assert many.night().exit_code == 0
    for file in many.folder.glob("state.sqlite*"):
        file.unlink()
    shutil.copy(many.folder / "copy.sqlite", state)
    cancel_some(many, 5)
    night = many.night()
    assert (night.exit_code, guards_of(night), many.mails()["cancelled"]) == (4, {"max_deletes"}, 5)


def test_s27_a_killed_apply_of_an_older_plan_counts_in_the_day(
    many: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is from before the hours that limits look back on; what was sent of it is not."""
    many.sections["guards"] |= {"limit_hours": 4}
    cancel_some(many, 5)
    older = plan(many)
    many.now += timedelta(hours=6)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(nightly, "finish", die)
        with pytest.raises(Killed):
            many.apply(older)
    cancel_some(many, 5)
    night = many.night()
    assert (night.exit_code, guards_of(night), many.mails()["cancelled"]) == (4, {"max_deletes"}, 5)


def test_what_was_left_out_is_not_sent_by_a_selection_from_before(many: Firm) -> None:
    """`plan --event`, then a no to that event in the night's plan, then `apply` of the first."""
    cancel_some(many, 8)
    assert many.night().exit_code == 4
    older = send(many, "rooms-m000", dry=True).result
    assert older.exit_code == 0
    leave_out(many, "event=rooms-m000")
    held = many.apply(name_plan(older))
    assert (held.exit_code, guards_of(held), mailed(many)) == (4, {"left_out"}, set())
    assert many.approve(name_plan(older))
    assert many.apply(name_plan(older)).exit_code == 0
    assert mailed(many) == {("cancelled", "rooms-m000", "gm000@out.example")}


def test_s27_full_re_sends_of_parts_count_together(firm: Firm) -> None:
    firm.book_many(6)
    firm.night()
    firm.sections["guards"] |= {"max_full_resend": 2}
    codes = [send(firm, f"rooms-m{number:03}", full=True).result.exit_code for number in range(4)]
    assert codes == [0, 0, 4, 4]
    assert send(firm, "rooms-m000", full=True).result.exit_code == 0  # the same person
    firm.now += timedelta(hours=24)
    assert send(firm, "rooms-m003", full=True).result.exit_code == 0  # another day


@pytest.mark.parametrize("then", ["applied", "waits", "selection"])
def test_a_refused_apply_does_not_hide_a_source_that_failed(two: Firm, then: str) -> None:
    """`check` of monitoring tells the source, whatever a person tried since."""
    two.broken = {"hr"}
    two.sections["guards"] |= {"max_deletes": 0}
    plan_id = "latest"
    if then == "waits":
        two.cancel("b")
    else:
        two.meetings["rooms"]["a"]["name"] = "Another title"
    assert two.night().exit_code == (4 if then == "waits" else 3)
    if then == "selection":
        two.cancel("b")
        plan_id = name_plan(send(two, "rooms-b").result)
    with pytest.raises(SyncError):
        two.apply(plan_id)
    with open_state(two.config) as state:
        code, word, text = judge_runs(
            state.runs(), now=datetime.now(UTC), max_age=timedelta(hours=26)
        )
    assert code == (4 if then == "waits" else 3)
    assert word != "OK"
    assert "the source hr could not be read" in text


def test_s19_a_row_is_new_once_whatever_apply_was_refused(two: Firm) -> None:
    two.book("odd", host="nobody")
    assert [two.night().exit_code for _ in range(2)] == [3, 0]
    two.sections["guards"] |= {"max_deletes": 0}
    meeting = two.meetings["rooms"].pop("b")
    assert two.night().exit_code == 4
    with pytest.raises(SyncError):
        two.apply()
    two.meetings["rooms"]["b"] = meeting
    assert two.night().exit_code == 0


PARTS = pytest.mark.parametrize(
    "chosen",
    [{"sources": ["rooms"]}, {"locations": [12]}, {"events": ["rooms-b"]}],
    ids=lambda chosen: next(iter(chosen)),
)


def told(firm: Firm, chosen: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    some = dict(chosen)
    result = send(firm, *some.pop("events", []), **some).result
    problems = [(problem["source_id"], problem["state"]) for problem in result.report["problems"]]
    return result.exit_code, problems


@PARTS
def test_s19_a_part_tells_a_meeting_that_reappeared(two: Firm, chosen: dict[str, Any]) -> None:
    meeting = two.meetings["rooms"].pop("b")
    assert two.night().exit_code == 0
    two.meetings["rooms"]["b"] = meeting
    assert told(two, chosen) == (3, [("rooms-b", "held")])


@PARTS
def test_s19_a_part_tells_each_time_what_essentry_refused(
    two: Firm, chosen: dict[str, Any]
) -> None:
    two.cancel("b")
    assert two.night().exit_code == 0
    two.book("b2", site="2")
    two.sandbox.add_faults(
        [{"kind": "reject_event", "source_id": "rooms-b2", "code": "ERROR_TRY_LATER", "times": 9}]
    )
    chosen = {"events": ["rooms-b2"]} if "events" in chosen else chosen
    for _ in range(4):
        assert told(two, chosen) == (3, [("rooms-b2", "rejected")])


def test_s19_a_part_by_source_tells_its_rows_that_cannot_be_read(two: Firm) -> None:
    two.book("odd", host="nobody")
    assert told(two, {"sources": ["rooms"]}) == (3, [("rooms-odd", "quarantined")])
    assert told(two, {"sources": ["hr"]}) == (0, [])


def heal(firm: Firm, event: str, guest: str) -> None:
    """Reception took a guest off the list, and a person has it invited again."""
    firm.sandbox.edit("remove_guest", event=event, guest=guest)
    firm.new_mails()
    with open_state(firm.config) as state:
        assert audit(firm.config, state, heal=[guest]).marked == [guest]


def test_s10_a_meeting_that_is_healed_and_comes_under_another_key_stays(two: Firm) -> None:
    heal(two, "rooms-a", "rooms-a-art")
    two.meetings["rooms"]["x"] = two.meetings["rooms"].pop("a")
    assert two.night().exit_code == 0
    assert mailed(two) == {("invited", "rooms-a", "art@out.example")}


def test_s15_churn_sees_a_meeting_that_is_healed(two: Firm) -> None:
    """Not surely the same, for a row without a key: it is asked about, and nobody is mailed."""
    heal(two, "rooms-a", "rooms-a-art")
    two.meetings["rooms"]["x"] = two.meetings["rooms"].pop("a")
    two.book("", "zoe", source_event_id=None)
    night = two.night()
    assert (night.exit_code, guards_of(night), mailed(two)) == (4, {"max_churn"}, set())


def test_s21_a_healed_guest_who_moves_is_invited_there_first(two: Firm) -> None:
    """The new meeting is outside the pilot, so its guest stays where it is."""
    heal(two, "rooms-a", "rooms-a-art")
    two.sections["guards"] |= {"approve_policy_change": False}
    two.sections["pilot"] = {"sources": ["rooms"]}
    art = two.meetings["rooms"]["a"]["guests"].pop("art")
    two.meetings["hr"]["h"]["guests"]["art"] = art
    two.night()
    assert ("cancelled", "rooms-a", "art@out.example") not in mailed(two)
    with open_state(two.config) as state:
        assert "rooms-a-art" in state.read_payloads(["rooms-a"])["rooms-a"]


def test_s18_a_pilot_by_domain_knows_a_healed_guest(two: Firm) -> None:
    heal(two, "rooms-a", "rooms-a-art")
    two.sections["guards"] |= {"approve_policy_change": False}
    two.sections["pilot"] = {"recipient_domains": ["out.example"]}
    two.cancel("a")
    two.night()
    assert mailed(two) == {("cancelled", "rooms-a", "ann@out.example")}


def test_s20_a_selection_by_plan_and_apply_tells_what_one_command_tells(two: Firm) -> None:
    meeting = two.meetings["rooms"].pop("b")
    assert two.night().exit_code == 0
    two.meetings["rooms"]["b"] = meeting
    two.meetings["rooms"]["a"]["name"] = "Another title"
    two.book("odd", host="nobody")
    planned = send(two, "rooms-a", "rooms-b", "odd", dry=True).result
    two.new_mails()
    applied = two.apply(name_plan(planned))
    assert {event for _, event, _ in mailed(two)} == {"rooms-a"}
    problems = {problem["source_id"] for problem in applied.report["problems"]}
    assert (applied.exit_code, problems) == (3, {"rooms-b", "rooms-odd"})


def test_s17_an_approval_ends_for_the_plans_made_under_it_too(many: Firm) -> None:
    """Approved at noon, planned anew next morning under that, applied in the evening."""
    cancel_some(many, 9)
    assert many.night().exit_code == 4
    assert many.approve()
    under = plan(many)
    with closing(sqlite3.connect(many.folder / "state.sqlite")) as state, state:
        state.execute("UPDATE plans SET approved_at = approved_at - 30 * 3600000000")
    with pytest.raises(StalePlanError, match=r"approval of .* is 30 hours old"):
        many.apply(under)
    assert mailed(many) == set()
    night = many.night()
    assert (night.exit_code, guards_of(night), mailed(many)) == (4, {"max_deletes"}, set())


def test_a_hosts_address_is_no_guest(two: Firm) -> None:
    two.meetings["rooms"]["a"]["name"] = "Another title"
    with pytest.raises(ConfigurationError, match="no event to come has this guest"):
        send(two, guests=["host@corp.example"])
    assert mailed(two) == set()
    assert send(two, guests=["ANN@out.example"]).selected == {"rooms-a"}
    assert send(two, guests=["rooms-a-ann"]).selected == {"rooms-a"}


def test_s24_every_changed_setting_is_shown(firm: Firm) -> None:
    firm.book_many(3)
    firm.night()
    sites = {str(number): {"location_id": 11} for number in range(1, 16)}
    firm.source_settings["rooms"] = {"sites": sites, "internal_domains": ["corp.example"]}
    firm.sections["guards"] |= {"max_host_domain_guests": 99}
    firm.book("new")
    night = firm.night()
    (finding,) = (row for row in night.report["guards"] if row["guard"] == "approve_policy_change")
    assert night.exit_code == 4
    assert {f"sources.rooms.sites.{number}.location_id: – → 11" for number in range(3, 16)} <= {
        *finding["causes"]
    }
    assert any("internal_domains" in cause for cause in finding["causes"])


def test_a_refused_apply_does_not_hide_what_is_quarantined(two: Firm) -> None:
    two.book("odd", host="nobody")
    two.meetings["rooms"]["a"]["name"] = "Another title"
    night = two.night()
    with pytest.raises(StalePlanError, match="is applied"):
        two.apply()
    with open_state(two.config) as state:
        latest = find_run(state, "latest")["run_id"]
        assert latest == night.report["run"]["run_id"]
        assert len(state.quarantine(latest)) == 1


def test_a_selection_that_is_refused_is_no_night(two: Firm) -> None:
    """Not for the history, nor for the figures of monitoring."""
    file = two.folder / "sync.prom"
    two.sections["report"] = {"directory": "runs", "metrics_file": str(file)}
    assert two.night().exit_code == 0
    before = file.read_text()
    two.sections["guards"] |= {"max_deletes": 0}
    two.cancel("b")
    held = name_plan(send(two, "rooms-b").result)
    for name in (held, held[:-1]):
        with pytest.raises(GuardTripped):
            two.apply(name)
    with open_state(two.config) as state:
        runs = state.runs()
    assert runs["kind"].tolist() == ["sync", "sync", "part", "part", "part"]
    assert [run["kind"] for run in list_history(runs)] == ["sync", "sync"]
    assert file.read_text() == before
