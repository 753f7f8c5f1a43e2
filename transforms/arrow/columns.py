"""Columns of text by Arrow kernels: membership, look-up, distinct values, rows. Pure, and no Python
object a row.

pandas' own `isin`, `map`, `duplicated` and boolean indexing turn Arrow-backed text into objects or
copy it several times; at a million rows that is where the time goes. Everything here keeps text in
Arrow and gives pandas columns back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_PIECE = 1 << 18


def to_arrow(values: pd.Series) -> pa.Array:
    """A text column as one Arrow array; missing stays null."""
    array = pa.array(values.astype("str"), type=TEXT, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def to_list(values: pd.Series) -> list[Any]:
    """The texts as Python objects, missing as None: for few rows, and still quicker than pandas'
    own `tolist`.
    """
    return to_arrow(values).to_pylist()


def to_series(array: pa.Array, index: pd.Index) -> pd.Series:
    """An Arrow array of texts as a column of that index, by position."""
    return pd.Series(pd.array(array, dtype="str"), index=index)


def cut_bytes(array: pa.Array) -> list[Bytes]:
    """The bytes of a column's texts in pieces that fit into the processor's cache, and overlap by a
    byte.
    """
    content = read_bytes(array)
    return [content[start : start + _PIECE + 1] for start in range(0, len(content), _PIECE)]


def has_bytes(array: pa.Array, odd: Callable[[Bytes], Any]) -> bool:
    """Whether a byte of a column's texts is odd."""
    return any(odd(piece).any() for piece in cut_bytes(array))


def read_bytes(array: pa.Array) -> Bytes:
    """The bytes of an Arrow column's texts, one after the other; of a slice the slice's alone."""
    _, offsets, content = array.buffers()
    if content is None or len(array) == 0:
        return np.empty(0, dtype=np.uint8)
    bounds = np.frombuffer(offsets, dtype=np.int64)[[array.offset, array.offset + len(array)]]
    return np.frombuffer(content, dtype=np.uint8)[bounds[0] : bounds[1]]


def no_text(index: pd.Index) -> pd.Series:
    """A text column in which every value is missing."""
    return to_series(pa.nulls(len(index), TEXT), index)


def same_text(text: str, index: pd.Index) -> pd.Series:
    """A text column that says the same in every row."""
    return to_series(pa.repeat(pa.scalar(text, TEXT), len(index)), index)


def to_mask(array: pa.Array) -> Mask:
    """An Arrow column of booleans as numpy has it; null is false."""
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def is_among(values: pd.Series, among: pd.Series | Collection[str]) -> Mask:
    """True where the text is one of `among`; missing is not."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return np.append(is_among(pd.Series(values.cat.categories), among), False)[
            values.cat.codes.to_numpy()
        ]
    wanted = to_arrow(among) if isinstance(among, pd.Series) else pa.array(sorted(among), type=TEXT)
    if len(wanted) == 0:
        return np.zeros(len(values), dtype=bool)
    return to_mask(pc.is_in(to_arrow(values), value_set=wanted.drop_null()))


def find_positions(keys: pd.Series, among: pd.Series) -> Positions:
    """Where each key stands in `among` (the first place, from 0); -1 where it does not, or is
    missing.
    """
    found = pc.index_in(to_arrow(keys), value_set=to_arrow(among), skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1), dtype=np.int64)


def take_text(values: pd.Series, positions: Positions, index: pd.Index) -> pd.Series:
    """The texts at these positions; missing at -1."""
    places = pa.array(positions, mask=positions < 0)
    return to_series(to_arrow(values).take(places), index)


def look_up(keys: pd.Series, table: Mapping[str, Any], dtype: str) -> pd.Series:
    """`keys` looked up in a small table; missing where it has no entry, or the entry is None."""
    known = pd.Series(list(table), dtype="str")
    values = pd.Series([*table.values(), None], dtype="object").astype(dtype)
    return values.take(find_positions(keys, known)).set_axis(keys.index)


def map_distinct(values: pd.Series, *, by: Callable[[str], str | None]) -> pd.Series:
    """Apply `by` to each distinct non-missing value; the result is text, missing where the rule
    gives None.
    """
    array = to_arrow(values)
    if array.null_count == len(array):
        return to_series(array, values.index)
    coded = array.dictionary_encode()
    results = pa.array([by(value) for value in coded.dictionary.to_pylist()], type=TEXT)
    return to_series(results.take(coded.indices), values.index)


def mend_rows(array: pa.Array, odd: pa.Array, *, by: Callable[[str], str | None]) -> pa.Array:
    """`array` with `by` applied to the rows that `odd` marks, each distinct text once."""
    odd = pc.fill_null(odd, False)
    if not pc.any(odd).as_py():
        return array
    coded = array.filter(odd).dictionary_encode()
    mended = pa.array([by(value) for value in coded.dictionary.to_pylist()], type=TEXT)
    return pc.replace_with_mask(array, odd, mended.take(coded.indices))
