"""The command line in processes of its own, forked from one that has imported everything: real
processes, without a second's start each.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        "tests.chaos.night",
        "flows.commands.main",
        "flows.commands.terminal",
        "adbc_driver_sqlite.dbapi",
        "pandera.pandas",
    ]
)


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code (negative: the signal), what it printed."""

    code: int
    out: str
    err: str


@dataclass
class Command:
    """A command under way. `with` makes sure that it ends."""

    process: Any
    folder: tempfile.TemporaryDirectory = field(repr=False)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> Done:
        """Wait for its end."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the command did not end"
        out, err = (
            (Path(self.folder.name) / name).read_text(encoding="utf-8") for name in ("out", "err")
        )
        self.folder.cleanup()
        assert "Traceback" not in out + err, err
        return Done(self.process.exitcode, out, err)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def start_process(
    target: Callable[..., None], *arguments: Any, environment: Mapping[str, str] | None = None
) -> Any:
    """Call `target` in a process that has this one's environment of now, and not that in which the
    first one was started; `environment` adds.
    """
    process = context.Process(
        target=_enter, args=({**os.environ, **(environment or {})}, target, arguments)
    )
    process.start()
    return process


def _enter(
    environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)


def _run_main(arguments: tuple[str, ...], folder: str, before: Callable[[], None] | None) -> None:
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(handle, number)
    if before is not None:
        before()
    from flows.commands.main import main

    main(list(arguments))


def start_command(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Command:
    """Start `essentry-sync …`. before: called in the new process first (limits, shorter waits)."""
    folder = tempfile.TemporaryDirectory()
    return Command(
        start_process(_run_main, arguments, folder.name, before, environment=environment), folder
    )


def run_command(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> Done:
    """Run `essentry-sync …` to its end."""
    with start_command(*arguments, environment=environment, before=before) as command:
        return command.wait()
