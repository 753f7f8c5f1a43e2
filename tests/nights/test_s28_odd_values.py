"""S25, S28: one odd value of any column costs its row, and never the night, the report or the
state; what is unreadable is never "no".
"""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.night.session import open_state
from flows.operations.forget import forget_person
from flows.sandbox.server import SandboxServer
from tests.firm import EVENT_COLUMNS, GUEST_COLUMNS, NOW, Firm
from tests.sources.databases import database

WALL = (NOW + timedelta(days=30)).strftime("%Y-%m-%d 10:00:00")
DAY = WALL[:10]
ODD: list[Any] = [
    None, "", " ", "\x00", "a\x00b", "\x01", "\x1b[31m", "\u200b", "\ufffd", "\u202e", "🚪" * 200,
    "x" * 400, "'", '"', "<b>&amp;</b>", "=1+1",
    b"\xe9", b"\x01", -1, 1.5, 2**63 - 1, float("inf"), "nan", "1e400", "0001-01-01 00:00:00",
    "9999-12-31 23:59:59", "2099-12-31 00:00:00",
    f"{DAY} 10:00:00+01", f"{DAY}T10:00:00+0100", f"{DAY} 10:00:00+99:99", f"{DAY} 24:00:00",
    f"{DAY} 10:00:00.123456789123", f"{DAY}T10Z", DAY,
    "0000-00-00 00:00:00", "now", "today", "NaT", "99999999999", "-99999999999",
    "[" * 5000 + "]" * 5000, '[{"partitionId": 1e400, "sourceId": 1}]',
    "a@b.example; c@d.example", "Ada <ada@b.example>", "PRIVATE", "perhaps",
]  # fmt: skip
TIMES = {
    "rooms": {"times": "utc"},
    "hr": {"times": "local", "timezone": "America/New_York"},
    "booking": {"times": "epoch"},
}


class OddFirm(Firm):
    """A firm with an odd meeting for each column and value; some hold bytes that are no text where
    SQLite expects text.
    """

    def write(self) -> None:
        super().write()
        for source in self.meetings:
            with sqlite3.connect(self.folder / f"{source}.sqlite") as connection:
                for table, columns in (("events", EVENT_COLUMNS), ("guests", GUEST_COLUMNS)):
                    for column in columns:
                        broken = (
                            f"UPDATE {table} SET {column} = CAST(x'436166E9' AS TEXT) WHERE "
                            "source_event_id = ?"
                        )
                        connection.execute(broken, [f"bytes-{table}-{column}"])
            connection.close()


def fill(firm: Firm) -> None:
    """The odd meetings, and good ones among them."""
    for source, settings in TIMES.items():
        firm.source_settings[source] = settings
        times = {"start": WALL, "end": WALL.replace(" 10:", " 11:")}
        if settings["times"] == "epoch":
            at = int((NOW + timedelta(days=30)).timestamp())
            times = {"start": str(at), "end": str(at + 3600)}
        firm.book("good", "bob", source=source, **times)
        for table, columns in (("events", EVENT_COLUMNS), ("guests", GUEST_COLUMNS)):
            for column in columns:
                firm.book(f"bytes-{table}-{column}", source=source, **times)
                for number, value in enumerate(ODD):
                    meeting = firm.book(f"{table}-{column}-{number}", source=source, **times)
                    if table == "events":
                        meeting[column] = value
                    else:
                        meeting["guests"]["odd"] = {"email": "odd@out.example", column: value}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_s28_every_odd_value_of_every_column_costs_its_row_alone(
    tmp_path: Path, firm_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    firm_sandbox.clear_faults()
    firm_sandbox.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", firm_sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", firm_sandbox.agent_token)
    firm = OddFirm(
        tmp_path,
        firm_sandbox,
        sources=tuple(TIMES),
        **dict.fromkeys(("max_new_invitations", "max_people_mailed"), 100_000),
    )
    firm.sections["guards"] |= {"max_mails_per_guest": 100_000, "max_quarantine_share": 1}
    with database(kind, tmp_path) as engine:
        if kind == "postgresql":
            url = engine.url.set(drivername="postgresql+psycopg").render_as_string(
                hide_password=False
            )
            firm.sections["state"] = {"url": url}
        fill(firm)
        first = firm.night()
        assert first.exit_code in (0, 3), first.report["verdict"]
        assert first.report["balance"]["rows_balanced"]
        assert first.report["balance"]["snapshot_balanced"]
        assert set(first.report["outcomes"]) == {"confirmed"}  # essentry's shapes refuse none
        held = firm.held()
        assert {f"{source}-good" for source in TIMES} <= set(held)
        firm.new_mails()
        second = firm.night()
        assert second.exit_code in (0, 3), second.report["verdict"]
        assert (firm.new_mails(), firm.held()) == ([], held)
        with open_state(firm.config) as state:
            forget_person(firm.config, state, "odd@out.example")
        assert all(
            (second.folder / name).exists() for name in ("report.html", "report.json", "report.md")
        )


