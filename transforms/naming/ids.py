"""Build and parse essentry's sourceIds. Their format is fixed for ever: a changed id cancels and
re-invites every guest.

    event       <source>-<source_event_id>
    invitation  <source>-<source_event_id>-<guest>      (per-event)
                <source>-<guest>                        (shared)

Each part keeps A-Z a-z 0-9 . _ and writes every other byte of its UTF-8 form as ~HH; an empty part
is `~`, and a guest known by a number of the state store is `~g<number>`, which no source key can
become. So `-` only ever separates, an id can be read back, and it is safe in a URL and a QR code.
An id over 255 characters ends in `~h` and 32 hex digits of a digest of the whole; it is unique but
cannot be read back.

A sealed invitation id is the per-event one and `~s` and 16 letters and digits of a keyed digest of
it (HMAC-SHA256), so that nobody who knows one id can guess another. Without its seal it reads back
as any other.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import TEXT, cut_bytes, mend_rows, to_arrow, to_series
from transforms.validate.people import normalise_key

MAX_LENGTH = 255
_SAFE = re.compile(rb"[A-Za-z0-9._]")
_PART = re.compile(r"(?:[A-Za-z0-9._]|~[0-9A-F]{2})+|~g[0-9]+|~")
_SEAL = re.compile(r"~s[a-z2-7]{16}$")
_SEAL_BYTES = 10
_SEALED_LENGTH = MAX_LENGTH - 18
"""Characters of a sealed id before its seal."""


@dataclass(frozen=True)
class ParsedId:
    """The parts of a sourceId. `guest` is None for an event; `guest_number` is set instead of
    `guest` for a numbered guest.
    """

    source: str
    event: str | None
    guest: str | None = None
    guest_number: int | None = None


def escape_part(text: str) -> str:
    """One part of an id, escaped; the empty text becomes `~`."""
    if not text:
        return "~"
    return "".join(chr(b) if _SAFE.match(bytes([b])) else f"~{b:02X}" for b in text.encode())


def unescape_part(text: str) -> str:
    """The text that `escape_part` made `text` of."""
    if text == "~":
        return ""
    raw = re.sub(r"~([0-9A-F]{2})", lambda hit: chr(int(hit[1], 16)), text)
    return raw.encode("latin-1").decode()


def escape_parts(values: pd.Series) -> pd.Series:
    """`escape_part` of each value; missing values stay missing. One pass a distinct unsafe byte,
    and there are few.
    """
    array = to_arrow(values)
    raw = array.cast(pa.large_binary())
    for byte in _find_unsafe_bytes(array):
        raw = pc.replace_substring(raw, pattern=bytes([byte]), replacement=b"~%02X" % byte)
    escaped = raw.cast(TEXT)
    empty = pc.equal(escaped, "")
    return to_series(
        pc.if_else(empty, "~", escaped) if pc.any(empty).as_py() else escaped, values.index
    )


def _find_unsafe_bytes(array: pa.Array) -> list[int]:
    """The bytes of a column that an id may not hold, `~` first: what it stands for must not be
    escaped again.
    """
    seen = np.zeros(256, dtype=bool)
    for piece in cut_bytes(array):
        seen[piece] = True
    unsafe = [int(byte) for byte in np.flatnonzero(seen) if not _SAFE.match(bytes([byte]))]
    return sorted(unsafe, key=lambda byte: byte != 0x7E)


def numbered_guests(numbers: pd.Series) -> pd.Series:
    """The guest part of guests known by a number of the state store; missing numbers stay
    missing.
    """
    number = pa.array(numbers.astype("Int64"), from_pandas=True).cast(TEXT)
    return to_series(
        pc.binary_join_element_wise(pa.scalar("~g", TEXT), number, pa.scalar("", TEXT)),
        numbers.index,
    )


def build_event_ids(source: pd.Series | str, source_event_ids: pd.Series) -> pd.Series:
    """sourceIds of events; both arguments unescaped, aligned. A source may be the same for all."""
    return join_parts(
        escape_part(source) if isinstance(source, str) else escape_parts(source),
        escape_parts(source_event_ids),
    )


def join_parts(*parts: pd.Series | str) -> pd.Series:
    """Join escaped parts with `-`; over 255 characters the end is replaced by a digest of the
    whole. A missing part: missing.

    Any part but the last may be the same for all.
    """
    arrays = [pa.scalar(part, TEXT) if isinstance(part, str) else to_arrow(part) for part in parts]
    joined = pc.binary_join_element_wise(*arrays, pa.scalar("-", TEXT))
    too_long = pc.greater(pc.binary_length(joined), MAX_LENGTH)
    return to_series(mend_rows(joined, too_long, by=_shorten), cast(pd.Series, parts[-1]).index)


def _shorten(text: str, limit: int = MAX_LENGTH) -> str:
    digest = blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{text[: limit - 34]}~h{digest}"


def seal_id(invitation_id: str, secret: str) -> str:
    """An invitation's id with the seal of this secret."""
    plain = strip_seal(invitation_id)
    digest = hmac.digest(secret.encode(), plain.encode(), "sha256")[:_SEAL_BYTES]
    return f"{plain}~s{b32encode(digest).decode().lower()}"


