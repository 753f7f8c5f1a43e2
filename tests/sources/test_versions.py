"""Which version a database says it is, on the systems' own tables, and what `doctor` says of one
that no preset knows.

Where the versions stand: LibreBooking's database_schema/upgrades/*/data.sql, MRBS's tables.my.sql
and tables.pg.sql, OrangeHRM's installer/Util/ConfigHelper.php and SchemaIncrementTask77 of 4.8,
Frappe's doctype Installed Application, Odoo's ir.module.module.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from flows.operations.doctor import examine
from flows.sources.presets import preset_folder
from schemas.config import Config
from tests.sources.databases import MARIADB, create_tables, database, insert_rows
from tests.sources.test_presets import ENGINES, SYSTEMS

Rows = list[dict[str, Any]]
UPGRADES = ("2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "3.1", "4.0")
COLUMNS = {
    "dbversion": (
        "version_number double unsigned NOT NULL DEFAULT 0, version_date timestamp NOT NULL "
        "DEFAULT CURRENT_TIMESTAMP"
    ),
    "mrbs_variables": (
        "id int NOT NULL, variable_name varchar(80) {c}, variable_content text {c}, "
        "PRIMARY KEY (id)"
    ),
    "hs_hr_config": (
        "`key` varchar(100) {c} NOT NULL DEFAULT '', `value` varchar(512) {c} NOT NULL DEFAULT '', "
        "PRIMARY KEY (`key`)"
    ),
    "tabInstalled Application": (
        "name varchar(140) {c} NOT NULL, parent varchar(140) {c}, app_name varchar(140) {c}, "
        "app_version varchar(140) {c}, git_branch varchar(140) {c}, PRIMARY KEY (name)"
    ),
    "ir_module_module": (
        "id integer NOT NULL, name varchar NOT NULL, state varchar(16), latest_version varchar, "
        "PRIMARY KEY (id)"
    ),
}
TABLE = dict(
    zip(("librebooking", "mrbs", "orangehrm", "frappe_hrms", "odoo"), COLUMNS, strict=True)
)
# what the database of each version in the tests holds, and what of it is told
SAID = {
    "librebooking": {"2.7": "2.7", "2.9": "2.9", "4": "4.0", "by a host of one's own": "2.8"},
    "mrbs": {
        "1.9.4": "81", "1.11": "82", "1.12": "82", "current": "82", "upgraded from 1.4": "82",
        "by a host of one's own": "77",
    },
    "orangehrm": {"4.2": None, "5.0": "5.0", "5.7": "5.7.0", "by a host of one's own": "4.10.1",
        "converted": "5.0-beta"},
    "frappe_hrms": {"14": "14.0.3", "15.0": "15.0.0", "15.7": "15.33.0", "16": "16.0.0-dev",
        "16, upgraded": "16.1.2"},
    "odoo": {"15": "15.0.1.3", "16": "16.0.1.3", "17": "saas~17.2.1.3", "18": "18.0.1.3"},
}  # fmt: skip
TITLES = {
    "librebooking": "LibreBooking", "mrbs": "MRBS", "orangehrm": "OrangeHRM",
    "frappe_hrms": "Frappe HRMS", "odoo": "Odoo",
}  # fmt: skip
RELEASES = {"77": "MRBS 1.9.1 and 1.9.2", "81": "MRBS 1.9.3 and 1.9.4", "82": "MRBS 1.10 to 1.12"}


def write_version(
    engine: Engine, system: str, said: str | None, *, charset: str = "utf8mb4"
) -> None:
    """The system's table with its version in it, as its own code writes it; None: with all but the
    version.
    """
    rows: Rows
    columns = COLUMNS[TABLE[system]]
    if system == "librebooking":
        steps = [step for step in UPGRADES if said and float(step) < float(said)]
        rows = [{"version_number": step} for step in [*steps, *([said] if said else [])]]
    elif system == "mrbs":
        rows = [{"id": 2, "variable_name": "local_db_version", "variable_content": "1"}]
        rows += [{"id": 1, "variable_name": "db_version", "variable_content": said}] if said else []
    elif system == "orangehrm":
        key = "name" if (said or "4")[0] != "4" else "key"
        columns = columns.replace("`key` v", f"`{key}` v").replace("(`key`)", f"(`{key}`)")
        rows = [{key: "admin.localization.default_language", "value": "en_US"}]
        rows += [{key: "instance.version", "value": said}] if said else []
    elif system == "frappe_hrms":
        apps = {"frappe": "15.50.1", "erpnext": "15.41.2"} | ({"hrms": said} if said else {})
        rows = [
            {
                "name": f"x{app}",
                "parent": "Installed Applications",
                "app_name": app,
                "app_version": v,
            }
            for app, v in apps.items()
        ]
    else:
        rows = [{"id": 1, "name": "base", "state": "installed", "latest_version": said}]
        rows += [{"id": 2, "name": "calendar", "state": "installed", "latest_version": "1.1"}]
    create_tables(engine, {TABLE[system]: columns}, charset=charset)
    insert_rows(engine, {TABLE[system]: rows})


def doctor(engine: Engine, system: str, folder: Path, **settings: Any) -> list[tuple[bool, str]]:
    """What `doctor` says of the source, essentry aside."""
    url = engine.url.render_as_string(hide_password=False)
    source = {**SYSTEMS[system].CONFIG, "url": url, **settings}
    config = Config(
        root=folder, sources={"sys": source}, essentry={"base_url": "http://127.0.0.1:9/api/v2"}
    )
    return [
        (line.fine, line.text) for line in examine(config) if line.text.startswith("source sys:")
    ]


def told(system: str, said: str) -> str:
    """LibreBooking's column is a number: 4.0 is 4."""
    return f"{float(said):g}" if system == "librebooking" else said


