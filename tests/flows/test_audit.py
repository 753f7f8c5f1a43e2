"""What essentry holds is compared with what it confirmed: whole lives on the sandbox, changed by
hand and lost. Reading mails nobody.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import flows.essentry.invitations as invitations
from flows.night.lease import hold_lease
from flows.night.run import new_run
from flows.night.session import open_state
from flows.operations.audit import Audited, audit
from flows.operations.history import trace_event
from flows.operations.leftovers import list_left_over
from flows.state.audits import CODE
from flows.state.views import NAMES
from schemas.errors import ConfigurationError, EssentryError, StateError
from tests import command
from tests.firm import START, Firm
from tests.flows.wire import cut_names

Look = Callable[..., Audited]


@pytest.fixture(autouse=True)
def _tokens(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESSENTRY_TOKEN", firm.sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", firm.sandbox.agent_token)


@pytest.fixture
def look(firm: Firm) -> Look:
    """An audit. It has mailed nobody and sent nothing."""

    def look(*heal: str) -> Audited:
        before = firm.puts(), firm.mails(), firm.held()
        with open_state(firm.config) as state:
            done = audit(firm.config, state, heal=heal)
        assert (firm.puts(), firm.mails(), firm.held()) == before
        return done

    return look


def told(done: Audited) -> set[tuple[str, str, str]]:
    return {(row.kind, row.item or row.source_id, row.fields) for row in done.told}


def grow(firm: Firm) -> None:
    """Five meetings that essentry has confirmed, three of them with several guests."""
    firm.book("a", "ann", "art")
    firm.book("b", "bob", "bea", "ben")
    firm.book("c", "cat", "col")
    firm.book("d", "dan")
    firm.book("e", "eve", "eli", site="2")
    assert firm.night().exit_code == 0
    firm.new_mails()


def test_essentry_as_it_was_confirmed_is_told_as_such(firm: Firm, look: Look) -> None:
    grow(firm)
    done = look()
    assert (done.exit_code, done.audit.events, done.audit.invitations) == (0, 5, 10)
    assert not done.told
    assert not done.fresh
    assert not done.audit.unknown
    assert not done.marked
    with open_state(firm.config) as state:
        last = state.runs().iloc[-1]
        assert (last["kind"], last["status"], last["exit_code"]) == ("audit", "audited", 0)
        assert "5 events compared: 0 missing events" in last["summary_json"]


def test_each_thing_that_went_wrong_is_found_and_only_the_lost_event_heals_by_itself(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ann")
    firm.sandbox.edit("change", event="rooms-b", name="Another title")
    firm.sandbox.edit("remove_guest", event="rooms-c", guest="rooms-c-col")
    firm.sandbox.edit("lose", event="rooms-e")
    own = {
        "startsAt": START.isoformat(),
        "endsAt": (START + timedelta(hours=1)).isoformat(),
        "locationId": 11,
    }
    firm.sandbox.edit(
        "add", event="own", guests=[{"email": "walk@in.example"}, {"lastName": "Nameless"}], **own
    )
    firm.new_mails()

    first = look()
    assert (first.exit_code, first.told, first.marked) == (0, [], [])  # seen once
    assert len(first.fresh) == 4
    second = look()
    assert second.exit_code == 3
    assert told(second) == {
        ("missing invitation", "rooms-a-ann", ""),
        ("different", "rooms-b", "title"),
        ("missing invitation", "rooms-c-col", ""),
        ("missing event", "rooms-e", ""),
    }
    assert second.audit.unknown == {11: 2}
    assert second.marked == ["rooms-e"]

    night = firm.night()
    assert night.exit_code == 0, night.report["problems"]
    assert firm.new_mails() == [
        ("invited", "rooms-e", f"rooms-e-{who}", f"{who}@out.example") for who in ("eli", "eve")
    ]
    held = firm.held()
    assert held["rooms-e"] == {"rooms-e-eve", "rooms-e-eli"}
    assert (held["rooms-a"], held["rooms-c"], len(held["own"])) == (
        {"rooms-a-art"},
        {"rooms-c-cat"},
        2,
    )

    third = look()
    assert told(third) == told(second) - {("missing event", "rooms-e", "")}
    assert firm.night().exit_code == 0
    assert firm.new_mails() == []


def test_a_single_invitation_is_sent_again_when_somebody_chooses_it(firm: Firm, look: Look) -> None:
    grow(firm)
    for event, guest in (("a", "ann"), ("b", "bob"), ("b", "ben")):
        firm.sandbox.edit("remove_guest", event=f"rooms-{event}", guest=f"rooms-{event}-{guest}")
    firm.new_mails()
    assert look().marked == []
    done = look("rooms-a-ann", "rooms-b-ben")
    assert done.marked == ["rooms-a-ann", "rooms-b-ben"]
    assert firm.night().exit_code == 0
    mails = firm.new_mails()
    assert {mail[:3] for mail in mails} == {
        ("invited", "rooms-a", "rooms-a-ann"),
        ("invited", "rooms-b", "rooms-b-ben"),
    }
    assert firm.held()["rooms-b"] == {"rooms-b-bea", "rooms-b-ben"}
    assert told(look()) == {("missing invitation", "rooms-b-bob", "")}


def test_what_is_chosen_must_be_missing_and_need_not_be_seen_twice(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ann")
    with pytest.raises(ConfigurationError, match="'rooms-b-bob' is not missing in essentry"):
        look("rooms-a-ann", "rooms-b-bob")
    with open_state(firm.config) as state:
        assert len(state.sightings()) == 0  # nothing was written
        assert len(state.open_intents()) == 0
    done = look("rooms-a-ann")
    assert (done.exit_code, done.marked) == (3, ["rooms-a-ann"])


def test_of_one_guest_a_lost_event_and_a_removed_guest_look_alike_so_nobody_is_invited_again(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.sandbox.edit("remove_guest", event="rooms-d", guest="rooms-d-dan")
    look()
    done = look()
    assert (told(done), done.marked) == ({("missing event", "rooms-d", "")}, [])
    firm.new_mails()
    firm.night()
    assert firm.new_mails() == []
    assert look("rooms-d").marked == ["rooms-d"]
    assert firm.night().exit_code == 0
    assert firm.new_mails() == [("invited", "rooms-d", "rooms-d-dan", "dan@out.example")]


def test_a_guard_holds_what_heals_as_anything_else(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sandbox.edit("lose", event="rooms-b")
    look()
    assert look().marked == ["rooms-b"]
    firm.sections["guards"] |= {"max_people_mailed": 2}
    night = firm.night()
    assert night.exit_code == 4, night.report["verdict"]
    assert "rooms-b" not in firm.held()
    assert look().apart == {"whose last request the next run settles": 1}
    firm.approve()
    assert firm.apply().exit_code == 0
    assert firm.held()["rooms-b"] == {"rooms-b-bob", "rooms-b-bea", "rooms-b-ben"}


def test_more_lost_events_than_are_healed_and_an_essentry_that_lists_nothing_are_left_to_a_person(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1, "heal_events": 1}
    for key in "ab":
        firm.sandbox.edit("lose", event=f"rooms-{key}")
    done = look()
    assert (len(done.told), done.marked) == (2, [])
    assert "audit.heal_events" in done.unhealed
    for key in "cde":
        firm.sandbox.edit("lose", event=f"rooms-{key}")
    firm.sections["audit"] = {"seen": 1}
    done = look()
    assert (len(done.told), done.marked) == (5, [])
    assert "lists none of our events" in done.unhealed
    assert look("rooms-a").marked == ["rooms-a"]


def test_healing_can_be_switched_off_and_drift_told_at_once(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1, "heal": False}
    firm.sandbox.edit("lose", event="rooms-a")
    done = look()
    assert (done.exit_code, told(done), done.marked) == (3, {("missing event", "rooms-a", "")}, [])


def test_two_guests_behind_one_address_are_told_apart_by_name_or_counted(
    firm: Firm, look: Look
) -> None:
    home = {
        name: {"email": "family@out.example", "first_name": name, "last_name": "Fox"}
        for name in ("fay", "fred")
    }
    firm.book("one", guests=home)
    firm.book("two", guests=home)
    firm.night()
    assert len(firm.held()["rooms-one"]) == 2
    firm.sections["audit"] = {"seen": 1}
    assert look().exit_code == 0
    firm.sandbox.edit("remove_guest", event="rooms-one", guest="rooms-one-fay")
    firm.sandbox.edit("remove_guest", event="rooms-two", guest="rooms-two-fay")
    firm.sandbox.edit("rename_guest", guest="rooms-two-fred", firstName="Frederick")
    done = look()
    assert told(done) == {("missing invitation", "rooms-one-fay", "")}
    assert done.audit.ambiguous_invitations == 2  # who was renamed and who is missing, nothing says


def test_a_corrected_guest_is_different_and_not_missing(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    firm.sandbox.edit("rename_guest", guest="rooms-a-ann", lastName="Married")
    firm.sandbox.edit("rename_guest", guest="rooms-b-bob", email="robert@out.example")
    firm.sandbox.edit("rename_guest", guest="rooms-d-dan", email="daniel@out.example")
    assert told(look()) == {
        ("different", "rooms-a-ann", "guest's name"),
        ("different", "rooms-b-bob", "guest's address"),
        ("different", "rooms-d-dan", "guest's address"),
    }


@pytest.mark.parametrize("days", [3, 400])
def test_a_moved_event_is_different_and_is_not_sent_again(
    firm: Firm, look: Look, days: int
) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    at = START + timedelta(days=days)
    times = {"startsAt": at.isoformat(), "endsAt": (at + timedelta(hours=1)).isoformat()}
    firm.sandbox.edit("change", event="rooms-a", locationId=12, **times)
    firm.sandbox.edit("change", event="rooms-b", endsAt=(START + timedelta(hours=9)).isoformat())
    done = look()
    assert told(done) == {
        ("different", "rooms-a", "location, start, end"),
        ("different", "rooms-b", "end"),
    }
    assert not done.audit.unknown
    assert not done.marked


def test_the_same_people_elsewhere_are_no_proof_and_nothing_is_guessed(
    firm: Firm, look: Look
) -> None:
    """The event is lost, and its guests come to another meeting that somebody made by hand: moved
    and renamed, or not?
    """
    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    firm.sandbox.edit("lose", event="rooms-a")
    at = START + timedelta(days=9)
    times = {"startsAt": at.isoformat(), "endsAt": (at + timedelta(hours=1)).isoformat()}
    guests = [{"email": f"{who}@out.example"} for who in ("ann", "art")]
    firm.sandbox.edit("add", event="own", locationId=11, guests=guests, **times)
    done = look()
    assert (done.exit_code, done.told, done.marked, done.audit.ambiguous_events) == (0, [], [], 1)


def test_meetings_of_one_guest_at_one_time_are_told_apart_by_title_or_counted(
    firm: Firm, look: Look
) -> None:
    for key, name in (("p", "Plan"), ("q", "Quiz"), ("x", "Same"), ("y", "Same")):
        firm.book(key, name=name, start=START, guests={"z": "zoe@out.example"})
    firm.night()
    firm.sections["audit"] = {"seen": 1}
    assert (look().exit_code, look().audit.ambiguous_events) == (0, 0)
    firm.sandbox.edit("lose", event="rooms-p")
    firm.sandbox.edit("lose", event="rooms-x")
    done = look()
    assert told(done) == {("missing event", "rooms-p", "")}
    assert done.audit.ambiguous_events == 2


def test_a_finding_that_a_run_has_sent_meanwhile_is_none(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The night changes an event between the reading and the telling."""
    from flows.operations import audit as operation

    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ann")
    settle = operation.Audit.settle

    def meanwhile(self: Any) -> None:
        settle(self)
        firm.meetings["rooms"]["a"]["name"] = "Renamed in the source"
        assert firm.night().exit_code == 0

    monkeypatch.setattr(operation.Audit, "settle", meanwhile)
    with open_state(firm.config) as state:
        done = audit(firm.config, state)
    assert (done.exit_code, done.told, done.fresh) == (0, [], [])


