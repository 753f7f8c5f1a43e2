"""A change of settings is a question until a plan that could show its effect was released (S24):
whole nights.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.night.session import open_state
from flows.sandbox.records import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.sources.contents import find_contents
from flows.sources.presets import complete_config
from tests.firm import Firm, guards_of
from transforms.guards.policy import _digest, _old_form

INSIDE = {"internal_domains": ["corp.example"]}
TYPO = {"internal_domains": ["crop.example"]}
QUESTION = {"approve_policy_change"}
WIDE = {"max_host_domain_guests": 99, "max_outside_hosts": 99, "max_update_share": 1.0}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings()) as sandbox:
        yield sandbox


@pytest.fixture
def firm(tmp_path: Path, server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Firm:
    """Two sources; employees are at corp.example; one night was lived."""
    server.clear_faults()
    server.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
    firm = Firm(tmp_path, server, sources=("rooms", "hr"), **WIDE)
    firm.source_settings = {"rooms": dict(INSIDE), "hr": dict(INSIDE)}
    firm.book("m", "ada")
    firm.book("5", "cand", source="hr")
    assert firm.night().exit_code == 0
    firm.new_mails()
    return firm


def book_employees(firm: Firm, key: str = "all", **columns: Any) -> None:
    firm.book(key, **columns)
    firm.meetings["rooms"][key]["guests"] |= {f"e{n}": f"e{n}@corp.example" for n in range(9)}


def stops(firm: Firm) -> tuple[str, ...]:
    """A night that asks; why. Nobody was mailed."""
    result = firm.night()
    assert (result.exit_code, guards_of(result) & QUESTION, firm.new_mails()) == (4, QUESTION, [])
    return next(
        finding["causes"] for finding in result.report["guards"] if finding["guard"] in QUESTION
    )


def release(firm: Firm, code: int = 0) -> None:
    assert firm.approve()
    assert firm.apply().exit_code == code
    firm.new_mails()


def test_s24_a_quiet_hour_does_not_spend_the_question(firm: Firm) -> None:
    firm.source_settings["rooms"] = dict(TYPO)
    for _ in range(2):
        assert firm.night().exit_code == 0
    firm.book("6", "other", source="hr")  # not of this source
    assert firm.night().exit_code == 0
    firm.new_mails()
    book_employees(firm)
    assert stops(firm) == ('sources.rooms.internal_domains: ["corp.example"] → ["crop.example"]',)
    firm.source_settings["rooms"] = dict(INSIDE)  # corrected: there is no question any more
    assert firm.night().exit_code == 0
    assert {mail[3] for mail in firm.new_mails()} == {"gall@out.example"}


def test_s24_a_failed_source_does_not_spend_the_question(firm: Firm) -> None:
    firm.sections["on_source_failure"] = "others"
    firm.source_settings["rooms"] = dict(TYPO)
    firm.broken = {"rooms"}
    firm.book("6", "other", source="hr")
    firm.night()
    firm.new_mails()
    firm.broken = set()
    book_employees(firm)
    stops(firm)


def test_s24_a_setting_of_all_sources_stays_open_for_the_one_that_failed(firm: Firm) -> None:
    firm.sections |= {"on_source_failure": "others", "window": {"days_ahead": 300}}
    firm.broken = {"rooms"}
    firm.book("6", "other", source="hr")
    assert "window.days_ahead: 365 → 300 (hr)" in stops(firm)
    release(firm, code=3)  # for `rooms`, which could not be read
    firm.broken = set()
    firm.book("n", "new")
    assert "window.days_ahead: 365 → 300 (rooms)" in stops(firm)
    release(firm)
    firm.book("n2", "new")
    assert firm.night().exit_code == 0


def test_s24_a_pilot_that_leaves_the_events_out_does_not_spend_the_question(firm: Firm) -> None:
    firm.sections["pilot"] = {"sites": ["1"]}
    firm.book("in", "i", site="1")
    assert stops(firm) == ('pilot.sites: [] → ["1"] (rooms)',)
    release(firm)
    firm.source_settings["rooms"] = dict(TYPO)
    book_employees(firm, site="2")
    assert firm.night().exit_code == 0  # nothing of it inside
    firm.book("in2", "i2", site="1")
    stops(firm)
    release(firm)
    firm.book("in3", "i3", site="1")
    assert firm.night().exit_code == 0  # answered, for this pilot
    firm.new_mails()
    firm.sections["pilot"] = {}
    causes = stops(firm)
    assert 'pilot.sites: ["1"] → [] (rooms)' in causes
    assert 'sources.rooms.internal_domains: ["corp.example"] → ["crop.example"]' in causes


def test_s24_authoritative_lists_are_asked_about_when_an_event_would_be_sent(firm: Firm) -> None:
    firm.sections["essentry"] = {"guest_list": "authoritative"}
    assert firm.night().exit_code == 0
    firm.book("new", "n")
    assert firm.night().exit_code == 0  # a new event has no list of reception's
    firm.new_mails()
    firm.meetings["rooms"]["m"]["name"] = "New title"
    assert stops(firm) == ("essentry.guest_list: additive → authoritative (rooms)",)
    release(firm)
    firm.meetings["rooms"]["m"]["name"] = "Newer title"
    assert firm.night().exit_code == 0


def change_select(firm: Firm) -> None:
    file = firm.folder / "guests.sql"
    file.write_text(file.read_text() + " WHERE 1 = 1")


def change_database(firm: Firm) -> None:
    firm.source_settings["rooms"]["url"] = "sqlite:///copy.sqlite"


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("change", "key"),
    [
        (change_select, "sources.rooms.guests_sql"),
        (change_database, "sources.rooms.url"),
        (
            lambda firm: firm.source_settings["rooms"].update(params={"x": 1}),
            "sources.rooms.params.x",
        ),
        (
            lambda firm: firm.source_settings["rooms"].update(default_duration_minutes=90),
            "sources.rooms.default_duration_minutes",
        ),
        (
            lambda firm: firm.source_settings["rooms"].update(private_title="Busy"),
            "sources.rooms.private_title",
        ),
        (
            lambda firm: firm.source_settings["rooms"].update(custom_fields={"badge": 7}),
            "sources.rooms.custom_fields.badge",
        ),
    ],
)
def test_s24_what_decides_who_is_mailed_is_a_question(firm: Firm, change: Any, key: str) -> None:
    change(firm)
    firm.book("new", "n")
    assert any(cause.startswith(key + ":") for cause in stops(firm))


def test_s24_the_layout_of_a_select_and_what_a_place_is_called_are_no_question(firm: Firm) -> None:
    file = firm.folder / "events.sql"
    file.write_text("  " + file.read_text().replace(" FROM", "\r\nFROM") + " ;\r\n\r\n")
    before = firm.night()
    assert "approve_policy_change" not in guards_of(before)
    firm.source_settings["rooms"]["sites"] = {
        "1": {"location_id": 11, "name": "HQ"},
        "2": {"location_id": 12},
    }
    firm.sections["guards"] |= {"max_deletes": 7}
    firm.sections["report"] = {"directory": "runs", "timezone": "Europe/Berlin"}
    firm.book("new", "n")
    assert "SELECT" not in str(before.report["guards"])
    result = firm.night()
    assert not any(
        "sites" in cause or "max_deletes" in cause
        for finding in result.report["guards"]
        for cause in finding["causes"]
    )


def test_s24_a_plan_that_was_released_answers_by_apply_and_by_the_next_night(firm: Firm) -> None:
    for key, way in (("one", firm.apply), ("two", firm.night)):
        firm.sections["window"] = {"days_ahead": 300 if key == "one" else 200}
        firm.book(key, key)
        stops(firm)
        assert firm.approve()
        assert way().exit_code == 0
        firm.book(f"{key}-after", key)
        assert firm.night().exit_code == 0
        firm.new_mails()


def test_s24_without_the_question_everything_is_taken_over(firm: Firm) -> None:
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.source_settings["rooms"] = dict(TYPO)
    firm.book("n", "new")
    assert firm.night().exit_code == 0
    firm.sections["guards"] |= {"approve_policy_change": True}
    firm.book("n2", "new")
    assert firm.night().exit_code == 0


@pytest.mark.parametrize("kept", [True, False])
def test_s24_an_upgrade_mails_nobody_and_asks_nothing(firm: Firm, kept: bool) -> None:
    settings = find_contents(complete_config(firm.config))
    old = _old_form(settings)
    with closing(sqlite3.connect(firm.folder / "state.sqlite")) as state, state:
        import orjson

        text = orjson.dumps(old, option=orjson.OPT_SORT_KEYS).decode() if kept else ""
        state.execute(
            "UPDATE identity SET policy_digest = ?, policy_json = ?", (_digest(old), text)
        )
        state.execute(
            "UPDATE source_reads SET coming_events = NULL, coming_guests = NULL, "
            "coming_outside = NULL"
        )
    assert firm.night().exit_code == 0
    assert firm.new_mails() == []
    firm.book("n", "new")
    assert firm.night().exit_code == 0
    with open_state(firm.config) as state_store:
        assert '"form":2' in str(state_store.policy_json())
    firm.new_mails()
    firm.source_settings["rooms"] = dict(TYPO)
    firm.book("n2", "new")
    stops(firm)


def test_s24_a_meeting_of_both_sources_shows_the_settings_of_both(firm: Firm) -> None:
    firm.book(
        "9", "bea", linked_source="hr", linked_event_id="5", start=firm.meetings["hr"]["5"]["start"]
    )
    assert firm.night().exit_code == 0
    firm.new_mails()
    firm.source_settings["rooms"] = dict(TYPO)
    firm.meetings["hr"]["5"]["name"] = "Another title"  # sent of hr, with guests of rooms
    assert any("rooms.internal_domains" in cause for cause in stops(firm))


def test_s24_partitions_ask_the_same(firm: Firm) -> None:
    firm.sections["scale"] = {"partitions": 3}
    firm.source_settings["rooms"] = dict(TYPO)
    assert firm.night().exit_code == 0
    book_employees(firm)
    stops(firm)


# -- no advice ends in a refusal -------------------------------------------------------------------


def test_s27_a_doubt_without_a_change_can_be_released(firm: Firm) -> None:
    firm.book_many(20)
    firm.night()
    firm.new_mails()
    firm.cancel(*[f"m{n:03}" for n in range(20)])
    result = firm.night()
    assert (result.exit_code, guards_of(result), result.report["plan"]["changes"]) == (
        4,
        {"max_shrink_share"},
        0,
    )
    assert firm.approve(result.report["plan"]["plan_id"])
    assert firm.apply(result.report["plan"]["plan_id"]).exit_code == 0
    assert firm.new_mails() == []
    firm.sections["guards"] |= {"max_delete_share": 1.0}
    assert firm.night().exit_code == 0  # the read that a person has seen is the measure
    assert len(firm.new_mails()) == 20


def test_s27_an_empty_plan_is_not_advised_to_be_approved(firm: Firm) -> None:
    puts, result = firm.puts(), firm.night()
    assert result.report["plan"]["commands"] == []
    # nobody has to, and nothing happens
    assert firm.apply(result.report["plan"]["plan_id"]).exit_code == 0
    assert firm.puts() == puts
