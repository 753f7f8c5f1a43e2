"""What `doctor` finds, against a real sandbox and sources with faults, and that it changes
nothing.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.night.session import open_state
from flows.operations.doctor import examine
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from schemas.load_config import load_config
from tests.sources import librebooking
from tests.sources.databases import database

TODAY = datetime(2026, 3, 2, tzinfo=UTC)
SITES = 'sites."1"={location_id=101}\nsites."2"={location_id=102}\nsites."3"={location_id=103}\n'


@pytest.fixture(scope="module")
def server():
    with SandboxServer() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A LibreBooking database with every trap."""
    with database("sqlite", tmp_path_factory.mktemp("doctor")) as engine:
        librebooking.create_schema(engine)
        librebooking.fill(engine, seed=3, today=TODAY, events=150)
        yield Path(str(engine.url.database))


@pytest.fixture
def configured(server, filled, tmp_path, monkeypatch):
    """Writes a configuration around `[sources.rooms]` and loads it."""
    monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
    shutil.copy(filled, tmp_path / "rooms.sqlite")

    def write(source: str, *, base_url: str = server.base_url) -> Config:
        file = tmp_path / "c.toml"
        file.write_text(
            f'[essentry]\nbase_url="{base_url}"\n[sources.rooms]\nurl="sqlite:///rooms.sqlite"\npreset="librebooking"\n{source}',
            encoding="utf-8",
        )
        return load_config(file)

    return write


def lines(config: Config, *, ok: bool) -> str:
    return "\n".join(text for fine, text in examine(config) if fine is ok)


def test_a_healthy_part_is_told_and_no_state_is_made(configured, server, tmp_path) -> None:
    config = configured('internal_domains=["corp.example"]\n' + SITES)
    before = server.state()
    good = lines(config, ok=True)
    assert "source rooms: connected to sqlite:///" in good
    assert "the SELECT of events gives 150 rows with source_event_id, name, starts_at" in good
    assert "knows the token" in good
    assert "clock: within 60 s" in good
    assert "no state yet, the first run creates it" in good
    assert "warning" not in good
    assert not (tmp_path / "data").exists()
    assert server.state()["events"] == before["events"]
    assert server.requests()["puts"] == 0


def test_samples_are_masked_and_five_at_most(configured) -> None:
    text = "\n".join(text for _, text in examine(configured(SITES)))
    assert text.count("sample event") == 5
    assert text.count("sample guest") == 5
    assert "h…@corp.example" in text.lower()
    assert not any(name in text for name in ("host1", "guest1@", "Vörname"))


def test_rows_for_quarantine_are_counted_with_reason_and_key(configured) -> None:
    bad = lines(configured(SITES), ok=False)
    for reason in (
        "ends before it starts",
        "host has left the company",
        "no room and no site",
        "host's e-mail address is malformed",
    ):
        assert f"would be quarantined: {reason}" in bad


def test_sites_that_are_not_mapped_or_not_there(configured) -> None:
    bad = lines(
        configured(
            'sites."1"={location_id=101}\nsites."77"={location_id=1}\nrooms."78"={location_id=1}\n'
        ),
        ok=False,
    )
    assert "sites with events that are not mapped: 2 (Haus 2), 3 (Haus 3), 4 (Haus 4)" in bad
    assert "[sources.rooms.sites] names what the source does not have: 77" in bad
    assert "[sources.rooms.rooms] names what the source does not have: 78" in bad


def test_keys_are_compared_as_rows_are(configured) -> None:
    """Typed with a blank or a tab around it, a key is the same key."""
    bad = lines(
        configured(
            'sites."1 "={location_id=101}\nsites."\\t2"={location_id=1}\nsites." 3"="ignore"\n'
        ),
        ok=False,
    )
    assert "sites with events that are not mapped: 4 (Haus 4)" in bad
    assert "names what the source does not have" not in bad


def test_empty_internal_domains_are_a_warning_only_where_employees_are_left_out(configured) -> None:
    assert "sources.rooms.internal_domains is empty" in lines(configured(SITES), ok=True)
    assert "internal_domains is empty" not in lines(configured('guests="all"\n' + SITES), ok=True)


def test_a_wrong_token_and_an_unreachable_essentry(configured, monkeypatch) -> None:
    assert "gave no answer" in lines(
        configured(SITES, base_url="http://127.0.0.1:9/api/v2"), ok=False
    )
    monkeypatch.setenv("ESSENTRY_TOKEN", "a-wrong-token")
    bad = lines(configured(SITES), ok=False)
    assert "token" in bad
    assert "a-wrong-token" not in bad
    monkeypatch.delenv("ESSENTRY_TOKEN")
    assert "ESSENTRY_TOKEN is not set" in lines(configured(SITES), ok=False)


def test_a_clock_that_is_off(configured) -> None:
    class Late(BaseHTTPRequestHandler):
        """An essentry whose clock is two hours behind this machine's."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() - 7200)

    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as late:
        threading.Thread(target=late.serve_forever).start()
        try:
            bad = lines(
                configured(SITES, base_url=f"http://127.0.0.1:{late.server_port}/api/v2"), ok=False
            )
        finally:
            late.shutdown()
    assert re.search(r"this machine is 7,(199|200|201) s ahead of essentry", bad)


def test_a_state_store_that_is_there_or_damaged(configured, tmp_path) -> None:
    config = configured(SITES)
    with open_state(config):
        pass
    assert "at its newest form, 0 runs" in lines(config, ok=True)
    file = tmp_path / "data" / "state" / "essentry-sync.sqlite"
    for leftover in file.parent.glob("*.sqlite-*"):
        leftover.unlink()
    file.write_bytes(b"no database at all" * 100)
    assert "state store" in lines(config, ok=False)


def test_a_broken_select_is_one_line_and_the_rest_is_still_examined(configured, tmp_path) -> None:
    (tmp_path / "rooms.sqlite").unlink()
    config = configured(SITES)
    assert "no database file" in lines(config, ok=False)
    assert "knows the token" in lines(config, ok=True)


def test_the_folder_of_the_parts_is_tried_and_left_empty(configured, tmp_path) -> None:
    config = configured(SITES + '\n[scale]\npartitions = 4\nfolder = "parts"\n')
    assert re.search(r"scale\.folder .*parts: usable, [\d,]+ GB free", lines(config, ok=True))
    assert list((tmp_path / "parts").iterdir()) == []
    (tmp_path / "parts").rmdir()
    (tmp_path / "parts").write_text("a file")
    assert "name a folder that this user may write to" in lines(config, ok=False)
