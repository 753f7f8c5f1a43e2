"""The job from open state to written report, without Prefect: what `plan`, `apply` and the flow's
tasks call.

`Session` holds what the steps share: configuration, state store, run, and the seconds each step
took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any

from flows.connections.secrets import read_tokens
from flows.night.apply import apply_plan
from flows.night.close import finish
from flows.night.load import LoadResult
from flows.night.plan import Planned, make_plan
from flows.night.recall import recall_plan
from flows.night.run import PART, Night
from flows.night.session import Result, Session, open_session
from flows.night.watch import Watch
from flows.parts.deal import Dealt, read_night
from flows.parts.work import MapParts
from flows.sources.read import Extracted
from schemas.config import Config
from schemas.errors import SyncError
from transforms.guards.restriction import Restriction


def extract(session: Session) -> tuple[dict[str, Extracted] | dict[str, Dealt], dict[str, str]]:
    """Read every source."""
    with session.timed("extract"):
        return read_night(session.config, session.state, session.shelf)


def plan(
    session: Session,
    extracted: MutableMapping[str, Any],
    failed: Mapping[str, str],
    *,
    full: bool = False,
    map_parts: MapParts | None = None,
    watch: Watch | None = None,
) -> Planned:
    """Validate, build, compare, judge and store. The frames are taken out of `extracted`. watch: of
    a run that is restricted to a selection.
    """
    with session.timed("plan"):
        only = watch.only if watch else Restriction()
        night = Night(
            session.config, session.state, session.run, full, map_parts, session.shelf, only, watch
        )
        session.planned = make_plan(night, extracted, failed)
    return session.planned


def recall(session: Session, plan_id: str) -> Planned:
    """A stored plan, held against a fresh look at the sources; nothing new is planned."""
    with session.timed("plan"):
        night = Night(session.config, session.state, session.run, shelf=session.shelf)
        session.planned = recall_plan(night, plan_id)
        # known from now on: what a run that is killed sent of an older plan counts in the day (S27)
        session.state.finish_run(session.run.run_id, plan_id=session.planned.plan_id)
        if session.planned.selected is not None:  # no night, from here on
            session.state.finish_run(session.run.run_id, kind=PART)
    return session.planned


def is_selection(session: Session, plan_id: str) -> bool:
    """Whether a plan, by its id or the beginning of it, is that of a selection."""
    names = session.state.list_selections()
    return plan_id != "latest" and any(name.startswith(plan_id) for name in names)


def load(
    session: Session, planned: Planned, *, progress: Callable[..., None] | None = None
) -> LoadResult | None:
    """Send the plan unless a guard holds it. None: nothing was sent."""
    without_deletes = planned.holds_deletes(session.config)
    if planned.waits and not without_deletes:
        return None
    with session.timed("load"):
        if planned.diff.changes.empty:
            session.load = LoadResult({}, 0, 0, None, False)
            session.state.set_plan_status(
                planned.plan_id, "applied" if session.kind == "apply" else "empty"
            )
        else:
            session.load = send(
                session, planned, progress=progress, without_deletes=without_deletes
            )
    return session.load


def send(
    session: Session,
    planned: Planned,
    *,
    progress: Callable[..., None] | None = None,
    without_deletes: bool = False,
) -> LoadResult:
    """Apply a stored plan under this session's lease."""
    token, agent_token = read_tokens(session.config)
    lease = session.lease
    if lease is None:
        raise RuntimeError("sending needs the lease of `open_session`")
    result = apply_plan(
        session.config,
        session.state,
        planned.plan_id,
        session.run,
        token=token,
        agent_token=agent_token,
        progress=progress,
        without_deletes=without_deletes,
        stop=lambda: not lease.is_ours(),
        stale=planned.stale,
        naming=planned.naming,
    )
    lease.check()
    return result


def run_plan(
    config: Config,
    *,
    as_of: datetime | None = None,
    full: bool = False,
    kind: str = "plan",
    progress: Callable[..., None] | None = None,
) -> Result:
    """`plan` and `sync --dry-run`: everything but the sending."""
    with open_session(config, kind=kind, as_of=as_of) as session:
        session.watch(progress)
        try:
            plan(session, *extract(session), full=full)
        except SyncError as error:
            finish(session, error=error)
            raise
        session.begins("report")
        return finish(session)


def run_apply(
    config: Config,
    plan_id: str,
    *,
    as_of: datetime | None = None,
    progress: Callable[..., None] | None = None,
) -> Result:
    """`apply PLAN`: send exactly a stored plan."""
    with open_session(config, kind="apply", as_of=as_of) as session:
        session.watch(progress)
        try:
            load(session, recall(session, plan_id), progress=progress)
            if session.planned is not None and session.planned.selected is not None:
                session.kind = PART
        except SyncError as error:
            if session.planned is None and is_selection(session, plan_id):  # no night, either
                session.kind = PART
                session.state.finish_run(session.run.run_id, kind=PART)
            finish(session, error=error)
            raise
        session.begins("report")
        return finish(session)
