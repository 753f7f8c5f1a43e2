"""What `just bench` compares does the same work."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.bench.company import save_nights

ROWS = 1_000


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An essentry that accepts everything: its URL, and the events that it was sent."""
    events: list[dict[str, Any]] = []

    class Keep(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            sent = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))["events"]
            events.extend(sent)
            told = [{"sourceId": event["sourceId"], "status": "SUCCESS"} for event in sent]
            answer = orjson.dumps({"events": told})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Keep) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", events
        server.shutdown()


def test_the_engine_sends_what_we_send(
    received: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, events = received
    save_nights(ROWS, tmp_path)
    sent: dict[str, list[dict[str, Any]]] = {}
    for night in (1, 2):
        for who in ("ours", "engine"):
            events.clear()
            command = [sys.executable, "-W", "ignore", "-m", "tests.bench.contenders"]
            subprocess.run(
                [*command, f"{who} night {night}", str(ROWS), str(tmp_path), url],
                check=True,
                capture_output=True,
            )
            sent[f"{who} {night}"] = sorted(events, key=lambda event: event["sourceId"])
        assert sent[f"ours {night}"] == sent[f"engine {night}"]
    kinds = {
        "deletedAt" if "deletedAt" in event else "create" if "host" in event else "update"
        for event in sent["ours 2"]
    }
    assert kinds == {"deletedAt", "create", "update"}
    assert len(sent["ours 1"]) == ROWS * 98 // 100
