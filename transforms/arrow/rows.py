"""Rows of frames: chosen, sorted, grouped, compared with the row before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import Mask, Positions, to_arrow, to_mask, to_series
from transforms.arrow.threads import on_two_threads

_SMALL_GROUP = 8
_FEW = 2_000


def _find_memory(array: pa.Array) -> tuple[int, ...]:
    """Where a column stands in memory; the same for all that are null."""
    if array.null_count == len(array):
        return ()
    return (array.offset, *(buffer.address if buffer else 0 for buffer in array.buffers()))


def pick_rows(frame: pd.DataFrame, rows: Mask | Positions) -> pd.DataFrame:
    """Rows of a frame by mask or position, numbered anew; the whole frame itself when the mask
    keeps every row.

    Columns that are one and the same in memory, as those without any text, are copied once.
    """
    if rows.dtype == bool:
        if rows.all():
            return frame.reset_index(drop=True)
        rows = np.flatnonzero(rows)
    index = pd.RangeIndex(len(rows))
    if len(frame) <= _FEW:  # there the calls cost more than what they save
        return frame.take(rows).set_axis(index)
    places = pa.array(rows, type=pa.int64())
    texts = {
        name: to_arrow(frame[name])
        for name in frame.columns
        if isinstance(frame[name].dtype, pd.StringDtype)
    }
    keys = {name: _find_memory(array) for name, array in texts.items()}
    distinct = {keys[name]: array for name, array in texts.items()}
    taken = dict(
        zip(
            distinct,
            on_two_threads(lambda array: array.take(places), distinct.values(), rows=len(rows)),
            strict=True,
        )
    )
    columns = {
        name: to_series(taken[keys[name]], index)
        if name in keys
        else frame[name].take(rows).set_axis(index)
        for name in frame.columns
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
    """True for each row whose combination of values stands in another row, too; a missing value
    makes a row single.

    At most two columns: their numbers then fit into one.
    """
    if len(columns) == 2:
        lengths = _measure_runs(to_arrow(columns[0]))
        if lengths is not None:
            return _are_repeated_in_runs(columns[0], columns[1], lengths)
    return _are_repeated_anywhere(*columns)


def _measure_runs(array: pa.Array) -> Positions | None:
    """How many rows of one value stand together, run by run; None when a value stands in several
    runs.
    """
    first = np.append(True, ~to_mask(pc.equal(array[1:], array[:-1])))[: len(array)]
    starts = np.flatnonzero(first)
    if len(pc.unique(array.take(pa.array(starts)))) < len(starts):
        return None
    return np.diff(np.append(starts, len(array)))


def _are_repeated_in_runs(groups: pd.Series, values: pd.Series, lengths: Positions) -> Mask:
    """`are_repeated` where the rows of a group stand together: a row is compared with those next to
    it; large groups are looked at otherwise.
    """
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
    # as almost always, and quicker to see than which rows they are
    if (ordered[1:] != ordered[:-1]).all():
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
    """A frame, or its rows `among`, sorted by text columns, bytewise as essentry-sync sorts
    everywhere; equal rows keep their order.
    """
    among = np.ones(len(frame), dtype=bool) if among is None else among
    keys = pa.RecordBatch.from_arrays([to_arrow(frame[name]) for name in by], names=by)
    if is_sorted(*keys.columns):
        return pick_rows(frame, among)
    order = np.asarray(
        pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in by]), dtype=np.int64
    )
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
