"""`essentry-sync` as a process of its own, as its users meet it. In the test's process it would end
that process with it.
"""

from __future__ import annotations

import os
import subprocess
import sys


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with nobody at the keyboard; it never ends in a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr + done.stdout
    return done
