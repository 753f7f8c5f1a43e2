"""A visit under way is not called off by mail: neither the meeting nor a guest of it; it is told,
and ends with the visit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.firm import NOW, Firm

pytestmark = [pytest.mark.usefixtures("way"), pytest.mark.every_way]


def _gone(firm: Firm) -> None:
    firm.cancel("m")


def _cancelled(firm: Firm) -> None:
    firm.meetings["rooms"]["m"]["status"] = "cancelled"


def _empty(firm: Firm) -> None:
    firm.meetings["rooms"]["m"]["guests"] = {}


def _without_ada(firm: Firm) -> None:
    del firm.meetings["rooms"]["m"]["guests"]["ada"]


def _begin(firm: Firm) -> None:
    """A visit of three hours that begins half an hour after its guests were invited."""
    firm.book("m", "ada", "bob", start=NOW + timedelta(hours=1.5), end=NOW + timedelta(hours=4.5))
    firm.book("other")
    assert firm.night().exit_code == 0


@pytest.mark.share(3)
@pytest.mark.parametrize("change", [_gone, _cancelled, _empty, _without_ada])
def test_nobody_is_cancelled_while_the_visit_is_under_way(
    firm: Firm, change: Callable[[Firm], None]
) -> None:
    _begin(firm)
    change(firm)
    firm.new_mails()
    for _ in range(3):
        night = firm.night()
        assert (
            night.exit_code,
            [(p["source_id"], p["code"]) for p in night.report["problems"]],
        ) == (3, [("rooms-m", "under way")])
    assert firm.held()["rooms-m"] == {"rooms-m-ada", "rooms-m-bob"}
    assert firm.night().exit_code == 0  # it is over
    assert firm.new_mails() == []


@pytest.mark.share(3)
@pytest.mark.parametrize("change", [_gone, _cancelled, _empty, _without_ada])
def test_who_is_told_of_a_cancellation_may_be_settled_otherwise(
    firm: Firm, change: Callable[[Firm], None]
) -> None:
    firm.sections["essentry"] = {"cancel_under_way": True}
    _begin(firm)
    change(firm)
    firm.new_mails()
    assert firm.night().exit_code == 0
    assert {kind for kind, *_ in firm.new_mails()} == {"cancelled"}


def test_a_visit_that_is_moved_to_another_day_is_not_under_way(firm: Firm) -> None:
    _begin(firm)
    firm.meetings["rooms"]["m"] |= {
        "start": NOW + timedelta(days=2),
        "end": NOW + timedelta(days=2, hours=1),
    }
    _without_ada(firm)
    assert firm.night().exit_code == 0
    assert firm.held()["rooms-m"] == {"rooms-m-bob"}


def test_a_guest_without_a_key_whose_name_is_corrected_meanwhile_is_the_same_one(
    firm: Firm,
) -> None:
    who = {"email": "ana@out.example", "first_name": "Ana", "last_name": ""}
    firm.book(
        "m", guests={"": who}, start=NOW + timedelta(hours=1.5), end=NOW + timedelta(hours=4.5)
    )
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.meetings["rooms"]["m"]["guests"] = {"": who | {"first_name": "Beate"}}
    assert firm.night().exit_code == 0
    assert firm.held() == held
    assert {kind for kind, *_ in firm.new_mails()} == {"updated"}
