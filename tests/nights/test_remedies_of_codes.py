"""What became of a request is told by a code, with its meaning and its remedy. Each code is brought
about, told, and its remedy followed to its end: one night later essentry holds what the sources
say, and nothing is left to see to.

Of a remedy that offers a choice each way is tried. A code without a life here fails.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from flows.night.session import Result, open_state
from flows.operations.audit import audit
from schemas.essentry import STATUS_CANNOT_HOST
from tests.firm import START, Firm
from tests.flows.test_restored_nights import copy_state, restore, tell_restored
from tests.nights.test_remedies import Step, meeting, settings
from transforms.report.words import CODES, explain_code

AT = START + timedelta(hours=2)


class Life(NamedTuple):
    """cause: up to the report that tells the code. ends: what the remedy says to do, each way."""

    cause: Callable[[Firm], Result]
    ends: tuple[Step, ...]
    exit_code: int = 3


def nothing(_: Firm) -> None:
    """The next run does it."""


def approve(firm: Firm) -> None:
    """The next run does it, and asks first: it is much."""
    assert firm.night().exit_code == 4
    assert firm.approve()


def change(key: str = "a", **columns: Any) -> Step:
    return lambda firm: meeting(firm, key).update(columns)


def begin(firm: Firm) -> None:
    """Five meetings of the rooms and one of the people, all in essentry."""
    firm.meetings["hr"] = {}
    firm.book("a", "ada", start=AT)
    firm.book_many(4)
    firm.book("h", "hal", source="hr")
    assert firm.night().exit_code == 0


def fault(*rules: dict[str, Any], **essentry: Any) -> Callable[[Firm], Result]:
    """A new title, and essentry's answer to it."""

    def life(firm: Firm) -> Result:
        begin(firm)
        settings("essentry", **essentry)(firm)
        meeting(firm)["name"] = "Another title"
        firm.sandbox.add_faults(list(rules))
        night = firm.night()
        firm.sandbox.clear_faults()
        return night

    return life


def refused(code: str) -> Callable[[Firm], Result]:
    return fault({"kind": "reject_event", "source_id": "rooms-a", "code": code})


def refused_whole(status: int) -> Callable[[Firm], Result]:
    return fault({"kind": "reject_request", "source_id": "rooms-a", "status": status, "times": 3})


def lost_and_refused(firm: Firm) -> Result:
    return fault(
        {"kind": "drop_after"},
        {"kind": "status", "status": 422},
        retry_budget_seconds=5,
    )(firm)


def gone_in_essentry(firm: Firm) -> Result:
    """An event that only essentry has lost, found by an audit and marked to be sent again."""
    begin(firm)
    firm.sandbox.edit("lose", event="rooms-a")
    firm.sections["audit"] = {"seen": 1}
    with open_state(firm.config) as state:
        assert audit(firm.config, state, heal=["rooms-a"]).marked == ["rooms-a"]
    return firm.night(kind="plan")


def restored(firm: Firm) -> Result:
    begin(firm)
    copy = copy_state(firm)
    meeting(firm)["name"] = "Another title"
    firm.night()
    restore(firm, copy)
    tell_restored(firm)
    return firm.night(kind="plan")


def unread(firm: Firm) -> Result:
    begin(firm)
    firm.sections["on_source_failure"] = "others"
    firm.broken = {"hr"}
    return firm.night()


def mend(firm: Firm) -> None:
    firm.broken = set()


def waits(firm: Firm) -> Result:
    """Two meetings become one, which essentry refuses."""
    begin(firm)
    meeting(firm).update(linked_source="hr", linked_event_id="h")
    firm.meetings["hr"]["h"]["start"] = AT
    for source_id in ("rooms-a", "hr-h"):
        firm.sandbox.add_faults(
            [{"kind": "reject_event", "source_id": source_id, "code": "ERROR_TRY_LATER"}]
        )
    night = firm.night()
    firm.sandbox.clear_faults()
    return night


def uncleared(firm: Firm) -> Result:
    begin(firm)
    door = '[{"partitionId": 1, "sourceId": "lab"}]'
    ada = meeting(firm)["guests"]["ada"] = {"email": "ada@out.example", "access_profiles": door}
    assert firm.night().exit_code == 0
    ada["access_profiles"] = None
    return firm.night()


def changed_since(firm: Firm) -> Result:
    begin(firm)
    meeting(firm)["name"] = "Typed wrongly"
    plan = firm.night(kind="plan").report["plan"]["plan_id"]
    meeting(firm)["name"] = "Another title"
    firm.write()
    return firm.apply(plan)


def look_fails(firm: Firm) -> Result:
    """A meeting is gone, and its source cannot be asked a second time."""
    begin(firm)
    firm.cancel("m001")
    meeting(firm)["name"] = "Another title"

    def go_down() -> None:
        firm.broken = {"rooms"}
        firm.write()

    return firm.night(between=go_down)


