"""Columns of text by Arrow kernels: membership, look-up, distinct values, rows. Pure, and no Python object a row.

pandas' own `isin`, `map`, `duplicated` and boolean indexing turn Arrow-backed text into objects or copy it several times; at a million rows that
is where the time goes. Everything here keeps text in Arrow and gives pandas columns back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.threads import on_two_threads

TEXT = pa.large_string()
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Positions = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_PIECE = 1 << 18
_SMALL_GROUP = 8


def to_arrow(values: pd.Series) -> pa.Array:
    """A text column as one Arrow array; missing stays null."""
    array = pa.array(values.astype("str"), type=TEXT, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def to_list(values: pd.Series) -> list[Any]:
    """The texts as Python objects, missing as None: for few rows, and still quicker than pandas' own `tolist`."""
    return to_arrow(values).to_pylist()


def to_series(array: pa.Array, index: pd.Index) -> pd.Series:
    """An Arrow array of texts as a column of that index, by position."""
    return pd.Series(pd.array(array, dtype="str"), index=index)


def cut_bytes(array: pa.Array) -> list[Bytes]:
    """The bytes of a column's texts in pieces that fit into the processor's cache, and overlap by a byte."""
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


def to_codes(values: pd.Series) -> pd.Series:
    """A text column as a categorical one: a number a row and each distinct text once."""
    return _from_codes(to_arrow(values).dictionary_encode(), values.index)


def unite_codes(parts: Sequence[pd.Series]) -> pd.Series:
    """Columns one below the other; categorical ones with the categories of all."""
    if not all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        return pd.concat(parts, ignore_index=True)
    arrays = [pa.DictionaryArray.from_arrays(_codes(part), to_arrow(pd.Series(part.cat.categories))) for part in parts]
    whole = pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    return _from_codes(whole, pd.RangeIndex(len(whole)))


def _codes(column: pd.Series) -> pa.Array:
    codes = column.cat.codes.to_numpy().astype(np.int32)
    return pa.array(codes, mask=codes < 0)


def _from_codes(coded: pa.DictionaryArray, index: pd.Index) -> pd.Series:
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    # Arrow's dictionary has each text once; to let pandas check that would cost a Python object a text, for good
    dtype = pd.CategoricalDtype._from_fastpath(pd.Index(pd.array(coded.dictionary, dtype="str")), ordered=False)
    return pd.Series(pd.Categorical._simple_new(codes.astype(_fitting(len(coded.dictionary))), dtype), index=index)


def _fitting(size: int) -> type[np.signedinteger]:
    """The smallest integer type for so many codes."""
    return np.int8 if size < 2**7 else np.int16 if size < 2**15 else np.int32


def to_texts(values: pd.Series) -> pd.Series:
    """A categorical column as text again; a text column as it is."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return values
    return take_text(pd.Series(values.cat.categories), values.cat.codes.to_numpy().astype(np.int64), values.index)


def to_plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its categorical columns as text again."""
    return pd.DataFrame({name: to_texts(frame[name]) for name in frame.columns}, index=frame.index)


