"""One text for a value, whichever driver or way it came: a Python object of a row, or an Arrow
column of a bulk read.

Instants are ISO 8601 with a blank, in UTC with +00:00 where they know their zone; whole numbers
have no `.0`; JSON is JSON; NULL is missing.
"""

from __future__ import annotations

import html
import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

TEXT = pa.large_string()
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def to_text(value: Any) -> str | None:
    """One driver value as text."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, pa.MonthDayNano) and not value.months:
        value = timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
    if isinstance(value, (float, Decimal)):
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=to_text)
    return str(value)


def to_text_column(column: pa.Array) -> pa.Array:
    """`to_text` of a whole column; only types that a source rarely has are looked at value by
    value.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType) and pa.types.is_string(kind.storage_type):
        column, numeric = column.storage, "numeric" in str(kind)
        return (
            pc.replace_substring_regex(column, r"\.0+$", "").cast(TEXT)
            if numeric
            else column.cast(TEXT)
        )
    if isinstance(kind, pa.OpaqueType) and kind.type_name in ("bit", "varbit"):
        return pa.array([_to_bits(value) for value in column.storage.to_pylist()], type=TEXT)
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_date32(kind)
    ):
        return column.cast(TEXT)
    if pa.types.is_boolean(kind):
        return pc.if_else(column, pa.scalar("true", TEXT), pa.scalar("false", TEXT))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        wall = _without_zero_fraction(column.cast(pa.timestamp("us")).cast(TEXT))
        return pc.binary_join_element_wise(wall, pa.scalar("+00:00", TEXT), pa.scalar("", TEXT))
    if pa.types.is_timestamp(kind):
        return _without_zero_fraction(column.cast(pa.timestamp("us")).cast(TEXT))
    return pa.array([to_text(value) for value in column.to_pylist()], type=TEXT)


def _to_bits(value: bytes | None) -> str | None:
    """PostgreSQL's bits, which come as their count in four bytes and then eight a byte, as it
    writes them: `101`.
    """
    if value is None:
        return None
    return "".join(f"{byte:08b}" for byte in value[4:])[: int.from_bytes(value[:4])]


def _without_zero_fraction(texts: pa.Array) -> pa.Array:
    """Python writes no `.000000`; Arrow does."""
    whole = pc.ends_with(texts, ".000000")
    return pc.if_else(whole, pc.utf8_slice_codeunits(texts, 0, 19), texts)


def to_text_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with every column as text and its name in lower case. Raises pyarrow.ArrowInvalid for
    bytes that are no UTF-8.
    """
    columns = [to_text_column(column) for column in batch.columns]
    for column in columns:
        column.validate(full=True)
    return pa.RecordBatch.from_arrays(columns, names=[name.lower() for name in batch.schema.names])


def unescape_batch(batch: pa.RecordBatch, *, columns: frozenset[str]) -> pa.RecordBatch:
    """A batch of text columns with the HTML entities of these columns as the characters they stand
    for, `&#039;` as `'`.
    """
    found = [
        unescape_column(column) if name in columns or name.startswith("custom_") else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(found, names=batch.schema.names)


def unescape_column(column: pa.Array) -> pa.Array:
    """Texts without HTML entities; only those with an ampersand are looked at one by one."""
    marked = pc.fill_null(pc.match_substring(column, "&"), False)
    if not pc.any(marked).as_py():
        return column
    plain = [
        _ENTITY.sub(lambda entity: html.unescape(entity[0]), value)
        for value in column.filter(marked).to_pylist()
    ]
    return pc.replace_with_mask(column, marked, pa.array(plain, type=column.type))
