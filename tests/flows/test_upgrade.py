"""What an upgrade meets: a fingerprint of a new version, and state stores of every released
form.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from xxhash import xxh3_128_hexdigest

from flows.night import close
from flows.night.session import open_state
from flows.state import store as state
from tests.sources.databases import database
from transforms.desired import payload
from transforms.diff import comparison as diff

RELEASED = {"0001"}
"""Forms of the state store that a release has had; each has a dump under tests/stored."""
STORED = sorted((Path(__file__).parents[1] / "stored").glob("state_*.sql"))


def test_new_fingerprint_version_is_taken_over_without_sending_anything(company, monkeypatch):
    company.write({"1": ["ada@out.example"], "2": ["bob@out.example"]})
    assert company.night().report["counts"]["create"] == 2
    puts, mails = company.sandbox.requests()["puts"], len(company.sandbox.mails())

    for module in (payload, diff, close):
        monkeypatch.setattr(module, "FINGERPRINT_VERSION", 2)
    monkeypatch.setattr(
        payload, "xxh3_128_hexdigest", lambda text: xxh3_128_hexdigest(b"second form" + bytes(text))
    )
    assert company.night().report["counts"]["unchanged"] == 2
    with open_state(company.config()) as state:
        rows = state.read_fingerprints()
        payloads = state.read_payloads(rows["source_id"].tolist())
    assert rows["fingerprint_version"].tolist() == [2, 2]
    assert rows["fingerprint"].tolist() == [
        payload.fingerprint(payloads[key]) for key in rows["source_id"]
    ]

    compared: list[str] = []
    compare = diff.Comparison._update

    def note(self, event, *contents):
        compared.append(event.source_id)
        return compare(self, event, *contents)

    monkeypatch.setattr(diff.Comparison, "_update", note)
    assert company.night().report["counts"]["unchanged"] == 2
    assert compared == []  # by fingerprints alone, as every night
    assert (company.sandbox.requests()["puts"], len(company.sandbox.mails())) == (puts, mails)

    company.write({"1": ["ada@out.example", "cyd@out.example"], "2": ["bob@out.example"]})
    company.night()
    assert compared == ["rooms-1"]
    assert company.held()["1"] == ["ada@out.example", "cyd@out.example"]


def test_every_released_form_is_stored_with_data():
    versions = Path(state.__file__).parent / "migrations" / "versions"
    forms = {path.name[:4] for path in versions.glob("[0-9]*.py")}
    assert {path.stem.removeprefix("state_") for path in STORED} >= RELEASED
    assert forms >= RELEASED


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("dump", STORED, ids=lambda path: path.stem)
def test_stored_state_of_an_old_form_is_brought_forward_and_used(dump, kind, company):
    """Two nights of an older release; the second left unanswered requests, which are the only ones
    sent again.
    """
    with sqlite3.connect(company.folder / "state.sqlite") as old:
        old.executescript(dump.read_text(encoding="utf-8"))
    old.close()
    company.now = datetime(2026, 11, 25, 1, tzinfo=UTC)
    meetings = {
        "1": ["ada@out.example"],
        "2": ["bob@out.example", "cyd@out.example", "fay@out.example"],
        "3": ["dan@out.example"],
    }
    company.write(meetings, days=59)
    with database(kind, company.folder) as engine:
        if kind == "postgresql":
            copy_old_form(company.folder / "state.sqlite", engine, dump.stem.removeprefix("state_"))
            url = engine.url.set(drivername="postgresql+psycopg").render_as_string(
                hide_password=False
            )
            company.path.write_text(company.path.read_text().replace("sqlite:///state.sqlite", url))
        numbers = guest_numbers(company)
        assert company.night().exit_code == 0
        # the unanswered update, and the unanswered delete
        assert company.sandbox.requests()["events"] == 2
        assert company.held() == {"2": meetings["2"]}
        now_known = guest_numbers(company)  # by address and name besides, under the same numbers
        assert numbers <= now_known
        assert {number for _, number in now_known} == {number for _, number in numbers}
        assert company.night().report["counts"]["unchanged"] == 3
        assert company.sandbox.requests()["events"] == 2


def copy_old_form(file: Path, engine: sa.Engine, form: str) -> None:
    """The rows of an old SQLite state in a PostgreSQL store of the same form."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(state.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, form)
    described = sa.MetaData()
    described.reflect(engine)
    with sqlite3.connect(file) as old, engine.begin() as connection:
        old.row_factory = sqlite3.Row
        for table in described.sorted_tables:
            flags = [column.name for column in table.columns if isinstance(column.type, sa.Boolean)]
            rows = [dict(row) for row in old.execute(f'SELECT * FROM "{table.name}"')]
            rows = [
                row | {flag: None if row[flag] is None else bool(row[flag]) for flag in flags}
                for row in rows
            ]
            if rows and table.name != "alembic_version":
                connection.execute(table.insert(), rows)
    old.close()


def guest_numbers(company) -> set[tuple[str, int]]:
    with open_state(company.config()) as store, store._read() as connection:
        return {
            tuple(row)
            for row in connection.exec_driver_sql("SELECT key_digest, number FROM guest_keys")
        }
