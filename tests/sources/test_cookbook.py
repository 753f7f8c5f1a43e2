"""data/sources/COOKBOOK.md: each SELECT gives the events that it promises, on SQLite, PostgreSQL
and MariaDB, or in a whole night.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from flows.night.whole import run_whole_night
from flows.operations.select_tests import run_select_test
from flows.sandbox.server import SandboxServer
from flows.sources import files
from flows.sources.limits import limits_rows
from schemas.config import Config
from tests.sources.databases import database

COOKBOOK = (Path(__file__).parents[2] / "data" / "sources" / "COOKBOOK.md").read_text(
    encoding="utf-8"
)
DIALECTS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
AS_OF = datetime(2026, 11, 24, 2, tzinfo=UTC)


@dataclass
class Recipe:
    """A chapter: SELECTs (file and dialects → text), settings to add, files, and a test, or rows
    and what essentry then holds.
    """

    selects: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    test: str | None = None
    rows: dict[str, list[dict]] = field(default_factory=dict)
    held: dict[str, set[str]] = field(default_factory=dict)

    def write(self, folder: Path, kind: str) -> None:
        """The SELECTs of a dialect, the files and the test, as the reader would keep them."""
        for title, text in self.selects.items():
            name, _, dialects = title.partition(", ")
            if not dialects or DIALECTS[kind] in dialects.split(" and "):
                assert not (folder / name).exists()
                (folder / name).write_text(text, encoding="utf-8")
        for name, text in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        if self.test:
            (folder / "rooms.toml").write_text(self.test, encoding="utf-8")

    def config(self, folder: Path, **sections: Any) -> Config:
        """The settings of all recipes with those of this one."""
        merged = merge(merge(BASE, self.settings), sections)
        for source in merged["sources"].values():
            if "url" in source:
                source.pop("url_env", None)
        return Config(root=folder, **merged)


def merge(one: dict, other: dict) -> dict:
    both = dict(one)
    for key, value in other.items():
        both[key] = (
            merge(both[key], value)
            if isinstance(both.get(key), dict)
            else dict(value)
            if isinstance(value, dict)
            else value
        )
    return both


def read_recipe(text: str) -> Recipe:
    recipe = Recipe()
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, flags=re.S):
        first, _, rest = block.partition("\n")
        if kind == "sql":
            recipe.selects[first.removeprefix("-- ")] = rest
        elif kind == "csv":
            recipe.files[first.removeprefix("# ")] = rest
        elif block.startswith("source ="):
            recipe.test = block
        elif block.startswith("["):
            recipe.settings = tomllib.loads(block)
        else:
            recipe.rows = tomllib.loads(block)
    for event, guests in re.findall(r"^- `([\w-]+)`: (.*)$", text, flags=re.M):
        recipe.held[event] = set(re.findall(r"`([\w-]+)`", guests))
    return recipe


HEAD, *CHAPTERS = COOKBOOK.split("\n## ")
BASE = read_recipe(HEAD).settings
RECIPES_TEXT = {chapter.partition("\n")[0]: chapter for chapter in CHAPTERS}
RECIPES = {name: read_recipe(chapter) for name, chapter in RECIPES_TEXT.items()}
TESTED = [name for name, recipe in RECIPES.items() if recipe.test]
LINKED, FILES = "One meeting in two systems", "Files"


def test_every_recipe_promises_something() -> None:
    assert {*TESTED, LINKED, FILES} == set(RECIPES)
    assert all(
        recipe.selects and (recipe.test or len(recipe.held) == 2) for recipe in RECIPES.values()
    )


@pytest.fixture(params=DIALECTS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, sa.Engine]:
    """A kind of database and an empty one of it, which the recipes' variables name."""
    with database(request.param, tmp_path) as engine:
        for variable in ("ROOMS_DATABASE_URL", "HR_DATABASE_URL"):
            monkeypatch.setenv(variable, engine.url.render_as_string(hide_password=False))
        yield request.param, engine


@pytest.mark.parametrize("name", TESTED)
def test_the_test_of_a_recipe_is_green(
    name: str, place: tuple[str, sa.Engine], tmp_path: Path
) -> None:
    recipe = RECIPES[name]
    recipe.write(tmp_path, place[0])
    tested = run_select_test(recipe.config(tmp_path), tmp_path / "rooms.toml")
    assert [str(each) for each in tested.differences] == []
    assert tested.events >= 2


FORMS = {
    "an instant with a zone (`timestamptz`), or a text with an offset": (
        "2026-03-30T09:00:00+02:00",
        "begins",
        "utc",
    ),
    "UTC without a zone": ("2026-03-30T07:00:00", "begins", "utc"),
    "seconds since 1970": ("1774854000", "begins", "epoch"),
    "milliseconds since 1970": ("1774854000000", "begins / 1000", "epoch"),
    "the clock on the wall, one zone for all": ("2026-03-30T09:00:00", "begins", "local"),
    "the clock on the wall, a zone for each place": ("2026-03-30T03:00:00", "begins", "local"),
    "the clock on the wall, the zone in a column": ("2026-03-30T16:00:00", "begins", "local"),
}
FORM_TEST = """
source = "rooms"
as_of = 2026-03-01T02:00:00Z
[tables]
bookings = [{{ id = 1, begins = {}, zone = "Asia/Tokyo", host = "hana@corp.example" }}]
[[events]]
key = "1"
starts_at = 2026-03-30T07:00:00Z
guests = []
"""


