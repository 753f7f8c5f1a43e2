"""Opening a state store: who may, what is there, and what its failures say."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from states import hold, plan, snapshot

from flows.state import engine as state_open
from flows.state import tables as t
from flows.state.store import State
from schemas.errors import StateError


def test_readers_do_not_wait_for_a_writer(tmp_path):
    url = f"sqlite:///{tmp_path}/state.sqlite"
    with State.open(url) as writer:
        hold(writer, "p1", {"source_id": "lb-1"})
        with writer.engine.begin() as connection:
            connection.execute(t.snapshot_events.delete())
            with State.open(url, migrate=False) as reader:
                assert set(snapshot(reader)) == {"lb-1"}
    with State.open(url) as again:
        assert snapshot(again) == {}


# -- failures --------------------------------------------------------------------------------------


def refusal(url: str, **options: Any) -> str:
    with pytest.raises(StateError) as caught, State.open(url, **options):
        pass
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_is_its_owners_alone(tmp_path):
    with State.open(f"sqlite:///{tmp_path}/new/state.sqlite") as state:
        hold(state, "p1", {"source_id": "lb-1"})
        files = list((tmp_path / "new").iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_no_store_yet(tmp_path):
    assert "run `essentry-sync plan`" in refusal(
        f"sqlite:///{tmp_path}/state.sqlite", migrate=False
    )
    assert not list(tmp_path.iterdir())
    (tmp_path / "state.sqlite").touch()
    assert "run `essentry-sync plan`" in refusal(
        f"sqlite:///{tmp_path}/state.sqlite", migrate=False
    )


def test_file_that_is_no_database(tmp_path):
    (tmp_path / "state.sqlite").write_text("name,starts_at\n" * 500, encoding="utf-8")
    assert "is no SQLite database: correct state.url" in refusal(
        f"sqlite:///{tmp_path}/state.sqlite"
    )
    (tmp_path / "folder").mkdir()
    assert "correct state.url" in refusal(f"sqlite:///{tmp_path}/folder")


def test_damaged_file(tmp_path):
    file = tmp_path / "state.sqlite"
    with State.open(f"sqlite:///{file}") as state:
        plan(state, "p1", *({"source_id": f"lb-{n}"} for n in range(2_000)))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    file.write_bytes(content)

    def read_everything() -> None:
        with State.open(f"sqlite:///{file}") as state:
            state.load_plan("p1")

    with pytest.raises(StateError, match="put a backup in its place"):
        read_everything()


def test_store_of_a_newer_version(state, url):
    with state.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert "newer essentry-sync (form 9999): upgrade" in refusal(url)
    assert "newer essentry-sync" in refusal(url, migrate=False)


def test_locked_file(tmp_path, monkeypatch):
    monkeypatch.setattr(state_open, "BUSY_SECONDS", 1)
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        holder = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="another program holds it; end that program"):
            state.guest_numbers("hr", ["a"])
        holder.execute("ROLLBACK")
        holder.close()
        assert state.guest_numbers("hr", ["a"]) == {"a": 10}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense s3cret", "no database URL"),
        ("postgresql://me:s3cret@host:port/x", "no database URL"),
        ("mysql+pymysql://me:s3cret@127.0.0.1/x", "SQLite or PostgreSQL"),
        ("postgresql+nodriver://me:s3cret@127.0.0.1/x", "no driver"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql+psycopg://me:s3cret@127.0.0.1:1/x", "check that the database runs"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?password=s3cret", "check that the database runs"),
    ],
)
def test_bad_urls_and_dead_servers(url, words):
    assert words in refusal(url)


def _open_as_nobody(url: str, answers: Any) -> None:
    os.setgid(65534)
    os.setuid(65534)
    try:
        with State.open(url) as state:
            state.guest_numbers("hr", ["a"])
        answers.put("opened")
    except StateError as error:
        answers.put(str(error))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("existing", [True, False])
def test_no_right_to_write(existing):
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "state.sqlite"
        if existing:
            with State.open(f"sqlite:///{file}"):
                pass
            file.chmod(0o644)
        Path(name).chmod(0o755)
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        process = context.Process(target=_open_as_nobody, args=(f"sqlite:///{file}", answers))
        process.start()
        message = answers.get(timeout=60)
        process.join()
    assert "right" in message
    assert str(file) in message
