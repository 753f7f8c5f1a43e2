"""Names, addresses and languages made comparable."""

from __future__ import annotations

import pandas as pd
import pytest

from transforms.masking import mask_address, mask_name
from transforms.validate import people


def _texts(*values: str | None) -> pd.Series:
    return pd.Series(list(values), index=range(5, 5 + len(values)), dtype="str")


def _shown(values: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else value for value in values]


def test_clean_text_folds_blanks_and_control_characters() -> None:
    assert _shown(people.clean_text(_texts(" a \t\n b\x00", "\u200b", "", None, "Tür"))) == [
        "a b",
        None,
        None,
        None,
        "Tür",
    ]


def test_cut_text_ends_in_an_ellipsis() -> None:
    cut = people.cut_text(_texts("x" * 255, "x" * 256, None))
    assert _shown(cut) == ["x" * 255, "x" * 254 + "…", None]


def test_addresses_are_folded_and_placeholders_missing() -> None:
    cleaned = people.clean_addresses(
        _texts(" Ann@X.Example ", "<mailto:b@x.example>", "N/A", "ÄNN@x.example", None)
    )
    assert _shown(cleaned) == ["ann@x.example", "b@x.example", None, "änn@x.example", None]


@pytest.mark.parametrize(
    "good", ["a@b.example", "o'neil+tag@sub.b.example", "änn@bücher.example", None]
)
def test_good_addresses(good: str | None) -> None:
    assert people.are_addresses(_texts(good)).tolist() == [True]


@pytest.mark.parametrize(
    "bad",
    [
        "a",
        "a@b",
        "a@@b.example",
        "a b@c.example",
        "a@b..example",
        "a@b.example;c@d.example",
        "x" * 250 + "@b.example",
    ],
)
def test_bad_addresses(bad: str) -> None:
    assert people.are_addresses(_texts(bad, "a@b.example")).tolist() == [False, True]


def test_languages() -> None:
    assert _shown(
        people.map_languages(_texts("de_DE", "en-GB", "zh-Hans-CN", "German", "tlh", None))
    ) == [
        "DE",
        "EN",
        "ZH_CN",
        None,
        None,
        None,
    ]


def test_split_names() -> None:
    first, last = people.split_names(_texts("Ann van Dyk", "Cher", None))
    assert _shown(first) == ["Ann van", None, None]
    assert _shown(last) == ["Dyk", "Cher", None]


def test_flags() -> None:
    flags = people.read_flags(_texts("1", "TRUE", "t", "1.0", "0", "false", "", None, "2"))
    assert flags.yes.tolist() == [True] * 4 + [False] * 5
    assert flags.known.tolist() == [True] * 8 + [False]  # another number is no flag, and never "no"


def test_identity_is_the_address_else_the_name() -> None:
    who = people.identify_people(
        _texts("a@x.example", None, None), _texts("Ann", "STRASSE", None), _texts("X", "Bo", None)
    )
    assert _shown(who) == ["a@x.example", "name:strasse bo", None]


def test_masks() -> None:
    assert mask_address("ann.smith@x.example") == "a…@x.example"
    assert mask_address("Ann Smith") == "A… S…"
    assert mask_name(" ") == ""


def test_map_distinct_asks_once_a_value() -> None:
    asked: list[str] = []

    def rule(value: str) -> str:
        asked.append(value)
        return value.upper()

    assert _shown(people.map_distinct(_texts("a", "a", None, "b"), by=rule)) == [
        "A",
        "A",
        None,
        "B",
    ]
    assert sorted(asked) == ["a", "b"]
