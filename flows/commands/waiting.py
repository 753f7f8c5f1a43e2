"""A sign of life while a command is silent: what it waits for, and for how long. Light: it works
before anything heavy is imported.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

STEPS = {
    "start": "starting",
    "extract": "reading the sources",
    "plan": "comparing with what essentry confirmed",
    "load": "sending to essentry",
    "report": "writing the report",
    "engine": "waiting for the Prefect server",
    "approval": "waiting for an approval",
    "read back": "reading back what essentry holds",
}
SOON_SECONDS = 1.0
"""On a terminal a step that takes longer is told at once."""
SILENT_SECONDS = 8.0
PATIENT = {"approval": 600.0}
"""Seconds between two lines where hours are nothing special."""


class Waiting:
    """Prints a line whenever a command was silent for long, from a thread of its own; `quiet`:
    never.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.step, self.began_at = "start", time.monotonic()
        self.heard_at = self.began_at
        self.told = False
        self.write: Callable[[str], None] = _print
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._users = 0

    def start(self) -> None:
        """Begin to watch; as often as it is started, it is to be ended."""
        with self._changed:
            self._users += 1
            if self._thread is None and not self.quiet:
                self.heard_at = time.monotonic()
                self._thread = threading.Thread(target=self._watch, name="waiting", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Watch no more."""
        with self._changed:
            self._users -= 1
            if self._users <= 0:
                self._thread = None
                self._changed.notify_all()

    def begins(self, step: str) -> None:
        """The command goes on to another step, one of STEPS."""
        with self._changed:
            self.step, self.began_at, self.told = step, time.monotonic(), False
            self._changed.notify_all()

    def heard(self) -> None:
        """Something else has been printed."""
        self.heard_at = time.monotonic()

    def _watch(self) -> None:
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                due = self._due_at()
                if now < due:
                    self._changed.wait(due - now)
                    continue
                self.told, self.heard_at = True, now
                seconds = now - self.began_at
                text = STEPS.get(self.step, self.step)
                self.write(
                    f"{text} … {seconds:.0f} s" if seconds >= SILENT_SECONDS / 2 else f"{text} …"
                )

    def _due_at(self) -> float:
        due = self.heard_at + PATIENT.get(self.step, SILENT_SECONDS)
        if not self.told and sys.stdout.isatty():
            return min(due, self.began_at + SOON_SECONDS)
        return due


def _print(text: str) -> None:
    print(text, flush=True)


waiting = Waiting()
"""The command's own; `--json` makes it quiet."""
