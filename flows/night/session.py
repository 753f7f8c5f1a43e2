"""A run at work: its configuration, state store, lease, and the seconds of its steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flows.connections.secrets import hash_token, own_url, read_agent_token, read_tokens
from flows.night.clock import compare_clocks
from flows.night.journal import note_run
from flows.night.lease import Lease, hold_lease
from flows.night.load import LoadResult
from flows.night.own_guards import check_own_guards
from flows.night.plan import Planned
from flows.night.restore import settle_restored
from flows.night.run import Run, check_clock, new_run, report_folder
from flows.parts.shelf import Shelf, open_shelf
from flows.report.log import log_step, set_up_log
from flows.report.metrics import check_metrics
from flows.sources.contents import find_contents
from flows.sources.presets import complete_config
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SyncError


@dataclass
class Session:
    """One run at work. `lost_requests`: events under way when an earlier run was killed; `shelf`:
    where the parts of a divided night lie; `begins`, `tell`: who is told of its steps; `begun`:
    whether the engine has begun them; `silent`: whether its server has not answered.

    `minutes_off`: what this machine's clock differs from others', when that is to be told.
    `brought_back`: events that a clock ahead had ended. `restored`: events that are unknown since
    the state was restored from an older copy.
    """

    config: Config
    state: State
    run: Run
    kind: str
    seconds: dict[str, float] = field(default_factory=dict)
    planned: Planned | None = None
    load: LoadResult | None = None
    error: SyncError | None = None
    result: Result | None = None
    lease: Lease | None = None
    lost_requests: int = 0
    minutes_off: int = 0
    brought_back: int = 0
    restored: int = 0
    shelf: Shelf = field(default_factory=Shelf)
    begins: Callable[[str], None] = field(default=lambda step: None)
    tell: Callable[[str], None] = field(default=lambda text: None)
    begun: bool = False
    silent: bool = False

    def abandon(self) -> None:
        """Write down that a run that was cut off has failed, and let go of the lease. What is
        written down already stays as it is.
        """
        with suppress(SyncError):
            self.state.abandon_run(self.run.run_id, now=datetime.now(UTC))
        if self.lease is not None:
            self.lease.let_go()

    def watch(self, progress: Any) -> None:
        """Tell `progress.begins` of each step as it begins, and `progress.tell` what a person
        should read, if it has them.
        """
        self.begins, self.tell = (
            getattr(progress, "begins", self.begins),
            getattr(progress, "tell", self.tell),
        )

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the seconds of a step."""
        start = time.perf_counter()
        self.begins(step)
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
            failed = sys.exception() is not None
            log_step(
                self.run.run_id,
                step,
                f"{step} {'failed' if failed else 'done'}",
                failed=failed,
                seconds=round(seconds, 3),
            )


@dataclass(frozen=True)
class Result:
    """What a run ended with: its report, the folder of the files, and the exit code."""

    report: dict[str, Any]
    folder: Path
    exit_code: int


def state_url(config: Config) -> sa.URL:
    """The URL of the state store: from a block, the environment or the file."""
    purpose = "the state store's URL"
    return own_url(config.state, key="state.url", purpose=purpose, root=config.root)


def open_state(config: Config, *, migrate: bool = True) -> State:
    """The state store of a configuration."""
    url = state_url(config)
    return State.open(url.render_as_string(hide_password=False), migrate=migrate)


@contextmanager
def open_session(config: Config, *, kind: str, as_of: datetime | None = None) -> Iterator[Session]:
    """Begin a run: state store, identity, clock, lease; lost requests of killed runs become
    unknown. Ends the lease after.
    """
    set_up_log(config.report.log)
    check_metrics(config.report.metrics_file)
    check_own_guards(config.guards)
    config = find_contents(complete_config(config))
    agent_token = read_agent_token(config)
    if kind != "plan":
        read_tokens(config)  # a missing token ends the run before anything is read
    with open_state(config) as state:
        identity = config.essentry.base_url, hash_token(agent_token), config.essentry.invitation_ids
        run = new_run(as_of)
        check_clock(config, run, _last_clock(state))
        session = Session(config, state, run, kind, minutes_off=compare_clocks(config, run))
        with (
            hold_lease(state, run, config) as session.lease,
            open_shelf(config.spill_folder) as session.shelf,
        ):
            state.release_identity(*identity)
            state.check_identity(*identity)
            session.restored = settle_restored(config, state, run)
            # known from now on, however the run ends: people in it must be found
            folder = str(report_folder(config, run.run_id))
            state.start_run(
                run.run_id, kind=kind, started_at=run.started_at, as_of=run.as_of, report_dir=folder
            )
            if kind != "plan":
                note_run(config, state, run, kind)
            try:
                if config.essentry.invitation_ids == "shared":
                    _spread_lost(state, run)
                session.lost_requests = state.settle_lost(now=datetime.now(UTC), run_id=run.run_id)
                session.brought_back = state.revive_expired(run.as_of)
                yield session
            finally:
                with suppress(SyncError):
                    state.abandon_run(run.run_id, now=datetime.now(UTC))


def _spread_lost(state: State, run: Run) -> None:
    """What killed runs sent of a shared contact in one event is known of the others that have it;
    call it before their requests are settled.
    """
    runs = state.runs()
    dead = runs.loc[(runs["status"] == "running") & (runs["run_id"] != run.run_id), "run_id"]
    for run_id in dead:
        state.spread_contacts(run_id, settled=())


def _last_clock(state: State) -> datetime | None:
    runs = state.runs()
    done = (
        runs[(runs["kind"] != "plan") & runs["status"].isin(["done", "incomplete"])]
        if len(runs)
        else runs
    )
    return done["as_of"].max().to_pydatetime() if len(done) else None
