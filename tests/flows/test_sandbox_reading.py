"""Reading back from the sandbox, check-ins, and the sandbox's own calls."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_caller import DELETED, OK, Caller, event, guest, serve, without

EVER = {"leftAfter": "2020-01-01T00:00:00Z", "leftBefore": "2099-01-01T00:00:00Z"}

# --- reading back ---


def test_invitations_are_read_by_location_and_time(caller: Caller) -> None:
    later = {"startsAt": "2026-03-05T10:00:00Z", "endsAt": "2026-03-05T11:00:00Z"}
    caller.put(
        event("a", guest("g")),
        event("b", guest("h"), **later),
        event("c", guest("i"), locationId=2),
    )
    caller.put(event("d", guest("j")))
    caller.put({"sourceId": "d"} | DELETED)

    def names(**params: Any) -> list[str]:
        answer = caller.get("/locations/1/invitations", **params).json()
        assert answer["pageInfo"]["totalCount"] == len(answer["invitations"])
        return [row["contact"]["lastName"] for row in answer["invitations"]]

    assert names() == ["g", "h"]
    assert names(endsAfter="2026-03-01T10:00:00Z") == ["h"]
    assert names(endsAfter="2026-03-01T09:59:59Z") == ["g", "h"]
    assert names(beginsBefore="2026-03-05T10:00:00Z") == ["g"]
    assert names(beginsBefore="2026-03-05T10:00:01Z") == ["g", "h"]
    assert names(updatedSince="2099-01-01T00:00:00Z") == []
    assert names(updatedSince="2020-01-01T00:00:00Z") == ["g", "h"]


def test_an_invitation_reads_back_without_its_source_id(caller: Caller) -> None:
    caller.put(event("a", guest("g")))
    (row,) = caller.get("/locations/1/invitations").json()["invitations"]
    assert set(row) == {"id", "event", "contact", "createdAt", "updatedAt"}
    assert row["event"]["name"] == "Visit"
    assert row["event"]["hostId"] == caller.server.state()["employees"]["host@x.example"]["id"]
    assert "sourceId" not in json.dumps(row)


def test_pages_of_invitations(caller: Caller) -> None:
    caller.put(event("a", *(guest(f"g{n:02}") for n in range(60))))
    path = "/locations/1/invitations"

    def page(**params: Any) -> list[str]:
        answer = caller.get(path, **params).json()
        assert answer["pageInfo"] == {"totalCount": 60}
        return [row["contact"]["lastName"] for row in answer["invitations"]]

    assert page(limit=1) == ["g00"]
    assert len(page()) == 20
    assert page(limit=50, offset=50) == [f"g{n}" for n in range(50, 60)]
    for bad in (
        {"limit": 51},
        {"limit": 0},
        {"limit": "x"},
        {"offset": -1},
        {"endsAfter": "2026-03-01"},
        {"page": 1},
    ):
        assert caller.get(path, **bad).status_code == 400


@pytest.mark.parametrize("left_out", ["endsAfter", "beginsBefore"])
def test_both_bounds_are_compulsory(caller: Caller, left_out: str) -> None:
    bounds = {"endsAfter": "2026-03-01T00:00:00Z", "beginsBefore": "2026-03-02T00:00:00Z"}
    url = f"{caller.server.base_url}/locations/1/invitations"
    assert caller.http.get(url, params=bounds).status_code == 200
    assert caller.http.get(url, params=without(bounds, left_out)).status_code == 400


def test_what_is_changed_by_hand_is_mailed_and_what_is_lost_is_not(tmp_path: Path) -> None:
    with serve(persist_path=tmp_path / "sandbox.db") as server:
        caller = Caller(server)
        caller.put(event("a", guest("g"), guest("h")), event("z", guest("i")))
        server.edit("remove_guest", event="a", guest="g")
        server.edit("change", event="a", name="Other")
        server.edit("lose", event="z")
        own = {
            "event": "own",
            "startsAt": "2026-03-01T10:00:00Z",
            "endsAt": "2026-03-01T11:00:00Z",
            "locationId": 1,
        }
        edit = {"kind": "add", **own, "guests": [{"email": "w@x.example"}]}
        assert httpx.post(f"{server.url}/sandbox/edits", json=edit).status_code == 200
        assert (
            httpx.post(
                f"{server.url}/sandbox/edits", json={"kind": "lose", "event": "z"}
            ).status_code
            == 404
        )
        assert httpx.post(f"{server.url}/sandbox/edits", json={"kind": "dance"}).status_code == 400
        by_hand = [
            (mail["kind"], mail["event"], mail["email"])
            for mail in server.mails()
            if mail["request"] == 0
        ]
        assert by_hand == [
            ("cancelled", "a", "g@guest.example"),
            ("updated", "a", "h@guest.example"),
            ("invited", "own", "w@x.example"),
        ]
        held = server.state()["events"]
    assert set(held) == {"a", "own"}
    with serve(persist_path=tmp_path / "sandbox.db") as server:
        assert server.state()["events"] == held


def test_a_page_may_move_while_it_is_read(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h"), guest("i")))
    caller.server.add_faults(
        [
            {
                "kind": "edit_after",
                "on": "get",
                "edit": {"kind": "remove_guest", "event": "a", "guest": "g"},
            }
        ]
    )
    pages = [caller.get("/locations/1/invitations", limit=1, offset=n).json() for n in range(2)]
    assert [page["invitations"][0]["contact"]["lastName"] for page in pages] == ["g", "i"]
    assert [page["pageInfo"]["totalCount"] for page in pages] == [3, 2]


def test_an_unknown_location_is_404_when_locations_are_configured(caller: Caller) -> None:
    assert caller.get("/locations/77/invitations").status_code == 200
    with serve(locations={1: set()}) as server:
        caller = Caller(server)
        assert caller.get("/locations/1/invitations", limit=1).status_code == 200
        assert caller.get("/locations/2/invitations", limit=1).status_code == 404
        assert caller.get("/locations/2/check-ins", **EVER).status_code == 404


def test_a_visitor_checks_in_and_leaves(caller: Caller) -> None:
    caller.put(event("a", guest("g", customFields={"1": "x"})))
    url = f"{caller.server.base_url}/check-ins/transitions"
    arrived = caller.http.post(
        url, json={"eventName": "ARRIVE", "invitation": {"sourceId": "g"}}
    ).json()
    assert arrived["legitimation"]["sourceId"] == "g"
    assert (arrived["lastName"], arrived["leftAt"], arrived["customFields"]) == (
        "g",
        None,
        {"1": "x"},
    )
    assert caller.get("/locations/1/check-ins", **EVER).json()["checkIns"] == []
    left = caller.http.post(
        url, json={"eventName": "LEAVE", "checkIn": {"id": arrived["id"]}}
    ).json()
    assert left["leftAt"]
    assert caller.get("/locations/1/check-ins", **EVER).json() == {
        "checkIns": [left],
        "pageInfo": {"totalCount": 1},
    }
    early = {"leftAfter": "2019-01-01T00:00:00Z", "leftBefore": "2020-01-01T00:00:00Z"}
    assert caller.get("/locations/1/check-ins", **early).json()["checkIns"] == []
    assert caller.get("/locations/2/check-ins", **EVER).json()["checkIns"] == []


@pytest.mark.parametrize("given", [(), ("leftAfter",), ("leftBefore",)])
def test_check_ins_need_both_bounds(caller: Caller, given: tuple[str, ...]) -> None:
    assert (
        caller.get("/locations/1/check-ins", **{name: EVER[name] for name in given}).status_code
        == 400
    )
    assert caller.get("/locations/1/check-ins", **EVER).status_code == 200


def test_pages_of_check_ins_have_the_limits_of_all_reads(caller: Caller) -> None:
    caller.put(event("a", *(guest(f"g{n:02}") for n in range(60))))
    for number in range(60):
        here = caller.server.check_in(f"g{number:02}", at=datetime(2026, 3, 1, 9, tzinfo=UTC))
        caller.server.check_out(here, at=datetime(2026, 3, 1, 10, tzinfo=UTC))

    def page(**params: Any) -> list[str]:
        answer = caller.get("/locations/1/check-ins", **EVER, **params).json()
        assert answer["pageInfo"] == {"totalCount": 60}
        return [row["lastName"] for row in answer["checkIns"]]

    assert len(page()) == 20
    assert page(limit=50, offset=50) == [f"g{n}" for n in range(50, 60)]
    for bad in ({"limit": 51}, {"limit": 0}, {"offset": -1}):
        assert caller.get("/locations/1/check-ins", **EVER, **bad).status_code == 400


def test_who_is_still_inside_is_answered_or_not() -> None:
    for reading, there in (("hidden", 0), ("listed", 1)):
        with serve(open_visits=reading) as server:
            caller = Caller(server)
            caller.put(event("a", guest("g")))
            server.check_in("g", at=datetime(2026, 3, 1, 9, tzinfo=UTC))
            assert len(caller.get("/locations/1/check-ins", **EVER).json()["checkIns"]) == there


def test_a_shared_invitation_checks_in_to_the_first_live_event(caller: Caller) -> None:
    days = {
        key: {"startsAt": f"2026-03-0{n}T10:00:00Z", "endsAt": f"2026-03-0{n}T11:00:00Z"}
        for n, key in enumerate("abc", 1)
    }
    caller.put(*(event(key, guest("g"), **days[key]) for key in "cba"))
    caller.put({"sourceId": "a"} | DELETED)
    body = {"eventName": "ARRIVE", "invitation": {"sourceId": "g"}}
    arrived = caller.http.post(f"{caller.server.base_url}/check-ins/transitions", json=body).json()
    assert arrived["legitimation"]["startsAt"] == days["b"]["startsAt"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"eventName": "ARRIVE", "invitation": {"sourceId": "nobody"}}, 404),
        ({"eventName": "LEAVE", "checkIn": {"id": 999}}, 404),
        ({"eventName": "LEAVE", "checkIn": {"id": "999"}}, 400),
        ({"eventName": "LEAVE", "invitation": {"sourceId": "g"}}, 400),
        ({"eventName": "DANCE", "checkIn": {"id": 1}}, 400),
        ({"eventName": "LEAVE", "checkIn": {"id": 1}, "extra": 1}, 400),
    ],
)
def test_odd_transitions_are_refused(caller: Caller, body: dict[str, Any], status: int) -> None:
    url = f"{caller.server.base_url}/check-ins/transitions"
    assert caller.http.post(url, json=body).status_code == status


# --- the sandbox's own calls ---


def test_state_mails_and_requests_are_served(caller: Caller) -> None:
    caller.put(event("a", guest("g")), event("b"))
    caller.send({"sourceId": 1})
    caller.get("/locations/1/invitations")
    root = caller.server.url + "/sandbox"
    assert httpx.get(f"{root}/state").json() == caller.server.state()
    assert httpx.get(f"{root}/mails").json() == caller.server.mails()
    requests = httpx.get(f"{root}/requests").json()
    assert requests == caller.server.requests()
    assert (requests["puts"], requests["gets"], requests["rejected"]) == (2, 1, 1)
    assert (requests["events"], requests["invitations"]) == (2, 1)
    first, second = requests["log"]
    assert (first["status"], first["applied"], first["events"], first["ignore_missing"]) == (
        200,
        True,
        2,
        False,
    )
    assert first["bytes"] > 100
    assert (second["status"], second["applied"]) == (400, False)


def test_reset_forgets_everything(caller: Caller) -> None:
    empty = caller.server.state()
    caller.put(event("a", guest()))
    caller.server.add_faults([{"kind": "status", "status": 500}])
    assert httpx.post(f"{caller.server.url}/sandbox/reset").status_code == 200
    assert caller.server.state() == empty
    assert caller.server.mails() == []
    assert caller.put(event("a")) == [OK]


def test_the_page_shows_events_escaped(caller: Caller) -> None:
    caller.put(
        event("a", guest("g", firstName="<script>alert(1)</script>"), name="<b>Visit</b>"),
        event("z"),
    )
    caller.put({"sourceId": "z"} | DELETED)
    response = httpx.get(caller.server.url + "/")
    assert response.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;Visit&lt;/b&gt;" in response.text
    assert "<b>Visit" not in response.text
    assert "<script>" not in response.text
    assert "<dt>mails: invited</dt><dd>1</dd>" in response.text
    assert '<tr class="deleted">' in response.text


def test_the_page_of_many_events_is_cut(caller: Caller) -> None:
    assert "No event yet." in httpx.get(caller.server.url).text
    caller.put(*(event(f"e{n}") for n in range(203)))
    text = httpx.get(caller.server.url).text
    assert text.count("<td>Visit</td>") == 200
    assert "and 3 more" in text


def test_count_only_checks_shapes_and_stores_counts() -> None:
    with serve(count_only=True) as server:
        caller = Caller(server)
        assert caller.put(event("a", guest()), event("b")) == [OK, OK]
        assert caller.send(event("c", colour="red")).status_code == 400
        assert server.state()["events"] == {}
        assert (server.requests()["events"], server.requests()["invitations"], server.mails()) == (
            2,
            1,
            [],
        )
        assert server.requests()["log"] == []


def test_concurrent_requests_are_counted(caller: Caller) -> None:
    caller.server.add_faults([{"kind": "hang_after", "seconds": 0.5, "count": 3}])
    threads = [
        threading.Thread(target=Caller(caller.server).put, args=(event(f"e{n}"),)) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caller.server.requests()["max_concurrent"] == 3
