"""A run and the clock it works by."""

from __future__ import annotations

import secrets as random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flows.night.watch import Watch
from flows.parts.shelf import Shelf
from flows.parts.work import MapParts
from flows.state.store import State
from schemas.config import Config
from schemas.config_values import is_loopback
from schemas.errors import ConfigurationError
from transforms.guards.restriction import Restriction

PART = "part"
"""The kind of a run that is restricted to a selection of events: no night, so nothing that asks for
nights finds it.
"""


@dataclass(frozen=True)
class Run:
    """One run: its id, the clock it works by (UTC), and when it really began."""

    run_id: str
    as_of: datetime
    started_at: datetime

    @property
    def clock(self) -> pd.Timestamp:
        """`as_of` as pandas counts it."""
        return pd.Timestamp(self.as_of).tz_convert("UTC").as_unit("us")


def new_run(as_of: datetime | None = None) -> Run:
    """A run that starts now, by the given clock or the wall's."""
    now = datetime.now(UTC)
    return Run(f"{now:%Y%m%d-%H%M%S}-{random.token_hex(2)}", (as_of or now).astimezone(UTC), now)


def report_folder(config: Config, run_id: str) -> Path:
    """Where the report of a run stands, or will."""
    return (config.root / config.report.directory / run_id).resolve()


def check_clock(config: Config, run: Run, last_as_of: datetime | None) -> None:
    """S16: what goes to a real essentry goes by a believable clock. Raises ConfigurationError."""
    if is_loopback(config.essentry.base_url):
        return
    if abs((run.as_of - run.started_at).total_seconds()) > 24 * 3600:
        raise ConfigurationError(
            "--as-of is more than a day from this machine's clock: leave it out, "
            "or correct the clock"
        )
    if last_as_of is not None and run.as_of < last_as_of:
        raise ConfigurationError(
            f"this machine's clock ({run.as_of:%Y-%m-%d %H:%M} UTC) is before the last run "
            f"({last_as_of:%Y-%m-%d %H:%M} UTC): correct the clock; if that run's clock was "
            "ahead, `essentry-sync runs --forget-clock` tells what it ended, and puts it right"
        )


@dataclass(frozen=True)
class Night:
    """What the stages of a night share. map_parts: how the work of the partitions is done, by
    default in this process; shelf: where they lie between the stages. only: what the run is
    restricted to; watch: what is kept of single events on the way.
    """

    config: Config
    state: State
    run: Run
    full: bool = False
    map_parts: MapParts | None = None
    shelf: Shelf = field(default_factory=Shelf)
    only: Restriction = field(default_factory=Restriction)
    watch: Watch | None = None
