"""SIGKILL at chosen points of a night that creates, changes, removes and cancels; then a normal
run. The end must be that of a quiet night.

What may happen twice (S12): an event that was under way when the process died is sent again,
completely. essentry holds then what it held, and the sandbox mails nobody for that; what essentry
does with a repeated state is not documented, so it is counted: never more than the batches that
were under way.
"""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flows.sandbox.server import SandboxServer
from tests.chaos.history import DIVIDED, History, expect
from tests.chaos.night import STEPS, count_steps, kill_night, let_lease_run_out, run_night

BATCH_EVENTS, CONCURRENCY = 4, 2
SHARED = ("commit", "write intents and outcomes")


@dataclass
class Quiet:
    """A home before the night, what the sandbox held then, and how the night ends when nobody
    disturbs it.
    """

    home: Path
    as_of: datetime
    before: dict[str, Any]
    steps: dict[str, int]
    events: dict[str, Any]
    mails: Counter[tuple[str, str, str]]
    sent: int


def prepare_night(folder: Path, sandbox: SandboxServer) -> Quiet:
    """Live one night, change much, and live the next in copies: once to count its steps, once to
    know its end.
    """
    home = folder / "home"
    home.mkdir()
    sandbox.reset()
    history = History(77, home, sandbox)
    text = history.config.read_text(encoding="utf-8")
    for key in (
        "batch_events",
        "concurrency",
        "guest_list",
        "payload",
        "invitation_ids",
        "retry_budget_seconds",
    ):
        now = {
            "batch_events": BATCH_EVENTS,
            "concurrency": CONCURRENCY,
            "guest_list": '"additive"',
            "payload": '"full"',
        }
        now |= {"invitation_ids": '"per-event"', "retry_budget_seconds": 20}
        lines = [
            f"{key} = {now[key]}" if line.startswith(f"{key} =") else line
            for line in text.splitlines()
        ]
        text = "\n".join(lines)
    text = text.replace(DIVIDED.strip(), "")
    history.config.write_text(
        text.replace("timeout_seconds = 0.25", "timeout_seconds = 20"), encoding="utf-8"
    )
    company = history.company
    company.grow(28)
    for _ in range(3):
        company._happen("create soon", None)
    company.write(home, {})
    assert run_night(history.config, company.now) == 0
    events = [event for event in company.events.values() if event.key != "0"]
    rng = random.Random(5)
    unread = rng.choice(events)
    company._happen("break host", unread)
    company.write(home, {})
    # told once, so that the night to come is a quiet one
    assert run_night(history.config, company.now + timedelta(days=1)) == 3
    events.remove(unread)
    for number, event in enumerate(events):
        kind = ("delete", "cancel", "empty guests", "rename", "add guest", "remove guest", "move")[
            number % 7
        ]
        company._happen(kind, event)
    company.grow(10)
    company.write(home, {})
    as_of = company.now + timedelta(days=4)
    before = _remember(sandbox)
    counted = copy_home(home, folder / "counted")
    steps = count_steps(counted, as_of)
    mails, held, sent = _mails(sandbox), sandbox.state()["events"], sandbox.requests()["events"]
    assert not company.may_cancel - company.may_cancel
    kinds = Counter(kind for kind, *_ in (mails - _mails_of(before)).elements())
    assert min(kinds["invited"], kinds["updated"], kinds["cancelled"]) >= 5, kinds
    return Quiet(home, as_of, before, steps, held, mails, sent)


def choose_points(steps: dict[str, int]) -> list[tuple[str, int]]:
    """The first, the middle and the last time each step is taken; every commit."""
    points = []
    for point, count in sorted(steps.items()):
        times = (
            range(1, count + 1)
            if point == "before commit"
            else sorted({1, (count + 1) // 2, count})
        )
        points += [(point, nth) for nth in times]
    missing = set(STEPS) - {point.split(" ", 1)[1] for point, _ in points}
    assert not missing, f"steps that this night does not take: {missing}"
    return points


def kill_once(quiet: Quiet, point: str, nth: int, folder: Path, sandbox: SandboxServer) -> int:
    """Kill the night there, run again, compare with the quiet end. Returns how many events were
    sent twice.
    """
    config, code = folder, 0
    while code == 0 and nth > 0:
        shutil.rmtree(folder, ignore_errors=True)
        _recall(sandbox, quiet.before)
        config = copy_home(quiet.home, folder)
        code = kill_night(config, quiet.as_of, point, nth)
        # how many batches share a commit is chance: a night that took fewer is killed at an earlier
        # one
        nth -= 1 if point.endswith(SHARED) else nth
    expect(code == -9, f"the process was not killed there: it ended with {code}")
    let_lease_run_out(config)
    code = run_night(config, quiet.as_of)
    expect(code == 0, f"the next run ended with {code}")
    expect(
        sandbox.state()["events"].keys() == quiet.events.keys(),
        "other events than after a quiet night",
    )
    for key, event in sandbox.state()["events"].items():
        expect(event == quiet.events[key], f"{key} is not as after a quiet night")
    mails = _mails(sandbox)
    expect(
        mails == quiet.mails,
        f"mails differ: more {mails - quiet.mails}, fewer {quiet.mails - mails}",
    )
    again = sandbox.requests()["events"] - quiet.sent
    expect(again <= BATCH_EVENTS * CONCURRENCY, f"{again} events were sent twice")
    code = run_night(config, quiet.as_of)
    expect(
        code == 0 and sandbox.requests()["events"] == quiet.sent + again,
        "a further run finds something to do",
    )
    shutil.rmtree(folder)
    return again


def copy_home(home: Path, folder: Path) -> Path:
    """A copy of configuration, databases and state; the configuration's path."""
    shutil.copytree(home, folder)
    return folder / "essentry-sync.toml"


_STATE = (
    "events",
    "contacts",
    "employees",
    "mails",
    "mail_counts",
    "requests",
    "check_ins",
    "counts",
    "_next_id",
)


def _remember(sandbox: SandboxServer) -> dict[str, Any]:
    state = sandbox.app.state.sandbox
    return copy.deepcopy({name: getattr(state, name) for name in _STATE})


def _recall(sandbox: SandboxServer, before: dict[str, Any]) -> None:
    state = sandbox.app.state.sandbox
    with state.lock:
        for name, value in copy.deepcopy(before).items():
            setattr(state, name, value)


def _mails(sandbox: SandboxServer) -> Counter[tuple[str, str, str]]:
    return Counter((m["kind"], m["event"], m["email"]) for m in sandbox.mails())


def _mails_of(before: dict[str, Any]) -> Counter[tuple[str, str, str]]:
    return Counter((mail[0], mail[1], mail[3]) for mail in before["mails"])
