"""JSON text by the column: Arrow strings in, Arrow strings out, no Python object a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from transforms.columns import TEXT

_NEEDS_ESCAPE = r'["\\\x00-\x1f\x7f]'


def join(*pieces: pa.Array | str) -> pa.Array:
    """Texts joined row by row; a plain `str` is the same in every row. A null makes the row null."""
    same_type = [pa.scalar(piece, TEXT) if isinstance(piece, str) else piece.cast(TEXT) for piece in pieces]
    return pc.binary_join_element_wise(*same_type, pa.scalar("", TEXT))


def quote(array: pa.Array) -> pa.Array:
    """Texts as JSON strings; nulls stay null. Only texts that need escaping are looked at one by one."""
    odd = pc.fill_null(pc.match_substring_regex(array, _NEEDS_ESCAPE), False)
    quoted = join('"', array, '"')
    if pc.any(odd).as_py():
        escaped = [orjson.dumps(text).decode() for text in array.filter(odd).to_pylist()]
        quoted = pc.replace_with_mask(quoted, odd, pa.array(escaped, type=TEXT))
    return quoted


def member(key: str, value: pa.Array) -> pa.Array:
    """`,"key":value` where there is a value (JSON text), nothing where it is null."""
    return pc.fill_null(join(f',"{key}":', value), "")


def build_objects(members: Iterable[pa.Array]) -> pa.Array:
    """`{…}` of `member` pieces; an object without members is `{}`."""
    joined = join(*members)
    return join("{", pc.utf8_slice_codeunits(joined, 1), "}")


def null_if_empty(objects: pa.Array) -> pa.Array:
    """Objects without members become null, so that `member` leaves them out."""
    return pc.if_else(pc.equal(objects, "{}"), pa.scalar(None, TEXT), objects)


def join_groups(texts: pa.Array, counts: pa.Array, separator: str = ",") -> pa.Array:
    """Join consecutive runs of `texts`, `counts[i]` of them each, into one text a run."""
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(counts.cast(pa.int32()))])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), pa.scalar(separator, TEXT))
