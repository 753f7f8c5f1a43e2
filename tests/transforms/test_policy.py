"""The policy holds everything that decides who or what is mailed, and a question about it stays
open until a plan showed it (S14, S24).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from literal_frames import config
from pydantic import BaseModel

from schemas.config import Config
from transforms.guards.policy import (
    NOT_POLICY,
    Question,
    Shown,
    _digest,
    _old_form,
    choose_asked,
    count_shown,
    digest_policy,
    digest_select,
    digest_url,
    list_fields,
    list_questions,
    name_questions,
    settle_policy,
)
from transforms.naming.naming import name_by

PRESET = {
    "url": "sqlite:///x",
    "preset": "librebooking",
    "sites": {"1": {"location_id": 1, "name": "HQ"}},
    "rooms": {"r": {"location_id": 2}},
}
OTHER: dict[type, Any] = {str: "other", int: 7, float: 7.5, Path: Path("other.sql")}


def _other(name: str, value: Any) -> Any:
    """Another value of a setting; a test does not ask whether it makes sense."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, "other.example"]
    if isinstance(value, dict):
        return {**value, "another": 7}
    return next((other for kind, other in OTHER.items() if isinstance(value, kind)), "other")


def _change_each(model: BaseModel, pattern: tuple[str, ...]) -> Iterator[tuple[str, BaseModel]]:
    """Every setting of a configuration, and the configuration with another value of it."""
    for name in type(model).model_fields:
        value, path = getattr(model, name), (*pattern, name)
        if isinstance(value, BaseModel):
            for field, changed in _change_each(value, path):
                yield field, model.model_copy(update={name: changed})
            continue
        if isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            key, item = next(iter(value.items()))
            for field, changed in _change_each(item, (*path, "*")):
                yield field, model.model_copy(update={name: {**value, key: changed}})
            if name == "sources":
                continue
        yield ".".join(path), model.model_copy(update={name: _other(name, value)})


def _is_policy(field: str) -> bool:
    parts = field.split(".")
    return not any(".".join(parts[: end + 1]) in NOT_POLICY for end in range(len(parts)))


BASE = Config(sources={"rooms": PRESET})
CHANGED = dict(_change_each(BASE, ()))


@pytest.mark.parametrize("field", CHANGED)
def test_s24_every_setting_is_policy_unless_it_is_named(field: str) -> None:
    by_its_key = field == "sources.*.id_prefix"  # another one is another source
    assert (digest_policy(CHANGED[field])[0] != digest_policy(BASE)[0]) is (
        _is_policy(field) or by_its_key
    )


def test_s24_the_walk_meets_every_setting_of_the_model() -> None:
    told = set(list_fields())
    assert {field for field in CHANGED if _is_policy(field)} == {
        field for field in told if _is_policy(field)
    } - {"sources"}
    whole = {field for field in NOT_POLICY if "." not in field}
    assert whole | {field for field in told if not _is_policy(field)} >= NOT_POLICY
    for field in NOT_POLICY - whole:
        assert any(known == field or known.startswith(f"{field}.") for known in CHANGED), (
            f"there is no setting {field}"
        )


def test_s24_a_databases_address_counts_without_what_opens_it() -> None:
    one = digest_url(
        "postgresql+psycopg://anna:old@db.example:5432/rooms?sslmode=require&password=a"
    )
    assert (
        digest_url("postgresql+psycopg://anna:n@w@db.example:5432/rooms?password=b&sslmode=require")
        == one
    )
    for other in (
        "anna:old@db.example:5432/hr",
        "anna:old@replica.example:5432/rooms",
        "bob:old@db.example:5432/rooms",
    ):
        assert digest_url(f"postgresql+psycopg://{other}?sslmode=require") != one
    text = digest_policy(
        config(sources={"hr": {"url": "postgresql://anna:s3cr3t@db.example/hr", "preset": "mrbs"}})
    )[1]
    assert "s3cr3t" not in text
    assert "db.example" not in text


def test_s24_the_layout_of_a_select_is_no_policy_its_text_is() -> None:
    one = digest_select("SELECT a\n  FROM b\nWHERE c = 'x';\n")
    assert digest_select("\ufeffSELECT a\r\n    FROM b\r\n\r\n    WHERE c = 'x'") == one
    assert digest_select("SELECT a\nFROM b\nWHERE c = 'y'") != one


