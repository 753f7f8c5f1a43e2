"""Two rare features in one life: nobody is mailed because of the pair, and every way on is open."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from flows.commands import decide, main
from flows.operations.rebuild import Rebuild, apply_rebuild, plan_rebuild
from schemas.errors import SourceError
from tests.firm import Firm
from tests.flows.test_restored_nights import copy_state, restore, tell_restored
from tests.nights.test_rare_commands import begin_with_a_copy, call_rooms_places, rename


@pytest.fixture(autouse=True)
def _few_meetings(firm: Firm) -> None:
    firm.sections["guards"] |= {"max_deletes": 100, "max_delete_share": 1.0}


def lose_state(firm: Firm) -> None:
    for file in firm.folder.glob("state.sqlite*"):
        file.unlink()


def rebuild(firm: Firm) -> Rebuild:
    """The command `rebuild`, agreed to."""
    firm.write()
    planned = plan_rebuild(firm.config)
    assert firm.approve(planned.plan_id)
    assert apply_rebuild(firm.config, planned.plan_id).exit_code == 0
    return planned


@pytest.mark.parametrize("secret", [True, False])
def test_a_rebuild_says_who_gets_another_seal(
    firm: Firm, monkeypatch: pytest.MonkeyPatch, secret: bool
) -> None:
    """Where the seals rest on the lost state, everybody is invited again."""
    monkeypatch.setenv("SEALS", "a secret of many letters, kept apart")
    firm.sections["essentry"] = {"invitation_ids": "sealed"}
    if secret:
        firm.sections["essentry"]["invitation_secret_env"] = "SEALS"
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.new_mails()
    lose_state(firm)
    planned = rebuild(firm)
    invited = {address for kind, _, _, address in firm.new_mails() if kind == "invited"}
    assert (planned.renumbered, planned.sealed) == (
        len(invited),
        "secret" if secret else "salt",
    )
    assert len(invited) == (0 if secret else 3)
    assert (firm.night().exit_code, firm.new_mails()) == (0, [])


def test_s21_nothing_is_rebuilt_without_a_look_at_every_source(firm: Firm) -> None:
    """A meeting goes by the id of the record that could not be read."""
    firm.meetings["hr"] = {}
    firm.sections["on_source_failure"] = "others"
    start = firm.book("a", "ada", "bob")["start"]
    firm.book("h", "hal", source="hr", start=start, linked_source="rooms", linked_event_id="a")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    assert set(held) == {"hr-h"}
    lose_state(firm)
    firm.broken = {"hr"}
    with pytest.raises(SourceError, match=r"hr.* without a look at every source"):
        rebuild(firm)
    firm.broken = set()
    rebuild(firm)
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], held)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("then", ["noticed", "told"])
def test_s15_what_a_source_sent_under_its_old_name_since_the_copy_is_its_own(
    firm: Firm, then: str
) -> None:
    """Nights after the copy, then a rename: their reports have the name of before."""
    copy = begin_with_a_copy(firm)
    firm.book("new", "neo")
    firm.meetings["rooms"]["a"]["name"] = "Other"
    firm.night()
    firm.meetings["rooms"]["u"] = firm.meetings["rooms"].pop("z")
    firm.night()
    call_rooms_places(firm)
    firm.cancel("new", source="places")
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    rename(firm, "rooms", "places")
    if then == "told":
        tell_restored(firm)
    for _ in range(2):
        assert firm.night().exit_code == 0
        assert {(kind, event) for kind, event, *_ in firm.new_mails()} <= {
            ("updated", "rooms-a"),
            ("updated", "rooms-z"),
            ("cancelled", "rooms-new"),
        }
    assert firm.held() == {key: held[key] for key in ("rooms-a", "rooms-z")}


@pytest.mark.parametrize(("how", "copy"), [("retire", True), ("retire", False), ("rename", False)])
def test_s15_a_source_of_which_nothing_but_unanswered_requests_is_known_can_leave(
    firm: Firm, monkeypatch: pytest.MonkeyPatch, how: str, copy: bool
) -> None:
    """As the night says that stops because of it: after a copy, or a first night without answers.

    Its events stay in essentry either way.
    """
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.book("a", "ada")
    firm.night()
    file = copy_state(firm)
    firm.meetings["hr"] = {}
    firm.book("h", "hal", source="hr")
    if not copy:
        firm.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    firm.night()
    firm.sandbox.clear_faults()
    held, _ = firm.held(), firm.new_mails()
    meetings = firm.meetings.pop("hr")
    if how == "rename":
        firm.meetings["people"] = meetings
        firm.source_settings["people"] = {"id_prefix": "hr"}
    if copy:
        restore(firm, file)
    stopped = firm.night()
    assert stopped.exit_code == 2
    assert f"essentry-sync {how} hr" in stopped.report["verdict"]
    monkeypatch.setattr(decide, "load_settings", lambda file: firm.config)
    arguments = ["hr", "--yes"] if how == "retire" else ["hr", "people"]
    done = CliRunner().invoke(main.app, [how, *arguments])
    assert done.exit_code == 0, done.output
    assert "1 event of hr" in done.output
    for _ in range(2):
        assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], held)


@pytest.mark.usefixtures("way")
def test_s21_a_guest_who_came_after_the_copy_and_moves_is_invited_there_first(firm: Firm) -> None:
    """The new meeting is outside the pilot, so its guest stays where a report says that she is."""
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.meetings["hr"] = {}
    firm.book("a", "ada", "bob")
    firm.book("h", "hal", source="hr")
    firm.night()
    copy = copy_state(firm)
    firm.meetings["rooms"]["a"]["guests"]["eve"] = "eve@out.example"
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    restore(firm, copy)
    firm.sections["pilot"] = {"sources": ["rooms"]}
    eve = firm.meetings["rooms"]["a"]["guests"].pop("eve")
    firm.meetings["hr"]["h"]["guests"]["eve"] = eve
    firm.night()
    assert "cancelled" not in {kind for kind, *_ in firm.new_mails()}
    assert firm.held() == held
    del firm.sections["pilot"]
    for _ in range(2):
        firm.night()
    assert firm.held() == {
        "rooms-a": {"rooms-a-ada", "rooms-a-bob"},
        "hr-h": {"hr-h-hal", "hr-h-eve"},
    }
