"""A night without the engine: the second chance of a source, and the wait for an approval."""

from __future__ import annotations

import threading
import time

import pytest

from flows.night import steps, whole
from flows.night.session import open_state
from schemas.errors import SourceError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(whole, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(whole, "LOOK_SECONDS", 0.05)


def test_a_database_that_is_just_restarting_gets_a_second_chance(company, monkeypatch):
    company.write({"1": ["ada@out.example"]})
    read, tries = steps.read_night, []

    def restarting(*arguments):
        tries.append(1)
        if len(tries) == 1:
            raise SourceError("it is just restarting")
        return read(*arguments)

    monkeypatch.setattr(steps, "read_night", restarting)
    result = whole.run_whole_night(company.config(), as_of=company.now)
    assert (result.exit_code, len(tries)) == (0, 2)
    assert company.held() == {"1": ["ada@out.example"]}


def test_a_source_that_stays_away_ends_the_night_with_a_report(company):
    with pytest.raises(SourceError):
        whole.run_whole_night(company.config(), as_of=company.now)
    assert len(list(company.folder.glob("data/runs/*/report.html"))) == 1
    with open_state(company.config()) as state:
        assert state.runs()["status"].tolist() == ["failed"]
        assert state.lease_holder() == "nobody"


def waiting_night(company, act):
    """One night whose plan waits for two minutes at most; `act` in another thread once it waits."""
    company.path.write_text(
        company.path.read_text().replace(
            "approve_first_run = false", "approve_first_run = true\napproval_wait_minutes = 2"
        )
    )
    company.write({"1": ["ada@out.example"]})
    failures = []

    def wait_and_act():
        deadline = time.monotonic() + 60
        try:
            while True:
                assert time.monotonic() < deadline, "it never waited"
                if (company.folder / "state.sqlite").exists():
                    with open_state(company.config()) as state:
                        runs = state.runs()
                        if len(runs) and state.is_waiting(runs["run_id"].iloc[0]):
                            assert state.lease_holder() == "nobody"
                            act(state)
                            return
                time.sleep(0.1)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        return whole.run_whole_night(company.config(), as_of=company.now)
    finally:
        thread.join()
        assert failures == []


def test_s17_it_waits_without_the_lease_and_sends_what_was_approved(company):
    def approve(state):
        assert state.approve_plan(
            state.load_plan("latest")[0]["plan_id"], by="anna", reason="read", now=company.now
        )

    result = waiting_night(company, approve)
    assert (result.exit_code, result.report["run"]["kind"]) == (0, "apply")
    assert company.held() == {"1": ["ada@out.example"]}


def test_a_plan_that_another_run_replaced_ends_the_wait(company):
    def supersede(state):
        state.set_plan_status(state.load_plan("latest")[0]["plan_id"], "superseded")

    result = waiting_night(company, supersede)
    assert result.exit_code == 4
    assert company.held() == {}


def test_nobody_answers(company):
    text = company.path.read_text()
    company.path.write_text(
        text.replace(
            "approve_first_run = false", "approve_first_run = true\napproval_wait_minutes = 0.01"
        )
    )
    company.write({"1": ["ada@out.example"]})
    result = whole.run_whole_night(company.config(), as_of=company.now)
    assert (result.exit_code, company.held()) == (4, {})
