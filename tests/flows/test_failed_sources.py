"""S19, S25: a source that could not be read is a problem by name, whichever way the night is sent;
absences are counted in runs that looked.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pandas as pd
import pytest

from flows.night.session import open_state
from tests.firm import Firm
from transforms.report.check import judge_runs
from transforms.report.failed_sources import count_failed_runs


@pytest.fixture
def two(firm: Firm) -> Firm:
    """Two sources; one that fails does not stop the other."""
    firm.meetings = {"rooms": {}, "hr": {}}
    firm.sections["on_source_failure"] = "others"
    firm.book("9", "ada", source="rooms")
    firm.book("10", "bea", source="rooms")
    firm.book("5", "cand", source="hr")
    return firm


def judge(firm: Firm) -> tuple[int, str, str]:
    with open_state(firm.config) as state:
        return judge_runs(state.runs(), now=datetime.now(UTC), max_age=timedelta(hours=26))


@pytest.mark.parametrize("way", ["sync", "apply"])
@pytest.mark.parametrize("limit", [1, 3])
def test_s25_a_failed_source_ends_with_3_by_name_and_after_some_nights_with_5(
    two: Firm, way: str, limit: int
) -> None:
    two.sections["failed_source_nights"] = limit

    def night(number: int):
        two.book(f"new{number}", f"x{number}", source="rooms")
        if way == "sync":
            return two.night()
        assert two.night(kind="plan").exit_code == 0
        return two.apply()

    assert night(0).exit_code == 0
    assert judge(two)[:2] == (0, "OK")
    two.broken = {"hr"}
    for number in range(1, limit + 2):
        result = night(number)
        assert result.exit_code == (5 if number >= limit else 3)
        (problem,) = result.report["problems"]
        assert (problem["source_id"], problem["code"], problem["tries"]) == (
            "hr",
            "SOURCE_NOT_READ",
            number,
        )
        assert "source hr" in result.report["verdict"]
        assert "hr" in (result.folder / "report.md").read_text()
        code, word, text = judge(two)
        assert (code, word) == ((5, "FAILED") if number >= limit else (3, "INCOMPLETE"))
        assert "source hr could not be read" in text
        assert f"rooms-new{number}" in two.held(), "the others go on"
    assert "hr-5" in two.held()
    two.broken = set()
    assert night(99).exit_code == 0
    assert judge(two)[:2] == (0, "OK")
    two.broken = {"hr"}
    assert night(100).report["problems"][0]["tries"] == 1, (
        "a night in which it was read ends the row"
    )


def test_s02_absences_are_counted_in_runs_that_looked_for_the_event(two: Firm) -> None:
    two.sections["guards"] |= {"delete_after_runs": 2}
    two.night()
    two.cancel("9", source="rooms")
    for broken in ({"rooms"}, set(), {"rooms"}, {"hr"} - {"hr"}):
        held = set(two.held())
        two.broken = broken
        two.night()
        assert "rooms-9" in held
    assert "rooms-9" not in two.held(), "missing in two runs that looked, a failed one between them"


def test_s02_an_event_that_is_back_starts_over_and_one_not_looked_for_does_not(two: Firm) -> None:
    two.sections["guards"] |= {"delete_after_runs": 2}
    two.night()
    gone = two.meetings["rooms"].pop("9")
    two.night()
    two.meetings["rooms"]["9"] = gone
    two.night()
    two.cancel("9", source="rooms")
    two.night()
    assert "rooms-9" in two.held()
    two.book("keyless", "z", source="rooms", source_event_id="")
    two.night()  # a row without a key: whether it is 9 cannot be seen
    assert "rooms-9" in two.held()
    two.cancel("keyless", source="rooms")
    two.night()
    assert "rooms-9" not in two.held()


def runs_of(*rows: tuple[str, str, str | None, list[str] | None]) -> pd.DataFrame:
    """(run, kind, plan, failed sources or None for a run without a plan)."""
    start = pd.Timestamp("2026-11-24T00:00:00Z")
    return pd.DataFrame(
        {
            "run_id": [row[0] for row in rows], "kind": [row[1] for row in rows],
            "plan_id": [row[2] for row in rows],
            "started_at": [start + pd.Timedelta(hours=n) for n in range(len(rows))],
            "summary_json": [
                None if row[3] is None else orjson.dumps({"failed_sources": row[3]}).decode()
                for row in rows
            ],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], 1),
        ([("a", "sync", "a", ["hr"])], 2),
        ([("a", "sync", "a", ["hr"]), ("b", "sync", "b", [])], 1),
        # ended before it had read anything
        ([("a", "sync", "a", ["hr"]), ("b", "sync", None, None)], 2),
        ([("a", "plan", "a", ["hr"])], 1),  # a plan is no night
        ([("a", "plan", "a", ["hr"]), ("b", "apply", "a", [])], 2),  # but what was sent of it is
        ([("a", "sync", "a", ["hr"]), ("b", "apply", "a", ["hr"])], 2),  # one plan is one night
        ([("p", "sync", "p", ["hr"])], 1),  # the plan at work itself
        ([("a", "sync", "a", ["rooms"]), ("b", "sync", "b", ["hr"])], 2),
    ],
)
def test_runs_in_a_row(rows: list, expected: int) -> None:
    assert count_failed_runs(runs_of(*rows), ["hr"], plan_id="p") == {"hr": expected}


NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


def past(hours: float, status: str, exit_code: int | None, kind: str = "sync") -> dict:
    return {
        "run_id": f"r{hours}",
        "kind": kind,
        "plan_id": f"r{hours}",
        "started_at": NOW - timedelta(hours=hours),
        "status": status,
        "exit_code": exit_code,
        "summary_json": None,
    }


@pytest.mark.parametrize(
    ("rows", "code", "word"),
    [
        ([], 3, "LATE"),
        ([past(1, "done", 0)], 0, "OK"),
        ([past(1, "incomplete", 3)], 0, "OK"),
        ([past(1, "failed", None)], 3, "LATE"),  # killed
        ([past(0.1, "running", None)], 3, "LATE"),  # at work
        ([past(5, "done", 0), past(0.1, "running", None)], 0, "OK"),
        ([past(5, "done", 0), past(1, "failed", None)], 0, "OK"),
        ([past(30, "done", 0), past(1, "failed", 6)], 6, "FAILED"),
        ([past(30, "done", 0)], 3, "LATE"),
        ([past(-24 * 30, "done", 0)], 3, "LATE"),  # by a clock that was ahead
        ([past(30, "done", 0), past(-24 * 30, "done", 0)], 3, "LATE"),
        ([past(1, "done", 0, kind="plan")], 3, "LATE"),
    ],
)
def test_check_has_an_answer_whatever_the_last_run_was(
    rows: list[dict], code: int, word: str
) -> None:
    columns = ["run_id", "kind", "plan_id", "started_at", "status", "exit_code", "summary_json"]
    runs = pd.DataFrame(rows, columns=columns).astype({"exit_code": "Int64", "summary_json": "str"})
    runs["started_at"] = pd.to_datetime(runs["started_at"], utc=True)
    assert judge_runs(runs, now=NOW, max_age=timedelta(hours=26))[:2] == (code, word)
