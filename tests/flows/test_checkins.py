"""Visits brought back: from the gate of the real sandbox into the state store, joined to the
meetings that invited.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from flows.essentry import check_ins as edge
from flows.night.readings import count_attendance
from flows.night.session import open_state
from flows.operations.check_ins import read_visits
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.state.store import State
from tests.command import run
from tests.firm import NOW, Firm
from tests.flows.test_adopt import FILE, adopt, create_as_older_integration
from transforms.operations.check_ins import read_check_ins

OPERATING = (Path(__file__).parents[2] / "flows" / "OPERATING.md").read_text(encoding="utf-8")
(QUERY,) = re.findall(r"```sql\n(SELECT[^`]*FROM v_visits.*?)```", OPERATING, flags=re.S)
VISITS = "SELECT invitation_id, source_id, reason FROM v_visits"


def ask(firm: Firm, query: str) -> list[tuple]:
    with sqlite3.connect(firm.folder / "state.sqlite") as connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def read(firm: Firm, **options: Any):
    with open_state(firm.config, migrate=False) as state:
        return read_visits(firm.config, state, now=datetime.now(UTC), **options)


def come_and_go(firm: Firm, invitation: str, *, at: datetime | None = None, **more: Any) -> int:
    """A guest came two hours ago, and left one hour ago."""
    at = at or NOW - timedelta(hours=2)
    here = firm.sandbox.check_in(invitation, at=at, **more)
    firm.sandbox.check_out(here, at=at + timedelta(hours=1))
    return here


def write_file(firm: Firm, *, source: str = "rooms") -> str:
    """The firm's configuration as a file, for commands."""
    firm.write()
    file = firm.folder / "essentry-sync.toml"
    file.write_text(
        f'[essentry]\nbase_url = "{firm.sandbox.base_url}"\ntimeout_seconds = 60\n[state]\nurl = '
        '"sqlite:///state.sqlite"\n'
        f'[report]\ndirectory = "runs"\n[sources.{source}]\nurl = '
        f'"sqlite:///{source}.sqlite"\nevents_sql = "events.sql"\n'
        f'guests_sql = "guests.sql"\ntimes = "utc"\n[sources.{source}.sites]\n1 = {{ location_id = '
        f"11 }}\n2 = {{ location_id = 12 }}\n"
    )
    return str(file)


@pytest.fixture(params=["hidden", "listed"])
def gate(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Firm]:
    """A firm whose essentry says of people inside nothing, or all of them in every window."""
    with SandboxServer(SandboxSettings(open_visits=request.param)) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield Firm(tmp_path, sandbox)


# --- from the code at the gate to an answer in SQL ---


