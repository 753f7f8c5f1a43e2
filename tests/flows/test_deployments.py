"""The deployments of prefect.yaml, really started: `serve` and a worker on a real Prefect server,
schedules, collisions, cancelling.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from flows.engine.deployments import build_deployments, read_deployments
from flows.night.session import open_state
from schemas.errors import ConfigurationError

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]
ROOT = Path(__file__).parents[2]
MEETINGS = {str(number): [f"guest{number}@out.example"] for number in range(1, 9)}


@contextmanager
def process(*command: str, folder: Path):
    """A process of the test; ended with SIGINT as a person would, and killed when that does not
    help.
    """
    with (folder / "process.log").open("ab") as log:
        running = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def serve(company, *options: str):
    command = [sys.executable, "-m", "flows", "serve", "--config", str(company.path), *options]
    return process(*command, folder=company.folder)


def wait_for(condition, company, seconds: float = 90):
    """The first true answer of a condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.3)
    raise AssertionError((company.folder / "process.log").read_text())


def find_deployment(name: str, path: Path):
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(f"essentry-sync/{name}")
        except Exception:
            return None
    return found if found.parameters["config"] == str(path) else None


def runs_of(deployment):
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        return client.read_flow_runs(flow_run_filter=mine, limit=50)


def state_of(run):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id).state


def test_schedules_parameters_and_collisions_are_what_prefect_yaml_says(company):
    built = {
        d.name: d
        for d in build_deployments(
            company.path, cron={"hourly": "", "nightly": "0 3 * * *"}, timezone="Europe/Zurich"
        )
    }
    assert (
        set(built)
        == {"nightly", "hourly", "weekly-full", "plan-only", "audit", "checkins"}
        == {entry["name"] for entry in read_deployments()}
    )
    nightly = built["nightly"]
    assert nightly.parameters == {"config": str(company.path), "what": "sync"}
    assert [(s.schedule.cron, s.schedule.timezone, s.active) for s in nightly.schedules] == [
        ("0 3 * * *", "Europe/Zurich", True)
    ]
    # a limit of the engine's would end a waiting run at a restart of its server; the lease keeps
    # runs apart
    assert all((d.concurrency_limit, d.concurrency_options) == (None, None) for d in built.values())
    assert built["hourly"].schedules == []
    for name in ("weekly-full", "audit", "checkins"):
        assert [s.active for s in built[name].schedules] == [False]
    assert {d.flow_name for d in built.values()} == {
        "essentry-sync", "essentry-audit", "essentry-checkins",
    }  # fmt: skip
    form = nightly._parameter_openapi_schema.model_dump()["properties"]
    assert form["what"]["enum"] == ["sync", "plan", "full"]
    assert "sends nothing" in form["what"]["description"]
    with pytest.raises(ConfigurationError, match="no deployment 'nightli'"):
        build_deployments(company.path, cron={"nightli": "* * * * *"}, timezone=None)
    for wrong in (
        {"cron": {"nightly": "every night"}, "timezone": None},
        {"cron": {}, "timezone": "Berlin"},
    ):
        with pytest.raises(ConfigurationError, match="schedule of nightly is not valid"):
            build_deployments(company.path, **wrong)


def test_serve_runs_by_schedule_and_a_cancelled_run_is_taken_up_by_the_next(company):
    """A run that is due is picked up; one more beside it is skipped; a cancelled one leaves no
    lease, and the next ends in the truth.
    """
    company.write(MEETINGS)
    company.path.write_text(
        company.path.read_text().replace("timeout_seconds = 5", "timeout_seconds = 60")
    )
    company.sandbox.add_faults([{"kind": "hang_after", "seconds": 30, "times": 20}])
    soon = datetime.now(UTC) + timedelta(seconds=25)
    schedule = f"nightly={soon.minute} {soon.hour} * * * {soon.second}"
    with serve(company, "--cron", schedule, "--cron", "hourly=", "--timezone", "UTC"):
        nightly = wait_for(lambda: find_deployment("nightly", company.path), company)
        scheduled = wait_for(
            lambda: [run for run in runs_of(nightly) if run.auto_scheduled], company
        )
        assert (
            min(run.expected_start_time for run in scheduled).strftime("%H:%M:%S")
            == f"{soon:%H:%M:%S}"
        )
        due = wait_for(lambda: [r for r in runs_of(nightly) if r.state.is_running()], company, 120)[
            0
        ]
        assert due.auto_scheduled
        wait_for(lambda: company.sandbox.requests()["puts"], company)
        other = run_deployment("essentry-sync/nightly", timeout=0, as_subflow=False)
        wait_for(lambda: state_of(other).name == "Skipped", company)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(due.id, Cancelling(), force=True)
        wait_for(lambda: state_of(due).is_cancelled(), company)
        with open_state(company.config(), migrate=False) as state:
            assert state.lease_holder() == "nobody"
            ledger = state.load_plan("latest")[1]["state"].value_counts().to_dict()
            assert set(ledger) <= {"planned", "unknown", "confirmed"}
            assert state.runs()["status"].tolist() == ["failed"]
        company.sandbox.clear_faults()
        again = run_deployment(
            "essentry-sync/nightly", timeout=90, poll_interval=1, as_subflow=False
        )
        assert again.state.is_completed(), again.state
    assert company.held() == MEETINGS
    mails = [(mail["kind"], mail["invitation"]) for mail in company.sandbox.mails()]
    assert len(mails) == len(set(mails)) == len(MEETINGS)


def test_a_worker_runs_what_prefect_deploy_makes_of_prefect_yaml(company):
    company.write(MEETINGS)
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for arguments in (
        ["work-pool", "create", "essentry", "--type", "process"],
        ["deploy", "--all"],
    ):
        done = subprocess.run(
            [*prefect, *arguments],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("essentry-sync/nightly")
    assert (nightly.work_pool_name, nightly.schedules[0].schedule.timezone) == (
        "essentry",
        "Europe/Berlin",
    )
    assert nightly.concurrency_options is None
    with process(*prefect, "worker", "start", "--pool", "essentry", folder=company.folder):
        states = [
            run_deployment(
                f"essentry-sync/{name}",
                parameters={"config": str(company.path)},
                timeout=120,
                poll_interval=1,
                as_subflow=False,
            ).state.name
            for name in ("plan-only", "nightly")
        ]
        reads = [
            run_deployment(
                f"essentry-{name}/{name}",
                parameters={"config": str(company.path)},
                timeout=120,
                poll_interval=1,
                as_subflow=False,
            ).state.name
            for name in ("audit", "checkins")
        ]
    assert states == ["Planned", "Completed"], (company.folder / "process.log").read_text()
    assert reads == ["Completed", "Completed"]
    assert company.held() == MEETINGS
