"""Whole nights from real databases to what the sandbox holds, against a truth computed without the
project's rules.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.demo.databases import build_demo
from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import Result, open_session
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.sources.presets import complete_source, find_fit
from schemas.config import Config
from schemas.config_guards import GuardsConfig
from schemas.errors import SyncError
from schemas.load_config import load_config
from tests.firm import ended_well
from tests.sources import frappe_hrms, librebooking, mrbs, orangehrm
from tests.sources.databases import database
from tests.sources.truth import Meeting, Truth

SYSTEMS = {
    "librebooking": librebooking,
    "mrbs": mrbs,
    "orangehrm": orangehrm,
    "frappe_hrms": frappe_hrms,
}
ENGINES = [
    ("librebooking", "mariadb"),
    ("mrbs", "mariadb"),
    ("mrbs", "postgresql"),
    ("orangehrm", "mariadb"),
    ("frappe_hrms", "mariadb"),
]
WIDE = {
    "approve_first_run": False, "max_deletes": 10_000, "max_delete_share": 1.0,
    "max_guest_removals": 10_000, "max_new_invitations": 100_000,
    "max_people_mailed": 100_000, "max_mails_per_guest": 10_000, "max_quarantine_share": 1.0,
    "max_churn": 10_000,
    "max_outside_hosts": 10_000, "max_host_domain_guests": 10_000, "max_new_domain_guests": 10_000,
    "max_update_share": 1.0,
}  # fmt: skip
DEMO = Path(__file__).parent.parent.parent / "data" / "demo" / "essentry-sync.toml"


@pytest.fixture
def sandbox(monkeypatch):
    with SandboxServer(SandboxSettings()) as server:
        monkeypatch.setenv("ESSENTRY_TOKEN", server.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
        monkeypatch.setenv("ESSENTRY_SYNC_ESSENTRY__BASE_URL", server.base_url)
        yield server


def sync(config: Config, as_of: datetime) -> Result:
    """One night without the engine."""
    with open_session(config, kind="sync", as_of=as_of) as session:
        try:
            nightly.load(session, nightly.plan(session, *nightly.extract(session)))
        except SyncError as error:
            finish(session, error=error)
            raise
        return finish(session)


def held_meetings(sandbox: SandboxServer, prefix: str) -> dict[str, Meeting]:
    """What the sandbox holds of a source, by the source's own key."""
    found = {}
    for source_id, event in sandbox.state()["events"].items():
        if not source_id.startswith(prefix):
            continue
        guests = set()
        for guest in event["guests"].values():
            name = f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip()
            guests.add((guest.get("email") or None, name or None))
        found[read_key(source_id.removeprefix(prefix))] = Meeting(
            event["name"],
            datetime.fromisoformat(event["startsAt"]),
            datetime.fromisoformat(event["endsAt"]),
            event["locationId"],
            event.get("entranceId"),
            event["host"]["email"],
            frozenset(guests),
        )
    return found


def read_key(part: str) -> str:
    """The key behind an escaped part of an id, by the format's own words: ~HH is a byte."""
    raw = bytearray()
    while part:
        if part[0] == "~" and len(part) > 1:
            raw.append(int(part[1:3], 16))
            part = part[3:]
        else:
            raw += part[0].encode() if part[0] != "~" else b""
            part = part[1:]
    return raw.decode()


def settings(system: str, url: str, folder: Path) -> Config:
    source = {**SYSTEMS[system].CONFIG, "url": url}
    if system == "librebooking":  # the linked source is not part of this night
        source["params"] = {**source["params"], "link_attribute": None, "link_source": None}
    return Config(root=folder, sources={"sys": source}, guards=WIDE)


@pytest.mark.parametrize(("system", "kind"), ENGINES)
def test_two_nights_of_a_real_source_system(system, kind, tmp_path, sandbox):
    today = datetime(2026, 11, 24, 1, tzinfo=UTC)
    module = SYSTEMS[system]
    with database(kind, tmp_path) as engine:
        module.create_schema(engine)
        config = settings(system, engine.url.render_as_string(hide_password=False), tmp_path)

        tables = module.fill(engine, seed=3, today=today, events=1000, night=1)
        truth: Truth = module.truth(tables, as_of=today)
        assert len(truth.keys()) >= 1000
        assert (
            min(
                len(truth.meetings),
                len(truth.quarantined),
                len(truth.cancelled | truth.past | truth.guestless),
            )
            > 0
        )
        first = sync(config, today)
        assert ended_well(first), first.report["verdict"]
        held = held_meetings(sandbox, "sys-")
        assert held == truth.meetings
        check_balance(first.report, truth)

        tables = module.fill(engine, seed=3, today=today, events=1000, night=2)
        later = today + timedelta(hours=1)
        truth = module.truth(tables, as_of=later)
        second = sync(config, later)
        assert ended_well(second), second.report["verdict"]
        check_balance(second.report, truth)
        now = held_meetings(sandbox, "sys-")
        kept = set(truth.quarantined) | truth.pending | truth.beyond | truth.past
        assert set(now) == set(truth.meetings) | (set(held) & kept)
        for key, meeting in truth.meetings.items():
            # a guest whose row became unreadable keeps the invitation
            assert now[key].guests >= meeting.guests
            assert now[key].guests - meeting.guests <= (
                held[key].guests if key in held else frozenset()
            )
            assert vars_without_guests(now[key]) == vars_without_guests(meeting)
        for key in set(held) & kept:
            assert now[key] == held[key]

        puts = sandbox.requests()["puts"]
        third = sync(config, later)
        assert ended_well(third)
        assert sandbox.requests()["puts"] == puts


