"""Names, addresses and languages of people and titles, made comparable. Pure.

What is plain is settled by Arrow kernels; only odd texts (control characters, foreign blanks,
letters outside ASCII in an address) are looked at one by one, each distinct one once, by the rule
that is written in Python.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.essentry import LANGUAGES
from schemas.source import FLAG_WORDS
from transforms.arrow.columns import (
    TEXT,
    Bytes,
    Mask,
    has_bytes,
    map_distinct,
    mend_rows,
    to_arrow,
    to_mask,
    to_series,
)

TEXT_LIMIT = 255
_NO_ADDRESS = frozenset(
    {
        "",
        "-",
        "--",
        "n/a",
        "na",
        "n.a.",
        "none",
        "null",
        "nil",
        "unknown",
        "unbekannt",
        "keine",
        "tbd",
        "tba",
        "?",
        "x",
        ".",
    }
)
_ADDRESS = re.compile(
    r"[^@\s\x00-\x1f<>()\[\],;:\"\\]+@[^@\s\x00-\x1f<>()\[\],;:\"\\.]+(?:\.[^@\s\x00-\x1f<>()\[\],;:\"\\.]+)+"
)
_ADDRESS_FAST = _ADDRESS.pattern.replace(r"\s", r"\t\n\v\f\r ")
_BLANKS = r"[\s\x00-\x1f\x7f\u200b\ufeff]+"
# what `clean_text` must look at: anything of _BLANKS that is not a single plain blank
_ODD_BLANKS = (
    r"[\x00-\x1f\x7f\x{85}\x{a0}\x{1680}\x{2000}-\x{200b}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]|  "
)
_ODD_ADDRESS = r"[^\x21-\x7e]|[<>:;,\"'`]"
_ODD_KEY = r"[\x00-\x1f]|[^\x00-\x7e]|  |^ | $"
# characters that no reader sees: soft hyphen, zero width, direction marks, joiners
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_NAMED_ADDRESS = re.compile(r"([^<>]*)<\s*(?:mailto:)?([^<>\s]+@[^<>\s]+)\s*>", re.IGNORECASE)
_QUOTES = " \t\"'`“”„‚‘’«»"
UNREADABLE = "\ufffd"
"""What stands in a text for bytes that are no text."""


def _may_be_odd_blanks(content: Bytes) -> Mask:
    """True near each byte that a match of _ODD_BLANKS could begin with."""
    odd = (
        (content < 0x20)
        | (content == 0x7F)
        | (content == 0xC2)
        | ((content >= 0xE1) & (content <= 0xE3))
        | (content == 0xEF)
    )
    odd[1:] |= (content[1:] == 0x20) & (content[:-1] == 0x20)
    return odd


def _may_be_odd_address(content: Bytes) -> Mask:
    odd = (content < 0x21) | (content > 0x7E)
    for byte in b"<>:;,\"'`":
        odd |= content == byte
    return odd


def _is_missing(array: pa.Array) -> bool:
    return bool(array.null_count == len(array))


def _null_where(array: pa.Array, condition: pa.Array) -> pa.Array:
    condition = pc.fill_null(condition, False)
    return (
        pc.if_else(condition, pa.scalar(None, TEXT), array) if pc.any(condition).as_py() else array
    )


def compose(array: pa.Array) -> pa.Array:
    """Texts in the one Unicode form that is compared and sent, NFC; what has no character that
    could differ is not looked at.
    """
    # from U+0300 on, where combining characters begin
    if not has_bytes(array, lambda content: content >= 0xCC):
        return array
    odd = pc.fill_null(pc.match_substring_regex(array, r"[^\x{0}-\x{2ff}]"), False)
    return pc.replace_with_mask(array, odd, pc.utf8_normalize(array.filter(odd), form="NFC"))


def clean_text(values: pd.Series) -> pd.Series:
    """Blanks and control characters folded to one blank and trimmed, in NFC; an empty text is
    missing.
    """
    array = to_arrow(values)
    if _is_missing(array):
        return to_series(array, values.index)
    if has_bytes(array, _may_be_odd_blanks):
        array = mend_rows(
            array,
            pc.match_substring_regex(array, _ODD_BLANKS),
            by=lambda text: re.sub(_BLANKS, " ", text),
        )
    if pc.any(pc.or_(pc.starts_with(array, " "), pc.ends_with(array, " "))).as_py():
        array = pc.ascii_trim(array, characters=" ")
    return to_series(_null_where(compose(array), pc.equal(array, "")), values.index)


def clean_place(key: str) -> str:
    """A key of a site or room, as the configuration or the source's own list has it, in the
    spelling that rows are compared by.
    """
    return str(clean_text(pd.Series([key], dtype="str"))[0])


def normalise_key(text: str) -> str:
    """The one spelling of a key: NFC, blanks and control characters folded to one blank, none
    around it, nothing that cannot be seen.

    Capitals stay: keys of some systems differ by them alone.
    """
    return re.sub(_BLANKS, " ", _UNSEEN.sub("", unicodedata.normalize("NFC", text))).strip()


def clean_key(values: pd.Series) -> pd.Series:
    """Keys in their one spelling; one that is empty, or holds bytes that are no text, is
    missing.
    """
    array = to_arrow(values)
    if has_bytes(array, lambda content: (content <= 0x20) | (content >= 0x7F)):
        array = mend_rows(array, pc.match_substring_regex(array, _ODD_KEY), by=normalise_key)
        array = _null_where(array, pc.match_substring(array, UNREADABLE))
    return to_series(_null_where(array, pc.equal(array, "")), values.index)


def fold_keys(keys: pd.Series) -> pd.Series:
    """Keys without regard to capitals."""
    return to_series(pc.utf8_lower(to_arrow(keys)), keys.index)


def find_unreadable(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """For each row the first of these columns with bytes that are no text; missing where all is
    text.
    """
    found = pa.nulls(len(frame), TEXT)
    for name in columns:
        array = to_arrow(frame[name])
        if has_bytes(array, lambda content: content == 0xEF):
            bad = pc.and_(
                pc.fill_null(pc.match_substring(array, UNREADABLE), False), pc.is_null(found)
            )
            found = pc.if_else(bad, pa.scalar(name, TEXT), found)
    return to_series(found, frame.index)


def cut_text(values: pd.Series, *, limit: int = TEXT_LIMIT) -> pd.Series:
    """Texts cut to `limit` characters, the last one an ellipsis."""
    long = (values.str.len() > limit).fillna(False).astype(bool)
    return (
        values.mask(long, values.str.slice(0, limit - 1).str.rstrip() + "…")
        if long.any()
        else values
    )


def clean_addresses(values: pd.Series) -> pd.Series:
    """E-mail addresses as `clean_address` has them; `n/a` and its like are missing."""
    array = to_arrow(values)
    if _is_missing(array):
        return to_series(array, values.index)
    odd = has_bytes(array, _may_be_odd_address)
    folded = pc.ascii_lower(array)
    if odd:
        folded = mend_rows(folded, pc.match_substring_regex(array, _ODD_ADDRESS), by=clean_address)
    return to_series(
        _null_where(folded, pc.is_in(folded, value_set=pa.array(sorted(_NO_ADDRESS), type=TEXT))),
        values.index,
    )


def clean_address(text: str) -> str:
    """An address in small letters (in Python: databases fold ASCII alone), in NFC, without what
    mail programs put around it.

    Two addresses stay two, and so are none.
    """
    text = (
        re.sub(_BLANKS, " ", _UNSEEN.sub("", unicodedata.normalize("NFC", text)))
        .strip()
        .rstrip(";, ")
    )
    named = _NAMED_ADDRESS.fullmatch(text)
    if named and ("@" not in named[1] or named[1].strip(_QUOTES).lower() == named[2].lower()):
        text = named[2]
    text = text.strip("<>").strip(_QUOTES).lower()
    return text.removeprefix("mailto:").strip(_QUOTES)


def are_addresses(values: pd.Series) -> pd.Series:
    """True for each well-formed e-mail address, and for a missing one."""
    array = to_arrow(values)
    plain = pc.and_(
        pc.match_substring_regex(array, f"^(?:{_ADDRESS_FAST})$"), pc.string_is_ascii(array)
    )
    good = to_mask(pc.fill_null(pc.and_(plain, pc.less_equal(pc.binary_length(array), 254)), True))
    if not good.all():
        doubtful = pc.unique(array.filter(pa.array(~good))).to_pylist()
        fine = [value for value in doubtful if len(value) <= 254 and _ADDRESS.fullmatch(value)]
        good |= to_mask(pc.is_in(array, value_set=pa.array(fine, type=TEXT)))
    return pd.Series(good, index=values.index)


def are_of_domains(addresses: pd.Series, domains: Sequence[str], *, below: bool = False) -> Mask:
    """True for each address of one of these domains; what is below them counts when `below` says
    so.
    """
    array = to_arrow(addresses)
    inside = np.zeros(len(array), dtype=bool)
    for domain in domains:
        inside |= to_mask(pc.ends_with(array, f"@{domain}"))
        if below:
            inside |= to_mask(pc.ends_with(array, f".{domain}"))
    return inside


def match_patterns(addresses: pd.Series, patterns: Sequence[str]) -> Mask:
    """True for each address that one of the patterns fits whole; `*` stands for any characters, `?`
    for one, case aside.
    """
    array = to_arrow(addresses)
    if not patterns:
        return np.zeros(len(array), dtype=bool)
    words = [
        "".join(
            {"*": ".*", "?": "."}.get(letter) or re.escape(letter) for letter in pattern.lower()
        )
        for pattern in patterns
    ]
    return to_mask(
        pc.fill_null(pc.match_substring_regex(array, f"^(?s:{'|'.join(words)})$"), False)
    )


def map_languages(values: pd.Series) -> pd.Series:
    """Language tags (`de_de`, `zh-Hans-CN`, `German` is not one) as essentry's codes; unknown ones
    are missing.
    """

    def language(tag: str) -> str | None:
        code = re.split(r"[-_.]", tag.strip().upper())[0]
        if code == "ZH":
            return "ZH_CN"
        return code if code in LANGUAGES else None

    return map_distinct(values.astype("str"), by=language)


def split_names(full: pd.Series) -> tuple[pd.Series, pd.Series]:
    """First and last name of one field, split at the last blank; a single word is a last name."""
    first = map_distinct(full, by=lambda name: name.rpartition(" ")[0] or None)
    return first, map_distinct(full, by=lambda name: name.rpartition(" ")[2])


@dataclass(frozen=True)
class Flags:
    """`yes`: the flag says so. `known`: it says yes or no, or is missing."""

    yes: pd.Series
    known: pd.Series


def read_flags(
    values: pd.Series, words: Mapping[str, bool] | None = None, *, any_number: bool = False
) -> Flags:
    """A database's flags, as they came: the words of FLAG_WORDS and `words`, 0 and 1 as numbers and
    as bits.

    any_number: every other number is a yes.
    """
    known = FLAG_WORDS | dict(words or {})

    def read(value: str) -> str | None:
        if value and not value.strip("\x00\x01"):
            return "yes" if "\x01" in value else "no"
        text = normalise_key(value).casefold()
        if not text:
            return None
        if text in known:
            return "yes" if known[text] else "no"
        try:
            number = float(text)
        except ValueError:
            return "?"
        if number in (0, 1) or (any_number and math.isfinite(number)):
            return "yes" if number else "no"
        return "?"

    told = to_arrow(map_distinct(values, by=read))
    yes, unknown = to_mask(pc.equal(told, "yes")), to_mask(pc.equal(told, "?"))
    return Flags(pd.Series(yes, index=values.index), pd.Series(~unknown, index=values.index))


def name_people(first_name: pd.Series, last_name: pd.Series) -> pd.Series:
    """Both names as one text to compare by, `name:ada lovelace`; missing without any."""
    joined = pc.binary_join_element_wise(
        pc.fill_null(to_arrow(first_name), ""),
        pc.fill_null(to_arrow(last_name), ""),
        pa.scalar(" ", TEXT),
    )
    name = _null_where(
        pc.utf8_trim_whitespace(joined), pc.equal(pc.utf8_trim_whitespace(joined), "")
    )
    plain = pc.ascii_lower(name)
    if has_bytes(name, lambda content: content >= 0x80):
        plain = mend_rows(plain, pc.match_substring_regex(name, r"[^\x00-\x7f]"), by=fold_name)
    named = pc.binary_join_element_wise(pa.scalar("name:", TEXT), plain, pa.scalar("", TEXT))
    return to_series(named, first_name.index)


def fold_name(name: str) -> str:
    """A name to compare by: NFC, without regard to capitals, to what cannot be seen and to how its
    blanks are written.
    """
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", name)).casefold()
    return unicodedata.normalize("NFC", re.sub(_BLANKS, " ", text)).strip()


def identify_people(email: pd.Series, first_name: pd.Series, last_name: pd.Series) -> pd.Series:
    """Who a guest is, for merging and counting: the address, else the name, case-folded."""
    without = email.isna()
    if not without.any():
        return email
    return email.fillna(name_people(first_name[without], last_name[without]).reindex(email.index))
