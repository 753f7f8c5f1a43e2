"""Seals of invitation ids: their form is as fixed as that of the ids."""

from __future__ import annotations

import pandas as pd
import pytest

from schemas.config import Config
from tests.transforms.literal_rows import source_config
from transforms.naming.ids import (
    MAX_LENGTH,
    has_seal_of,
    is_numbered,
    parse_invitation_id,
    plain_id,
    respell_id,
    seal_id,
    seal_ids,
    strip_seal,
)
from transforms.naming.naming import keep_spellings, name_by

SECRET = "0123456789abcdef"
GOLDEN = [
    ("rooms-1-g1", "rooms-1-g1~stnbuv4zftb2moru3"),
    ("hr-2026~2D0042-~g3395618639640434", "hr-2026~2D0042-~g3395618639640434~skoymqu3ydyxb6tfo"),
    ("hr-T~C3~BCr-~", "hr-T~C3~BCr-~~shfxwpoyqwpf34b7v"),
]


@pytest.mark.parametrize(("plain", "sealed"), GOLDEN)
def test_golden_seals(plain: str, sealed: str) -> None:
    assert seal_id(plain, SECRET) == seal_id(sealed, SECRET) == sealed
    assert (strip_seal(sealed), plain_id(sealed)) == (plain, plain)
    assert parse_invitation_id(sealed) == parse_invitation_id(plain)
    assert has_seal_of(sealed, SECRET)
    assert not has_seal_of(plain, SECRET)
    assert not has_seal_of(sealed, "another")


def test_a_long_id_keeps_its_seal_and_stays_within_the_limit() -> None:
    longs = [
        "rooms-1-" + "x" * 240,
        "rooms-1-" + "x" * 241,
        "rooms-1-" + "y" * 213 + "~h" + "0" * 32,
    ]
    sealed = seal_ids(pd.Series([*longs, None], dtype="str"), SECRET)
    assert sealed.isna().tolist() == [False, False, False, True]
    assert sealed.nunique() == 3
    assert (sealed[:3].str.len() <= MAX_LENGTH).all()
    assert [strip_seal(text) for text in sealed[:3]] == [strip_seal(text) for text in longs]


def test_numbered_guests_are_known_under_their_seal() -> None:
    assert is_numbered("rooms-1-~g7")
    assert is_numbered(seal_id("rooms-1-~g7", SECRET))
    assert not is_numbered("rooms-1-~7Eg7")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rooms-Tu~CC~88r", "rooms-T~C3~BCr"),
        ("rooms-a~C2~A0b-g~20~20h", "rooms-a~20b-g~20h"),
        ("rooms-a~E2~80~8B-~g7", "rooms-a-~g7"),
        ("rooms-4~2D2", "rooms-4~2D2"),
        ("old integration's ~CC id", "old integration's ~CC id"),
    ],
)
def test_an_id_as_it_is_built_of_the_key_in_its_one_spelling(old: str, new: str) -> None:
    assert respell_id(old) == new


def test_confirmed_spellings_stay_and_the_active_one_first() -> None:
    naming = name_by(Config(sources={"rooms": source_config()}))
    keys = pd.Series(["Tür", "k"], dtype="str")

    def name(**states: str) -> list[str]:
        ids = {"nfc": "rooms-T~C3~BCr", "nfd": "rooms-Tu~CC~88r", "k": "rooms-k"}
        snapshot = pd.DataFrame(
            {"source_id": [ids[n] for n in states], "state": list(states.values())}
        ).astype("str")
        return keep_spellings(naming, snapshot).name_events("rooms", keys).tolist()

    assert name(k="active") == ["rooms-T~C3~BCr", "rooms-k"]
    assert name(nfd="active") == ["rooms-Tu~CC~88r", "rooms-k"]
    assert name(nfd="expired") == ["rooms-Tu~CC~88r", "rooms-k"]
    assert name(nfc="active", nfd="active") == ["rooms-T~C3~BCr", "rooms-k"]
    assert name(nfc="expired", nfd="active") == ["rooms-Tu~CC~88r", "rooms-k"]
    assert name(nfc="active", nfd="deleted") == ["rooms-T~C3~BCr", "rooms-k"]
