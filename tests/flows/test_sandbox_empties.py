"""What an empty value does in the sandbox: every reading of what the documentation leaves open."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sandbox_caller import OK, event, guest

from flows.sandbox.empties import ERROR_EMPTY_VALUE
from flows.sandbox.records import SandboxSettings
from flows.sandbox.rules import SandboxState
from schemas.essentry import ShapeError, parse_events_request

DOOR = [{"partitionId": 1, "sourceId": "d"}]


class Box:
    """The sandbox's rules without HTTP."""

    def __init__(self, **settings: Any) -> None:
        self.state = SandboxState(SandboxSettings(**settings))

    def put(self, *events: dict) -> list[tuple[str, str]]:
        body = orjson.dumps(
            {"agentToken": "5a4db0c5-0000-4000-8000-000000000001", "events": list(events)}
        )
        request = parse_events_request(body, nulls=self.state.settings.null != "refused")
        answers = self.state.apply(
            request, ignore_missing=True, rejected={}, number=1, now="2026-03-02T03:00:00Z"
        )
        return [answer["status"] for answer in answers]  # type: ignore[misc]

    @property
    def event(self) -> dict[str, Any]:
        return self.state.events["a"].fields

    @property
    def guest(self) -> dict[str, Any]:
        return self.state.contacts["g"].fields | self.state.events["a"].guests["g"].fields


def _full() -> dict[str, Any]:
    person = guest(
        "g", companyName="C", language="DE", accessProfiles=DOOR, customFields={"1": "x", "2": "y"}
    )
    return event("a", person, description="D", entranceId=2, customFields={"1": "x", "2": "y"})


@pytest.mark.parametrize(
    ("reading", "text", "doors"),
    [("clears", "", []), ("ignored", "D", DOOR), ("refused", "D", DOOR)],
)
def test_empty_texts_and_lists(reading: str, text: str, doors: list) -> None:
    box = Box(empty_text=reading, empty_list=reading)
    box.put(_full())
    status = ERROR_EMPTY_VALUE if reading == "refused" else OK
    assert box.put({"sourceId": "a", "description": ""}) == [status]
    assert box.put({"sourceId": "a", "invitations": [{"sourceId": "g", "accessProfiles": []}]}) == [
        status
    ]
    assert box.put({"sourceId": "a", "host": {"email": "host@x.example", "phoneNumber": ""}}) == [
        status
    ]
    assert box.put({"sourceId": "a", "invitations": []}) == [OK]
    assert (box.event["description"], box.guest["accessProfiles"]) == (text, doors)


@pytest.mark.parametrize("reading", ["clears", "ignored"])
def test_nulls(reading: str) -> None:
    box = Box(null=reading)
    box.put(_full())
    nulls = {
        "companyName": None,
        "language": None,
        "accessProfiles": None,
        "customFields": {"1": None, "2": "z"},
    }
    assert box.put(
        {
            "sourceId": "a",
            "entranceId": None,
            "description": None,
            "invitations": [{"sourceId": "g"} | nulls],
        }
    ) == [OK]
    gone = reading == "clears"
    assert ({"entranceId", "description"} & set(box.event) == set()) is gone
    assert ({"companyName", "language", "accessProfiles"} & set(box.guest) == set()) is gone
    assert box.guest["customFields"]["2"] == "z"
    if gone:
        assert box.put({"sourceId": "a", "name": None}) == ["ERROR_NAME_REQUIRED"]
        assert box.put({"sourceId": "a", "host": None}) == ["ERROR_HOST_EMAIL_REQUIRED"]


def test_null_rejects_the_whole_request_unless_it_is_allowed() -> None:
    with pytest.raises(ShapeError):
        Box().put(_full() | {"description": None})
    for broken in (
        {"sourceId": None},
        {"sourceId": "a", "deletedAt": None},
        {"sourceId": "a", "invitations": None},
    ):
        with pytest.raises(ShapeError):
            Box(null="clears").put(broken)


@pytest.mark.parametrize(
    ("reading", "left"), [("replaced", {"2": "z"}), ("merged", {"1": "x", "2": "z"})]
)
def test_custom_fields_that_are_left_out(reading: str, left: dict) -> None:
    box = Box(custom_fields=reading)
    box.put(_full())
    box.put(
        {
            "sourceId": "a",
            "customFields": {"2": "z"},
            "invitations": [{"sourceId": "g", "customFields": {"2": "z"}}],
        }
    )
    assert (box.event["customFields"], box.guest["customFields"]) == (left, left)
