"""A small firm beside a real sandbox for tests of whole nights, a caller of a sandbox for the tests of that, and a state store on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_caller import Caller

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.state.store import State
from tests.firm import Firm
from tests.sources.databases import database


@pytest.fixture(scope="module")
def firm_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings()) as server:
        yield server


@pytest.fixture
def firm(tmp_path: Path, firm_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Firm:
    """An empty firm; nothing has been sent."""
    firm_sandbox.clear_faults()
    firm_sandbox.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", firm_sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", firm_sandbox.agent_token)
    return Firm(tmp_path, firm_sandbox)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def caller(shared_server: SandboxServer) -> Caller:
    shared_server.reset()
    return Caller(shared_server)


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.sqlite"
        return
    with database("postgresql", tmp_path) as engine:
        yield engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


@pytest.fixture
def state(url: str) -> Iterator[State]:
    with State.open(url) as store:
        yield store
