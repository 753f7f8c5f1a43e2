"""A load that ends early, or may not delete: what was begun is recorded, the rest stays planned."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest
from loads import NOW, MemoryLedger, make_client, make_config, send
from wire import make_item, make_items

from flows.essentry.items import Item
from flows.night import load
from flows.night.load import send_changes_async
from flows.sandbox.server import SandboxServer
from schemas.config_essentry import EssentryConfig
from schemas.errors import EssentryUnauthorised, SourceError, StateError

# --- deletes are confirmed just before they go ---


def test_s02_deletes_without_proof_are_held(sandbox: SandboxServer) -> None:
    config = make_config(sandbox.base_url)
    send(config, MemoryLedger(), [make_items(30)])
    asked: list[int] = []

    def confirm(items: Sequence[Item]) -> Collection[int]:
        asked.extend(item.seq for item in items)
        return [item.seq for item in items if item.seq % 3]

    ledger = MemoryLedger()
    changes = [make_item(n, action="delete" if n < 20 else "update") for n in range(30)]
    result = send(config, ledger, [changes], confirm_delete=confirm)
    assert result.counts == {"confirmed": 23, "held": 7}
    assert sorted(asked) == list(range(20))
    assert sandbox.state()["tombstones"].keys() == {f"rooms-{n}" for n in range(20) if n % 3}
    assert {n for n, state in ledger.states.items() if state == "held"} == set(range(0, 20, 3))


def test_s02_source_that_cannot_be_asked_holds_the_deletes(sandbox: SandboxServer) -> None:
    config = make_config(sandbox.base_url)
    send(config, MemoryLedger(), [make_items(5)])

    def confirm(items: Sequence[Item]) -> Collection[int]:
        raise SourceError("rooms: no connection")

    changes = [make_item(n, action="delete" if n < 3 else "update") for n in range(5)]
    result = send(config, MemoryLedger(), [changes], confirm_delete=confirm)
    assert result.counts == {"confirmed": 2, "held": 3}
    assert len(sandbox.state()["events"]) == 5


# --- ends early ---


def test_stop_begins_no_further_batch(sandbox: SandboxServer) -> None:
    ledger = MemoryLedger()
    config = make_config(sandbox.base_url, concurrency=1)
    result = send(config, ledger, [make_items(200)], stop=lambda: len(ledger.marks) >= 5)
    assert result.stopped
    assert not result.complete
    assert result.error is None
    assert 50 <= result.counts["confirmed"] <= 80
    assert "sending" not in ledger.states.values()


def test_refused_token_ends_the_load(sandbox: SandboxServer) -> None:
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url), ledger, [make_items(200)], token="wrong")
    assert isinstance(result.error, EssentryUnauthorised)
    assert result.requests <= 3
    assert set(ledger.states.values()) == {"planned"}
    assert sandbox.state()["events"] == {}


def test_token_refused_half_way_keeps_what_was_confirmed(sandbox: SandboxServer) -> None:
    faults = [{"kind": "shuffle", "times": 6}, {"kind": "status", "status": 401}]
    sandbox.add_faults(faults)
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url), ledger, [make_items(200)])
    confirmed = {f"rooms-{seq}" for seq, state in ledger.states.items() if state == "confirmed"}
    assert isinstance(result.error, EssentryUnauthorised)
    assert confirmed == sandbox.state()["events"].keys()
    assert 60 <= len(confirmed) <= 90
    assert set(ledger.states.values()) == {"confirmed", "planned"}


def test_unreachable_essentry_is_an_error_and_nothing_is_sent() -> None:
    with SandboxServer() as sandbox:
        url = sandbox.base_url
    ledger = MemoryLedger()
    started = time.monotonic()
    result = send(make_config(url, retry_budget_seconds=0.3), ledger, [make_items(2000)])
    assert time.monotonic() - started < 3
    assert result.error is not None
    assert (result.error.exit_code, set(ledger.states.values())) == (6, {"planned"})
    assert len(ledger.states) < 100


def test_one_small_load_to_an_unreachable_essentry_is_an_error() -> None:
    with SandboxServer() as sandbox:
        url = sandbox.base_url
    result = send(make_config(url, retry_budget_seconds=0), MemoryLedger(), [make_items(1)])
    assert result.counts == {"planned": 1}
    assert result.error is not None


def test_outage_half_way_ends_the_load(sandbox: SandboxServer) -> None:
    sandbox.add_faults(
        [{"kind": "shuffle", "times": 5}, {"kind": "status", "status": 503, "times": 10_000}]
    )
    ledger = MemoryLedger()
    result = send(
        make_config(sandbox.base_url, retry_budget_seconds=0.3), ledger, [make_items(2000)]
    )
    assert result.error is not None
    assert result.counts["confirmed"] == 50
    assert 30 <= result.counts["unknown"] <= 60
    assert sum(result.counts.values()) < 150


def test_one_batch_without_an_answer_does_not_end_the_load(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "shuffle", "times": 4}, {"kind": "status", "status": 503}])
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url, retry_budget_seconds=0), ledger, [make_items(200)])
    assert result.counts == {"confirmed": 190, "unknown": 10}
    assert result.error is None
    assert not result.complete


def test_batches_without_an_answer_here_and_there_do_not_end_the_load(
    sandbox: SandboxServer,
) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503}, {"kind": "shuffle", "times": 3}] * 4)
    config = make_config(sandbox.base_url, retry_budget_seconds=0, concurrency=1)
    result = send(config, MemoryLedger(), [make_items(200)])
    assert result.counts == {"confirmed": 160, "unknown": 40}
    assert result.error is None


def test_essentry_lost_at_the_very_end_is_an_error(sandbox: SandboxServer) -> None:
    # The second batch is marked after the first is recorded, in the same thread: `stop` comes
    # between them.
    config = make_config(sandbox.base_url, retry_budget_seconds=0.2, concurrency=1)
    result = send(
        config, MemoryLedger(), [make_items(11)], progress=lambda done, total, last: sandbox.stop()
    )
    assert result.counts == {"confirmed": 10, "planned": 1}
    assert result.error is not None


def test_ledger_that_cannot_be_written_sends_nothing(sandbox: SandboxServer) -> None:
    class Full(MemoryLedger):
        def mark_sending(self, *args: Any, **options: Any) -> None:
            raise StateError("the disk is full")

    with pytest.raises(StateError, match="full"):
        send(make_config(sandbox.base_url), Full(), [make_items(200)])
    assert sandbox.requests()["log"] == []


def test_outcome_that_cannot_be_written_stays_sending(sandbox: SandboxServer) -> None:
    class Full(MemoryLedger):
        def record_outcomes(self, *args: Any, **options: Any) -> None:
            if self.count()["confirmed"] >= 20:
                raise StateError("the disk is full")
            super().record_outcomes(*args, **options)

    ledger = Full()
    with pytest.raises(StateError, match="full"):
        send(make_config(sandbox.base_url), ledger, [make_items(500)])
    assert ledger.count()["confirmed"] >= 20
    assert ledger.count()["sending"] >= 10
    marked = {f"rooms-{seq}" for seqs in ledger.marks for seq in seqs}
    assert sandbox.state()["events"].keys() <= marked
    assert len(marked) < 500


def test_pages_that_fail_end_the_load_after_what_is_under_way(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "hang_after", "seconds": 0.3, "times": 100}])
    ledger = MemoryLedger()

    def pages() -> Iterator[list[Item]]:
        yield make_items(21)
        while len(ledger.marks) < 1:
            time.sleep(0.01)
        raise StateError("the plan cannot be read")

    with pytest.raises(StateError, match="plan"):
        send(make_config(sandbox.base_url), ledger, pages())
    confirmed = {f"rooms-{seq}" for seq, state in ledger.states.items() if state == "confirmed"}
    assert set(ledger.states.values()) <= {"confirmed", "planned"}
    assert confirmed == sandbox.state()["events"].keys()


def test_ctrl_c_waits_for_the_answers_under_way(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "hang_after", "seconds": 0.2, "times": 1000}])
    ledger = MemoryLedger()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    # a shell lets what it starts in the background ignore it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            send(make_config(sandbox.base_url), ledger, [make_items(1000)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(ledger.states.values()) <= {"confirmed", "planned"}
    assert {
        f"rooms-{seq}" for seq, x in ledger.states.items() if x == "confirmed"
    } == sandbox.state()["events"].keys()
    assert 30 <= ledger.count()["confirmed"] < 300


def cancel_after(
    seconds: float, config: EssentryConfig, ledger: MemoryLedger, changes: Any
) -> float:
    """Cancel a load; the seconds it took to end after that."""

    async def run() -> float:
        async with make_client(config) as client:
            options: dict[str, Any] = {
                "plan_id": "plan-1",
                "run_id": "run-1",
                "clock": lambda: NOW,
                "config": config,
            }
            task = asyncio.create_task(
                send_changes_async(changes, client=client, ledger=ledger, **options)
            )
            await asyncio.sleep(seconds)
            task.cancel()
            cancelled = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - cancelled

    return asyncio.run(run())


def test_cancelled_load_records_what_is_not_answered_as_unknown(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "GRACE_SECONDS", 0.1)
    sandbox.add_faults([{"kind": "hang_after", "seconds": 3.0, "times": 3}])
    ledger = MemoryLedger()
    cancel_after(0.5, make_config(sandbox.base_url, timeout_seconds=30), ledger, [make_items(100)])
    assert ledger.count() == {"unknown": 30}
    assert set(ledger.codes.values()) == {"INTERRUPTED"}


def test_cancelled_load_does_not_wait_for_another_try(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503, "retry_after": 60, "times": 3}])
    ledger = MemoryLedger()
    config = make_config(sandbox.base_url, retry_budget_seconds=300)
    assert cancel_after(0.5, config, ledger, [make_items(100)]) < load.GRACE_SECONDS - 1
    # exactly what essentry was asked is unknown; the first 503 may hold the other two batches back
    assert ledger.count()["unknown"] == 10 * sandbox.requests()["puts"] > 0
    assert set(ledger.states.values()) <= {"unknown", "planned"}


def test_load_cancelled_while_it_marks_takes_the_rows_back(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "GRACE_SECONDS", 0.05)

    class Slow(MemoryLedger):
        def mark_sending(self, *args: Any, **options: Any) -> None:
            time.sleep(0.5)
            super().mark_sending(*args, **options)

    ledger = Slow()
    cancel_after(0.2, make_config(sandbox.base_url, concurrency=1), ledger, [make_items(10)])
    assert ledger.count() == {"planned": 10}
    assert sandbox.requests()["log"] == []
