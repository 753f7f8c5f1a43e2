"""Examine a configuration without sending or changing anything: connections, SELECTs, mappings,
token, clock, state store.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.connections.secrets import read_tokens
from flows.connections.urls import show_url, source_url
from flows.essentry.client import EssentryClient
from flows.essentry.items import Ping
from flows.night.own_guards import check_own_guards
from flows.night.session import open_state, state_url
from flows.parts.shelf import open_shelf
from flows.sources.limits import find_limits
from flows.sources.places import Places, read_places
from flows.sources.presets import complete_source
from flows.sources.read import read_source
from flows.sources.transaction import open_snapshot
from flows.sources.versions import describe_unknown
from schemas.config import Config
from schemas.config_source import SiteConfig, SourceConfig
from schemas.errors import SyncError
from transforms.masking import mask_address, mask_name
from transforms.validate.people import clean_place
from transforms.validate.source import Validated, validate_source
from transforms.words import plural

CLOCK_SECONDS = 60
SAMPLE = 5
NAMED = 8  # keys named in one line


class Line(NamedTuple):
    """What was found: whether it is fine, and the words with the remedy."""

    fine: bool
    text: str

    @property
    def level(self) -> str:
        """fine, warning or failed."""
        return "fine" if self.fine else "failed"


class Warned(Line):
    """What may be on purpose, or asks for a row of the source: it keeps no upgrade and no night
    from going on.
    """

    @property
    def level(self) -> str:
        """A warning, whatever it is about."""
        return "warning"


def examine(config: Config) -> Iterator[Line]:
    """Lines of (fine, what was found and the remedy), a `Warned` where nothing has to be mended
    before the next night.
    """
    for name, entry in config.sources.items():
        yield from _examine_source(
            name, entry, root=config.root, most=config.guards.max_quarantine_share
        )
    yield from _examine_folder(config)
    yield from _examine_own_guards(config)
    yield from _examine_state(config)
    yield from _examine_essentry(config)


def _examine_folder(config: Config) -> Iterator[Line]:
    folder = config.spill_folder
    if folder is None:
        return
    try:
        with open_shelf(folder):
            free = shutil.disk_usage(folder).free / 1e9
    except SyncError as error:
        yield Line(False, str(error))
        return
    yield Line(True, f"scale.folder {folder}: usable, {free:,.0f} GB free")


def _examine_own_guards(config: Config) -> Iterator[Line]:
    if not config.guards.sql:
        return
    try:
        check_own_guards(config.guards)
    except SyncError as error:
        yield Line(False, str(error))
        return
    yield Line(True, f"guards.sql: {plural(len(config.guards.sql), 'guard')} can be asked")


def _examine_source(name: str, entry: SourceConfig, *, root: Path, most: float) -> Iterator[Line]:
    try:
        url = source_url(name, entry, root=root)
        with open_snapshot(name, url) as connection:
            connection.execute(sa.text("SELECT 1"))
        yield Line(True, f"source {name}: connected to {show_url(url)}")
        complete = complete_source(entry)
        read = read_source(name, complete, root=root)
        valid = validate_source(name, read.events, read.guests, complete)
    except SyncError as error:
        yield Line(False, str(error))
        return
    for part, frame in (("events", read.events), ("guests", read.guests)):
        yield Line(
            True,
            (
                f"source {name}: the SELECT of {part} gives {len(frame):,} rows with "
                f"{', '.join(frame.columns)}"
            ),
        )
    if read.events.empty:
        yield Warned(True, f"source {name}: warning: no events at all; is this the right database?")
    for part, words in find_limits(name, complete, root=root).items():
        held = "no event" if part == "events" else "no guest"
        yield Warned(
            True,
            (
                f"source {name}: warning: the SELECT of {part} leaves rows out ({words}): "
                f"{held} is cancelled for not being in it; take the limit out"
            ),
        )
    if entry.guests == "external" and not entry.internal_domains:
        yield Warned(
            True,
            (
                f"source {name}: warning: sources.{name}.internal_domains is empty: "
                "employees count as guests unless the source marks them"
            ),
        )
    yield from _sample(name, valid)
    for (part, check, remedy), rows in valid.rejects.groupby(["part", "check", "remedy"]):
        keys = _listed(rows["source_event_id"].dropna().unique().tolist()) or "without a key"
        count = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}"
        why = f" ({_listed(sorted(rows['value'].dropna().unique()))})" if check == "problem" else ""
        yield Warned(
            False,
            (
                f"source {name}: {count} of {part} would be quarantined: {remedy}{why}; "
                f"{'keys' if len(rows) > 1 else 'key'} {keys}"
            ),
        )
    for part, frame in (("events", read.events), ("guests", read.guests)):
        rows = len(
            valid.rejects.loc[
                valid.rejects["part"] == part, ["source_event_id", "guest_id"]
            ].drop_duplicates()
        )
        if len(frame) and rows > most * len(frame):
            yield Line(
                False,
                f"source {name}: {rows / len(frame):.0%} of the rows of {part} would be "
                f"quarantined, over the {most:.0%} of guards.max_quarantine_share: "
                "it would delete nothing, and the run would stop; correct the SELECT, "
                "or the rows",
            )
    yield from _compare_places(name, complete, url, valid)


def _sample(name: str, valid: Validated) -> Iterator[Line]:
    for row in valid.events.head(SAMPLE).itertuples():
        start = (
            row.starts_at.strftime("%Y-%m-%d %H:%M UTC")
            if row.starts_at == row.starts_at
            else "no start"
        )
        host = mask_address(str(row.host_email)) if row.host_email == row.host_email else "none"
        yield Line(
            True,
            (
                f"source {name}: sample event {row.source_event_id}: {start}, {row.status}, "
                f"host {host}"
            ),
        )
    for row in valid.guests.head(SAMPLE).itertuples():
        shown = (
            mask_address(str(row.email))
            if row.email == row.email
            else mask_name(f"{_text(row.first_name)} {_text(row.last_name)}")
        )
        yield Line(True, f"source {name}: sample guest of {row.source_event_id}: {shown}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _compare_places(
    name: str, config: SourceConfig, url: sa.URL, valid: Validated
) -> Iterator[Line]:
    """Places of the source against the site and room tables. A preset lists its places; of own
    SELECTs the events' keys are known.
    """
    if config.preset is None:
        yield Line(
            True,
            (
                f"source {name}: {len(config.sites):,} sites and {len(config.rooms):,} rooms are "
                "mapped"
            ),
        )
        return
    try:
        places = read_places(name, config.preset, url, params=config.params)
    except SyncError as error:
        yield Line(False, str(error))
        return
    yield from _tell_version(name, config.preset, places)
    events = Counter(valid.events["site_key"].dropna()) + Counter(_unmapped_sites(valid))
    sites = dict(zip(places.sites["site_key"], places.sites["site_name"], strict=True))
    rooms = dict(zip(places.rooms["room_key"], places.rooms["room_name"], strict=True))
    mapped = {clean_place(key) for key in config.sites}
    uncovered = places.rooms[
        ~places.rooms["room_key"].isin([clean_place(key) for key in config.rooms])
    ]["site_key"]
    needed = set(uncovered.dropna()) if len(places.rooms) else set(sites)
    open_sites = [key for key in sites if key not in mapped and key in needed]
    with_events = [key for key in open_sites if events[key]]
    without = [key for key in open_sites if not events[key]]
    if with_events:
        shown = _listed([f"{key} ({sites[key]})" for key in with_events])
        yield Line(
            False,
            (
                f"source {name}: sites with events that are not mapped: {shown}: "
                f"add them under [sources.{name}.sites]"
            ),
        )
    if without:
        shown = _listed([f"{key} ({sites[key]})" for key in without])
        yield Line(True, f"source {name}: sites without events that are not mapped: {shown}")
    strange = False
    for kind, table, known in (("sites", config.sites, sites), ("rooms", config.rooms, rooms)):
        missing = _absent(table, known)
        if missing:
            strange = True
            yield Line(
                False,
                (
                    f"source {name}: [sources.{name}.{kind}] names what the source does not have: "
                    f"{_listed(missing)}: correct the keys"
                ),
            )
    if not open_sites and not strange:
        yield Line(True, f"source {name}: all {len(sites):,} sites of the source are mapped")


def _tell_version(name: str, preset: str, places: Places) -> Iterator[Line]:
    said = places.version
    known = f"the database says {said.text}" if said else places.unread
    yield Line(True, f"source {name}: the tables are those of {places.versions}; {known}")
    if said and not said.known:
        yield Line(False, f"source {name}: {describe_unknown(preset, said)}")


def _unmapped_sites(valid: Validated) -> list[str]:
    rejects = valid.rejects[valid.rejects["check"] == "location"]
    return rejects["value"].dropna().str.extract(r", site (.+)$", expand=False).dropna().tolist()


def _absent(table: Mapping[str, SiteConfig], known: Mapping[str, str]) -> list[str]:
    return [key for key in table if clean_place(key) not in known]


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED:,} more" if len(keys) > NAMED else ""
    return ", ".join(str(key) for key in keys[:NAMED]) + more


def _examine_state(config: Config) -> Iterator[Line]:
    """The form of the state store; it is neither made nor migrated here."""
    try:
        url = state_url(config)
        if not _has_state(url):
            yield Line(True, f"state store {show_url(url)}: no state yet, the first run creates it")
            return
        with open_state(config, migrate=False) as state:
            yield Line(
                True,
                (
                    f"state store {state.label}: at its newest form, "
                    f"{plural(len(state.runs()), 'run')}"
                ),
            )
    except SyncError as error:
        yield Line(False, str(error))


def _has_state(url: sa.URL) -> bool:
    """Whether somebody has used the store; a server that does not answer has: opening it then tells
    what is wrong.
    """
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database))
        return file.exists() and (not file.is_file() or file.stat().st_size > 0)
    if url.get_backend_name() != "postgresql":
        return True
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 20})
    try:
        return sa.inspect(engine).has_table("alembic_version")
    except SQLAlchemyError:
        return True
    finally:
        engine.dispose()


def _examine_essentry(config: Config) -> Iterator[Line]:
    places = [
        site.location_id
        for entry in config.sources.values()
        for table in (entry.sites, entry.rooms)
        for site in table.values()
    ]
    places = [place for place in places if place is not None]
    base_url = config.essentry.base_url
    try:
        token, agent_token = read_tokens(config)

        async def ping() -> Ping:
            async with EssentryClient(
                config.essentry, token=token, agent_token=agent_token
            ) as client:
                return await client.ping(places[0] if places else None)

        answer = asyncio.run(ping())
    except SyncError as error:
        yield Line(False, str(error))
    else:
        if answer.token_checked:
            yield Line(
                True,
                (
                    f"essentry: {base_url} answers in {answer.seconds * 1000:.0f} ms and knows the "
                    "token"
                ),
            )
        elif places:
            yield Line(
                False,
                f"essentry: {base_url} answers, but not as essentry does: check essentry.base_url",
            )
        else:
            yield Line(
                True,
                (
                    f"essentry: {base_url} answers; the token is not tested, "
                    "for no location is configured"
                ),
            )
    yield from _examine_clock(config)


def _examine_clock(config: Config) -> Iterator[Line]:
    """This machine's clock against the Date header of essentry's answer, without a token."""
    try:
        before = datetime.now(UTC)
        response = httpx.get(config.essentry.base_url, timeout=config.essentry.timeout_seconds)
        after = datetime.now(UTC)
        # HTTP dates are GMT
        theirs = parsedate_to_datetime(response.headers["Date"]).replace(tzinfo=UTC)
    except (httpx.HTTPError, KeyError, ValueError):
        yield Line(
            True,
            (
                f"clock: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; essentry gave no date to compare "
                "it with"
            ),
        )
        return
    off = (before + (after - before) / 2 - theirs).total_seconds()
    if abs(off) > CLOCK_SECONDS:
        direction = "ahead of" if off > 0 else "behind"
        yield Line(
            False,
            (
                f"clock: this machine is {abs(off):,.0f} s {direction} essentry: set it, "
                "or let NTP set it; past events depend on it"
            ),
        )
    else:
        yield Line(True, f"clock: within {CLOCK_SECONDS} s of essentry's")
