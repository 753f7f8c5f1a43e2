"""Events that another integration created: taken over by their ids, then whole nights in which
nobody is cancelled or invited again.
"""

from __future__ import annotations

import json
from datetime import timedelta

import httpx
import pytest

from flows.operations.adopt import adopt_events
from flows.sandbox.server import SandboxServer
from schemas.errors import ConfigurationError
from tests.command import run
from tests.firm import Firm

HEAD = "source,source_event_id,event_id,guest,invitation_id\n"
FILE = HEAD + "rooms,a,old/17,x,inv-1\nrooms,a,old/17,Y@out.example,inv-2\nrooms,b,old/18,x,inv-3\n"


def create_as_older_integration(
    sandbox: SandboxServer, firm: Firm, ids: dict[str, tuple[str, dict[str, str]]]
) -> None:
    """Events in essentry under ids of another integration: meeting → (event id, guest → invitation
    id).
    """
    events = []
    for key, (event_id, guests) in ids.items():
        meeting = firm.meetings["rooms"][key]
        people = [
            {
                "sourceId": inv,
                "email": meeting["guests"][g],
                "firstName": "F",
                "lastName": g.upper(),
            }
            for g, inv in guests.items()
        ]
        end = meeting["start"] + timedelta(minutes=59)
        plain = {
            "sourceId": event_id,
            "name": "Old title",
            "startsAt": meeting["start"].isoformat(),
            "endsAt": end.isoformat(),
        }
        events.append(
            plain
            | {"locationId": 11, "host": {"email": "host@corp.example"}, "invitations": people}
        )
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    answer = httpx.put(
        f"{sandbox.base_url}/events",
        json={"agentToken": sandbox.agent_token, "events": events},
        headers=headers,
    )
    assert {event["status"] for event in answer.json()["events"]} == {"SUCCESS"}


@pytest.fixture
def older(firm: Firm) -> Firm:
    """Two meetings with three invitations that essentry has from another integration, and one
    meeting that is new.
    """
    firm.book("a", "x", "y")
    firm.book("b", "x")
    firm.book("c", "z")
    create_as_older_integration(
        firm.sandbox,
        firm,
        {"a": ("old/17", {"x": "inv-1", "y": "inv-2"}), "b": ("old/18", {"x": "inv-3"})},
    )
    firm.write()
    return firm


def adopt(firm: Firm, text: str, *, write: bool = True, name: str = "ids.csv") -> list[str]:
    path = firm.folder / name
    path.write_text(text, encoding="utf-8")
    return adopt_events(firm.config, path, write=write)


def test_s18_adopted_events_keep_their_ids_and_nobody_is_invited_again(older: Firm) -> None:
    before = older.mails()
    told = adopt(older, FILE)
    assert told[0] == "2 events and 3 invitations are taken over; essentry was not called"
    assert older.mails() == before
    night = older.night()
    assert night.exit_code == 0
    assert night.report["counts"]["update"] == 2
    assert older.held() == {
        "old/17": {"inv-1", "inv-2"},
        "old/18": {"inv-3"},
        "rooms-c": {"rooms-c-z"},
    }
    assert older.sandbox.state()["events"]["old/17"]["name"] == "Visit a"
    mails = older.mails() - before
    assert (mails["cancelled"], mails["invited"]) == (0, 1)  # the new meeting's guest
    puts = older.puts()
    assert older.night().report["counts"]["unchanged"] == 3
    assert older.puts() == puts


def test_s10_adopted_ids_live_on_in_changes_and_deletes(older: Firm) -> None:
    adopt(older, FILE)
    older.night()
    older.meetings["rooms"]["a"]["guests"] = {"y": "y@out.example", "new": "new@out.example"}
    older.cancel("b")
    assert older.night().exit_code == 0
    assert older.held() == {"old/17": {"inv-2", "rooms-a-new"}, "rooms-c": {"rooms-c-z"}}
    older.book("b", "x")
    assert older.night().report["held_by_reason"] == {"reappeared": 1}


def test_adopted_event_that_is_still_there_at_the_last_look_is_not_deleted(older: Firm) -> None:
    adopt(older, FILE)
    older.night()
    gone = older.meetings["rooms"].pop("a")
    planned = older.night(kind="plan")
    assert planned.report["counts"]["delete"] == 1
    older.meetings["rooms"]["a"] = gone
    older.write()
    older.apply()
    assert "old/17" in older.held()


def test_adopt_twice_is_adopt_once_and_more_can_follow(older: Firm) -> None:
    adopt(older, HEAD + "rooms,a,old/17,x,inv-1\n")
    told = adopt(older, FILE)
    assert told[0].startswith("1 event and 2 invitations are taken over")
    assert told[1] == "2 ids taken over before"
    assert adopt(older, FILE)[0].startswith("0 events and 0 invitations")
    before = older.mails()
    older.night()
    assert older.held("old") == {"old/17": {"inv-1", "inv-2"}, "old/18": {"inv-3"}}
    assert (older.mails() - before)["invited"] == 1


