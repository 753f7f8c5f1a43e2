"""What bringing visits back costs: seconds and peak memory of `essentry-sync checkins` in a process
of its own, for more and more check-ins of one week. `just bench-checkins`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm

MEETINGS, GUESTS = 200, 20
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Runs a command and tells its peak. A process counts the size of the one that it was forked from:
this one is small, and the sandbox is not.
"""
CONFIG = """
[essentry]
base_url = "{url}"
timeout_seconds = 60
[state]
url = "sqlite:///state.sqlite"
[report]
directory = "runs"
[checkins]
url = "sqlite:///visits.sqlite"
[sources.rooms]
url = "sqlite:///rooms.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
[sources.rooms.sites]
1 = {{ location_id = 11 }}
2 = {{ location_id = 12 }}
"""


def measure(count: int) -> tuple[float, float]:
    """Seconds, and megabytes at the most, of a first reading of so many check-ins."""
    with tempfile.TemporaryDirectory() as name, SandboxServer(SandboxSettings()) as sandbox:
        os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
            sandbox.token,
            sandbox.agent_token,
        )
        folder = Path(name)
        firm = Firm(
            folder, sandbox, max_new_invitations=10**6, max_people_mailed=10**6,
            max_mails_per_guest=10**6,
        )  # fmt: skip
        for number in range(MEETINGS):
            firm.book(f"m{number}", *(f"g{number}x{guest}" for guest in range(GUESTS)))
        assert firm.night().exit_code == 0
        codes = [guest for guests in firm.held().values() for guest in sorted(guests)]
        now = datetime.now(UTC)
        for number in range(count):
            came = now - timedelta(days=6) + number * timedelta(days=5.9) / count
            here = sandbox.check_in(codes[number % len(codes)], at=came)
            sandbox.check_out(here, at=came + timedelta(minutes=50))
        (folder / "essentry-sync.toml").write_text(CONFIG.format(url=sandbox.base_url))
        command = [sys.executable, "-m", "flows", "checkins"]
        command += ["--config", str(folder / "essentry-sync.toml")]
        began = time.monotonic()
        told = subprocess.check_output([sys.executable, "-c", PEAK, *command], text=True)
        seconds = time.monotonic() - began
        assert f"{count:,} joined to their events" in told, told
        return seconds, int(told.split()[-1]) / 1024


def main(counts: list[int]) -> None:
    """Print a line a size."""
    for count in counts:
        seconds, megabytes = measure(count)
        print(
            f"{count:>9,} check-ins: {seconds:6.1f} s, {count / seconds:8,.0f} a second, "
            f"peak {megabytes:5.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1_000, 10_000, 100_000])
