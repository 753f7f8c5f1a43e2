"""How the demo ends: visits joined back, and an audit of what hands changed."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from flows.commands.demo import QUERY, STATE, show_readings
from flows.engine.run import run_night
from flows.sandbox.server import SandboxServer
from schemas.load_config import load_config
from tests.conftest import AS_OF
from tests.flows.test_checkins import QUERY as DOCUMENTED


def test_a_candidate_is_joined_back_and_an_audit_finds_the_three_hands(
    demo_night: tuple[Path, SandboxServer], capsys: pytest.CaptureFixture[str]
) -> None:
    file, sandbox = demo_night
    config = load_config(file)
    assert run_night(config, as_of=AS_OF).exit_code == 3  # the demo's odd rows
    capsys.readouterr()
    before = len(sandbox.mails())
    show_readings(config, sandbox)
    told = capsys.readouterr().out
    with sqlite3.connect(file.parent / STATE) as connection:
        rows = connection.execute(QUERY).fetchall()
    connection.close()
    assert [row[0].partition("-")[0] for row in rows].count("hr") == 1
    assert len(rows) >= 2
    for _, invitation, starts_at, arrived_at, left_at in rows:
        assert invitation in told
        assert arrived_at < starts_at < left_at
    found = re.findall(r"^(missing event|missing invitation|different) ", told, flags=re.M)
    assert sorted(found) == ["different", "missing event", "missing invitation"]
    assert re.search(r"the next run sends again, through the guards: rooms-\w+$", told, flags=re.M)
    by_hand = [mail for mail in sandbox.mails()[before:] if mail["request"] != 0]
    assert by_hand == []
    assert "Reading back mailed 0 people" in told


def test_the_query_is_the_documented_one() -> None:
    assert QUERY.split() == DOCUMENTED.split()