# -- single kinds, by what became of them ----------------------------------------------------------


def checks(firm: Firm) -> dict[str, int]:
    return {row["check"]: row["rows"] for row in firm.night().report["quarantined"]}


def test_s25_flags_are_read_by_their_words_and_an_unknown_one_is_never_a_no(firm: Firm) -> None:
    words: dict[str, tuple[list[Any], str | None]] = {
        "secret": (
            [
                1,
                "1",
                "true",
                "T",
                "yes",
                "ja",
                "oui",
                "PRIVATE",
                "Confidential",
                "privat",
                b"\x01",
                2,
                "3",
                "-1",
                1.0,
                "x",
            ],
            "Private meeting",
        ),
        "open": (
            [0, "0", "false", "n", "nein", "PUBLIC", "normal", b"\x00", None, "", 0.0],
            "Title",
        ),
        "unknown": (["perhaps", "?", "2 of 3", "\ufffd", "nan", "inf"], None),
    }
    for kind, (values, _) in words.items():
        for number, value in enumerate(values):
            firm.book(f"{kind}{number}", private=value, name="Title")
    assert checks(firm) == {"private_flag": len(words["unknown"][0])}
    told = {
        key.removeprefix("rooms-"): event["name"]
        for key, event in firm.sandbox.state()["events"].items()
    }
    assert told == {
        f"{kind}{n}": title
        for kind, (values, title) in words.items()
        if title
        for n in range(len(values))
    }


def test_s25_an_unknown_status_or_flag_of_a_guest_holds_what_is_confirmed(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.meetings["rooms"]["m"]["status"] = "Storniert?"
    firm.meetings["rooms"]["n"]["guests"]["bob"] = {
        "email": "bob@out.example",
        "internal": "perhaps",
    }
    assert checks(firm) == {"status": 1, "internal_flag": 1}
    assert (firm.held(), firm.new_mails()) == (held, [])


def test_s28_a_visit_longer_than_the_longest_is_no_visit(firm: Firm) -> None:
    firm.book("week", end=NOW + timedelta(days=37))
    firm.book("sentinel", end="2199-12-31 00:00:00")
    firm.book("none", end="9999-12-31 23:59:59")
    firm.book("never", start="0001-01-01 00:00:00", end=NOW + timedelta(days=1))
    assert checks(firm) == {"length": 1, "end": 1, "start": 1}
    assert set(firm.held()) == {"rooms-week"}
    firm.sections["window"] = {"longest_hours": 100}
    assert checks(firm)["length"] == 2
    assert set(firm.held()) == {"rooms-week"}  # held as it is confirmed


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (f"{DAY} 10:00:00+01", f"{DAY}T09:00:00Z"),
        (f"{DAY}T10:00:00+0100", f"{DAY}T09:00:00Z"),
        (f"{DAY} 10:00:00", f"{DAY}T15:00:00Z"),
        (f"{DAY} 10:00:00-05", f"{DAY}T15:00:00Z"),
        (f"{DAY} 10:00", f"{DAY}T15:00:00Z"),
        (f"{DAY} 24:00:00", None),
        (f"{DAY} 10:00:00+99", None),
        ("now", None),
    ],
)
def test_s28_wall_clock_times_with_and_without_offsets_stand_beside_each_other(
    start: str, expected: str | None
) -> None:
    import pandas as pd

    from transforms.validate.times import read_instants

    values = pd.Series(
        [start, f"{DAY} 12:00:00", f"{DAY} 12:00:00+02", "9999-12-31 23:59:59"], dtype="str"
    )
    zones = pd.Series(["America/New_York"] * len(values), dtype="str")
    at = read_instants(values, times="local", zones=zones).at
    assert at.notna().tolist() == [expected is not None, True, True, False]
    assert expected is None or at[0] == pd.Timestamp(expected)


