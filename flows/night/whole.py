"""A whole night without the engine: the steps in their order, and the wait for an approval."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import Result, Session, open_session
from flows.report.log import log_step
from schemas.config import Config
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE, SourceError, SyncError
from schemas.load_config import reload_config

AGAIN_SECONDS = 5.0
"""A database that is just restarting gets a second chance after so long, as in the flow."""
LOOK_SECONDS = 5.0
"""How often the state store is asked whether a plan was approved."""


def run_whole_night(
    config: Config,
    *,
    as_of: datetime | None = None,
    full: bool = False,
    progress: Callable[..., None] | None = None,
) -> Result:
    """One night in this process. Raises the SyncError that ended it, once its report is written."""
    with open_session(config, kind="sync", as_of=as_of) as session:
        session.watch(progress)
        result = run_steps(session, full=full, progress=progress)
        return wait_and_apply(session, result, progress=progress) if may_wait(session) else result


def run_steps(
    session: Session, *, full: bool = False, progress: Callable[..., None] | None = None
) -> Result:
    """Every step of an open session. Raises the SyncError that ended it, once its report is
    written.
    """
    try:
        planned = nightly.plan(session, *_extract(session), full=full)
        nightly.load(session, planned, progress=progress)
    except SyncError as error:
        finish(session, error=error)
        raise
    session.begins("report")
    return finish(session)


def _extract(session: Session) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        return nightly.extract(session)
    except SourceError as error:
        run_id = session.run.run_id
        log_step(run_id, "extract", f"reads again in {AGAIN_SECONDS:g} seconds", why=str(error))
        time.sleep(AGAIN_SECONDS)
        return nightly.extract(session)


def may_wait(session: Session) -> bool:
    """Whether the run's plan waits for an approval that this run is to wait for."""
    planned = session.planned
    if session.kind != "sync" or session.error is not None or planned is None or not planned.waits:
        return False
    return len(planned.diff.changes) > 0 and session.config.guards.approval_wait_minutes > 0


def wait_and_apply(
    session: Session, stopped: Result, *, progress: Callable[..., None] | None = None
) -> Result:
    """Wait for the approval of the plan and send it; without one, the run ends as it would have.

    While it waits it holds no lease: other runs may work, and supersede the plan.
    """
    plan_id = stopped.report["plan"]["plan_id"]
    session.begins("approval")
    status = _wait_in_store(session, plan_id)
    if status != "approved":
        return tell_waited(stopped, plan_id, status)
    run = session.run
    as_of = None if run.as_of == run.started_at else run.as_of
    # the kill switch, and whatever else was corrected meanwhile
    config = reload_config(session.config)
    return nightly.run_apply(config, plan_id, as_of=as_of, progress=progress)


def _wait_in_store(session: Session, plan_id: str) -> str:
    """Where the plan stands once it waits no more, or nobody has answered in time."""
    if session.lease is not None:
        session.lease.let_go()
    until = time.monotonic() + session.config.guards.approval_wait_minutes * 60
    session.state.mark_waiting(session.run.run_id, waits=True)
    try:
        while True:
            status = session.state.plan_approval(plan_id)[0]
            left = until - time.monotonic()
            if status not in ("waiting", "applying") or left <= 0:
                return status
            time.sleep(min(LOOK_SECONDS, max(left, 0.05)))
    finally:
        session.state.mark_waiting(session.run.run_id, waits=False)


def tell_waited(stopped: Result, plan_id: str, status: str) -> Result:
    """The end of a run that waited and sends nothing itself. status: where its plan stands then."""
    if status == "applied":
        words = f"the plan {plan_id} was approved and sent by another run"
        return replace(stopped, report={**stopped.report, "verdict": words}, exit_code=EXIT_DONE)
    if status in ("applying", "partly"):
        words = (
            f"the plan {plan_id} was approved, and another run sent it only in part, "
            "or still does: see `essentry-sync runs`"
        )
        return replace(
            stopped, report={**stopped.report, "verdict": words}, exit_code=EXIT_INCOMPLETE
        )
    return stopped
