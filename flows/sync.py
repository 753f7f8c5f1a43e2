"""The Prefect flow of a night. Its tasks are the steps of flows.nightly, in the order of the data."""

from __future__ import annotations

import os

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # before Prefect is imported: no calls outside

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed, State

from flows import nightly
from flows.extract import Extracted
from flows.load import LoadResult
from flows.nightly import Result, Session, open_session
from flows.plan import Planned
from schemas.config import Config, load_config
from schemas.errors import SyncError
from transforms.report import render_markdown

# Frames are not hashed, cached or stored by the engine. An expected failure is a Failed state with one message; the traceback
# of an unexpected one is Prefect's to show.


@task(
    name="extract", task_run_name="extract", tags=["source"], retries=1, retry_delay_seconds=5, cache_policy=NO_CACHE, persist_result=False
)
def extract(session: Session) -> tuple[dict[str, Extracted], dict[str, str]] | State:
    """Read every source; a database that is just restarting gets a second chance."""
    session.error = None
    try:
        return nightly.extract(session)
    except SyncError as error:
        return _fail(session, error)


@task(name="plan", task_run_name="validate, transform, diff, guard", tags=["plan"], cache_policy=NO_CACHE, persist_result=False)
def plan(session: Session, extracted: Mapping[str, Extracted], failed: Mapping[str, str], full: bool) -> Planned | State:
    """Validate, build, compare, judge and store."""
    try:
        return nightly.plan(session, extracted, failed, full=full)
    except SyncError as error:
        return _fail(session, error)


@task(name="load", task_run_name="load", tags=["essentry"], cache_policy=NO_CACHE, persist_result=False)
def load(session: Session, planned: Planned, progress: Callable[..., None] | None) -> LoadResult | State | None:
    """Send the plan unless a guard holds it. The client retries, this task does not."""
    try:
        return nightly.load(session, planned, progress=progress)
    except SyncError as error:
        return _fail(session, error)


@task(name="report", task_run_name="report", tags=["report"], cache_policy=NO_CACHE, persist_result=False)
def report(session: Session) -> Result:
    """Write the report's files; where there was a plan, an artifact with people masked."""
    result = session.result = nightly.finish(session, error=session.error)
    if session.planned is not None:
        create_markdown_artifact(render_markdown(result.report), key="essentry-sync-report", description=result.report["verdict"])
    return result


def _fail(session: Session, error: SyncError) -> State:
    session.error = error
    return Failed(message=str(error))


@flow(name="essentry-sync", flow_run_name="{kind} {sources}", persist_result=False, validate_parameters=False)
def night(kind: str, sources: str, session: Session, full: bool, progress: Callable[..., None] | None) -> Any:
    """One night: extract, plan, load, report."""
    extracted = extract(session, return_state=True)
    if session.error is None:
        planned = plan(session, *extracted.result(), full, return_state=True)
        if session.error is None and kind == "sync":
            load(session, planned.result(), progress, return_state=True)
    result = report(session)
    if result.exit_code in (2, 5, 6):
        return Failed(message=result.report["verdict"])
    return result


def run_sync(config: Config, *, as_of: datetime | None = None, full: bool = False, progress: Callable[..., None] | None = None) -> Result:
    """Run the flow in this process, on the configured Prefect server or a temporary one.

    Raises SyncError, after the report is written, when a source, the state or essentry failed.
    """
    with open_session(config, kind="sync", as_of=as_of) as session:
        state: Any = night("sync", ", ".join(config.sources), session, full, progress, return_state=True)
        if session.error is not None:
            raise session.error
        # a load that ended early fails the flow run, and still has a report and an exit code
        return session.result or state.result()


@flow(name="sync", flow_run_name="sync {config}", persist_result=False)
def sync(config: str = "essentry-sync.toml", full: bool = False) -> int:
    """The entry point of deployments: a night by a configuration file. Returns the exit code.

    config: path of the TOML file. full: send every current event again.
    """
    return run_sync(load_config(Path(config)), full=full).exit_code
