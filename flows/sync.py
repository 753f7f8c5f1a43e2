"""The Prefect flow of a night. Its tasks are the steps of flows.night, in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed, State

import flows.engine  # noqa: F401  before Prefect: the settings of its environment
from flows.engine.approval import wait_for_approval
from flows.engine.artifacts import LoadProgress, publish_report
from flows.engine.parts import choose_runner, map_tasks
from flows.engine.server import check_server, leave_server, use_server
from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.load import LoadResult
from flows.night.plan import Planned
from flows.night.session import Result, Session, open_session
from flows.night.whole import may_wait, run_steps, tell_waited
from flows.parts.deal import Dealt
from flows.sources.read import Extracted
from schemas.config import Config
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE, GuardTripped, LeaseHeld, SyncError
from schemas.load_config import load_config, reload_config
from transforms.masking import mask_words

What: TypeAlias = Literal["sync", "plan", "full"]

# Frames are not hashed, cached or stored by the engine. An expected failure is a Failed state with
# one message; the traceback of an unexpected one is Prefect's to show.


@task(
    name="extract",
    task_run_name="extract",
    retries=1,
    retry_delay_seconds=5,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def extract(
    session: Session,
) -> tuple[dict[str, Extracted] | dict[str, Dealt], dict[str, str]] | State:
    """Read every source; a database that is just restarting gets a second chance."""
    session.error = None
    try:
        return nightly.extract(session)
    except SyncError as error:
        return _fail(session, error)


@task(
    name="plan",
    task_run_name="validate, transform, diff, guard",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def plan(
    session: Session, extracted: MutableMapping[str, Any], failed: Mapping[str, str], full: bool
) -> Planned | State:
    """Validate, build, compare, judge and store."""
    try:
        return nightly.plan(session, extracted, failed, full=full)
    except SyncError as error:
        return _fail(session, error)


def plan_by_parts(session: Session, extracted: State, *, full: bool) -> Planned | State:
    """The same with a task for each partition: no task itself, for what a task runner sends to a
    worker must be able to travel.
    """
    try:
        return nightly.plan(session, *extracted.result(), full=full, map_parts=map_tasks)
    except SyncError as error:
        return _fail(session, error)


@task(name="load", task_run_name="load", cache_policy=NO_CACHE, persist_result=False)
def load(
    session: Session, planned: Planned, progress: Callable[..., None] | None
) -> LoadResult | State | None:
    """Send the plan unless a guard holds it. The client retries, this task does not."""
    sends = len(planned.diff.changes) > 0 and (
        not planned.waits or planned.holds_deletes(session.config)
    )
    shown = LoadProgress(progress) if sends else None
    try:
        loaded = nightly.load(session, planned, progress=shown or progress)
    except SyncError as error:
        return _fail(session, error)
    if shown is not None:
        shown.end()
    return loaded


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def report(session: Session) -> Result:
    """Write the report's files, and the artifacts."""
    session.begins("report")
    result = session.result = finish(session, error=session.error)
    session.begins("engine")
    session.silent = not publish_report(result, session.config)
    return result


@task(name="apply", task_run_name="apply", cache_policy=NO_CACHE, persist_result=False)
def apply(session: Session, plan_id: str, progress: Callable[..., None] | None) -> Result | State:
    """Send the approved plan, as a run of its own: under the lease again, and with every check of
    `essentry-sync apply`.
    """
    shown = LoadProgress(progress)
    try:
        # the kill switch, and whatever else was corrected during the wait
        config = reload_config(session.config)
        result = nightly.run_apply(config, plan_id, as_of=_clock_of(session), progress=shown)
    except SyncError as error:
        return _fail(session, error)
    shown.end()
    publish_report(result, session.config)
    return result


def _clock_of(session: Session) -> datetime | None:
    """The clock of the run that waited: the wall's, or the one it was given."""
    run = session.run
    return None if run.as_of == run.started_at else run.as_of


def wait_and_apply(
    session: Session, stopped: Result, progress: Callable[..., None] | None
) -> Result:
    """Wait for the approval of the plan and send it; without one, the run ends as it would have."""
    plan_id = stopped.report["plan"]["plan_id"]
    session.begins("approval")
    status = wait_for_approval(session, plan_id)
    session.result = tell_waited(stopped, plan_id, status)
    if status == "approved":
        state: Any = apply(session, plan_id, progress, return_state=True)
        if session.error is None:
            session.result = state.result()
        else:
            failed = {**stopped.report, "verdict": f"stopped: {session.error}"}
            session.result = replace(stopped, report=failed, exit_code=session.error.exit_code)
    return session.result


def _fail(session: Session, error: SyncError) -> State:
    session.error = error
    return Failed(message=str(error))


def _run_steps(
    session: Session, *, full: bool, progress: Callable[..., None] | None = None
) -> Result:
    """One night as tasks of the flow that calls it: extract, plan, load, report."""
    extracted = extract(session, return_state=True)
    if session.error is None:
        if session.config.scale.partitions == 1:
            planned = plan(session, *extracted.result(), full, return_state=True)
        else:
            planned = Completed(data=plan_by_parts(session, extracted, full=full))
        if session.error is None and session.kind == "sync":
            load(session, planned.result(), progress, return_state=True)
    result = report(session)
    return wait_and_apply(session, result, progress) if may_wait(session) else result


