"""The demo: a sandbox of essentry, a fictional company, and its nights through the real flow."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.commands.terminal import Progress, print_result, say
from flows.demo.databases import build_demo
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.config import load_config
from schemas.errors import ConfigurationError
from transforms.words import plural

HOME = Path(__file__).resolve().parents[2] / "data" / "demo"


def run_demo(folder: Path | None, *, nights: int = 3) -> int:
    """Run the nights; returns the last exit code. Everything is written below `folder`, and a former demo there is replaced."""
    source = HOME / "essentry-sync.toml"
    home = folder or HOME
    if not source.exists():
        raise ConfigurationError(f"the demo's configuration {source} is missing: run the demo in a checkout of the project")
    home.mkdir(parents=True, exist_ok=True)
    if home.resolve() != HOME:
        shutil.copy(source, home / source.name)
    shutil.rmtree(home / "state", ignore_errors=True)
    anchor = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0)
    with SandboxServer(SandboxSettings()) as sandbox:
        os.environ["ESSENTRY_SYNC_ESSENTRY__BASE_URL"] = sandbox.base_url
        os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = sandbox.token, sandbox.agent_token
        say(f"essentry sandbox at {sandbox.base_url} (it mails nobody)")
        from flows.engine.run import run_night

        code = 0
        for night in range(1, nights + 1):
            clock = anchor + timedelta(days=night - 1)
            build_demo(home, night=night, anchor=anchor.date())
            say(f"\nNight {night}: {_TOLD[night]}")
            before = sandbox.requests()["puts"]
            with Progress() as progress:
                result = run_night(load_config(home / source.name), as_of=clock, progress=progress)
            print_result(result, as_json=False)
            say(f"the sandbox received {plural(sandbox.requests()['puts'] - before, 'request')}")
            code = result.exit_code
            if code not in (0, 3):
                return code
    say(f"\nThe reports are under {home / 'runs'}; open the last one: {result.folder / 'report.html'}")
    return code


_TOLD = {
    1: "everything is new",
    2: "a day has passed: meetings moved, guests came and went, some were cancelled",
    3: "nothing has changed",
}
