"""Limits hold over a day as over a run (S27)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from literal_frames import NOW, compare, config, desire, guest, know, meeting

from transforms.diff.changes import Diff
from transforms.guards.findings import Finding
from transforms.guards.guards import check_guards

OFF = {"max_deletes": 10**6, "max_delete_share": 1.0, "max_update_share": 1.0}


def _day(
    *, first: int, gone: int, of: int = 30, added: int = 0, moved: int = 0
) -> tuple[Diff, pd.DataFrame]:
    """A run that cancels `gone` meetings from `first` on, invites a guest `x` to `added` others,
    and renames `moved`.
    """
    names = [f"hr-{n:03}" for n in range(of)]
    known = know(*(meeting(name, guest(f"{name}-g")) for name in names[first:]))
    left = names[first + gone :]
    wanted = [
        meeting(
            name,
            guest(f"{name}-g"),
            *([guest(f"{name}-x", "x@guest.example")] if n < added else []),
            **({"name": "New"} if n < moved else {}),
        )
        for n, name in enumerate(left)
    ]
    diff = compare(
        desire(*wanted, dispositions=dict.fromkeys(names[first : first + gone], "cancelled")), known
    )
    return diff, known.snapshot


def _check(
    now: tuple[Diff, pd.DataFrame], earlier: Diff | None, **limits: Any
) -> dict[tuple[str, str], Finding]:
    found = check_guards(now[0], now[1], config(guards=OFF | limits), as_of=NOW, earlier=earlier)
    return {(finding.guard, finding.scope): finding for finding in found}


@pytest.mark.parametrize(
    ("limits", "scope", "number"),
    [
        ({"max_deletes": 5}, "run", 6),
        ({"max_deletes": {"run": 99, "source": 5, "location": 99}}, "source hr", 6),
        ({"max_deletes": {"run": 99, "source": 99, "location": 5}}, "location 1", 6),
        ({"max_delete_share": {"run": 0.19, "source": 1, "location": 1}}, "run", 0.2),
    ],
)
def test_s27_deletes_of_the_day(limits: dict, scope: str, number: float) -> None:
    earlier, now = _day(first=0, gone=3)[0], _day(first=3, gone=3)
    assert _check(now, None, **limits) == {}
    finding = _check(now, earlier, **limits)[next(iter(limits)), scope]
    assert (finding.number, finding.about_deletes) == (number, True)
    assert "3 of them in the 24 hours before" in finding.message


@pytest.mark.parametrize(
    ("limit", "holds", "trips"),
    [
        ("max_new_invitations", 6, 5),
        ("max_mails_per_guest", 6, 5),
        ("max_people_mailed", 1, 0),
        ("max_people_mailed", {"invited": 1}, {"invited": 0}),
    ],
)
def test_s27_mails_of_the_day(limit: str, holds: Any, trips: Any) -> None:
    earlier, now = _day(first=0, gone=0, added=3)[0], _day(first=10, gone=0, added=3)
    assert _check(now, earlier, **{limit: holds}) == {}
    assert [guard for guard, _ in _check(now, earlier, **{limit: trips})] == [limit]


def test_s27_people_of_a_day_count_once() -> None:
    earlier, now = _day(first=0, gone=0, moved=8)[0], _day(first=4, gone=0, moved=8)
    assert _check(now, earlier, max_people_mailed={"updated": 12}) == {}
    assert _check(now, earlier, max_people_mailed={"updated": 11}) != {}


def test_s27_guests_taken_off_in_the_day() -> None:
    before = know(
        *(meeting(f"hr-{n}", guest(f"a{n}"), guest(f"b{n}"), guest(f"c{n}")) for n in range(4))
    )
    once = compare(
        desire(*(meeting(f"hr-{n}", guest(f"a{n}"), guest(f"b{n}")) for n in range(4))), before
    )
    known = know(*(meeting(f"hr-{n}", guest(f"a{n}"), guest(f"b{n}")) for n in range(4)))
    again = compare(desire(*(meeting(f"hr-{n}", guest(f"a{n}")) for n in range(4))), known)
    assert _check((again, known.snapshot), once, max_guest_removals=8) == {}
    assert _check((again, known.snapshot), once, max_guest_removals=7) != {}


def test_s27_what_this_plan_does_not_add_to_does_not_stop_it() -> None:
    """A limit that was lowered, or that an approved run went over, is no matter of a plan that does
    nothing of the kind.
    """
    earlier = _day(first=0, gone=9, added=9)[0]
    now = _day(first=9, gone=0, moved=1)
    limits = {
        "max_deletes": 0,
        "max_new_invitations": 0,
        "max_guest_removals": 0,
        "max_mails_per_guest": 1,
    }
    assert _check(now, earlier, **limits, max_people_mailed={"cancelled": 0, "invited": 0}) == {}


@pytest.mark.parametrize(("moved", "share"), [(15, None), (16, 0.5333)])
def test_s27_a_shift_of_all_times_trips(moved: int, share: float | None) -> None:
    now = _day(first=0, gone=0, moved=moved)
    settings = {"max_update_share": {"run": 0.5}}
    found = _check(now, None, **settings)
    assert [f.number for (guard, scope), f in found.items() if scope == "run"] == (
        [] if share is None else [share]
    )
    earlier = _day(first=0, gone=0, moved=8)[0]
    # the same events again are the same events
    assert _check(now, earlier, **settings).keys() == found.keys()


def test_s27_updates_of_a_small_site_do_not_trip_by_share() -> None:
    assert _check(_day(first=26, gone=0, moved=4), None, max_update_share=0.5) == {}
    assert ("max_update_share", "run") in _check(
        _day(first=25, gone=0, moved=5), None, max_update_share=0.5
    )
    assert ("max_update_share", "run") in _check(
        _day(first=29, gone=0, moved=1), None, max_update_share=0
    )


def test_s27_a_guest_who_is_added_is_no_change_for_the_others() -> None:
    assert (
        _check(_day(first=0, gone=0, added=30), None, max_update_share=0, max_mails_per_guest=99)
        == {}
    )


def test_s27_a_full_resend_has_a_limit_of_its_own() -> None:
    known = know(*(meeting(f"hr-{n}", guest(f"a{n}")) for n in range(6)))
    diff = compare(
        desire(*(meeting(f"hr-{n}", guest(f"a{n}")) for n in range(6))), known, full=True
    )
    settings = config(guards={"max_full_resend": 6})
    assert check_guards(diff, known.snapshot, settings, as_of=NOW, full=True) == []


# -- first runs ------------------------------------------------------------------------------------


def test_s27_a_source_of_which_nothing_was_sent_has_a_first_run() -> None:
    diff, known = (
        compare(desire(*(meeting(f"hr-{n}", guest(f"a{n}")) for n in range(5))), know()),
        know(),
    )
    (finding,) = check_guards(
        diff, known.snapshot, config(), as_of=NOW, new_sources=["hr", "rooms"]
    )
    assert (finding.guard, finding.scope, finding.number) == ("approve_first_run", "source hr", 5)
    few = compare(desire(*(meeting(f"hr-{n}", guest(f"a{n}")) for n in range(4))), know())
    assert check_guards(few, known.snapshot, config(), as_of=NOW, new_sources=["hr"]) == []
    off = config(guards={"approve_first_run": False})
    assert check_guards(diff, known.snapshot, off, as_of=NOW, new_sources=["hr"]) == []
