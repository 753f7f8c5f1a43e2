"""Kernels that take a short way where nothing can change, against the plain rule."""

from __future__ import annotations

import re
import sys
from collections import Counter

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.arrow.codes import to_codes, to_texts, unite_frames
from transforms.arrow.columns import is_among
from transforms.arrow.json_text import build_objects, text_member
from transforms.arrow.rows import are_repeated, leave_no_rows, pick_rows, sort_rows
from transforms.arrow.threads import MANY_ROWS
from transforms.validate import people

_KEYS = st.none() | st.sampled_from(["a", "b", "ab", "ä", ""])


@given(st.lists(st.tuples(_KEYS, _KEYS), max_size=40), st.booleans())
def test_repeated_pairs_stand_in_two_rows(
    rows: list[tuple[str | None, str | None]], in_order: bool
) -> None:
    if in_order:
        rows = sorted(rows, key=lambda row: (row[0] is None, row[0] or ""))
    times = Counter(rows)
    columns = (pd.Series([row[side] for row in rows], dtype="str") for side in (0, 1))
    assert are_repeated(*columns).tolist() == [None not in row and times[row] > 1 for row in rows]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=40)
)
def test_sorted_rows_keep_their_order_among_equals(rows: list[tuple[str, str, bool]]) -> None:
    frame = pd.DataFrame(
        {
            name: pd.Series([row[side] for row in rows], dtype="str")
            for side, name in enumerate("pq")
        }
    )
    frame["row"] = np.arange(len(rows))
    among = np.array([row[2] for row in rows], dtype=bool)
    wanted = sorted(
        (row for row in frame.to_records(index=False).tolist() if among[row[2]]),
        key=lambda row: row[:2],
    )
    assert sort_rows(frame, ["p", "q"], among=among).to_records(index=False).tolist() == wanted


def test_many_rows_are_picked_column_by_column() -> None:
    texts = pd.Series([None if n % 7 == 0 else f"t{n}" for n in range(MANY_ROWS + 9)], dtype="str")
    frame = pd.DataFrame(
        {
            "text": texts,
            "same": texts,
            "none": texts.where(texts == ""),
            "number": np.arange(len(texts)),
        }
    )
    rows = np.arange(len(texts))[::-1].copy()
    assert pick_rows(frame, rows).equals(frame.iloc[rows].reset_index(drop=True))


_BLANK = [chr(n) for n in range(sys.maxunicode + 1) if re.fullmatch(people._BLANKS, chr(n))]


@pytest.mark.parametrize("blank", [*_BLANK, "  "], ids=ascii)
def test_every_blank_is_found_in_a_column_that_is_plain_otherwise(blank: str) -> None:
    values = pd.Series(["plain", f"a{blank}b", None], dtype="str")
    assert people.clean_text(values).tolist()[:2] == ["plain", "a b"]
    assert people.clean_key(values.str.replace(r"^a|b$", "", regex=True)).isna().tolist() == [
        False,
        True,
        True,
    ]  # nothing can be seen of it


@given(
    st.lists(
        st.text(alphabet=st.sampled_from([*map(chr, range(0x21)), *'"\\/aé😀\x7f\u2028'])),
        min_size=1,
        max_size=10,
    )
)
def test_json_texts_are_escaped_as_by_orjson(texts: list[str]) -> None:
    objects = build_objects([text_member("k", pa.array(texts, pa.large_string()))], len(texts))
    assert objects.to_pylist() == [orjson.dumps({"k": text}).decode() for text in texts]


@given(
    st.lists(st.lists(_KEYS, max_size=12), min_size=1, max_size=4),
    st.sets(st.sampled_from(["a", "b", "x"])),
)
def test_codes_are_the_texts_they_stand_for(parts: list[list[str | None]], among: set[str]) -> None:
    """Coded columns of several parts, put together: the texts, their membership, their counts."""
    texts = [
        pd.DataFrame({"key": pd.Series(part, dtype="str"), "row": np.arange(len(part))})
        for part in parts
    ]
    whole = pd.concat(texts, ignore_index=True)
    united = unite_frames([frame.assign(key=to_codes(frame["key"])) for frame in texts])
    assert isinstance(united["key"].dtype, pd.CategoricalDtype)
    assert united["key"].cat.categories.is_unique
    assert [None if pd.isna(text) else text for text in united["key"]] == [
        text for part in parts for text in part
    ]
    pd.testing.assert_series_equal(to_texts(united["key"]), whole["key"], check_names=False)
    assert united["row"].tolist() == whole["row"].tolist()
    assert is_among(united["key"], among).tolist() == is_among(whole["key"], among).tolist()
    assert united["key"].nunique() == whole["key"].nunique()
    assert (united["key"] == "a").tolist() == (whole["key"] == "a").tolist()
    counts = united["key"].value_counts()
    assert counts[counts > 0].to_dict() == whole["key"].value_counts().to_dict()


def test_frame_without_rows_lets_go_of_the_memory_of_the_rows() -> None:
    frame = pd.DataFrame(
        {
            "key": pd.Series([f"a long text {n}" for n in range(5_000)], dtype="str"),
            "number": np.arange(5_000),
        }
    )
    empty = leave_no_rows(frame)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == frame.dtypes.to_dict()
    assert sum(buffer.size for buffer in pa.array(empty["key"]).buffers() if buffer) < 1_000
