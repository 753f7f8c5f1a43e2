"""Audits and check-ins as the flows that their deployments start, on a real Prefect server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.engine.alerts import FLOW, FLOWS
from flows.read_back import audit, checkins
from tests.firm import NOW, Firm
from tests.flows.test_checkins import ask, come_and_go, write_file

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


def test_an_audit_ends_as_incomplete_and_names_the_events(firm: Firm) -> None:
    firm.book("a", "ann", "abe")
    firm.book("b", "ben", "bea")
    firm.night()
    firm.new_mails()
    file = write_file(firm)
    firm.sandbox.edit("change", event="rooms-b", name="Another title")
    firm.sandbox.edit("lose", event="rooms-a")
    mails = firm.mails()
    first = audit(file, return_state=True)
    assert (first.name, first.type) == ("Completed", "COMPLETED")
    second = audit(file, return_state=True)
    assert second.name == "Incomplete"
    assert "1 missing event, 0 missing invitations, 1 different" in second.message
    assert "of rooms-a, rooms-b" in second.message
    assert "the next night sends 1 of them again" in second.message
    assert firm.mails() == mails
    assert [row for (row,) in ask(firm, "SELECT kind FROM v_runs")].count("audit") == 2


def test_check_ins_come_back_by_their_flow(firm: Firm) -> None:
    firm.book("a", "x", start=NOW - timedelta(hours=2))
    firm.now = NOW - timedelta(days=1)
    firm.night()
    come_and_go(firm, "rooms-a-x")
    ended = checkins(write_file(firm), return_state=True)
    assert (ended.name, ended.message) == (
        "Completed", "1 check-in read, 1 joined to their events",
    )  # fmt: skip
    assert ask(firm, "SELECT source_id FROM v_visits") == [("rooms-a",)]


@pytest.mark.parametrize("flow", [audit, checkins], ids=["audit", "checkins"])
def test_what_is_wrong_is_a_failed_run_with_one_message(flow, firm: Firm) -> None:
    firm.book("a")
    firm.night()
    file = Path(write_file(firm))
    missing = flow(str(firm.folder / "none.toml"), return_state=True)
    assert (missing.name, "no configuration" in missing.message) == ("Failed", True)
    file.write_text(file.read_text().replace(firm.sandbox.base_url, "http://127.0.0.1:9/api/v2"))
    other = flow(str(file), return_state=True)
    assert (other.name, "cannot be read back" in other.message) == ("Failed", True), other.message
    assert "Traceback" not in other.message


def test_an_audit_is_no_night_for_the_alert_that_waits_for_one() -> None:
    assert FLOW["prefect.resource.name"] == "essentry-sync" == FLOWS["prefect.resource.name"][0]
    assert {audit.name, checkins.name} == set(FLOWS["prefect.resource.name"][1:])
