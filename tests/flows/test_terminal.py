"""What the commands print, as processes: at any width, without colour, into a pipe, in an encoding
that is not UTF-8; no key is ever cut.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from flows.sandbox.server import SandboxServer
from tests.command import run
from tests.firm import EVENTS, Firm

KEY = "K-2026-0010"
LONG = "meeting-" + "0123456789" * 6
UMLAUT = "Ключ-Ä"


@pytest.fixture(scope="module")
def sandbox():
    with SandboxServer() as server:
        yield server


@pytest.fixture(scope="module")
def office(tmp_path_factory, sandbox):
    """A night has been: a meeting with a key that ids escape, and two that are set aside."""
    folder = tmp_path_factory.mktemp("office")
    firm = Firm(folder, sandbox)
    firm.book(KEY, "ada", name="Besuch Ärzte → 14:00")
    firm.book("plain", "ben", "cyd")
    firm.book(LONG, host="no address")
    firm.book(UMLAUT, status="perhaps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESSENTRY_TOKEN", sandbox.token)
        patch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        firm.night()
    (folder / "events.sql").write_text(EVENTS)
    (folder / "c.toml").write_text(
        f'[essentry]\nbase_url="{sandbox.base_url}"\n[state]\nurl="sqlite:///state.sqlite"\n[report]\ndirectory="runs"\n[guards]\n'
        'approve_first_run=false\napprove_policy_change=false\nmax_quarantine_share=0.9\n[sources.rooms]\nurl="sqlite:///rooms.sqlite"\n'
        'events_sql="events.sql"\nguests_sql="guests.sql"\ntimes="utc"\nsites."1"={location_id=11}\nsites."2"={location_id=12}\n',
        encoding="utf-8",
    )
    return firm


@pytest.fixture
def call(office, sandbox, monkeypatch):
    """Runs a command on that office."""
    monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
    monkeypatch.setenv("ESSENTRY_SYNC_CONFIG", str(office.folder / "c.toml"))
    return run


def on_a_terminal(*arguments: str, width: int, **environment: str) -> str:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    settings = {
        key: value
        for key, value in os.environ.items()
        if key not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments], stdout=theirs, stderr=theirs,
        stdin=subprocess.DEVNULL,
        env={**settings, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(theirs)
    printed = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        printed += part
    os.close(ours)
    assert process.wait(60) == 0, printed.decode()
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.share(2)
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    "command", [("runs",), ("quarantine",), ("plan",), ("report",)], ids=lambda command: command[0]
)
def test_an_encoding_that_is_not_utf8_breaks_nothing(call, command, encoding):
    settings = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "flows", *command],
        capture_output=True,
        env=settings,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    if command[0] == "quarantine":
        # the key is told, whatever the encoding has
        assert b"\\u041a\\u043b\\u044e\\u0447-" in done.stdout
        assert LONG.encode() in done.stdout


def test_json_says_the_same_in_ascii(call):
    plain, other = (
        json.loads(call("quarantine", "--json", PYTHONIOENCODING=name).stdout)
        for name in ("utf-8", "ascii")
    )
    assert plain == other
    assert {row["source_event_id"] for row in plain} == {LONG, UMLAUT}


def test_help_in_ascii(call):
    assert call("--help", PYTHONIOENCODING="ascii").returncode == 0


@pytest.mark.share(2)
@pytest.mark.parametrize("width", [20, 60, 100, 300])
def test_no_key_is_cut_on_a_terminal(call, office, width):
    printed = on_a_terminal("quarantine", width=width, NO_COLOR="1")
    assert LONG in printed
    assert UMLAUT in printed
    assert "unknown status: make the SELECT return confirmed, pending or cancelled" in " ".join(
        printed.split()
    )
    run_id = office.plan_of()[0]["run_id"]
    assert run_id in on_a_terminal("runs", width=width, NO_COLOR="1")


def test_no_colour_where_none_is_wanted(call):
    assert "\x1b[" in on_a_terminal("runs", width=100)
    assert "\x1b[" not in on_a_terminal("runs", width=100, NO_COLOR="1").replace(
        "\x1b[2m", ""
    ).replace("\x1b[0m", "")
    assert "\x1b" not in call("runs").stdout


def test_a_pipe_gets_whole_lines(call):
    lines = call("quarantine", COLUMNS="40").stdout.splitlines()
    row = next(line for line in lines if LONG in line)
    assert row.endswith("correct the address in the source")


@pytest.mark.parametrize("where", ["reader", "disk"])
def test_a_night_goes_on_without_its_output(call, office, sandbox, where):
    office.book(f"late-{where}", f"guest-{where}")
    office.write()
    if where == "disk":
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "flows", "sync"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=120,
                check=False,
            )
        assert (done.returncode, done.stderr) == (0, "")
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "flows", "sync"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, "")
    assert any(key.startswith("rooms-late") and where in key for key in office.held())


def test_verdict_first_then_what_asks_then_the_rest(call, office):
    office.book("odd", host="no address either")
    office.book("odd2", host="nor this")
    office.book("well", "wim")
    office.write()
    done = call("sync")
    assert done.returncode == 3
    lines = done.stdout.strip().splitlines()
    verdict = next(n for n, line in enumerate(lines) if line.startswith("done, but"))
    asking = lines.index("what needs somebody:")
    numbers = next(n for n, line in enumerate(lines) if line.startswith("events"))
    assert verdict < asking < numbers
    told = [line.strip() for line in lines[asking:numbers] if "quarantined:" in line]
    assert len(told) == 2  # a line a reason
    assert next(line for line in told if "host's e-mail" in line).startswith(
        "quarantined: 3 rows, host's e-mail address is malformed: "
    )
    assert "(for the first time: rooms-odd, rooms-odd2)" in done.stdout
    assert re.search(r"see `essentry-sync quarantine \S+`", done.stdout)


def test_plan_lists_what_would_be_sent_cancellations_first(call, office):
    office.meetings["rooms"].pop("plain")
    office.book("new-one", "zoe")
    office.meetings["rooms"][KEY]["name"] = "Moved"
    office.write()
    done = call("plan", "--list", "2")
    assert done.returncode == 0, done.stderr
    told = done.stdout[done.stdout.index("what would be sent, cancellations first:") :].splitlines()
    assert [line.split()[0] for line in told[1:4]] == ["action", "cancel", "update"]
    assert "rooms-plain" in told[2]
    assert told[4].startswith("and ")
    folder = Path(done.stdout.rpartition("report: ")[2].strip()).parent
    rows = [
        line.split("|")[1].strip()
        for line in (folder / "report.md").read_text().partition("would be sent")[2].splitlines()
        if "| `" in line
    ]
    assert rows[:3] == ["cancel", "update", "new"]
    assert "zoe@out.example" not in done.stdout
    with (folder / "changes.csv").open(encoding="utf-8") as file:
        assert KEY in {row["source_event_id"] for row in csv.DictReader(file)}
    office.book("plain", "ben", "cyd")
    del office.meetings["rooms"]["new-one"]


def test_commands_to_copy_are_as_they_were_called(call, office, monkeypatch):
    office.book("waits", "uwe")
    office.write()
    file = office.folder / "c.toml"
    entry = Path(sys.executable).parent / "essentry-sync"
    done = subprocess.run(
        [entry, "plan", "--config", file],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_RUN_RECURSION_DEPTH": "1"},
        timeout=120,
        check=True,
    )
    command = re.search(r"to send it: (.+)", done.stdout)
    assert re.fullmatch(
        rf"uv run essentry-sync apply \S+ --config {re.escape(str(file))}", command[1]
    )
    folder = Path(done.stdout.rpartition("report: ")[2].strip()).parent
    assert command[1] in (folder / "report.md").read_text()
    monkeypatch.delenv("ESSENTRY_SYNC_CONFIG")
    words = command[1].removeprefix("uv run ").split()
    sent = subprocess.run(
        [entry.parent / words[0], *words[1:]],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    wrong = run("approve", "no-such-plan", "--config", str(file))
    assert f"`essentry-sync plan --config {file}`" in wrong.stderr


def test_show_knows_the_key_of_the_source(call):
    done = call("show", KEY)
    assert done.returncode == 0, done.stderr
    assert "rooms-K~2D2026~2D0010 is an event" in done.stdout
    assert (
        call("show", "rooms-K~2D2026~2D0010").stdout.splitlines()[0] == done.stdout.splitlines()[0]
    )
    assert "quarantine:" in call("show", UMLAUT).stdout
    unknown = call("show", "K-2026-9999")
    assert (unknown.returncode, "knows 'K-2026-9999'" in unknown.stderr) == (2, True)


def test_forget_says_when_nobody_has_the_address(call):
    done = call("forget", "--guest", "nobody@nowhere.example")
    assert (
        done.returncode,
        "neither the state nor a report knows this address" in done.stdout,
    ) == (0, True)
    assert "nobody@nowhere.example" not in done.stdout


def test_doctor_warns_of_rows_and_ends_well(call):
    done = call("doctor", "--json")
    lines = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    warned = [line["text"] for line in lines if line["level"] == "warning"]
    assert any(
        "would be quarantined: host's e-mail address is malformed" in text for text in warned
    )
    assert not [line for line in lines if line["level"] == "failed"]
    broken = call("doctor", ESSENTRY_TOKEN="wrong")
    assert broken.returncode == 2
    assert {line[0] for line in broken.stdout.splitlines()[:-1]} == {"✓", "!", "✗"}
    too_many = call("doctor", ESSENTRY_SYNC_GUARDS__MAX_QUARANTINE_SHARE="0.01")
    assert (too_many.returncode, "over the 1% of" in too_many.stdout) == (2, True)
