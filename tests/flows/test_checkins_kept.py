"""What is kept of people of a check-in and for how long, and what the command says when something
is odd.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from flows.night.retention import forget_after
from flows.night.session import open_state
from flows.operations.forget import forget_person
from flows.operations.history import trace_event
from schemas.check_ins import CheckIns
from schemas.errors import EssentryError, StateError
from tests.command import run
from tests.firm import NOW, Firm
from tests.flows.test_checkins import VISITS, ask, come_and_go, read, write_file
from tests.flows.wire import cut_names
from transforms.operations.check_ins import read_check_ins

# --- people ---

PRIVATE = {
    "birthdate": "1815-12-10",
    "trustedId": {"id": "TRUST-4711", "faceImage": "iVBORw0KGgoFACE"},
    "images": ["iVBORw0KGgoPHOTO"],
    "documentNumber": "DOC-X123",
    "cardNumber": "CARD-9876",
    "accessControl": {"pin": "PIN-271828", "cardNumber": "CARD-5555"},
    "customFields": {"1": "CUSTOM-ALLERGY"},
    "somethingNew": "NEWFIELD-1",
}
WORDS = (
    "1815-12-10",
    "TRUST-4711",
    "iVBORw0KGgo",
    "DOC-",
    "CARD-",
    "PIN-271828",
    "CUSTOM-ALLERGY",
    "NEWFIELD",
)


def test_biometric_and_document_fields_never_reach_the_file(firm: Firm) -> None:
    firm.book("a", "x", start=NOW + timedelta(hours=3))
    firm.night()
    of_invitation = {
        "sourceId": "rooms-a-x",
        "startsAt": None,
        "endsAt": None,
        "guest": {"birthdate": "1815-12-10", "documentNumber": "DOC-2"},
    }
    come_and_go(firm, "rooms-a-x", **PRIVATE, legitimation=of_invitation, lastName="Lovelace")
    url = f"{firm.sandbox.base_url}/locations/11/check-ins"
    window = {"leftAfter": "2020-01-01T00:00:00Z", "leftBefore": "2099-01-01T00:00:00Z"}
    answered = httpx.get(
        url, params=window, headers={"Authorization": f"Bearer {firm.sandbox.token}"}
    ).text
    assert all(word in answered for word in WORDS)
    done = run("checkins", "--config", write_file(firm))
    assert done.returncode == 0, done.stderr
    assert ask(firm, VISITS) == [("rooms-a-x", "rooms-a", None)]
    kept = b"".join(path.read_bytes() for path in firm.folder.rglob("*") if path.is_file())
    assert b"Lovelace" in kept
    assert [word for word in WORDS if word.encode() in kept] == []


def test_the_model_lets_nothing_through_that_it_does_not_name() -> None:
    frame, _ = read_check_ins([{"id": 1, "state": "x", **PRIVATE}])
    assert set(frame.columns) == set(CheckIns.columns)
    assert not any(word in frame.to_csv() for word in WORDS)


def named(firm: Firm) -> list[tuple]:
    return ask(
        firm,
        (
            "SELECT checkin_id, email, first_name, last_name, company_name FROM checkins ORDER BY "
            "CAST(checkin_id AS INTEGER)"
        ),
    )


def test_forget_takes_the_names_out_and_reading_again_does_not_bring_them_back(firm: Firm) -> None:
    firm.book("a", "ada", "ben", start=NOW + timedelta(hours=3))
    firm.night()
    ada, ben = (
        come_and_go(firm, f"rooms-a-{guest}", at=NOW - timedelta(minutes=90))
        for guest in ("ada", "ben")
    )
    # as she typed at the kiosk
    other = come_and_go(
        firm, "rooms-a-ada", at=NOW - timedelta(minutes=80), email="Private@Home.example"
    )
    read(firm)
    assert [row[1] for row in named(firm)] == [
        "ada@out.example",
        "ben@out.example",
        "private@home.example",
    ]
    with open_state(firm.config) as state:
        found = forget_person(firm.config, state, "ada@out.example")
    assert found.visits == 2
    gone = [
        (str(ada), None, None, None, None),
        (str(ben), "ben@out.example", "F", "BEN", None),
        (str(other), None, None, None, None),
    ]
    assert named(firm) == gone
    read(firm, since=NOW - timedelta(hours=5))
    assert named(firm) == gone
    # the visit stays, and counts
    assert {event for _, event, _ in ask(firm, VISITS)} == {"rooms-a"}


def test_names_go_after_keep_personal_days_and_visits_after_keep_runs_days(firm: Firm) -> None:
    firm.book("a", "ada", start=NOW + timedelta(hours=3))
    firm.night()
    come_and_go(firm, "rooms-a-ada")
    come_and_go(firm, "rooms-a-ada", at=NOW - timedelta(days=100))
    read(firm, since=NOW - timedelta(days=101))
    # what is older is never stored with a name
    assert [row[1] for row in named(firm)] == ["ada@out.example", None]
    later = datetime.now(UTC) + timedelta(days=firm.config.report.keep_personal_days + 1)
    with open_state(firm.config) as state:
        forget_after(firm.config, state, now=later)
        assert [row[1:] for row in named(firm)] == [(None,) * 4] * 2
        state.prune(NOW + timedelta(days=350), 90, 400)
        assert len(named(firm)) == 1
        state.prune(NOW + timedelta(days=402), 90, 400)
    assert named(firm) == []


def test_show_masks_who_came(firm: Firm) -> None:
    firm.book(
        "a",
        guests={"x": {"email": "ada@out.example", "first_name": "Ada", "last_name": "Lovelace"}},
        start=NOW + timedelta(hours=3),
    )
    firm.night()
    come_and_go(firm, "rooms-a-x")
    read(firm)
    with open_state(firm.config) as state:
        told = [
            line
            for line in trace_event(state, firm.config, "rooms-a-x")["standing"]
            if line.startswith("visit")
        ]
        assert trace_event(state, firm.config, "rooms-a")["standing"].count(told[0]) == 1
    assert re.match(r"visit: .*arrived .*, left .*LEFT", told[0])
    assert not re.search("ada|lovelace", told[0], flags=re.I)


# --- what goes wrong ---


def test_odd_answers_are_counted_and_the_rest_is_kept(firm: Firm) -> None:
    firm.book("a", "x", start=NOW + timedelta(hours=3))
    firm.night()
    come_and_go(firm, "rooms-a-x")
    come_and_go(
        firm,
        "rooms-a-x",
        arrivedAt="yesterday",
        state={"odd": 1},
        firstName=["F"],
        legitimation="none",
    )
    done = run("checkins", "--config", write_file(firm))
    assert (done.returncode, "1 check-in could not be read whole" in done.stdout) == (3, True)
    assert ask(
        firm, "SELECT COUNT(*), COUNT(arrived_at), COUNT(left_at), COUNT(visit_state) FROM v_visits"
    ) == [(2, 1, 2, 2)]


@pytest.mark.parametrize(
    "answer",
    [None, "x", 7, [], {}, {"id": None}, {"id": True}, {"id": {}}, {"id": ""}, {"id": "x" * 300}],
)
def test_what_has_no_id_is_left_out(answer: Any) -> None:
    frame, unreadable = read_check_ins([answer, {"id": 1}])
    assert (frame["checkin_id"].tolist(), unreadable) == (["1"], 1)


def test_commands_end_with_one_readable_message(firm: Firm) -> None:
    config = write_file(firm)
    wrong = {
        ("checkins", "--config", config): 2,  # no state yet
        ("checkins", "--config", config, "--day", "tomorrow"): 2,
        ("checkins", "--config", config, "--since", "2026-11-24"): 2,
        ("checkins", "--config", config, "--since", "2999-01-01T00:00:00Z"): 2,
    }
    for command, code in wrong.items():
        done = run(*command)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (code, 1), done.stderr
    firm.book("a")
    firm.night()
    done = run("checkins", "--config", config, ESSENTRY_TOKEN="wrong")
    assert (done.returncode, "put a valid one" in done.stderr) == (6, True)
    done = run(
        "checkins", "--config", config, ESSENTRY_AGENT_TOKEN="5a4db0c5-0000-4000-8000-000000000002"
    )
    assert (done.returncode, "another agent token" in done.stderr) == (2, True)


def test_a_busy_essentry_is_waited_for_and_a_failing_one_ends_it_with_what_was_read(
    firm: Firm,
) -> None:
    firm.book("a", "x", start=NOW + timedelta(hours=3))
    firm.book("b", "y", start=NOW + timedelta(hours=3), site="2")
    firm.night()
    come_and_go(firm, "rooms-a-x")
    come_and_go(firm, "rooms-b-y")
    firm.sandbox.add_faults([{"kind": "status", "status": 429, "retry_after": 0, "on": "get"}])
    since = {"since": NOW - timedelta(hours=4)}
    plain = [{"kind": "hang_before", "on": "get", "seconds": 0, "times": 2}]
    firm.sandbox.add_faults(
        [*plain, {"kind": "status", "status": 429, "retry_after": 9999, "on": "get"}]
    )
    with pytest.raises(EssentryError, match="asks to wait 9,999 seconds"):
        read(firm, **since)
    assert ask(firm, VISITS) == [("rooms-a-x", "rooms-a", None)]
    read(firm)
    assert len(ask(firm, VISITS)) == 2


def test_a_location_that_cannot_be_read_does_not_keep_the_others_away(firm: Firm) -> None:
    firm.book("a", "x", start=NOW + timedelta(hours=3))
    firm.book("b", "y", start=NOW + timedelta(hours=3), site="2")
    firm.night()
    come_and_go(firm, "rooms-a-x")
    come_and_go(firm, "rooms-b-y")
    firm.sandbox.add_faults([{"kind": "status", "status": 404, "on": "get"}])
    with pytest.raises(EssentryError, match="locations/11/"):
        read(firm, since=NOW - timedelta(hours=4))
    assert ask(firm, VISITS) == [("rooms-b-y", "rooms-b", None)]


def test_a_mark_from_a_clock_that_was_ahead_leaves_no_gap(firm: Firm) -> None:
    firm.book("a", "x", start=NOW + timedelta(hours=3))
    firm.night()
    with open_state(firm.config) as state:
        state.note_read(11, NOW + timedelta(days=2))
    come_and_go(firm, "rooms-a-x", at=NOW - timedelta(days=1))
    read(firm)
    assert ask(firm, VISITS) == [("rooms-a-x", "rooms-a", None)]


def test_the_state_of_another_essentry_is_refused(firm: Firm) -> None:
    firm.book("a")
    firm.night()
    firm.sections["essentry"] = {"base_url": "https://other.example/api/v2"}
    with pytest.raises(StateError, match="belongs to another essentry"):
        read(firm)


# --- odd answers, and departures that were entered late ---


def test_s28_a_name_that_was_cut_off_within_a_character_stops_no_reading(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in ((11, "CUTNAME"), (12, "Walter")):
        here = firm.sandbox.walk_in(place, at=NOW - timedelta(hours=2), firstName=name)
        firm.sandbox.check_out(here, at=NOW - timedelta(hours=1))
    firm.book("a")
    firm.night()
    cut_names(monkeypatch)
    read(firm)
    assert len(ask(firm, "SELECT 1 FROM v_visits")) == 2


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+02:00", "9999-12-31T23:59:59-02:00"]
)
def test_s28_a_placeholder_is_no_departure(at: str) -> None:
    rows = [
        {"id": 1, "state": "IN", "arrivedAt": "2026-11-24T09:00:00Z", "leftAt": at},
        {"id": 2, "state": "IN", "arrivedAt": "2026-11-24T09:00:00Z"},
    ]
    frame, unreadable = read_check_ins(rows)
    assert (len(frame), unreadable) == (2, 1)
    assert frame["left_at"].isna().all()


def test_a_departure_that_was_entered_late_is_found_where_nobody_inside_is_listed(
    firm: Firm,
) -> None:
    firm.book("a", "x", start=NOW - timedelta(hours=30))
    firm.now = NOW - timedelta(days=3)
    firm.night()
    here = firm.sandbox.check_in("rooms-a-x", at=NOW - timedelta(hours=30))
    read(firm)
    assert ask(firm, "SELECT left_at FROM v_visits") == []
    firm.sandbox.check_out(here, at=NOW - timedelta(hours=28))
    read(firm)
    assert len(ask(firm, "SELECT left_at FROM v_visits")) == 1
