"""The demo: a sandbox of essentry, a fictional company, its nights through the real flow, and what
is read back of them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from flows.commands.summary import print_result
from flows.commands.terminal import Progress, console, say
from flows.commands.waiting import waiting
from flows.demo.databases import build_demo
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from schemas.config_values import is_loopback
from schemas.errors import ConfigurationError
from schemas.load_config import load_config
from transforms.words import plural

HOME = Path(__file__).resolve().parents[2] / "data" / "demo"
QUERY = (
    "SELECT source_id, invitation_id, starts_at, arrived_at, left_at FROM v_visits "
    "WHERE source_id IS NOT NULL ORDER BY starts_at, arrived_at"
)
"""Who came to which event; flows/OPERATING.md has it, too."""
STATE = Path("state", "essentry-sync.sqlite")
STATE_FILES = (STATE, *(STATE.with_name(STATE.name + end) for end in ("-wal", "-shm")))
DATABASES = ("rooms.sqlite", "hr.sqlite")


def run_demo(folder: Path | None, *, nights: int = 3) -> int:
    """Run the nights; returns the last exit code. Everything is written below `folder`, and a
    former demo there is replaced.

    Raises ConfigurationError when something in the folder is not a demo's.
    """
    source = HOME / "essentry-sync.toml"
    home = folder or HOME
    if not source.exists():
        raise ConfigurationError(
            f"the demo's configuration {source} is missing: run the demo in a checkout of the "
            "project"
        )
    check_folder(home, shipped=source)
    home.mkdir(parents=True, exist_ok=True)
    if home.resolve() != HOME:
        shutil.copy(source, home / source.name)
    for name in STATE_FILES:
        (home / name).unlink(missing_ok=True)
    anchor = datetime.now(UTC).replace(hour=1, minute=0, second=0, microsecond=0)
    with SandboxServer(SandboxSettings()) as sandbox:
        os.environ["ESSENTRY_SYNC_ESSENTRY__BASE_URL"] = sandbox.base_url
        os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
            sandbox.token,
            sandbox.agent_token,
        )
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
        if nights == len(_TOLD):
            show_readings(load_config(home / source.name), sandbox)
    say(
        f"\nThe reports are under {home / 'runs'}; open the last one: "
        f"{result.folder / 'report.html'}"
    )
    return code


def show_readings(config: Config, sandbox: SandboxServer) -> None:
    """A day at the gate, read back and joined, and an audit of what hands changed."""
    from flows.commands.audit import print_audited
    from flows.commands.tables import print_table
    from flows.commands.visits import print_visits
    from flows.demo.gate import spend_day
    from flows.night.readings import count_attendance
    from flows.night.session import open_state
    from flows.operations.audit import audit
    from flows.operations.check_ins import read_visits

    waiting.begins("read back")
    with open_state(config) as state:
        day = spend_day(sandbox, state)
        mails = len(sandbox.mails())
        date = day.ends_at.astimezone(ZoneInfo(config.report.timezone)).date()
        say(f"\nAt the gate on {date}, as if it were over: a candidate and others come by code")
        done = read_visits(config, state, now=day.ends_at + timedelta(hours=1))
        print_visits(config, done, date, count_attendance(config, state, date, now=day.ends_at))
        say(f"In SQL, on the state store: {QUERY}")
        with closing(sqlite3.connect(config.root / STATE)) as connection:
            cursor = connection.execute(QUERY)
            columns = [name for name, *_ in cursor.description]
            print_table(console, columns, [list(map(str, row)) for row in cursor])
        say("\nA hand changed three things in essentry meanwhile; `essentry-sync audit` finds them")
        print_audited(audit(config, state))
    say(f"Reading back mailed {plural(len(sandbox.mails()) - mails, 'person', 'people')}")


def check_folder(home: Path, *, shipped: Path) -> None:
    """Raise ConfigurationError unless what the demo would write over in this folder is an earlier
    demo's: configuration, state, databases.
    """
    if home.exists() and not home.is_dir():
        raise ConfigurationError(
            f"{home} is no folder: name one with --folder that is empty, or not there yet"
        )
    config = home / shipped.name
    beside = "nothing was written: name a folder with --folder that is empty, or not there yet"
    if config.exists() and config.read_bytes() != shipped.read_bytes():
        raise ConfigurationError(
            f"{config} is not the demo's configuration (or was changed since): {beside}"
        )
    if not config.exists():
        for name in (*map(Path, DATABASES), *STATE_FILES):
            if (home / name).exists():
                raise ConfigurationError(
                    f"{home / name} is no demo's, for there is no {shipped.name} of one beside it: "
                    f"{beside}"
                )
    state = home / STATE
    if state.exists() and not is_demos_state(state):
        raise ConfigurationError(
            f"the state {state} is not of a demo (it belongs to another essentry, or is none): "
            f"{beside}"
        )


def is_demos_state(file: Path) -> bool:
    """Whether a state store is bound to a sandbox of this machine, as the demo's is; one that
    cannot be read is not.
    """
    if file.stat().st_size == 0:
        return True
    try:
        # a look must not leave files of its own beside the state
        how = "mode=ro" if file.with_name(file.name + "-wal").exists() else "immutable=1"
        with closing(sqlite3.connect(f"file:{file}?{how}", uri=True)) as connection:
            rows = connection.execute("SELECT base_url FROM identity").fetchall()
    except sqlite3.Error:
        return False
    return all(url is None or is_loopback(url) for (url,) in rows)


_TOLD = {
    1: "everything is new",
    2: "a day has passed: meetings moved, guests came and went, some were cancelled",
    3: "nothing has changed",
}