def vars_without_guests(meeting: Meeting) -> dict:
    return {key: value for key, value in vars(meeting).items() if key != "guests"}


def check_balance(report: dict, truth: Truth) -> None:
    balance = report["balance"]
    assert balance["rows_balanced"]
    assert balance["snapshot_balanced"]
    assert balance["rows_read"] == sum(balance["rows"].values())
    assert balance["rows"].get("quarantined", 0) >= len(truth.quarantined)
    assert balance["rows"].get("cancelled", 0) == len(truth.cancelled)


def copy_database(source: Path, engine: sa.Engine) -> None:
    """Copy a SQLite database's tables and rows as they are; dates become texts, as SQLite has
    them.
    """
    origin = sa.create_engine(f"sqlite:///{source}")
    described = sa.MetaData()
    described.reflect(origin)
    copied = sa.MetaData()
    for table in described.sorted_tables:
        sa.Table(
            table.name,
            copied,
            *(sa.Column(c.name, plain_type(c.type), autoincrement=False) for c in table.columns),
        )
    copied.drop_all(engine)
    copied.create_all(engine)
    with origin.connect() as read, engine.begin() as write:
        for table in described.sorted_tables:
            columns = ", ".join(f'"{c.name}"' for c in table.columns)
            rows = [
                dict(row)
                for row in read.exec_driver_sql(f'SELECT {columns} FROM "{table.name}"').mappings()
            ]
            if rows:
                write.execute(copied.tables[table.name].insert(), rows)


def plain_type(column_type: sa.types.TypeEngine) -> sa.types.TypeEngine:
    return sa.BigInteger() if isinstance(column_type, sa.Integer) else sa.String(500)


def demo_truth(folder: Path, as_of: datetime) -> dict[str, set[str]]:
    """Bookings that must be in essentry and their guests' addresses, by plain SQL over the demo's
    rooms; interviews aside.
    """
    query = """
        SELECT i.reference_number, g.email, i.start_date, i.end_date
        FROM reservation_instances i JOIN reservation_series s ON s.series_id = i.series_id
        JOIN reservation_guests g ON g.reservation_instance_id = i.reservation_instance_id
        WHERE s.status_id = 1
    """
    found: dict[str, set[str]] = {}
    with sa.create_engine(f"sqlite:///{folder / 'rooms.sqlite'}").connect() as connection:
        for key, email, _, end in connection.exec_driver_sql(query):
            outside = "@" in email.strip()[1:-1] and not email.endswith("@nordlicht-optik.example")
            if datetime.fromisoformat(end).replace(tzinfo=UTC) > as_of and outside:
                found.setdefault(key, set()).add(email.strip().lower())
    return found


@pytest.fixture
def demo(tmp_path, sandbox):
    (tmp_path / DEMO.name).write_bytes(DEMO.read_bytes())
    return tmp_path


def test_demo_nights_end_in_the_truth_and_a_third_sends_nothing(demo, sandbox):
    start = datetime(2026, 11, 24, 1, tzinfo=UTC)
    for night in (1, 2, 3):
        as_of = start + timedelta(days=night - 1)
        build_demo(demo, night=night, anchor=start.date())
        before = sandbox.requests()["puts"]
        result = sync(load_config(demo / DEMO.name), as_of)
        assert ended_well(result)
        quarantined = {
            s["source_event_id"] for group in result.report["quarantined"] for s in group["samples"]
        }
        held = {
            key.removeprefix("rooms-"): e
            for key, e in sandbox.state()["events"].items()
            if key.startswith("rooms-")
        }
        expected = demo_truth(demo, as_of)
        # sent under the interview's id, or not usable
        linked = {key for key in expected if key not in held}
        assert len(linked - quarantined) <= 40
        assert len(held) > 1000
        for key, event in held.items():
            assert {g["email"] for g in event["guests"].values() if g.get("email")} >= expected.get(
                key, set()
            ), key
        live = sum(len(e["guests"]) for e in sandbox.state()["events"].values())
        mails = Counter(mail["kind"] for mail in sandbox.mails())
        assert mails["invited"] >= live
        if night == 3:
            assert sandbox.requests()["puts"] == before


