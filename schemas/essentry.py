"""essentry's wire shapes: what PUT /events takes and answers, strictly. Shapes only: no rule of
what a request does.

Strict means: no coercion of types, no unknown key at any level, no null, instants with a zone. An
optional key that is left out is absent from the parsed dictionary, which is what "only the fields
sent change" needs. Source: Synchronization API, API reference v2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, get_args

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

Language = Literal["CS", "DE", "EN", "ES", "FR", "HR", "HU", "IT", "NL", "PL", "RO", "RU", "ZH_CN"]
LANGUAGES: tuple[str, ...] = get_args(Language)

STATUS_SUCCESS = "SUCCESS"
STATUS_ERROR_PREFIX = "ERROR_"
STATUS_CANNOT_HOST = "ERROR_USER_CANNOT_HOST_AT_LOCATION"
"""The one error code that is documented; the list of codes is open."""

READ_LIMIT_DEFAULT = 20
READ_LIMIT_MAX = 50

# ISO 8601 in the profile of RFC 3339: the documentation says "with a zone offset or Z", no more.
INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
AGENT_TOKEN_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"  # noqa: S105  a pattern
SOURCE_ID_MAX = 255
"""Ours: no limit is documented."""


def _check_instant(text: str) -> str:
    datetime.fromisoformat(text)  # ValueError on 30 February, hour 25, offset +24:00
    return text


Instant = Annotated[str, Field(pattern=INSTANT_PATTERN), AfterValidator(_check_instant)]
SourceId = Annotated[str, Field(min_length=1, max_length=SOURCE_ID_MAX)]
CustomFields = dict[Annotated[str, Field(min_length=1)], str | bool | int | float | list[str]]
"""Custom field id → value; the kinds of value are not documented."""

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_TOLERANT = ConfigDict(strict=True, extra="ignore")


@with_config(_STRICT)
class Employee(TypedDict):
    """Host or creator of an event; an e-mail is one employee."""

    email: NotRequired[
        Annotated[str, Field(description="required for a host on create, checked per event")]
    ]
    firstName: NotRequired[str]
    lastName: NotRequired[str]
    phoneNumber: NotRequired[str]


@with_config(_STRICT)
class AccessProfile(TypedDict):
    """Door access handed out with an invitation."""

    partitionId: int
    sourceId: str


@with_config(_STRICT)
class Invitation(TypedDict):
    """A guest of an event."""

    sourceId: NotRequired[
        Annotated[
            SourceId,
            Field(description="unique within the event; the same one elsewhere is one contact"),
        ]
    ]
    email: NotRequired[str]
    firstName: NotRequired[str]
    lastName: NotRequired[str]
    companyName: NotRequired[str]
    language: NotRequired[Annotated[Language, Field(description="of the mails and the kiosk")]]
    customFields: NotRequired[
        Annotated[CustomFields, Field(description="win over the event's, for this guest")]
    ]
    accessProfiles: NotRequired[list[AccessProfile]]
    deletedAt: NotRequired[
        Annotated[
            Instant,
            Field(description="removes the guest, with ignoreMissingInvitations=true alone"),
        ]
    ]


@with_config(_STRICT)
class Event(TypedDict):
    """One event of a request."""

    sourceId: Annotated[
        SourceId,
        Field(description="unique within the integration; decides create, update or delete"),
    ]
    name: NotRequired[str]
    description: NotRequired[str]
    startsAt: NotRequired[Instant]
    endsAt: NotRequired[Instant]
    locationId: NotRequired[int]
    entranceId: NotRequired[int]
    host: NotRequired[Employee]
    creator: NotRequired[Employee]
    invitations: NotRequired[
        Annotated[
            list[Invitation], Field(description="left out: untouched; present: the complete list")
        ]
    ]
    customFields: NotRequired[Annotated[CustomFields, Field(description="default for every guest")]]
    updatedAt: NotRequired[Instant]
    deletedAt: NotRequired[
        Annotated[Instant, Field(description="cancels the event and mails every guest")]
    ]


@with_config(_STRICT)
class EventsRequest(TypedDict):
    """Body of PUT /events."""

    agentToken: Annotated[
        str, Field(pattern=AGENT_TOKEN_PATTERN, description="UUID of the integration")
    ]
    events: Annotated[list[Event], Field(min_length=1)]


@with_config(_TOLERANT)
class EventStatus(TypedDict):
    """Answer for one event: SUCCESS or ERROR_…; keys that are not documented are dropped."""

    sourceId: str
    status: str


@with_config(_TOLERANT)
class EventsResponse(TypedDict):
    """Body of a 200 answer to PUT /events."""

    events: list[EventStatus]


class ShapeError(ValueError):
    """A body has not the shape it must have; `problems` holds path and message of each, never a
    value.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in problems))
        self.problems = problems

    @classmethod
    def of(cls, error: ValidationError) -> ShapeError:
        """Keep the first twenty problems of a ValidationError, without the values it holds: they
        may be a person's.
        """
        rows = error.errors(include_url=False, include_context=False, include_input=False)[:20]
        return cls(
            [(".".join(str(part) for part in row["loc"]) or "body", row["msg"]) for row in rows]
        )


_REQUEST = TypeAdapter(EventsRequest)
_RESPONSE = TypeAdapter(EventsResponse)


def parse_events_request(body: bytes, *, nulls: bool = False) -> EventsRequest:
    """Parse a body of PUT /events in one pass. nulls: null is allowed wherever a field may be left
    out, and stays in the parsed request.

    Raises ShapeError on anything that rejects the whole request: no JSON, a wrong shape, an event's
    sourceId twice, an invitation's sourceId twice in one event.
    """
    try:
        request = _parse_with_nulls(body) if nulls else _REQUEST.validate_json(body)
    except ValidationError as error:
        raise ShapeError.of(error) from None
    events = request["events"]
    if len({event["sourceId"] for event in events}) != len(events):
        raise ShapeError([("events", "a sourceId occurs more than once in the request")])
    for index, event in enumerate(events):
        invitations = event.get("invitations")
        if invitations is not None and len(invitations) > 1:
            ids = [guest["sourceId"] for guest in invitations if "sourceId" in guest]
            if len(set(ids)) != len(ids):
                raise ShapeError(
                    [
                        (
                            f"events.{index}.invitations",
                            "a sourceId occurs more than once in the event",
                        )
                    ]
                )
    return request


def _parse_with_nulls(body: bytes) -> EventsRequest:
    value = json.loads(body) if _is_json(body) else None
    if not isinstance(value, dict) or not isinstance(value.get("events"), list):
        return _REQUEST.validate_json(body)
    nulls = list(_find_nulls(value["events"], ()))
    for path in nulls:
        del _follow(value["events"], path[:-1])[path[-1]]
    request = _REQUEST.validate_json(json.dumps(value))
    for path in nulls:
        _follow(request["events"], path[:-1])[path[-1]] = None
    return request


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _find_nulls(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Places of null in objects, but for ids and deletions, which null cannot mean."""
    for key, item in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        if (
            item is None
            and isinstance(value, dict)
            and key not in ("sourceId", "deletedAt", "invitations")
        ):
            yield (*path, key)
        else:
            yield from _find_nulls(item, (*path, key))


def _follow(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def parse_events_response(body: bytes) -> EventsResponse:
    """Parse a 200 answer; raises ShapeError when it is not essentry's (a proxy's page, a cut-off
    body).
    """
    try:
        return _RESPONSE.validate_json(body)
    except ValidationError as error:
        raise ShapeError.of(error) from None
