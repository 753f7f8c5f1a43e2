"""A seeded share of the random histories; `just chaos` runs them by the hundred."""

from __future__ import annotations

import pytest

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.chaos.history import run_history
from tests.chaos.week import run_week


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    keep = tmp_path_factory.mktemp("sandbox") / "sandbox.sqlite"
    with SandboxServer(SandboxSettings(on_deleted="resurrect", persist_path=keep)) as server:
        yield server


@pytest.mark.share(8)
# among them: state on PostgreSQL (3, 8, …), processes killed on the way (1, 4, …), and seeds that
# once found a defect (42, 60, 89, 105, 138)
@pytest.mark.parametrize("seed", [*range(1000, 1010), 42, 60, 89, 105, 138])
def test_history_ends_in_the_truth(seed, sandbox, monkeypatch):
    monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    seen = run_history(seed, sandbox)
    assert sum(count for what, count in seen.items() if what.startswith("night: ")) >= 2


def test_a_day_of_hourly_runs_stays_below_the_limits_of_a_day(sandbox, monkeypatch):
    monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    seen = run_week(0, sandbox, hours=26)
    assert seen["hour: 0"] >= 10
