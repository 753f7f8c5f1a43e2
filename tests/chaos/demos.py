"""Demos in a row with every core busy: how long each takes, and how long it is silent.

`python -m tests.chaos.demos 20` ends with 1 when one failed or was over the limit.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time

SILENT_SECONDS = 10.0
BUSY = "while True: pass"


def run_demo(folder: str) -> tuple[int, float, float]:
    """One demo: exit code, seconds, and the longest wait for a line."""
    began = last = time.monotonic()
    longest = 0.0
    command = [sys.executable, "-m", "flows", "demo", "--folder", folder]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert demo.stdout is not None
    with selectors.DefaultSelector() as ready, demo.stdout as out:
        ready.register(out, selectors.EVENT_READ)
        while True:
            ready.select()
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            if not os.read(out.fileno(), 65536):
                return demo.wait(), time.monotonic() - began, longest


def main(count: int) -> int:
    """Print a line a demo; 1 when one failed or was silent for too long."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    bad = 0
    try:
        for number in range(1, count + 1):
            with tempfile.TemporaryDirectory() as folder:
                code, seconds, silent = run_demo(folder)
            wrong = code not in (0, 3) or silent > SILENT_SECONDS
            bad += wrong
            print(
                (
                    f"demo {number}: {seconds:.1f} s, longest silence {silent:.1f} s, "
                    f"exit {code}{'  WRONG' if wrong else ''}"
                ),
                flush=True,
            )
    finally:
        for process in busy:
            process.kill()
            process.wait()
    print(f"{count - bad} of {count} as promised")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
