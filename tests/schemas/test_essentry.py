"""The wire shapes: what parses, and what rejects a whole request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.essentry import LANGUAGES, ShapeError, parse_events_request, parse_events_response

AGENT = "5a4db0c5-0000-4000-8000-000000000001"


def full_event() -> dict[str, Any]:
    return {
        "sourceId": "lb-1",
        "name": "Visit",
        "description": "",
        "startsAt": "2026-03-01T10:00:00+01:00",
        "endsAt": "2026-03-01T11:00:00Z",
        "locationId": 1,
        "entranceId": 2,
        "host": {"email": "h@x.de", "firstName": "H", "lastName": "O", "phoneNumber": "+49 1"},
        "creator": {"email": "c@x.de"},
        "invitations": [
            {
                "sourceId": "lb-1-1",
                "email": "g@y.de",
                "firstName": "G",
                "lastName": "U",
                "companyName": "Y",
                "language": "DE",
                "customFields": {"12": "AB-C 1"},
                "accessProfiles": [{"partitionId": 1, "sourceId": "door"}],
                "deletedAt": "2026-03-01T09:00:00.123Z",
            }
        ],
        "customFields": {"12": "car", "13": True, "14": 3},
        "updatedAt": "2026-02-01T09:00:00-05:30",
        "deletedAt": "2026-02-02T09:00:00Z",
    }


def body(*events: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"agentToken": AGENT, "events": list(events)} | more).encode()


def put(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Set a nested value, as put(event, "invitations.0.email", 1)."""
    *parents, last = path.split(".")
    place: Any = event
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    return event


def test_a_full_request_parses_to_what_was_sent() -> None:
    assert parse_events_request(body(full_event())) == {
        "agentToken": AGENT,
        "events": [full_event()],
    }


def test_keys_left_out_stay_out() -> None:
    assert parse_events_request(body({"sourceId": "a"}))["events"] == [{"sourceId": "a"}]


@pytest.mark.parametrize(
    "path",
    [
        "extra",
        "host.extra",
        "creator.extra",
        "invitations.0.extra",
        "invitations.0.accessProfiles.0.extra",
    ],
)
def test_unknown_keys_are_rejected_at_every_level(path: str) -> None:
    with pytest.raises(ShapeError, match="extra"):
        parse_events_request(body(put(full_event(), path, "x")))


def test_unknown_keys_are_rejected_beside_the_events() -> None:
    with pytest.raises(ShapeError, match="extra"):
        parse_events_request(body(full_event(), extra=1))


INSTANTS = ["startsAt", "endsAt", "updatedAt", "deletedAt", "invitations.0.deletedAt"]
BAD_INSTANTS = [
    "2026-03-01T10:00:00",
    "2026-03-01",
    "2026-03-01 10:00:00Z",
    "2026-02-30T10:00:00Z",
    "2026-03-01T25:00:00Z",
    "2026-03-01T10:00:00+25:00",
    "2026-03-01T10:00:00+0100",
    "2026-03-01T10:00:00Z\n",
    "20260301T100000Z",
    "٢٠٢٦-03-01T10:00:00Z",
    "1772355600",
    "soon",
    "",
    1772355600,
    None,
]


@pytest.mark.parametrize("path", INSTANTS)
@pytest.mark.parametrize("value", BAD_INSTANTS)
def test_malformed_and_zoneless_instants_are_rejected(path: str, value: Any) -> None:
    with pytest.raises(ShapeError):
        parse_events_request(body(put(full_event(), path, value)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sourceId", 1),
        ("sourceId", ""),
        ("sourceId", "x" * 256),
        ("name", 1),
        ("name", None),
        ("description", 1),
        ("locationId", "1"),
        ("locationId", 1.0),
        ("locationId", True),
        ("entranceId", "2"),
        ("host", "h@x.de"),
        ("host", None),
        ("host.email", 1),
        ("host.phoneNumber", 491),
        ("invitations", {}),
        ("invitations", None),
        ("invitations.0.sourceId", 7),
        ("invitations.0.sourceId", ""),
        ("invitations.0.firstName", ["G"]),
        ("invitations.0.customFields", ["12"]),
        ("invitations.0.accessProfiles", {}),
        ("invitations.0.accessProfiles.0.partitionId", "1"),
        ("invitations.0.accessProfiles.0.sourceId", 1),
        ("customFields", "x"),
        ("customFields", {"12": None}),
        ("customFields", {"12": {"a": 1}}),
        ("customFields", {"": "a"}),
    ],
)
def test_wrong_types_are_rejected_not_coerced(path: str, value: Any) -> None:
    with pytest.raises(ShapeError):
        parse_events_request(body(put(full_event(), path, value)))


