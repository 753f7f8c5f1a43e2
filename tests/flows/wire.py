"""What goes over the wire in the tests of client and load: events to send, and a socket with
answers no server gives.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from flows.essentry.items import Item

AGENT = "5a4db0c5-0000-4000-8000-000000000001"


def make_item(
    seq: int, *, action: str = "create", ignore_missing: bool = False, **fields: Any
) -> Item:
    source_id = f"rooms-{seq}"
    event: dict[str, Any] = {"sourceId": source_id}
    if action == "delete":
        event["deletedAt"] = "2026-11-24T00:00:00Z"
    else:
        event |= {
            "name": f"Meeting {seq}",
            "startsAt": "2026-12-01T09:00:00Z",
            "endsAt": "2026-12-01T10:00:00Z",
            "locationId": 7,
            "host": {"email": "host@example.com"},
            "invitations": [{"sourceId": f"{source_id}-1", "email": f"guest{seq}@example.org"}],
        }
    body = b"" if action == "expire" else orjson.dumps(event | fields)
    return Item(seq, source_id, body, action, ignore_missing)


def make_items(count: int, **options: Any) -> list[Item]:
    return [make_item(seq, **options) for seq in range(count)]


@asynccontextmanager
async def raw_server(
    answer: bytes, *, drip_seconds: float = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A socket that gives every request the same bytes, slowly if wished, and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if found := re.search(rb"content-length: (\d+)", head.lower()):
                await reader.readexactly(int(found[1]))
            for part in (
                [answer[i : i + 1] for i in range(len(answer))] if drip_seconds else [answer]
            ):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(drip_seconds)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/api/v2"
    finally:
        server.close()


def http_answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def cut_names(monkeypatch: pytest.MonkeyPatch, odd: str = "\\ud83d") -> None:
    """essentry answers names that were cut off within a character, or hold another odd one."""
    send = httpx.Client.get

    def cut(self: httpx.Client, url: Any, **more: Any) -> httpx.Response:
        answer = send(self, url, **more)
        text = answer.text.replace("CUTNAME", odd)
        return httpx.Response(
            answer.status_code,
            request=answer.request,
            content=text.encode(),
        )

    monkeypatch.setattr(httpx.Client, "get", cut)
