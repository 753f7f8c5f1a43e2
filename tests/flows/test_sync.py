"""The Prefect flow on a real Prefect server: steps, states, artifacts, and failures without a traceback."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.demo_data import build_demo
from flows.sandbox import SandboxServer, SandboxSettings
from schemas.config import load_config
from schemas.errors import SourceError

pytestmark = pytest.mark.prefect
DEMO = Path(__file__).parent.parent.parent / "data" / "demo" / "essentry-sync.toml"
AS_OF = datetime(2026, 11, 24, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prefect_server():
    from prefect.testing.utilities import prefect_test_harness

    import flows.sync  # noqa: F401  sets the engine's environment first

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def demo_config(tmp_path, monkeypatch):
    shutil.copy(DEMO, tmp_path)
    build_demo(tmp_path, night=1, anchor=AS_OF.date())
    with SandboxServer(SandboxSettings()) as sandbox:
        monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield tmp_path / DEMO.name, sandbox


def test_flow_runs_steps_and_sends_everything_once(prefect_server, demo_config):
    from prefect.client.orchestration import get_client

    from flows.sync import run_sync

    path, sandbox = demo_config
    first = run_sync(load_config(path), as_of=AS_OF)
    assert first.exit_code == 0
    assert first.report["outcomes"] == {"confirmed": first.report["counts"]["create"]}
    puts = sandbox.requests()["puts"]
    assert puts > 0
    second = run_sync(load_config(path), as_of=AS_OF)
    assert sandbox.requests()["puts"] == puts
    assert second.report["counts"]["unchanged"] == first.report["counts"]["create"]
    with get_client(sync_client=True) as client:
        names = {run.name for run in client.read_task_runs(limit=50)}
        states = {run.state_name for run in client.read_flow_runs()}
    assert {"extract", "validate, transform, diff, guard", "load", "report"} <= names
    assert states == {"Completed"}


def test_failed_source_fails_the_flow_run_with_one_message(prefect_server, demo_config, capfd):
    from prefect.client.orchestration import get_client

    from flows.sync import run_sync

    path, sandbox = demo_config
    (path.parent / "hr.sqlite").unlink()
    with pytest.raises(SourceError, match=r"hr: there is no database file"):
        run_sync(load_config(path), as_of=AS_OF)
    assert sandbox.requests()["puts"] == 0
    assert "Traceback" not in capfd.readouterr().err
    with get_client(sync_client=True) as client:
        failed = [run for run in client.read_flow_runs() if run.state_name == "Failed"]
    assert len(failed) == 1
    assert "there is no database file" in failed[0].state.message
    reports = list(path.parent.glob("runs/*/report.md"))
    assert any("there is no database file" in report.read_text() for report in reports)
