"""One run at a time, with processes that are really stopped and killed: on a state in SQLite and in
PostgreSQL.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator

import pytest
from home import Home

from flows.sandbox.server import SandboxServer
from tests.sources.databases import database


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request, tmp_path, sandbox) -> Iterator[Home]:
    sandbox.reset()
    if request.param == "sqlite":
        yield Home(tmp_path, sandbox)
        return
    with database("postgresql", tmp_path) as engine:
        yield Home(
            tmp_path,
            sandbox,
            engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False),
        )


def test_second_run_leaves_with_a_message_or_waits(home, sandbox):
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_before", "seconds": 4}])
    with home.start("apply", "latest") as first:
        home.wait_for_puts(1)
        second = home.run("plan")
        assert second.code == 4
        assert "another run works on this state" in second.err
        assert f"on {socket.gethostname()}, process {first.pid}, until" in second.err
        assert "Traceback" not in second.err
        waiting = home.run("plan", ESSENTRY_SYNC_STATE__LEASE_WAIT_SECONDS="30")
        assert (waiting.code, waiting.err) == (0, "")
        assert first.wait().code == 0
    home.assert_truth()


def test_killed_holder_blocks_no_longer_than_its_lease(home, sandbox):
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_before", "seconds": 1}])
    with home.start("apply", "latest") as first:
        home.wait_for_puts(1)
        first.signal(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
    refused = home.run("plan")
    assert refused.code == 4
    assert "ends by itself after 5 seconds" in refused.err
    assert home.run("plan", ESSENTRY_SYNC_STATE__LEASE_WAIT_SECONDS="20").code == 0
    assert "events of a killed run 2" in home.report()
    home.assert_truth()


def test_paused_holder_sends_nothing_after_it_was_replaced(home, sandbox):
    assert home.run("plan").code == 0
    sandbox.add_faults([{"kind": "hang_before", "seconds": 0.5}])
    with home.start("apply", "latest") as first:
        home.wait_for_puts(1)
        first.signal(signal.SIGSTOP)
        assert home.run("plan", ESSENTRY_SYNC_STATE__LEASE_WAIT_SECONDS="20").code == 0
        # while the first is asleep the company goes on, and the second sends what is true by now
        event = next(event for event in home.company.events.values() if event.key == "3")
        event.name = "newer"
        home.company.write(home.folder, {})
        home.assert_truth()
        puts, mails = sandbox.requests()["puts"], sandbox.mails()
        first.signal(signal.SIGCONT)
        ended = first.wait()
    assert ended.code == 4
    assert "raise state.lease_seconds" in ended.err or "may have been replaced" in ended.err
    time.sleep(0.2)
    assert sandbox.requests()["puts"] == puts
    assert sandbox.mails() == mails
    home.assert_truth()
    # what the first has learned too late has not changed the state
    assert sandbox.requests()["puts"] == puts
