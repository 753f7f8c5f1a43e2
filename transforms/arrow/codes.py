"""Texts that repeat, as codes with a dictionary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import take_text, to_arrow


def to_codes(values: pd.Series) -> pd.Series:
    """A text column as a categorical one: a number a row and each distinct text once."""
    return _from_codes(to_arrow(values).dictionary_encode(), values.index)


def unite_codes(parts: Sequence[pd.Series]) -> pd.Series:
    """Columns one below the other; categorical ones with the categories of all."""
    if not all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        return pd.concat(parts, ignore_index=True)
    arrays = [
        pa.DictionaryArray.from_arrays(_codes(part), to_arrow(pd.Series(part.cat.categories)))
        for part in parts
    ]
    whole = pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    return _from_codes(whole, pd.RangeIndex(len(whole)))


def _codes(column: pd.Series) -> pa.Array:
    codes = column.cat.codes.to_numpy().astype(np.int32)
    return pa.array(codes, mask=codes < 0)


def _from_codes(coded: pa.DictionaryArray, index: pd.Index) -> pd.Series:
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    # Arrow's dictionary has each text once; to let pandas check that would cost a Python object a
    # text, for good
    dtype = pd.CategoricalDtype._from_fastpath(
        pd.Index(pd.array(coded.dictionary, dtype="str")), ordered=False
    )
    return pd.Series(
        pd.Categorical._simple_new(codes.astype(_fitting(len(coded.dictionary))), dtype),
        index=index,
    )


def _fitting(size: int) -> type[np.signedinteger]:
    """The smallest integer type for so many codes."""
    return np.int8 if size < 2**7 else np.int16 if size < 2**15 else np.int32


def to_texts(values: pd.Series) -> pd.Series:
    """A categorical column as text again; a text column as it is."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        return values
    return take_text(
        pd.Series(values.cat.categories), values.cat.codes.to_numpy().astype(np.int64), values.index
    )


def to_plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its categorical columns as text again."""
    return pd.DataFrame({name: to_texts(frame[name]) for name in frame.columns}, index=frame.index)


def unite_frames(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames of the same columns one below the other, categorical columns with the categories of
    all. parts is emptied.
    """
    columns = {name: [frame[name] for frame in parts] for name in parts[0].columns}
    parts.clear()
    return pd.DataFrame({name: unite_codes(columns.pop(name)) for name in list(columns)})
