"""A small company with its configuration, state and sandbox, worked on by the command line in
processes of its own.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from flows.sandbox.server import SandboxServer
from tests.chaos.company import COLUMNS, Company
from tests.chaos.history import CONFIG
from tests.chaos.process import Command, Done, run_command, start_command


class Home:
    """`run` and `start` know the configuration and the tokens; the lease is short, essentry has
    time to answer.
    """

    def __init__(
        self,
        folder: Path,
        sandbox: SandboxServer,
        state: str = "sqlite:///state.sqlite",
        *,
        events: int = 7,
    ) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.config = folder / "essentry-sync.toml"
        settings = {
            "on_source_failure": "stop", "base_url": sandbox.base_url, "batch_events": 2,
            "budget": 10, "concurrency": 1,
            "guest_list": "additive", "payload": "full", "invitation_ids": "per-event",
            "state": state,
        }  # fmt: skip
        text = CONFIG.format(scale="", **settings).replace(
            "timeout_seconds = 0.25", "timeout_seconds = 20"
        )
        self.config.write_text(
            text.replace("[state]", "[state]\nlease_seconds = 5"), encoding="utf-8"
        )
        (folder / "events.sql").write_text(f"SELECT {COLUMNS} FROM events", encoding="utf-8")
        (folder / "guests.sql").write_text("SELECT * FROM guests", encoding="utf-8")
        self.environment = {
            "ESSENTRY_TOKEN": sandbox.token,
            "ESSENTRY_AGENT_TOKEN": sandbox.agent_token,
        }
        self.environment["ESSENTRY_SYNC_CONFIG"] = str(self.config)
        self.company = Company(
            random.Random(3), datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        )
        self.company.grow(events)
        self.company.write(folder, {})

    def start(
        self, *arguments: str, before: Callable[[], None] | None = None, **settings: str
    ) -> Command:
        return start_command(*arguments, environment=self.environment | settings, before=before)

    def run(
        self, *arguments: str, before: Callable[[], None] | None = None, **settings: str
    ) -> Done:
        return run_command(*arguments, environment=self.environment | settings, before=before)

    def wait_for_puts(self, count: int) -> None:
        """Until so many requests have begun."""
        deadline = time.monotonic() + 30
        while self.sandbox.requests()["puts"] < count:
            assert time.monotonic() < deadline, "no request came"
            time.sleep(0.01)

    def assert_truth(self) -> None:
        """A plan and its sending end well, and essentry holds what the company says."""
        planned = self.run("plan")
        assert planned.code == 0, planned.err
        # where others wait, `latest` names nothing
        sends = re.search(r"to send it: essentry-sync apply (\S+)", planned.out)
        # an empty one waits for nobody
        applied = self.run("apply", sends[1] if sends else "latest")
        assert applied.code == 0 or "is empty" in applied.err, applied.err
        held = {}
        for source_id, event in self.sandbox.state()["events"].items():
            guests = frozenset(
                (g.get("email") or None, g.get("firstName", ""), g.get("lastName", ""))
                for g in event["guests"].values()
            )
            held[source_id] = [
                (
                    event["name"],
                    datetime.fromisoformat(event["startsAt"]),
                    event["locationId"],
                    guests,
                )
            ]
        assert held == self.company.truth()

    def report(self) -> str:
        """The newest report, as Markdown."""
        folders = sorted(
            (self.folder / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns
        )
        return (folders[-1] / "report.md").read_text(encoding="utf-8")


def fill_disk(folder: Path) -> Path:
    """Leave no room on the folder's disk; remove the file to make room again."""
    filler = folder / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    for size in (4096, 512, 1):
        try:
            while True:
                os.write(handle, b"x" * size)
        except OSError:
            continue
    os.close(handle)
    return filler
