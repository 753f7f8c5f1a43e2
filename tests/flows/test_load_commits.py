"""Writes of the load that wait for one commit share the next: what is sent is committed before, and
a failure is every one's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from loads import MemoryLedger, make_config, send
from wire import make_items

from flows.sandbox.server import SandboxServer
from schemas.errors import StateError
from schemas.ledger import Outcome


class SlowLedger(MemoryLedger):
    """A disk that takes its time, and is full at one commit. Keeps how many events each write
    marked and recorded.
    """

    def __init__(self, sandbox: SandboxServer, *, full_at: int | None = None) -> None:
        super().__init__(sandbox)
        self.groups: list[tuple[int, int]] = []
        self.full_at = full_at
        self.not_marked: set[int] = set()

    def write_down(
        self, plan_id: str, sending: Sequence[int], outcomes: Sequence[Outcome], **options: Any
    ) -> None:
        self.groups.append((len(sending), len(outcomes)))
        super().write_down(plan_id, sending, outcomes, **options)

    def commit(self, sending: Sequence[int]) -> None:
        time.sleep(0.1)
        assert not {f"rooms-{seq}" for seq in sending} & self.sent(), "sent before its commit"
        if len(self.groups) == self.full_at:
            self.not_marked = set(sending)
            raise StateError("the disk is full")

    def sent(self) -> set[str]:
        assert self.sandbox is not None
        return set(self.sandbox.state()["events"])


def test_batches_share_commits_and_none_is_sent_before_its_own(sandbox: SandboxServer) -> None:
    ledger = SlowLedger(sandbox)
    result = send(make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)])
    assert result.counts == {"confirmed": 300}
    assert (
        sum(marked for marked, _ in ledger.groups)
        == sum(recorded for _, recorded in ledger.groups)
        == 300
    )
    assert max(ledger.groups)[0] >= 20
    assert any(marked and recorded for marked, recorded in ledger.groups)
    assert len(ledger.groups) <= 30  # it would be 60


@pytest.mark.parametrize("full_at", [1, 2, 3, 6])
def test_commit_that_fails_marks_none_of_its_batches_and_each_of_them_hears_of_it(
    sandbox: SandboxServer, full_at: int
) -> None:
    ledger = SlowLedger(sandbox, full_at=full_at)
    with pytest.raises(StateError, match="full"):
        send(make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)])
    assert not {f"rooms-{seq}" for seq in ledger.not_marked} & ledger.sent()
    assert not ledger.not_marked & ledger.states.keys()
    # what was sent is confirmed, or still marked: nothing is lost
    assert ledger.sent() <= {
        f"rooms-{seq}" for seq, state in ledger.states.items() if state in ("confirmed", "sending")
    }
    assert len(ledger.groups) <= full_at + 3  # and nothing new is begun


def test_stop_is_asked_before_each_commit_that_begins_batches(sandbox: SandboxServer) -> None:
    ledger = SlowLedger(sandbox)
    asked: list[int] = []

    def stop() -> bool:
        ledger.threads.add(threading.get_ident())
        asked.append(len(ledger.groups))
        return len(asked) == 3

    result = send(
        make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)], stop=stop
    )
    assert (result.stopped, result.error) == (True, None)
    assert set(ledger.states.values()) == {"confirmed"}
    assert all(not marked for marked, _ in ledger.groups[asked[2] :])
    assert len(ledger.threads) == 1


def test_stop_that_fails_begins_nothing_and_loses_no_outcome(sandbox: SandboxServer) -> None:
    ledger = SlowLedger(sandbox)

    def stop() -> bool:
        if len(ledger.groups) >= 3:
            raise StateError("who holds the lease?")
        return False

    with pytest.raises(StateError, match="lease"):
        send(make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)], stop=stop)
    assert set(ledger.states.values()) == {"confirmed"}
    assert {f"rooms-{seq}" for seq in ledger.states} == ledger.sent()


def test_progress_that_fails_takes_nothing_back(sandbox: SandboxServer) -> None:
    ledger = MemoryLedger(sandbox)

    def progress(done: int, total: int | None, last: Sequence[Outcome]) -> None:
        raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="terminal"):
        send(make_config(sandbox.base_url), ledger, [make_items(300)], progress=progress)
    assert set(ledger.states.values()) <= {"confirmed", "planned"}
    assert {f"rooms-{seq}" for seq, x in ledger.states.items() if x == "confirmed"} == set(
        sandbox.state()["events"]
    )