def test_a_run_at_work_is_not_disturbed(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    firm.sandbox.edit("lose", event="rooms-a")
    with open_state(firm.config) as state, hold_lease(state, new_run(), firm.config):
        done = look()
        assert (done.exit_code, done.marked) == (3, [])
        assert "another run works on this state" in done.unhealed
    assert look().marked == ["rooms-a"]


def test_a_plan_that_waits_goes_on_without_what_heals_and_is_superseded_with_it(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.sections["audit"] = {"seen": 1}
    firm.book("f", "fox")
    waits = firm.night(kind="plan").report["plan"]["plan_id"]
    firm.sandbox.edit("lose", event="rooms-a")
    assert look().marked == ["rooms-a"]
    assert firm.plan_of()[0]["plan_id"] == waits  # `latest` stays what it was
    assert firm.plan_of(waits)[0]["status"] != "superseded"

    firm.meetings["rooms"]["b"]["name"] = "Other"
    waits = firm.night(kind="plan").report["plan"]["plan_id"]
    firm.sandbox.edit("lose", event="rooms-b")
    assert look().marked == ["rooms-b"]
    assert firm.plan_of(waits)[0]["status"] == "superseded"


def test_an_essentry_that_cannot_be_read_to_its_end_is_no_audit(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    firm.sandbox.edit("lose", event="rooms-a")
    firm.sandbox.add_faults([{"kind": "garbage", "on": "get"}])
    with pytest.raises(EssentryError, match="cannot be read back"):
        look()
    with open_state(firm.config) as state:
        assert len(state.sightings()) == 0
        assert state.runs().iloc[-1]["status"] == "failed"


def test_an_audit_of_another_account_is_refused(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", "5a4db0c5-0000-4000-8000-000000000099")
    with pytest.raises(StateError, match="another agent token"):
        look()


def test_an_event_that_waits_for_its_answer_is_not_compared_and_leaves_nothing_unknown(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.meetings["rooms"]["a"]["name"] = "Later"
    firm.sandbox.add_faults([{"kind": "drop_after", "times": 9}])
    firm.night()
    firm.sandbox.clear_faults()
    firm.sections["audit"] = {"seen": 1}
    done = look()
    assert done.apart == {"whose last request the next run settles": 1}
    assert (done.exit_code, done.audit.events, dict(done.audit.unknown)) == (0, 4, {})


def test_show_tells_what_audits_saw_until_it_is_gone(firm: Firm, look: Look) -> None:
    grow(firm)
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ann")
    look()
    look()
    with open_state(firm.config) as state:
        lines = trace_event(state, firm.config, "rooms-a")["standing"]
        (line,) = (line for line in lines if line.startswith("audit:"))
        assert "missing invitation in essentry of rooms-a-ann (seen by 2 audits in a row" in line
    look("rooms-a-ann")
    firm.night()
    look()
    with open_state(firm.config) as state:
        assert not [
            line
            for line in trace_event(state, firm.config, "rooms-a")["standing"]
            if line.startswith("audit:")
        ]


def test_leftovers_read_by_the_same_reader(firm: Firm) -> None:
    grow(firm)
    own = {
        "startsAt": START.isoformat(),
        "endsAt": (START + timedelta(hours=1)).isoformat(),
        "locationId": 11,
    }
    firm.sandbox.edit("add", event="own", guests=[{"email": "walk@in.example"}], **own)
    with open_state(firm.config) as state:
        (row,) = list_left_over(firm.config, state)
    assert row["guest"] == "w…@in.example"


def test_the_command_ends_with_3_names_nobody_and_says_what_cannot_be_audited(firm: Firm) -> None:
    grow(firm)
    firm.sandbox.edit("lose", event="rooms-a")
    firm.sandbox.edit("change", event="rooms-b", name="Secret title")
    file = firm.folder / "essentry-sync.toml"
    file.write_text(
        f"""
[essentry]
base_url = "{firm.sandbox.base_url}"
[state]
url = "sqlite:///state.sqlite"
[report]
directory = "runs"
[sources.rooms]
url = "sqlite:///rooms.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
sites = {{ "1" = {{ location_id = 11 }}, "2" = {{ location_id = 12 }} }}
""",
        encoding="utf-8",
    )
    first = command.run("audit", "-c", str(file))
    assert first.returncode == 0, first.stderr
    assert "nothing is missing or different" in first.stdout
    assert "2 more seen for the first time" in first.stdout
    second = command.run("audit", "-c", str(file))
    assert second.returncode == 3, second.stderr
    assert "rooms-a" in second.stdout
    assert "host, creator, entrance" in second.stdout
    assert "the next run sends again, through the guards: rooms-a" in second.stdout
    third = command.run("audit", "-c", str(file), "--json")
    said = json.loads(third.stdout)
    assert (third.returncode, [row["source_id"] for row in said["told"]]) == (3, ["rooms-b"])
    wrong = command.run("audit", "-c", str(file), "--heal", "rooms-zzz")
    assert wrong.returncode == 2
    assert "rooms-zzz" in wrong.stderr
    shown = first.stdout + second.stdout + third.stdout + wrong.stderr
    assert "out.example" not in shown
    assert "Secret" not in shown
    with open_state(firm.config) as state:
        assert set(state.open_intents()["code"]) == {CODE}
    runs = command.run("runs", "-c", str(file))
    assert "1 missing event" in runs.stdout


def test_upgrading_keeps_what_was_confirmed(firm: Firm, look: Look) -> None:
    """The store of the form before has no sightings; an audit of it brings it forward."""
    grow(firm)
    with sqlite3.connect(firm.folder / "state.sqlite") as old:
        for view in NAMES:
            old.execute(f"DROP VIEW {view}")
        for table in ("audit_sightings", "checkins", "checkin_reads"):
            old.execute(f"DROP TABLE {table}")
        old.execute("ALTER TABLE plans DROP COLUMN selection")
        old.execute("UPDATE alembic_version SET version_num = '0007'")
    old.close()
    assert look().exit_code == 0


def make_blind(monkeypatch: pytest.MonkeyPatch, *places: int) -> None:
    """essentry lists nothing of these locations: the token may not read them."""
    get = invitations.get_page

    def hidden(client: Any, url: str, *args: Any, **more: Any) -> Any:
        if any(f"/locations/{place}/" in url for place in places):
            return [], 0
        return get(client, url, *args, **more)

    monkeypatch.setattr(invitations, "get_page", hidden)


def test_what_was_sent_again_and_is_missing_still_is_not_sent_night_after_night(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    make_blind(monkeypatch, 12)
    look()
    assert look().marked == ["rooms-e"]
    assert firm.night().exit_code == 0
    puts = firm.puts()
    for _ in range(3):
        done = look()
        assert done.told or done.fresh or done.apart
        assert done.marked == []
        firm.night()
    assert firm.puts() == puts
    assert done.exit_code == 3
    assert look("rooms-e").marked == ["rooms-e"]


def test_a_location_of_which_nothing_is_listed_is_left_to_a_person(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    firm.book("f", "flo", "fin", site="2")
    firm.night()
    make_blind(monkeypatch, 12)
    look()
    done = look()
    assert (len(done.told), done.marked) == (2, [])
    assert "location 12" in done.unhealed


def test_an_essentry_that_lists_nothing_heals_nothing_though_an_event_is_new(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    make_blind(monkeypatch, 11, 12)
    look()
    firm.book("new", "nat", "ned")
    firm.night()
    done = look()
    assert (len(done.told), len(done.fresh), done.marked) == (5, 1, [])


def test_guests_who_were_removed_one_by_one_are_no_lost_event_and_not_invited_again(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    for guest in ("ann", "art"):
        firm.sandbox.edit("remove_guest", event="rooms-a", guest=f"rooms-a-{guest}")
        look()
        done = look()
    assert told(done) == {("missing event", "rooms-a", "")}
    assert done.marked == []
    firm.new_mails()
    firm.night()
    assert firm.new_mails() == []
    assert look().marked == []


def test_s28_a_title_that_was_cut_off_within_a_character_stops_no_audit(
    firm: Firm, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(firm)
    at = {
        "startsAt": START.isoformat(),
        "endsAt": (START + timedelta(hours=1)).isoformat(),
        "locationId": 11,
    }
    firm.sandbox.edit(
        "add", event="own", name="Own CUTNAME", guests=[{"email": "walk@in.example"}], **at
    )
    cut_names(monkeypatch)
    done = look()
    assert (done.exit_code, done.fresh, done.audit.unknown) == (0, [], {11: 1})


def call_otherwise(firm: Firm) -> None:
    """Reception corrects a guest's name and address, so that nothing tells that it is the same."""
    firm.sandbox.edit(
        "rename_guest", guest="rooms-a-ann", firstName="N", lastName="O", email="n@in.example"
    )


def test_who_was_to_be_sent_again_and_leaves_the_meeting_before_is_not_forgotten(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    call_otherwise(firm)
    assert look("rooms-a-ann").marked == ["rooms-a-ann"]
    del firm.meetings["rooms"]["a"]["guests"]["ann"]
    assert firm.night().exit_code == 0
    assert firm.held()["rooms-a"] == {"rooms-a-art"}


def test_who_was_removed_by_hand_and_leaves_the_meeting_before_it_heals_is_not_mailed(
    firm: Firm, look: Look
) -> None:
    grow(firm)
    firm.sandbox.edit("remove_guest", event="rooms-a", guest="rooms-a-ann")
    assert look("rooms-a-ann").marked == ["rooms-a-ann"]
    del firm.meetings["rooms"]["a"]["guests"]["ann"]
    firm.new_mails()
    night = firm.night()
    assert (night.exit_code, night.report["problems"]) == (0, [])
    assert firm.held()["rooms-a"] == {"rooms-a-art"}
    assert firm.new_mails() == []


def test_a_guest_who_is_called_otherwise_is_sent_whole_when_chosen(firm: Firm, look: Look) -> None:
    grow(firm)
    call_otherwise(firm)
    assert look("rooms-a-ann").marked == ["rooms-a-ann"]
    firm.new_mails()
    assert firm.night().exit_code == 0
    assert {mail[1:] for mail in firm.new_mails()} == {
        ("rooms-a", "rooms-a-ann", "ann@out.example")
    }
    assert look().fresh == []
    assert firm.night().report["counts"].get("update", 0) == 0
