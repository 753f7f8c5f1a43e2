"""The command line as its users meet it: exit codes, messages, no traceback, no secret; real
processes against a real sandbox.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.commands.main import app
from flows.demo.databases import build_demo
from flows.night.session import open_state
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.load_config import load_config
from tests import command

DEMO = Path(__file__).parent.parent.parent / "data" / "demo" / "essentry-sync.toml"
AS_OF = "2026-11-24T01:00:00+00:00"
SECRET = "tok-very-secret"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = command.run(*arguments, **environment)
    assert SECRET not in done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer(SandboxSettings(token=SECRET)) as server:
        yield server


@pytest.fixture
def home(tmp_path, sandbox, monkeypatch):
    sandbox.reset()
    (tmp_path / DEMO.name).write_bytes(DEMO.read_bytes())
    build_demo(tmp_path, night=1, anchor=datetime(2026, 11, 24, tzinfo=UTC).date())
    monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__BASE_URL", sandbox.base_url)
    monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__RETRY_BUDGET_SECONDS", "0.5")
    monkeypatch.setenv("ESSENTRY_TOKEN", SECRET)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    monkeypatch.setenv("ESSENTRY_SYNC_CONFIG", str(tmp_path / DEMO.name))
    return tmp_path


@pytest.mark.share(4)
@pytest.mark.parametrize(
    "name", sorted(c.name or c.callback.__name__ for c in app.registered_commands)
)
def test_every_command_explains_itself(name):
    done = run(name, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_plan_sends_nothing_and_apply_sends_it_once(home, sandbox):
    planned = run("plan", "--as-of", AS_OF, "--json")
    assert planned.returncode == 0, planned.stderr
    report = json.loads(planned.stdout)
    assert sandbox.requests()["puts"] == 0
    applied = run("apply", "latest", "--as-of", AS_OF)
    # its unreadable rows are told for the first time
    assert applied.returncode == 3, applied.stderr + applied.stdout
    assert len(sandbox.state()["events"]) == report["counts"]["create"]
    again = run("apply", report["plan"]["plan_id"], "--as-of", AS_OF)
    assert again.returncode == 2
    assert "is applied" in again.stderr
    assert "run_id" in run("runs").stdout
    assert run("report").stdout.startswith("# essentry-sync")
    assert "host has left the company" in json.dumps(
        json.loads(run("quarantine", report["run"]["run_id"], "--json").stdout)
    )


def test_first_run_waits_for_an_approval_and_no_more_than_that_is_released(home, sandbox):
    ask = {"ESSENTRY_SYNC_GUARDS__APPROVE_FIRST_RUN": "true"}
    planned = run("plan", "--as-of", AS_OF, **ask)
    assert "approve_first_run" in planned.stdout
    refused = run("apply", "latest", "--as-of", AS_OF, **ask)
    assert refused.returncode == 4
    assert "approve" in refused.stderr
    assert sandbox.requests()["puts"] == 0
    assert (
        run("approve", "latest", "--by", "test", "--reason", "numbers read", **ask).returncode == 0
    )
    assert run("apply", "latest", "--as-of", AS_OF, **ask).returncode == 3
    assert sandbox.requests()["puts"] > 0


def test_retire_forgets_a_source_without_a_call(home, sandbox):
    run("plan", "--as-of", AS_OF)
    run("apply", "latest", "--as-of", AS_OF)
    requests = sandbox.requests()
    still_named = run("retire", "hr", "--yes")
    assert still_named.returncode == 2
    assert "remove it first" in still_named.stderr
    path = home / DEMO.name
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text[: text.index("[sources.hr]")] + text[text.index("[window]") :], encoding="utf-8"
    )
    missing = run("plan", "--as-of", AS_OF)
    assert missing.returncode == 2
    assert "retire hr" in missing.stderr
    assert "rename hr NEW" in missing.stderr
    unanswered = run("retire", "hr")
    assert unanswered.returncode == 2
    assert "--yes" in unanswered.stderr
    with open_state(load_config(path)) as state:
        now = datetime.now(UTC)
        assert state.acquire_lease("elsewhere:1", "r1", now=now, seconds=600)
        assert run("retire", "hr", "--yes").returncode == 4
        state.release_lease("elsewhere:1")
    assert run("plan", "--as-of", AS_OF).returncode == 2  # nothing was forgotten so far
    assert run("retire", "hr", "--yes").returncode == 0
    assert run("retire", "hr", "--yes").returncode == 2
    assert run("plan", "--as-of", AS_OF).returncode == 0
    assert sandbox.requests() == requests


def test_json_parses_and_nothing_else_is_printed(home, sandbox):
    planned = json.loads(run("plan", "--as-of", AS_OF, "--json").stdout)
    assert planned["load"] is None
    dry = json.loads(run("sync", "--dry-run", "--as-of", AS_OF, "--json").stdout)
    assert dry["counts"] == planned["counts"]
    assert sandbox.requests()["puts"] == 0
    applied = json.loads(run("apply", "latest", "--as-of", AS_OF, "--json").stdout)
    assert applied["outcomes"] == {"confirmed": planned["counts"]["create"]}
    assert [row["kind"] for row in json.loads(run("runs", "--json").stdout)] == [
        "apply",
        "plan",
        "plan",
    ]
    assert json.loads(run("report", "--json").stdout)["run"]["kind"] == "apply"


def test_guard_trips_and_an_approval_releases_that_plan(home, sandbox):
    run("plan", "--as-of", AS_OF)
    assert run("apply", "latest", "--as-of", AS_OF).returncode == 3
    puts = sandbox.requests()["puts"]
    build_demo(home, night=2, anchor=datetime(2026, 11, 24, tzinfo=UTC).date())
    tight = {"ESSENTRY_SYNC_GUARDS__MAX_PEOPLE_MAILED": "0"}
    night = "2026-11-25T01:00:00+00:00"
    planned = run("plan", "--as-of", night, **tight)
    assert planned.returncode == 0
    assert "guard max_people_mailed" in planned.stdout
    refused = run("apply", "latest", "--as-of", night, **tight)
    assert (refused.returncode, sandbox.requests()["puts"]) == (4, puts)
    assert "waits for approval" in refused.stderr
    assert run("approve", "latest", "--reason", "read", **tight).returncode == 0
    # its odd rows are those of the first night, which told them
    assert run("apply", "latest", "--as-of", night, **tight).returncode == 0
    assert sandbox.requests()["puts"] > puts
    assert run("approve", "latest", **tight).returncode == 2


@pytest.mark.share(2)
@pytest.mark.parametrize(
    "arguments",
    [("plan", "--as-of", AS_OF), ("runs",), ("retire", "hr"), ("doctor",), ("approve", "latest")],
)
def test_commands_that_need_no_engine_do_not_import_it(home, arguments):
    command = [sys.executable, "-X", "importtime", "-m", "flows", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "flows.commands.terminal" in done.stderr or "flows.night.steps" in done.stderr
    assert "prefect" not in done.stderr


@pytest.mark.prefect
def test_sync_with_a_wrong_token_ends_with_its_code(home, sandbox):
    wrong = run("sync", "--as-of", AS_OF, ESSENTRY_TOKEN="another-token")
    assert wrong.returncode == 6, wrong.stderr
    assert "another-token" not in wrong.stdout + wrong.stderr
    assert sandbox.state()["events"] == {}


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (("plan", "--config", "nowhere.toml"), {}, 2, "no configuration at"),
        (("plan",), {"ESSENTRY_AGENT_TOKEN": ""}, 2, "ESSENTRY_AGENT_TOKEN is not set"),
        (("plan", "--as-of", "yesterday"), {}, 2, "ISO 8601"),
        (("plan", "--as-of", "2026-11-24"), {}, 2, "no zone"),
        (
            ("plan",),
            {"ESSENTRY_SYNC_ESSENTRY__BASE_URL": "http://app.essentry.com"},
            2,
            "use https",
        ),
        (
            ("plan",),
            {"ESSENTRY_SYNC_GUARDS__MAX_MAILS_PER_GUEST": "many"},
            2,
            "max_mails_per_guest",
        ),
        (("plan",), {"ESSENTRY_SYNC_ESSENTRY__BASE_ULR": "x"}, 2, "base_ulr"),
        (
            ("plan",),
            {"ESSENTRY_SYNC_STATE__URL": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/x"},
            2,
            "check that the database runs",
        ),
        (
            ("plan",),
            {"ESSENTRY_SYNC_SOURCES__HR__URL": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/x"},
            5,
            "source hr",
        ),
        (("apply", "latest"), {"ESSENTRY_TOKEN": ""}, 2, "ESSENTRY_TOKEN is not set"),
        (("runs",), {}, 2, "there is no state store"),
        (("apply", "nothing"), {}, 2, "there is no plan"),
        (
            ("plan",),
            {"ESSENTRY_SYNC_SOURCES__HR__URL": "sqlite:///gone.sqlite"},
            5,
            "there is no database file",
        ),
    ],
)
def test_mistakes_end_with_their_code_and_one_message(home, arguments, environment, code, words):
    done = run(*arguments, **environment)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unreachable_and_unauthorised_essentry(home, sandbox):
    run("plan", "--as-of", AS_OF)
    wrong = run("apply", "latest", "--as-of", AS_OF, ESSENTRY_TOKEN="another-token")
    assert wrong.returncode == 6
    assert "another-token" not in wrong.stdout + wrong.stderr
    assert len(sandbox.state()["events"]) == 0
    closed = run(
        "apply",
        "latest",
        "--as-of",
        AS_OF,
        ESSENTRY_SYNC_ESSENTRY__BASE_URL="http://127.0.0.1:9/api/v2",
    )
    assert closed.returncode == 6
    assert run("apply", "latest", "--as-of", AS_OF).returncode == 3
    assert len(sandbox.state()["events"]) > 1000
