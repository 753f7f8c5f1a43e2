"""The sandbox over a real socket: authorisation, whole-request rejections, the rules of an event, mails, faults, persistence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.sandbox import SandboxServer, SandboxSettings, create_app
from schemas.essentry import STATUS_CANNOT_HOST

OK = "SUCCESS"


class Caller:
    """A sandbox and a connection to it."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.http = httpx.Client(headers={"Authorization": f"Bearer {server.token}"}, timeout=10)

    def send(self, *events: dict[str, Any], ignore_missing: bool = False, **more: Any) -> httpx.Response:
        body = {"agentToken": self.server.agent_token, "events": list(events)} | more
        params = {"ignoreMissingInvitations": "true"} if ignore_missing else {}
        return self.http.put(f"{self.server.base_url}/events", json=body, params=params)

    def put(self, *events: dict[str, Any], ignore_missing: bool = False) -> list[str]:
        response = self.send(*events, ignore_missing=ignore_missing)
        assert response.status_code == 200, response.text
        answer = response.json()["events"]
        assert [row["sourceId"] for row in answer] == [event["sourceId"] for event in events]
        return [row["status"] for row in answer]

    def mails(self, *, after: int = 0) -> list[tuple[str, str, str | None]]:
        return [(m["kind"], m["event"], m["invitation"]) for m in self.server.mails() if m["request"] > after]

    def event(self, source_id: str = "a") -> dict[str, Any]:
        found: dict[str, Any] = self.server.state()["events"][source_id]
        return found

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(self.server.base_url + path, params=params)


def guest(source_id: str = "g", **more: Any) -> dict[str, Any]:
    return {"sourceId": source_id, "email": f"{source_id}@guest.example", "firstName": "G", "lastName": source_id} | more


def event(source_id: str = "a", *guests: dict[str, Any], **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "sourceId": source_id,
        "name": "Visit",
        "startsAt": "2026-03-01T10:00:00+01:00",
        "endsAt": "2026-03-01T11:00:00+01:00",
        "locationId": 1,
        "host": {"email": "host@x.example", "firstName": "H", "lastName": "O"},
    }
    if guests:
        base["invitations"] = list(guests)
    return base | more


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


DELETED = {"deletedAt": "2026-02-01T00:00:00Z"}


@pytest.fixture(scope="module")
def shared_server() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def sandbox(shared_server: SandboxServer) -> Caller:
    shared_server.reset()
    return Caller(shared_server)


def serve(**settings: Any) -> SandboxServer:
    return SandboxServer(replace(SandboxSettings(), **settings))


# --- who may call, and where ---


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("", 401), ("Bearer", 401), ("Basic abc", 401), ("Bearer wrong", 403), ("Bearer sandbox-token2", 403)],
)
@pytest.mark.parametrize("call", ["PUT /events", "GET /locations/1/invitations", "GET /locations/1/check-ins"])
def test_calls_want_the_token(sandbox: Caller, call: str, header: str | None, status: int) -> None:
    method, path = call.split()
    body = {"agentToken": sandbox.server.agent_token, "events": [event()]} if method == "PUT" else None
    headers = {} if header is None else {"Authorization": header}
    response = httpx.request(method, sandbox.server.base_url + path, json=body, headers=headers)
    assert response.status_code == status
    assert response.json()["message"]
    assert sandbox.server.state()["events"] == {}


def test_the_transition_wants_the_token(sandbox: Caller) -> None:
    assert httpx.post(f"{sandbox.server.base_url}/check-ins/transitions", json={}).status_code == 401


def test_base_url_ends_with_the_api_prefix(sandbox: Caller) -> None:
    assert sandbox.server.base_url.startswith("http://127.0.0.1:")
    assert sandbox.server.base_url.endswith("/api/v2")


@pytest.mark.parametrize("path", ["/nope", "/api/v2/nope", "/api/v2/locations/x/invitations", "/events", "/sandbox/nope"])
def test_wrong_paths_are_404_in_json(sandbox: Caller, path: str) -> None:
    response = sandbox.http.get(sandbox.server.url + path)
    assert response.status_code == 404
    assert response.json() == {"message": "Not Found"}


