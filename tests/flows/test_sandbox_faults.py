"""Faults the sandbox plays, and what it keeps over a restart."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_caller import DELETED, OK, Caller, event, guest, serve, without

from flows.sandbox.app import SandboxSettings, create_app

# --- faults ---


def test_a_status_fault_applies_nothing_and_acts_once(caller: Caller) -> None:
    caller.server.add_faults(
        [{"kind": "status", "status": 429, "retry_after": 2, "body": {"error": "slow down"}}]
    )
    response = caller.send(event())
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert response.json() == {"error": "slow down"}
    assert caller.server.state()["events"] == {}
    assert caller.put(event()) == [OK]


def test_a_status_fault_may_be_a_page_without_retry_after(caller: Caller) -> None:
    caller.server.add_faults(
        [{"kind": "status", "status": 503, "body": "<html>away</html>", "count": 2}]
    )
    for _ in range(2):
        response = caller.send(event())
        assert (response.status_code, response.text) == (503, "<html>away</html>")
        assert "retry-after" not in response.headers
    assert caller.send(event()).status_code == 200


def test_faults_act_in_order_and_not_on_other_calls(caller: Caller) -> None:
    rules = [{"kind": "status", "status": 500}, {"kind": "status", "status": 502}]
    assert httpx.post(f"{caller.server.url}/sandbox/faults", json=rules).json() == {"added": 2}
    assert caller.get("/locations/1/invitations").status_code == 200
    assert [caller.send(event()).status_code for _ in range(3)] == [500, 502, 200]


def test_faults_on_reading_calls(caller: Caller) -> None:
    caller.server.add_faults([{"kind": "status", "status": 503, "on": "get"}])
    assert caller.send(event()).status_code == 200
    assert [caller.get("/locations/1/invitations").status_code for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(("kind", "applied"), [("drop_before", False), ("drop_after", True)])
def test_a_dropped_connection(caller: Caller, kind: str, applied: bool) -> None:
    caller.server.add_faults([{"kind": kind}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        caller.send(event("a", guest()))
    assert (set(caller.server.state()["events"]) == {"a"}) is applied
    assert bool(caller.mails()) is applied
    (entry,) = caller.server.requests()["log"]
    assert (entry["status"], entry["applied"]) == (None, applied)
    assert caller.put(event("a", guest())) == [OK]


@pytest.mark.parametrize(("kind", "applied"), [("hang_before", False), ("hang_after", True)])
def test_a_hang_outlasts_the_sender(caller: Caller, kind: str, applied: bool) -> None:
    caller.server.add_faults([{"kind": kind, "seconds": 0.6}])
    caller.http.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        caller.send(event())
    time.sleep(0.8)
    assert (set(caller.server.state()["events"]) == {"a"}) is applied


@pytest.mark.parametrize("kind", ["hang_before", "hang_after"])
def test_a_patient_sender_gets_its_answer(caller: Caller, kind: str) -> None:
    caller.server.add_faults([{"kind": kind, "seconds": 0.3}])
    started = time.monotonic()
    assert caller.put(event()) == [OK]
    assert time.monotonic() - started >= 0.3


def test_partial_statuses_apply_all(caller: Caller) -> None:
    caller.server.add_faults(
        [{"kind": "partial_statuses"}, {"kind": "partial_statuses", "source_ids": ["a", "b"]}]
    )
    for expected in (["a", "c"], ["c"]):
        answer = caller.send(event("a"), event("b"), event("c")).json()["events"]
        assert [row["sourceId"] for row in answer] == expected
    assert set(caller.server.state()["events"]) == {"a", "b", "c"}


def test_shuffled_statuses(caller: Caller) -> None:
    caller.server.add_faults([{"kind": "shuffle"}])
    answer = caller.send(event("a"), event("b", name=""), event("c")).json()["events"]
    assert [(row["sourceId"], row["status"]) for row in answer] == [
        ("c", OK),
        ("b", "ERROR_NAME_REQUIRED"),
        ("a", OK),
    ]


@pytest.mark.parametrize("apply", [False, True])
def test_garbage_is_200_without_json(caller: Caller, apply: bool) -> None:
    caller.server.add_faults([{"kind": "garbage", "apply": apply}])
    response = caller.send(event())
    assert response.status_code == 200
    with pytest.raises(ValueError):
        response.json()
    assert bool(caller.server.state()["events"]) is apply


def test_a_rejected_event_leaves_the_others(caller: Caller) -> None:
    rule = {"kind": "reject_event", "source_id": "b", "code": "ERROR_ODD", "times": 2}
    caller.server.add_faults([rule])
    caller.put(event("c"))
    for _ in range(2):
        assert caller.put(event("a"), event("b")) == [OK, "ERROR_ODD"]
    assert set(caller.server.state()["events"]) == {"a", "c"}
    assert caller.put(event("b")) == [OK]


def test_a_rejected_request_fails_whenever_the_event_is_in_it(caller: Caller) -> None:
    caller.server.add_faults([{"kind": "reject_request", "source_id": "b", "status": 422}])
    for _ in range(3):
        assert caller.send(event("a"), event("b")).status_code == 422
    assert caller.server.state()["events"] == {}
    assert caller.put(event("a")) == [OK]
    caller.server.reset()
    caller.server.add_faults([{"kind": "reject_request", "source_id": "b", "count": 1}])
    assert [caller.send(event("b")).status_code for _ in range(2)] == [400, 200]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "explode"},
        {"kind": "status"},
        {"kind": "status", "status": 200},
        {"kind": "reject_event"},
        {"kind": "reject_request"},
        {"kind": "shuffle", "times": 0},
        {"kind": "shuffle", "colour": "red"},
    ],
)
def test_odd_rules_are_refused(caller: Caller, rule: dict[str, Any]) -> None:
    assert httpx.post(f"{caller.server.url}/sandbox/faults", json=[rule]).status_code == 400
    with pytest.raises(ValueError):
        caller.server.add_faults([rule])
    assert caller.put(event()) == [OK]


# --- stopping, starting, keeping ---


@pytest.mark.parametrize("persist", [False, True])
def test_a_restart_keeps_state_and_port(tmp_path: Path, persist: bool) -> None:
    with serve(persist_path=tmp_path / "sandbox.db" if persist else None) as server:
        caller = Caller(server)
        caller.put(event("a", guest("g")), event("b", guest("g")))
        before, url = server.state(), server.base_url
        server.stop()
        assert server.state() == before
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)
        server.start()
        assert server.base_url == url
        assert server.state() == before
        assert Caller(server).put(event("a", guest("g"))) == [OK]
        assert len(server.mails()) == 2


def test_another_process_life_finds_the_state_file(tmp_path: Path) -> None:
    settings = {"persist_path": tmp_path / "sandbox.db", "open_visits": "listed"}
    ever = {"leftAfter": "2020-01-01T00:00:00Z", "leftBefore": "2099-01-01T00:00:00Z"}
    with serve(**settings) as server:
        caller = Caller(server)
        caller.put(
            event("a", guest("g", customFields={"1": "x"})), event("b", guest("g")), event("c")
        )
        caller.put({"sourceId": "c"} | DELETED)
        caller.http.post(
            f"{server.base_url}/check-ins/transitions",
            json={"eventName": "ARRIVE", "invitation": {"sourceId": "g"}},
        )
        caller.put({"sourceId": "a", "invitations": [guest("g", companyName="Changed")]})
        caller.send({"sourceId": 1})
        before, mails, requests = server.state(), server.mails(), server.requests()
    with serve(**settings) as server:
        caller = Caller(server)
        after = server.state()
        assert without(after, "requests") == without(before, "requests")
        assert server.mails() == mails
        assert server.requests()["log"] == requests["log"]
        assert len(caller.get("/locations/1/check-ins", **ever).json()["checkIns"]) == 1
        ids = [row["id"] for row in caller.get("/locations/1/invitations").json()["invitations"]]
        caller.put(event("d", guest("new")))
        rows = caller.get("/locations/1/invitations").json()["invitations"]
        assert [row["id"] > max(ids) for row in rows if row["contact"]["lastName"] == "new"] == [
            True
        ]
        number = requests["log"][-1]["number"]
        caller.put({"sourceId": "a", "invitations": [guest("g", firstName="N")]})
        assert sorted(caller.mails(after=number + 1)) == [
            ("updated", "a", "g"),
            ("updated", "b", "g"),
        ]
        server.reset()
    with serve(**settings) as server:
        assert (server.state()["events"], server.mails()) == ({}, [])


def test_the_state_file_is_current_before_the_answer_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    with serve(persist_path=path) as server:
        Caller(server).put(event("a", guest()))
        other = create_app(replace(SandboxSettings(), persist_path=path)).state.sandbox
        assert set(other.events) == {"a"}
        assert len(other.mails) == 1
        other.close()
