"""Names, addresses and languages of people and titles, made comparable. Pure.

What is plain is settled by Arrow kernels; only odd texts (control characters, foreign blanks, letters outside ASCII in an address) are looked
at one by one, each distinct one once, by the rule that is written in Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.essentry import LANGUAGES
from transforms.arrow.columns import TEXT, Bytes, Mask, has_bytes, map_distinct, mend_rows, to_arrow, to_mask, to_series

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
_ADDRESS = re.compile(r"[^@\s\x00-\x1f<>()\[\],;:\"\\]+@[^@\s\x00-\x1f<>()\[\],;:\"\\.]+(?:\.[^@\s\x00-\x1f<>()\[\],;:\"\\.]+)+")
_ADDRESS_FAST = _ADDRESS.pattern.replace(r"\s", r"\t\n\v\f\r ")
_BLANKS = r"[\s\x00-\x1f\x7f\u200b\ufeff]+"
# what `clean_text` must look at: anything of _BLANKS that is not a single plain blank
_ODD_BLANKS = r"[\x00-\x1f\x7f\x{85}\x{a0}\x{1680}\x{2000}-\x{200b}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]|  "
_ODD_ADDRESS = r"[^\x21-\x7e]|[<>:]"


def _may_be_odd_blanks(content: Bytes) -> Mask:
    """True near each byte that a match of _ODD_BLANKS could begin with."""
    odd = (content < 0x20) | (content == 0x7F) | (content == 0xC2) | ((content >= 0xE1) & (content <= 0xE3)) | (content == 0xEF)
    odd[1:] |= (content[1:] == 0x20) & (content[:-1] == 0x20)
    return odd


def _may_be_odd_address(content: Bytes) -> Mask:
    return (content < 0x21) | (content > 0x7E) | (content == 0x3A) | (content == 0x3C) | (content == 0x3E)


def _is_missing(array: pa.Array) -> bool:
    return bool(array.null_count == len(array))


def _null_where(array: pa.Array, condition: pa.Array) -> pa.Array:
    condition = pc.fill_null(condition, False)
    return pc.if_else(condition, pa.scalar(None, TEXT), array) if pc.any(condition).as_py() else array


def clean_text(values: pd.Series) -> pd.Series:
    """Blanks and control characters folded to one blank and trimmed; an empty text is missing."""
    array = to_arrow(values)
    if _is_missing(array):
        return to_series(array, values.index)
    if has_bytes(array, _may_be_odd_blanks):
        array = mend_rows(array, pc.match_substring_regex(array, _ODD_BLANKS), by=lambda text: re.sub(_BLANKS, " ", text))
    if pc.any(pc.or_(pc.starts_with(array, " "), pc.ends_with(array, " "))).as_py():
        array = pc.ascii_trim(array, characters=" ")
    return to_series(_null_where(array, pc.equal(array, "")), values.index)


def clean_key(values: pd.Series) -> pd.Series:
    """A key without the blanks around it; an empty one is missing."""
    array = to_arrow(values)
    if has_bytes(array, lambda content: (content <= 0x20) | (content >= 0x7F)):
        array = pc.utf8_trim_whitespace(array)
    return to_series(_null_where(array, pc.equal(array, "")), values.index)


def cut_text(values: pd.Series, *, limit: int = TEXT_LIMIT) -> pd.Series:
    """Texts cut to `limit` characters, the last one an ellipsis."""
    long = (values.str.len() > limit).fillna(False).astype(bool)
    return values.mask(long, values.str.slice(0, limit - 1).str.rstrip() + "…") if long.any() else values


def clean_addresses(values: pd.Series) -> pd.Series:
    """E-mail addresses trimmed and case-folded (in Python: databases fold ASCII alone); `n/a` and its like are missing."""
    array = to_arrow(values)
    if _is_missing(array):
        return to_series(array, values.index)

    def clean(value: str) -> str:
        return value.strip().strip("<>").removeprefix("mailto:").strip().lower()

    odd = has_bytes(array, _may_be_odd_address)
    folded = mend_rows(pc.ascii_lower(array), pc.match_substring_regex(array, _ODD_ADDRESS), by=clean) if odd else pc.ascii_lower(array)
    return to_series(_null_where(folded, pc.is_in(folded, value_set=pa.array(sorted(_NO_ADDRESS), type=TEXT))), values.index)


def are_addresses(values: pd.Series) -> pd.Series:
    """True for each well-formed e-mail address, and for a missing one."""
    array = to_arrow(values)
    plain = pc.and_(pc.match_substring_regex(array, f"^(?:{_ADDRESS_FAST})$"), pc.string_is_ascii(array))
    good = to_mask(pc.fill_null(pc.and_(plain, pc.less_equal(pc.binary_length(array), 254)), True))
    if not good.all():
        doubtful = pc.unique(array.filter(pa.array(~good))).to_pylist()
        fine = [value for value in doubtful if len(value) <= 254 and _ADDRESS.fullmatch(value)]
        good |= to_mask(pc.is_in(array, value_set=pa.array(fine, type=TEXT)))
    return pd.Series(good, index=values.index)


def are_of_domains(addresses: pd.Series, domains: Sequence[str], *, below: bool = False) -> Mask:
    """True for each address of one of these domains; what is below them counts when `below` says so."""
    array = to_arrow(addresses)
    inside = np.zeros(len(array), dtype=bool)
    for domain in domains:
        inside |= to_mask(pc.ends_with(array, f"@{domain}"))
        if below:
            inside |= to_mask(pc.ends_with(array, f".{domain}"))
    return inside


def match_patterns(addresses: pd.Series, patterns: Sequence[str]) -> Mask:
    """True for each address that one of the patterns fits whole; `*` stands for any characters, `?` for one, case aside."""
    array = to_arrow(addresses)
    if not patterns:
        return np.zeros(len(array), dtype=bool)
    words = ["".join({"*": ".*", "?": "."}.get(letter) or re.escape(letter) for letter in pattern.lower()) for pattern in patterns]
    return to_mask(pc.fill_null(pc.match_substring_regex(array, f"^(?s:{'|'.join(words)})$"), False))


def map_languages(values: pd.Series) -> pd.Series:
    """Language tags (`de_de`, `zh-Hans-CN`, `German` is not one) as essentry's codes; unknown ones are missing."""

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


def read_flags(values: pd.Series) -> pd.Series:
    """Truth of a database's flag as text: 1, true, t, yes, y, on; everything else, and missing, is false."""
    array = to_arrow(values)
    if _is_missing(array):
        return pd.Series(False, index=values.index)
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(array))
    yes = pa.array(["1", "true", "t", "yes", "y", "on", "1.0"], type=TEXT)
    return pd.Series(to_mask(pc.is_in(folded, value_set=yes)), index=values.index)


def name_people(first_name: pd.Series, last_name: pd.Series) -> pd.Series:
    """Both names as one text to compare by, `name:ada lovelace`; missing without any."""
    joined = pc.binary_join_element_wise(
        pc.fill_null(to_arrow(first_name), ""), pc.fill_null(to_arrow(last_name), ""), pa.scalar(" ", TEXT)
    )
    name = to_series(pc.utf8_trim_whitespace(joined), first_name.index)
    return map_distinct(name.mask(name == ""), by=lambda value: "name:" + value.casefold())


def identify_people(email: pd.Series, first_name: pd.Series, last_name: pd.Series) -> pd.Series:
    """Who a guest is, for merging and counting: the address, else the name, case-folded."""
    without = email.isna()
    if not without.any():
        return email
    return email.fillna(name_people(first_name[without], last_name[without]).reindex(email.index))