def record_is_back(firm: Firm) -> Result:
    begin(firm)
    meeting(firm).update(linked_source="hr", linked_event_id="h")
    firm.meetings["hr"]["h"]["start"] = AT
    assert firm.night().exit_code == 0
    room = firm.meetings["rooms"].pop("a")

    def come_back() -> None:
        firm.meetings["rooms"]["a"] = room
        firm.write()

    return firm.night(between=come_back)


CORRECT = change(name="A third title")
LIVES: dict[str, Life] = {
    STATUS_CANNOT_HOST: Life(
        refused(STATUS_CANNOT_HOST), (change(host="other@corp.example"), CORRECT)
    ),
    "MISSING": Life(gone_in_essentry, (nothing,), 0),
    "RESTORED": Life(restored, (approve,), 0),
    "SOURCE_NOT_READ": Life(unread, (mend,)),
    "HTTP_400": Life(refused_whole(400), (CORRECT,)),
    "HTTP_413": Life(
        refused_whole(413), (change(name="Short"), settings("essentry", batch_bytes=100_000))
    ),
    "HTTP_422": Life(refused_whole(422), (CORRECT,)),
    "TIMEOUT": Life(
        fault({"kind": "hang_after", "seconds": 2, "times": 9}, timeout_seconds=1), (nothing,), 6
    ),
    "CONNECTION_LOST": Life(fault({"kind": "drop_after", "times": 9}), (nothing,), 6),
    "HTTP_200": Life(fault({"kind": "garbage", "apply": True, "times": 9}), (nothing,), 6),
    "NO_STATUS": Life(
        fault({"kind": "partial_statuses", "source_ids": ["rooms-a"], "times": 9}), (nothing,), 6
    ),
    "WAITS": Life(waits, (CORRECT,)),
    "UNCLEARED": Life(uncleared, (settings("essentry", clearing="empty"),)),
    "CHANGED_SINCE": Life(changed_since, (nothing,)),
    "REFUSED_AFTER_LOSS": Life(lost_and_refused, (nothing, CORRECT)),
    "RECORD_BACK": Life(record_is_back, (nothing,)),
    "LOOK_FAILED": Life(look_fails, (mend,)),
}
UNNAMED = {"HTTP_200"}
"""Told by the words for a code that nothing more is known of."""
ELSEWHERE = {
    "HTTP_401": "below: it ends the night, and no event is at fault",
    "HTTP_403": "below: it ends the night, and no event is at fault",
    "INTERRUPTED": "tests/flows/test_load_ends.py",
    "UNREADABLE": "tests/flows/test_client.py: no sandbox answers so",
    "CONTRADICTION": "tests/flows/test_client.py: no sandbox answers so",
    "STILL_THERE": "tests/nights/test_s23_second_look.py: nobody has to do anything",
    "NOT_CONFIRMED": "tests/nights/test_s23_second_look.py: no database answers so",
}


def test_every_code_has_a_life() -> None:
    assert set(LIVES) - UNNAMED == set(CODES) - set(ELSEWHERE)


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("code", "end"),
    [
        pytest.param(code, end, id=f"{code}-{number}")
        for code, life in LIVES.items()
        for number, end in enumerate(life.ends)
    ],
)
def test_a_code_is_gone_when_its_remedy_is_followed(firm: Firm, code: str, end: Step) -> None:
    night = LIVES[code].cause(firm)
    told = {row["code"]: row for row in night.report["problems"]}
    assert code in told, (night.report["verdict"], told)
    assert told[code]["remedy"] == explain_code(code, told[code]["state"])[1]
    assert night.exit_code == LIVES[code].exit_code
    end(firm)
    night = firm.night()
    assert (night.exit_code, night.report["problems"], night.report["counts"]["held"]) == (0, [], 0)
    assert {
        (held["name"], frozenset(guest["email"] for guest in held["guests"].values()))
        for held in firm.sandbox.state()["events"].values()
    } == _wanted(firm)
    assert firm.night().report["verdict"].startswith("nothing to do")


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_told_by_the_night_itself(firm: Firm, status: int) -> None:
    night = fault({"kind": "status", "status": status})(firm)
    assert night.exit_code == 6
    assert f"essentry refused the token ({status})" in night.report["verdict"]
    assert "ESSENTRY_TOKEN" in night.report["verdict"]
    assert firm.night().exit_code == 0
    assert "Another title" in {row["name"] for row in firm.sandbox.state()["events"].values()}


def _wanted(firm: Firm) -> set[tuple[str, frozenset[str]]]:
    """Title and addresses of every meeting; of two records those of the one that is pointed at."""
    rooms, people = firm.meetings["rooms"], firm.meetings["hr"]
    united = {key: row for key, row in rooms.items() if row.get("linked_source")}
    wanted = {
        (row["name"], frozenset(_addresses(row))) for key, row in rooms.items() if key not in united
    }
    for key, row in people.items():
        joined = [other for other in united.values() if other["linked_event_id"] == key]
        wanted.add(
            (row["name"], frozenset(who for one in [row, *joined] for who in _addresses(one)))
        )
    return wanted


def _addresses(row: dict[str, Any]) -> list[str]:
    return [who if isinstance(who, str) else who["email"] for who in row["guests"].values()]
