"""What was read back of essentry stands in the night's report, and changes nothing of the night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from flows.night.session import open_state
from flows.operations.audit import audit
from flows.operations.check_ins import read_visits
from schemas.report import parse_report
from tests.firm import NOW, Firm
from tests.flows.test_checkins import come_and_go
from tests.sources.databases import database


@pytest.fixture
def lobby(firm: Firm) -> Firm:
    """Yesterday one of two guests came and a neighbour walked in; of what is to come a hand
    changed a title, took a guest off a list, and a meeting of two is lost.
    """
    yesterday = (NOW - timedelta(days=1)).replace(hour=12, minute=0, second=0)
    firm.now = yesterday - timedelta(days=1)
    firm.book("past", "ada", "ben", start=yesterday)
    firm.book("a", "ann", "abe")
    firm.book("b", "bob", "bea")
    firm.book("c", "cat", "cyd")
    firm.night()
    firm.now = NOW
    come_and_go(firm, "rooms-past-ada", at=yesterday)
    firm.sandbox.check_out(
        firm.sandbox.walk_in(11, at=yesterday), at=yesterday + timedelta(hours=1)
    )
    firm.sandbox.edit("change", event="rooms-a", name="Another title")
    firm.sandbox.edit("remove_guest", event="rooms-b", guest="rooms-b-bea")
    firm.sandbox.edit("lose", event="rooms-c")
    return firm


def look(firm: Firm, *, audits: int = 2) -> None:
    with open_state(firm.config) as state:
        for _ in range(audits):
            audit(firm.config, state)
        read_visits(firm.config, state, now=datetime.now(UTC))


def test_the_report_tells_the_last_audit_and_who_came(lobby: Firm, way: str) -> None:
    look(lobby)
    lobby.new_mails()
    night = lobby.night()
    assert night.exit_code == 0  # what was lost is sent; the rest is a hand's
    report = parse_report((night.folder / "report.json").read_bytes())
    told = report["audit"]
    assert [(row["kind"], row["source_id"], row["invitation_id"]) for row in told["findings"]] == [
        ("different", "rooms-a", None),
        ("missing invitation", "rooms-b", "rooms-b-bea"),
        ("missing event", "rooms-c", None),
    ]
    assert (told["findings_total"], "1 missing event, 1 missing invitation" in told["verdict"]) == (
        3, True,
    )  # fmt: skip
    (place,) = report["attendance"]["locations"]
    assert place == {
        "location_id": 11, "expected": 2, "arrived": 1, "no_shows": 1, "walk_ins": 1, "others": 0,
    }  # fmt: skip
    assert {kind for kind, event, *_ in lobby.new_mails() if event != "rooms-c"} == set()
    page = (night.folder / "report.html").read_text()
    for words in ("Who came on", "essentry does not hold 3 things as confirmed", "rooms-b-bea"):
        assert words in page
    text = (night.folder / "report.md").read_text()
    assert "- missing event `rooms-c`" in text
    assert "| 11 | 2 | 1 | 1 | 1 | 0 |" in text


def test_what_was_seen_once_is_not_told(lobby: Firm) -> None:
    look(lobby, audits=1)
    told = lobby.night().report["audit"]
    assert (told["findings"], told["findings_total"]) == ([], 0)


def test_without_a_reading_nothing_is_said(firm: Firm) -> None:
    firm.book("a")
    night = firm.night()
    assert {"audit", "attendance"}.isdisjoint(night.report)
    assert "Read back from essentry" not in (night.folder / "report.html").read_text()


def test_an_address_in_an_id_is_not_told(firm: Firm) -> None:
    people = ("x@out.example", "y@out.example")
    firm.book("a", guests={address: address for address in people})
    firm.night()
    with open_state(firm.config) as state:
        (text,) = state.read_payloads(["rooms-a"]).values()
    guest = orjson.loads(text)["invitations"][0]["sourceId"]
    firm.sandbox.edit("remove_guest", event="rooms-a", guest=guest)
    look(firm)
    night = firm.night()
    assert night.report["audit"]["findings_total"] == 1
    for name in ("report.json", "report.html", "report.md"):
        told = (night.folder / name).read_text().lower()
        assert "x~40out" not in told
        assert "x@out.example" not in told


def test_a_state_on_postgresql_tells_the_same(lobby: Firm) -> None:
    """Nights, visits of all kinds and an audit, with the state on a real server."""
    with database("postgresql", lobby.folder) as engine:
        url = engine.url.render_as_string(hide_password=False)
        lobby.sections["state"] = {"url": url}
        look(lobby, audits=0)
        report = lobby.night().report
    # the state is new: what essentry holds is not ours, but who came is counted
    (place,) = report["attendance"]["locations"]
    assert (place["walk_ins"], place["others"]) == (1, 1)