@pytest.mark.parametrize("missing", ["partitionId", "sourceId"])
def test_an_access_profile_is_complete(missing: str) -> None:
    event = full_event()
    del event["invitations"][0]["accessProfiles"][0][missing]
    with pytest.raises(ShapeError, match=missing):
        parse_events_request(body(event))


def test_the_thirteen_languages() -> None:
    assert len(LANGUAGES) == 13
    for language in LANGUAGES:
        parse_events_request(body(put(full_event(), "invitations.0.language", language)))


@pytest.mark.parametrize("language", ["de", "ZH", "PT", "zh_CN", "", None])
def test_other_languages_are_rejected(language: Any) -> None:
    with pytest.raises(ShapeError, match="language"):
        parse_events_request(body(put(full_event(), "invitations.0.language", language)))


@pytest.mark.parametrize(
    "token",
    ["", "abc", None, 1, AGENT[:-1], AGENT.replace("-", ""), "{" + AGENT + "}", AGENT + "\n"],
)
def test_the_agent_token_is_a_uuid(token: Any) -> None:
    with pytest.raises(ShapeError, match="agentToken"):
        parse_events_request(body(full_event(), agentToken=token))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b"{",
        b'{"events": [{"sourceId": "a"}]}',
        json.dumps({"agentToken": AGENT}).encode(),
        json.dumps({"agentToken": AGENT, "events": []}).encode(),
        json.dumps({"agentToken": AGENT, "events": [{}]}).encode(),
        json.dumps({"agentToken": AGENT, "events": {"sourceId": "a"}}).encode(),
        b'{"agentToken": "%s", "events": [{"sourceId": "\xff"}]}' % AGENT.encode(),
        b'{"agentToken": "%s", "events": [{"sourceId": "a", "customFields": {"1": NaN}}]}'
        % AGENT.encode(),
    ],
)
def test_other_bodies_are_rejected(raw: bytes) -> None:
    with pytest.raises(ShapeError):
        parse_events_request(raw)


def test_an_event_twice_is_rejected() -> None:
    with pytest.raises(ShapeError, match="more than once in the request"):
        parse_events_request(body({"sourceId": "a"}, {"sourceId": "b"}, {"sourceId": "a"}))


def test_an_invitation_twice_in_an_event_is_rejected_and_in_two_events_is_not() -> None:
    guest = {"sourceId": "g"}
    with pytest.raises(ShapeError, match=r"^events\.0\.invitations"):
        parse_events_request(body({"sourceId": "a", "invitations": [guest, guest]}))
    parse_events_request(
        body({"sourceId": "a", "invitations": [guest]}, {"sourceId": "b", "invitations": [guest]})
    )
    parse_events_request(
        body({"sourceId": "a", "invitations": [{"email": "a@x.de"}, {"email": "b@x.de"}]})
    )


def test_errors_do_not_hold_the_values() -> None:
    with pytest.raises(ShapeError) as caught:
        parse_events_request(body(put(full_event(), "startsAt", "secret-person@example.org")))
    assert "secret-person" not in str(caught.value)


def test_an_answer_tolerates_more_keys_but_no_other_shape() -> None:
    answer = b'{"events": [{"sourceId": "a", "status": "ERROR_NEW", "hint": 1}], "took": 3}'
    assert parse_events_response(answer) == {"events": [{"sourceId": "a", "status": "ERROR_NEW"}]}
    for raw in (
        b"<html>",
        b"[]",
        b"{}",
        b'{"events": [{"sourceId": "a"}]}',
        b'{"events": [{"sourceId": "a", "status": 1}]}',
    ):
        with pytest.raises(ShapeError):
            parse_events_response(raw)
