"""JSON text by the column: Arrow strings in, Arrow strings out, no Python object a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import TEXT, has_bytes

Piece: TypeAlias = pa.Array | str
"""A part of a text: a column of it, or the same in every row."""

_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_RARE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"


def join(*pieces: Piece) -> pa.Array:
    """Texts joined row by row. A null makes the row null."""
    same_type = [
        pa.scalar(piece, TEXT) if isinstance(piece, str) else piece.cast(TEXT) for piece in pieces
    ]
    return pc.binary_join_element_wise(*same_type, pa.scalar("", TEXT))


def text_member(key: str, texts: pa.Array) -> list[Piece]:
    """The pieces of `,"key":"text"` where there is a text, nothing where it is null."""
    if has_bytes(
        texts,
        lambda content: (
            (content < 0x20) | (content == 0x22) | (content == 0x5C) | (content == 0x7F)
        ),
    ):
        texts = _escape(texts)
    return _keep_present(f',"{key}":"', texts, '"')


def _escape(texts: pa.Array) -> pa.Array:
    """Texts as they stand in JSON between the quotes; those with rare control characters one by
    one.
    """
    rare = pc.fill_null(pc.match_substring_regex(texts, _RARE), False)
    written = [orjson.dumps(text).decode()[1:-1] for text in texts.filter(rare).to_pylist()]
    for character, escape in _ESCAPES.items():
        texts = pc.replace_substring(texts, character, escape)
    return pc.replace_with_mask(texts, rare, pa.array(written, type=TEXT))


def member(key: str, values: pa.Array) -> list[Piece]:
    """The pieces of `,"key":value` where there is a value (JSON text), nothing where it is null."""
    return _keep_present(f',"{key}":', values, "")


def _keep_present(before: str, values: pa.Array, after: str) -> list[Piece]:
    if values.null_count == len(values):
        return []
    if values.null_count == 0:
        return [before, values, after]
    return [pc.fill_null(join(before, values, after), "")]


def build_objects(members: Iterable[list[Piece]], length: int) -> pa.Array:
    """`{…}` of members' pieces, `length` rows; null where an object has no member. One join for all
    that is in every row.
    """
    pieces = [piece for pieces in members for piece in pieces]
    if not pieces:
        return pa.nulls(length, TEXT)
    if isinstance(pieces[0], str):
        return _join_pieces(["{" + pieces[0][1:], *pieces[1:], "}"])
    joined = _join_pieces(pieces)
    objects = join("{", pc.utf8_slice_codeunits(joined, 1), "}")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, TEXT), objects)


def _join_pieces(pieces: list[Piece]) -> pa.Array:
    """Joined, with neighbouring literals made one."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return join(*merged)


def join_groups(texts: pa.Array, counts: pa.Array, separator: str = ",") -> pa.Array:
    """Join consecutive runs of `texts`, `counts[i]` of them each, into one text a run."""
    offsets = pa.concat_arrays(
        [pa.array([0], pa.int32()), pc.cumulative_sum(counts.cast(pa.int32()))]
    )
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts), pa.scalar(separator, TEXT))
