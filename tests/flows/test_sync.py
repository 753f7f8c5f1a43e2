"""The Prefect flow on a real Prefect server: steps, states, artifacts, names, and failures without
a traceback.
"""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client

from flows.connections.secrets import read_block
from flows.sync import run_sync, sync
from schemas.errors import ConfigurationError, SourceError
from schemas.load_config import load_config
from tests.conftest import AS_OF

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


def newest_run():
    """The flow run that began last; what other tests have scheduled for later has not begun."""
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=50)
    return next(run for run in runs if run.start_time is not None)


def task_states(flow_run_id):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        )
    return {run.name: run.state_name for run in runs}


def test_flow_runs_steps_and_sends_everything_once(demo_night):
    path, sandbox = demo_night
    first = run_sync(load_config(path), as_of=AS_OF)
    assert first.exit_code == 3  # rows that cannot be read are told for the first time
    assert first.report["outcomes"] == {"confirmed": first.report["counts"]["create"]}
    puts = sandbox.requests()["puts"]
    assert puts > 0
    run = newest_run()
    assert run.name == "sync rooms, hr"
    assert (run.state_name, run.state.message) == ("Incomplete", first.report["verdict"])
    steps = ("extract", "validate, transform, diff, guard", "load", "report")
    assert task_states(run.id) == dict.fromkeys(steps, "Completed")
    second = run_sync(load_config(path), as_of=AS_OF)
    assert sandbox.requests()["puts"] == puts
    assert second.report["counts"]["unchanged"] == first.report["counts"]["create"]


def test_failed_source_fails_the_flow_run_with_one_message(company, capfd):
    with pytest.raises(SourceError, match=r"rooms: there is no database file"):
        run_sync(company.config(), as_of=company.now)
    assert company.sandbox.requests()["puts"] == 0
    assert "Traceback" not in capfd.readouterr().err
    run = newest_run()
    assert run.state_name == "Failed"
    assert "there is no database file" in run.state.message
    reports = list(company.folder.glob("data/runs/*/report.md"))
    assert any("there is no database file" in report.read_text() for report in reports)


def test_deployed_flow_tells_by_its_state_what_is_asked(company, monkeypatch):
    company.write({"1": ["ada@out.example"]})
    path = str(company.path)
    plan = sync(path, "plan", return_state=True)
    assert plan.name == "Planned"
    assert "nothing was sent" in plan.message
    monkeypatch.setenv("ESSENTRY_SYNC_GUARDS__APPROVE_FIRST_RUN", "true")
    waiting = sync(path, return_state=True)
    assert (waiting.type.value, waiting.name) == ("FAILED", "AwaitingApproval")
    assert "approve_first_run" in waiting.message
    assert newest_run().name == f"sync {path}"
    assert company.sandbox.requests()["puts"] == 0
    wrong = sync("nowhere.toml", return_state=True)
    assert wrong.is_failed()
    assert "no configuration at nowhere.toml" in wrong.message


def test_rotated_secret_block_needs_no_new_deployment(company, monkeypatch):
    from prefect.blocks.system import Secret

    company.write({"1": ["ada@out.example"]})
    name = f"essentry-{uuid4().hex[:8]}"
    monkeypatch.delenv("ESSENTRY_TOKEN")
    monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__TOKEN_BLOCK", name)
    missing = sync(str(company.path), return_state=True)
    assert f"no Prefect Secret block named '{name}'" in missing.message
    Secret(value="tok-withdrawn").save(name)
    refused = sync(str(company.path), return_state=True)
    assert refused.is_failed()
    assert "tok-withdrawn" not in refused.message
    assert company.held() == {}
    Secret(value=company.sandbox.token).save(name, overwrite=True)
    assert sync(str(company.path), return_state=True).is_completed()
    assert company.held() == {"1": ["ada@out.example"]}


def test_database_urls_come_from_connector_and_secret_blocks(company, monkeypatch):
    from prefect.blocks.core import Block
    from prefect.blocks.system import Secret
    from pydantic import SecretStr

    class Connector(Block):
        """The shape that prefect-sqlalchemy stores."""

        _block_type_name = "SQLAlchemy Connector"
        _block_type_slug = "sqlalchemy-connector"
        connection_info: dict | SecretStr

    company.write({"1": ["ada@out.example"]})
    name = f"rooms-{uuid4().hex[:8]}"
    file = company.folder / "source.sqlite"
    Connector(connection_info={"driver": "sqlite+aiosqlite", "database": str(file)}).save(name)
    Secret(value="sqlite:///state.sqlite").save(f"state-{name}")
    text = company.path.read_text().replace(
        'url = "sqlite:///source.sqlite"', f'url_block = "{name}"'
    )
    company.path.write_text(
        text.replace('url = "sqlite:///state.sqlite"', f'url_block = "state-{name}"')
    )
    assert company.night().exit_code == 0
    assert company.held() == {"1": ["ada@out.example"]}
    moved = file.rename(company.folder / "moved.sqlite")
    # rotated: no new configuration
    Connector(connection_info=SecretStr(f"sqlite:///{moved}")).save(name, overwrite=True)
    assert company.night().report["counts"]["unchanged"] == 1
    parts = {
        "driver": "postgresql+asyncpg",
        "username": "me",
        "password": "p@ss/word",
        "host": "db",
        "port": 5432,
        "database": "x",
    }
    Connector(connection_info=parts).save(name, overwrite=True)
    assert read_block(f"sqlalchemy-connector/{name}") == "postgresql://me:p%40ss%2Fword@db:5432/x"


def test_unreachable_prefect_server_is_one_message(company):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ConfigurationError, match="does not answer"),
    ):
        run_sync(company.config(), as_of=company.now)
    assert company.sandbox.requests()["puts"] == 0


@pytest.mark.parametrize("server", ["named", "none", "dead"])
def test_terminal_says_which_server_and_nothing_of_the_engine(server, company, tmp_path):
    company.write({"1": ["ada@out.example"]})
    environment = dict(os.environ)
    if server != "named":  # as on a machine that has never seen Prefect
        environment = {
            name: value for name, value in environment.items() if not name.startswith("PREFECT_")
        }
        environment["PREFECT_HOME"] = str(tmp_path / "home")
    if server == "dead":
        environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    command = [sys.executable, "-m", "flows", "sync", "--config", str(company.path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    lines = done.stdout.splitlines()
    if server == "dead":
        assert done.returncode == 2
        assert "does not answer" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        return
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [line for line in lines if "…" not in line]  # signs of life of a slow machine
    assert lines[0].startswith(
        "Prefect: no server is configured"
        if server == "none"
        else "Prefect: the run shows at http://127.0.0.1:"
    )
    assert "done: 1 change" in lines
    assert not [line for line in lines if "INFO" in line or "Traceback" in line]
