"""Names, addresses and languages of people and titles, made comparable. Pure, and each distinct value is looked at once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from schemas.essentry import LANGUAGES

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
_BLANKS = r"[\s\x00-\x1f\x7f\u200b\ufeff]+"


def map_distinct(values: pd.Series, *, by: Callable[[str], str | None]) -> pd.Series:
    """Apply `by` to each distinct non-missing value; the result is text, missing where the rule gives None."""
    table = {value: by(value) for value in values.dropna().unique()}
    return values.map(table).astype("str")


def clean_text(values: pd.Series) -> pd.Series:
    """Blanks and control characters folded to one blank and trimmed; an empty text is missing."""
    text = values.astype("str").str.replace(_BLANKS, " ", regex=True).str.strip()
    return text.mask(text == "")


def cut_text(values: pd.Series, *, limit: int = TEXT_LIMIT) -> pd.Series:
    """Texts cut to `limit` characters, the last one an ellipsis."""
    long = (values.str.len() > limit).fillna(False).astype(bool)
    return values.mask(long, values.str.slice(0, limit - 1).str.rstrip() + "…") if long.any() else values


def clean_addresses(values: pd.Series) -> pd.Series:
    """E-mail addresses trimmed and case-folded (in Python: databases fold ASCII alone); `n/a` and its like are missing."""

    def clean(value: str) -> str | None:
        folded = value.strip().strip("<>").removeprefix("mailto:").strip().lower()
        return None if folded in _NO_ADDRESS else folded

    return map_distinct(values.astype("str"), by=clean)


def are_addresses(values: pd.Series) -> pd.Series:
    """True for each well-formed e-mail address, and for a missing one."""
    distinct = values.dropna().unique()
    wrong = {value for value in distinct if len(value) > 254 or not _ADDRESS.fullmatch(value)}
    return ~values.isin(wrong) if wrong else pd.Series(True, index=values.index)


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
    return values.astype("str").str.strip().str.lower().isin(["1", "true", "t", "yes", "y", "on", "1.0"])


def identify_people(email: pd.Series, first_name: pd.Series, last_name: pd.Series) -> pd.Series:
    """Who a guest is, for merging and counting: the address, else the name, case-folded."""
    name = (first_name.fillna("") + " " + last_name.fillna("")).str.strip()
    folded = map_distinct(name.mask(name == ""), by=lambda value: "name:" + value.casefold())
    return email.fillna(folded).astype("str")


def mask_address(address: str) -> str:
    """An address as logs may show it: `a…@corp.example`."""
    local, at, domain = address.partition("@")
    return f"{local[:1]}…@{domain}" if at else mask_name(address)


def mask_name(name: str) -> str:
    """A name as logs may show it: initials."""
    return " ".join(f"{word[0]}…" for word in name.split()) if name.strip() else ""
