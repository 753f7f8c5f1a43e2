"""Rare commands between nights: nobody is mailed because of one, and none ends in a wrong word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import flows.essentry.invitations as invitations
from flows.night.session import open_state
from flows.operations.adopt import adopt_events
from flows.operations.audit import audit
from flows.operations.check_ins import read_visits
from flows.operations.forget import forget_person
from flows.operations.leftovers import list_left_over
from flows.operations.rename import check_rename
from flows.state import tables as t
from schemas.errors import ConfigurationError, StateError
from tests.firm import NOW, Firm
from tests.flows.test_forget import on_postgresql
from tests.flows.test_restored_nights import copy_state, restore, tell_restored
from tests.flows.wire import cut_names
from tests.sources.databases import database
from transforms.report.changes import choose_listed

HEAD = "source,source_event_id,event_id,guest,invitation_id\n"


@pytest.fixture(autouse=True)
def _few_meetings(firm: Firm) -> None:
    firm.sections["guards"] |= {"max_deletes": 100, "max_delete_share": 1.0}


def begin_with_a_copy(firm: Firm) -> Path:
    """Two meetings in step, and the copy of the state that is restored later."""
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    return copy_state(firm)


def adopt(firm: Firm, lines: str) -> list[str]:
    firm.write()
    path = firm.folder / "ids.csv"
    path.write_text(HEAD + lines)
    return adopt_events(firm.config, path, write=True)


def rename(firm: Firm, old: str, new: str) -> int:
    with open_state(firm.config) as state:
        check_rename(firm.config, state, old, new)
        return state.rename_source(old, new)


def call_rooms_places(firm: Firm) -> None:
    """A source with another name and its ids."""
    firm.meetings["places"] = firm.meetings.pop("rooms")
    firm.source_settings["places"] = {"id_prefix": "rooms", "url": "sqlite:///rooms.sqlite"}
    rename(firm, "rooms", "places")


def test_s18_a_guest_of_an_event_whose_end_is_not_known_is_forgotten_later(firm: Firm) -> None:
    """Its row could not be read when it was taken over; a plan that waits names the guest."""
    firm.book("m", "ada", host="nobody")
    firm.book("z", "zoe")
    adopt(firm, "rooms,m,old-m,,\n")
    firm.night()
    firm.meetings["rooms"]["m"]["host"] = "host@corp.example"
    firm.night(kind="plan")
    with open_state(firm.config) as state:
        found = forget_person(firm.config, state, "ada@out.example")
    assert (found.waiting, found.upcoming, found.until) == (1, [], None)


@pytest.mark.parametrize("how", ["taken over", "rekeyed"])
def test_s15_a_source_with_no_id_of_its_own_making_is_renamed(firm: Firm, how: str) -> None:
    firm.source_settings["rooms"] = {"id_prefix": "x"}
    firm.book("a", "ada", "bob")
    if how == "taken over":
        adopt(firm, "rooms,a,old-1,ada,inv-1\n")
    else:
        firm.night()
        firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.meetings["places"] = firm.meetings.pop("rooms")
    settings = {"id_prefix": "rooms", "url": "sqlite:///rooms.sqlite"}
    firm.source_settings["places"] = settings
    with pytest.raises(ConfigurationError, match='write id_prefix = "x"'):
        rename(firm, "rooms", "places")
    firm.source_settings["places"] = settings | {"id_prefix": "x"}
    assert rename(firm, "rooms", "places") == 1
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], held)


def test_s18_adopt_refuses_a_record_of_a_united_meeting(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    start = firm.book("a", "ada", "bob")["start"]
    firm.book("h", "hal", source="hr", start=start, linked_source="rooms", linked_event_id="a")
    firm.night()
    with pytest.raises(ConfigurationError, match="has sent this event itself, as hr-h"):
        adopt(firm, "rooms,a,old-1,ada,inv-1\n")


def test_s18_adopt_refuses_an_event_whose_creation_was_not_answered(firm: Firm) -> None:
    """essentry may have it under its own id: its guests would be called off there."""
    firm.book("z", "zoe")
    firm.night()
    firm.book("a", "ada", "bob")
    firm.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    firm.night()
    firm.sandbox.clear_faults()
    firm.new_mails()
    with pytest.raises(ConfigurationError, match="has sent this event itself, as rooms-a"):
        adopt(firm, "rooms,a,old-1,ada,inv-1\n")
    assert (firm.night().exit_code, firm.new_mails()) == (0, [])


@pytest.mark.parametrize("state", ["active", "deleted"])
def test_s18_adopt_refuses_an_id_that_the_state_has_of_a_row_that_is_gone(
    firm: Firm, state: str
) -> None:
    meeting = firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.cancel("a")
    if state == "deleted":
        firm.night()
    firm.book("u", **meeting | {"start": meeting["start"] + timedelta(days=1)})
    with pytest.raises(ConfigurationError, match=rf"event of essentry-sync itself \({state}\)"):
        adopt(firm, "rooms,u,rooms-a,,\n")


def test_s18_what_was_taken_over_after_the_copy_is_taken_over_again(firm: Firm) -> None:
    """As `restored` says."""
    firm.book("a", "ada")
    firm.book("z", "zoe")
    firm.night()
    copy = copy_state(firm)
    firm.book("c", "cat")
    adopt(firm, "rooms,c,old-c,cat,inv-c\n")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    tell_restored(firm)
    adopt(firm, "rooms,c,old-c,cat,inv-c\n")
    firm.night()
    assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
    assert firm.held() == held


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], None]) -> None:
    """essentry lists its first invitation otherwise."""
    get = invitations.get_page

    def spoiled(*args: Any, **more: Any) -> Any:
        rows, total = get(*args, **more)
        for row in rows[:1]:
            change(row)
        return rows, total

    monkeypatch.setattr(invitations, "get_page", spoiled)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["event"].pop("locationId"),
        lambda row: row["event"].update(endsAt="soon"),
        lambda row: row["event"].update(endsAt="2026-12-01T09:00:00"),
        lambda row: row.update(contact="Ada"),
        lambda row: row["contact"].update(email=7),
    ],
    ids=["no location", "end", "end without a zone", "contact", "address"],
)
def test_s28_a_listed_invitation_that_cannot_be_read_is_told_and_nothing_heals(
    firm: Firm, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict], None]
) -> None:
    firm.sections["audit"] = {"seen": 1}
    firm.book("a", "ada", "bob")
    firm.book("b", "ben", "bea")
    firm.book("c", "cat", "col")
    firm.night()
    firm.sandbox.edit("lose", event="rooms-b")
    spoil(monkeypatch, change)
    with open_state(firm.config) as state:
        done = audit(firm.config, state)
        assert done.exit_code == 3
        assert done.audit.unreadable >= 1
        assert "unreadable" in done.verdict
        assert {row.source_id for row in done.told} == {"rooms-b"}
        assert (done.marked, "cannot be read" in done.unhealed) == ([], True)
        assert "cannot be read" in {row["guest"] for row in list_left_over(firm.config, state)}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_s28_a_nul_in_a_visitors_name_is_kept_as_a_question_mark(
    firm: Firm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    here = firm.sandbox.walk_in(11, at=NOW - timedelta(hours=2), firstName="CUTNAME\\")
    firm.sandbox.check_out(here, at=NOW - timedelta(hours=1))
    with database(kind, tmp_path) as engine:
        monkeypatch.setenv("STATE_URL", engine.url.render_as_string(hide_password=False))
        monkeypatch.setattr(Firm, "config", property(on_postgresql))
        firm.book("a")
        firm.night()
        cut_names(monkeypatch, "\\u0000")
        with open_state(firm.config) as state:
            read_visits(firm.config, state, now=datetime.now(UTC))
            found = state._frame(sa.select(t.checkins.c.first_name))
    assert found["first_name"].tolist() == ["?\\"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("partitions", [1, 3])
def test_s10_a_meeting_that_came_under_another_key_after_the_copy_keeps_its_id(
    firm: Firm, partitions: int
) -> None:
    """It was moved since, so nothing but the reports tells that it is the same."""
    firm.sections["scale"] = {"partitions": partitions}
    copy = begin_with_a_copy(firm)
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    firm.night()
    firm.meetings["rooms"]["u"]["start"] += timedelta(days=1)
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    for _ in range(2):
        assert firm.night().exit_code == 0
        assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
        assert firm.held() == held
    firm.cancel("u")
    assert firm.night().exit_code == 0
    assert set(firm.held()) == {"rooms-z"}


@pytest.mark.usefixtures("way")
def test_s10_a_meeting_whose_first_key_came_back_after_the_copy_keeps_its_id(firm: Firm) -> None:
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    firm.night()
    copy = copy_state(firm)
    meeting = firm.meetings["rooms"]["a"] = firm.meetings["rooms"].pop("u")
    firm.night()
    meeting["start"] += timedelta(days=1)
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    for _ in range(2):
        result = firm.night()
        assert (result.exit_code, result.report["quarantined"]) == (0, [])
        assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
        assert firm.held() == held


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("sent", ["nothing", "another"])
def test_s10_an_id_that_was_kept_after_the_copy_is_kept_though_nothing_was_sent(
    firm: Firm, sent: str
) -> None:
    """Nothing of the meeting was sent since it came under another key, and it moves at once."""
    copy = begin_with_a_copy(firm)
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    if sent == "another":
        firm.book("new", "neo")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    firm.meetings["rooms"]["u"]["start"] += timedelta(days=1)
    assert firm.night().exit_code == 0
    assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
    assert set(firm.held()) == set(held)
    firm.cancel("u")
    firm.night()
    assert "rooms-a" not in firm.held()


@pytest.mark.usefixtures("way")
def test_s10_an_id_that_was_given_back_after_the_copy_is_another_meetings_now(firm: Firm) -> None:
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    firm.night()
    copy = copy_state(firm)
    firm.meetings["rooms"]["a"] = firm.meetings["rooms"].pop("u")
    firm.night()
    firm.book("u", "una", start=NOW + timedelta(days=5))
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    assert set(held) == {"rooms-a", "rooms-u", "rooms-z"}
    restore(firm, copy)
    for _ in range(2):
        assert firm.night().exit_code == 0
        assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
        assert firm.held() == held


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("reason", ["cancelled", "guestless", "gone"])
def test_s19_what_we_deleted_after_the_copy_is_made_anew_as_if_the_state_knew(
    firm: Firm, reason: str
) -> None:
    firm.book("a", "ada")
    firm.book("z", "zoe")
    firm.night()
    copy = copy_state(firm)
    meeting = firm.meetings["rooms"]["a"]
    before = dict(meeting)
    if reason == "cancelled":
        meeting["status"] = "cancelled"
    elif reason == "guestless":
        meeting["guests"] = {}
    else:
        del firm.meetings["rooms"]["a"]
    for _ in range(2):
        firm.night()
    assert set(firm.held()) == {"rooms-z"}
    restore(firm, copy)
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"]["a"] = before
    result = firm.night()
    held = {} if reason != "gone" else {"reappeared": 1}
    assert (result.report["held_by_reason"], result.exit_code) == (held, 3)
    codes = [problem["code"] for problem in result.report["problems"]]
    assert ("ERROR_EVENT_DELETED" in codes) == (reason != "gone"), "this essentry refuses it"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("reports", [True, False])
def test_s15_a_source_that_was_renamed_after_the_copy_is_renamed_again(
    firm: Firm, reports: bool
) -> None:
    copy = begin_with_a_copy(firm)
    call_rooms_places(firm)
    firm.book("new", "neo", source="places")
    firm.night()
    firm.cancel("new", source="places")
    firm.meetings["places"]["a"]["name"] = "Other"
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy, reports=reports)
    with pytest.raises(ConfigurationError, match="essentry-sync rename rooms NEW"):
        firm.night() if reports else tell_restored(firm)
    assert rename(firm, "rooms", "places") == 2
    if not reports:
        tell_restored(firm)
    for _ in range(2):
        assert firm.night().exit_code == 0
        assert {kind for kind, *_ in firm.new_mails()} <= {"updated"}
        assert firm.held() == held


@pytest.mark.usefixtures("way")
def test_s10_a_meeting_of_which_a_guest_is_sent_again_keeps_its_id_under_another_key(
    firm: Firm,
) -> None:
    """An audit has taken the guest for missing, and of her the id alone is known until then."""
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ada")
    with open_state(firm.config) as state:
        assert audit(firm.config, state, heal=["rooms-a-ada"]).marked == ["rooms-a-ada"]
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("a")
    firm.new_mails()
    assert firm.night().exit_code == 0
    assert {(kind, event, who) for kind, event, _, who in firm.new_mails()} == {
        ("invited", "rooms-a", "ada@out.example")
    }
    assert (firm.night().exit_code, firm.new_mails()) == (0, [])


def test_s08_a_report_that_lists_not_all_of_its_changes_is_no_evidence(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whom it leaves out nobody knows whom essentry has invited since the copy."""
    firm.book("a", "ada")
    firm.night()
    copy = copy_state(firm)
    firm.meetings["rooms"]["a"]["guests"]["eve"] = "eve@out.example"
    firm.book("b", "bob")
    monkeypatch.setattr(choose_listed, "__kwdefaults__", {"limit": 1})
    firm.night()
    restore(firm, copy)
    del firm.meetings["rooms"]["a"]["guests"]["eve"]
    with pytest.raises(StateError, match="restored"):
        firm.night()
