"""What a failing state store does to a night: one clear message, exit code 2, nothing sent before
it is safe; the next run ends in the truth.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from home import Home, fill_disk

from flows.sandbox.server import SandboxServer
from tests.chaos.process import Done
from tests.sources.databases import POSTGRESQL, database


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def home(tmp_path, sandbox) -> Home:
    sandbox.reset()
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home", sandbox)


def assert_refused(done: Done, *words: str) -> None:
    assert done.code == 2, done.err
    for text in words:
        assert text in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_disk_full_before_the_first_request(home, disk, sandbox):
    where = {"ESSENTRY_SYNC_STATE__URL": f"sqlite:///{disk}/state.sqlite"}
    home.environment |= where
    assert home.run("plan").code == 0
    filler = fill_disk(disk)
    assert_refused(home.run("apply", "latest"), "make room")
    assert sandbox.requests()["puts"] == 0
    filler.unlink()
    home.assert_truth()


def test_disk_full_between_request_and_outcome(home, disk, sandbox):
    home.environment["ESSENTRY_SYNC_STATE__URL"] = f"sqlite:///{disk}/state.sqlite"
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_after", "seconds": 1}])
    with home.start("apply", "latest") as command:
        home.wait_for_puts(1)
        filler = fill_disk(disk)
        assert_refused(command.wait(), "make room")
    assert sandbox.requests()["puts"] == 1
    assert "make room" in home.report()
    filler.unlink()
    # not even the lease could be given back
    assert home.run("plan", ESSENTRY_SYNC_STATE__LEASE_WAIT_SECONDS="20").code == 0
    home.assert_truth()
    assert {mail["kind"] for mail in sandbox.mails()} == {"invited"}


def test_disk_full_under_the_reports(home, disk, sandbox):
    home.environment["ESSENTRY_SYNC_REPORT__DIRECTORY"] = str(disk / "runs")
    assert home.run("plan").code == 0
    filler = fill_disk(disk)
    applied = home.run("apply", "latest")
    assert_refused(applied, "the report in", "make room", "what the run did is in the state store")
    # it was sent, and is remembered
    assert len(sandbox.state()["events"]) == len(home.company.truth())
    filler.unlink()
    runs = json.loads(home.run("runs", "--json").out)
    assert [run["kind"] for run in runs] == ["apply", "plan"]
    assert runs[0]["status"] == "done"
    assert home.run("plan").code == 0
    assert sandbox.requests()["puts"] == 5


def _limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_writes_that_fail(home, sandbox):
    assert home.run("plan").code == 0
    assert_refused(home.run("apply", "latest", before=_limit_file_size), "make room or mend it")
    assert sandbox.requests()["puts"] == 0
    home.assert_truth()


def test_read_only_disk(home, disk, sandbox):
    home.environment["ESSENTRY_SYNC_STATE__URL"] = f"sqlite:///{disk}/state.sqlite"
    assert home.run("plan").code == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert_refused(home.run("apply", "latest"), "right")
    assert sandbox.requests()["puts"] == 0
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    home.assert_truth()


def _wait_a_second() -> None:
    from flows.state import engine as state_open

    state_open.BUSY_SECONDS = 1


def test_locked_by_another_program(home, sandbox):
    assert home.run("plan").code == 0
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = ["python", "-c", script, home.folder / "state.sqlite"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert_refused(
            home.run("apply", "latest", before=_wait_a_second),
            "another program holds it; end that program",
        )
        other.communicate("")
    assert sandbox.requests()["puts"] == 0
    home.assert_truth()


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)


def _age(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_damage, "backup"),
        (lambda path: path.write_bytes(b"no database " * 1000), "is no SQLite database"),
        (_age, "written by a newer essentry-sync"),
    ],
    ids=["damaged", "no database", "newer"],
)
def test_spoilt_file_and_the_way_back(home, sandbox, spoil, words):
    assert home.run("plan").code == 0
    file = home.folder / "state.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(file, home.folder / "backup")
    spoil(file)
    for leftover in ("state.sqlite-wal", "state.sqlite-shm"):
        (home.folder / leftover).unlink(missing_ok=True)
    assert_refused(home.run("apply", "latest"), words)
    assert_refused(home.run("plan"), words)
    assert sandbox.requests()["puts"] == 0
    shutil.copy(home.folder / "backup", file)
    home.assert_truth()


def test_file_that_is_empty_is_made_anew_by_a_plan_and_read_by_no_other(home, sandbox):
    (home.folder / "state.sqlite").touch()
    assert_refused(home.run("runs"), "run `essentry-sync plan`")
    home.assert_truth()


def test_clock_that_was_put_back(home, sandbox):
    assert home.run("plan").code == 0
    real = {"ESSENTRY_SYNC_ESSENTRY__BASE_URL": "https://essentry.invalid/api/v2"}
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with sqlite3.connect(home.folder / "state.sqlite") as connection:
        connection.execute(
            "UPDATE identity SET base_url = ?", [real["ESSENTRY_SYNC_ESSENTRY__BASE_URL"]]
        )
        values = ("r1", "sync", "done", round(tomorrow.timestamp() * 1_000_000))
        connection.execute(
            "INSERT INTO runs (run_id, kind, status, as_of, started_at) VALUES (?, ?, ?, ?, 1)",
            values,
        )
        # and that run was killed later: no run could hold a lease for so long
        later = round((tomorrow + timedelta(hours=1)).timestamp() * 1_000_000)
        connection.execute(
            "INSERT INTO lease (id, holder, run_id, expires_at) VALUES (1, 'here:1:r2', 'r2', ?)",
            [later],
        )
    connection.close()
    assert_refused(
        home.run("apply", "latest", **real), "is before the last run", "correct the clock"
    )
    with sqlite3.connect(home.folder / "state.sqlite") as connection:
        connection.execute("UPDATE identity SET base_url = ?", [sandbox.base_url])
    connection.close()
    assert sandbox.requests()["puts"] == 0
    home.assert_truth()


# -- PostgreSQL ------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"{POSTGRESQL}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def on_postgresql(tmp_path, sandbox) -> Iterator[tuple[Home, str]]:
    sandbox.reset()
    with database("postgresql", tmp_path) as engine:
        url = engine.url.set(drivername="postgresql+psycopg")
        yield Home(tmp_path, sandbox, url.render_as_string(hide_password=False)), str(url.database)


TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"


def test_connections_that_die_between_two_writes_are_replaced(on_postgresql, server, sandbox):
    home, name = on_postgresql
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_after", "seconds": 0.7}])
    with home.start("apply", "latest") as command:
        home.wait_for_puts(1)
        assert server.exec_driver_sql(TERMINATE, (name,)).scalar() >= 1
        done = command.wait()
    assert (done.code, done.err) == (0, "")
    puts = sandbox.requests()["puts"]
    home.assert_truth()
    assert sandbox.requests()["puts"] == puts


def test_server_that_goes_away_in_the_middle_of_a_night(on_postgresql, server, sandbox):
    home, name = on_postgresql
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_after", "seconds": 1.5}])
    with home.start("apply", "latest") as command:
        home.wait_for_puts(1)
        server.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.exec_driver_sql(TERMINATE, (name,))
        assert_refused(command.wait(), "cannot be used", "check that the database runs")
    assert sandbox.requests()["puts"] == 1
    assert "cannot be used" in home.report()
    assert_refused(home.run("plan"), "cannot be used")
    server.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    waiting = home.run("plan", ESSENTRY_SYNC_STATE__LEASE_WAIT_SECONDS="20")
    assert waiting.code == 0, waiting.err
    home.assert_truth()
    assert {mail["kind"] for mail in sandbox.mails()} == {"invited"}