def named(lines: list[tuple[bool, str]]) -> str:
    (line,) = [words for fine, words in lines if fine and "the tables are those of" in words]
    return line.partition("; ")[2]


def refused(lines: list[tuple[bool, str]]) -> list[str]:
    return [
        words for fine, words in lines if not fine and "which the preset does not know" in words
    ]


@pytest.mark.parametrize(("system", "kind", "version"), ENGINES)
def test_doctor_names_the_version_on_each_real_schema(system, kind, version, tmp_path) -> None:
    module, said = SYSTEMS[system], SAID[system][version]
    charset = module.VERSIONS[version][1]
    with database(kind, tmp_path, charset=charset) as engine:
        module.create_schema(engine, version=version)
        write_version(engine, system, said, charset=charset)
        lines = doctor(engine, system, tmp_path)
        release = f" ({RELEASES[said]})" if system == "mrbs" and said else ""
        expected = (
            f"the database says {told(system, said)}{release}"
            if said
            else "the database does not say its version"
        )
        assert named(lines) == expected
        assert refused(lines) == []


UNKNOWN = [
    ("librebooking", "mariadb", "2.6"), ("librebooking", "mariadb", "5.0"),
    ("librebooking", "mariadb", "6.1"),
    ("mrbs", "mariadb", "76"), ("mrbs", "mariadb", "83"), ("mrbs", "postgresql", "100"),
    ("orangehrm", "mariadb", "4.1"), ("orangehrm", "mariadb", "5.8.0"),
    ("orangehrm", "mariadb", "6.0"),
    ("frappe_hrms", "mariadb", "13.9"), ("frappe_hrms", "mariadb", "17.0.0-dev"),
    ("odoo", "postgresql", "14.0.1.3"), ("odoo", "postgresql", "19.0.1.3"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "kind", "said"), UNKNOWN)
