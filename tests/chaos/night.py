"""One night of the job, in this process or in one of its own that is killed on the way. Patches are
the tests' alone.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy.engine.default import DefaultDialect

from flows.essentry.client import EssentryClient
from flows.night import apply, confirm
from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import open_session, open_state
from flows.operations.check_ins import read_visits
from flows.operations.part import run_part
from flows.parts import deal
from flows.state.store import State
from schemas.errors import SyncError
from schemas.load_config import load_config
from tests.chaos.process import start_process
from transforms.guards.restriction import Restriction

STEPS: dict[str, tuple[Any, str]] = {
    "take the lease": (State, "acquire_lease"),
    "begin the run": (State, "start_run"),
    "settle lost requests": (State, "settle_lost"),
    "read a source": (deal, "read_source"),
    "number guests": (State, "guest_numbers"),
    "save the plan": (State, "save_plan"),
    "save the quarantine": (State, "save_quarantine"),
    "plan status": (State, "set_plan_status"),
    "confirm absence": (confirm, "confirm_absent"),
    "PUT": (EssentryClient, "_exchange"),
    "write intents and outcomes": (State, "write_down"),
    "keep source reads": (State, "save_source_reads"),
    "count absences": (State, "count_absent"),
    "end rejections": (State, "end_rejections"),
    "save the policy": (State, "save_policy"),
    "report file": (Path, "replace"),
    "finish the run": (State, "finish_run"),
    "prune": (State, "prune"),
    "release the lease": (State, "release_lease"),
    "commit": (DefaultDialect, "do_commit"),
}
"""Steps of a night, as the function that takes each: a process can be killed just before or just
after.
"""


def run_night(config: Path, as_of: datetime, *, seed: str = "", way: str = "sync") -> int:
    """One night without the engine, with short waits between tries; its exit code. way: `sync`, or
    `apply` after a `plan`.
    """
    random.seed(seed)  # the client's waits
    with patch.object(
        apply, "EssentryClient", functools.partial(EssentryClient, backoff_seconds=0.02)
    ):
        try:
            if way == "apply":
                planned = nightly.run_plan(load_config(config), as_of=as_of)
                plan_id = planned.report["plan"]["plan_id"]
                applied = nightly.run_apply(load_config(config), plan_id, as_of=as_of)
                codes = {problem["code"] for problem in applied.report["problems"]}
                assert apply.CHANGED_SINCE not in codes, "nothing has changed since the plan"
                return applied.exit_code
            with open_session(load_config(config), kind="sync", as_of=as_of) as session:
                try:
                    nightly.load(session, nightly.plan(session, *nightly.extract(session)))
                except SyncError as error:
                    finish(session, error=error)
                    raise
                return finish(session).exit_code
        except SyncError as error:
            return error.exit_code


def run_chosen(config: Path, event: str, as_of: datetime) -> int:
    """One event by itself; the exit code."""
    with patch.object(
        apply, "EssentryClient", functools.partial(EssentryClient, backoff_seconds=0.02)
    ):
        try:
            only = Restriction(events=(event,))
            return run_part(load_config(config), only, as_of=as_of).result.exit_code
        except SyncError as error:
            return error.exit_code


def approve_latest(config: Path, as_of: datetime) -> int:
    """Somebody reads the plan that waits, and lets it go; the exit code of its `apply`."""
    with open_state(load_config(config)) as state:
        plan_id = state.load_plan("latest")[0]["plan_id"]
        state.approve_plan(plan_id, by="anna", reason="read", now=datetime.now(UTC))
    with patch.object(
        apply, "EssentryClient", functools.partial(EssentryClient, backoff_seconds=0.02)
    ):
        try:
            return nightly.run_apply(load_config(config), plan_id, as_of=as_of).exit_code
        except SyncError as error:
            return error.exit_code


def watch(owner: Any, name: str, seen: Callable[[str], None]) -> None:
    """Call `seen("before")` and `seen("after")` around a function; for the rest of this process."""
    original = getattr(owner, name)
    if name == "_exchange":

        async def call_async(*arguments: Any, **options: Any) -> Any:
            seen("before")
            result = await original(*arguments, **options)
            seen("after")
            return result

        setattr(owner, name, call_async)
        return

    @functools.wraps(original)
    def call(*arguments: Any, **options: Any) -> Any:
        seen("before")
        result = original(*arguments, **options)
        seen("after")
        return result

    setattr(owner, name, call)


def _count_steps(config: Path, as_of: datetime, answer: Path) -> None:
    counts: Counter[str] = Counter()
    for step, (owner, name) in STEPS.items():
        watch(owner, name, lambda when, step=step: counts.update([f"{when} {step}"]))
    code = run_night(config, as_of)
    assert code == 0, f"the quiet night ended with {code}"
    answer.write_text(json.dumps(counts), encoding="utf-8")


def _die_on_the_way(
    config: Path, as_of: datetime, seed: str, point: str, nth: int, way: str
) -> None:
    when, step = point.split(" ", 1)
    left = nth

    def seen(now: str) -> None:
        nonlocal left
        if now == when:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    watch(*STEPS[step], seen)
    os._exit(run_night(config, as_of, seed=seed, way=way))


def _run_process(target: Callable[..., None], *arguments: Any) -> int:
    process = start_process(target, *arguments)
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("a night took more than two minutes")
    return process.exitcode


def count_steps(config: Path, as_of: datetime) -> dict[str, int]:
    """How often each step of STEPS is taken in a night, before and after; the night is lived in a
    process of its own.
    """
    answer = config.with_name("steps.json")
    assert _run_process(_count_steps, config, as_of, answer) == 0
    counted: dict[str, int] = json.loads(answer.read_text(encoding="utf-8"))
    return counted


def kill_night(
    config: Path, as_of: datetime, point: str, nth: int, *, seed: str = "", way: str = "sync"
) -> int:
    """A night in a process that dies of SIGKILL at the nth `point` ("before PUT"); -9, or the exit
    code when it never came there.
    """
    return _run_process(_die_on_the_way, config, as_of, seed, point, nth, way)


def _die_while_reading(config: Path, now: datetime, nth: int) -> None:
    left = nth

    def seen(when: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(DefaultDialect, "do_commit", seen)
    with open_state(load_config(config)) as state:
        read_visits(load_config(config), state, now=now)
    os._exit(0)


def kill_reading(config: Path, now: datetime, nth: int) -> int:
    """A reading of check-ins in a process that dies of SIGKILL at the nth beginning or end of a
    commit; -9, or 0 when it never came there.
    """
    return _run_process(_die_while_reading, config, now, nth)


def let_lease_run_out(config: Path) -> None:
    """What time does: the killed run's lease is over."""
    with open_state(load_config(config)) as state, state.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE lease SET expires_at = 0")
