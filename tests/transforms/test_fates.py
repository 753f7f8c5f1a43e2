"""S21: the table of fates, walked whole. What must hold is said here apart from the order of the
rules.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import pytest

from transforms.diff.fates import (
    CAUTION,
    DELETED,
    RECORD_STATES,
    Event,
    Fate,
    Record,
    decide_fate,
    find_doubt,
)

PROOFS = ("read", "events", "whole", "keys", "linked", "guests", "followed")
EVENTS = [
    Event(
        over=over,
        tried=tried,
        in_pilot=inside,
        absent_runs=runs,
        needed_runs=2,
        under_way=begun,
        elsewhere=elsewhere,
    )
    for over, tried, inside, runs, begun, elsewhere in product(
        (False, True), (False, True), (False, True), (0, 1), (False, True), (False, True)
    )
]


def _records() -> list[Record]:
    """Every state with every set of proofs, of which a state that does not ask for one stands for
    all.
    """
    asked = {
        state: {rule.lacks for rule in CAUTION if state in rule.states}
        | {"guests", "followed", "read"}
        for state in RECORD_STATES
    }
    return [
        Record(state, **dict(zip(PROOFS, proofs, strict=True)))
        for state in RECORD_STATES
        for proofs in product((True, False), repeat=len(PROOFS))
        if all(proof or name in asked[state] for name, proof in zip(PROOFS, proofs, strict=True))
    ]


ALL = _records()


def _may_end(record: Record) -> bool:
    """Whether this record's word allows a delete, said without the table."""
    return {
        "absent": record.read and record.events and record.whole and record.keys and record.linked,
        "quarantined": False,
        "pending": False,
        "beyond_window": False,
        "past": False,
        "guestless": record.guests,
        "merged": record.followed and record.guests,
        "due": record.followed,
        "joined": record.guests,
        "cancelled": True,
    }[record.state]


def _is_quiet(record: Record) -> bool:
    """Whether an event that is over may be forgotten as far as this record goes."""
    return record.state not in ("quarantined", "pending", "beyond_window") and not (
        record.state == "absent" and not record.read
    )


def _check(event: Event, records: tuple[Record, ...]) -> Fate:
    fate = decide_fate(event, records)
    assert fate is not None
    assert fate == decide_fate(event, records[::-1]), "the order of the records decides nothing"
    ends = not event.over and all(_may_end(record) for record in records)
    absent = any(record.state == "absent" for record in records)
    if fate.action == "delete":
        assert ends
        assert event.in_pilot
        assert not event.tried
        assert not event.under_way
        assert fate.reason in {DELETED[record.state] for record in records}
        assert (fate.reason == "absent") is absent, (
            "what is absent needs its proof whatever the others say"
        )
        assert not absent or event.absent_runs + 1 >= event.needed_runs
        assert not absent or not event.elsewhere, "a row of another key may be it"
    elif fate.action == "expire":
        assert event.over
        assert all(_is_quiet(record) for record in records)
    else:
        assert fate.action in ("held", "dormant")
        assert fate.reason
    if fate.absent:
        assert ends
        assert absent
    # nothing is held without a cause either
    doubted = absent and (event.elsewhere or event.absent_runs + 1 < event.needed_runs)
    if ends and event.in_pilot and not event.tried and not event.under_way and not doubted:
        assert fate.action == "delete"
    if event.over and all(_is_quiet(record) for record in records):
        assert fate.action == "expire"
    return fate


def test_s21_every_combination_of_one_record_and_of_two() -> None:
    for event in EVENTS:
        alone = {record: _check(event, (record,)) for record in ALL}
        for one, other in combinations_with_replacement(ALL, 2):
            fate = _check(event, (one, other))
            mine = {alone[one].action, alone[other].action}
            # the more cautious word wins: a union never goes where one of its records alone would
            # be held
            assert (
                fate.action not in ("delete", "expire")
                or not mine & {"held", "dormant"}
                or event.tried
                or not event.in_pilot
            )


@pytest.mark.parametrize("third", RECORD_STATES)
def test_s21_a_third_record_changes_no_rule(third: str) -> None:
    some = [record for record in ALL if sum(not getattr(record, name) for name in PROOFS) <= 1]
    for event in EVENTS[::3]:
        for one, other in combinations_with_replacement(some, 2):
            _check(event, (one, other, Record(third)))


@pytest.mark.parametrize("state", ["expired", "deleted"])
def test_s21_what_essentry_does_not_hold_has_no_fate(state: str) -> None:
    for record in ALL:
        assert decide_fate(Event(state), [record]) is None


def test_s21_every_reason_is_told_apart_and_every_state_is_known() -> None:
    reasons = [rule.reason for rule in CAUTION]
    assert len(set(reasons)) == len(reasons)
    assert {state for rule in CAUTION for state in rule.states} | set(DELETED) == set(RECORD_STATES)
    assert all(rule.lacks in ("", *PROOFS) for rule in CAUTION)


def test_s21_a_meeting_without_a_word_is_held() -> None:
    assert decide_fate(Event(), []) == Fate("held", "no record speaks for it")


def test_s21_no_guest_is_removed_while_a_record_may_not_be_believed() -> None:
    due = Record("joined")
    for record in ALL:
        sure = {
            "absent": record.read and record.events and record.whole and record.keys,
            "quarantined": False,
            "pending": False,
            "cancelled": True,
        }.get(record.state, record.guests)
        assert (find_doubt([due, record]) is None) is sure, record
        assert find_doubt([due, record]) == find_doubt([record, due])