def test_a_version_that_no_preset_knows_is_refused(system, kind, said, tmp_path) -> None:
    with database(kind, tmp_path) as engine:
        SYSTEMS[system].create_schema(engine)
        write_version(engine, system, said)
        (words,) = refused(doctor(engine, system, tmp_path))
        assert f"says {TITLES[system]} {told(system, said)}" in words
        assert "events_sql and guests_sql in place of preset, with times = " in words


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("system", "kind", "version"), [row for row in ENGINES if row[2] == SYSTEMS[row[0]].NEWEST]
)
@pytest.mark.parametrize("said", [None, "UNVERSIONED", "", "see a@b.example"])
def test_what_names_no_version_is_no_version(system, kind, version, said, tmp_path) -> None:
    if said is not None and system == "librebooking":
        pytest.skip("its column is a number")
    with database(kind, tmp_path) as engine:
        SYSTEMS[system].create_schema(engine, version=version)
        write_version(engine, system, said)
        lines = doctor(engine, system, tmp_path)
        assert (named(lines), refused(lines)) == ("the database does not say its version", [])


@pytest.mark.parametrize(
    ("system", "kind", "version"), [row for row in ENGINES if row[2] == SYSTEMS[row[0]].NEWEST]
)
def test_a_table_that_may_not_be_read_is_named(system, kind, version, tmp_path) -> None:
    with database(kind, tmp_path) as engine:
        SYSTEMS[system].create_schema(engine, version=version)
        lines = doctor(engine, system, tmp_path)
        assert (named(lines), refused(lines)) == (
            f"without SELECT on {TABLE[system]} its version is not known",
            [],
        )


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """A LibreBooking of today, and it as an account sees it that may read all but the version."""
    with database("mariadb", tmp_path) as engine:
        module = SYSTEMS["librebooking"]
        module.create_schema(engine)
        write_version(engine, "librebooking", "4.0")
        account = f"r{engine.url.database}"[:30]
        server = engine.url.database
        with engine.begin() as connection:
            connection.execute(text(f"CREATE USER '{account}'@'%'"))
            for table in module.TABLES:
                connection.execute(text(f"GRANT SELECT ON {server}.{table} TO '{account}'@'%'"))
        try:
            other = create_engine(make_url(f"{MARIADB}/{server}").set(username=account))
            yield engine, other
            other.dispose()
        finally:
            with engine.begin() as connection:
                connection.execute(text(f"DROP USER '{account}'@'%'"))


def test_an_account_without_the_grant_reads_no_version_and_all_else(
    reader: tuple[Engine, Engine], tmp_path: Path
) -> None:
    _, account = reader
    lines = doctor(account, "librebooking", tmp_path)
    assert named(lines) == "without SELECT on dbversion its version is not known"
    assert [
        words
        for fine, words in lines
        if not fine and "mapped" not in words and "names what" not in words
    ] == []


def test_mrbs_with_a_prefix_of_its_own(tmp_path: Path) -> None:
    with database("mariadb", tmp_path) as engine:
        module = SYSTEMS["mrbs"]
        module.create_schema(engine)
        write_version(engine, "mrbs", "83")
        with engine.begin() as connection:
            for table in [*module.TABLES, "mrbs_variables"]:
                connection.execute(
                    text(f"RENAME TABLE {table} TO book_{table.removeprefix('mrbs_')}")
                )
        lines = doctor(engine, "mrbs", tmp_path, params={"table_prefix": "book_"})
        assert named(lines) == "the database says 83"
        assert len(refused(lines)) == 1


def test_the_remedy_ends_the_refusal(tmp_path: Path) -> None:
    """Own copies of the SELECTs in place of the preset, with the settings that the refusal
    names.
    """
    with database("mariadb", tmp_path) as engine:
        SYSTEMS["orangehrm"].create_schema(engine, version="5.7")
        write_version(engine, "orangehrm", "5.8.0")
        (words,) = refused(doctor(engine, "orangehrm", tmp_path))
        assert words.endswith('in place of preset, with times = "local"')
        for part in ("events", "guests"):
            shutil.copy(preset_folder("orangehrm") / f"{part}.sql", tmp_path / f"{part}.sql")
        own = {
            "preset": None,
            "events_sql": "events.sql",
            "guests_sql": "guests.sql",
            "times": "local",
        }
        lines = doctor(engine, "orangehrm", tmp_path, **own)
        assert [line for line in lines if not line[0]] == []