# -- which questions there are, and when they are answered -----------------------------------------

TWO = {
    "rooms": {**PRESET, "internal_domains": ["corp.example"]},
    "hr": {**PRESET, "internal_domains": ["corp.example"]},
}


def two(*, pilot: dict | None = None, **changed: dict) -> Config:
    sections = {name: value for name, value in changed.items() if name not in TWO}
    return Config(
        sources={name: {**entry, **changed.get(name, {})} for name, entry in TWO.items()},
        pilot=pilot or {},
        **sections,
    )


def ask(saved: tuple[str, str], now: Config, **shown: Shown) -> list[Question]:
    """The questions that a plan asks which shows this much of each source."""
    return choose_asked(list_questions(*saved, now), shown, now, saved[1])


TYPO = {"internal_domains": ["crop.example"]}
SOME = Shown(change=1)


def words(questions: list[Question]) -> tuple[str, ...]:
    return name_questions(questions, list(TWO))


def test_s14_policy_changes_in_words() -> None:
    saved = digest_policy(two())
    assert list_questions(*saved, two()) == []
    asked = ask(saved, two(rooms=TYPO, window={"days_ahead": 7}), rooms=SOME, hr=SOME)
    assert words(asked) == (
        "window.days_ahead: 365 → 7",
        'sources.rooms.internal_domains: ["corp.example"] → ["crop.example"]',
    )
    assert words(ask(saved, two(window={"days_ahead": 7}), hr=SOME)) == (
        "window.days_ahead: 365 → 7 (hr)",
    )
    assert words(ask(saved, two(hr={"url": "sqlite:///y"}), hr=SOME)) == (
        "sources.hr.url: changed",
    )


def test_s24_a_quiet_hour_answers_nothing() -> None:
    saved, now = digest_policy(two()), two(rooms=TYPO)
    for quiet in ({}, {"hr": SOME}):
        assert ask(saved, now, **quiet) == []
        saved = settle_policy(*saved, now, asked=[])
    asked = ask(saved, now, rooms=SOME)
    assert len(asked) == 1
    assert ask(settle_policy(*saved, now, asked=asked), now, rooms=SOME) == []


@pytest.mark.parametrize("how", ["unseen", "left_out"])
def test_s24_what_was_not_seen_of_a_source_stays_open(how: str) -> None:
    saved, now = digest_policy(two()), two(rooms=TYPO, window={"days_ahead": 7})
    asked = ask(saved, now, rooms=SOME, hr=SOME)
    saved = settle_policy(*saved, now, asked=asked, **{how: {"rooms"}})
    assert {q.source for q in list_questions(*saved, now)} == {"rooms"}
    assert len(ask(saved, now, rooms=SOME, hr=SOME)) == (2 if how == "unseen" else 0)


def test_s24_an_answer_under_a_pilot_ends_with_the_pilot_and_with_the_setting() -> None:
    saved, now = digest_policy(two(pilot={"sites": ["1"]})), two(rooms=TYPO, pilot={"sites": ["1"]})
    saved = settle_policy(*saved, now, asked=ask(saved, now, rooms=SOME), left_out={"rooms"})
    assert ask(saved, now, rooms=SOME) == []
    saved = settle_policy(*saved, now, asked=[], left_out={"rooms"})
    assert ask(saved, now, rooms=SOME) == []
    lifted = two(rooms=TYPO)
    assert {q.key for q in ask(saved, lifted, rooms=SOME)} == {"internal_domains", "pilot.sites"}
    worse = two(rooms={"internal_domains": []}, pilot={"sites": ["1"]})
    assert {q.key for q in ask(saved, worse, rooms=SOME)} == {"internal_domains"}


def test_s24_a_setting_that_goes_back_is_no_question() -> None:
    saved = settle_policy(*digest_policy(two()), two(rooms=TYPO), asked=[])
    assert list_questions(*saved, two()) == []


