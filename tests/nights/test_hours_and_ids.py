"""Hours of a day and the ids of people: whoever is one contact in several meetings is mailed where
the sources say, whatever became of one of the meetings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flows.night.part import REST
from flows.night.session import open_state
from flows.state.store import State
from schemas.errors import StalePlanError
from tests.firm import START, Firm
from tests.nights.test_one_event import send
from tests.nights.test_other_ways import leave_out


@pytest.fixture
def shared(firm: Firm) -> Firm:
    """One contact in two meetings, in the later of which she has a newer address."""
    firm.sections["essentry"] = {"invitation_ids": "shared"}
    firm.sections["guards"] |= {"max_deletes": 100, "max_delete_share": 1.0}
    firm.book("z", "zoe")
    firm.book("a", "ann")
    firm.book("b", start=START + timedelta(days=5), guests={"ann": "new@out.example"})
    assert firm.night().exit_code == 0
    assert address(firm) == "new@out.example"
    return firm


def address(firm: Firm, event: str = "rooms-b", guest: str = "rooms-ann") -> str:
    return str(firm.sandbox.state()["events"][event]["guests"][guest]["email"])


def write_to(firm: Firm, email: str) -> None:
    """Another address of the contact in both meetings."""
    for key in "ab":
        firm.meetings["rooms"][key]["guests"]["ann"] = email


@pytest.mark.parametrize("how", ["pending", "unreadable"])
@pytest.mark.usefixtures("way")
def test_s26_a_shared_contact_that_changed_while_a_meeting_was_held_is_mended(
    shared: Firm, how: str
) -> None:
    """The other meeting has told essentry of an older address, and is gone when this one is back:
    its own content is what it was.
    """
    meeting = shared.meetings["rooms"]["b"]
    meeting |= {"status": "pending"} if how == "pending" else {"host": "nobody"}
    shared.night()
    assert address(shared) == "ann@out.example"
    meeting |= {"status": "confirmed", "host": "host@corp.example"}
    shared.cancel("a")
    assert shared.night().exit_code == 0
    assert address(shared) == "new@out.example"
    shared.new_mails()
    assert (shared.night().report["outcomes"], shared.new_mails()) == ({}, [])


def test_s26_a_shared_contact_is_mended_after_a_selection(shared: Firm) -> None:
    write_to(shared, "other@out.example")
    assert send(shared, "rooms-a").result.exit_code == 0
    write_to(shared, "new@out.example")
    shared.cancel("a")
    assert shared.night().exit_code == 0
    assert address(shared) == "new@out.example"


def test_s26_a_shared_contact_that_a_selection_has_told_is_not_told_again(shared: Firm) -> None:
    write_to(shared, "other@out.example")
    assert send(shared, "rooms-a").result.exit_code == 0
    shared.new_mails()
    night = shared.night()
    assert (night.exit_code, night.report["outcomes"], shared.new_mails()) == (0, {}, [])
    assert address(shared) == "other@out.example"


@pytest.mark.parametrize("then", ["refused", "lost"])
def test_s26_a_shared_contact_is_mended_where_one_of_two_was_refused_or_had_no_answer(
    shared: Firm, then: str
) -> None:
    write_to(shared, "other@out.example")
    shared.sandbox.add_faults(
        [{"kind": "reject_event", "source_id": "rooms-b", "code": "ERROR_TRY_LATER", "times": 9}]
    )
    if then == "lost":
        shared.sandbox.add_faults(
            [{"kind": "partial_statuses", "source_ids": ["rooms-a"], "times": 9}]
        )
    assert shared.night().exit_code in (3, 6)
    shared.sandbox.clear_faults()
    assert address(shared) == "other@out.example"
    write_to(shared, "new@out.example")
    shared.cancel("a")
    assert shared.night().exit_code == 0
    assert address(shared) == "new@out.example"


def test_s26_a_shared_contact_is_mended_after_a_run_that_was_killed(
    shared: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had told essentry of the contact in one of two meetings, and wrote down nothing else."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    write_to(shared, "other@out.example")
    with monkeypatch.context() as killed:
        killed.setattr("flows.night.close._finish", die)
        killed.setattr(State, "abandon_run", lambda *_, **__: None)
        shared.meetings["rooms"]["b"]["status"] = "pending"
        with pytest.raises(Killed):
            shared.night()
    with open_state(shared.config) as state:
        assert "running" in set(state.runs()["status"])
    assert address(shared) == "other@out.example"
    write_to(shared, "new@out.example")
    shared.meetings["rooms"]["b"]["status"] = "confirmed"
    shared.cancel("a")
    assert shared.night().exit_code == 0
    assert address(shared) == "new@out.example"


def test_s26_a_plan_that_waits_is_stale_where_a_shared_contact_is_another(shared: Firm) -> None:
    """It would write down of her what essentry has no more."""
    shared.meetings["rooms"]["b"]["name"] = "Another title"
    shared.sections["guards"] |= {"max_deletes": 0}
    shared.cancel("z")
    assert shared.night().exit_code == 4
    write_to(shared, "other@out.example")
    assert send(shared, "rooms-a").result.exit_code == 0
    write_to(shared, "new@out.example")
    shared.write()
    assert shared.approve()
    with pytest.raises(StalePlanError, match="rooms-b"):
        shared.apply()


def test_s26_the_rest_of_a_plan_goes_where_a_shared_contact_is_the_same(shared: Firm) -> None:
    write_to(shared, "other@out.example")
    shared.meetings["rooms"]["b"]["name"] = "Another title"
    shared.sections["guards"] |= {"max_deletes": 0}
    shared.cancel("z")
    assert shared.night().exit_code == 4
    name = shared.plan_of()[0]["plan_id"]
    leave_out(shared, "event=rooms-b")
    assert shared.apply(name).exit_code == 0
    assert address(shared) == "other@out.example"
    shared.new_mails()
    assert shared.approve(f"{name}{REST}")
    assert shared.apply(f"{name}{REST}").exit_code == 0
    assert shared.sandbox.state()["events"]["rooms-b"]["name"] == "Another title"
    shared.new_mails()
    assert (shared.night().report["outcomes"], shared.new_mails()) == ({}, [])


@pytest.mark.usefixtures("way")
@pytest.mark.every_way
def test_s26_two_sources_that_differ_about_a_shared_contact_do_not_take_turns(
    firm: Firm,
) -> None:
    """United with a record of another source a meeting keeps its invitations' ids, and the words of
    that source.
    """
    firm.sections["essentry"] = {"invitation_ids": "shared"}
    firm.meetings["hr"] = {}

    def ann(language: str) -> dict:
        return {"email": "ann@out.example", "last_name": "Ng", "language": language}

    firm.book("zh", "zhu", source="hr")
    start = firm.book("b", guests={"ann": ann("en")})["start"]
    firm.book("c", guests={"ann": ann("en")})
    firm.night()
    firm.book("h", guests={"ann": ann("de")}, source="hr", start=start)
    firm.meetings["rooms"]["b"] |= {"linked_source": "hr", "linked_event_id": "h"}
    for _ in range(2):
        firm.night()
    firm.new_mails()
    for _ in range(2):
        night = firm.night()
        assert (night.exit_code, night.report["outcomes"], firm.new_mails()) == (0, {}, [])
