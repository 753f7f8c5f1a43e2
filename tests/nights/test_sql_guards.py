"""Guards of one's own: a SELECT over the plan that returns a row stops the night, and whatever
cannot be asked stops it, too.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from flows.night import ask_plan, own_guards, session
from flows.night.part import approve_part
from flows.night.session import open_state
from schemas.config_guards import GuardsConfig
from schemas.errors import ConfigurationError, GuardTripped, StalePlanError
from tests.command import run
from tests.firm import Firm, guards_of
from transforms.guards.selection import read_choice

MOVED = """
    SELECT source_id, starts_at_before, starts_at, guests FROM plan
    WHERE action = 'update' AND host_email = 'boss@corp.example' AND starts_at <> starts_at_before
"""


@pytest.fixture
def guarded(firm: Firm) -> Firm:
    """Three meetings in essentry, one of them the boss's, and a guard on the boss's meetings."""
    firm.book("a", "g1", "g2", host="boss@corp.example")
    firm.book("b")
    firm.book("c", site="2")
    assert firm.night().exit_code == 0
    put(firm, "vip moved", MOVED)
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.new_mails()
    return firm


def put(firm: Firm, name: str, sql: str, **settings: object) -> None:
    """Have a guard of one's own."""
    firm.sections["guards"] |= {
        "sql": firm.sections["guards"].get("sql", {}) | {name: sql}
    } | settings


def move(firm: Firm, key: str, hours: int = 3) -> None:
    firm.meetings["rooms"][key]["start"] += timedelta(hours=hours)


@pytest.fixture(params=["sync", "apply"])
def way(request: pytest.FixtureRequest, guarded: Firm) -> Firm:
    guarded.way = request.param
    return guarded


@pytest.mark.every_way
def test_a_returned_row_stops_the_night_and_an_approval_lets_it_go(way: Firm) -> None:
    move(way, "b")
    assert way.night().exit_code == 0  # somebody else's meeting
    assert {event for _, event, _, _ in way.new_mails()} == {"rooms-b"}
    move(way, "a")
    night = way.night()
    assert (night.exit_code, guards_of(night), way.new_mails()) == (4, {"sql.vip moved"}, [])
    (finding,) = night.report["guards"]
    assert (finding["number"], finding["limit"], finding["scope"]) == (1, 0, "run")
    assert finding["causes"][0].startswith("source_id rooms-a, starts_at_before ")
    assert "vip moved" in night.report["verdict"]
    assert "vip moved" in (night.folder / "report.html").read_text()
    assert way.approve()
    assert way.apply().exit_code == 0
    assert {event for _, event, _, _ in way.new_mails()} == {"rooms-a"}
    assert way.night().exit_code == 0


def test_an_approval_covers_no_other_meeting_and_no_more_of_them(guarded: Firm) -> None:
    guarded.book("z", host="boss@corp.example")
    guarded.night()
    guarded.new_mails()
    move(guarded, "a")
    assert guarded.night().exit_code == 4
    assert guarded.approve()
    move(guarded, "b")  # is nobody's business, and goes under the same approval
    move(guarded, "z")
    night = guarded.night()
    assert (night.exit_code, guarded.new_mails()) == (4, [])
    assert "does not cover it" in night.report["guards"][0]["message"]
    assert guarded.approve()  # of this one: a person has now seen both
    assert guarded.night().exit_code == 0
    assert {event for _, event, _, _ in guarded.new_mails()} == {"rooms-a", "rooms-b", "rooms-z"}


def test_what_is_new_and_none_of_the_guards_business_goes_under_the_approval(guarded: Firm) -> None:
    move(guarded, "a")
    assert guarded.night().exit_code == 4
    assert guarded.approve()
    move(guarded, "b")
    assert guarded.night().exit_code == 0
    assert {event for _, event, _, _ in guarded.new_mails()} == {"rooms-a", "rooms-b"}


def test_a_count_that_has_grown_is_not_the_row_that_was_approved(guarded: Firm) -> None:
    guarded.sections["guards"]["sql"] = {
        "many": "SELECT count(*) AS events FROM plan WHERE action = 'create' HAVING count(*) > 2"
    }
    guarded.book_many(3)
    assert guarded.night().report["guards"][0]["causes"] == ("events 3",)
    assert guarded.approve()
    guarded.book("m003")
    night = guarded.night()
    assert (night.exit_code, guarded.new_mails()) == (4, [])
    assert "by itself" in night.report["guards"][0]["message"]


