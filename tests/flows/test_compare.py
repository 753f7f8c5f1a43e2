"""Two configurations on one read and one state: who fares otherwise, why, and that nothing is sent
or stored.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.operations.compare import compare_configs, compare_with_plan
from flows.operations.revision import open_revision
from flows.sources import read_together as reading
from flows.state.copy import open_copy
from schemas.errors import ConfigurationError, SourceError
from schemas.load_config import load_config
from tests.command import run
from tests.sources.databases import database
from transforms.report.comparison import dump_comparison, render_lines, render_markdown

JOINED = (
    "SELECT g.* FROM guests g JOIN events e ON e.source_event_id = g.source_event_id AND "
    "g.company_name IS NOT NULL"
)


def differences(comparison) -> dict[str, tuple]:
    return {d.source_id: (d.this.action, d.other.action, d.fields) for d in comparison.differences}


def causes(comparison) -> dict[str, tuple[str, ...]]:
    return {d.source_id: d.causes for d in comparison.differences}


@pytest.fixture
def settled(firm):
    """Three visits that essentry holds; Bob of the second has no company."""
    out = {"company_name": "Out"}
    firm.book("1", guests={"ada": {"email": "ada@out.example", **out}})
    firm.book(
        "2",
        guests={"bob": {"email": "bob@out.example"}, "cyd": {"email": "cyd@out.example", **out}},
    )
    firm.book("3", guests={"dan": {"email": "dan@out.example", **out}}, site="2")
    assert firm.night().exit_code == 0
    return firm


def write(firm, sql: str, file: str = "other_guests.sql") -> str:
    (firm.folder / file).write_text(sql)
    return file


def with_source(firm, **settings):
    firm.source_settings["rooms"] = settings
    return firm.config


def dump_state(firm) -> list:
    with sqlite3.connect(firm.folder / "state.sqlite") as connection:
        return list(connection.iterdump())


def test_an_inner_join_that_drops_a_guest_is_told_with_its_cause_and_nothing_is_sent_or_stored(
    settled,
):
    other = settled.config
    this = with_source(settled, guests_sql=write(settled, JOINED))
    with sqlite3.connect(settled.folder / "state.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = (
        (settled.folder / "state.sqlite").read_bytes(),
        dump_state(settled),
        settled.sandbox.requests(),
        settled.sandbox.mails(),
    )
    files = {path.name for path in settled.folder.rglob("*")} - {
        "state.sqlite-shm",
        "state.sqlite-wal",
    }
    found = compare_configs(this, other, as_of=settled.now)
    assert differences(found) == {"rooms-2": ("update", "nothing", ())}
    assert found.differences[0].list_people("cancelled") == (["bob@out.example"], [])
    assert found.settings == ("sources.rooms.guests_sql: changed",)
    assert causes(found) == {"rooms-2": found.settings}
    assert (
        (settled.folder / "state.sqlite").read_bytes(),
        dump_state(settled),
        settled.sandbox.requests(),
        settled.sandbox.mails(),
    ) == before
    assert {path.name for path in settled.folder.rglob("*")} - {
        "state.sqlite-shm",
        "state.sqlite-wal",
    } == files
    back = compare_configs(other, this, as_of=settled.now)
    assert differences(back) == {"rooms-2": ("nothing", "update", ())}
    assert back.differences[0].list_people("cancelled") == ([], ["bob@out.example"])


def test_each_event_is_given_to_the_setting_that_does_it_alone(settled):
    other = settled.config
    this = with_source(
        settled,
        guests_sql=write(settled, JOINED),
        sites={"1": {"location_id": 11}, "2": {"location_id": 13}},
    )
    found = compare_configs(this, other, as_of=settled.now)
    places = "sources.rooms.sites.2.location_id: 12 → 13"
    assert differences(found) == {
        "rooms-2": ("update", "nothing", ()),
        "rooms-3": ("update", "nothing", ("locationId",)),
    }
    assert causes(found) == {
        "rooms-2": ("sources.rooms.guests_sql: changed",),
        "rooms-3": (places,),
    }


def test_settings_that_do_it_only_together_are_all_named(settled):
    settled.source_settings["rooms"] = {
        "sites": {"1": {"location_id": 11}, "2": {"location_id": 12}}
    }
    settled.book("4", "eve", site="9")
    settled.write()
    other = settled.config
    this = with_source(
        settled,
        sites={"9": {"location_id": 19}, "1": {"location_id": 11}, "2": {"location_id": 12}},
        untitled="Visit",
    )
    settled.book("5", "fay", site="9", name=None)
    settled.write()
    found = compare_configs(this, other, as_of=settled.now)
    assert differences(found)["rooms-4"] == ("create", "nothing", ())
    assert causes(found)["rooms-4"] == ("sources.rooms.sites.9.location_id: – → 19",)
    assert causes(found)["rooms-5"] == (
        "sources.rooms.sites.9.location_id: – → 19",
        "sources.rooms.untitled: Meeting → Visit",
    )
    assert found.list_rejected() == (
        [],
        [
            ("rooms", "events", "4", "site_key", "location"),
            ("rooms", "events", "5", "site_key", "location"),
        ],
    )


def test_what_one_holds_and_quarantines_is_told(settled):
    other = settled.config
    this = with_source(settled, sites={"1": {"location_id": 11}})
    found = compare_configs(this, other, as_of=settled.now)
    assert differences(found) == {"rooms-3": ("held", "nothing", ())}
    assert found.differences[0].this.reason == "quarantined"
    (row,), none = found.list_rejected()
    assert (row[:3], row[4], none) == (("rooms", "events", "3"), "location", [])


def test_the_same_is_the_same_however_it_is_written(settled):
    other = settled.config
    this = with_source(settled, guests_sql=write(settled, "\n  SELECT * FROM guests;\n"))
    found = compare_configs(this, other, as_of=settled.now)
    assert found.same
    assert found.settings == ()
    # a change of the source is no difference between the two
    settled.book("2", "bob", "cyd", name="Another title")
    settled.write()
    assert compare_configs(this, other, as_of=settled.now).same


def test_each_select_is_read_once_and_both_in_one_transaction(settled, monkeypatch):
    read: list[list[str]] = []
    really = reading.read_queries

    def note(name, url, queries, **options):
        read.append([query.part for query in queries])
        return really(name, url, queries, **options)

    monkeypatch.setattr(reading, "read_queries", note)
    compare_configs(settled.config, settled.config, as_of=settled.now)
    other = settled.config
    compare_configs(
        with_source(settled, guests_sql=write(settled, JOINED), untitled="Visit"),
        other,
        as_of=settled.now,
    )
    assert read == [["events", "guests"], ["events", "guests", "guests"]]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_both_see_one_moment_of_a_server(kind, settled, monkeypatch):
    with database(kind, settled.folder) as engine:
        with engine.begin() as connection:
            for table, columns in (
                ("events", "source_event_id, name, starts_at, site_key, host_email"),
                ("guests", "source_event_id, guest_id, email"),
            ):
                connection.exec_driver_sql(
                    f"CREATE TABLE {table} "
                    f"({', '.join(f'{name} varchar(90)' for name in columns.split(', '))})"
                )
            connection.exec_driver_sql(
                "INSERT INTO events VALUES ('1', 'Visit', '2031-01-01 09:00', '1', "
                "'host@corp.example')"
            )
            connection.exec_driver_sql("INSERT INTO guests VALUES ('1', 'ada', 'ada@out.example')")
        url = engine.url.render_as_string(hide_password=False)
        plain = {
            "url": url,
            "events_sql": write(settled, "SELECT * FROM events", "events_there.sql"),
        }
        settled.sections["window"] = {"days_ahead": 3650}
        other = with_source(settled, **plain)
        this = with_source(
            settled, **plain, guests_sql=write(settled, "SELECT * FROM guests WHERE 1 = 1")
        )
        really = reading.to_frame

        def cancel_meanwhile(batches):
            frame = really(batches)
            with engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM guests")
            return frame

        monkeypatch.setattr(reading, "to_frame", cancel_meanwhile)
        found = compare_configs(this, other, as_of=settled.now)
        assert (
            found.this.events["rooms-1"].action == found.other.events["rooms-1"].action == "update"
        )
        assert found.same


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_state_on_a_server_is_only_read(kind, firm):
    with database(kind, firm.folder) as engine:
        firm.sections["state"] = {"url": engine.url.render_as_string(hide_password=False)}
        firm.book("1", guests={"ada": {"email": "ada@out.example", "guest_id": None}})
        assert firm.night().exit_code == 0
        # without a key: a night would give it a number
        firm.book("2", guests={"bob": {"email": "bob@out.example", "guest_id": None}})
        firm.write()
        before = dump_server(engine)
        other = firm.config
        found = compare_configs(
            with_source(firm, untitled="x", sites={"1": {"location_id": 12}}), other, as_of=firm.now
        )
        assert differences(found) == {
            "rooms-1": ("update", "nothing", ("locationId",)),
            "rooms-2": ("create", "create", ("locationId",)),
        }
        assert dump_server(engine) == before


def dump_server(engine: sa.Engine) -> dict[str, list]:
    with engine.connect() as connection:
        names = sorted(sa.inspect(connection).get_table_names())
        return {
            name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}")))
            for name in names
        }


def test_without_a_state_everything_is_new_and_none_is_made(firm):
    firm.book("1", "ada")
    firm.write()
    other = firm.config
    found = compare_configs(
        with_source(firm, guests_sql=write(firm, "SELECT * FROM guests WHERE 1 = 0")),
        other,
        as_of=firm.now,
    )
    assert found.empty
    assert differences(found) == {"rooms-1": ("nothing", "create", ())}
    assert not list(firm.folder.glob("state*"))


def test_what_a_night_refuses_is_refused_with_its_side(settled):
    other = settled.config
    settled.meetings["elsewhere"] = settled.meetings.pop("rooms")
    settled.write()
    with pytest.raises(
        ConfigurationError, match="this configuration: the state holds events of the source 'rooms'"
    ):
        compare_configs(settled.config, other, as_of=settled.now)
    settled.broken.add("elsewhere")
    settled.write()
    with pytest.raises(SourceError):
        compare_configs(settled.config, other, as_of=settled.now)


def test_a_new_source_is_a_cause(settled):
    other = settled.config
    settled.meetings["hr"] = {}
    settled.book("9", "eve", source="hr")
    settled.write()
    found = compare_configs(settled.config, other, as_of=settled.now)
    assert differences(found) == {"hr-9": ("create", "nothing", ())}
    assert causes(found) == {"hr-9": ("sources.hr: new",)}


def test_people_are_masked_in_every_form(settled):
    other = settled.config
    this = with_source(
        settled, guests_sql=write(settled, JOINED), exclude_guests=["cyd@out.example"]
    )
    found = compare_configs(this, other, as_of=settled.now)
    (line,) = [line for line in render_lines(found, "main.toml") if line.startswith("rooms-2")]
    why = (
        'sources.rooms.exclude_guests: [] → ["c…@out.example"] and sources.rooms.guests_sql: '
        "changed"
    )
    who = "b…@out.example, c…@out.example"
    assert line == (
        f"rooms-2: cancelled (guestless), by the other nothing; cancelled: {who}; because of {why}"
    )
    told = line + render_markdown(found, "main.toml") + json.dumps(dump_comparison(found))
    assert "b…@out.example" in told
    assert not [name for name in ("ada@", "bob@", "cyd@", "BOB", "Visit 2") if name in told]


CONFIG = """
[essentry]
base_url = "{url}"
[state]
url = "sqlite:///state.sqlite"
[sources.rooms]
url = "sqlite:///rooms.sqlite"
events_sql = "events.sql"
guests_sql = "{guests}"
times = "utc"
[sources.rooms.sites]
"1" = {{ location_id = 11 }}
"2" = {{ location_id = 12 }}
"""


def test_the_command_ends_with_0_10_or_2(settled):
    folder: Path = settled.folder
    write(settled, JOINED)
    for name, guests in (("this", "other_guests.sql"), ("main", "guests.sql")):
        (folder / f"{name}.toml").write_text(
            CONFIG.format(url=settled.sandbox.base_url, guests=guests), encoding="utf-8"
        )
    assert load_config(folder / "main.toml").sources["rooms"].guests_sql
    words = (
        "compare",
        "--config",
        str(folder / "this.toml"),
        "--as-of",
        settled.now.isoformat(),
        "--against",
    )
    tokens = {"ESSENTRY_TOKEN": "", "ESSENTRY_AGENT_TOKEN": ""}  # none is needed
    done = run(*words, str(folder / "main.toml"), "--markdown", **tokens)
    assert done.returncode == 10, done.stderr
    assert "| rooms-2 | changed | nothing |" in done.stdout
    assert run(*words, str(folder / "this.toml"), "--json", **tokens).returncode == 0
    done = run(*words, str(folder / "gone.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "no configuration at" in done.stderr


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@corp.example")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_a_git_revision_has_its_own_file_and_selects(settled):
    folder: Path = settled.folder
    config = folder / "conf" / "essentry-sync.toml"
    config.parent.mkdir()
    text = CONFIG.format(url=settled.sandbox.base_url, guests="../guests.sql").replace(
        "events.sql", "../events.sql"
    )
    config.write_text(text.replace("sqlite:///", "sqlite:///../"), encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "conf", "events.sql", "guests.sql")
    git(folder, "commit", "-qm", "first")
    write(settled, JOINED, "guests.sql")
    with open_revision(load_config(config), "HEAD") as other:
        found = compare_configs(load_config(config), other, as_of=settled.now)
    assert differences(found) == {"rooms-2": ("update", "nothing", ())}
    assert found.settings == ("sources.rooms.guests_sql: changed",)
    words = ("compare", "--config", str(config), "--as-of", settled.now.isoformat(), "--against")
    assert run(*words, "git:HEAD").returncode == 10
    for revision, told in (
        ("nowhere", "git:nowhere has no essentry-sync.toml"),
        ("--output=x", "names no revision"),
        ("", "names no revision"),
    ):
        with (
            pytest.raises(ConfigurationError, match=told),
            open_revision(load_config(config), revision),
        ):
            pass
    git(folder, "rm", "-q", "--cached", "guests.sql")
    git(folder, "commit", "-qm", "without")
    with (
        pytest.raises(ConfigurationError, match=r"git:HEAD has no \.\./guests\.sql"),
        open_revision(load_config(config), "HEAD"),
    ):
        pass


def test_a_plan_that_waits_is_held_against_the_configuration_of_now(settled):
    settled.book(
        "2", guests={"cyd": {"email": "cyd@out.example", "company_name": "Out"}}, name="Renamed"
    )
    settled.book("4", guests={"eve": {"email": "eve@out.example", "company_name": "Out"}})
    settled.cancel("3")
    assert settled.night(kind="plan").exit_code == 0
    plan_id = settled.plan_of()[0]["plan_id"]
    same = compare_with_plan(settled.config, plan_id, as_of=settled.now)
    assert same.same
    assert {key: outcome.action for key, outcome in same.other.events.items()} == {
        "rooms-2": "update",
        "rooms-3": "delete",
        "rooms-4": "create",
    }
    this = with_source(settled, sites={"1": {"location_id": 14}, "2": {"location_id": 12}})
    found = compare_with_plan(this, "latest", as_of=settled.now)
    assert {key: (mine, other) for key, (mine, other, _) in differences(found).items()} == {
        "rooms-1": ("update", "nothing"), "rooms-2": ("update", "update"),
        "rooms-4": ("create", "create"),
    }  # fmt: skip
    assert found.differences[0].causes == ("the settings have changed since",)
    with_source(settled)
    assert settled.apply(plan_id).exit_code == 0
    with pytest.raises(ConfigurationError, match="is applied: the state has moved on"):
        compare_with_plan(settled.config, plan_id, as_of=settled.now)
    with pytest.raises(ConfigurationError, match="there is no run 'never'"):
        compare_with_plan(settled.config, "never", as_of=settled.now)


def test_sources_that_only_one_has_are_causes_each(firm):
    """Taken alone, the one that is gone leaves no source at all: that is not tried."""
    firm.book("1", "ada")
    firm.write()
    other = firm.config
    firm.meetings = {"hr": {}}
    firm.book("1", "eve", source="hr")
    firm.write()
    found = compare_configs(firm.config, other, as_of=firm.now)
    assert differences(found) == {
        "hr-1": ("create", "nothing", ()),
        "rooms-1": ("nothing", "create", ()),
    }
    assert causes(found)["hr-1"] == ("sources.hr: new",)
    assert "sources.rooms: gone" in causes(found)["rooms-1"]


def test_a_state_of_an_old_form_stays_so(tmp_path):
    file = tmp_path / "state.sqlite"
    with sqlite3.connect(file) as old:
        old.executescript(
            (Path(__file__).parents[1] / "stored" / "state_0001.sql").read_text(encoding="utf-8")
        )
    old.close()
    before = file.read_bytes()
    with open_copy(sa.make_url(f"sqlite:///{file}")) as state:
        assert len(state.read_fingerprints()) == 4
        place = Path(str(state.engine.url.database))
    assert file.read_bytes() == before
    assert not place.parent.exists()


def test_a_setting_that_is_refused_alone_is_not_the_end(settled, monkeypatch):
    """Seals without their secret: both sides have it, and one that lacks it is refused with its
    side.
    """
    other = settled.config
    settled.sections["essentry"] = {
        "invitation_ids": "sealed",
        "invitation_secret_env": "SEAL_OF_A_TEST",
    }
    monkeypatch.delenv("SEAL_OF_A_TEST", raising=False)
    with pytest.raises(
        ConfigurationError,
        match="this configuration: the environment variable SEAL_OF_A_TEST is not set",
    ):
        compare_configs(settled.config, other, as_of=settled.now)
    monkeypatch.setenv("SEAL_OF_A_TEST", "x" * 32)
    settled.book("6", "gil")
    settled.write()
    found = compare_configs(settled.config, other, as_of=settled.now)
    assert "rooms-6" in differences(found)


def test_what_one_side_learns_the_other_does_not_know(settled):
    """By this one's SELECT a meeting is gone, and its twin is taken for it under another key: the
    state would learn that, and the other sees both.
    """
    first = settled.meetings["rooms"]["1"]
    settled.book("1b", **{name: first[name] for name in ("name", "start", "guests")})
    settled.write()
    other = settled.config
    this = with_source(
        settled,
        events_sql=write(
            settled, "SELECT * FROM events WHERE source_event_id <> '1'", "fewer_events.sql"
        ),
    )
    found, back = (
        compare_configs(this, other, as_of=settled.now),
        compare_configs(other, this, as_of=settled.now),
    )
    assert {key: outcome.action for key, outcome in found.other.events.items()} == {
        "rooms-1b": "create"
    }
    assert found.this.events == {}
    assert (back.this, back.other) == (found.other, found.this)


def test_a_select_that_fails_under_the_parameters_of_the_other_is_only_not_tried(settled):
    """On its own side each works; the parameter of the one is no number for the other's
    function.
    """
    plain = "SELECT * FROM events WHERE"
    other = with_source(
        settled,
        events_sql=write(settled, f"{plain} json_array_length(:kind) >= 0", "a.sql"),
        params={"kind": "[]"},
    )
    this = with_source(
        settled,
        events_sql=write(settled, f"{plain} :kind <> '' AND source_event_id <> '3'", "b.sql"),
        params={"kind": "no json"},
    )
    found = compare_configs(this, other, as_of=settled.now)
    assert differences(found) == {"rooms-3": ("delete", "nothing", ())}
    assert causes(found)["rooms-3"] == found.settings
    assert len(found.settings) == 2
