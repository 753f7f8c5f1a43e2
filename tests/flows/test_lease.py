"""One run at a time: expiry, takeover, and real processes that race for the lease, on SQLite and
PostgreSQL.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.state.store import State
from schemas.errors import LeaseHeld
from tests.sources.databases import database

NOW = datetime(2026, 11, 24, 0, 18, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.sqlite"
        return
    with database("postgresql", tmp_path) as engine:
        yield engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def take(state: State, holder: str, now: datetime = NOW) -> bool:
    return state.acquire_lease(holder, f"run-{holder}", now=now, seconds=60)


def test_lease_is_one_runs_until_it_lets_go(url):
    with State.open(url) as state, State.open(url) as other:
        assert state.lease_holder() == "nobody"
        assert take(state, "a:1")
        assert not take(other, "b:2")
        assert take(state, "a:1")  # ours already
        assert other.lease_holder() == "run run-a:1 on a, process 1, until 00:19:00 UTC"
        other.release_lease("b:2")  # not theirs to let go
        assert not take(other, "b:2")
        state.release_lease("a:1")
        assert take(other, "b:2")


def test_expired_lease_is_taken_over_and_the_old_run_learns_it(url):
    with State.open(url) as old, State.open(url) as new:
        assert take(old, "a:1")
        assert not take(new, "b:2", NOW + MINUTES)  # the last instant is still theirs
        assert take(new, "b:2", NOW + MINUTES + timedelta(microseconds=1))
        with pytest.raises(LeaseHeld, match="another run has taken over"):
            old.renew_lease("a:1", "run-a:1", now=NOW + 2 * MINUTES, seconds=60)
        old.release_lease("a:1")
        assert new.lease_holder().startswith("run run-b:2")


def test_renewed_lease_does_not_expire(url):
    with State.open(url) as state:
        assert take(state, "a:1")
        state.renew_lease("a:1", "run-a:1", now=NOW + MINUTES, seconds=60)
        assert not take(state, "b:2", NOW + 2 * MINUTES)
        assert take(state, "b:2", NOW + 3 * MINUTES)


def test_lease_that_expired_and_that_nobody_took_is_still_ours(url):
    with State.open(url) as state:
        assert take(state, "a:1")
        state.renew_lease("a:1", "run-a:1", now=NOW + 10 * MINUTES, seconds=60)
        assert not take(state, "b:2", NOW + 10 * MINUTES)


def _race(url: str, name: str, rounds: int, gate: Any, answers: Any) -> None:
    gate.wait(timeout=60)
    with State.open(url) as state:  # the first to come makes the tables: a race as well
        gate.wait(timeout=60)
        state.check_identity("https://app.essentry.com/api/v2", "a" * 64, "per-event")
        for turn in range(rounds):
            gate.wait(timeout=60)
            answers.put((turn, name, take(state, f"{name}:{turn}", NOW + turn * 2 * MINUTES)))
        answers.put((-1, name, state.salt()))


@pytest.mark.share(2)
@pytest.mark.parametrize("start", ["free", "expired"])
def test_processes_that_race_for_the_lease_have_one_winner(url, start):
    """Turn 0 races for a store without tables or lease, or for a lease that has expired; later
    turns for expired ones.
    """
    if start == "expired":
        with State.open(url) as state:
            assert take(state, "dead:1", NOW - 5 * MINUTES)
    context = multiprocessing.get_context("spawn")
    racers, rounds = 3, 10
    gate, answers = context.Barrier(racers), context.Queue()
    processes = [
        context.Process(target=_race, args=(url, f"host{n}", rounds, gate, answers))
        for n in range(racers)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=90) for _ in range(racers * (rounds + 1))]
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    winners = [sum(won for turn, _, won in found if turn == n) for n in range(rounds)]
    assert winners == [1] * rounds
    assert len({salt for turn, _, salt in found if turn == -1}) == 1
