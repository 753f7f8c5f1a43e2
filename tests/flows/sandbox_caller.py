"""A sandbox with a connection to it, and the events and guests that its tests send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer

OK = "SUCCESS"
DELETED = {"deletedAt": "2026-02-01T00:00:00Z"}


class Caller:
    """A sandbox and a connection to it."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.http = httpx.Client(headers={"Authorization": f"Bearer {server.token}"}, timeout=10)

    def send(
        self, *events: dict[str, Any], ignore_missing: bool = False, **more: Any
    ) -> httpx.Response:
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
        return [
            (m["kind"], m["event"], m["invitation"])
            for m in self.server.mails()
            if m["request"] > after
        ]

    def event(self, source_id: str = "a") -> dict[str, Any]:
        found: dict[str, Any] = self.server.state()["events"][source_id]
        return found

    def get(self, path: str, **params: Any) -> httpx.Response:
        """A reading call; without bounds of its own it asks for all times."""
        always = (
            {"endsAfter": "2000-01-01T00:00:00Z", "beginsBefore": "2100-01-01T00:00:00Z"}
            if path.endswith("/invitations")
            else {}
        )
        return self.http.get(self.server.base_url + path, params=always | params)


def guest(source_id: str = "g", **more: Any) -> dict[str, Any]:
    return {
        "sourceId": source_id,
        "email": f"{source_id}@guest.example",
        "firstName": "G",
        "lastName": source_id,
    } | more


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


def serve(**settings: Any) -> SandboxServer:
    return SandboxServer(replace(SandboxSettings(), **settings))
