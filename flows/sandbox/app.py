"""The local essentry: a server with the rules of the Synchronization API, which counts mails
instead of sending them.

HTTP only: routes, authorisation, faults on the wire, starting and stopping. The rules are in
`rules`, what is shown in `page`. essentry's calls are under /api/v2 and want the bearer token; the
sandbox's own are under /sandbox and want none, so it belongs on a loopback address.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from flows.sandbox.answers import describe_check_in, list_check_ins, list_invitations
from flows.sandbox.edits import apply_edit, parse_edit
from flows.sandbox.faults import Fault, FaultQueue, parse_faults
from flows.sandbox.page import describe_mails, describe_requests, describe_state, render_page
from flows.sandbox.records import SandboxSettings, parse_instant
from flows.sandbox.rules import SandboxState
from schemas.essentry import (
    READ_LIMIT_DEFAULT,
    READ_LIMIT_MAX,
    Instant,
    ShapeError,
    parse_events_request,
)

API_PREFIX = "/api/v2"
_HTML_PAGE = (
    "<!doctype html><title>Please sign in</title><p>This is not the answer you were waiting for."
)
_INSTANT = TypeAdapter(Instant)


class _Reference(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _CheckInReference(_Reference):
    id: int


class _InvitationReference(_Reference):
    sourceId: Annotated[str, Field(min_length=1)]


class _Transition(_Reference):
    """Body of POST /check-ins/transitions. Event names are not documented: ARRIVE and LEAVE are the
    sandbox's own.
    """

    eventName: Literal["ARRIVE", "LEAVE"]
    checkIn: _CheckInReference | None = None
    invitation: _InvitationReference | None = None


def create_app(settings: SandboxSettings) -> Starlette:
    """Create the application; `app.state.sandbox` is the SandboxState, `app.state.faults` the
    FaultQueue.
    """
    return _App(SandboxState(settings), FaultQueue()).build()


class _App:
    def __init__(self, state: SandboxState, faults: FaultQueue) -> None:
        self.state = state
        self.faults = faults
        self.concurrent = 0

    def build(self) -> Starlette:
        """Wire the routes."""
        routes = [
            Route(f"{API_PREFIX}/events", self.put_events, methods=["PUT"]),
            Route(
                f"{API_PREFIX}/locations/{{location_id:int}}/invitations",
                self._reading(self.get_invitations),
            ),
            Route(
                f"{API_PREFIX}/locations/{{location_id:int}}/check-ins",
                self._reading(self.get_check_ins),
            ),
            Route(
                f"{API_PREFIX}/check-ins/transitions",
                self._reading(self.post_transition),
                methods=["POST"],
            ),
            Route("/sandbox/state", self.get_state),
            Route("/sandbox/mails", self.get_mails),
            Route("/sandbox/requests", self.get_requests),
            Route("/sandbox/reset", self.post_reset, methods=["POST"]),
            Route("/sandbox/faults", self.post_faults, methods=["POST"]),
            Route("/sandbox/edits", self.post_edits, methods=["POST"]),
            Route("/", self.get_page),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _answer_error})
        app.state.sandbox = self.state
        app.state.faults = self.faults
        return app

    # --- PUT /events ---

    async def put_events(self, request: Request) -> Response:
        """Answer PUT /events, with the faults that wait for it; the log entry is closed whatever
        happens.
        """
        self.concurrent += 1
        entry = self.state.begin_request(method="PUT", now=_now(), concurrent=self.concurrent)
        try:
            response = await self._put_events(request, entry)
            entry["status"] = response.status_code if response is not _NO_ANSWER else None
            return response
        except HTTPException as error:
            entry["status"] = error.status_code
            raise
        except ClientDisconnect:  # the sender went away in the middle of its body
            return _NO_ANSWER
        finally:
            self.concurrent -= 1
            self.state.end_request(entry)

    async def _put_events(self, request: Request, entry: dict[str, Any]) -> Response:
        self._authorise(request)
        body = await request.body()
        entry["bytes"] = len(body)
        fault = self.faults.take(on="put") if self.faults else None
        if fault is not None:
            answer = await self._play_before(fault, request)
            if answer is not None:
                return answer
        ignore_missing = _parse_ignore_missing(request)
        entry["ignore_missing"] = ignore_missing
        settings = self.state.settings
        if settings.max_bytes is not None and len(body) > settings.max_bytes:
            raise HTTPException(413, f"the body is larger than {settings.max_bytes} bytes")
        try:
            parsed = parse_events_request(body, nulls=settings.null != "refused")
        except ShapeError as error:
            return _answer_problems(error)
        events = parsed["events"]
        entry["events"] = len(events)
        if not hmac.compare_digest(
            parsed["agentToken"].casefold(), settings.agent_token.casefold()
        ):
            raise HTTPException(400, "agentToken: unknown")
        if settings.max_events is not None and len(events) > settings.max_events:
            raise HTTPException(413, f"more than {settings.max_events} events")
        rejected: dict[str, str] = {}
        if self.faults:
            source_ids = [event["sourceId"] for event in events]
            for refusal in self.faults.take_for("reject_request", source_ids).values():
                return _play_status(refusal, default=400)
            rejected = {
                key: rule.code
                for key, rule in self.faults.take_for("reject_event", source_ids).items()
            }

        statuses = self.state.apply(
            parsed,
            ignore_missing=ignore_missing,
            rejected=rejected,
            number=entry["number"],
            now=entry["at"],
        )
        entry["applied"] = True
        if fault is not None:
            if fault.kind == "drop_after":
                return _drop(request)
            if fault.kind == "hang_after":
                await asyncio.sleep(fault.seconds)
            if fault.kind == "garbage":
                return _play_garbage(fault)
            if fault.kind == "shuffle":
                statuses.reverse()
            if fault.kind == "partial_statuses":
                dropped = set(
                    fault.source_ids or [row["sourceId"] for row in (statuses[1::2] or statuses)]
                )
                statuses = [row for row in statuses if row["sourceId"] not in dropped]
        return _answer_json({"events": statuses})

    async def _play_before(self, fault: Fault, request: Request) -> Response | None:
        """Play the part of a fault that comes before anything is applied; None goes on."""
        if fault.kind == "status":
            return _play_status(fault, default=500)
        if fault.kind == "drop_before":
            return _drop(request)
        if fault.kind == "hang_before":
            await asyncio.sleep(fault.seconds)
            if await request.is_disconnected():
                return _NO_ANSWER
        if fault.kind == "garbage" and not fault.apply:
            return _play_garbage(fault)
        return None

    # --- reading back ---

    def _reading(
        self, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Wrap a call with authorisation, counting and the faults with on = "get"."""

        async def endpoint(request: Request) -> Response:
            self.state.begin_request(method="GET", now=_now(), concurrent=0)
            self._authorise(request)
            fault = self.faults.take(on="get") if self.faults else None
            early = await self._play_before(fault, request) if fault is not None else None
            if early is not None:
                return early
            response = await answer(request)
            if fault is not None and fault.kind == "drop_after":
                return _drop(request)
            if fault is not None and fault.kind == "hang_after":
                await asyncio.sleep(fault.seconds)
            if fault is not None and fault.edit is not None:
                apply_edit(self.state, fault.edit, now=_now())
            return response

        return endpoint

    async def get_invitations(self, request: Request) -> Response:
        """Answer GET /locations/{id}/invitations; without one of the two bounds it is 400."""
        query = self._read_query(request, instants=("endsAfter", "beginsBefore", "updatedSince"))
        for name in ("endsAfter", "beginsBefore"):
            if query[0][name] is None:
                raise HTTPException(400, f"{name}: required")
        instants, limit, offset = query
        return _answer_json(
            list_invitations(
                self.state,
                request.path_params["location_id"],
                ends_after=instants["endsAfter"],
                begins_before=instants["beginsBefore"],
                updated_since=instants["updatedSince"],
                limit=limit,
                offset=offset,
            )
        )

    async def get_check_ins(self, request: Request) -> Response:
        """Answer GET /locations/{id}/check-ins; both bounds are compulsory."""
        instants, limit, offset = self._read_query(request, instants=("leftAfter", "leftBefore"))
        left_after, left_before = instants["leftAfter"], instants["leftBefore"]
        if left_after is None or left_before is None:
            raise HTTPException(400, "leftAfter, leftBefore: both are needed")
        return _answer_json(
            list_check_ins(
                self.state,
                request.path_params["location_id"],
                left_after=left_after,
                left_before=left_before,
                limit=limit,
                offset=offset,
            )
        )

    async def post_transition(self, request: Request) -> Response:
        """Answer POST /check-ins/transitions: ARRIVE (invitation) opens a check-in, LEAVE (checkIn)
        closes it.
        """
        try:
            transition = _Transition.model_validate_json(await request.body())
        except ValidationError as error:
            return _answer_problems(ShapeError.of(error))
        if transition.eventName == "ARRIVE" and transition.invitation is not None:
            row = self.state.check_in(transition.invitation.sourceId, now=_now())
        elif transition.eventName == "LEAVE" and transition.checkIn is not None:
            row = self.state.leave(transition.checkIn.id, now=_now())
        else:
            raise HTTPException(400, "ARRIVE needs invitation, LEAVE needs checkIn")
        if row is None:
            raise HTTPException(404, "no such invitation or check-in")
        return _answer_json(describe_check_in(row))

    def _read_query(
        self, request: Request, *, instants: tuple[str, ...]
    ) -> tuple[dict[str, datetime | None], int, int]:
        locations = self.state.settings.locations
        if locations is not None and request.path_params["location_id"] not in locations:
            raise HTTPException(404, "no such location")
        query = _single_values(request, allowed={*instants, "limit", "offset"})
        try:
            bounds = {
                key: parse_instant(_INSTANT.validate_python(query[key])) if key in query else None
                for key in instants
            }
        except ValueError:
            raise HTTPException(
                400, f"{', '.join(instants)}: ISO 8601 with a zone offset or Z"
            ) from None
        limit, offset = query.get("limit", str(READ_LIMIT_DEFAULT)), query.get("offset", "0")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= READ_LIMIT_MAX):
            raise HTTPException(400, f"limit: 1 to {READ_LIMIT_MAX}")
        if not (offset.isascii() and offset.isdigit()):
            raise HTTPException(400, "offset: 0 or more")
        return bounds, int(limit), int(offset)

    # --- the sandbox's own ---

    async def get_state(self, request: Request) -> Response:
        """Answer GET /sandbox/state."""
        return _answer_json(describe_state(self.state))

    async def get_mails(self, request: Request) -> Response:
        """Answer GET /sandbox/mails."""
        return _answer_json(describe_mails(self.state))

    async def get_requests(self, request: Request) -> Response:
        """Answer GET /sandbox/requests."""
        return _answer_json(describe_requests(self.state))

    async def post_reset(self, request: Request) -> Response:
        """Answer POST /sandbox/reset: state, logs, counts and faults are gone."""
        self.state.reset()
        self.faults.clear()
        return _answer_json({})

    async def post_faults(self, request: Request) -> Response:
        """Answer POST /sandbox/faults."""
        try:
            faults = parse_faults(await request.body())
        except ValidationError as error:
            return _answer_problems(ShapeError.of(error))
        self.faults.add(faults)
        return _answer_json({"added": len(faults)})

    async def post_edits(self, request: Request) -> Response:
        """Answer POST /sandbox/edits: one edit by hand; 404 when its event or guest is not
        there.
        """
        try:
            apply_edit(self.state, parse_edit(await request.body()), now=_now())
        except ValidationError as error:
            return _answer_problems(ShapeError.of(error))
        except KeyError:
            raise HTTPException(404, "no such event or guest") from None
        return _answer_json({})

    async def get_page(self, request: Request) -> Response:
        """Answer GET / with a page for people."""
        return HTMLResponse(render_page(self.state))

    def _authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer" or not token.strip():
            raise HTTPException(401, "no bearer token", headers={"WWW-Authenticate": "Bearer"})
        if not hmac.compare_digest(token.strip().encode(), self.state.settings.token.encode()):
            raise HTTPException(403, "the token is not valid")


