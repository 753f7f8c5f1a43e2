"""S16: no night by a wrong clock, and a way back from one that there was."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import flows.night.clock as clock
from flows.night.clock import compare_clocks, measure_essentry
from flows.night.run import new_run
from flows.night.session import open_session, open_state
from flows.operations.clock import find_clock_ahead, forget_clock
from schemas.errors import ConfigurationError
from tests.command import run
from tests.firm import Firm
from tests.flows.small import Company


@contextlib.contextmanager
def essentry_with(headers: dict[str, str]) -> Iterator[str]:
    """An essentry that answers anything with 404 and these headers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/v2"
    finally:
        server.shutdown()
        server.server_close()


def date(minutes: float) -> str:
    """An HTTP date so many minutes from now."""
    return format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)


def at(firm: Firm, url: str) -> Any:
    firm.sections["essentry"] = {"base_url": url}
    firm.book("m")
    return firm.config


@pytest.mark.parametrize(("minutes", "told"), [(0, 0), (5, 0), (-15, 15), (15, 15), (58, 58)])
def test_s16_a_clock_near_essentrys_goes_and_more_than_some_minutes_are_told(
    firm: Firm, minutes: int, told: int
) -> None:
    with essentry_with({"Date": date(minutes)}) as url:
        assert abs(compare_clocks(at(firm, url), new_run()) - told) <= (1 if told else 0)


@pytest.mark.parametrize("minutes", [90, -90, -60 * 24 * 30, 60 * 24 * 400])
def test_s16_a_clock_far_from_essentrys_is_refused_with_both_named(
    firm: Firm, minutes: int
) -> None:
    with essentry_with({"Date": date(minutes)}) as url:
        config = at(firm, url)
        with pytest.raises(ConfigurationError) as refused:
            compare_clocks(config, new_run())
        theirs = datetime.now(UTC) + timedelta(minutes=minutes)
        assert f"essentry says {theirs:%Y-%m-%d}" in str(refused.value)
        assert f"{datetime.now(UTC):%Y-%m-%d}" in str(refused.value)
        assert "NTP" in str(refused.value)
        for kind in ("plan", "sync"):  # before anything is read
            with (
                pytest.raises(ConfigurationError, match="max_clock_minutes"),
                open_session(config, kind=kind),
            ):
                raise AssertionError("a night by a wrong clock began")


def test_s16_limits_are_settings_and_a_given_clock_of_a_sandbox_is_not_compared(firm: Firm) -> None:
    with essentry_with({"Date": date(90)}) as url:
        firm.sections["guards"] |= {"max_clock_minutes": 120, "clock_tolerance_minutes": 100}
        config = at(firm, url)
        assert compare_clocks(config, new_run()) == 0
        assert compare_clocks(firm.config, new_run(datetime.now(UTC) + timedelta(days=300))) == 0
    with essentry_with({"Date": date(60 * 48)}) as url:
        firm.sections["essentry"] = {"base_url": url}
        assert compare_clocks(firm.config, new_run(datetime.now(UTC) + timedelta(days=300))) == 0
        with pytest.raises(ConfigurationError):
            compare_clocks(firm.config, new_run())


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}, {"Date": ""}])
def test_s16_an_answer_without_a_date_says_nothing(firm: Firm, headers: dict[str, str]) -> None:
    with essentry_with(headers) as url:
        assert measure_essentry(at(firm, url)) is None
        assert compare_clocks(firm.config, new_run()) == 0


def test_s16_a_stored_answer_is_as_old_as_it_says(firm: Firm) -> None:
    with essentry_with({"Date": date(-120), "Age": "7200"}) as url:
        assert compare_clocks(at(firm, url), new_run()) == 0


HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("essentry", "databases", "refused"),
    [
        (None, {}, False),
        (None, {"hr": 0}, False),
        (None, {"hr": 30}, True),
        (None, {"hr": 30, "rooms": 0}, False),  # one that agrees is enough
        (None, {"hr": 30, "rooms": -30}, True),
        (0, {"hr": 30}, False),  # essentry's word counts, a database server may be wrong
        (30, {"hr": 0}, True),
    ],
)
def test_s16_without_essentry_the_databases_are_asked(
    firm: Firm,
    essentry: int | None,
    databases: dict[str, int],
    refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    firm.book("m")
    monkeypatch.setattr(
        clock, "measure_essentry", lambda config: None if essentry is None else essentry * HOURS
    )
    monkeypatch.setattr(
        clock,
        "measure_databases",
        lambda config: {f"the database of {n}": off * HOURS for n, off in databases.items()},
    )
    with (
        pytest.raises(ConfigurationError, match="the database of hr says")
        if refused
        else contextlib.nullcontext()
    ):
        compare_clocks(firm.config, new_run())


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_s16_every_servers_clock_is_read_in_utc_and_a_file_has_none(
    kind: str, tmp_path: Path, firm: Firm
) -> None:
    from tests.sources.databases import database

    if kind == "sqlite":
        firm.book("m")
        firm.write()
        assert clock.measure_databases(firm.config) == {}
        return
    with database(kind, tmp_path) as engine:
        firm.source_settings["rooms"] = {"url": engine.url.render_as_string(hide_password=False)}
        firm.book("m")
        (off,) = clock.measure_databases(firm.config).values()
        assert abs(off) < timedelta(minutes=2)


@pytest.mark.share(2)
@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("way", ["sync", "apply"])
def test_s16_what_a_clock_ahead_ended_is_held_by_essentry_again(
    firm: Firm, way: str, partitions: int
) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    firm.book("gone", "ada", start=firm.now + timedelta(days=10))
    firm.book("changed", "eve", start=firm.now + timedelta(days=11))
    firm.book("far", "bob", start=firm.now + timedelta(days=200))
    firm.night()
    firm.new_mails()
    firm.cancel("gone")
    firm.now += timedelta(days=30)
    ahead = firm.night()
    assert ahead.report["counts"]["expire"] + ahead.report["counts"]["held"] >= 1
    firm.now -= timedelta(days=30)
    firm.meetings["rooms"]["changed"]["name"] = "Another title"
    if way == "sync":
        result = firm.night()
        assert result.report["notes"]["events_brought_back_that_a_clock_ahead_had_ended"] >= 1
    else:
        firm.night(kind="plan")
        firm.apply()
    assert ("cancelled", "rooms-gone", "rooms-gone-ada", "ada@out.example") in firm.new_mails()
    assert set(firm.held()) == {"rooms-changed", "rooms-far"}
    assert firm.sandbox.state()["events"]["rooms-changed"]["name"] == "Another title"
    puts = firm.puts()
    firm.night()
    assert firm.puts() == puts


def test_s16_what_is_over_stays_over(firm: Firm) -> None:
    firm.book("soon", start=firm.now + timedelta(hours=2))
    firm.book("later")
    firm.night()
    firm.now += timedelta(hours=9)
    assert firm.night().report["counts"]["expire"] == 1
    result = firm.night()
    assert result.report["counts"]["expire"] == 0
    assert "events_brought_back_that_a_clock_ahead_had_ended" not in result.report["notes"]


def test_s16_forgetting_the_clock_puts_runs_plans_reads_and_waits_right(firm: Firm) -> None:
    """A wall clock that was 30 days ahead, as the state has it afterwards: written by hand, for a
    test has one clock.
    """
    now = datetime.now(UTC)
    firm.now = now - timedelta(hours=2)
    firm.book("m", start=now + timedelta(days=10))
    firm.book("n")
    firm.night()
    firm.cancel("m")
    firm.now = now + timedelta(days=30)
    firm.sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-x", "code": "ERROR_X"}])
    firm.book("x")
    result = firm.night()
    with open_state(firm.config) as state, state.engine.begin() as connection:
        for table, name in (
            ("runs", "started_at"),
            ("runs", "finished_at"),
            ("plans", "created_at"),
            ("source_reads", "read_at"),
        ):
            connection.exec_driver_sql(
                f"UPDATE {table} SET {name} = {name} + {int(30 * 86400e6)} WHERE run_id = ?",
                (result.report["run"]["run_id"],),
            )
        connection.exec_driver_sql(
            f"UPDATE rejections SET last_at = last_at + {int(30 * 86400e6)}, "
            f"next_at = next_at + {int(32 * 86400e6)}"
        )
    with open_state(firm.config) as state:
        found = find_clock_ahead(firm.config, state)
        assert len(found.runs) == 1
        assert found.events["source_id"].tolist() == ["rooms-m"]
        words = "\n".join(found.describe())
        assert result.report["run"]["run_id"] in words
        assert "1 event ended as over that is not over yet" in words
        assert forget_clock(firm.config, state) == 1
        again = find_clock_ahead(firm.config, state)
        assert again.runs.empty
        assert again.events.empty
        assert state.runs()["run_id"].tolist()[-1] == result.report["run"]["run_id"], (
            "in the order in which they were"
        )
        assert state.load_plan("latest")[0]["created_at"] <= datetime.now(UTC)
        assert (state.rejections()["next_at"] <= datetime.now(UTC)).all()
    firm.now = now + timedelta(hours=3)
    firm.new_mails()
    firm.night()
    assert "rooms-m" not in firm.held()
    assert [mail[0] for mail in firm.new_mails()].count("cancelled") == 1


def test_s16_runs_forget_clock_as_a_command(company: Company) -> None:
    def command(*arguments: str) -> tuple[int, str]:
        done = run(*arguments, "--config", str(company.path))
        return done.returncode, done.stdout + done.stderr

    company.write({"1": ["ada@out.example"], "2": ["bob@out.example"]}, days=10)
    company.night()
    assert "nothing to forget" in command("runs", "--forget-clock")[1]
    start = company.now
    company.now += timedelta(days=30)
    company.write({"1": ["ada@out.example"]}, days=-20)
    company.night()
    company.now = start
    code, told = command("runs", "--forget-clock")
    assert code == 2  # nobody answered
    assert "rooms-2, until" in told
    code, told = command("runs", "--forget-clock", "--yes")
    assert (code, "count as held by essentry again" in told) == (0, True)
