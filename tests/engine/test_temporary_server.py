"""A temporary Prefect server: asked for by Prefect's own setting; it ends with its process, and one
that does not start holds up no night.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.engine import temporary
from flows.engine.server import server_url, wants_temporary_server
from flows.engine.temporary import ServerFailure, start_temporary_server
from schemas.errors import ConfigurationError
from tests.flows.small import Company

ROOT = Path(__file__).parents[2]
HELD = """
import os, sys, time
import flows.engine.temporary as temporary
try:
    temporary.START_SECONDS = 0.0 if "late" in sys.argv else 600.0
    temporary._is_healthy = lambda port: "late" not in sys.argv
    temporary.start_temporary_server()
    print(temporary._running.process.pid, flush=True)
    time.sleep(600)
except temporary.ServerFailure as failure:
    print(failure, flush=True)
"""


def clean_environment(home: Path, **values: str) -> dict[str, str]:
    """As on a machine that has no Prefect server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(home)} | values


def is_alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes by /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_of_a_killed_run_ends_with_it(number, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", HELD],
        cwd=ROOT,
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        server = int(run.stdout.readline())
        assert is_alive(server)
        run.send_signal(number)
        run.wait(10)
        deadline = time.monotonic() + 20
        while is_alive(server):
            assert time.monotonic() < deadline, "the server goes on without its run"
            time.sleep(0.1)
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def test_a_server_that_does_not_come_is_ended_and_told(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HELD, "late"],
        cwd=ROOT,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "did not answer within 0 seconds" in done.stdout
    assert "PREFECT_API_URL" in done.stdout


def test_a_home_that_cannot_be_made_is_told_with_its_cause_and_tried_once(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("PREFECT_HOME", str(file / "home"))
    monkeypatch.setattr(temporary, "_failure", None)
    monkeypatch.setattr(temporary, "_running", None)  # of another test
    with pytest.raises(ServerFailure, match=r"Error: .*PREFECT_HOME") as failure:
        start_temporary_server()
    began = time.monotonic()
    with pytest.raises(ServerFailure) as again:
        start_temporary_server()
    assert again.value is failure.value
    assert time.monotonic() - began < 0.5


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No Prefect settings, and Prefect as if it were not imported."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "asked"),
    [
        ("home/profiles.toml", 'active = "ephemeral"\n[profiles.ephemeral]\n', False),
        (
            "home/profiles.toml",
            'active = "here"\n[profiles.here]\nPREFECT_API_URL = "http://h/api"',
            True,
        ),
        ("prefect.toml", '[api]\nurl = "http://h/api"', True),
        ("prefect.toml", "[logging]\nlevel = 'INFO'", False),
        ("pyproject.toml", "[project]\nurls = {}", False),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://h/api"', True),
        (".env", "DATABASE_URL=x", False),
        (".env", "PREFECT_API_URL=http://h/api", True),
    ],
)
def test_prefect_is_asked_only_where_something_may_name_a_server(file, text, asked, nowhere):
    from flows.engine import server

    (nowhere / file).write_text(text)
    assert server._may_be_configured() is asked
    if not asked:
        assert server_url() is None
        assert "prefect" not in sys.modules


@pytest.mark.parametrize(
    ("value", "wanted"), [("true", True), ("1", True), ("false", False), ("", False)]
)
def test_prefects_own_setting_asks_for_a_temporary_server(value, wanted, nowhere, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_ENABLED", value)
    assert wants_temporary_server() is wanted


RUN = [sys.executable, "-m", "flows", "sync", "--config"]


def run_sync(company: Company, home: Path, **values: str) -> subprocess.CompletedProcess[str]:
    company.write({"1": ["ada@out.example"]})
    environment = clean_environment(home, **values)
    return subprocess.run(
        [*RUN, str(company.path)],
        cwd=company.folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_without_a_server_the_night_runs_without_the_engine(company, tmp_path):
    done = run_sync(company, tmp_path / "home")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Prefect: no server is configured" in done.stdout
    assert "done: 1 change" in done.stdout
    assert company.held() == {"1": ["ada@out.example"]}
    assert not (tmp_path / "home").exists()  # Prefect was not even imported


def test_a_temporary_server_that_does_not_start_is_done_without(company, tmp_path):
    (tmp_path / "file").touch()
    done = run_sync(company, tmp_path / "file" / "home", PREFECT_SERVER_EPHEMERAL_ENABLED="true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Prefect's temporary server did not start" in done.stdout
    assert company.held() == {"1": ["ada@out.example"]}


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("[api\nurl = 1", {}),
        ("", {"PREFECT_API_URL": "http://127.0.0.1:9/api", "SSL_CERT_FILE": "/nowhere/ca.pem"}),
        ("", {"PREFECT_API_URL": "http://[bad"}),
        ("", {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_API_REQUEST_TIMEOUT": "soon"}),
    ],
)
def test_settings_that_prefect_cannot_read_are_one_message(file, values, company, tmp_path):
    if file:
        (company.folder / "prefect.toml").write_text(file)
    done = run_sync(company, tmp_path / "home", **values)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Prefect" in done.stderr
    assert company.held() == {}


def test_configuration_error_is_what_it_is():
    assert issubclass(ServerFailure, ConfigurationError)