def test_wrong_methods_are_405_in_json(sandbox: Caller) -> None:
    response = sandbox.http.post(f"{sandbox.server.base_url}/events")
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
def test_one_malformed_event_rejects_the_request(sandbox: Caller, bad: dict[str, Any], first: bool) -> None:
    response = sandbox.send(*([bad, event()] if first else [event(), bad]))
    assert response.status_code == 400
    assert response.json()["errors"][0]["path"].startswith("events")
    state = sandbox.server.state()
    assert (state["events"], state["contacts"], state["employees"], sandbox.mails()) == ({}, {}, {}, [])


@pytest.mark.parametrize("token", ["", "no-uuid", None, "5a4db0c5-0000-4000-8000-00000000ffff"])
def test_a_bad_or_foreign_agent_token_rejects_the_request(sandbox: Caller, token: str | None) -> None:
    assert sandbox.send(event(), agentToken=token).status_code == 400
    assert sandbox.server.state()["events"] == {}


@pytest.mark.parametrize("more", [{"events": []}, {"events": None}, {"extra": 1}])
def test_a_bad_envelope_rejects_the_request(sandbox: Caller, more: dict[str, Any]) -> None:
    assert sandbox.send(event(), **more).status_code == 400


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"agentToken":'])
def test_a_body_that_is_no_json_object_is_400(sandbox: Caller, raw: bytes) -> None:
    assert sandbox.http.put(f"{sandbox.server.base_url}/events", content=raw).status_code == 400


def test_errors_name_the_path_and_not_the_person(sandbox: Caller) -> None:
    response = sandbox.send(event("a", guest(email="secret.person@y.example", language="secret.person")))
    assert response.json()["errors"][0]["path"] == "events.0.invitations.0.language"
    assert "secret.person" not in response.text


@pytest.mark.parametrize("query", ["ignoreMissingInvitations=1", "ignoreMissingInvitations=TRUE", "ignoreMissingInvitation=true"])
def test_an_odd_query_is_400(sandbox: Caller, query: str) -> None:
    body = {"agentToken": sandbox.server.agent_token, "events": [event()]}
    assert sandbox.http.put(f"{sandbox.server.base_url}/events?{query}", json=body).status_code == 400
    assert sandbox.server.state()["events"] == {}


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
        assert caller.put(event("first"), bad, event("last", entranceId=7, name="x" * 255)) == [OK, status, OK]
        assert set(server.state()["events"]) == {"first", "last"}
        assert server.state()["tombstones"] == {}
        assert "bad-guest" not in server.state()["contacts"]
        assert caller.mails() == []


def test_any_location_goes_when_none_is_configured(sandbox: Caller) -> None:
    assert sandbox.put(event(locationId=99, entranceId=98)) == [OK]


def test_an_update_is_judged_as_the_event_it_leaves() -> None:
    with serve(locations={1: {7}, 2: {9}}) as server:
        caller = Caller(server)
        caller.put(event("a", entranceId=7))
        assert caller.put({"sourceId": "a", "startsAt": "2026-03-02T10:00:00Z"}) == ["ERROR_END_NOT_AFTER_START"]
        assert caller.put({"sourceId": "a", "locationId": 2}) == ["ERROR_ENTRANCE_NOT_FOUND"]
        assert caller.put({"sourceId": "a", "host": {"firstName": "N"}}) == ["ERROR_HOST_EMAIL_REQUIRED"]
        assert caller.event() == without(event(entranceId=7), "sourceId") | {"guests": {}}


# --- state: create, update, delete ---


def test_a_create_stores_the_event_and_invites(sandbox: Caller) -> None:
    assert sandbox.put(event("a", guest("g"), guest("h", companyName="Y", language="FR"))) == [OK]
    shown = sandbox.event()
    assert shown["startsAt"] == "2026-03-01T10:00:00+01:00"
    assert shown["guests"]["h"] == without(guest("h", companyName="Y", language="FR"), "sourceId") | {"effectiveCustomFields": {}}
    assert sandbox.mails() == [("invited", "a", "g"), ("invited", "a", "h")]
    (first, _) = sandbox.server.mails()
    assert first["email"] == "g@guest.example"
    assert first["request"] == 1
    assert first["at"].endswith("+00:00")
    assert sandbox.server.state()["mails"] == {"invited": 2, "updated": 0, "cancelled": 0}


def test_events_not_in_the_request_stay(sandbox: Caller) -> None:
    sandbox.put(event("a", guest()))
    sandbox.put(event("b"))
    assert set(sandbox.server.state()["events"]) == {"a", "b"}
    assert sandbox.mails(after=1) == []


