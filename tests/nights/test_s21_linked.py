"""S21 in whole nights: a united meeting is protected by all of its records, and whoever moves is
invited before being cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.night.session import open_state
from flows.operations.rename import check_rename
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm

ALL = {"hr-5-cand", "rooms-9-ada", "rooms-9-bea"}
SCALES: list[dict[str, Any]] = [{}, {"partitions": 3}, {"partitions": 3, "folder": "parts"}]


@pytest.fixture
def two(firm: Firm) -> Firm:
    """A firm of two sources; the interview `hr-5` and its room `rooms-9` are one meeting from the
    second night on.
    """
    firm.meetings = {"rooms": {}, "hr": {}}
    firm.sections["on_source_failure"] = "others"
    firm.book("z", "zed", source="hr")
    return firm


def _unite(firm: Firm, first: str) -> str:
    """Two nights until both records are one meeting; `first` is the source whose id it carries.
    Returns its id.
    """
    start = firm.now + timedelta(days=30)
    if first == "hr":
        firm.book("5", "cand", source="hr", start=start)
    else:
        firm.book("9", "ada", "bea", source="rooms", start=start)
    firm.night()
    firm.book(
        "9", "ada", "bea", source="rooms", start=start, linked_source="hr", linked_event_id="5"
    )
    firm.book("5", "cand", source="hr", start=start)
    firm.night()
    source_id = "hr-5" if first == "hr" else "rooms-9"
    assert firm.held(source_id)[source_id] == ALL
    firm.new_mails()
    return source_id


def _down(firm: Firm) -> None:
    firm.broken = {"rooms"}


def _root_down(firm: Firm) -> None:
    firm.broken = {"hr"}


def _quarantined(firm: Firm) -> None:
    firm.meetings["rooms"]["9"]["host"] = "nobody"


def _pending(firm: Firm) -> None:
    firm.meetings["rooms"]["9"]["status"] = "pending"


def _keyless(firm: Firm) -> None:
    firm.meetings["rooms"]["9"]["guests"]["ada"] = {
        "email": "ada@out.example",
        "source_event_id": None,
    }


def _unreadable(firm: Firm) -> None:
    firm.meetings["rooms"]["9"]["guests"]["ada"] = "no address"


def _past(firm: Firm) -> None:
    firm.meetings["hr"]["5"]["start"] -= timedelta(days=365)


def _past_without_room(firm: Firm) -> None:
    _past(firm)
    firm.meetings["rooms"]["9"]["status"] = "cancelled"


@pytest.mark.share(4)
@pytest.mark.parametrize("first", ["hr", "rooms"])
@pytest.mark.parametrize(
    "trouble",
    [_down, _root_down, _quarantined, _pending, _keyless, _unreadable, _past, _past_without_room],
)
def test_s21_no_guest_of_a_united_meeting_is_cancelled_for_a_record_in_doubt(
    two: Firm, first: str, trouble: Callable[[Firm], None]
) -> None:
    source_id = _unite(two, first)
    trouble(two)
    two.night()
    assert two.held(source_id)[source_id] == ALL
    # and not either when the other record changes at the same time
    two.meetings["hr"]["5"]["name"] = "New title"
    two.night()
    assert two.held(source_id)[source_id] == ALL
    assert not [mail for mail in two.new_mails() if mail[0] != "updated"]


@pytest.mark.share(2)
@pytest.mark.parametrize("scale", SCALES[1:])
def test_s21_a_divided_night_protects_as_well(two: Firm, scale: dict[str, Any]) -> None:
    two.sections["scale"] = scale
    source_id = _unite(two, "hr")
    for trouble in (_down, _past):
        two.broken = set()
        trouble(two)
        two.meetings["hr"]["5"]["description"] = trouble.__name__
        two.night()
        assert two.held(source_id)[source_id] == ALL
    assert not [mail for mail in two.new_mails() if mail[0] != "updated"]


def test_s21_a_record_that_is_proven_gone_takes_its_guests_with_it(two: Firm) -> None:
    source_id = _unite(two, "rooms")
    two.cancel("9", source="rooms")
    two.book("other", source="rooms")
    for _ in range(2):  # the id stays with the record that is left
        two.night()
        assert two.held()[source_id] == {"hr-5-cand"}
    assert "hr-5" not in two.held()
    two.cancel("5", source="hr")
    assert two.night().report["deletes_by_reason"] == {"absent": 1}


@pytest.mark.parametrize("sending", ["sync", "apply"])
def test_s21_a_merged_meeting_is_not_cancelled_before_its_guests_are_invited(
    two: Firm, sending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(SandboxSettings(cannot_host=["boss@corp.example"])) as sandbox:
        two.sandbox = sandbox
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        start = two.now + timedelta(days=30)
        two.book("9", "ada", "bea", source="rooms", start=start)
        two.book("5", "cand", source="hr", start=start)
        two.night()
        two.new_mails()
        two.meetings["rooms"]["9"] |= {"linked_source": "hr", "linked_event_id": "5"}
        two.meetings["hr"]["5"]["host"] = "boss@corp.example"
        # in the third both wait, and there is nothing to apply
        for _ in range(3 if sending == "sync" else 2):
            result = two.night(kind="sync" if sending == "sync" else "plan")
            if sending == "apply":
                result = two.apply()
            assert result.exit_code == 3
            assert two.new_mails() == []
            assert two.held("rooms-9")["rooms-9"] == {"rooms-9-ada", "rooms-9-bea"}
        two.meetings["hr"]["5"]["host"] = "host@corp.example"
        two.night()
        mails = [(kind, event) for kind, event, _, _ in two.new_mails() if kind != "updated"]
        assert mails == [("invited", "hr-5")] * 2 + [("cancelled", "rooms-9")] * 2
        assert two.held("hr-5")["hr-5"] == ALL


@pytest.mark.parametrize(("days", "pilot"), [(-400, []), (500, []), (0, ["rooms"])])
def test_s21_a_merged_meeting_waits_for_one_that_is_not_sent(
    two: Firm, days: int, pilot: list[str]
) -> None:
    start = two.now + timedelta(days=30)
    two.book("9", "ada", "cand", source="rooms", start=start)
    two.book("5", "cand", source="hr", start=start)
    two.night()
    two.new_mails()
    two.sections["pilot"] = {"sources": pilot}
    two.meetings["rooms"]["9"] |= {"linked_source": "hr", "linked_event_id": "5"}
    two.meetings["hr"]["5"]["start"] += timedelta(days=days)
    result = two.night()
    assert two.new_mails() == []
    assert result.report["held_by_reason"]["waits for the meeting it belongs to"] == 1


def test_s21_a_guest_who_moves_to_a_refused_meeting_stays_in_the_old_one(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(SandboxSettings(cannot_host=["gone@corp.example"])) as sandbox:
        firm.sandbox = sandbox
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        firm.book("a", "ada")
        firm.book("b", "bob")
        firm.night()
        firm.new_mails()
        firm.meetings["rooms"]["a"]["guests"] = {"eve": "eve@out.example"}
        firm.meetings["rooms"]["b"] |= {"host": "gone@corp.example"}
        firm.meetings["rooms"]["b"]["guests"] |= {"ada": "ada@out.example"}
        for _ in range(3):
            assert firm.night().exit_code == 3
        assert "rooms-a-ada" in firm.held()["rooms-a"]
        assert not [mail for mail in firm.new_mails() if mail[0] == "cancelled"]
        firm.meetings["rooms"]["b"]["host"] = "host@corp.example"
        firm.night()
        assert firm.held() == {
            "rooms-a": {"rooms-a-eve"},
            "rooms-b": {"rooms-b-bob", "rooms-b-ada"},
        }


def test_s21_guests_who_change_places_are_never_without_a_meeting(firm: Firm) -> None:
    firm.book("a", "ada")
    firm.book("b", "bob")
    firm.night()
    firm.meetings["rooms"]["a"]["guests"] = {"bob": "bob@out.example"}
    firm.meetings["rooms"]["b"]["guests"] = {"ada": "ada@out.example"}
    firm.night()
    assert firm.held() == {
        "rooms-a": {"rooms-a-ada", "rooms-a-bob"},
        "rooms-b": {"rooms-b-ada", "rooms-b-bob"},
    }
    firm.night()
    assert firm.held() == {"rooms-a": {"rooms-a-bob"}, "rooms-b": {"rooms-b-ada"}}


@pytest.mark.parametrize("first", ["hr", "rooms"])
def test_s21_a_source_in_united_meetings_alone_may_not_leave_unless_it_is_retired(
    two: Firm, first: str
) -> None:
    source_id = _unite(two, first)
    del two.meetings["rooms"]
    result = two.night()
    assert result.exit_code == 2
    assert "retire rooms" in result.report["verdict"]
    with open_state(two.config) as state:
        assert state.retire_source("rooms") == 1
    two.sections["guards"] |= {"approve_policy_change": False}
    for title in ("One", "Two"):
        two.meetings["hr"]["5"]["name"] = title
        assert two.night().exit_code == 0
        assert two.held(source_id)[source_id] == ALL
        assert set(two.held()) == {source_id, "hr-z"}
    assert not [mail for mail in two.new_mails() if mail[0] != "updated"]


def test_s21_a_source_whose_meetings_carry_ids_of_another_may_be_renamed(two: Firm) -> None:
    _unite(two, "rooms")
    two.meetings["people"] = two.meetings.pop("hr")
    two.source_settings["people"] = {"id_prefix": "hr"}
    with open_state(two.config) as state:
        check_rename(two.config, state, "hr", "people")
        state.rename_source("hr", "people")
    for meeting in two.meetings["rooms"].values():
        meeting["linked_source"] = "people"
    two.sections["guards"] |= {"approve_policy_change": False}
    two.night()
    assert two.new_mails() == []


@pytest.mark.parametrize("first", ["hr", "rooms"])
def test_s21_a_renamed_source_that_leaves_is_retired_by_what_its_ids_begin_with(
    two: Firm, first: str
) -> None:
    source_id = _unite(two, first)
    two.meetings["spaces"] = two.meetings.pop("rooms")
    two.source_settings["spaces"] = {"id_prefix": "rooms"}
    two.sections["guards"] |= {"approve_policy_change": False}
    with open_state(two.config) as state:
        check_rename(two.config, state, "rooms", "spaces")
        state.rename_source("rooms", "spaces")
    assert two.night().exit_code == 0
    del two.meetings["spaces"]
    with open_state(two.config) as state:
        state.retire_source("spaces")
    result = two.night()  # it is told, and not held in silence
    assert (result.exit_code, "retire rooms" in result.report["verdict"]) == (2, True)
    with open_state(two.config) as state:
        assert state.retire_source("rooms") == 1
    two.meetings["hr"]["5"]["name"] = "Another title"
    assert two.night().exit_code == 0
    assert two.held(source_id)[source_id] == ALL
    assert not [mail for mail in two.new_mails() if mail[0] != "updated"]


def test_s21_a_private_meeting_takes_no_words_from_a_linked_record(two: Firm) -> None:
    _unite(two, "hr")
    two.meetings["rooms"]["9"] |= {"description": "Dismissal talk", "name": "Room booking"}
    two.meetings["hr"]["5"] |= {"private": "1", "name": "Secret", "description": "secret too"}
    two.night()
    event = two.sandbox.state()["events"]["hr-5"]
    assert (event["name"], event.get("description") or "") == ("Private meeting", "")


# -- what we deleted ourselves ---------------------------------------------------------------------


def _end(meeting: dict[str, Any], how: str) -> None:
    meeting.update({"guests": {}} if how == "guestless" else {"status": "cancelled"})


@pytest.mark.share(2)
@pytest.mark.parametrize("on_deleted", ["update", "error", "resurrect"])
@pytest.mark.parametrize("how", ["guestless", "cancelled"])
def test_s19_what_we_deleted_ourselves_is_made_anew(
    tmp_path: Path, how: str, on_deleted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(SandboxSettings(on_deleted=on_deleted)) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        firm = Firm(tmp_path, sandbox)
        firm.book("m", "ada")
        firm.book("n", "bob")
        firm.night()
        _end(firm.meetings["rooms"]["m"], how)
        firm.night()
        firm.meetings["rooms"]["m"] |= {"status": "confirmed", "guests": {"eve": "eve@out.example"}}
        result = firm.night()
        assert result.report["held_by_reason"] == {}
        if on_deleted == "resurrect":
            assert firm.held()["rooms-m"] == {"rooms-m-eve"}
        assert (result.exit_code == 3) is (on_deleted == "error"), "a refusal is told"


def test_s19_what_we_deleted_ourselves_is_held_when_it_is_asked_for(firm: Firm) -> None:
    firm.sections["essentry"] = {"on_reappear_ours": "hold", "on_reappear": "send"}
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    _end(firm.meetings["rooms"]["m"], "guestless")
    firm.night()
    firm.meetings["rooms"]["m"]["guests"] = {"eve": "eve@out.example"}
    assert firm.night().report["held_by_reason"] == {"reappeared after our delete": 1}


def test_s19_a_wrong_link_that_is_corrected_moves_its_guests_back(
    two: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SandboxServer(SandboxSettings(on_deleted="resurrect")) as sandbox:
        two.sandbox = sandbox
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        two.book("9", "ada", source="rooms")
        two.book("5", "cand", source="hr")
        two.night()
        two.meetings["rooms"]["9"] |= {"linked_source": "hr", "linked_event_id": "5"}
        two.night()
        assert two.held("hr-5")["hr-5"] == {"hr-5-cand", "rooms-9-ada"}
        two.meetings["rooms"]["9"] |= {"linked_source": None, "linked_event_id": None}
        two.night()
        assert two.held("hr-5")["hr-5"] == {"hr-5-cand"}
        assert two.held("rooms-9")["rooms-9"] == {"rooms-9-ada"}


def test_s21_a_plan_remembers_what_its_changes_wait_for(two: Firm) -> None:
    two.book("9", "ada", source="rooms")
    two.book("5", "cand", source="hr")
    two.night()
    two.meetings["rooms"]["9"] |= {"linked_source": "hr", "linked_event_id": "5"}
    two.night(kind="plan")
    plan, _ = two.plan_of()
    with open_state(two.config) as state:
        assert state.read_conditions(plan["plan_id"]) == [("rooms-9", "after", "hr-5")]
        state.prune(datetime.now(UTC) + timedelta(days=900), 90, 400)
        assert state.read_conditions(plan["plan_id"]) == []


@pytest.mark.parametrize("sent", [False, True])
def test_s21_a_copied_link_moves_nobody_into_a_strangers_interview(two: Firm, sent: bool) -> None:
    """An occurrence that is branched off takes the link along; the interview may even be called
    off, and nobody else is.
    """
    _unite(two, "hr")
    copy = two.book("10", "cleo", source="rooms", start=two.now + timedelta(days=37))
    if sent:
        two.night()
        two.new_mails()
    copy |= {"linked_source": "hr", "linked_event_id": "5"}
    for code in (3, 0):  # asked once, listed every night
        night = two.night()
        assert (night.exit_code, {group["check"] for group in night.report["quarantined"]}) == (
            code,
            {"link_strangers"},
        )
    assert two.held("hr-5")["hr-5"] == ALL
    two.meetings["hr"]["5"]["status"] = "cancelled"
    two.meetings["rooms"]["9"]["status"] = "cancelled"
    assert two.new_mails() == []
    two.night()
    assert {who for _, _, who, _ in two.new_mails()} == ALL
    assert ("rooms-10" in two.held()) is sent


@pytest.mark.parametrize("first", ["hr", "rooms"])
def test_s23_a_record_that_is_back_at_the_second_look_keeps_its_guests(
    two: Firm, first: str
) -> None:
    source_id = _unite(two, first)
    room = two.meetings["rooms"].pop("9")
    two.book("other", source="rooms")

    def come_back() -> None:
        two.meetings["rooms"]["9"] = room
        two.write()

    result = two.night(between=come_back)
    assert [kind for kind, *_ in two.new_mails()] == ["invited"]  # of the other
    assert two.held(source_id)[source_id] == ALL
    assert (result.exit_code, [(p["source_id"], p["code"]) for p in result.report["problems"]]) == (
        3,
        [(source_id, "RECORD_BACK")],
    )
    assert two.night().exit_code == 0
    assert two.new_mails() == []


@pytest.mark.share(4)
@pytest.mark.parametrize("first", ["hr", "rooms"])
@pytest.mark.parametrize("on_trip", ["stop", "hold-deletes"])
def test_s21_an_unhealthy_guests_select_of_one_record_removes_nobody(
    two: Firm, first: str, on_trip: str
) -> None:
    """The room booking's guests SELECT returns nothing, in the night in which the interview has
    another title.
    """
    two.sections["guards"] |= {"on_trip": on_trip}
    for number in range(6):
        two.book(f"r{number}", f"q{number}", source="rooms")
    source_id = _unite(two, first)
    for meeting in two.meetings["rooms"].values():
        meeting["guests"] = {}
    two.meetings["hr"]["5"]["name"] = "New title"
    for _ in range(2):
        two.night()
        assert two.held(source_id)[source_id] == ALL
    assert not [mail for mail in two.new_mails() if mail[0] != "updated"]


@pytest.mark.parametrize("first", ["hr", "rooms"])
def test_s21_an_approved_shrink_cancels_no_guest_of_a_united_meeting(two: Firm, first: str) -> None:
    """Two thirds of the room bookings are gone, the linked one among them; the report says that
    nothing is deleted on that account.
    """
    for number in range(12):
        two.book(f"r{number}", f"q{number}", source="rooms")
    source_id = _unite(two, first)
    before = two.held()
    two.cancel("9", *(f"r{number}" for number in range(8)), source="rooms")
    assert two.night().exit_code == 4
    assert two.approve()
    two.apply()
    assert (two.held(), two.held(source_id)[source_id]) == (before, ALL)
    assert not [mail for mail in two.new_mails() if mail[0] == "cancelled"]