def test_every_form_of_time_is_tried() -> None:
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*) \|$", RECIPES_TEXT["Time zones"], flags=re.M)[1:]
    assert [row[0] for row in rows if not row[0].startswith("-")] == list(FORMS)
    for what, written, settings in rows:
        if what in FORMS:
            _, select, times = FORMS[what]
            assert f'times = "{times}"' in settings
            assert (f"`{select}`" in written) == (select != "begins")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_time(form: str, place: tuple[str, sa.Engine], tmp_path: Path) -> None:
    value, select, times = FORMS[form]
    zone = ", zone AS timezone" if form.endswith("in a column") else ""
    sql = (
        f"SELECT id AS source_event_id, {select} AS starts_at, 1 AS site_key, "
        f"host AS host_email{zone} FROM bookings"
    )
    (tmp_path / "events.sql").write_text(sql)
    (tmp_path / "guests.sql").write_text(
        "SELECT id AS source_event_id, host AS email FROM bookings WHERE 1 = 0"
    )
    (tmp_path / "rooms.toml").write_text(FORM_TEST.format(value))
    settings: dict[str, Any] = {"times": times, "events_without_guests": "send"}
    if "each place" in form:
        settings["sites"] = {"1": {"timezone": "America/New_York"}}
    config = Recipe().config(tmp_path, sources={"rooms": settings})
    tested = run_select_test(config, tmp_path / "rooms.toml")
    assert [str(each) for each in tested.differences] == []


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        (
            "A meeting in several rooms",
            "(SELECT booking, MIN(room) AS room FROM booked_rooms GROUP BY booking)",
            "booked_rooms",
            "unique_key",
        ),
        (
            "A meeting in several rooms",
            "LEFT JOIN rooms",
            "JOIN rooms",
            "event 2, event: expected quarantined, found no row",
        ),
        (
            "Recurring meetings",
            "d.day AS source_event_id",
            "COALESCE(x.moved_to, d.day) AS source_event_id",
            "event 7/2026-12-08, event",
        ),
        ("Time zones", "p.zone AS timezone", "'Europe/Berlin' AS timezone", "event 3, starts_at"),
        ("The newest row, without a LIMIT", " AND h.newest = 1", "", "unique_key"),
        (
            "Private meetings",
            "WHEN 'team' THEN 'private' ",
            "",
            "event 1, becomes: expected due, found quarantined",
        ),
    ],
)
def test_what_a_recipe_avoids_is_red(
    name: str, before: str, after: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOMS_DATABASE_URL", "sqlite:///none.sqlite")
    recipe = RECIPES[name]
    recipe.write(tmp_path, "sqlite")
    text = (tmp_path / "events.sql").read_text(encoding="utf-8")
    assert text.count(before) == 1
    (tmp_path / "events.sql").write_text(text.replace(before, after), encoding="utf-8")
    tested = run_select_test(recipe.config(tmp_path), tmp_path / "rooms.toml")
    assert told in "\n".join(str(each) for each in tested.differences)


def test_no_recipe_leaves_rows_out() -> None:
    for recipe in RECIPES.values():
        assert [sql for sql in recipe.selects.values() if limits_rows(sql)] == []
    assert limits_rows("SELECT * FROM history ORDER BY changed_at DESC LIMIT 1")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> SandboxServer:
    with SandboxServer() as server:
        monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
        yield server


def held_after_a_night(recipe: Recipe, folder: Path, sandbox: SandboxServer) -> dict[str, set[str]]:
    own = {"essentry": {"base_url": sandbox.base_url}, "state": {"url": "sqlite:///state.sqlite"}}
    config = recipe.config(folder, **own, guards={"approve_first_run": False})
    assert run_whole_night(config, as_of=AS_OF).exit_code == 0
    return {key: set(event["guests"]) for key, event in sandbox.state()["events"].items()}


def test_two_systems_are_one_event(
    place: tuple[str, sa.Engine], tmp_path: Path, sandbox: SandboxServer
) -> None:
    recipe, (kind, engine) = RECIPES[LINKED], place
    recipe.write(tmp_path, kind)
    for table, rows in recipe.rows.items():
        pd.DataFrame(rows).convert_dtypes().to_sql(table, engine, index=False)
    assert held_after_a_night(recipe, tmp_path, sandbox) == recipe.held
    event = sandbox.state()["events"]["hr-7"]
    assert "Interview" in str(event)
    assert "112" in str(event)  # the booking's entrance


def test_files_are_two_events(
    tmp_path: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SETTLED_SECONDS", 0.0)
    recipe = RECIPES[FILES]
    recipe.write(tmp_path, "sqlite")
    assert held_after_a_night(recipe, tmp_path, sandbox) == recipe.held