class _NoAnswer(Response):
    """Sends nothing: the connection is closed already, or the sender has gone."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # until uvicorn has noticed that the connection is gone: it would complain otherwise
        await receive()


_NO_ANSWER = _NoAnswer()


def _drop(request: Request) -> Response:
    """Close the connection without an answer. ASGI has no way to say so, hence uvicorn's
    transport.
    """
    request.receive.__self__.transport.abort()  # type: ignore[attr-defined]
    return _NO_ANSWER


def _play_status(fault: Fault, *, default: int) -> Response:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    status = fault.status if fault.status is not None else default
    if isinstance(fault.body, str):
        return Response(fault.body, status, headers, media_type="text/html")
    return _answer_json(
        fault.body if fault.body is not None else {"message": "a fault of the sandbox"},
        status,
        headers,
    )


def _play_garbage(fault: Fault) -> Response:
    return Response(
        fault.body if isinstance(fault.body, str) else _HTML_PAGE, media_type="text/html"
    )


def _parse_ignore_missing(request: Request) -> bool:
    """Read the one query parameter; another one, or another value, is 400 (the sandbox's own
    strictness).
    """
    value = _single_values(request, allowed={"ignoreMissingInvitations"}).get(
        "ignoreMissingInvitations", "false"
    )
    if value not in ("true", "false"):
        raise HTTPException(400, "ignoreMissingInvitations: true or false")
    return value == "true"


def _single_values(request: Request, *, allowed: set[str]) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    if not {key for key, _ in pairs} <= allowed or len({key for key, _ in pairs}) != len(pairs):
        raise HTTPException(400, f"query parameters, once each: {', '.join(sorted(allowed))}")
    return dict(pairs)


def _answer_problems(error: ShapeError) -> Response:
    problems = [{"path": path, "message": message} for path, message in error.problems]
    return _answer_json({"message": "the request is rejected", "errors": problems}, 400)


def _answer_json(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    return _answer_json({"message": error.detail}, error.status_code, dict(error.headers or {}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- starting and stopping ---