def test_three_databases_at_once(demo, sandbox):
    """HR on PostgreSQL, rooms on MariaDB, state on PostgreSQL; the end is that of the embedded
    defaults.
    """
    start = datetime(2026, 11, 24, 1, tzinfo=UTC)
    build_demo(demo, night=1, anchor=start.date())
    sync(load_config(demo / DEMO.name), start)
    expected = without_numbers(sandbox.state()["events"])
    sandbox.reset()
    with (
        database("postgresql", demo) as hr,
        database("mariadb", demo) as rooms,
        database("postgresql", demo) as state,
    ):
        text = DEMO.read_text(encoding="utf-8")
        for old, engine in (
            ("sqlite:///rooms.sqlite", rooms),
            ("sqlite:///hr.sqlite", hr),
            ("sqlite:///state/essentry-sync.sqlite", state),
        ):
            text = text.replace(old, engine.url.render_as_string(hide_password=False))
        with sa.create_engine(f"sqlite:///{demo / 'hr.sqlite'}").connect() as connection:
            fit = find_fit("hr", "orangehrm", connection, params={})
        # the preset is for MariaDB; on PostgreSQL its SELECTs are somebody's own, in that dialect
        for part in ("events", "guests"):
            (demo / f"hr_{part}.sql").write_text(
                fit.read(part).replace("AS CHAR)", "AS TEXT)").replace("INSTR(", "STRPOS("),
                encoding="utf-8",
            )
        own = 'events_sql = "hr_events.sql"\nguests_sql = "hr_guests.sql"\ntimes = "local"'
        text = text.replace('preset = "orangehrm"', own)
        path = demo / "three.toml"
        path.write_text(text, encoding="utf-8")
        for night in (1, 2, 3):
            build_demo(demo, night=night, anchor=start.date())
            for name, engine in (("hr", hr), ("rooms", rooms)):
                copy_database(demo / f"{name}.sqlite", engine)
            before = sandbox.requests()["puts"]
            result = sync(load_config(path), start + timedelta(days=night - 1))
            assert ended_well(result), (result.report["verdict"], result.report["quarantined"])
            if night == 1:
                assert without_numbers(sandbox.state()["events"]) == expected
            assert (sandbox.requests()["puts"] == before) == (night == 3)


def without_numbers(events: dict[str, dict]) -> dict[str, dict]:
    """Events with their guests in order of who they are: the numbers of guests without a key are
    each state store's own.
    """
    return {
        key: {
            **event,
            "guests": sorted(
                (re.sub(r"~g\d+$", "~g", guest), sorted(fields.items()))
                for guest, fields in event["guests"].items()
            ),
        }
        for key, event in events.items()
    }


VANISHING = {
    "librebooking": "DELETE FROM resources WHERE schedule_id = 1",
    "mrbs": "DELETE FROM mrbs_room WHERE area_id = 1",
}


@pytest.mark.share(2)
@pytest.mark.parametrize("system", VANISHING)
@pytest.mark.parametrize("join", ["LEFT JOIN", "JOIN"])
def test_rooms_of_a_location_that_vanish_from_the_source_cancel_nothing(
    system, join, tmp_path, sandbox
):
    """The presets keep a row without its room, which is then quarantined and held. In somebody's
    own SELECT an inner join drops the rows: the guards stop that.
    """
    today = datetime(2026, 11, 24, 1, tzinfo=UTC)
    module = SYSTEMS[system]
    with database("mariadb", tmp_path) as engine:
        module.create_schema(engine)
        module.fill(engine, seed=3, today=today, events=400, night=1)
        config = settings(system, engine.url.render_as_string(hide_password=False), tmp_path)
        if join == "JOIN":
            config = with_inner_join(config, system, tmp_path)
        assert ended_well(sync(config, today))
        held, mails, puts = sandbox.state()["events"], sandbox.mails(), sandbox.requests()["puts"]
        with engine.begin() as connection:
            gone = connection.exec_driver_sql(VANISHING[system]).rowcount
        assert gone > 0
        guarded = sync(
            config.model_copy(update={"guards": GuardsConfig()}), today + timedelta(hours=1)
        )
        assert guarded.exit_code == 4
        assert {guard["guard"] for guard in guarded.report["guards"]} & {
            "max_shrink_share",
            "max_quarantine_share",
            "max_deletes",
        }
        if join == "LEFT JOIN":  # and without any guard
            night = sync(config, today + timedelta(hours=2))
            assert night.report["counts"]["delete"] == 0
            assert night.report["counts"]["held"] > 20
            assert any(
                group["check"] in ("location", "place") and group["rows"] > 20
                for group in night.report["quarantined"]
            )
        assert sandbox.requests()["puts"] == puts
        assert sandbox.state()["events"] == held
        assert sandbox.mails() == mails


def with_inner_join(config: Config, system: str, folder: Path) -> Config:
    """The preset's SELECTs as somebody's own, which lose a row whose room is gone."""
    source = complete_source(config.sources["sys"])
    table = {"librebooking": "resources r", "mrbs": "mrbs_room r"}[system]
    for part in ("events", "guests"):
        select = (DEMO.parent.parent / "sources" / system / f"{part}.sql").read_text(
            encoding="utf-8"
        )
        (folder / f"{part}.sql").write_text(
            select.replace(f"LEFT JOIN {table}", f"JOIN {table}"), encoding="utf-8"
        )
    own = source.model_copy(
        update={
            "preset": None,
            "events_sql": folder / "events.sql",
            "guests_sql": folder / "guests.sql",
        }
    )
    return config.model_copy(update={"sources": {"sys": own}})
