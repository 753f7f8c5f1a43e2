"""`sync --event` as a process: what it prints, how it ends, and what becomes of one that is
killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from pydantic import TypeAdapter

from schemas.report import Report
from tests.command import run
from tests.firm import Firm

Call = Callable[..., CompletedProcess[str]]


@pytest.fixture
def call(firm: Firm) -> Call:
    """Runs a command on a firm of three meetings that essentry holds, of which two have changed
    since.
    """
    (firm.folder / "c.toml").write_text(
        f'[essentry]\nbase_url="{firm.sandbox.base_url}"\ntimeout_seconds=60\n[state]\nurl="sqlite:///state.sqlite"\nlease_seconds=5\n'
        '[report]\ndirectory="runs"\n[guards]\napprove_first_run=false\n[sources.rooms]\nurl="sqlite:///rooms.sqlite"\n'
        'events_sql="events.sql"\nguests_sql="guests.sql"\ntimes="utc"\nsites."1"={location_id=11}\nsites."2"={location_id=12}\n',
        encoding="utf-8",
    )
    firm.book_many(3)
    firm.write()

    def command(*arguments: str) -> CompletedProcess[str]:
        return run(*arguments, "--config", str(firm.folder / "c.toml"))

    assert command("sync").returncode == 0
    firm.meetings["rooms"]["m000"]["guests"] |= {"zoe": "zoe@out.example"}
    firm.meetings["rooms"]["m001"]["name"] = "Another title"
    firm.write()
    firm.new_mails()
    return command


def test_it_tells_each_step_and_the_others_wait(call: Call, firm: Firm) -> None:
    done = call("sync", "--event", "m000")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = lines.index("rooms-m000")
    assert [line.split()[0] for line in lines[start + 1 : start + 8]] == [
        "read", "validated", "built", "compared", "guards", "request", "answer",
    ]  # fmt: skip
    assert lines[start + 7].split() == ["answer", "confirmed"]
    assert "zoe@out.example" not in done.stdout
    assert [event for _, event, _, _ in firm.new_mails()] == ["rooms-m000"]
    told = json.loads(call("sync", "--event", "rooms-m001", "--json").stdout)
    TypeAdapter(Report).validate_python(told)
    assert told["explained"][0]["answer"] == "confirmed"
    assert call("sync").returncode == 0
    assert {event for _, event, _, _ in firm.new_mails()} == {"rooms-m001"}


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--event", "rooms-m00O"), "near it are rooms-m00"),
        (("--event", ""), "--event is empty"),
        (("--guest", "nobody@out.example"), "no event to come has this guest"),
        (("--from", "tomorrow"), "is no day"),
        (("--from", "2026-12-02", "--to", "2026-12-01"), "no day is chosen"),
        (("--event", "m000", "--source", "rooms"), "choose by themselves"),
        (("--source", "hr"), "the configuration names rooms"),
    ],
)
def test_what_is_typed_wrongly_ends_with_2_and_the_remedy(
    call: Call, firm: Firm, arguments: tuple[str, ...], told: str
) -> None:
    done = call("sync", *arguments)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert "nobody@" not in done.stderr
    assert firm.new_mails() == []


def test_its_plan_is_applied_by_its_id_and_is_never_the_latest(call: Call, firm: Firm) -> None:
    whole = json.loads(call("plan", "--json").stdout)["plan"]["plan_id"]
    some = json.loads(call("plan", "--event", "m000", "--json").stdout)["plan"]["plan_id"]
    assert call("apply", some).returncode == 0
    assert [event for _, event, _, _ in firm.new_mails()] == ["rooms-m000"]
    stale = call("apply", "latest")
    assert (stale.returncode, f"the plan {whole} is stale" in stale.stderr) == (2, True), (
        stale.stderr
    )


def test_s08_a_killed_run_is_mended_by_the_next_night(call: Call, firm: Firm) -> None:
    """essentry has applied the request, and its answer has met nobody."""
    before = firm.puts()
    firm.sandbox.add_faults([{"kind": "hang_after"}])
    command = [
        sys.executable,
        "-m",
        "flows",
        "sync",
        "--event",
        "m000",
        "--config",
        str(firm.folder / "c.toml"),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
        cwd=Path.cwd(),
    ) as process:
        while firm.puts() == before and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    firm.sandbox.clear_faults()
    assert firm.puts() == before + 1
    time.sleep(6)  # the lease of the dead
    assert call("sync").returncode == 0
    mails = [(kind, event) for kind, event, _, _ in firm.new_mails()]
    assert mails.count(("invited", "rooms-m000")) == 1
    assert {event for _, event in mails} == {"rooms-m000", "rooms-m001"}
    assert call("sync").returncode == 0
    assert firm.new_mails() == []
