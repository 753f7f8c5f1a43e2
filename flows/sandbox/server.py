"""The sandbox as a real HTTP server, in a thread of its own or in the foreground."""

from __future__ import annotations

import gc
import socket
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from flows.sandbox.app import API_PREFIX, create_app
from flows.sandbox.edits import apply_edit, parse_edit
from flows.sandbox.faults import FaultQueue, parse_faults
from flows.sandbox.page import describe_mails, describe_requests, describe_state
from flows.sandbox.records import SandboxSettings
from flows.sandbox.rules import SandboxState


def _configure(app: Starlette, *, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


def run_sandbox(settings: SandboxSettings, *, host: str, port: int) -> None:
    """Serve until interrupted. `host` should be a loopback address: /sandbox wants no token."""
    # the state only grows: collecting it over and over doubles the time of a request
    gc.set_threshold(200_000, 50, 1000)
    uvicorn.Server(_configure(create_app(settings), host=host, port=port)).run()


class SandboxServer:
    """A sandbox in a background thread on a free loopback port.

    `with SandboxServer() as sandbox:` serves at `sandbox.base_url`; `stop` and `start` keep state,
    port and waiting faults.
    """

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self.app = create_app(self.settings)
        self._state: SandboxState = self.app.state.sandbox
        self._faults: FaultQueue = self.app.state.faults
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """Root of essentry's calls, ending with /api/v2."""
        return self.url + API_PREFIX

    @property
    def url(self) -> str:
        """Root of the server: the page is there, the sandbox's own calls below /sandbox."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """The bearer token it wants."""
        return self.settings.token

    @property
    def agent_token(self) -> str:
        """The agent token it wants."""
        return self.settings.agent_token

    def start(self) -> SandboxServer:
        """Start serving; the same port again after `stop`. Raises RuntimeError when it is not up
        within 10 seconds.
        """
        if self._thread is not None:
            return self
        self._state.open()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        server = uvicorn.Server(_configure(self.app, host="127.0.0.1", port=self._port))
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="essentry sandbox", daemon=True
        )
        thread.start()
        waited = threading.Event()
        for _ in range(1000):
            if server.started:
                break
            if not thread.is_alive():
                raise RuntimeError("the sandbox ended while it started")
            waited.wait(0.01)
        else:
            raise RuntimeError("the sandbox did not start within 10 seconds")
        self._server, self._thread = server, thread
        return self

    def stop(self) -> None:
        """Stop serving; the state stays readable."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()
        self._server = self._thread = None
        self._state.close()

    def __enter__(self) -> SandboxServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def state(self) -> dict[str, Any]:
        """Return what GET /sandbox/state answers, also when stopped."""
        return describe_state(self._state)

    def mails(self) -> list[dict[str, Any]]:
        """Return the log of mails: kind, event, invitation, email, request, at."""
        return describe_mails(self._state)

    def requests(self) -> dict[str, Any]:
        """Return counts of requests and the log of PUTs."""
        return describe_requests(self._state)

    def check_in(self, source_id: str, *, at: datetime, **more: Any) -> int:
        """A guest comes with the code of an invitation; the id of the check-in. Raises KeyError
        when no live event has it.
        """
        row = self._state.check_in(source_id, now=at.isoformat(timespec="milliseconds"), **more)
        if row is None:
            raise KeyError(source_id)
        return int(row["id"])

    def walk_in(self, location_id: int, *, at: datetime, **more: Any) -> int:
        """Somebody comes without an invitation; the id of the check-in."""
        return int(
            self._state.walk_in(location_id, now=at.isoformat(timespec="milliseconds"), **more)[
                "id"
            ]
        )

    def check_out(self, check_in_id: int, *, at: datetime, **more: Any) -> None:
        """A visitor leaves."""
        if (
            self._state.leave(check_in_id, now=at.isoformat(timespec="milliseconds"), **more)
            is None
        ):
            raise KeyError(check_in_id)

    def add_faults(self, rules: list[dict[str, Any]]) -> None:
        """Add fault rules; raises ValueError for a rule that is not one."""
        self._faults.add(parse_faults(rules))

    def edit(self, kind: str, **edit: Any) -> None:
        """Do by hand what an edit says; raises ValueError for one that is none, KeyError when its
        event or guest is not there.
        """
        apply_edit(
            self._state,
            parse_edit({"kind": kind, **edit}),
            now=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def clear_faults(self) -> None:
        """Forget the fault rules that have not been used."""
        self._faults.clear()

    def reset(self) -> None:
        """Forget state, logs, counts and faults."""
        self._state.reset()
        self._faults.clear()
