"""One real Prefect server a test session, and the demo's company against a sandbox.

Tests run by file, a file on one worker; the files that use the server all on the same one.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from flows.demo.databases import build_demo
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm
from tests.flows.small import Company

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "data" / "demo" / "essentry-sync.toml"
AS_OF = datetime(2026, 11, 24, 1, tzinfo=UTC)
QUICK = {  # what a server does every minute, every few seconds
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "0:00:02",
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 4 << 30:
    # a test's files need not outlive a power cut, and a disk's fsync is a seventh of a night
    for name in ("TMPDIR", "PYTEST_DEBUG_TEMPROOT"):
        os.environ.setdefault(name, "/dev/shm")
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

DEPLOYED = 24
"""Without --all, one in so many of the tests that send goes by a deployment, too."""
_BY_DEPLOYMENT = re.compile(r"\[(.*-)?deployment(-.*)?\]$")


class ByFile(LoadFileScheduling):
    """A file's tests on one worker, and all files that use the Prefect server on the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "prefect" if _uses_server(file) or _BY_DEPLOYMENT.search(nodeid) else file


@cache
def _uses_server(file: str) -> bool:
    return 'usefixtures("prefect_server")' in (ROOT / file).read_text(encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all",
        action="store_true",
        help="run every case, and every test that sends both by sync and by plan and apply",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --all a seeded share: half of the tests that send go by `sync`, half by `plan` and
    `apply`, but for those marked `every_way`, and some by a deployment besides; of a test marked
    `share(n)` one case in n.
    """
    if config.getoption("--all"):
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("share"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {item for item in items if _is_other_way(item)}
    for of_one in cases.values():
        some = sorted(
            (item for item in of_one if item not in left_out),
            key=lambda item: crc32(item.nodeid.encode()),
        )
        (parts,) = of_one[0].get_closest_marker("share").args  # type: ignore[union-attr]
        left_out.update(some[-(-len(some) // parts) :])
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _is_other_way(item: pytest.Item) -> bool:
    name = getattr(item, "callspec", None) and item.callspec.params.get("way")
    if not name:
        return False
    draw = crc32(item.nodeid.replace(name, "").encode())
    if name == "deployment":
        return draw % DEPLOYED != 0
    return item.get_closest_marker("every_way") is None and ("sync", "apply")[draw % 2] != name


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a `prefect server` with its services on loopback, with a database of its
    own; in the environment, too.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    import flows.sync  # noqa: F401  sets the engine's environment first

    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        **QUICK,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    patch = pytest.MonkeyPatch()
    try:
        deadline = time.monotonic() + 120
        while not _answers(url):
            assert server.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline, (home / "server.log").read_text()
            time.sleep(0.2)
        for name, value in {**QUICK, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}.items():
            patch.setenv(name, value)
        with temporary_settings(
            {PREFECT_API_URL: url, PREFECT_HOME: home, PREFECT_LOGGING_TO_API_ENABLED: False}
        ):
            yield url
    finally:
        patch.undo()
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    """A small company and its sandbox; tokens are in the environment."""
    with SandboxServer(SandboxSettings()) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield Company(tmp_path, sandbox)


@pytest.fixture
def demo_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, SandboxServer]]:
    """The demo's first night: the path of its configuration, and the sandbox it sends to."""
    shutil.copy(DEMO, tmp_path)
    build_demo(tmp_path, night=1, anchor=AS_OF.date())
    with SandboxServer(SandboxSettings()) as sandbox:
        monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield tmp_path / DEMO.name, sandbox


@pytest.fixture(scope="module")
def firm_sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings()) as server:
        yield server


@pytest.fixture
def firm(tmp_path: Path, firm_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Firm:
    """An empty firm; nothing has been sent."""
    firm_sandbox.clear_faults()
    firm_sandbox.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", firm_sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", firm_sandbox.agent_token)
    return Firm(tmp_path, firm_sandbox)


@pytest.fixture(params=["sync", "apply", "deployment"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How nights send: by `sync`, by `plan` and `apply`, or by a deployment (S20). See
    `pytest_collection_modifyitems`.
    """
    if request.param == "deployment":
        request.getfixturevalue("prefect_server")
    monkeypatch.setattr(Firm, "way", request.param)
    return request.param