def test_adopt_writes_nothing_unless_told_to(older: Firm) -> None:
    told = adopt(older, FILE, write=False)
    assert told[0].startswith("2 events and 3 invitations would be taken over")
    assert "--yes" in told[-1]
    assert older.night(kind="plan").report["counts"]["create"] == 3


def test_adopt_reads_json_and_names_guests_that_are_missing(older: Firm) -> None:
    rows = [
        {
            "source": "rooms",
            "source_event_id": "a",
            "event_id": "old/17",
            "guest": "x",
            "invitation_id": "inv-1",
        }
    ]
    told = adopt(older, json.dumps(rows), name="ids.json")
    assert told[0].startswith("1 event and 1 invitation ")
    assert "1 guest of these events not in the file" in told[1]


def test_adopted_event_that_is_not_due_keeps_its_id_for_later(older: Firm) -> None:
    older.meetings["rooms"]["b"]["status"] = "pending"
    older.write()
    before = older.mails()
    assert "1 of the events are pending in their source" in adopt(older, FILE)[1]
    older.night()
    older.meetings["rooms"]["b"]["status"] = "confirmed"
    older.night()
    assert older.held("old") == {"old/17": {"inv-1", "inv-2"}, "old/18": {"inv-3"}}
    assert (older.mails() - before)["invited"] == 1


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no lines"),
        (HEAD + "rooms,a,,,\n", "line 2: event_id is missing"),
        (HEAD + "rooms,nowhere,old/1,,\n", "line 2: rooms shows no event 'nowhere'"),
        (HEAD + "hr,a,old/1,,\n", "line 2: there is no source 'hr'"),
        (HEAD + "rooms,a,old/1,x,\n", "line 2: guest and invitation_id belong together"),
        (HEAD + "rooms,a,old/1,nobody,inv-1\n", "line 2: rooms shows no such guest"),
        (
            HEAD + "rooms,a,old/1,x,inv-1\nrooms,a,old/1,y,inv-1\n",
            "line 3: the guest or the invitation_id occurs twice",
        ),
        (
            HEAD + "rooms,a,old/1,,\nrooms,a,old/2,,\n",
            "line 3: the event 'a' is taken over as 'old/1'",
        ),
        (
            HEAD + "rooms,a,old/1,,\nrooms,b,old/1,,\n",
            "line 3: event_id 'old/1' is given to two events",
        ),
        (HEAD + "rooms,a,rooms-b,,\n", "line 2: event_id 'rooms-b' is the id of another record"),
        (HEAD + "rooms,a,old\u200b1,,\n", "line 2: event_id must be printable"),
        ("source,source_event_id,event_id,gast\nrooms,a,old/1,x\n", "unknown column 'gast'"),
    ],
)
def test_adopt_refuses_what_does_not_fit_and_keeps_nothing(
    older: Firm, text: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        adopt(older, text)
    assert words in str(refused.value)
    assert refused.value.exit_code == 2
    assert older.night(kind="plan").report["counts"]["create"] == 3


def test_adopt_refuses_events_that_essentry_sync_created(firm: Firm) -> None:
    firm.book("a", "x")
    firm.night()
    with pytest.raises(ConfigurationError, match="has created this event itself"):
        adopt(firm, HEAD + "rooms,a,old/17,,\n")


def test_adopt_and_rename_as_commands(company) -> None:
    """Guests without a key of their own are named by their address; then the source gets another
    name.
    """

    def command(*arguments: str) -> tuple[int, str]:
        done = run(*arguments, "--config", str(company.path))
        return done.returncode, done.stdout + done.stderr

    company.write({"1": ["ada@out.example", "bob@out.example"]})
    file = company.folder / "ids.csv"
    file.write_text(
        HEAD + "rooms,1,old/1,Ada@out.example,inv-ada\nrooms,1,old/1,nobody@out.example,inv\n"
    )
    code, told = command("adopt", str(file))
    assert (code, "line 3" in told) == (2, True)
    file.write_text(
        HEAD + "rooms,1,old/1,Ada@out.example,inv-ada\nrooms,1,old/1,bob@out.example,inv-bob\n"
    )
    assert "nothing was written: give --yes" in command("adopt", str(file))[1]
    assert command("adopt", str(file), "--yes")[0] == 0
    assert company.night().exit_code == 0
    events = company.sandbox.state()["events"]
    assert {key: set(event["guests"]) for key, event in events.items()} == {
        "old/1": {"inv-ada", "inv-bob"}
    }

    text = company.path.read_text()
    company.path.write_text(text.replace("[sources.rooms", "[sources.places"))
    code, told = command("rename", "rooms", "places")
    assert (code, 'id_prefix = "rooms"' in told) == (2, True)
    company.path.write_text(
        text.replace("[sources.rooms", "[sources.places").replace(
            "[sources.places]", '[sources.places]\nid_prefix = "rooms"'
        )
    )
    assert command("rename", "rooms", "places") == (
        0,
        "1 event of rooms belong to places now, under the ids they had; essentry was not called\n",
    )
    puts = company.sandbox.requests()["puts"]
    assert company.night().exit_code == 0
    assert company.sandbox.requests()["puts"] == puts
