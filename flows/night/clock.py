"""This machine's clock against those of others, before a run expires or sends anything by it (S16).

essentry tells the time with every answer. Where it does not answer, the servers of the sources'
databases are asked; a file is read by this machine's own clock, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import sqlalchemy as sa

from flows.connections.urls import source_url
from flows.night.run import Run
from flows.sources.transaction import open_snapshot
from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.config_values import is_loopback
from schemas.errors import ConfigurationError, SyncError

ASK_SECONDS = 5.0
_QUERIES = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP()",
    "mariadb": "SELECT UTC_TIMESTAMP()",
    "mssql": "SELECT SYSUTCDATETIME()",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL",
}
"""The instant by the database server's own clock, in UTC."""


def compare_clocks(config: Config, run: Run) -> int:
    """Whole minutes that this machine's clock is away from the others', when that is worth telling;
    else 0.

    A clock that was given on purpose (`--as-of`) to a sandbox of this machine is not compared.
    Raises ConfigurationError, naming the clocks, when they are further apart than
    `guards.max_clock_minutes`: a night by a wrong clock ends visits that are still to come.
    """
    if run.as_of != run.started_at and is_loopback(config.essentry.base_url):
        return 0
    guards = config.guards
    told, limit = (
        timedelta(minutes=guards.clock_tolerance_minutes),
        timedelta(minutes=guards.max_clock_minutes),
    )
    off = {} if (essentry := measure_essentry(config)) is None else {"essentry": essentry}
    if not off or abs(off["essentry"]) > told:
        databases = measure_databases(config)
        # essentry is the one that matters; without its word, one database that agrees is enough
        off = off | databases
    if not off:
        return 0
    nearest = off.get("essentry", min(off.values(), key=abs))
    if abs(nearest) > limit:
        raise ConfigurationError(_tell_clocks(off, limit))
    return int(abs(nearest) // timedelta(minutes=1)) if abs(nearest) > told else 0


def _tell_clocks(off: Mapping[str, timedelta], limit: timedelta) -> str:
    now = datetime.now(UTC)
    others = ", ".join(
        f"{name} says {now - seconds:%Y-%m-%d %H:%M} UTC" for name, seconds in off.items()
    )
    return (
        f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, but {others}: "
        f"more than guards.max_clock_minutes = {limit.total_seconds() / 60:g} apart, "
        "so nothing was planned, ended or sent; set this machine's clock (or let NTP set it). "
        "If earlier runs went by it, look at `essentry-sync runs --forget-clock` afterwards"
    )


def measure_essentry(config: Config) -> timedelta | None:
    """How far this machine's clock is ahead of the Date of essentry's answer, whatever else that
    says; None without one. No token is sent.
    """
    url = config.essentry.base_url
    try:
        with httpx.Client(
            timeout=min(ASK_SECONDS, config.essentry.timeout_seconds),
            trust_env=not is_loopback(url),
        ) as client:
            before = datetime.now(UTC)
            with client.stream("GET", url, headers={"Cache-Control": "no-cache"}) as response:
                after = datetime.now(UTC)
                theirs = parsedate_to_datetime(response.headers["Date"])
                age = response.headers.get("Age", "0").strip()
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        KeyError,
        ValueError,
        TypeError,
        OSError,
        ImportError,
    ):
        return None
    # HTTP dates are GMT
    theirs = theirs.replace(tzinfo=UTC) + timedelta(
        seconds=int(age[:9]) if age.isascii() and age.isdigit() else 0
    )
    return before + (after - before) / 2 - theirs


def measure_databases(config: Config) -> dict[str, timedelta]:
    """How far this machine's clock is ahead of each database server's, by `the database of SOURCE`;
    those that do not tell are left out.
    """
    with ThreadPoolExecutor(max_workers=len(config.sources), thread_name_prefix="clock") as pool:
        found = pool.map(
            lambda item: (item[0], _measure_database(*item, root=config.root)),
            config.sources.items(),
        )
        return {f"the database of {name}": off for name, off in found if off is not None}


def _measure_database(name: str, source: SourceConfig, *, root: Path) -> timedelta | None:
    try:
        url = source_url(name, source, root=root)
        query = _QUERIES.get(url.get_backend_name())
        if query is None:
            return None
        with open_snapshot(name, url) as connection:
            before = datetime.now(UTC)
            theirs = connection.execute(sa.text(query)).scalar()
            after = datetime.now(UTC)
    except SyncError:
        return None
    if not isinstance(theirs, datetime):
        return None
    return before + (after - before) / 2 - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
