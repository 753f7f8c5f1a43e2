"""A part of a plan is what was named, and nothing that belongs to something else is torn from
it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.guards.left_out import find_left_out
from transforms.guards.selection import read_choice, select_changes
from transforms.naming.naming import name_by

COLUMNS = ["source_id", "source", "location_id", "action", "reason", "members_json"]
ROWS = [
    ("rooms-1", "rooms", 11, "delete", "absent", None),
    ("rooms-2", "rooms", 12, "delete", "cancelled", None),
    ("rooms-3", "rooms", 12, "update", "changed", None),
    ("hr-4", "hr", 12, "create", "new", None),
    ("hr-5", "hr", 12, "update", "changed", '["rooms-9"]'),  # one meeting of both sources
]
PLAN = pd.DataFrame(ROWS, columns=COLUMNS).astype({"location_id": "Int64"})
SOURCE = {
    "url": "sqlite://",
    "events_sql": "e.sql",
    "guests_sql": "g.sql",
    "times": "utc",
    "sites": {},
}
NAMING = name_by(
    Config(
        root=Path(),
        essentry={"base_url": "http://127.0.0.1"},
        sources={"rooms": SOURCE, "hr": SOURCE},
    )
)


def choose(
    only: list[str], but: list[str], conditions: list[tuple[str, str, str]] | None = None
) -> tuple[list[str], list[list[str]]]:
    found = select_changes(PLAN, conditions or [], read_choice(only, but), NAMING)
    return PLAN.loc[found.chosen, "source_id"].tolist(), found.parted


@pytest.mark.parametrize(
    ("only", "but", "chosen"),
    [
        (["location=12"], [], ["rooms-2", "rooms-3", "hr-4", "hr-5"]),
        (["location=12"], ["event=hr-4"], ["rooms-2", "rooms-3", "hr-5"]),
        (["location=11", "event=hr-4"], [], ["rooms-1", "hr-4"]),  # what any of them names
        (["location=12,action=delete"], [], ["rooms-2"]),  # both hold
        ([], ["action=delete"], ["rooms-3", "hr-4", "hr-5"]),
        ([], ["reason=absent"], ["rooms-2", "rooms-3", "hr-4", "hr-5"]),
        (["source=hr"], [], ["hr-4"]),  # the shared meeting is of rooms as well
        ([], ["source=rooms"], ["hr-4"]),  # and goes with neither
        (["source=hr", "event=hr-5"], [], ["hr-4", "hr-5"]),
        (["location=12"], ["location=12"], []),
    ],
)
def test_a_choice_takes_what_it_names(only: list[str], but: list[str], chosen: list[str]) -> None:
    assert choose(only, but) == (chosen, [])


@pytest.mark.parametrize(
    ("only", "chosen", "parted"),
    [
        # cancelled here, not invited there
        (["event=rooms-1"], ["rooms-1"], [["rooms-1", "hr-4"]]),
        (["event=hr-4"], ["hr-4"], [["rooms-1", "hr-4"]]),  # in both meetings
        (["event=hr-4", "event=rooms-1"], ["rooms-1", "hr-4"], []),
        (["event=rooms-2"], ["rooms-2"], []),
    ],
)
def test_s21_a_move_is_not_parted(
    only: list[str], chosen: list[str], parted: list[list[str]]
) -> None:
    conditions = [
        ("rooms-1", "after", "hr-4"),
        ("rooms-2", "after", "hr-of-another-night"),
        ("rooms-3", "absent", "rooms-2"),
    ]
    assert choose(only, [], conditions) == (chosen, parted)


def test_s21_a_chain_of_moves_is_one_group() -> None:
    conditions = [("rooms-1", "after", "rooms-2"), ("rooms-2", "after", "hr-4")]
    assert choose([], ["event=hr-4"], conditions)[1] == [["rooms-1", "rooms-2", "hr-4"]]


@pytest.mark.parametrize(
    ("only", "but", "words"),
    [
        (["event=hr-17"], [], "--only event=hr-17 names no change"),
        # mistyped, and what it was to keep back would go
        ([], ["event=hr-17"], "--except event=hr-17 names no change"),
        (["location=13"], [], "of location it has 11, 12"),
        (["location=11,action=create"], [], "never together"),
        (["place=12"], [], "is no choice: write source=…"),
        (["location="], [], "is no choice"),
        (["12"], [], "is no choice"),
        (["location=11,location=12"], [], "nothing is both"),
    ],
)
def test_a_choice_that_is_typed_wrongly_is_refused(
    only: list[str], but: list[str], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        choose(only, but)


def test_what_was_left_out_asks_however_few_it_is() -> None:
    left = PLAN.loc[[0], ["source_id", "action"]]
    (finding,) = find_left_out(left, PLAN)
    assert (finding.guard, finding.number, finding.causes, finding.about_deletes) == (
        "left_out",
        1,
        ("rooms-1: delete",),
        False,
    )
    # another change of it is judged by itself
    assert find_left_out(left.assign(action="update"), PLAN) == []
    assert find_left_out(left.iloc[:0], PLAN) == find_left_out(left, PLAN.iloc[:0]) == []
