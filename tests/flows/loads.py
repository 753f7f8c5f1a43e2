"""A ledger that keeps its rows in memory and checks the order of its calls, and a load with it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from wire import AGENT

from flows.essentry.client import EssentryClient
from flows.night.load import LoadResult, send_changes
from flows.sandbox.server import SandboxServer
from schemas.config_essentry import EssentryConfig
from schemas.ledger import Outcome

NOW = datetime(2026, 11, 24, 0, 18, tzinfo=UTC)


class MemoryLedger:
    """Rows by seq. Insists on one thread, on marking before recording, and on marking before
    essentry has the event.
    """

    def __init__(self, sandbox: SandboxServer | None = None) -> None:
        self.states: dict[int, str] = {}
        self.codes: dict[int, str | None] = {}
        self.marks: list[list[int]] = []
        self.writes = 0
        self.threads: set[int] = set()
        self.sandbox = sandbox

    def write_down(
        self,
        plan_id: str,
        sending: Sequence[int],
        outcomes: Sequence[Outcome],
        *,
        run_id: str,
        now: datetime,
    ) -> None:
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

    def mark_sending(
        self, plan_id: str, seqs: Sequence[int], *, run_id: str, now: datetime
    ) -> None:
        assert (plan_id, run_id, now) == ("plan-1", "run-1", NOW)
        assert not set(seqs) & self.states.keys(), "sent twice"
        if self.sandbox is not None:
            assert not {f"rooms-{seq}" for seq in seqs} & self.sandbox.state()["events"].keys()
        self.threads.add(threading.get_ident())
        self.marks.append(list(seqs))
        self.states |= dict.fromkeys(seqs, "sending")

    def record_outcomes(
        self, plan_id: str, outcomes: Sequence[Outcome], *, run_id: str, now: datetime
    ) -> None:
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
    defaults = {
        "base_url": url,
        "batch_events": 10,
        "concurrency": 3,
        "timeout_seconds": 10,
        "retry_budget_seconds": 2,
    }
    return EssentryConfig(**(defaults | options))


def make_client(config: EssentryConfig, *, token: str = "sandbox-token") -> EssentryClient:
    return EssentryClient(config, token=token, agent_token=AGENT, backoff_seconds=0.02)


def send(
    config: EssentryConfig,
    ledger: Any,
    changes: Any,
    *,
    token: str = "sandbox-token",
    **options: Any,
) -> LoadResult:
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
