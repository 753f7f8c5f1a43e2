"""A seeded share of the random histories; `just chaos` runs them by the hundred."""

import pytest

from flows.sandbox import SandboxServer, SandboxSettings
from tests.histories import run_history


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer(SandboxSettings(on_deleted="resurrect")) as server:
        yield server


@pytest.mark.parametrize("seed", range(1000, 1015))
def test_history_ends_in_the_truth(seed, sandbox, monkeypatch):
    monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    seen = run_history(seed, sandbox)
    assert seen["histories"] == 1
