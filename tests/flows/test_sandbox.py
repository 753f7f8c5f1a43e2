"""The sandbox over a real socket: who may call, what rejects a whole request, what rejects one
event.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sandbox_caller import DELETED, OK, Caller, event, guest, serve, without

from schemas.essentry import STATUS_CANNOT_HOST

# --- who may call, and where ---


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Basic abc", 401),
        ("Bearer wrong", 403),
        ("Bearer sandbox-token2", 403),
    ],
)
@pytest.mark.parametrize(
    "call", ["PUT /events", "GET /locations/1/invitations", "GET /locations/1/check-ins"]
)
def test_calls_want_the_token(caller: Caller, call: str, header: str | None, status: int) -> None:
    method, path = call.split()
    body = (
        {"agentToken": caller.server.agent_token, "events": [event()]} if method == "PUT" else None
    )
    headers = {} if header is None else {"Authorization": header}
    response = httpx.request(method, caller.server.base_url + path, json=body, headers=headers)
    assert response.status_code == status
    assert response.json()["message"]
    assert caller.server.state()["events"] == {}


def test_the_transition_wants_the_token(caller: Caller) -> None:
    assert httpx.post(f"{caller.server.base_url}/check-ins/transitions", json={}).status_code == 401


def test_base_url_ends_with_the_api_prefix(caller: Caller) -> None:
    assert caller.server.base_url.startswith("http://127.0.0.1:")
    assert caller.server.base_url.endswith("/api/v2")


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v2/nope", "/api/v2/locations/x/invitations", "/events", "/sandbox/nope"]
)
def test_wrong_paths_are_404_in_json(caller: Caller, path: str) -> None:
    response = caller.http.get(caller.server.url + path)
    assert response.status_code == 404
    assert response.json() == {"message": "Not Found"}


def test_wrong_methods_are_405_in_json(caller: Caller) -> None:
    response = caller.http.post(f"{caller.server.base_url}/events")
    assert response.status_code == 405
    assert response.json()


# --- what rejects the whole request ---

BAD_EVENTS: list[dict[str, Any]] = [
    event("b", colour="red"),
    event("b", guest(colour="red")),
    event("b", host={"email": "h@x.example", "colour": "red"}),
    event("b", startsAt="2026-03-01T10:00:00"),
    event("b", endsAt="2026-02-30T10:00:00Z"),
    event("b", locationId="1"),
    event("b", name=None),
    event("b", guest("g"), invitations=[guest("g"), guest("g")]),
    event("b", guest(language="de")),
    event("a"),
    without(event(), "sourceId"),
]


@pytest.mark.parametrize("bad", BAD_EVENTS)
@pytest.mark.parametrize("first", [True, False])
def test_one_malformed_event_rejects_the_request(
    caller: Caller, bad: dict[str, Any], first: bool
) -> None:
    response = caller.send(*([bad, event()] if first else [event(), bad]))
    assert response.status_code == 400
    assert response.json()["errors"][0]["path"].startswith("events")
    state = caller.server.state()
    assert (state["events"], state["contacts"], state["employees"], caller.mails()) == (
        {},
        {},
        {},
        [],
    )


@pytest.mark.parametrize("token", ["", "no-uuid", None, "5a4db0c5-0000-4000-8000-00000000ffff"])
def test_a_bad_or_foreign_agent_token_rejects_the_request(
    caller: Caller, token: str | None
) -> None:
    assert caller.send(event(), agentToken=token).status_code == 400
    assert caller.server.state()["events"] == {}


@pytest.mark.parametrize("more", [{"events": []}, {"events": None}, {"extra": 1}])
def test_a_bad_envelope_rejects_the_request(caller: Caller, more: dict[str, Any]) -> None:
    assert caller.send(event(), **more).status_code == 400


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"agentToken":'])
def test_a_body_that_is_no_json_object_is_400(caller: Caller, raw: bytes) -> None:
    assert caller.http.put(f"{caller.server.base_url}/events", content=raw).status_code == 400


def test_errors_name_the_path_and_not_the_person(caller: Caller) -> None:
    response = caller.send(
        event("a", guest(email="secret.person@y.example", language="secret.person"))
    )
    assert response.json()["errors"][0]["path"] == "events.0.invitations.0.language"
    assert "secret.person" not in response.text


@pytest.mark.parametrize(
    "query",
    ["ignoreMissingInvitations=1", "ignoreMissingInvitations=TRUE", "ignoreMissingInvitation=true"],
)
def test_an_odd_query_is_400(caller: Caller, query: str) -> None:
    body = {"agentToken": caller.server.agent_token, "events": [event()]}
    assert caller.http.put(f"{caller.server.base_url}/events?{query}", json=body).status_code == 400
    assert caller.server.state()["events"] == {}


def test_limits_of_a_request_answer_413() -> None:
    with serve(max_bytes=2000, max_events=2) as server:
        caller = Caller(server)
        assert caller.put(event("a"), event("b")) == [OK, OK]
        assert caller.send(event("c"), event("d"), event("e")).status_code == 413
        assert caller.send(event("c", description="x" * 2000)).status_code == 413
        assert set(server.state()["events"]) == {"a", "b"}


# --- errors of one event ---


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (without(event(), "name"), "ERROR_NAME_REQUIRED"),
        (event(name=" "), "ERROR_NAME_REQUIRED"),
        (event(name="x" * 256), "ERROR_NAME_TOO_LONG"),
        (without(event(), "startsAt"), "ERROR_START_REQUIRED"),
        (without(event(), "endsAt"), "ERROR_END_REQUIRED"),
        (event(endsAt="2026-03-01T10:00:00+01:00"), "ERROR_END_NOT_AFTER_START"),
        (event(endsAt="2026-03-01T10:30:00+02:00"), "ERROR_END_NOT_AFTER_START"),
        (without(event(), "locationId"), "ERROR_LOCATION_REQUIRED"),
        (event(locationId=2), "ERROR_LOCATION_NOT_FOUND"),
        (event(entranceId=8), "ERROR_ENTRANCE_NOT_FOUND"),
        (without(event(), "host"), "ERROR_HOST_EMAIL_REQUIRED"),
        (event(host={"firstName": "H"}), "ERROR_HOST_EMAIL_REQUIRED"),
        (event(host={"email": " "}), "ERROR_HOST_EMAIL_REQUIRED"),
        (event(host={"email": "Left@X.example"}), STATUS_CANNOT_HOST),
        (event(**DELETED), "ERROR_EVENT_NOT_FOUND"),
    ],
)
def test_an_error_of_one_event_leaves_the_others(bad: dict[str, Any], status: str) -> None:
    with serve(locations={1: {7}}, cannot_host={"left@x.example"}) as server:
        caller = Caller(server)
        bad = bad | {"invitations": [guest("bad-guest")]}
        assert caller.put(event("first"), bad, event("last", entranceId=7, name="x" * 255)) == [
            OK,
            status,
            OK,
        ]
        assert set(server.state()["events"]) == {"first", "last"}
        assert server.state()["tombstones"] == {}
        assert "bad-guest" not in server.state()["contacts"]
        assert caller.mails() == []


def test_any_location_goes_when_none_is_configured(caller: Caller) -> None:
    assert caller.put(event(locationId=99, entranceId=98)) == [OK]


def test_an_update_is_judged_as_the_event_it_leaves() -> None:
    with serve(locations={1: {7}, 2: {9}}) as server:
        caller = Caller(server)
        caller.put(event("a", entranceId=7))
        assert caller.put({"sourceId": "a", "startsAt": "2026-03-02T10:00:00Z"}) == [
            "ERROR_END_NOT_AFTER_START"
        ]
        assert caller.put({"sourceId": "a", "locationId": 2}) == ["ERROR_ENTRANCE_NOT_FOUND"]
        assert caller.put({"sourceId": "a", "host": {"firstName": "N"}}) == [
            "ERROR_HOST_EMAIL_REQUIRED"
        ]
        assert caller.event() == without(event(entranceId=7), "sourceId") | {"guests": {}}
