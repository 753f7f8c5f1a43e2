"""The small firm of whole nights (see tests/firm.py), nothing sent yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm


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
