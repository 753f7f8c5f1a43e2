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

from transforms import people
from transforms.columns import are_repeated, pick_rows, sort_rows
from transforms.json_text import build_objects, text_member
from transforms.threads import MANY_ROWS

_KEYS = st.none() | st.sampled_from(["a", "b", "ab", "ä", ""])


@given(st.lists(st.tuples(_KEYS, _KEYS), max_size=40), st.booleans())
def test_repeated_pairs_stand_in_two_rows(rows: list[tuple[str | None, str | None]], in_order: bool) -> None:
    if in_order:
        rows = sorted(rows, key=lambda row: (row[0] is None, row[0] or ""))
    times = Counter(rows)
    columns = (pd.Series([row[side] for row in rows], dtype="str") for side in (0, 1))
    assert are_repeated(*columns).tolist() == [None not in row and times[row] > 1 for row in rows]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=40))
def test_sorted_rows_keep_their_order_among_equals(rows: list[tuple[str, str, bool]]) -> None:
    frame = pd.DataFrame({name: pd.Series([row[side] for row in rows], dtype="str") for side, name in enumerate("pq")})
    frame["row"] = np.arange(len(rows))
    among = np.array([row[2] for row in rows], dtype=bool)
    wanted = sorted((row for row in frame.to_records(index=False).tolist() if among[row[2]]), key=lambda row: row[:2])
    assert sort_rows(frame, ["p", "q"], among=among).to_records(index=False).tolist() == wanted


def test_many_rows_are_picked_column_by_column() -> None:
    texts = pd.Series([None if n % 7 == 0 else f"t{n}" for n in range(MANY_ROWS + 9)], dtype="str")
    frame = pd.DataFrame({"text": texts, "same": texts, "none": texts.where(texts == ""), "number": np.arange(len(texts))})
    rows = np.arange(len(texts))[::-1].copy()
    assert pick_rows(frame, rows).equals(frame.iloc[rows].reset_index(drop=True))


_BLANK = [chr(n) for n in range(sys.maxunicode + 1) if re.fullmatch(people._BLANKS, chr(n))]


@pytest.mark.parametrize("blank", [*_BLANK, "  "], ids=ascii)
def test_every_blank_is_found_in_a_column_that_is_plain_otherwise(blank: str) -> None:
    values = pd.Series(["plain", f"a{blank}b", None], dtype="str")
    assert people.clean_text(values).tolist()[:2] == ["plain", "a b"]
    assert people.clean_key(values.str.replace(r"^a|b$", "", regex=True)).isna().tolist() == [False, not blank.strip(), True]


@given(st.lists(st.text(alphabet=st.sampled_from([*map(chr, range(0x21)), *'"\\/aé😀\x7f\u2028'])), min_size=1, max_size=10))
def test_json_texts_are_escaped_as_by_orjson(texts: list[str]) -> None:
    objects = build_objects([text_member("k", pa.array(texts, pa.large_string()))], len(texts))
    assert objects.to_pylist() == [orjson.dumps({"k": text}).decode() for text in texts]
