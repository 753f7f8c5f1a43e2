"""S19: what is held back is told by its id, in the report, the verdict and the exit code, until it
is solved.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.night.session import Result
from tests.firm import Firm

pytestmark = [pytest.mark.usefixtures("way"), pytest.mark.every_way]


def told(night: Result) -> dict[str, str]:
    """What a night tells of: event → reason, in report.json, report.md and report.html alike."""
    problems = {row["source_id"]: row["code"] for row in night.report["problems"]}
    for name in ("report.json", "report.md", "report.html"):
        text = (night.folder / name).read_text(encoding="utf-8")
        assert all(source_id in text for source_id in problems), name
    assert "in step" not in night.report["verdict"] or not problems
    return problems


def test_s19_an_event_that_moved_into_the_past_is_told_until_it_is_mended(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    start = firm.meetings["rooms"]["m"]["start"]
    firm.meetings["rooms"]["m"]["start"] = firm.now - timedelta(days=365)
    for _ in range(2):
        night = firm.night()
        assert (night.exit_code, told(night)) == (3, {"rooms-m": "moved into the past"})
    firm.meetings["rooms"]["m"]["start"] = start
    night = firm.night()
    assert (night.exit_code, told(night)) == (0, {})
    assert firm.mails()["cancelled"] == 0


def test_s19_a_date_beyond_the_window_is_told_while_essentry_holds_the_old_one(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    firm.meetings["rooms"]["m"]["start"] += timedelta(days=500)
    night = firm.night()
    assert (night.exit_code, told(night)) == (3, {"rooms-m": "moved beyond the window"})
    assert "in step" not in night.report["verdict"]


def test_s19_an_absence_that_somebody_else_ended_is_told(firm: Firm) -> None:
    gone = firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    firm.cancel("m")
    firm.night()
    firm.meetings["rooms"]["m"] = gone
    for _ in range(2):
        night = firm.night()
        assert night.exit_code == 3
        assert list(told(night)) == ["rooms-m"]


def test_s19_a_new_quarantined_meeting_is_incomplete_once_and_listed_until_solved(
    firm: Firm,
) -> None:
    firm.book("good", "ada")
    firm.book("bad", "bob", host="nobody")
    night = firm.night()
    assert (night.exit_code, list(told(night))) == (3, ["rooms-bad"])
    night = firm.night()
    assert night.exit_code == 0
    assert "1 row quarantined" in night.report["verdict"]
    assert "in step" not in night.report["verdict"]
    assert [group["rows"] for group in night.report["quarantined"]] == [1]
    firm.meetings["rooms"]["bad"]["host"] = "another"  # broken in another way: told again
    night = firm.night()
    assert (night.exit_code, list(told(night))) == (3, ["rooms-bad"])
    firm.meetings["rooms"]["bad"]["host"] = "host@corp.example"
    night = firm.night()
    assert (night.exit_code, told(night)) == (0, {})
    assert "rooms-bad" in firm.held()


def test_s19_a_guest_who_cannot_be_read_is_told(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.meetings["rooms"]["m"]["guests"]["bob"] = {"email": "no address"}
    night = firm.night()
    assert (night.exit_code, list(told(night))) == (3, ["rooms-m"])
    assert "bob" in night.report["problems"][0]["message"]


def test_s19_what_waits_by_a_setting_asks_nobody_and_is_not_called_in_step(firm: Firm) -> None:
    firm.sections["guards"] |= {"delete_after_runs": 2}
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.book("p", "cyd")
    firm.night()
    firm.cancel("m")
    firm.meetings["rooms"]["p"]["status"] = "pending"
    night = firm.night()
    assert (night.exit_code, told(night)) == (0, {})
    assert "2 events held back" in night.report["verdict"]


def test_s19_what_is_over_asks_nobody(firm: Firm) -> None:
    firm.book("good", "ada")
    firm.book("old", "bob", host="nobody", start=firm.now - timedelta(days=30))
    firm.book("new", "cyd", host="nobody")
    firm.meetings["rooms"]["old"]["guests"]["dan"] = {"email": "no address"}
    night = firm.night()
    assert (night.exit_code, list(told(night))) == (3, ["rooms-new"])
