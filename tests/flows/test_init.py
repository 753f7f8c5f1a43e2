"""The first configuration: what it lists, what it says until it is filled in, and what it never
holds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from flows.commands.main import app
from flows.operations.init import FILL_IN, write_config
from schemas.errors import ConfigurationError, SourceError
from schemas.load_config import load_config
from tests.sources import frappe_hrms, librebooking, mrbs, orangehrm
from tests.sources.databases import MARIADB, database

SYSTEMS: dict[str, ModuleType] = {
    "librebooking": librebooking,
    "mrbs": mrbs,
    "orangehrm": orangehrm,
    "frappe_hrms": frappe_hrms,
}
TODAY = datetime(2026, 3, 2, tzinfo=UTC)


def fill_in(file: Path) -> None:
    """What a user does: an address for each site, a zone."""
    text = file.read_text(encoding="utf-8")
    text = re.sub(
        rf'"{FILL_IN}: [^\n]*?" }}',
        '"https://x.example/settings/locations/101/entrances/201" }',
        text,
    )
    file.write_text(text.replace(f'"{FILL_IN}"', '"Europe/Berlin"'), encoding="utf-8")


@pytest.fixture(params=SYSTEMS)
def source(request, tmp_path):
    """(preset, URL) of a filled database."""
    module = SYSTEMS[request.param]
    with database("sqlite", tmp_path) as engine:
        module.create_schema(engine)
        module.fill(engine, seed=3, today=TODAY, events=150)
        yield request.param, f"sqlite:///{Path(str(engine.url.database)).name}"


def test_a_new_configuration_names_each_site_that_is_missing(source, tmp_path) -> None:
    preset, url = source
    written = write_config(preset, url, output=tmp_path / "c.toml")
    assert written.sites > 1
    with pytest.raises(ConfigurationError) as caught:
        load_config(written.file)
    assert str(caught.value).count(".location_id: ") == written.sites
    assert str(caught.value).count(f"'{FILL_IN}: ") == written.sites


def test_a_filled_in_configuration_loads(source, tmp_path) -> None:
    preset, url = source
    written = write_config(preset, url, source="mine", output=tmp_path / "c.toml")
    fill_in(written.file)
    config = load_config(written.file)
    assert config.sources["mine"].preset == preset
    assert len(config.sources["mine"].sites) == written.sites
    assert {
        (site.location_id, site.entrance_id) for site in config.sources["mine"].sites.values()
    } == {(101, 201)}
    assert config.sources["mine"].timezone == (
        "Europe/Berlin" if preset in ("orangehrm", "frappe_hrms") else None
    )


def test_rooms_are_listed_as_comments(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        librebooking.create_schema(engine)
        librebooking.fill(engine, seed=3, today=TODAY, events=5)
        written = write_config("librebooking", str(engine.url), output=tmp_path / "c.toml")
    text = written.file.read_text(encoding="utf-8")
    assert written.rooms == 7
    assert '# "12" = { location_id = "" }    # Raum 12, site 1\n' in text
    assert (
        '"3" = { location_id = "fill in: Haus 3", name = "Haus 3" }    # Haus 3, '
        "zone Mars/Olympus\n"
    ) in text


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_the_same_configuration_from_a_server_as_from_sqlite(kind, tmp_path) -> None:
    texts = []
    for name in ("sqlite", kind):
        with database(name, tmp_path) as engine:
            mrbs.create_schema(engine)
            mrbs.fill(engine, seed=3, today=TODAY, events=5)
            url = engine.url.render_as_string(hide_password=False)
            written = write_config("mrbs", url, output=tmp_path / f"{name}.toml")
            texts.append(written.file.read_text(encoding="utf-8").replace(url, ""))
    assert texts[0] == texts[1]
    assert written.rooms > 1


def test_names_cannot_break_out_of_their_line(tmp_path) -> None:
    with database("sqlite", tmp_path) as engine:
        librebooking.create_schema(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO layouts VALUES (1, 'UTC')")
            connection.exec_driver_sql(
                "INSERT INTO schedules VALUES (1, 'A \"B\"\\C' || char(10) || 'base_url = 1', 1)"
            )
            connection.exec_driver_sql(
                "INSERT INTO resources VALUES (1, 'R' || char(13) || 'x = 1', 1)"
            )
        written = write_config("librebooking", str(engine.url), output=tmp_path / "c.toml")
    with pytest.raises(ConfigurationError, match=r"sites\.1\.location_id.*base_url = 1'\)$"):
        load_config(written.file)


def test_a_password_stays_out_of_the_file_and_of_what_is_printed(tmp_path, monkeypatch) -> None:
    with database("mariadb", tmp_path) as engine:
        librebooking.create_schema(engine)
        librebooking.fill(engine, seed=3, today=TODAY, events=5)
        user = f"init_{engine.url.database[-8:]}"
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE USER {user}@'%%' IDENTIFIED BY 'geh/eim9'")
            connection.exec_driver_sql(f"GRANT SELECT ON {engine.url.database}.* TO {user}@'%%'")
        try:
            url = f"mysql+pymysql://{user}:geh%2Feim9@{MARIADB.split('@')[1]}/{engine.url.database}"
            result = CliRunner().invoke(
                app,
                [
                    "init",
                    "--preset",
                    "librebooking",
                    "--url",
                    url,
                    "--source",
                    "rooms",
                    "--output",
                    str(tmp_path / "c.toml"),
                ],
            )
            assert result.exit_code == 0, result.output
        finally:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"DROP USER {user}@'%%'")
    for text in (result.output, (tmp_path / "c.toml").read_text(encoding="utf-8")):
        assert "eim9" not in text
    assert "ROOMS_DATABASE_URL" in result.output
    assert 'url_env = "ROOMS_DATABASE_URL"' in (tmp_path / "c.toml").read_text(encoding="utf-8")


def test_a_file_that_exists_is_left_alone(tmp_path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"c\.toml exists"):
        write_config("mrbs", "sqlite:///x", output=file)
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("preset", "url", "source", "error", "message"),
    [
        ("outlook", "sqlite:///x.sqlite", None, ConfigurationError, "no preset 'outlook'.*mrbs"),
        ("mrbs", "sqlite:///x.sqlite", "My Rooms", ConfigurationError, "source name 'My Rooms'"),
        ("mrbs", "what", None, ConfigurationError, "--url is no usable database URL"),
        ("mrbs", "sqlite:///x.sqlite", None, SourceError, "no database file"),
        (
            "mrbs",
            "sqlite:///other.sqlite",
            None,
            SourceError,
            r"sites\.sql: no such table: mrbs_area: is this a database of mrbs\?",
        ),
    ],
)
def test_what_cannot_be_read_leaves_no_file(preset, url, source, error, message, tmp_path) -> None:
    (tmp_path / "other.sqlite").touch()
    with pytest.raises(error, match=message):
        write_config(preset, url, source=source, output=tmp_path / "c.toml")
    assert not (tmp_path / "c.toml").exists()