def unite_frames(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames of the same columns one below the other, categorical columns with the categories of all. parts is emptied."""
    columns = {name: [frame[name] for frame in parts] for name in parts[0].columns}
    parts.clear()
    return pd.DataFrame({name: unite_codes(columns.pop(name)) for name in list(columns)})


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
        return np.append(is_among(pd.Series(values.cat.categories), among), False)[values.cat.codes.to_numpy()]
    wanted = to_arrow(among) if isinstance(among, pd.Series) else pa.array(sorted(among), type=TEXT)
    if len(wanted) == 0:
        return np.zeros(len(values), dtype=bool)
    return to_mask(pc.is_in(to_arrow(values), value_set=wanted.drop_null()))


def find_positions(keys: pd.Series, among: pd.Series) -> Positions:
    """Where each key stands in `among` (the first place, from 0); -1 where it does not, or is missing."""
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
    """Apply `by` to each distinct non-missing value; the result is text, missing where the rule gives None."""
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


def _find_memory(array: pa.Array) -> tuple[int, ...]:
    """Where a column stands in memory; the same for all that are null."""
    if array.null_count == len(array):
        return ()
    return (array.offset, *(buffer.address if buffer else 0 for buffer in array.buffers()))


def pick_rows(frame: pd.DataFrame, rows: Mask | Positions) -> pd.DataFrame:
    """Rows of a frame by mask or position, numbered anew; the whole frame itself when the mask keeps every row.

    Columns that are one and the same in memory, as those without any text, are copied once.
    """
    if rows.dtype == bool:
        if rows.all():
            return frame.reset_index(drop=True)
        rows = np.flatnonzero(rows)
    places = pa.array(rows, type=pa.int64())
    index = pd.RangeIndex(len(rows))
    texts = {name: to_arrow(frame[name]) for name in frame.columns if isinstance(frame[name].dtype, pd.StringDtype)}
    keys = {name: _find_memory(array) for name, array in texts.items()}
    distinct = {keys[name]: array for name, array in texts.items()}
    taken = dict(zip(distinct, on_two_threads(lambda array: array.take(places), distinct.values(), rows=len(rows)), strict=True))
    columns = {
        name: to_series(taken[keys[name]], index) if name in keys else frame[name].take(rows).set_axis(index) for name in frame.columns
    }
    return pd.DataFrame(columns, index=index)


def leave_no_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a frame alone; other than a slice, they do not hold on to its memory."""
    return pick_rows(frame, np.empty(0, dtype=np.int64))


def number_groups(*columns: pd.Series) -> Positions:
    """A number for each distinct combination of values; a missing value is a value of its own."""
    numbers = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        coded = to_arrow(column).dictionary_encode(null_encoding="encode")
        size = len(coded.dictionary)
        numbers = numbers * size + np.asarray(coded.indices, dtype=np.int64)
        if len(columns) > 1:
            numbers = pd.factorize(numbers)[0]
    return numbers


def are_repeated(*columns: pd.Series) -> Mask:
    """True for each row whose combination of values stands in another row, too; a missing value makes a row single.

    At most two columns: their numbers then fit into one.
    """
    if len(columns) == 2:
        lengths = _measure_runs(to_arrow(columns[0]))
        if lengths is not None:
            return _are_repeated_in_runs(columns[0], columns[1], lengths)
    return _are_repeated_anywhere(*columns)


def _measure_runs(array: pa.Array) -> Positions | None:
    """How many rows of one value stand together, run by run; None when a value stands in several runs."""
    first = np.append(True, ~to_mask(pc.equal(array[1:], array[:-1])))[: len(array)]
    starts = np.flatnonzero(first)
    if len(pc.unique(array.take(pa.array(starts)))) < len(starts):
        return None
    return np.diff(np.append(starts, len(array)))


def _are_repeated_in_runs(groups: pd.Series, values: pd.Series, lengths: Positions) -> Mask:
    """`are_repeated` where the rows of a group stand together: a row is compared with those next to it; large groups are looked at otherwise."""
    array, run = to_arrow(values), np.repeat(np.arange(len(lengths)), lengths)
    repeated = np.zeros(len(run), dtype=bool)
    for step in range(1, lengths[lengths <= _SMALL_GROUP].max(initial=1)):
        same = to_mask(pc.equal(array[step:], array[:-step])) & (run[step:] == run[:-step])
        repeated[step:] |= same
        repeated[:-step] |= same
    large = np.flatnonzero(lengths[run] > _SMALL_GROUP)
    repeated[large] = _are_repeated_anywhere(groups.take(large), values.take(large))
    return repeated


def _are_repeated_anywhere(*columns: pd.Series) -> Mask:
    numbers = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes = number_groups(column)
        numbers = numbers * (codes.max(initial=0) + 1) + codes
    ordered = np.sort(numbers)
    if (ordered[1:] != ordered[:-1]).all():  # as almost always, and quicker to see than which rows they are
        return np.zeros(len(numbers), dtype=bool)
    missing = np.logical_or.reduce([column.isna().to_numpy(dtype=bool) for column in columns])
    return np.asarray(pd.Series(numbers).duplicated(keep=False).to_numpy(), dtype=bool) & ~missing


def repeat_the_row_before(*columns: pd.Series) -> Mask:
    """True for each row of a sorted frame that has the values of the row before it."""
    same = np.ones(max(len(columns[0]) - 1, 0), dtype=bool)
    for column in columns:
        array = to_arrow(column)
        same &= to_mask(pc.equal(array[1:], array[:-1]))
    return np.append(np.zeros(min(len(columns[0]), 1), dtype=bool), same)


def sort_rows(frame: pd.DataFrame, by: list[str], *, among: Mask | None = None) -> pd.DataFrame:
    """A frame, or its rows `among`, sorted by text columns, bytewise as essentry-sync sorts everywhere; equal rows keep their order."""
    among = np.ones(len(frame), dtype=bool) if among is None else among
    keys = pa.RecordBatch.from_arrays([to_arrow(frame[name]) for name in by], names=by)
    if is_sorted(*keys.columns):
        return pick_rows(frame, among)
    order = np.asarray(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in by]), dtype=np.int64)
    return pick_rows(frame, order[among[order]])


def is_sorted(*columns: pa.Array) -> bool:
    """True when the rows stand in ascending order already, as most databases return them."""
    if len(columns[0]) < 2 or any(column.null_count for column in columns):
        return len(columns[0]) < 2
    equal = pa.scalar(True)
    right: Any = pa.scalar(True)
    for column in columns:
        before, after = column[:-1], column[1:]
        right = pc.and_(right, pc.or_(pc.invert(equal), pc.less_equal(before, after)))
        equal = pc.and_(equal, pc.equal(before, after))
    return bool(pc.all(right).as_py())
