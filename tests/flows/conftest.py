"""A small firm beside a real sandbox for tests of whole nights, a caller of a sandbox for the tests
of that, and a state store on each database.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_caller import Caller

from flows.sandbox.server import SandboxServer
from flows.state.store import State
from tests.sources.databases import database


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