@pytest.mark.parametrize(
    ("section", "silent", "loud"),
    [
        ({"guest_list": "authoritative"}, Shown(change=1), Shown(change=1, update=1)),
        ({"on_reappear": "send"}, Shown(change=1, update=1), Shown(change=1, again=1)),
    ],
)
def test_s24_a_setting_is_asked_about_by_what_can_show_it(
    section: dict, silent: Shown, loud: Shown
) -> None:
    saved, now = digest_policy(two()), two(essentry=section)
    assert ask(saved, now, rooms=silent, hr=silent) == []
    assert len(ask(saved, now, rooms=loud)) == 1


def test_s24_a_new_source_is_a_question_and_one_that_left_is_none() -> None:
    one = Config(sources={"rooms": TWO["rooms"]})
    saved = digest_policy(one)
    assert words(ask(saved, two(), rooms=SOME)) == ()
    asked = ask(saved, two(), rooms=SOME, hr=SOME)
    assert words(asked) == ("sources.hr: new",)
    kept = settle_policy(*saved, two(), asked=[])
    assert words(ask(kept, two(), hr=SOME)) == ("sources.hr: new",)
    assert list_questions(*settle_policy(*saved, two(), asked=asked), two()) == []
    assert list_questions(*digest_policy(two()), one) == []


def test_s24_a_source_that_the_first_run_could_not_read_has_not_changed_since() -> None:
    saved = settle_policy(None, None, two(), asked=[], unseen={"hr"})
    assert ask(saved, two(), hr=SOME) == []
    assert words(ask(saved, two(hr=TYPO), hr=SOME)) == (
        'sources.hr.internal_domains: ["corp.example"] → ["crop.example"]',
    )


# -- upgrades --------------------------------------------------------------------------------------


def old(settings: Config, *, kept: bool = True) -> tuple[str, str]:
    text = orjson.dumps(_old_form(settings), option=orjson.OPT_SORT_KEYS).decode() if kept else ""
    return _digest(_old_form(settings)), text


@pytest.mark.parametrize("kept", [True, False])
def test_s24_an_upgrade_of_the_form_asks_nothing_by_itself(kept: bool) -> None:
    now = two(hr={"params": {"users_internal": 0}, "default_duration_minutes": 45})
    saved = old(now, kept=kept)
    assert list_questions(*saved, now) == []
    saved = settle_policy(*saved, now, asked=[])
    assert saved == digest_policy(now)


def test_s24_a_change_that_comes_with_an_upgrade_is_asked_about() -> None:
    before, now = two(), two(rooms=TYPO)
    assert words(ask(old(before), now, rooms=SOME)) == (
        'sources.rooms.internal_domains: ["corp.example"] → ["crop.example"]',
    )
    unknown = ask(old(before, kept=False), now, rooms=SOME, hr=SOME)
    assert words(unknown) == ("which settings they are was not kept",)
    assert settle_policy(*old(before, kept=False), now, asked=[]) == old(before, kept=False)
    assert settle_policy(*old(before, kept=False), now, asked=unknown) == digest_policy(now)
    assert [
        q.source for q in ask(old(Config(sources={"rooms": TWO["rooms"]})), two(), hr=SOME)
    ] == ["hr"]


def test_s24_a_setting_that_a_later_release_adds_is_taken_over() -> None:
    digest, text = digest_policy(two())
    kept = orjson.loads(text)
    for settings in kept["sources"].values():
        del settings["default_duration_minutes"]
    kept["fields"].remove("sources.*.default_duration_minutes")
    saved = _digest(kept["sources"]), orjson.dumps(kept).decode()
    assert list_questions(*saved, two()) == []
    assert settle_policy(*saved, two(), asked=[]) == (digest, text)


def test_s24_a_meeting_of_two_records_shows_both_sources() -> None:
    changes = pd.DataFrame(
        {
            "source_id": ["rooms-1", "rooms-2", "rooms-3"], "source": "rooms",
            "action": ["update", "create", "expire"],
            "members_json": ['["hr-5", "no id of ours"]', None, None],
        }
    ).astype("str")  # fmt: skip
    snapshot = pd.DataFrame(
        {"source_id": ["rooms-1", "rooms-2"], "state": ["active", "deleted"]}
    ).astype("str")
    shown = count_shown(changes, snapshot, two(), name_by(two()))
    assert shown == {"rooms": Shown(change=2, update=1, again=1), "hr": Shown(change=1, update=1)}