def test_a_guard_that_fails_on_the_data_trips_and_tells_nobodys_name(guarded: Firm) -> None:
    guarded.sections["guards"]["sql"] = {
        "odd": "SELECT source_id FROM plan WHERE name::INTEGER > 3"
    }
    guarded.meetings["rooms"]["a"]["name"] = "Ada Lovelace"
    night = guarded.night()
    assert (night.exit_code, guards_of(night), guarded.new_mails()) == (4, {"sql.odd"}, [])
    assert (
        "could not be asked, so it trips: ConversionException"
        in night.report["guards"][0]["message"]
    )
    assert "Lovelace" not in str(night.report["guards"])


@pytest.mark.parametrize(
    "slow",
    [
        "SELECT 1 FROM plan, range(100000000000) t(a), range(10000000) s(b) WHERE a + b < 0",
        # one call, which no interrupt ends
        "SELECT length(repeat(source_id, 1000000000)) FROM plan",
    ],
)
def test_a_guard_that_takes_too_long_or_too_much_trips(guarded: Firm, slow: str) -> None:
    guarded.sections["guards"] |= {"sql": {"slow": slow}, "sql_seconds": 3}
    move(guarded, "b")
    night = guarded.night()
    assert (night.exit_code, guards_of(night), guarded.new_mails()) == (4, {"sql.slow"}, [])
    assert "could not be asked" in night.report["guards"][0]["message"]


def test_people_in_returned_rows_are_masked(guarded: Firm) -> None:
    sql = (
        "SELECT email, name AS title, domain, 7.0 AS share FROM mails JOIN plan USING (source_id) "
        "WHERE domain = 'rival.example'"
    )
    guarded.sections["guards"]["sql"] = {"rival": sql}
    guarded.book("r", name="Interview Lovelace", guests={"x": "ada@rival.example"})
    night = guarded.night()
    assert night.report["guards"][0]["causes"] == (
        "email a…@rival.example, title I… L…, domain rival.example, share 7.0",
    )


def test_deletes_that_alone_trip_it_wait_and_the_rest_goes(guarded: Firm) -> None:
    guarded.sections["guards"] |= {"on_trip": "hold-deletes"}
    guarded.sections["guards"]["sql"] = {
        "gone": "SELECT source_id FROM plan WHERE action = 'delete' AND location_id = 12"
    }
    guarded.cancel("c")
    move(guarded, "b")
    night = guarded.night()
    assert (night.exit_code, guards_of(night)) == (4, {"sql.gone"})
    assert {(kind, event) for kind, event, _, _ in guarded.new_mails()} == {("updated", "rooms-b")}
    assert guarded.approve()
    assert guarded.apply().exit_code == 0
    assert {(kind, event) for kind, event, _, _ in guarded.new_mails()} == {
        ("cancelled", "rooms-c")
    }


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM plan", '"nothing" not found'),
        ("SELECT * FROM plans", "does not exist"),
        ("SELECT 1 FROM plan WHERE starts_at > 12", "Cannot compare"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("DELETE FROM plan", "one SELECT"),
        ("CREATE TABLE x AS SELECT 1", "one SELECT"),
        ("COPY plan TO '/dev/shm/stolen.csv'", "one SELECT"),
        ("ATTACH '/dev/shm/other.duckdb'", "one SELECT"),
        ("SET enable_external_access = true", "one SELECT"),
        ("INSTALL httpfs", "one SELECT"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_csv('https://example.com/x.csv')", "disabled by configuration"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"),
        ("SELECT getenv('ESSENTRY_TOKEN')", "does not exist"),
        ("SELECT count(*) FROM plan", "every night"),
        ("", "one SELECT"),
    ],
)
def test_a_broken_or_meddling_select_ends_before_the_run_begins(
    guarded: Firm, sql: str, told: str
) -> None:
    guarded.sections["guards"]["sql"] = {"bad": sql}
    before = guarded.puts()
    with pytest.raises(ConfigurationError) as error:
        guarded.night()
    assert error.value.exit_code == 2
    assert 'guards.sql."bad"' in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert guarded.puts() == before