def test_s28_two_addresses_in_one_field_are_none_and_neither_is_told(firm: Firm) -> None:
    fields = [
        "ada@one.example; bob@two.example",
        "ada@one.example,bob@two.example",
        "Ada <ada@one.example> Bob <bob@two.example>",
        "ada@one.example/bob@two",
    ]
    for number, field in enumerate(fields):
        firm.book(f"g{number}", guests={"x": field})
        firm.book(f"h{number}", host=field)
    result = firm.night()
    assert {row["check"]: row["rows"] for row in result.report["quarantined"]} == {
        "guest_address": 4,
        "host_address": 4,
    }
    for file in result.folder.iterdir():
        text = file.read_bytes()
        assert [name for name in (b"ada@", b"bob@") if name in text] == [], file.name


@pytest.mark.parametrize("forgotten", ["ada@one.example", "bob@two.example"])
def test_s18_either_of_two_addresses_in_one_field_is_forgotten(firm: Firm, forgotten: str) -> None:
    firm.book("g", guests={"x": "ada@one.example; bob@two.example"})
    firm.book("h", host="Ada <ada@one.example> Bob <bob@two.example>")
    firm.night()
    with open_state(firm.config) as state:
        forget_person(firm.config, state, forgotten)
    with sqlite3.connect(firm.folder / "state.sqlite") as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall()
        cells = str(
            [connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables]
        )
    connection.close()
    assert forgotten not in cells
    assert all(
        forgotten.encode() not in file.read_bytes() for file in firm.folder.rglob("report.*")
    )


BITS = [
    ("mariadb", "bit(1)", "b'1'", "b'0'"),
    ("mariadb", "tinyint(1)", "1", "0"),
    ("mariadb", "enum('no','yes')", "'yes'", "'no'"),
    ("postgresql", "bit(1)", "B'1'", "B'0'"),
    ("postgresql", "boolean", "true", "false"),
    ("sqlite", "boolean", "1", "0"),
]


@pytest.mark.parametrize(
    ("kind", "column", "yes", "no"), BITS, ids=[f"{b[0]}-{b[1]}" for b in BITS]
)
def test_s25_a_flag_of_a_database_s_own_type_is_read_as_what_it_is(
    firm: Firm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    column: str,
    yes: str,
    no: str,
) -> None:
    """A secret title is not sent, an employee is no guest, and a host who has left is told."""
    with database(kind, tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE e (k varchar(9), secret {column}, gone {column})"
            )
            rows = (("s", yes, no), ("o", no, no), ("l", no, yes))
            for key, secret, gone in rows:
                connection.exec_driver_sql(f"INSERT INTO e VALUES ('{key}', {secret}, {gone})")
        (firm.folder / "bits.sql").write_text(
            f"SELECT k AS source_event_id, 'Title' AS name, '{WALL}' AS starts_at, "
            "'1' AS site_key, 'host@corp.example' AS host_email, secret AS private, "
            f"CASE WHEN gone = {yes} THEN 'no' ELSE 'yes' END AS host_active FROM e"
        )
        (firm.folder / "people.sql").write_text(
            "SELECT k AS source_event_id, 'g' AS guest_id, 'g@out.example' AS email, "
            "gone AS internal FROM e"
        )
        monkeypatch.setenv("BITS_URL", engine.url.render_as_string(hide_password=False))
        firm.source_settings["rooms"] = {
            "url": None,
            "url_env": "BITS_URL",
            "events_sql": "bits.sql",
            "guests_sql": "people.sql",
        }
        result = firm.night()
    assert {row["check"]: row["rows"] for row in result.report["quarantined"]} == {"host_active": 1}
    told = {key: event["name"] for key, event in firm.sandbox.state()["events"].items()}
    assert told == {"rooms-s": "Private meeting", "rooms-o": "Title"}
