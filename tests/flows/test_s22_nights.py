"""S22 in whole nights: doors, addresses and entrances that are taken away, and updates of an event
that essentry lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.night.session import open_state
from flows.sandbox.records import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm
from transforms.diff.clearing import list_uncleared

DOOR = '[{"partitionId": 1, "sourceId": "server-room"}]'
SITES = {"1": {"location_id": 11, "entrance_id": 21}, "2": {"location_id": 12}}


@pytest.fixture
def found_firm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Firm]]:
    servers = []

    def found(**settings: Any) -> Firm:
        server = SandboxServer(SandboxSettings(**settings)).start()
        servers.append(server)
        monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
        firm = Firm(tmp_path, server)
        # tests change how values are cleared
        firm.sections["guards"]["approve_policy_change"] = False
        firm.source_settings["rooms"] = {"sites": SITES, "custom_fields": {"badge": 5, "car": 6}}
        return firm

    yield found
    for server in servers:
        server.stop()


def _event(firm: Firm, key: str = "rooms-m") -> dict[str, Any]:
    return firm.sandbox.state()["events"][key]


def _named(firm: Firm) -> list[tuple[str, str | None, str]]:
    """What a report has to name."""
    with open_state(firm.config) as state:
        return list_uncleared(state.read_uncleared(), clearing=firm.config.essentry.clearing)


def _visit(firm: Firm) -> dict[str, Any]:
    return firm.book(
        "m",
        guests={
            "a": {"email": "wrong@stranger.example", "access_profiles": DOOR, "language": "de"}
        },
    )["guests"]["a"]


@pytest.mark.share(2)
@pytest.mark.parametrize("reading", ["clears", "ignored", "refused"])
def test_s22_a_door_and_an_address_that_are_taken_away_are_named_until_it_is_proven(
    found_firm: Callable[..., Firm], reading: str
) -> None:
    """s09. That an empty value clears is nowhere said: what was sent stands by name, whatever
    essentry does.
    """
    firm = found_firm(empty_text=reading, empty_list=reading)
    guest = _visit(firm)
    firm.night()
    guest |= {"access_profiles": None, "email": None, "language": None}
    firm.night()
    firm.night()
    held = _event(firm)["guests"]["rooms-m-a"]
    cleared = (held.get("email") == "", held.get("accessProfiles") == [])
    assert cleared == ((True, True) if reading == "clears" else (False, False))
    assert _named(firm) == [
        ("rooms-m", "rooms-m-a", field) for field in ("accessProfiles", "email", "language")
    ]
    puts, mails = firm.puts(), len(firm.sandbox.mails())
    quiet = firm.night()
    assert (quiet.exit_code, [problem["code"] for problem in quiet.report["problems"]]) == (
        3,
        ["UNCLEARED"],
    )
    assert (firm.puts(), len(firm.sandbox.mails())) == (puts, mails)
    # goes through, whatever essentry thinks of empty values
    firm.meetings["rooms"]["m"]["name"] = "Moved"
    firm.night()
    assert _event(firm)["name"] == "Moved"
    guest |= {"email": "right@out.example", "access_profiles": DOOR, "language": "en"}
    firm.night()
    assert (_named(firm), _event(firm)["guests"]["rooms-m-a"]["email"]) == ([], "right@out.example")


def test_s22_a_proven_empty_value_is_named_no_more_and_null_takes_the_entrance_away(
    found_firm: Callable[..., Firm],
) -> None:
    firm = found_firm(locations={11: [21], 12: []}, null="clears")
    guest = _visit(firm)
    firm.night()
    guest["access_profiles"] = None
    firm.night()
    assert _named(firm) == [("rooms-m", "rooms-m-a", "accessProfiles")]
    puts = firm.puts()
    firm.sections["essentry"] = {"clearing": "empty"}
    firm.night()
    assert (_named(firm), firm.puts()) == ([], puts)
    firm.sections["essentry"] = {"clearing": "null"}
    firm.meetings["rooms"]["m"]["site"] = "2"
    assert firm.night().exit_code == 0
    assert _named(firm) == []
    assert (_event(firm)["locationId"], "entranceId" in _event(firm)) == (12, False)


def test_s22_an_entrance_that_stands_is_named(found_firm: Callable[..., Firm]) -> None:
    firm = found_firm()
    _visit(firm)
    firm.night()
    firm.meetings["rooms"]["m"]["site"] = "2"
    firm.night()
    assert (_event(firm)["locationId"], _event(firm)["entranceId"]) == (12, 21)
    assert _named(firm) == [("rooms-m", None, "entranceId")]
    firm.sections["essentry"] = {"clearing": "empty"}
    assert firm.night()
    assert _named(firm) == [("rooms-m", None, "entranceId")]


def test_s22_a_guests_own_custom_field_falls_back_to_the_events(
    found_firm: Callable[..., Firm],
) -> None:
    """An own value wins over the event's, an empty one too: the event's is sent for the guest, and
    kept in step.
    """
    firm = found_firm()
    firm.source_settings["rooms"]["custom_fields"] = {"badge": 5, "car": 5}
    meeting = firm.book(
        "m",
        guests={"a": {"email": "a@out.example", "custom_car": "own"}, "b": "b@out.example"},
        custom_badge="blue",
    )
    firm.night()

    def shown() -> list[str | None]:
        return [
            _event(firm)["guests"][f"rooms-m-{who}"]["effectiveCustomFields"].get("5")
            for who in "ab"
        ]

    assert shown() == ["own", "blue"]
    meeting["guests"]["a"]["custom_car"] = None
    firm.night()
    assert (shown(), _named(firm)) == (["blue", "blue"], [])
    meeting["custom_badge"] = "green"
    firm.night()
    assert (shown(), _named(firm)) == (["green", "green"], [])
    puts = firm.puts()
    firm.night()
    assert firm.puts() == puts


@pytest.mark.share(2)
@pytest.mark.parametrize("payload", ["full", "partial"])
@pytest.mark.parametrize("change", ["title", "guest", "everything"])
def test_s22_an_update_of_an_event_that_essentry_lost_makes_no_meeting_without_its_guests(
    found_firm: Callable[..., Firm], payload: str, change: str
) -> None:
    """A delta lacks a required field, so it is refused as an incomplete create; then the whole
    event goes.
    """
    firm = found_firm()
    firm.sections["essentry"] = {"payload": payload}
    meeting = firm.book("m", "ada", "bea")
    firm.night()
    firm.sandbox.reset()
    if change == "guest":
        meeting["guests"]["cy"] = "cy@out.example"
    else:
        meeting["name"] = "New"
    if change == "everything":
        meeting |= {
            "host": "other@corp.example",
            "site": "2",
            "start": meeting["start"].replace(minute=17, second=0),
        }
    everybody = {f"rooms-m-{who}" for who in meeting["guests"]}
    first = firm.night()
    if change == "everything":
        assert firm.held() == {"rooms-m": everybody}
        return
    assert (first.exit_code, firm.held(), firm.mails().total()) == (3, {}, 0)
    assert [problem["source_id"] for problem in first.report["problems"]] == ["rooms-m"]
    assert (firm.night().exit_code, firm.held()) == (0, {"rooms-m": everybody})
    assert firm.mails() == {"invited": len(everybody)}


@pytest.mark.parametrize("payload", ["full", "partial"])
def test_s22_a_host_who_may_not_host_brings_no_guest_back(
    found_firm: Callable[..., Firm], payload: str
) -> None:
    """S9 outranks: this one code says what is wrong, and it is not that essentry has lost the
    event.
    """
    firm = found_firm(cannot_host={"no@corp.example"})
    firm.sections["essentry"] = {"payload": payload}
    meeting = firm.book("m", "ada", "bea")
    firm.night()
    del firm.sandbox._state.events["rooms-m"].guests["rooms-m-ada"]  # by reception
    meeting["host"] = "no@corp.example"
    assert firm.night().exit_code == 3
    meeting["host"] = "yes@corp.example"
    assert firm.night().exit_code == 0
    assert firm.held() == {"rooms-m": {"rooms-m-bea"}}


def test_s22_a_lost_host_phone_is_cleared_and_an_employees_name_is_not(
    found_firm: Callable[..., Firm],
) -> None:
    firm = found_firm()
    columns = "source_event_id, name, starts_at, ends_at, site_key, host_email"
    sql = "SELECT {}, 'Hanna' AS host_first_name, '+49 1' AS host_phone FROM events"
    (firm.folder / "events.sql").write_text(sql.format(columns))
    firm.book("m", "ada")
    firm.night()
    (firm.folder / "events.sql").write_text(
        sql.format(columns).replace("'Hanna'", "NULL").replace("'+49 1'", "NULL")
    )
    firm.sections["essentry"] = {"clearing": "empty"}
    firm.night()
    assert _event(firm)["host"] == {
        "email": "host@corp.example",
        "firstName": "Hanna",
        "phoneNumber": "",
    }
    assert _named(firm) == [("rooms-m", None, "host.firstName")]


def test_s22_a_guest_who_comes_again_is_the_same_contact(found_firm: Callable[..., Firm]) -> None:
    firm = found_firm()
    meeting = firm.book(
        "m",
        "bea",
        guests={"a": {"email": "a@out.example", "company_name": "Old Inc"}, "b": "b@out.example"},
    )
    firm.night()
    left = meeting["guests"].pop("a")
    firm.night()
    meeting["guests"]["a"] = left | {"company_name": None}
    firm.night()
    assert _event(firm)["guests"]["rooms-m-a"].get("companyName") == ""
    assert _named(firm) == [("rooms-m", "rooms-m-a", "companyName")]


def test_s22_a_private_meeting_sends_no_custom_field_of_the_event(
    found_firm: Callable[..., Firm],
) -> None:
    """s93. They may say what the meeting is about, as its title does; those of a guest are the
    guest's.
    """
    firm = found_firm()
    meeting = firm.book(
        "m", private="1", name="Secret talks", description="d", custom_badge="Project Falcon"
    )
    meeting["guests"] = {"a": {"email": "a@out.example", "custom_car": "B-AB 12"}}
    firm.book("n", custom_badge="blue")
    firm.night()
    assert not {"customFields", "description"} & set(_event(firm))
    assert _event(firm)["guests"]["rooms-m-a"]["customFields"] == {"6": "B-AB 12"}
    assert _event(firm, "rooms-n")["customFields"] == {"5": "blue"}
    firm.meetings["rooms"]["n"]["private"] = "1"
    firm.night()
    assert _event(firm, "rooms-n")["customFields"] == {"5": ""}
    assert _named(firm) == [("rooms-n", None, "customFields.5")]


@pytest.mark.parametrize("way", ["plan and apply", "partitions"])
def test_s22_holds_by_every_way_of_sending(found_firm: Callable[..., Firm], way: str) -> None:
    firm = found_firm(empty_text="ignored", empty_list="ignored")
    if way == "partitions":
        firm.sections["scale"] = {"partitions": 3}
    guest = _visit(firm)
    firm.book_many(4)
    firm.night()
    guest |= {"access_profiles": None, "email": None}
    if way == "partitions":
        firm.night()
    else:
        firm.night(kind="plan")
        firm.approve()
        firm.apply()
    assert _named(firm) == [
        ("rooms-m", "rooms-m-a", "accessProfiles"),
        ("rooms-m", "rooms-m-a", "email"),
    ]