def test_an_update_changes_only_the_fields_sent(sandbox: Caller) -> None:
    sandbox.put(event("a", guest(), description="D"))
    assert sandbox.put({"sourceId": "a", "name": "New"}) == [OK]
    shown = sandbox.event()
    assert (shown["name"], shown["description"], list(shown["guests"])) == ("New", "D", ["g"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "New"},
        {"description": "New"},
        {"startsAt": "2026-03-01T10:01:00+01:00"},
        {"endsAt": "2026-03-01T11:00:00Z"},
        {"locationId": 2},
        {"entranceId": 2},
        {"host": {"email": "other@x.example"}},
        {"host": {"email": "host@x.example", "phoneNumber": "1"}},
        {"creator": {"email": "other@x.example"}},
        {"customFields": {"1": "x"}},
        {"updatedAt": "2026-02-01T00:00:00Z"},
    ],
)
def test_any_difference_mails_every_guest_once(sandbox: Caller, change: dict[str, Any]) -> None:
    sandbox.put(event("a", guest("g"), guest("h")))
    sandbox.put({"sourceId": "a"} | change)
    assert sandbox.mails(after=1) == [("updated", "a", "g"), ("updated", "a", "h")]
    sandbox.put({"sourceId": "a"} | change)
    assert sandbox.mails(after=2) == []


