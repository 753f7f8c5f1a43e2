"""The load against the sandbox, with a ledger that keeps its rows in memory and checks the order of its calls."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import AGENT, make_item, make_items

from flows import load
from flows.client import EssentryClient, Item
from flows.load import LoadResult, build_batches, read_page, send_changes, send_changes_async
from flows.sandbox import SandboxServer
from flows.state import State
from schemas.config import EssentryConfig
from schemas.errors import EssentryUnauthorised, SourceError, StateError
from schemas.ledger import Outcome

NOW = datetime(2026, 11, 24, 0, 18, tzinfo=UTC)


class MemoryLedger:
    """Rows by seq. Insists on one thread, on marking before recording, and on marking before essentry has the event."""

    def __init__(self, sandbox: SandboxServer | None = None) -> None:
        self.states: dict[int, str] = {}
        self.codes: dict[int, str | None] = {}
        self.marks: list[list[int]] = []
        self.writes = 0
        self.threads: set[int] = set()
        self.sandbox = sandbox

    def write_down(self, plan_id: str, sending: Sequence[int], outcomes: Sequence[Outcome], *, run_id: str, now: datetime) -> None:
        """All or nothing: what was there before comes back when a part fails."""
        before = dict(self.states), dict(self.codes), list(self.marks)
        try:
            if outcomes:
                self.record_outcomes(plan_id, outcomes, run_id=run_id, now=now)
            if sending:
                self.mark_sending(plan_id, sending, run_id=run_id, now=now)
            self.commit(sending)
        except BaseException:
            self.states, self.codes, self.marks = before
            raise
        self.writes += 1

    def mark_sending(self, plan_id: str, seqs: Sequence[int], *, run_id: str, now: datetime) -> None:
        assert (plan_id, run_id, now) == ("plan-1", "run-1", NOW)
        assert not set(seqs) & self.states.keys(), "sent twice"
        if self.sandbox is not None:
            assert not {f"rooms-{seq}" for seq in seqs} & self.sandbox.state()["events"].keys()
        self.threads.add(threading.get_ident())
        self.marks.append(list(seqs))
        self.states |= dict.fromkeys(seqs, "sending")

    def record_outcomes(self, plan_id: str, outcomes: Sequence[Outcome], *, run_id: str, now: datetime) -> None:
        assert (plan_id, run_id, now) == ("plan-1", "run-1", NOW)
        self.threads.add(threading.get_ident())
        for outcome in outcomes:
            assert self.states.get(outcome.seq, "planned") in ("sending", "planned")
            self.states[outcome.seq] = outcome.state
            self.codes[outcome.seq] = outcome.code

    def commit(self, sending: Sequence[int]) -> None:
        """The end of a write, for those that are slow or fail there."""

    def count(self) -> Counter[str]:
        return Counter(self.states.values())


def make_config(url: str, **options: Any) -> EssentryConfig:
    defaults = {"base_url": url, "batch_events": 10, "concurrency": 3, "timeout_seconds": 0.5, "retry_budget_seconds": 2}
    return EssentryConfig(**(defaults | options))


def make_client(config: EssentryConfig, *, token: str = "sandbox-token") -> EssentryClient:
    return EssentryClient(config, token=token, agent_token=AGENT, backoff_seconds=0.02)


def send(config: EssentryConfig, ledger: Any, changes: Any, *, token: str = "sandbox-token", **options: Any) -> LoadResult:
    return send_changes(
        changes,
        client=make_client(config, token=token),
        ledger=ledger,
        plan_id="plan-1",
        run_id="run-1",
        clock=lambda: NOW,
        config=config,
        **options,
    )


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


# --- batches ---


def cut(items: Sequence[Item], **options: Any) -> list[list[int]]:
    limits = {"batch_events": 3, "batch_bytes": 10_000, "envelope_bytes": 70} | options
    return [[item.seq for item in batch] for batch in build_batches([items], **limits)]


def test_batches_are_cut_by_number() -> None:
    assert cut(make_items(7)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_are_cut_by_bytes_and_large_events_go_alone() -> None:
    items = [
        make_item(0),
        make_item(1, description="x" * 5000),
        make_item(2, description="x" * 5000),
        make_item(3, description="x" * 20_000),
        make_item(4),
    ]
    assert cut(items) == [[0, 1], [2], [3], [4]]


def test_events_without_an_answer_go_in_batches_a_tenth_as_large_with_each_try() -> None:
    items = [replace(item, tries=tries) for item, tries in zip(make_items(9), [0, 1, 1, 1, 0, 2, 2, 9, 0], strict=True)]
    assert cut(items, batch_events=20) == [[1, 2], [5], [6], [0, 4, 8], [3], [7]]


def test_batches_never_mix_ignore_missing_but_mix_actions() -> None:
    items = [make_item(n, ignore_missing=n % 2 == 1, action="delete" if n == 4 else "update") for n in range(8)]
    assert cut(items) == [[0, 2, 4], [1, 3, 5], [6], [7]]


def test_expire_goes_apart_from_what_is_sent() -> None:
    assert cut([make_item(0), make_item(1, action="expire"), make_item(2)]) == [[0, 2], [1]]


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.booleans(), st.sampled_from(["create", "delete", "expire"])), max_size=60),
    st.integers(1, 7),
    st.integers(1000, 5000),
)
def test_batches_lose_nothing_and_keep_limits_and_order(rows: list[tuple[int, bool, str]], batch_events: int, batch_bytes: int) -> None:
    items = [Item(seq, str(seq), b"x" * size, action, flag) for seq, (size, flag, action) in enumerate(rows)]
    limits = {"batch_events": batch_events, "batch_bytes": batch_bytes, "envelope_bytes": 70}
    batches = list(build_batches([items[:20], items[20:]], **limits))
    assert sorted(item.seq for batch in batches for item in batch) == list(range(len(items)))
    for batch in batches:
        assert len({(item.ignore_missing, item.action == "expire") for item in batch}) == 1
        assert len(batch) <= batch_events
        assert len(batch) == 1 or 70 + sum(len(item.body) + 1 for item in batch) <= batch_bytes
        assert [item.seq for item in batch] == sorted(item.seq for item in batch)


def test_pages_give_the_planned_rows() -> None:
    page = pd.DataFrame(
        {
            "seq": [1, 2, 3],
            "source_id": ["a", "b", "c"],
            "action": ["update", "create", "expire"],
            "body": ['{"sourceId":"ä"}', "{}", None],
            "ignore_missing": [True, False, False],
            "state": ["planned", "confirmed", "planned"],
        }
    ).convert_dtypes(dtype_backend="pyarrow")
    assert list(read_page(page)) == [
        Item(1, "a", '{"sourceId":"ä"}'.encode(), "update", True),
        Item(3, "c", b"", "expire", False),
    ]
    with pytest.raises(ValueError, match="'held'"):
        list(read_page(page.assign(action="held")))


# --- sending ---


def test_everything_is_marked_sent_and_recorded(sandbox: SandboxServer) -> None:
    ledger, seen = MemoryLedger(sandbox), []
    config = make_config(sandbox.base_url)
    result = send(config, ledger, [make_items(95)], total=95, progress=lambda done, total, last: seen.append((done, total, len(last))))
    assert result == LoadResult({"confirmed": 95}, requests=10, retries=0, error=None, stopped=False)
    assert result.complete
    assert ledger.count() == {"confirmed": 95}
    assert ledger.writes <= 20  # a write for each intent and each outcome at most; those that wait together share one
    assert sorted(seq for marks in ledger.marks for seq in marks) == list(range(95))
    assert len(ledger.threads) == 1
    assert len(seen) == 10
    assert sandbox.state()["events"].keys() == {f"rooms-{n}" for n in range(95)}
    assert seen[-1][:2] == (95, 95)
    assert sum(last for _, _, last in seen) == 95


def test_nothing_to_send_is_no_request(sandbox: SandboxServer) -> None:
    result = send(make_config(sandbox.base_url), MemoryLedger(), [])
    assert result == LoadResult({}, requests=0, retries=0, error=None, stopped=False)
    assert sandbox.requests()["log"] == []


def test_expired_events_are_confirmed_without_a_request(sandbox: SandboxServer) -> None:
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url), ledger, [make_items(3, action="expire")])
    assert (result.counts, result.requests, ledger.marks) == ({"confirmed": 3}, 0, [])


def test_pages_are_not_read_far_ahead(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "hang_after", "seconds": 0.1, "times": 1000}])
    ledger = MemoryLedger()
    ahead = []

    def pages() -> Iterator[list[Item]]:
        for first in range(0, 300, 10):
            ahead.append(first - sum(state != "sending" for state in ledger.states.values()))
            yield [make_item(first + n) for n in range(10)]

    result = send(make_config(sandbox.base_url), ledger, pages())
    assert result.counts == {"confirmed": 300}
    assert sandbox.requests()["max_concurrent"] == 3
    # One page more: a batch is closed by the first event that no longer fits.
    assert 30 <= max(ahead) <= (3 + 2 + 1) * 10


def test_outcomes_agree_with_essentry_whatever_goes_wrong(sandbox: SandboxServer) -> None:
    kinds: list[dict[str, Any]] = [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "hang_before", "seconds": 1.0},
        {"kind": "hang_after", "seconds": 1.0},
        {"kind": "partial_statuses"},
        {"kind": "shuffle"},
        {"kind": "garbage", "apply": True},
    ]
    faults = [dict(fault) for fault in kinds * 4]
    random.Random(7).shuffle(faults)
    refused = {f"rooms-{n}" for n in range(5, 400, 40)}
    sandbox.add_faults([*faults, *({"kind": "reject_request", "source_id": key} for key in refused)])
    sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-77", "times": 100}])
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url, retry_budget_seconds=5), ledger, [make_items(400)])
    by_state = {state: {f"rooms-{s}" for s, x in ledger.states.items() if x == state} for state in result.counts}
    there = sandbox.state()["events"].keys()
    assert result.error is None
    assert sum(result.counts.values()) == 400
    assert by_state["rejected"] == refused | {"rooms-77"}
    assert by_state["confirmed"] <= there
    assert not by_state["rejected"] & there
    assert by_state["unknown"] <= there  # the partial answers: they were applied
    assert result.retries >= 20
    assert sandbox.state()["mails"] == {"invited": len(there), "updated": 0, "cancelled": 0}


def test_state_store_as_the_ledger(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.add_faults([{"kind": "partial_statuses", "source_ids": ["rooms-3"]}])
    sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-12", "code": "ERROR_X"}])
    items = make_items(25)
    plan = pd.DataFrame([{**asdict(item), "body": item.body.decode()} for item in items]).assign(
        source="rooms", fingerprint="f", fingerprint_version=1
    )
    plan["after"] = plan["body"]
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        state.save_changes("plan-1", plan)
        state.save_plan({"plan_id": "plan-1", "status": "applying", "created_at": NOW})
        result = send(make_config(sandbox.base_url), state, [state.read_page("plan-1", 0, 1_000)])
        _, rows = state.load_plan("plan-1")
        assert result.counts == {"confirmed": 23, "unknown": 1, "rejected": 1}
        assert rows.set_index("seq")["state"].drop([3, 12]).eq("confirmed").all()
        assert rows.set_index("seq").loc[[3, 12], ["state", "code"]].to_numpy().tolist() == [
            ["unknown", "NO_STATUS"],
            ["rejected", "ERROR_X"],
        ]
        assert state.open_intents()["source_id"].tolist() == ["rooms-3"]
        assert set(state.read_fingerprints()["source_id"]) == sandbox.state()["events"].keys() - {"rooms-3"}
        assert state.rejections()["source_id"].tolist() == ["rooms-12"]
        assert (
            send(
                make_config(sandbox.base_url), state, [rows.merge(state.read_page("plan-1", 0, 1_000)[["seq", "body"]], on="seq")]
            ).requests
            == 0
        )


# --- what waits for one commit goes into the next ---


class SlowLedger(MemoryLedger):
    """A disk that takes its time, and is full at one commit. Keeps how many events each write marked and recorded."""

    def __init__(self, sandbox: SandboxServer, *, full_at: int | None = None) -> None:
        super().__init__(sandbox)
        self.groups: list[tuple[int, int]] = []
        self.full_at = full_at
        self.not_marked: set[int] = set()

    def write_down(self, plan_id: str, sending: Sequence[int], outcomes: Sequence[Outcome], **options: Any) -> None:
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
    assert sum(marked for marked, _ in ledger.groups) == sum(recorded for _, recorded in ledger.groups) == 300
    assert max(ledger.groups)[0] >= 20
    assert any(marked and recorded for marked, recorded in ledger.groups)
    assert len(ledger.groups) <= 30  # it would be 60


@pytest.mark.parametrize("full_at", [1, 2, 3, 6])
def test_commit_that_fails_marks_none_of_its_batches_and_each_of_them_hears_of_it(sandbox: SandboxServer, full_at: int) -> None:
    ledger = SlowLedger(sandbox, full_at=full_at)
    with pytest.raises(StateError, match="full"):
        send(make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)])
    assert not {f"rooms-{seq}" for seq in ledger.not_marked} & ledger.sent()
    assert not ledger.not_marked & ledger.states.keys()
    # what was sent is confirmed, or still marked: nothing is lost
    assert ledger.sent() <= {f"rooms-{seq}" for seq, state in ledger.states.items() if state in ("confirmed", "sending")}
    assert len(ledger.groups) <= full_at + 3  # and nothing new is begun


def test_stop_is_asked_before_each_commit_that_begins_batches(sandbox: SandboxServer) -> None:
    ledger = SlowLedger(sandbox)
    asked: list[int] = []

    def stop() -> bool:
        ledger.threads.add(threading.get_ident())
        asked.append(len(ledger.groups))
        return len(asked) == 3

    result = send(make_config(sandbox.base_url, timeout_seconds=5), ledger, [make_items(300)], stop=stop)
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
    assert {f"rooms-{seq}" for seq, x in ledger.states.items() if x == "confirmed"} == set(sandbox.state()["events"])


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
    sandbox.add_faults([{"kind": "shuffle", "times": 5}, {"kind": "status", "status": 503, "times": 10_000}])
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url, retry_budget_seconds=0.3), ledger, [make_items(2000)])
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


def test_batches_without_an_answer_here_and_there_do_not_end_the_load(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503}, {"kind": "shuffle", "times": 3}] * 4)
    config = make_config(sandbox.base_url, retry_budget_seconds=0, concurrency=1)
    result = send(config, MemoryLedger(), [make_items(200)])
    assert result.counts == {"confirmed": 160, "unknown": 40}
    assert result.error is None


def test_essentry_lost_at_the_very_end_is_an_error(sandbox: SandboxServer) -> None:
    # The second batch is marked after the first is recorded, in the same thread: `stop` comes between them.
    config = make_config(sandbox.base_url, retry_budget_seconds=0.2, concurrency=1)
    result = send(config, MemoryLedger(), [make_items(11)], progress=lambda done, total, last: sandbox.stop())
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
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        send(make_config(sandbox.base_url), ledger, [make_items(1000)])
    assert set(ledger.states.values()) <= {"confirmed", "planned"}
    assert {f"rooms-{seq}" for seq, x in ledger.states.items() if x == "confirmed"} == sandbox.state()["events"].keys()
    assert 30 <= ledger.count()["confirmed"] < 300


def cancel_after(seconds: float, config: EssentryConfig, ledger: MemoryLedger, changes: Any) -> float:
    """Cancel a load; the seconds it took to end after that."""

    async def run() -> float:
        async with make_client(config) as client:
            options: dict[str, Any] = {"plan_id": "plan-1", "run_id": "run-1", "clock": lambda: NOW, "config": config}
            task = asyncio.create_task(send_changes_async(changes, client=client, ledger=ledger, **options))
            await asyncio.sleep(seconds)
            task.cancel()
            cancelled = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - cancelled

    return asyncio.run(run())


def test_cancelled_load_records_what_is_not_answered_as_unknown(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_load_cancelled_while_it_marks_takes_the_rows_back(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "GRACE_SECONDS", 0.05)

    class Slow(MemoryLedger):
        def mark_sending(self, *args: Any, **options: Any) -> None:
            time.sleep(0.5)
            super().mark_sending(*args, **options)

    ledger = Slow()
    cancel_after(0.2, make_config(sandbox.base_url, concurrency=1), ledger, [make_items(10)])
    assert ledger.count() == {"planned": 10}
    assert sandbox.requests()["log"] == []