def test_a_candidate_checks_in_by_the_code_and_a_query_shows_interview_and_arrival(
    gate: Firm,
) -> None:
    gate.meetings = {"hr": {}}
    gate.book(
        "K-2026-0010", "ada", source="hr", name="Interview Ada", start=NOW + timedelta(hours=3)
    )
    gate.night()
    config = write_file(gate, source="hr")
    (code,) = gate.held()["hr-K~2D2026~2D0010"]  # what the QR code holds
    url, headers = (
        f"{gate.sandbox.base_url}/check-ins/transitions",
        {"Authorization": f"Bearer {gate.sandbox.token}"},
    )
    body: dict[str, Any] = {"eventName": "ARRIVE", "invitation": {"sourceId": code}}
    arrived = httpx.post(url, json=body, headers=headers).json()
    done = run("checkins", "--config", config)
    assert done.returncode == 0, done.stderr
    inside = gate.sandbox.settings.open_visits == "listed"
    start = f"{NOW + timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"
    expected = ("hr-K~2D2026~2D0010", code, start, arrived["arrivedAt"][:19] + "Z")
    assert ask(gate, QUERY) == ([(*expected, None)] if inside else [])
    left = httpx.post(
        url, json={"eventName": "LEAVE", "checkIn": {"id": arrived["id"]}}, headers=headers
    ).json()
    done = run("checkins", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    assert ask(gate, QUERY) == [(*expected, left["leftAt"][:19] + "Z")]
    assert ask(gate, "SELECT visit_state, event_state, source, reason FROM v_visits") == [
        ("LEFT", "active", "hr", None)
    ]
    assert orjson.loads(done.stdout)["resolved"] == (0 if inside else 1)
    shown = run("show", code, "--config", config).stdout
    assert re.search(r"visit: .*arrived .*left .*LEFT", shown)
    assert "ada@" not in shown


def test_what_the_terminal_counts_by_site(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    day = (NOW - timedelta(days=2)).replace(hour=8, minute=0, second=0)
    firm.now = day - timedelta(days=2)
    firm.book("came", "ada", "ben", start=day)
    firm.book("missed", "cleo", "dora", "eve", start=day + timedelta(hours=2))
    firm.book("other", "fay", start=day, site="2")
    firm.book("next", start=day + timedelta(days=1))
    firm.night()
    come_and_go(firm, "rooms-came-ada", at=day)
    come_and_go(firm, "rooms-came-ada", at=day + timedelta(hours=3))  # once more: the same guest
    come_and_go(firm, "rooms-came-ben", at=day)
    come_and_go(firm, "rooms-missed-eve", at=day + timedelta(hours=2))
    walked = firm.sandbox.walk_in(12, at=day, firstName="Walter")
    firm.sandbox.check_out(walked, at=day + timedelta(hours=1))
    strange = firm.sandbox.walk_in(
        12, at=day, legitimation={"sourceId": "calendar-99", "startsAt": None}
    )
    firm.sandbox.check_out(strange, at=day + timedelta(hours=1))
    config = write_file(firm)
    done = run("checkins", "--config", config, "--day", f"{day:%Y-%m-%d}", "--json")
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout)
    assert told["attendance"] == [
        {"location_id": 11, "expected": 5, "arrived": 3, "no_shows": 2, "walk_ins": 0, "others": 0},
        {"location_id": 12, "expected": 1, "arrived": 0, "no_shows": 1, "walk_ins": 1, "others": 1},
    ]
    assert (told["resolved"], told["unresolved"]) == (4, 1)
    done = run("checkins", "--config", config, "--day", f"{day:%Y-%m-%d}")
    row = next(line.split() for line in done.stdout.splitlines() if line.split()[-1:] == ["0"])
    assert row[-5:] == ["5", "3", "2", "0", "0"]
    assert not re.search(r"@|Walter|F ADA", done.stdout)
    assert set(ask(firm, "SELECT reason, COUNT(*) FROM v_visits GROUP BY reason")) == {
        (None, 4), ("no_invitation", 1), ("unknown_invitation", 1)
    }  # fmt: skip


def test_who_is_over_counts_as_no_show_only_then(firm: Firm) -> None:
    firm.book("soon", start=NOW + timedelta(hours=5))
    firm.night()
    read(firm)
    day = (NOW + timedelta(hours=5)).date()
    with open_state(firm.config) as state:
        for hours, missing in ((0, 0), (7, 1)):
            (row,) = count_attendance(firm.config, state, day, now=NOW + timedelta(hours=hours))
            assert (row.expected, row.arrived, row.no_shows) == (1, 0, missing)


# --- which meeting ---


@pytest.mark.parametrize("policy", ["per-event", "shared", "sealed"])
def test_each_invitation_finds_its_event(firm: Firm, policy: str) -> None:
    firm.sections["essentry"] = {"invitation_ids": policy}
    firm.book(
        "Gespräch 1/2: A-B",
        guests={"ada": "ada@out.example", "ü b": "b@out.example"},
        start=NOW + timedelta(hours=3),
    )
    # under the shared policy the same invitation
    firm.book("b", "ada", start=NOW + timedelta(hours=30))
    firm.book(
        "c",
        guests={"k": {"guest_id": None, "email": "x@out.example"}},
        start=NOW + timedelta(hours=3),
    )
    firm.book("long" * 90, guests={"y" * 200: "y@out.example"}, start=NOW + timedelta(hours=4))
    firm.night()
    expected = set()
    state = firm.sandbox.state()["events"]
    for event, content in sorted(state.items(), key=lambda item: item[1]["startsAt"]):
        for invitation in content["guests"]:
            # the sandbox checks a shared one in to the first of its events
            if invitation not in {known for known, _, _ in expected}:
                expected.add((invitation, event, None))
                come_and_go(firm, invitation)
    assert len(expected) == (4 if policy == "shared" else 5)
    done = read(firm)
    assert (done.resolved, done.unresolved) == (len(expected), 0)
    assert set(ask(firm, VISITS)) == expected


def test_ids_that_were_taken_over_and_meetings_that_became_one(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    firm.book("a", "x", "y", start=NOW + timedelta(hours=3))
    firm.book("b", "x", start=NOW + timedelta(hours=4))
    create_as_older_integration(
        firm.sandbox,
        firm,
        {"a": ("old/17", {"x": "inv-1", "y": "inv-2"}), "b": ("old/18", {"x": "inv-3"})},
    )
    firm.write()
    adopt(firm, FILE)
    firm.night()
    firm.book("5", "ada", source="hr", start=NOW + timedelta(hours=5))
    firm.night()
    firm.book(
        "9", "ada", "bea", start=NOW + timedelta(hours=5), linked_source="hr", linked_event_id="5"
    )
    firm.night()
    held = firm.held()
    union = held["hr-5"]
    assert len(union) == 2
    assert set(held) == {"old/17", "old/18", "hr-5"}
    # its id names a meeting that essentry does not have
    assert any(invitation.startswith("rooms-9-") for invitation in union)
    for invitation in itertools.chain(*held.values()):
        come_and_go(firm, invitation)
    assert read(firm).unresolved == 0
    assert set(ask(firm, VISITS)) == {
        (invitation, event, None) for event, guests in held.items() for invitation in guests
    }


def test_a_shared_invitation_of_several_events_as_near_is_kept_with_the_reason(firm: Firm) -> None:
    firm.sections["essentry"] = {"invitation_ids": "shared"}
    start = NOW + timedelta(hours=3)
    firm.book("a", "ada", start=start)
    firm.book("b", "ada", start=start)
    firm.night()
    come_and_go(firm, "rooms-ada")
    assert read(firm).unresolved == 1
    assert ask(firm, VISITS) == [("rooms-ada", None, "several_events")]


def test_an_invitation_that_is_not_known_is_looked_for_again_after_the_next_run(firm: Firm) -> None:
    firm.book("a")
    firm.night()
    late = {
        "sourceId": "rooms-b-gb",
        "startsAt": (NOW + timedelta(hours=3)).isoformat(),
        "endsAt": None,
    }
    here = firm.sandbox.walk_in(11, at=NOW - timedelta(hours=2), legitimation=late)
    firm.sandbox.check_out(here, at=NOW - timedelta(hours=1))
    assert read(firm).unresolved == 1
    assert ask(firm, VISITS) == [("rooms-b-gb", None, "unknown_invitation")]
    assert read(firm).unresolved == 0  # nothing new can be known: it is not even looked for
    firm.book("b", start=NOW + timedelta(hours=3))
    firm.night()
    assert read(firm).resolved == 1
    assert ask(firm, VISITS) == [("rooms-b-gb", "rooms-b", None)]


def test_who_was_taken_off_the_list_after_arriving_still_belongs_to_the_event(firm: Firm) -> None:
    firm.book("a", "x", "y", start=NOW + timedelta(hours=3))
    firm.night()
    come_and_go(firm, "rooms-a-x")
    del firm.meetings["rooms"]["a"]["guests"]["x"]
    firm.night()
    read(firm)
    assert ask(firm, VISITS) == [("rooms-a-x", "rooms-a", None)]


# --- newest state, pages and windows ---

T = datetime(2026, 11, 24, 9, tzinfo=UTC)
ANSWERS = [  # asked for, state, arrived, left
    (0, "ANGEMELDET", None, None),
    (1, "wartet am Empfang", T, None),
    (2, "im Haus", T, None),
    (3, "gegangen", T, T + timedelta(hours=1)),
]


def as_page(state: str, arrived: datetime | None, left: datetime | None, **more: Any):
    text = {
        name: at.isoformat() if at else None
        for name, at in (("arrivedAt", arrived), ("leftAt", left))
    }
    frame, unreadable = read_check_ins([{"id": 7, "state": state, **text} | more])
    assert unreadable == 0
    return frame


def save(state: State, page: Any, minutes: float) -> None:
    state.save_check_ins(
        11, page, read_at=T + timedelta(minutes=minutes), personal_since=T - timedelta(days=90)
    )


def stored(state: State) -> list[tuple]:
    with state._read() as connection:
        return [
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT visit_state, arrived_at, left_at FROM v_visits"
            )
        ]


def test_the_newest_state_wins_whatever_the_order_of_arrival(state: State) -> None:
    for order in itertools.permutations(ANSWERS):
        with state._begin() as connection:
            connection.exec_driver_sql("DELETE FROM checkins")
        for minutes, *answer in order:
            save(state, as_page(*answer), minutes)
        assert stored(state) == [("gegangen", "2026-11-24T09:00:00Z", "2026-11-24T10:00:00Z")]


def test_what_is_corrected_by_hand_wins_once_no_answer_can_be_as_old(state: State) -> None:
    save(state, as_page("gegangen", T, T + timedelta(hours=1)), 0)
    save(state, as_page("im Haus", T, None), 1)
    assert stored(state)[0][0] == "gegangen"
    save(state, as_page("im Haus", T, None), 20)  # the departure was taken back
    assert stored(state) == [("im Haus", "2026-11-24T09:00:00Z", None)]


def test_one_id_twice_on_a_page_is_one_row(state: State) -> None:
    both = [
        {"id": "7", "state": word, "arrivedAt": "2026-11-24T09:00:00Z"} for word in ("eins", "zwei")
    ]
    save(state, read_check_ins(both)[0], 0)
    assert [row[0] for row in stored(state)] == ["zwei"]


def test_who_is_inside_is_asked_for_again_when_the_departure_was_entered_late(gate: Firm) -> None:
    gate.book("a", "x", start=NOW - timedelta(hours=30))
    gate.now = NOW - timedelta(days=3)
    gate.night()
    here = gate.sandbox.check_in("rooms-a-x", at=NOW - timedelta(hours=30))
    read(gate)
    inside = gate.sandbox.settings.open_visits == "listed"
    assert ask(gate, "SELECT left_at FROM v_visits") == ([(None,)] if inside else [])
    gate.sandbox.check_out(here, at=NOW - timedelta(hours=28))  # reception tidies up
    read(gate, since=None if inside else NOW - timedelta(days=2))
    assert ask(gate, "SELECT left_at FROM v_visits") == [
        (f"{NOW - timedelta(hours=28):%Y-%m-%dT%H:%M:%SZ}",)
    ]


def test_a_list_that_moves_while_it_is_read_has_no_gap(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests = [f"g{number:03}" for number in range(120)]
    firm.book("a", *guests, start=NOW + timedelta(hours=3))
    firm.night()
    ids = [come_and_go(firm, f"rooms-a-{guest}") for guest in guests]
    answered: list[int] = []
    listed = edge.CheckInReader._get

    def get(self: Any, *arguments: Any, **options: Any) -> Any:
        if options["limit"] > 1:
            answered.append(options["offset"])
            # the first visitor's departure is corrected: the rest of the list moves up by one
            if answered == [0, 50]:
                firm.sandbox.check_out(ids[0], at=datetime.now(UTC) + timedelta(hours=1))
        return listed(self, *arguments, **options)

    monkeypatch.setattr(edge.CheckInReader, "_get", get)
    read(firm, since=NOW - timedelta(hours=5))
    assert answered[:5] == [0, 50, 100, 0, 50]
    assert ask(firm, "SELECT COUNT(*), COUNT(DISTINCT checkin_id) FROM v_visits") == [(120, 120)]


def test_a_crowded_window_is_halved_and_a_page_is_all_that_is_held(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "MOST", 10)
    guests = [f"g{number:02}" for number in range(40)]
    firm.book("a", *guests, start=NOW + timedelta(hours=3))
    firm.night()
    for number, guest in enumerate(guests):
        come_and_go(
            firm, f"rooms-a-{guest}", at=NOW - timedelta(hours=12) + timedelta(minutes=10 * number)
        )
    with edge.open_reader(firm.config) as reader:
        sizes = [
            len(page)
            for _, pages in reader.read_windows(11, NOW - timedelta(days=1), NOW)
            for _, page in pages
        ]
    assert max(sizes) <= 10
    assert sum(sizes) >= 40
    read(firm)
    assert ask(firm, "SELECT COUNT(*), COUNT(source_id) FROM v_visits") == [(40, 40)]


def test_a_read_process_killed_at_any_request_leaves_no_gap_and_no_duplicate(firm: Firm) -> None:
    firm.book("a", *(f"g{number:03}" for number in range(60)), start=NOW + timedelta(hours=3))
    firm.book(
        "b", *(f"h{number:03}" for number in range(20)), start=NOW + timedelta(hours=3), site="2"
    )
    firm.night()
    truth = {
        str(come_and_go(firm, invitation))
        for guests in firm.held().values()
        for invitation in guests
    }
    config, since = write_file(firm), (NOW - timedelta(hours=3)).isoformat()
    command = [sys.executable, "-m", "flows", "checkins", "--config", config, "--since", since]
    seen, killed = set(), 0
    for requests in range(20):
        firm.sandbox.clear_faults()
        quick = (
            [{"kind": "hang_before", "on": "get", "seconds": 0, "times": requests}]
            if requests
            else []
        )
        firm.sandbox.add_faults([*quick, {"kind": "hang_before", "on": "get", "seconds": 60}])
        before = firm.sandbox.requests()["gets"]
        process = subprocess.Popen(
            command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and firm.sandbox.requests()["gets"] <= before + requests:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        ids = [row[0] for row in ask(firm, "SELECT checkin_id FROM v_visits")]
        assert len(ids) == len(set(ids))
        assert set(ids) <= truth
        assert seen <= set(ids)
        seen = set(ids)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    else:
        raise AssertionError("it never ended")
    assert killed >= 5
    assert seen == truth
    firm.sandbox.clear_faults()
    assert ask(firm, "SELECT COUNT(*) FROM v_visits WHERE source_id IS NULL") == [(0,)]
