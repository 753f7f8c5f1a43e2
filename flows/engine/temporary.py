"""A temporary Prefect server for this process alone: started at the first need, ended with the
process, however that ends.
"""

from __future__ import annotations

import atexit
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from schemas.errors import ConfigurationError

START_SECONDS = 120.0
"""So long may it take to answer. On an idle machine it takes 7 seconds, on its first day 13."""
STOP_SECONDS = 3.0
OFF = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    # nobody is told by a server that ends in a minute
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
}
"""What a server that nobody looks at does without. It keeps its runs where Prefect keeps them, for
a later server.
"""


class ServerFailure(ConfigurationError):
    """Prefect's temporary server did not start: its home, a setting, or a machine that is too
    busy.
    """

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Prefect's temporary server did not start: {why}; correct PREFECT_HOME and Prefect's "
            "settings, or name a server in PREFECT_API_URL"
        )


@dataclass
class _Running:
    process: subprocess.Popen[str]
    log: IO[str]
    url: str = ""


_running: _Running | None = None
_failure: ServerFailure | None = None
_lock = threading.Lock()


def start_temporary_server(wait: Callable[[], None] | None = None) -> str:
    """The API's address of this process's server, once it answers. Raises ServerFailure, a second
    time without another try.

    wait: called while it is waited for, several times a second.
    """
    global _running, _failure
    with _lock:
        if _failure is not None:
            raise _failure
        if _running is not None and _running.process.poll() is None:
            return _running.url
        try:
            _running = _start(wait or (lambda: None))
        except ServerFailure as failure:
            _failure = failure
            raise
        return _running.url


def stop_temporary_server() -> None:
    """End it, if there is one."""
    global _running
    running, _running = _running, None
    if running is not None:
        _end(running)


def _start(wait: Callable[[], None]) -> _Running:
    log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed by _end
    process = subprocess.Popen(  # noqa: S603  this interpreter, our own file
        [
            sys.executable,
            "-P",
            str(Path(__file__).with_name("temporary_server.py")),
            str(os.getpid()),
        ],
        env=os.environ | OFF,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C ends the night first
    )
    running = _Running(process, log)
    try:
        port = process.stdout.readline().strip() if process.stdout else ""
        deadline = time.monotonic() + START_SECONDS
        while not (port and _is_healthy(int(port))):
            if process.poll() is not None:
                raise ServerFailure(f"it ended at once: {_last_line(log)}")
            if time.monotonic() >= deadline:
                raise ServerFailure(f"it did not answer within {START_SECONDS:g} seconds")
            wait()
            time.sleep(0.1)
    except BaseException:
        _end(running)
        raise
    running.url = f"http://127.0.0.1:{port}/api"
    atexit.register(stop_temporary_server)
    return running


def _is_healthy(port: int) -> bool:
    """Whether it answers; asked without a client, whose certificates and proxies may be what is
    wrong.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(running: _Running) -> None:
    running.process.terminate()
    try:
        running.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    finally:
        if running.process.stdout is not None:
            running.process.stdout.close()
        running.log.close()


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    causes = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (causes or lines or ["it said nothing"])[-1][:300]