def seal_ids(invitation_ids: pd.Series, secret: str) -> pd.Series:
    """`seal_id` of each; missing ones stay missing. One keyed digest an id: there is no vectorised
    one.
    """
    array = to_arrow(invitation_ids)
    sealed = [None if text is None else seal_id(text, secret) for text in array.to_pylist()]
    return to_series(pa.array(sealed, type=TEXT), invitation_ids.index)


def strip_seal(invitation_id: str) -> str:
    """An id without its seal, as a sealed one begins: at most 237 characters. The same for an id
    that was never sealed.
    """
    plain = _SEAL.sub("", invitation_id)
    return plain if len(plain) <= _SEALED_LENGTH else _shorten(plain, _SEALED_LENGTH)


def has_seal_of(invitation_id: str, secret: str) -> bool:
    """Whether an id carries the seal of this secret: whether we, and nobody else, made it."""
    return bool(_SEAL.search(invitation_id)) and hmac.compare_digest(
        invitation_id, seal_id(invitation_id, secret)
    )


_MAY_BE_RESPELLED = r"~(?:C2~(?:A0|AD|85)|C[C-F]|[D-F][0-9A-F]|[01][0-9A-F]|7F|20~20)"


def may_be_respelled(source_ids: pd.Series) -> pd.Series:
    """Those ids whose parts may not be in the one spelling that validation gives keys now; few."""
    found = pc.match_substring_regex(to_arrow(source_ids), _MAY_BE_RESPELLED)
    return source_ids[
        np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)
    ]


def respell_id(source_id: str) -> str:
    """An id as it would be built today: each part in the one spelling of keys. One that cannot be
    read stays as it is.
    """
    if not re.search(_MAY_BE_RESPELLED, source_id):
        return source_id
    seal = _SEAL.search(source_id)
    plain = _SEAL.sub("", source_id)
    if re.search(r"~h[0-9a-f]{32}$", plain):
        return source_id
    try:
        parts = [
            part if part.startswith("~g") else escape_part(normalise_key(unescape_part(part)))
            for part in plain.split("-")
        ]
    except UnicodeDecodeError:
        return source_id
    return "-".join(parts) + (seal[0] if seal else "")


def plain_id(invitation_id: str) -> str:
    """What two ids of one invitation have in common, whatever their seals and the spelling of their
    keys.
    """
    return respell_id(strip_seal(invitation_id))


def is_numbered(invitation_id: str) -> bool:
    """Whether the guest part is a number of the state store: it stands for an address and a name,
    not for a key of the source.
    """
    return bool(re.search(r"-~g\d+$", _SEAL.sub("", invitation_id)))


def parse_event_id(source_id: str) -> ParsedId:
    """Read an event's sourceId back. Raises ValueError for anything that is not one, or was
    shortened.
    """
    source, event = _split(source_id, 2)
    return ParsedId(unescape_part(source), unescape_part(event))


def read_event_keys(source_ids: pd.Series) -> pd.Series:
    """The key that each event's source has it by, aligned; missing where the id is no event's, or
    was shortened.
    """
    array = to_arrow(source_ids)
    key = pc.struct_field(pc.extract_regex(array, r"^[^-]+-(?P<key>[^-]+)$"), "key")
    key = pc.if_else(
        pc.match_substring_regex(array, r"~h[0-9a-f]{32}$"), pa.scalar(None, TEXT), key.cast(TEXT)
    )
    for letter in "-/: ":  # in most keys these are all; no row of a million is looked at by itself
        key = pc.replace_substring(key, pattern=escape_part(letter), replacement=letter)
    return to_series(
        mend_rows(key, pc.match_substring(key, "~"), by=_unescape_or_not), source_ids.index
    )


def _unescape_or_not(text: str) -> str:
    try:
        return unescape_part(text)
    except UnicodeDecodeError:
        return text


def parse_invitation_id(source_id: str, *, shared: bool = False) -> ParsedId:
    """Read an invitation's sourceId back, in the policy it was built with. Raises ValueError as
    `parse_event_id` does.
    """
    parts = _split(_SEAL.sub("", source_id), 2 if shared else 3)
    guest, event = parts[-1], None if shared else unescape_part(parts[1])
    if guest.startswith("~g"):
        return ParsedId(unescape_part(parts[0]), event, guest_number=int(guest[2:]))
    return ParsedId(unescape_part(parts[0]), event, unescape_part(guest))


def _split(source_id: str, count: int) -> list[str]:
    if re.search(r"~h[0-9a-f]{32}$", source_id):
        raise ValueError(
            f"{source_id[:40]}… was shortened to {MAX_LENGTH} characters and cannot be read back"
        )
    parts = source_id.split("-")
    if len(parts) != count or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"{source_id[:80]!r} is no sourceId of {count} parts")
    return parts