def _end(result: Result) -> State:
    """The flow run's last state: its name says at a glance what is asked of a person."""
    verdict = result.report["verdict"]
    if result.exit_code == EXIT_DONE:
        planned_only = result.report["run"]["kind"] == "plan"
        return Completed(name="Planned" if planned_only else "Completed", message=verdict)
    if result.exit_code == EXIT_INCOMPLETE:
        return Completed(name="Incomplete", message=verdict)
    return Failed(
        name="AwaitingApproval" if result.exit_code == GuardTripped.exit_code else "Failed",
        message=verdict,
    )


_AT_WORK: dict[str, tuple[Session, Callable[..., None] | None]] = {}
"""Sessions of this process by run: a flow's parameters are shown, and sent to workers, and a
session holds an open state store.
"""


def _find_session(run_id: str) -> tuple[Session, Callable[..., None] | None]:
    """A function of its own: what a flow's body names travels to the workers with it, and a
    function goes by its name.
    """
    return _AT_WORK[run_id]


@flow(
    name="essentry-sync",
    flow_run_name="{kind} {sources}",
    persist_result=False,
    validate_parameters=False,
)
def night(kind: str, sources: str, run_id: str, full: bool) -> Any:
    """One night, started on the command line."""
    session, progress = _find_session(run_id)
    session.begun = True
    try:
        end = _end(_run_steps(session, full=full, progress=progress))
    except Exception:
        raise
    except (
        BaseException
    ):  # told to stop: the engine would first tell its server, which may not answer
        session.abandon()
        raise
    if session.silent:
        leave_server()
    return end


def _run_night(
    session: Session, *, kind: str, full: bool, progress: Callable[..., None] | None = None
) -> Result:
    """The flow of an open session. Raises the error that ended it, once the report is written.

    An engine that fails before the first step is done without, and one that fails after the last is
    told: neither is a failure of the night.
    """
    scale, run_id = session.config.scale, session.run.run_id
    runs_on = (
        night
        if scale.partitions == 1
        else night.with_options(task_runner=choose_runner(session.config))
    )
    _AT_WORK[run_id] = session, progress
    state: Any = None
    try:
        session.begins("engine")
        state = runs_on(kind, ", ".join(session.config.sources), run_id, full, return_state=True)
    except SyncError:
        raise
    except Exception as error:
        if not session.begun:
            session.tell(
                f"Prefect: its server failed ({type(error).__name__}); "
                "this run shows in its report alone"
            )
            return run_steps(session, full=full, progress=progress)
        if session.result is None and session.error is None:
            raise
        session.tell(
            f"Prefect: its server failed ({type(error).__name__}) and may show this run as one "
            "that never ended; the report is whole"
        )
    finally:
        del _AT_WORK[run_id]
    if session.error is not None:
        raise session.error
    if session.result is None:
        state.result()  # raises what ended it
        raise SyncError(_describe_lost_end(state))
    # a load that ended early fails the flow run, and still has a report and an exit code
    return session.result


def _describe_lost_end(state: Any) -> str:
    """What happened to a flow run that gave no result and no error, in words that need no
    server.
    """
    words = mask_words(str(state.message).strip()[:300]) if getattr(state, "message", None) else ""
    return (
        "Prefect ended the run as "
        f"{getattr(state, 'name', None) or 'unknown'}{f' ({words})' if words else ''} before its "
        "report was written: what it had sent stands in `essentry-sync runs` and `essentry-sync "
        "show`, and the next run settles the rest"
    )


def run_sync(
    config: Config,
    *,
    as_of: datetime | None = None,
    full: bool = False,
    progress: Callable[..., None] | None = None,
) -> Result:
    """Run the flow in this process, on the configured Prefect server or a temporary one.

    Raises ConfigurationError when that server does not answer, and SyncError, after the report is
    written, when a source, the state or essentry failed.
    """
    check_server()
    with use_server(), open_session(config, kind="sync", as_of=as_of) as session:
        session.watch(progress)
        return _run_night(session, kind="full" if full else "sync", full=full, progress=progress)


@flow(name="essentry-sync", flow_run_name="{what} {config}", persist_result=False)
def sync(config: str = "essentry-sync.toml", what: What = "sync") -> Any:
    """Keep essentry in step with the sources: the entry point of deployments.

    Args:
        config: Path of the configuration file, on the machine that runs this.
        what: "sync" sends what changed. "plan" computes and reports, and sends nothing. "full"
            sends every current event again, and waits for an approval unless
            guards.max_full_resend allows it.
    """
    try:
        settings = load_config(Path(config))
        with open_session(settings, kind="plan" if what == "plan" else "sync") as session:
            # a divided night is a flow run of its own, on the task runner that the configuration
            # names
            run_steps = (
                _run_steps if settings.scale.partitions == 1 else partial(_run_night, kind=what)
            )
            result = run_steps(session, full=what == "full")
    except LeaseHeld as error:
        return Cancelled(name="Skipped", message=str(error))  # the other run does this one's work
    except SyncError as error:
        return Failed(message=str(error))
    return _end(result)
