"""The end of a command that is told to stop: SIGTERM winds up as Ctrl-C does, and both are over
within the grace time.

A hard end is safe at any moment: what may have been sent is in the ledger. An orderly one is
better: the lease is let go, and the outcome is written down.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

ENDING_SECONDS = 9.0
"""Grace for an orderly end; a container's is 10 seconds. The load takes 5 of them for answers under
way.
"""
LEAVING_SECONDS = 5.0
"""After the last word was printed, so long may the engine take to send its own last words."""

_told: list[int] = []


def end_in_time() -> None:
    """From here on SIGTERM is a Ctrl-C, and after either the process ends within ENDING_SECONDS."""
    if threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, _wind_up)
    # the number arrives there at once, even while the main thread is deep in a driver
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="ending", daemon=True).start()


def _wind_up(number: int, frame: FrameType | None) -> None:
    _told.append(number)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _watch(reader: int) -> None:
    while (number := os.read(reader, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
        pass
    time.sleep(ENDING_SECONDS)
    _leave(
        128 + number,
        "essentry-sync: it did not end in time and was ended; the ledger knows what was under way",
    )


def leave_soon(code: int) -> None:
    """The command is done: the process ends with this exit code, even if the engine cannot take
    leave of its server.
    """

    def leave() -> None:
        time.sleep(LEAVING_SECONDS)
        _leave(code, "")

    threading.Thread(target=leave, name="leaving", daemon=True).start()


def _leave(code: int, words: str) -> None:
    try:
        if words:
            os.write(2, f"{words}\n".encode())
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def was_terminated() -> bool:
    """Whether SIGTERM was the reason."""
    return bool(_told)


def die_of_it() -> None:
    """End as a process does that SIGTERM has ended, so that whoever sent it sees that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
