"""One run at a time: take the state store's lease, renew it, and know when it is lost. What the
lease protects is the store's to check.

A killed run's lease ends by itself. A run that was paused past its lease (a stopped process, a
sleeping machine) asks before it sends again.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows.night.run import Run
from flows.state.store import State
from schemas.config import Config
from schemas.errors import LeaseHeld, SyncError


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    return (
        time.clock_gettime(time.CLOCK_BOOTTIME)
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic()
    )


class Lease:
    """The lease of one run. `lost` is set when it may be another run's."""

    def __init__(self, state: State, run_id: str, seconds: float) -> None:
        self.state, self.run_id, self.seconds = state, run_id, seconds
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{run_id}"
        self.lost = threading.Event()
        self.until = 0.0
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None

    def acquire(self, wait_seconds: float) -> None:
        """Become the one run that works on this state store. Raises LeaseHeld naming the other."""
        deadline = time.monotonic() + wait_seconds
        while True:
            asked = _clock()
            if self.state.acquire_lease(
                self.holder, self.run_id, now=self.state.clock(), seconds=self.seconds
            ):
                self.until = asked + self.seconds
                return
            if time.monotonic() >= deadline:
                left = self.state.lease_seconds_left()
                raise LeaseHeld(
                    f"another run works on this state ({self.state.lease_holder()}): "
                    "wait for it to end, or set state.lease_wait_seconds; "
                    f"a killed run's hold ends by itself after {self.seconds:g} seconds, "
                    f"this one in {math.ceil(left or 0)} s unless it is renewed"
                )
            time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))

    def keep(self) -> None:
        """Renew it from a thread of its own until `let_go`."""
        self.ended = ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self.seconds / 4) and not self.lost.is_set():
                self.renew()

        self.thread = threading.Thread(target=renew, name="lease", daemon=True)
        self.thread.start()

    def let_go(self) -> None:
        """End the renewing and free the store for others."""
        if self.thread is not None:
            self.ended.set()
            self.thread.join()
            self.thread = None
            with suppress(SyncError):
                self.state.release_lease(self.holder)

    def renew(self) -> None:
        """Hold it longer. A store that does not answer is asked again; once the time is over
        without an answer, the lease counts as lost.
        """
        asked = _clock()
        try:
            self.state.renew_lease(
                self.holder, self.run_id, now=self.state.clock(), seconds=self.seconds
            )
            self.until = asked + self.seconds
        except LeaseHeld:
            self.lost.set()
        except SyncError:
            if _clock() >= self.until:
                self.lost.set()

    def is_ours(self) -> bool:
        """Whether this run may send now. Asked before every batch and every request; asks the store
        when the time is over.
        """
        if not self.lost.is_set() and _clock() >= self.until:
            self.renew()
        return not self.lost.is_set()

    def check(self) -> None:
        """Raise LeaseHeld when the lease is lost."""
        if self.lost.is_set():
            raise LeaseHeld(
                f"this run was silent for longer than state.lease_seconds = {self.seconds:g} and "
                "may have been replaced: it stopped sending; the next run goes on from the ledger"
            )


@contextmanager
def hold_lease(state: State, run: Run, config: Config) -> Iterator[Lease]:
    """Hold the lease, renewed from a thread of its own, so that a long silence of essentry does not
    look like a dead run.
    """
    lease = Lease(state, run.run_id, config.state.lease_seconds)
    lease.acquire(config.state.lease_wait_seconds)
    lease.keep()
    try:
        yield lease
    finally:
        lease.let_go()
