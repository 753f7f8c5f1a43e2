"""S23: the second look reads as the first did, and proves something only when it finds what is
surely there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from flows.night import apply, confirm
from flows.night.confirm import Looks, SecondLook
from flows.night.session import Result, open_state
from flows.sources.ask import FirstLook, confirm_absent, read_event_rows
from flows.sources.read import read_source
from schemas.config_source import SourceConfig
from schemas.errors import SourceError
from tests.firm import Firm
from tests.sources.databases import database
from transforms.naming.ids import build_event_ids
from transforms.validate.people import clean_key


def night_with(firm: Firm, between: Callable[[], None], *, by: str = "sync") -> Result:
    """A night in whose middle, after its plan, something happens to the sources."""
    if by == "sync":
        return firm.night(between=between)
    firm.night(kind="plan")
    between()
    return firm.apply()


def codes(firm: Firm) -> dict[str, tuple[str, str | None]]:
    """Event → state and code of the last plan."""
    with open_state(firm.config) as state:
        _, changes = state.load_plan("latest", columns=("seq", "source_id", "state", "code"))
    return {row.source_id: (row.state, row.code) for row in changes.itertuples()}


def back(firm: Firm, key: str) -> Callable[[], None]:
    """Take a meeting out now, and bring it back later."""
    gone = firm.meetings["rooms"].pop(key)

    def bring_back() -> None:
        firm.meetings["rooms"][key] = gone
        firm.write()

    return bring_back


# -- keys are the same text at both looks ----------------------------------------------------------

TYPES: dict[str, list[tuple[str, str]]] = {  # kind of database → type of the key, its value in SQL
    "sqlite": [
        ("REAL", "5"), ("REAL", "5.5"), ("REAL", "1e15"), ("REAL", "0.1"), ("NUMERIC", "12.50"),
        ("INTEGER", "-7"), ("BLOB", "x'4135'"),
        ("TEXT", "'A5' || char(10)"), ("TEXT", "char(160) || 'A5'"),
        ("TEXT", "char(9) || 'A5' || char(13)"), ("TEXT", "char(8195) || 'A5'"),
        ("TEXT", "'a''b'"), ("TEXT", "'0012'"), ("TEXT", "'%_'"), ("", "5.0"), ("", "'5.0'"),
    ],
    "postgresql": [
        ("numeric(10,2)", "12"), ("numeric", "12.50"), ("bytea", "'A5'"),
        ("timestamptz", "'2027-01-01 10:00+02'"), ("date", "'2027-01-01'"),
        ("timestamp", "'2027-01-01 10:00:00.5'"), ("boolean", "true"), ("real", "5"),
        ("double precision", "1e15"), ("char(9)", "'A5'"),
        ("double precision", "0.1"), ("uuid", "'6f1f8c1e-0000-4000-8000-000000000001'"),
        ("text", "E'A5\\n'"), ("text", "E'\\u00a0A5'"),
        ("text[]", "'{a,b}'"), ("json", "'{\"a\": 1}'"), ("interval", "'2 hours'"),
        ("bigint", "9223372036854775807"),
    ],
    "mariadb": [
        ("decimal(10,2)", "12"), ("double", "1e15"), ("float", "0.5"),
        ("varbinary(9)", "'A5'"), ("datetime(6)", "'2027-01-01 10:00:00.5'"),
        ("timestamp", "'2027-01-01 10:00:00'"), ("time", "'27:30:00'"),
        ("bit(8)", "b'1000001'"), ("varchar(9)", "concat('A5', char(10))"),
        ("varchar(9)", "concat(unhex('c2a0'), 'A5')"),
        ("enum('a','b')", "'b'"), ("year", "2027"),
        ("varchar(9) COLLATE utf8mb4_general_ci", "'Ab'"),
    ],
}  # fmt: skip
KEYS = [(kind, *key) for kind, keys in TYPES.items() for key in keys]
COLLEAGUE = {"e": {"email": "e@corp.example", "internal": "1"}}
PLAIN = "SELECT k AS source_event_id, 'x' AS starts_at, '1' AS site_key, 'h' AS host_email FROM e"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], sa.Engine]]:
    made: dict[str, Any] = {}

    def engine(kind: str) -> sa.Engine:
        if kind not in made:
            opened = database(kind, tmp_path_factory.mktemp("looks"))
            made[kind] = (opened, opened.__enter__())
        return made[kind][1]

    yield engine
    for opened, _ in made.values():
        opened.__exit__(None, None, None)


def source_on(engine: sa.Engine, folder: Path, events: str = PLAIN) -> SourceConfig:
    (folder / "e.sql").write_text(events)
    (folder / "g.sql").write_text("SELECT k AS source_event_id FROM e")
    url = (
        engine.url.set(drivername="postgresql+psycopg")
        if engine.dialect.name == "postgresql"
        else engine.url
    )
    return SourceConfig(
        url=url.render_as_string(hide_password=False),
        events_sql=folder / "e.sql",
        guests_sql=folder / "g.sql",
        times="utc",
    )


@pytest.mark.share(3)
@pytest.mark.parametrize(("kind", "column", "value"), KEYS, ids=lambda text: str(text)[:24])
def test_s23_a_key_of_any_type_is_found_again(
    kind: str, column: str, value: str, engines: Any, tmp_path: Path
) -> None:
    engine = engines(kind)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS e")
        connection.exec_driver_sql(f"CREATE TABLE e (k {column})")
        connection.exec_driver_sql(
            f"INSERT INTO e VALUES ({value})".replace("%", "%%")
            if kind != "sqlite"
            else f"INSERT INTO e VALUES ({value})"
        )
    config = source_on(engine, tmp_path)
    keys = clean_key(read_source("s", config, root=tmp_path).events["source_event_id"])
    assert len(keys) == 1
    assert confirm_absent("s", config, keys.tolist(), root=tmp_path) == set(keys)
    assert confirm_absent("s", config, [f"{keys[0]}x"], root=tmp_path) == set()
    ids = build_event_ids("s", keys)
    assert confirm_absent(
        "s", config, ids.tolist(), root=tmp_path, identify=lambda found: build_event_ids("s", found)
    ) == set(ids)
    assert len(read_event_rows("s", config, keys[0], root=tmp_path)) == 1
    assert len(read_event_rows("s", config, "other", root=tmp_path)) == 0


@pytest.mark.share(3)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize(
    "end", ["", ";", ";\n-- all bookings\n", "\n-- all bookings", " /* ; */", "\nORDER BY k"]
)
def test_s23_a_select_that_was_read_once_is_read_again(
    kind: str, end: str, engines: Any, tmp_path: Path
) -> None:
    engine = engines(kind)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS e")
        connection.exec_driver_sql("CREATE TABLE e (k varchar(9))")
        connection.exec_driver_sql("INSERT INTO e VALUES ('a'), ('b')")
    config = source_on(engine, tmp_path, PLAIN + end)
    assert len(read_source("s", config, root=tmp_path).events) == 2
    assert confirm_absent("s", config, ["a", "c"], root=tmp_path) == {"a"}


ODD_KEYS = [
    "m0\n",
    "\tm0",
    "\u00a0m0",
    "m0\u2003",
    5.5,
    7.0,
    b"A5",
    "a-b:c",
    "Ümläut",
    "x" * 300,
    "ä" * 90,
]


@pytest.mark.share(6)
@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: repr(key)[:12])
@pytest.mark.parametrize("by", ["sync", "apply"])
def test_s23_a_row_that_is_back_is_not_cancelled_and_one_that_is_gone_is(
    firm: Firm, key: Any, by: str
) -> None:
    firm.book("m0", "ada", source_event_id=key)
    firm.book("m1", "bob")
    firm.night()
    assert len(firm.held()) == 2
    firm.new_mails()
    result = night_with(firm, back(firm, "m0"), by=by)
    assert firm.new_mails() == []
    assert len(firm.held()) == 2
    assert {code for state, code in codes(firm).values() if state == "held"} <= {
        "STILL_THERE",
        "NOT_CONFIRMED",
        "CHANGED_SINCE",
    }
    firm.cancel("m0")
    night_with(firm, lambda: None, by=by)
    assert [mail[0] for mail in firm.new_mails()] == ["cancelled"]
    assert set(firm.held()) == {"rooms-m1"}
    assert result.report


# -- a look that shows too little is a failed look -------------------------------------------------


def empty(firm: Firm) -> None:
    firm.meetings["rooms"].clear()
    firm.write()


def other_firm(firm: Firm) -> None:
    firm.meetings["rooms"].clear()
    firm.book_many(8, first=500)
    firm.write()


def half(firm: Firm) -> None:
    for key in list(firm.meetings["rooms"])[:6]:
        del firm.meetings["rooms"][key]
    firm.write()


def down(firm: Firm) -> None:
    firm.broken = {"rooms"}
    firm.write()


def renamed_column(firm: Firm) -> None:
    (firm.folder / "events.sql").write_text("SELECT source_event_id AS id FROM events")


@pytest.mark.parametrize(
    "wrong", [empty, other_firm, half, down, renamed_column], ids=lambda wrong: wrong.__name__
)
def test_s23_a_look_that_shows_too_little_proves_nothing(
    firm: Firm, wrong: Callable[[Firm], None]
) -> None:
    firm.book_many(9)
    firm.night()
    firm.new_mails()
    select = (firm.folder / "events.sql").read_text()
    kept = dict(firm.meetings["rooms"])
    firm.cancel("m004")
    night_with(firm, lambda: wrong(firm))
    assert firm.new_mails() == []
    assert codes(firm) == {"rooms-m004": ("held", "LOOK_FAILED")}
    firm.broken, firm.meetings["rooms"] = set(), kept
    (firm.folder / "events.sql").write_text(select)
    firm.cancel("m004")
    assert firm.night().exit_code == 0
    assert [mail[:2] for mail in firm.new_mails()] == [("cancelled", "rooms-m004")]


def test_s23_the_only_visit_among_meetings_without_guests_can_be_cancelled(firm: Firm) -> None:
    """essentry holds nothing else of the source: the first look's own keys say that the second one
    can be believed.
    """
    firm.book("visit", "ada")
    for number in range(3):
        firm.book(f"internal{number}", guests=COLLEAGUE)
    firm.night()
    firm.cancel("visit")
    night_with(firm, lambda: [firm.meetings["rooms"].pop("internal0"), firm.write()])
    assert firm.held() == {}


def test_s23_other_rows_than_the_first_look_showed_prove_nothing_though_essentry_holds_none(
    firm: Firm,
) -> None:
    firm.book("visit", "ada")
    firm.book("internal", guests=COLLEAGUE)
    firm.night()
    firm.cancel("visit")

    def another() -> None:
        firm.meetings["rooms"] = {}
        firm.book("stranger", guests=COLLEAGUE)
        firm.write()

    night_with(firm, another)
    assert codes(firm)["rooms-visit"] == ("held", "LOOK_FAILED")
    assert set(firm.held()) == {"rooms-visit"}


def test_s23_what_is_called_off_between_the_looks_does_not_make_a_failed_look(firm: Firm) -> None:
    firm.book_many(12)
    firm.night()
    firm.cancel("m004")
    night_with(firm, lambda: [firm.cancel("m006"), firm.write()])
    assert len(firm.held()) == 11


def test_s23_one_meeting_of_two_records_is_there_while_one_of_them_is(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    firm.book("9", "ada", linked_source="hr", linked_event_id="5")
    firm.book("5", "cand", source="hr")
    firm.book("n", "bob")
    firm.book("n", "eva", source="hr")
    firm.night()
    firm.new_mails()
    union = [key for key in firm.held() if len(firm.held()[key]) == 2]
    assert len(union) == 1
    rooms, hr = firm.meetings["rooms"].pop("9"), firm.meetings["hr"].pop("5")
    for source, key, row in (("rooms", "9", rooms), ("hr", "5", hr)):

        def bring_back(source: str = source, key: str = key, row: dict = row) -> None:
            firm.meetings[source][key] = row
            firm.write()

        night_with(firm, bring_back)
        assert firm.new_mails() == []
        assert codes(firm)[union[0]] == ("held", "STILL_THERE")
        del firm.meetings[source][key]
    night_with(firm, lambda: None)
    assert {mail[0] for mail in firm.new_mails()} == {"cancelled"}


@pytest.mark.parametrize("partitions", [1, 3])
def test_s23_a_divided_night_looks_again_as_well(firm: Firm, partitions: int) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    firm.book_many(9)
    firm.night()
    firm.cancel("m003")
    night_with(firm, back(firm, "m004"))
    assert set(firm.held()) == {f"rooms-m{n:03}" for n in range(9) if n != 3}
    firm.cancel("m004")
    night_with(firm, lambda: other_firm(firm))
    assert codes(firm)["rooms-m004"] == ("held", "LOOK_FAILED")


def test_s23_an_older_plan_without_a_first_look_goes_by_what_essentry_holds(firm: Firm) -> None:
    firm.book_many(9)
    firm.night()
    firm.cancel("m004")
    firm.night(kind="plan")
    with sa.create_engine(f"sqlite:///{firm.folder}/state.sqlite").begin() as connection:
        connection.exec_driver_sql("DELETE FROM plan_looks")
    firm.apply()
    assert len(firm.held()) == 8


# -- one look a source and load, and never an old one ----------------------------------------------


def test_s23_a_source_is_looked_at_once_for_many_batches(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm.sections["essentry"] = {"batch_events": 5}
    firm.sections["guards"] |= {
        "max_deletes": 1000,
        "max_delete_share": 1.0,
        "max_shrink_share": 1.0,
    }
    firm.book_many(60)
    firm.night()
    firm.cancel(*[f"m{number:03}" for number in range(40)])
    calls: list[int] = []
    look = confirm.confirm_absent

    def count(*arguments: Any, **options: Any) -> set[str]:
        calls.append(len(arguments[2]))
        return look(*arguments, **options)

    monkeypatch.setattr(confirm, "confirm_absent", count)
    monkeypatch.setattr(apply, "Looks", lambda look: Looks(look, clock=lambda: 0.0))
    firm.night()
    assert calls == [40]
    assert len(firm.held()) == 20


def test_s23_a_look_is_kept_for_twenty_times_as_long_as_it_took_and_two_minutes_at_most() -> None:
    now, calls, takes = [0.0], [0], [1.0]

    def look() -> SecondLook:
        calls[0] += 1
        now[0] += takes[0]
        return SecondLook()

    looks = Looks(look, clock=lambda: now[0])
    for at, wanted in ((0.0, 1), (5.0, 1), (20.9, 1), (22.0, 2)):
        now[0] = max(at, now[0])
        looks.now()
        assert calls == [wanted]
    takes[0] = 600.0
    now[0] = 1000.0
    looks.now()
    now[0] += 119
    looks.now()
    assert calls == [3]
    now[0] += 2
    looks.now()
    assert calls == [4]


def test_s23_a_benchmark_may_leave_the_look_out(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "find_still_there", lambda *_arguments: set())
    firm.book_many(3)
    firm.night()
    firm.cancel("m001")
    firm.night()
    assert len(firm.held()) == 2


def test_s23_what_a_first_look_demands(tmp_path: Path) -> None:
    with database("sqlite", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE e (k)")
            connection.exec_driver_sql("INSERT INTO e VALUES ('a'), ('b'), ('c')")
        config = source_on(engine, tmp_path)

        def look(*keys: str, **first: Any) -> set[str]:
            return confirm_absent(
                "s", config, list(keys), root=tmp_path, first=FirstLook(**{"keys": ()} | first)
            )

        assert look("a", "x") == {"a"}
        assert look("x", keys=["a", "x"]) == set()
        assert look("x", keys=["a", "y", "z"]) == set()
        assert look("x", rows=7) == set()
        for first in (
            {"keys": ["y", "z"]},
            {"rows": 9},
            {"keys": ["a", *"uvwxyz"]},
            {"rows": 4, "at_least": 1, "may_miss": 0.1},
        ):
            with pytest.raises(SourceError, match="second look"):
                look("q", **first)


# -- a SELECT with a limit proves no absence -------------------------------------------------------


def test_s23_a_limit_holds_what_it_may_have_cut_off(firm: Firm) -> None:
    firm.book_many(6)
    firm.night()
    select = (firm.folder / "events.sql").read_text()
    (firm.folder / "events.sql").write_text(f"{select} ORDER BY starts_at LIMIT 6")
    firm.cancel("m002")
    firm.meetings["rooms"]["m003"]["name"] = "Another title"
    firm.sections["guards"] |= {"approve_policy_change": False}
    result = firm.night()
    assert result.report["held_by_reason"] == {"the SELECT has a LIMIT": 1}
    assert firm.mails()["cancelled"] == 0
    # said by the row itself, not by its absence
    firm.meetings["rooms"]["m004"]["status"] = "cancelled"
    firm.night()
    assert set(firm.held()) == {f"rooms-m{n:03}" for n in (0, 1, 2, 3, 5)}
    (firm.folder / "events.sql").write_text(select)
    firm.night()
    assert set(firm.held()) == {f"rooms-m{n:03}" for n in (0, 1, 3, 5)}


def test_s23_a_limit_on_the_guests_removes_nobody(firm: Firm) -> None:
    firm.book("a", "x", "y")
    firm.book("b", "z")
    firm.night()
    (firm.folder / "guests.sql").write_text("SELECT * FROM guests LIMIT 1")
    firm.sections["guards"] |= {"approve_policy_change": False}
    firm.night()
    assert firm.mails()["cancelled"] == 0
    assert firm.held() == {"rooms-a": {"rooms-a-x", "rooms-a-y"}, "rooms-b": {"rooms-b-z"}}


def test_s23_an_empty_column_of_keys_is_asked_without_an_error() -> None:
    assert clean_key(pd.Series([], dtype="str")).empty


ODD_KEYS = [
    "a'); DROP TABLE events; --",
    ":keys",
    "%s %(x)s",
    '"q"',
    "\\",
    "a;b",
    "ключ",
    "a b",
    "100%",
    "k" * 300,
]


def test_s23_keys_of_any_characters_are_looked_for_and_what_is_there_stays(firm: Firm) -> None:
    """Gone at the first look, and every second one is back at the second."""
    firm.sections["guards"] |= {"max_delete_share": 1.0, "max_shrink_share": 1.0}
    for number, key in enumerate(ODD_KEYS):
        firm.book(key, f"g{number}")
    firm.book("stay", "z")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    gone = {key: firm.meetings["rooms"].pop(key) for key in ODD_KEYS}

    def put_back() -> None:
        firm.meetings["rooms"] |= {key: gone[key] for key in ODD_KEYS[::2]}
        firm.write()

    firm.night(between=put_back)
    assert len(before) == len(ODD_KEYS) + 1
    cancelled = {address for kind, _, _, address in firm.new_mails() if kind == "cancelled"}
    assert cancelled == {f"g{number}@out.example" for number in range(1, len(ODD_KEYS), 2)}
    assert len(firm.held()) == len(ODD_KEYS[::2]) + 1
