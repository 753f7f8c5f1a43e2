"""Instants as ISO 8601 text."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import TEXT, to_series


def format_instants(values: pd.Series) -> pd.Series:
    """ISO 8601 in UTC with a Z, to the second, as essentry wants it; NaT becomes missing."""
    seconds = pa.array(
        values.dt.floor("s").dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[s]"),
        from_pandas=True,
    )
    coded = seconds.dictionary_encode()
    texts = pc.replace_substring(coded.dictionary.cast(TEXT), " ", "T")
    named = pc.binary_join_element_wise(texts, pa.scalar("Z", TEXT), pa.scalar("", TEXT))
    return to_series(named.take(coded.indices), values.index)