def test_nothing_different_mails_nobody(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g", customFields={"1": "x"}), customFields={"1": "y"}))
    sandbox.put(event("a", guest("g", customFields={"1": "x"}), customFields={"1": "y"}))
    sandbox.put({"sourceId": "a", "startsAt": "2026-03-01T09:00:00Z", "host": {"email": "host@x.example"}})
    assert sandbox.mails(after=1) == []


def test_a_deletion_cancels_everybody_and_leaves_a_tombstone(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g"), guest("h")), event("b", guest("i")))
    assert sandbox.put({"sourceId": "a"} | DELETED) == [OK]
    state = sandbox.server.state()
    assert (set(state["events"]), set(state["tombstones"])) == ({"b"}, {"a"})
    assert set(state["tombstones"]["a"]["guests"]) == {"g", "h"}
    assert state["tombstones"]["a"]["deletedAt"]
    assert sandbox.mails(after=1) == [("cancelled", "a", "g"), ("cancelled", "a", "h")]


def test_a_deletion_changes_nothing_else(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")))
    sandbox.put(event("a", guest("h"), name="New", **DELETED))
    assert sandbox.server.state()["tombstones"]["a"]["name"] == "Visit"
    assert sandbox.mails(after=1) == [("cancelled", "a", "g")]


def test_a_deleted_event_sent_again_is_an_error_by_default(sandbox: Caller) -> None:
    sandbox.put(event("a", guest()))
    sandbox.put({"sourceId": "a"} | DELETED)
    assert sandbox.put(event("a", guest(), name="New")) == ["ERROR_EVENT_DELETED"]
    assert sandbox.put({"sourceId": "a"} | DELETED) == ["ERROR_EVENT_DELETED"]
    assert sandbox.server.state()["tombstones"]["a"]["name"] == "Visit"
    assert sandbox.mails(after=2) == []


def test_on_deleted_update_changes_the_tombstone_silently() -> None:
    with serve(on_deleted="update") as server:
        caller = Caller(server)
        caller.put(event("a", guest("g")))
        caller.put({"sourceId": "a"} | DELETED)
        assert caller.put(event("a", guest("h"), name="New")) == [OK]
        assert caller.put({"sourceId": "a"} | DELETED) == [OK]
        assert server.state()["events"] == {}
        assert server.state()["tombstones"]["a"]["name"] == "New"
        assert caller.mails(after=2) == []


def test_on_deleted_resurrect_invites_everybody_again() -> None:
    with serve(on_deleted="resurrect") as server:
        caller = Caller(server)
        caller.put(event("a", guest("g"), guest("h")))
        caller.put({"sourceId": "a"} | DELETED)
        assert caller.put({"sourceId": "a"} | DELETED) == [OK]
        assert caller.put({"sourceId": "a", "name": "New"}) == [OK]
        assert caller.event()["name"] == "New"
        assert server.state()["tombstones"] == {}
        assert caller.mails(after=2) == [("invited", "a", "g"), ("invited", "a", "h")]
        caller.put({"sourceId": "a"} | DELETED)
        caller.put(event("a", guest("h"), guest("i")))
        assert caller.mails(after=5) == [("invited", "a", "h"), ("invited", "a", "i")]


# --- guests ---


def test_without_the_parameter_the_list_is_complete(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g"), guest("h")))
    sandbox.put({"sourceId": "a", "invitations": [guest("h"), guest("i")]})
    assert set(sandbox.event()["guests"]) == {"h", "i"}
    assert sandbox.mails(after=1) == [("cancelled", "a", "g"), ("invited", "a", "i")]
    sandbox.put({"sourceId": "a", "invitations": []})
    assert sandbox.event()["guests"] == {}


def test_with_the_parameter_missing_guests_stay(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g"), guest("h")))
    sandbox.put({"sourceId": "a", "invitations": [guest("i")]}, ignore_missing=True)
    assert set(sandbox.event()["guests"]) == {"g", "h", "i"}
    assert sandbox.mails(after=1) == [("invited", "a", "i")]


def test_deleted_at_of_a_guest_needs_the_parameter(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g"), guest("h")))
    sandbox.put({"sourceId": "a", "invitations": [guest("g") | DELETED, guest("h")]})
    assert set(sandbox.event()["guests"]) == {"g", "h"}
    assert sandbox.mails(after=1) == []
    sandbox.put({"sourceId": "a", "invitations": [{"sourceId": "g"} | DELETED, guest("x") | DELETED]}, ignore_missing=True)
    assert set(sandbox.event()["guests"]) == {"h"}
    assert "x" not in sandbox.server.state()["contacts"]
    assert sandbox.mails(after=2) == [("cancelled", "a", "g")]
    sandbox.put({"sourceId": "a", "invitations": [guest("g")]}, ignore_missing=True)
    assert sandbox.mails(after=3) == [("invited", "a", "g")]


@pytest.mark.parametrize(
    "change",
    [
        {"firstName": "N"},
        {"email": "new@y.example"},
        {"companyName": "N"},
        {"language": "IT"},
        {"customFields": {"1": "x"}},
        {"accessProfiles": [{"partitionId": 1, "sourceId": "d"}]},
    ],
)
def test_a_changed_guest_is_mailed_alone(sandbox: Caller, change: dict[str, Any]) -> None:
    sandbox.put(event("a", guest("g"), guest("h")))
    sandbox.put({"sourceId": "a", "invitations": [{"sourceId": "g"} | change]}, ignore_missing=True)
    assert sandbox.mails(after=1) == [("updated", "a", "g")]
    shown = sandbox.event()["guests"]["g"]
    assert shown["lastName"] == "g"
    assert shown | change == shown
    sandbox.put({"sourceId": "a", "invitations": [{"sourceId": "g"} | change]}, ignore_missing=True)
    assert sandbox.mails(after=2) == []


def test_a_guest_keeps_the_fields_that_are_not_sent(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g", customFields={"1": "x"})))
    sandbox.put({"sourceId": "a", "invitations": [{"sourceId": "g", "accessProfiles": []}]})
    shown = sandbox.event()["guests"]["g"]
    assert (shown["customFields"], shown["accessProfiles"], shown["firstName"]) == ({"1": "x"}, [], "G")


def test_a_changed_event_and_guest_are_one_mail_each(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g"), guest("h"), guest("i")))
    sandbox.put(event("a", guest("g", firstName="N"), guest("h"), guest("j"), name="New"))
    assert sandbox.mails(after=1) == [
        ("cancelled", "a", "i"),
        ("updated", "a", "g"),
        ("updated", "a", "h"),
        ("invited", "a", "j"),
    ]


def test_a_guest_without_email_is_mailed_nothing(sandbox: Caller) -> None:
    sandbox.put(event("a", without(guest("g"), "email"), guest("h", email=" ")))
    assert set(sandbox.event()["guests"]) == {"g", "h"}
    assert sandbox.mails() == []


def test_the_same_invitation_id_elsewhere_is_one_contact(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")), event("b", guest("g")), event("c", guest("g")), event("d", guest("h")))
    sandbox.put({"sourceId": "c"} | DELETED)
    sandbox.put({"sourceId": "a", "invitations": [guest("g", email="new@y.example", firstName="N")]})
    state = sandbox.server.state()
    assert state["contacts"]["g"]["email"] == "new@y.example"
    assert state["events"]["b"]["guests"]["g"]["firstName"] == "N"
    assert sorted(sandbox.mails(after=2)) == [("updated", "a", "g"), ("updated", "b", "g")]
    assert {mail["email"] for mail in sandbox.server.mails() if mail["request"] == 3} == {"new@y.example"}


def test_a_contact_changed_in_both_events_of_a_request_is_mailed_once_each(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")), event("b", guest("g")))
    changed = guest("g", firstName="N")
    sandbox.put({"sourceId": "a", "invitations": [changed]}, {"sourceId": "b", "invitations": [changed]})
    assert sorted(sandbox.mails(after=1)) == [("updated", "a", "g"), ("updated", "b", "g")]


def test_composite_ids_stay_independent(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("a-g", email="g@y.example")), event("b", guest("b-g", email="g@y.example")))
    sandbox.put({"sourceId": "a", "invitations": [guest("a-g", email="g@y.example", firstName="N")]})
    assert sandbox.event("b")["guests"]["b-g"]["firstName"] == "G"
    assert sandbox.mails(after=1) == [("updated", "a", "a-g")]


def test_a_contact_outlives_its_removal_only_where_it_is_invited(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")), event("b", guest("g")))
    sandbox.put({"sourceId": "b", "invitations": []})
    sandbox.put({"sourceId": "a", "invitations": [guest("g", firstName="N")]})
    assert sandbox.mails(after=2) == [("updated", "a", "g")]


def test_without_source_id_a_guest_is_matched_by_email_and_name(sandbox: Caller) -> None:
    anna = {"email": "anna@y.example", "firstName": "Anna", "lastName": "A"}
    sandbox.put(event("a", anna, guest("g")))
    sandbox.put(event("a", anna | {"email": "ANNA@y.example", "companyName": "Y"}, without(guest("g"), "sourceId")))
    assert len(sandbox.event()["guests"]) == 2
    assert sandbox.mails(after=1) == [("updated", "a", None)]
    sandbox.put(event("a", anna | {"firstName": "Ann"}, guest("g")))
    assert sandbox.mails(after=2) == [("cancelled", "a", None), ("invited", "a", None)]


def test_custom_fields_of_the_event_are_the_default_for_each_guest(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g", customFields={"1": "own"}), guest("h"), customFields={"1": "all", "2": "both"}))
    guests = sandbox.event()["guests"]
    assert guests["g"]["effectiveCustomFields"] == {"1": "own", "2": "both"}
    assert guests["h"]["effectiveCustomFields"] == {"1": "all", "2": "both"}


def test_employees_come_from_host_and_creator_by_email(sandbox: Caller) -> None:
    sandbox.put(event("a", creator={"email": "creator@x.example", "firstName": "C"}))
    sandbox.put(event("b", host={"email": "HOST@x.example", "phoneNumber": "+49"}))
    people = sandbox.server.state()["employees"]
    assert set(people) == {"host@x.example", "creator@x.example"}
    host = people["host@x.example"]
    assert (host["firstName"], host["phoneNumber"]) == ("H", "+49")


# --- reading back ---


def test_invitations_are_read_by_location_and_time(sandbox: Caller) -> None:
    later = {"startsAt": "2026-03-05T10:00:00Z", "endsAt": "2026-03-05T11:00:00Z"}
    sandbox.put(event("a", guest("g")), event("b", guest("h"), **later), event("c", guest("i"), locationId=2))
    sandbox.put(event("d", guest("j")))
    sandbox.put({"sourceId": "d"} | DELETED)

    def names(**params: Any) -> list[str]:
        answer = sandbox.get("/locations/1/invitations", **params).json()
        assert answer["pageInfo"]["totalCount"] == len(answer["invitations"])
        return [row["contact"]["lastName"] for row in answer["invitations"]]

    assert names() == ["g", "h"]
    assert names(endsAfter="2026-03-01T10:00:00Z") == ["h"]
    assert names(endsAfter="2026-03-01T09:59:59Z") == ["g", "h"]
    assert names(beginsBefore="2026-03-05T10:00:00Z") == ["g"]
    assert names(beginsBefore="2026-03-05T10:00:01Z") == ["g", "h"]
    assert names(updatedSince="2099-01-01T00:00:00Z") == []
    assert names(updatedSince="2020-01-01T00:00:00Z") == ["g", "h"]


def test_an_invitation_reads_back_without_its_source_id(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")))
    (row,) = sandbox.get("/locations/1/invitations").json()["invitations"]
    assert set(row) == {"id", "event", "contact", "createdAt", "updatedAt"}
    assert row["event"]["name"] == "Visit"
    assert row["event"]["hostId"] == sandbox.server.state()["employees"]["host@x.example"]["id"]
    assert "sourceId" not in json.dumps(row)


def test_pages_of_invitations(sandbox: Caller) -> None:
    sandbox.put(event("a", *(guest(f"g{n:02}") for n in range(60))))
    path = "/locations/1/invitations"

    def page(**params: Any) -> list[str]:
        answer = sandbox.get(path, **params).json()
        assert answer["pageInfo"] == {"totalCount": 60}
        return [row["contact"]["lastName"] for row in answer["invitations"]]

    assert page(limit=1) == ["g00"]
    assert len(page()) == 20
    assert page(limit=50, offset=50) == [f"g{n}" for n in range(50, 60)]
    for bad in ({"limit": 51}, {"limit": 0}, {"limit": "x"}, {"offset": -1}, {"endsAfter": "2026-03-01"}, {"page": 1}):
        assert sandbox.get(path, **bad).status_code == 400


def test_an_unknown_location_is_404_when_locations_are_configured(sandbox: Caller) -> None:
    assert sandbox.get("/locations/77/invitations").status_code == 200
    with serve(locations={1: set()}) as server:
        caller = Caller(server)
        assert caller.get("/locations/1/invitations", limit=1).status_code == 200
        assert caller.get("/locations/2/invitations", limit=1).status_code == 404
        assert caller.get("/locations/2/check-ins").status_code == 404


def test_a_visitor_checks_in_and_leaves(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g", customFields={"1": "x"})))
    url = f"{sandbox.server.base_url}/check-ins/transitions"
    arrived = sandbox.http.post(url, json={"eventName": "ARRIVE", "invitation": {"sourceId": "g"}}).json()
    assert arrived["legitimation"]["sourceId"] == "g"
    assert (arrived["lastName"], arrived["leftAt"], arrived["customFields"]) == ("g", None, {"1": "x"})
    assert sandbox.get("/locations/1/check-ins", leftAfter="2020-01-01T00:00:00Z").json()["checkIns"] == []
    left = sandbox.http.post(url, json={"eventName": "LEAVE", "checkIn": {"id": arrived["id"]}}).json()
    assert left["leftAt"]
    assert sandbox.get("/locations/1/check-ins", leftAfter="2020-01-01T00:00:00Z").json() == {
        "checkIns": [left],
        "pageInfo": {"totalCount": 1},
    }
    assert sandbox.get("/locations/1/check-ins", leftBefore="2020-01-01T00:00:00Z").json()["checkIns"] == []
    assert sandbox.get("/locations/2/check-ins").json()["checkIns"] == []


def test_a_shared_invitation_checks_in_to_the_first_live_event(sandbox: Caller) -> None:
    days = {key: {"startsAt": f"2026-03-0{n}T10:00:00Z", "endsAt": f"2026-03-0{n}T11:00:00Z"} for n, key in enumerate("abc", 1)}
    sandbox.put(*(event(key, guest("g"), **days[key]) for key in "cba"))
    sandbox.put({"sourceId": "a"} | DELETED)
    body = {"eventName": "ARRIVE", "invitation": {"sourceId": "g"}}
    arrived = sandbox.http.post(f"{sandbox.server.base_url}/check-ins/transitions", json=body).json()
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
def test_odd_transitions_are_refused(sandbox: Caller, body: dict[str, Any], status: int) -> None:
    url = f"{sandbox.server.base_url}/check-ins/transitions"
    assert sandbox.http.post(url, json=body).status_code == status


# --- the sandbox's own calls ---


def test_state_mails_and_requests_are_served(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g")), event("b"))
    sandbox.send({"sourceId": 1})
    sandbox.get("/locations/1/invitations")
    root = sandbox.server.url + "/sandbox"
    assert httpx.get(f"{root}/state").json() == sandbox.server.state()
    assert httpx.get(f"{root}/mails").json() == sandbox.server.mails()
    requests = httpx.get(f"{root}/requests").json()
    assert requests == sandbox.server.requests()
    assert (requests["puts"], requests["gets"], requests["rejected"]) == (2, 1, 1)
    assert (requests["events"], requests["invitations"]) == (2, 1)
    first, second = requests["log"]
    assert (first["status"], first["applied"], first["events"], first["ignore_missing"]) == (200, True, 2, False)
    assert first["bytes"] > 100
    assert (second["status"], second["applied"]) == (400, False)


def test_reset_forgets_everything(sandbox: Caller) -> None:
    empty = sandbox.server.state()
    sandbox.put(event("a", guest()))
    sandbox.server.add_faults([{"kind": "status", "status": 500}])
    assert httpx.post(f"{sandbox.server.url}/sandbox/reset").status_code == 200
    assert sandbox.server.state() == empty
    assert sandbox.server.mails() == []
    assert sandbox.put(event("a")) == [OK]


def test_the_page_shows_events_escaped(sandbox: Caller) -> None:
    sandbox.put(event("a", guest("g", firstName="<script>alert(1)</script>"), name="<b>Visit</b>"), event("z"))
    sandbox.put({"sourceId": "z"} | DELETED)
    response = httpx.get(sandbox.server.url + "/")
    assert response.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;Visit&lt;/b&gt;" in response.text
    assert "<b>Visit" not in response.text
    assert "<script>" not in response.text
    assert "<dt>mails: invited</dt><dd>1</dd>" in response.text
    assert '<tr class="deleted">' in response.text


def test_the_page_of_many_events_is_cut(sandbox: Caller) -> None:
    assert "No event yet." in httpx.get(sandbox.server.url).text
    sandbox.put(*(event(f"e{n}") for n in range(203)))
    text = httpx.get(sandbox.server.url).text
    assert text.count("<td>Visit</td>") == 200
    assert "and 3 more" in text


def test_count_only_checks_shapes_and_stores_counts() -> None:
    with serve(count_only=True) as server:
        caller = Caller(server)
        assert caller.put(event("a", guest()), event("b")) == [OK, OK]
        assert caller.send(event("c", colour="red")).status_code == 400
        assert server.state()["events"] == {}
        assert (server.requests()["events"], server.requests()["invitations"], server.mails()) == (2, 1, [])
        assert server.requests()["log"] == []


def test_concurrent_requests_are_counted(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "hang_after", "seconds": 0.5, "count": 3}])
    threads = [threading.Thread(target=Caller(sandbox.server).put, args=(event(f"e{n}"),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.server.requests()["max_concurrent"] == 3


# --- faults ---


def test_a_status_fault_applies_nothing_and_acts_once(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "status", "status": 429, "retry_after": 2, "body": {"error": "slow down"}}])
    response = sandbox.send(event())
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    assert response.json() == {"error": "slow down"}
    assert sandbox.server.state()["events"] == {}
    assert sandbox.put(event()) == [OK]


def test_a_status_fault_may_be_a_page_without_retry_after(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "status", "status": 503, "body": "<html>away</html>", "count": 2}])
    for _ in range(2):
        response = sandbox.send(event())
        assert (response.status_code, response.text) == (503, "<html>away</html>")
        assert "retry-after" not in response.headers
    assert sandbox.send(event()).status_code == 200


def test_faults_act_in_order_and_not_on_other_calls(sandbox: Caller) -> None:
    rules = [{"kind": "status", "status": 500}, {"kind": "status", "status": 502}]
    assert httpx.post(f"{sandbox.server.url}/sandbox/faults", json=rules).json() == {"added": 2}
    assert sandbox.get("/locations/1/invitations").status_code == 200
    assert [sandbox.send(event()).status_code for _ in range(3)] == [500, 502, 200]


def test_faults_on_reading_calls(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "status", "status": 503, "on": "get"}])
    assert sandbox.send(event()).status_code == 200
    assert [sandbox.get("/locations/1/invitations").status_code for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(("kind", "applied"), [("drop_before", False), ("drop_after", True)])
def test_a_dropped_connection(sandbox: Caller, kind: str, applied: bool) -> None:
    sandbox.server.add_faults([{"kind": kind}])
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        sandbox.send(event("a", guest()))
    assert (set(sandbox.server.state()["events"]) == {"a"}) is applied
    assert bool(sandbox.mails()) is applied
    (entry,) = sandbox.server.requests()["log"]
    assert (entry["status"], entry["applied"]) == (None, applied)
    assert sandbox.put(event("a", guest())) == [OK]


@pytest.mark.parametrize(("kind", "applied"), [("hang_before", False), ("hang_after", True)])
def test_a_hang_outlasts_the_sender(sandbox: Caller, kind: str, applied: bool) -> None:
    sandbox.server.add_faults([{"kind": kind, "seconds": 0.6}])
    sandbox.http.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        sandbox.send(event())
    time.sleep(0.8)
    assert (set(sandbox.server.state()["events"]) == {"a"}) is applied


@pytest.mark.parametrize("kind", ["hang_before", "hang_after"])
def test_a_patient_sender_gets_its_answer(sandbox: Caller, kind: str) -> None:
    sandbox.server.add_faults([{"kind": kind, "seconds": 0.3}])
    started = time.monotonic()
    assert sandbox.put(event()) == [OK]
    assert time.monotonic() - started >= 0.3


def test_partial_statuses_apply_all(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "partial_statuses"}, {"kind": "partial_statuses", "source_ids": ["a", "b"]}])
    for expected in (["a", "c"], ["c"]):
        answer = sandbox.send(event("a"), event("b"), event("c")).json()["events"]
        assert [row["sourceId"] for row in answer] == expected
    assert set(sandbox.server.state()["events"]) == {"a", "b", "c"}


def test_shuffled_statuses(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "shuffle"}])
    answer = sandbox.send(event("a"), event("b", name=""), event("c")).json()["events"]
    assert [(row["sourceId"], row["status"]) for row in answer] == [
        ("c", OK),
        ("b", "ERROR_NAME_REQUIRED"),
        ("a", OK),
    ]


@pytest.mark.parametrize("apply", [False, True])
def test_garbage_is_200_without_json(sandbox: Caller, apply: bool) -> None:
    sandbox.server.add_faults([{"kind": "garbage", "apply": apply}])
    response = sandbox.send(event())
    assert response.status_code == 200
    with pytest.raises(ValueError):
        response.json()
    assert bool(sandbox.server.state()["events"]) is apply


def test_a_rejected_event_leaves_the_others(sandbox: Caller) -> None:
    rule = {"kind": "reject_event", "source_id": "b", "code": "ERROR_ODD", "times": 2}
    sandbox.server.add_faults([rule])
    sandbox.put(event("c"))
    for _ in range(2):
        assert sandbox.put(event("a"), event("b")) == [OK, "ERROR_ODD"]
    assert set(sandbox.server.state()["events"]) == {"a", "c"}
    assert sandbox.put(event("b")) == [OK]


def test_a_rejected_request_fails_whenever_the_event_is_in_it(sandbox: Caller) -> None:
    sandbox.server.add_faults([{"kind": "reject_request", "source_id": "b", "status": 422}])
    for _ in range(3):
        assert sandbox.send(event("a"), event("b")).status_code == 422
    assert sandbox.server.state()["events"] == {}
    assert sandbox.put(event("a")) == [OK]
    sandbox.server.reset()
    sandbox.server.add_faults([{"kind": "reject_request", "source_id": "b", "count": 1}])
    assert [sandbox.send(event("b")).status_code for _ in range(2)] == [400, 200]


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
def test_odd_rules_are_refused(sandbox: Caller, rule: dict[str, Any]) -> None:
    assert httpx.post(f"{sandbox.server.url}/sandbox/faults", json=[rule]).status_code == 400
    with pytest.raises(ValueError):
        sandbox.server.add_faults([rule])
    assert sandbox.put(event()) == [OK]


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
    settings = {"persist_path": tmp_path / "sandbox.db"}
    with serve(**settings) as server:
        caller = Caller(server)
        caller.put(event("a", guest("g", customFields={"1": "x"})), event("b", guest("g")), event("c"))
        caller.put({"sourceId": "c"} | DELETED)
        caller.http.post(f"{server.base_url}/check-ins/transitions", json={"eventName": "ARRIVE", "invitation": {"sourceId": "g"}})
        caller.put({"sourceId": "a", "invitations": [guest("g", companyName="Changed")]})
        caller.send({"sourceId": 1})
        before, mails, requests = server.state(), server.mails(), server.requests()
    with serve(**settings) as server:
        caller = Caller(server)
        after = server.state()
        assert without(after, "requests") == without(before, "requests")
        assert server.mails() == mails
        assert server.requests()["log"] == requests["log"]
        assert len(caller.get("/locations/1/check-ins").json()["checkIns"]) == 1
        ids = [row["id"] for row in caller.get("/locations/1/invitations").json()["invitations"]]
        caller.put(event("d", guest("new")))
        rows = caller.get("/locations/1/invitations").json()["invitations"]
        assert [row["id"] > max(ids) for row in rows if row["contact"]["lastName"] == "new"] == [True]
        number = requests["log"][-1]["number"]
        caller.put({"sourceId": "a", "invitations": [guest("g", firstName="N")]})
        assert sorted(caller.mails(after=number + 1)) == [("updated", "a", "g"), ("updated", "b", "g")]
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
