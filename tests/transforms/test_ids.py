"""The format of ids is fixed for ever: these golden values must never change, or every guest is
cancelled and invited again.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from transforms.naming.ids import (
    MAX_LENGTH,
    ParsedId,
    build_event_ids,
    escape_part,
    escape_parts,
    join_parts,
    numbered_guests,
    parse_event_id,
    parse_invitation_id,
    unescape_part,
)

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_tricky = st.text(st.sampled_from("-~_.:/ aA0gh2DäÄ\n\x00🚪"), max_size=8)
_part = _text | _tricky


def _series(*values: str | None, index: list | None = None) -> pd.Series:
    return pd.Series(list(values), index=index, dtype="str")


def _one(*parts: str) -> str:
    return join_parts(*(escape_parts(_series(part)) for part in parts)).iloc[0]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("hr", "42"), "hr-42"),
        (("hr", "2026-0042"), "hr-2026~2D0042"),
        (("hr", ""), "hr-~"),
        (("hr", "a:b c/d"), "hr-a~3Ab~20c~2Fd"),
        (("hr", "Tür"), "hr-T~C3~BCr"),
        (("hr", "🚪"), "hr-~F0~9F~9A~AA"),
        (("hr", "~"), "hr-~7E"),
        (("hr", "~g1"), "hr-~7Eg1"),
        (("hr", "a.b_C"), "hr-a.b_C"),
        (("hr", "42", "7"), "hr-42-7"),
        (("hr", "4-2", "x@y.example"), "hr-4~2D2-x~40y.example"),
        (("hr", "\n\x00"), "hr-~0A~00"),
    ],
)
def test_golden_ids(parts: tuple[str, ...], expected: str) -> None:
    assert _one(*parts) == expected


def test_golden_numbered_guest() -> None:
    assert numbered_guests(pd.Series([17, None], dtype="Int64")).fillna("none").tolist() == [
        "~g17",
        "none",
    ]


def test_golden_shortened_id() -> None:
    assert _one("hr", "x" * 300) == "hr-" + "x" * 218 + "~h6f6f4401a4885b73c27c00a9e05ebdf3"


@pytest.mark.parametrize("length", [252, 253])
def test_limit_is_reached_exactly(length: int) -> None:
    made = _one("hr", "x" * length)
    assert len(made) == MAX_LENGTH
    assert ("~h" in made) == (length > 252)


@given(st.tuples(_part, _part, _part), st.tuples(_part, _part, _part))
@example(("a", "b-c", "d"), ("a-b", "c", "d"))
@example(("a", "", "b"), ("a", "~", "b"))
@example(("a", "~2D", "b"), ("a", "-", "b"))
def test_different_tuples_never_meet(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assume(one != other)
    assert _one(*one) != _one(*other)


@given(_part, _part, _part)
def test_ids_can_be_read_back_and_are_safe(source: str, event: str, guest: str) -> None:
    # a longer one ends in a digest
    assume(len("-".join(escape_part(part) for part in (source, event, guest))) <= MAX_LENGTH)
    event_id, invitation_id, shared_id = (
        _one(source, event),
        _one(source, event, guest),
        _one(source, guest),
    )
    assert parse_event_id(event_id) == ParsedId(source, event)
    assert parse_invitation_id(invitation_id) == ParsedId(source, event, guest)
    assert parse_invitation_id(shared_id, shared=True) == ParsedId(source, None, guest)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", invitation_id)


@given(_part)
def test_escaping_is_reversible(text: str) -> None:
    assert unescape_part(escape_part(text)) == text


@given(_part, st.integers(0, 10**12))
def test_no_key_becomes_a_numbered_guest(key: str, number: int) -> None:
    assert escape_part(key) != f"~g{number}"


def test_numbered_guests_are_read_back() -> None:
    assert parse_invitation_id("hr-42-~g17") == ParsedId("hr", "42", guest_number=17)
    assert parse_invitation_id("hr-~g17", shared=True) == ParsedId("hr", None, guest_number=17)


@settings(max_examples=30)
@given(
    st.lists(
        st.text(st.sampled_from("abä-"), min_size=1, max_size=6),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    st.integers(100, 300),
)
def test_long_ids_stay_unique(ends: list[str], length: int) -> None:
    keys = _series(*("ä" * length + end for end in ends))
    made = build_event_ids(_series(*["hr"] * len(ends)), keys)
    assert made.is_unique
    assert made.str.len().max() <= MAX_LENGTH
    with pytest.raises(ValueError, match="shortened"):
        parse_event_id(made.iloc[0])


@pytest.mark.parametrize(
    "text", ["", "hr", "hr-1-2", "hr-", "-1", "hr-a b", "hr-~2d", "hr-~Z", "hr-ä"]
)
def test_what_is_no_event_id(text: str) -> None:
    with pytest.raises(ValueError, match="no sourceId of 2 parts"):
        parse_event_id(text)


def test_missing_parts_make_missing_ids() -> None:
    made = build_event_ids(_series("hr", None, "hr"), _series("1", "2", None))
    assert made.isna().tolist() == [False, True, True]


@pytest.mark.parametrize("key", ["plain", "with-dash", "x" * 300])
def test_a_frame_keeps_its_index(key: str) -> None:
    index = [7, 3]
    made = build_event_ids(_series("hr", "hr", index=index), _series(key, "2", index=index))
    assert made.index.tolist() == index
    assert made.loc[3] == "hr-2"
    assert made.loc[7] == _one("hr", key)


def test_empty_frames() -> None:
    assert build_event_ids(_series(), _series()).empty