def test_the_process_that_asks_knows_no_secret(
    guarded: Firm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = (
        "import json, os, sys; sys.stdin.buffer.read(); print(json.dumps({'error': "
        "'|'.join(os.environ.values()), 'kind': 'process'}))"
    )
    (tmp_path / "tell.py").write_text(told)
    monkeypatch.setenv("SOME_DATABASE_URL", "postgresql://a:sesame@b/c")
    monkeypatch.setattr(ask_plan, "__file__", str(tmp_path / "tell.py"))
    with pytest.raises(ConfigurationError) as error:
        guarded.night()
    assert os.environ["PATH"] in str(error.value)
    for secret in (os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"], "sesame"):
        assert secret not in str(error.value)


def test_a_process_that_is_killed_trips(
    guarded: Firm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(guarded, "b")
    check = own_guards.check_own_guards

    def check_and_break(guards: GuardsConfig) -> None:
        check(guards)
        (tmp_path / "die.py").write_text(
            "import os, signal, sys; sys.stdin.buffer.read(); os.kill(os.getpid(), signal.SIGKILL)"
        )
        monkeypatch.setattr(ask_plan, "__file__", str(tmp_path / "die.py"))

    monkeypatch.setattr(session, "check_own_guards", check_and_break)
    night = guarded.night()
    assert (night.exit_code, guards_of(night), guarded.new_mails()) == (4, {"sql.vip moved"}, [])
    assert "without an answer" in night.report["guards"][0]["message"]


def test_without_duckdb_its_package_is_named(
    guarded: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_guards, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"add the package essentry-sync\[files\]"):
        guarded.night()
    guarded.sections["guards"]["sql"] = {}
    assert guarded.night().exit_code == 0  # and nobody without such a guard needs it


def test_a_part_that_the_guard_says_nothing_of_is_counted_by_itself(guarded: Firm) -> None:
    move(guarded, "a")
    move(guarded, "b")
    assert guarded.night().exit_code == 4
    with open_state(guarded.config) as state:
        choice = read_choice(["event=rooms-b"], [])
        parted = approve_part(
            guarded.config, state, "latest", choice, by="anna", reason="read", now=datetime.now(UTC)
        )
    assert [finding["guard"] for finding in orjson.loads(parted.part["findings_json"])] == []
    assert "sql.vip moved" in [
        finding["guard"] for finding in orjson.loads(parted.rest["findings_json"])
    ]
    assert guarded.apply(parted.part["plan_id"]).exit_code == 0
    assert {event for _, event, _, _ in guarded.new_mails()} == {"rooms-b"}
    with pytest.raises(GuardTripped):
        guarded.apply(parted.rest["plan_id"])


def test_a_night_in_parts_asks_the_same(guarded: Firm) -> None:
    guarded.sections["scale"] = {"partitions": 3, "folder": str(guarded.folder / "parts")}
    put(
        guarded,
        "many",
        (
            "SELECT count(*) AS events, count(DISTINCT source_id) AS ids FROM plan HAVING count(*) "
            ">= 12"
        ),
    )
    guarded.book_many(11)
    move(guarded, "a")
    night = guarded.night()
    assert (night.exit_code, guards_of(night)) == (4, {"sql.vip moved", "sql.many"})
    assert {finding["causes"][0].split(",")[0] for finding in night.report["guards"]} == {
        "source_id rooms-a",
        "events 12",
    }


def test_the_commands_say_it_as_they_say_the_other_guards(
    demo_night: tuple[Path, object], tmp_path: Path
) -> None:
    path, _ = demo_night
    whole = path.read_text()
    path.write_text(whole + "\n[guards.sql]\n'no such thing' = 'SELECT x FROM plan'\n")
    for command in ("plan", "sync"):
        done = run(command, "--config", str(path))
        assert done.returncode == 2
        assert 'guards.sql."no such thing"' in done.stderr + done.stdout
    done = run("doctor", "--config", str(path))
    assert 'guards.sql."no such thing"' in done.stderr + done.stdout
    path.write_text(whole + "\n[guards.sql]\n'half\nname' = 'SELECT 1'\n")
    assert run("plan", "--config", str(path)).returncode == 2


def test_a_guard_that_was_changed_or_taken_away_is_told_once(firm: Firm) -> None:
    firm.book("a", host="boss@corp.example")
    put(firm, "vip moved", MOVED)
    assert firm.night().exit_code == 0
    # the same, written otherwise
    firm.sections["guards"]["sql"] = {"vip moved": "  \n" + MOVED.strip() + ";\n"}
    firm.book("b")
    assert firm.night().exit_code == 0
    for sql, told in (
        ({"vip moved": MOVED + " AND guests > 9"}, "changed"),
        ({"other": MOVED}, "new"),
        ({}, "gone"),
    ):
        firm.sections["guards"]["sql"] = sql
        move(firm, "b")
        night = firm.night()
        assert (night.exit_code, guards_of(night)) == (4, {"approve_policy_change"})
        name = (
            "other" if told != "changed" and "other" in str(night.report["guards"]) else "vip moved"
        )
        assert f"guards.sql.{name}: {told}" in night.report["guards"][0]["causes"]
        assert "boss@" not in str(night.report["guards"])
        assert firm.approve()
        assert firm.apply().exit_code == 0
        assert firm.night().exit_code == 0


def test_a_plan_of_before_the_guard_is_not_sent(guarded: Firm) -> None:
    move(guarded, "a")
    guarded.sections["guards"]["sql"] = {}
    guarded.night(kind="plan")
    put(guarded, "vip moved", MOVED)
    with pytest.raises(StalePlanError, match="other settings"):
        guarded.apply()
    assert guarded.new_mails() == []
