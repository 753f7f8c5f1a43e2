"""Files as a source, read by DuckDB: whole nights from CSV, Parquet and JSON, and files that are
missing, half written, or guessed at.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa

from flows.sandbox.server import SandboxServer
from flows.sources import files
from flows.sources.files import check_types
from flows.sources.selects import Query
from schemas.errors import ConfigurationError
from tests.firm import EVENT_COLUMNS, GUEST_COLUMNS, Firm

READ = {
    "csv": "read_csv('in/{}.csv', all_varchar = true, header = true, delim = ',')",
    "parquet": "'in/{}.parquet'",
    "json": "read_json('in/{}.json', columns = {})",
}


class Office(Firm):
    """A firm whose room bookings come as files. `form`: csv, parquet or json."""

    form = "csv"

    def write(self) -> None:
        (self.folder / "in").mkdir(exist_ok=True)
        events, guests = [], []
        for key, meeting in self.meetings["rooms"].items():
            start = meeting["start"]
            end = start.replace(minute=59, second=59)
            row = {
                "source_event_id": key,
                "name": meeting["name"],
                "starts_at": start.isoformat(),
                "ends_at": end.isoformat(),
            }
            row |= {
                "site_key": meeting["site"],
                "host_email": meeting["host"],
                "status": meeting["status"],
            }
            events.append([row.get(name) for name in EVENT_COLUMNS])
            for guest, who in meeting["guests"].items():
                person = {
                    "source_event_id": key,
                    "guest_id": guest,
                    "email": who,
                    "first_name": "F",
                    "last_name": guest.upper(),
                }
                guests.append([person.get(name) for name in GUEST_COLUMNS])
        for name, rows, columns in (
            ("events", events, EVENT_COLUMNS),
            ("guests", guests, GUEST_COLUMNS),
        ):
            frame = pd.DataFrame(rows, columns=columns, dtype="str")
            path = self.folder / "in" / f"{name}.{self.form}"
            if self.form == "csv":
                frame.to_csv(path, index=False)
            elif self.form == "parquet":
                frame.to_parquet(path)
            else:
                path.write_text(
                    json.dumps(frame.astype(object).where(frame.notna(), None).to_dict("records")),
                    encoding="utf-8",
                )
            kinds = "{" + ", ".join(f"{column}: 'VARCHAR'" for column in columns) + "}"
            (self.folder / f"{name}.sql").write_text(
                f"SELECT * FROM {READ[self.form].format(name, kinds)}", encoding="utf-8"
            )


@pytest.fixture
def office(tmp_path: Path, firm_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Office:
    firm_sandbox.clear_faults()
    firm_sandbox.reset()
    monkeypatch.setenv("ESSENTRY_TOKEN", firm_sandbox.token)
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", firm_sandbox.agent_token)
    monkeypatch.setattr(files, "SETTLED_SECONDS", 0.0)
    made = Office(tmp_path, firm_sandbox)
    made.source_settings["rooms"] = {"url": "duckdb://"}
    made.sections["guards"] |= {"max_delete_share": 1.0}
    return made


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_nights_from_files(office: Office, form: str) -> None:
    office.form = form
    office.book("007", "ada", "bob")
    office.book("008", "eve")
    assert office.night().exit_code == 0
    assert office.held() == {
        "rooms-007": {"rooms-007-ada", "rooms-007-bob"},
        "rooms-008": {"rooms-008-eve"},
    }
    office.book("A09", "zoe")  # a column of numbers is one no longer
    office.cancel("008")
    office.new_mails()
    assert office.night().exit_code == 0
    assert sorted((kind, event) for kind, event, _, _ in office.new_mails()) == [
        ("cancelled", "rooms-008"),
        ("invited", "rooms-A09"),
    ]


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
@pytest.mark.parametrize("name", ["events", "guests"])
def test_a_missing_file_is_a_failed_source(
    office: Office, form: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.form = form
    office.book("a", "ada")
    office.night()
    before, _ = office.held(), office.new_mails()
    office.write()
    (office.folder / "in" / f"{name}.{form}").unlink()
    monkeypatch.setattr(office, "write", lambda: None)
    result = office.night()
    assert (result.exit_code, office.new_mails(), office.held()) == (5, [], before)
    assert "No files found" in result.report["error"]


@pytest.mark.parametrize(("form", "share"), [("csv", 0.8), ("parquet", 0.5), ("json", 0.7)])
def test_a_file_that_is_half_there_is_a_failed_source(
    office: Office, form: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.form = form
    for key in "abcdefgh":
        office.book(key, f"g{key}")
    office.night()
    before, _ = office.held(), office.new_mails()
    office.write()
    path = office.folder / "in" / f"events.{form}"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    monkeypatch.setattr(office, "write", lambda: None)
    result = office.night()
    assert (result.exit_code, office.new_mails(), office.held()) == (5, [], before)


def test_a_file_that_is_written_while_it_is_read_is_a_failed_source(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.book("a", "ada")
    office.night()
    before, _ = office.held(), office.new_mails()
    look, looks = files._look, []

    def write_more(*arguments):
        looks.append(1)
        if len(looks) == 2:
            with (office.folder / "in" / "guests.csv").open("a") as file:
                file.write("a,late,late@out.example,F,L,,,,,\n")
        return look(*arguments)

    monkeypatch.setattr(files, "_look", write_more)
    result = office.night()
    assert (result.exit_code, office.new_mails(), office.held()) == (5, [], before)
    assert "guests.csv was changed while it was read" in result.report["error"]


def test_a_file_that_has_just_changed_is_waited_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(files, "SETTLED_SECONDS", 3600.0)
    monkeypatch.setattr(files.time, "sleep", waited.append)
    office.book("a", "ada")
    assert office.night().exit_code == 0
    assert waited
    assert 0 < waited[0] <= 3600


def test_a_database_file_of_duckdb(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.source_settings["rooms"] = {"url": "duckdb:///in/rooms.duckdb"}
    office.book("a", "ada")
    office.write()
    with duckdb.connect(str(office.folder / "in" / "rooms.duckdb")) as database:
        for name in ("events", "guests"):
            database.execute(
                f"CREATE TABLE {name} AS SELECT * FROM read_csv('{office.folder}/in/{name}.csv', "
                "all_varchar = true)"
            )
            (office.folder / f"{name}.sql").write_text(f"SELECT * FROM {name}")
    monkeypatch.setattr(office, "write", lambda: None)
    assert office.night().exit_code == 0
    assert office.held() == {"rooms-a": {"rooms-a-ada"}}
    (office.folder / "in" / "rooms.duckdb").unlink()
    assert (office.night().exit_code, set(office.held())) == (5, {"rooms-a"})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('a.csv')",
        "SELECT * FROM read_csv_auto('a.csv', header = true)",
        "SELECT * FROM 'a.csv'",
        "SELECT * FROM read_csv('a.csv', all_varchar = true) a JOIN 'b.TSV.gz' b USING (k)",
        (
            "SELECT * FROM read_csv('a.csv', all_varchar = true) a JOIN read_csv('b(1).csv') b "
            "USING (k)"
        ),
        "SELECT * FROM read_xlsx('a.xlsx')",
        "SELECT * FROM read_csv('a.csv', types = {'starts': 'VARCHAR'})",
        "SELECT * FROM read_json('a.json')",
        "SELECT * FROM read_ndjson_auto('a.ndjson')",
        "SELECT * FROM 'a.jsonl'",
        "SELECT * FROM read_csv('a.csv' /* all_varchar = true */)",
    ],
)
def test_types_are_never_guessed(sql: str) -> None:
    with pytest.raises(ConfigurationError, match="all_varchar = true"):
        check_types(_query(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('a.csv', all_varchar = true)",
        "SELECT * FROM read_csv('it''s (1).csv', header = true, ALL_VARCHAR=TRUE)",
        "SELECT * FROM read_csv('a.csv', columns = {'k': 'VARCHAR'})",
        "SELECT * FROM 'a.parquet' -- FROM 'a.csv'",
        "SELECT * FROM read_json('a.json', columns = {k: 'VARCHAR'})",
        "SELECT key, 'x.csv' AS name FROM bookings",
    ],
)
def test_what_says_its_types_is_read(sql: str) -> None:
    check_types(_query(sql))


def test_a_guessed_file_ends_before_anything_is_sent(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.book("a", "ada")
    office.write()
    (office.folder / "events.sql").write_text("SELECT * FROM 'in/events.csv'")
    monkeypatch.setattr(office, "write", lambda: None)
    result = office.night()
    assert (result.exit_code, office.held(), office.puts()) == (2, {}, 0)
    assert "would guess" in result.report["error"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_xlsx('a.xlsx')",
        "SELECT * FROM read_xlsx('a.xlsx', all_varchar = true, header = true)",
        "SELECT * FROM 'a.XLSX'",
        "SELECT * FROM 'a.xls' x JOIN read_csv('b.csv', all_varchar = true) b USING (k)",
        "SELECT * FROM st_read('a.xlsx', layer = 'Sheet1')",
    ],
)
def test_excel_is_refused_with_what_to_do(sql: str) -> None:
    with pytest.raises(ConfigurationError, match="save the sheet as CSV"):
        check_types(_query(sql))


def test_excel_ends_before_anything_is_sent_and_its_remedy_is_a_night(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.book("007", "ada")
    office.write()
    monkeypatch.setattr(office, "write", lambda: None)
    whole = (office.folder / "events.sql").read_text()
    (office.folder / "events.sql").write_text(
        "SELECT * FROM read_xlsx('in/events.xlsx', all_varchar = true)"
    )
    result = office.night()
    assert (result.exit_code, office.held(), office.puts()) == (2, {}, 0)
    assert "save the sheet as CSV" in result.report["error"]
    # which is read_csv('in/events.csv', all_varchar = true)
    (office.folder / "events.sql").write_text(whole)
    assert (office.night().exit_code, office.held()) == (0, {"rooms-007": {"rooms-007-ada"}})


def _query(sql: str) -> Query:
    return Query("events", sql, sa.text(sql.replace(":", "\\:")), {}, Path("events.sql"))
