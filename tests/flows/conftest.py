"""A small company beside a real sandbox, for tests of whole nights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.sandbox import SandboxServer, SandboxSettings
from tests.company import Company


@pytest.fixture(scope="module")
def company_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings()) as server:
        yield server


@pytest.fixture
def company(tmp_path: Path, company_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Company:
    """An empty company; nothing has been sent."""
    company_sandbox.clear_faults()
    company_sandbox.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", company_sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", company_sandbox.agent_token)
    return Company(tmp_path, company_sandbox)
