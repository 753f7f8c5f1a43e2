"""The job from open state to written report, without Prefect: what `plan`, `apply` and the flow's tasks call.

`Session` holds what the steps share: configuration, state store, run, and the seconds each step took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import sqlalchemy as sa

from flows.apply import apply_plan
from flows.compare import Night
from flows.deal import Dealt, read_night
from flows.extract import Extracted, complete_config, parse_url
from flows.forget import forget_after
from flows.lease import Lease, hold_lease
from flows.load import LoadResult
from flows.logs import log_outcome, log_step, set_up_log
from flows.metrics import check_metrics, write_metrics
from flows.partitions import MapParts
from flows.plan import Planned, make_plan
from flows.report_files import remove_report, write_failure, write_report
from flows.runs import Run, check_clock, new_run
from flows.secrets import hash_token, read_agent_token, read_block, read_tokens
from flows.shelf import Shelf, open_shelf
from flows.state import State
from schemas.config import Config, read_secret
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE, GuardTripped, LeaseHeld, ReportError, StateError, SyncError
from transforms.changes import code_mails
from transforms.columns import unite_frames
from transforms.payload import FINGERPRINT_VERSION
from transforms.policy import digest_policy
from transforms.problems import find_solved, list_problems
from transforms.report import build_failure, build_report
from transforms.report_changes import choose_listed
from transforms.report_history import list_history, summarise_report
from transforms.report_mails import list_mails, needs_payload
from transforms.report_words import Wording, name_places

VISIT_DAYS = 28
MAIL_ROWS = 10_000
TOLD = ("seq", "source_id", "source", "location_id", "action", "reason", "starts_at", "name", "state", "code", "message")
CODED = ("source", "action", "reason", "state", "code")
"""Of a plan's changes what the report's numbers rest on, and which of it are a few texts in many rows."""


@dataclass
class Session:
    """One run at work. `lost_requests`: events under way when an earlier run was killed; `shelf`: where the parts of a divided night lie."""

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
    shelf: Shelf = field(default_factory=Shelf)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the seconds of a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
            failed = sys.exception() is not None
            log_step(self.run.run_id, step, f"{step} {'failed' if failed else 'done'}", failed=failed, seconds=round(seconds, 3))


@dataclass(frozen=True)
class Result:
    """What a run ended with: its report, the folder of the files, and the exit code."""

    report: dict[str, Any]
    folder: Path
    exit_code: int


def state_url(config: Config) -> sa.URL:
    """The URL of the state store: from a block, the environment or the file."""
    settings, text = config.state, config.state.url
    if settings.url_block:
        text = read_block(settings.url_block)
    elif settings.url_env:
        text = read_secret(settings.url_env, purpose="the state store's URL")
    return parse_url(text, key="state.url", root=config.root)


def open_state(config: Config, *, migrate: bool = True) -> State:
    """The state store of a configuration."""
    url = state_url(config)
    return State.open(url.render_as_string(hide_password=False), migrate=migrate)


@contextmanager
def open_session(config: Config, *, kind: str, as_of: datetime | None = None) -> Iterator[Session]:
    """Begin a run: state store, identity, clock, lease; lost requests of killed runs become unknown. Ends the lease after."""
    set_up_log(config.report.log)
    check_metrics(config.report.metrics_file)
    config = complete_config(config)
    agent_token = read_agent_token(config)
    if kind != "plan":
        read_tokens(config)  # a missing token ends the run before anything is read
    with open_state(config) as state:
        state.check_identity(config.essentry.base_url, hash_token(agent_token), config.essentry.invitation_ids)
        run = new_run(as_of)
        check_clock(config, run, _last_clock(state))
        session = Session(config, state, run, kind)
        with hold_lease(state, run, config) as session.lease, open_shelf(config.spill_folder) as session.shelf:
            state.start_run(run.run_id, kind=kind, started_at=run.started_at, as_of=run.as_of)
            try:
                session.lost_requests = state.settle_lost(now=datetime.now(UTC), run_id=run.run_id)
                yield session
            finally:
                with suppress(SyncError):
                    state.abandon_run(run.run_id, now=datetime.now(UTC))


def read_findings(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The guards that tripped on a stored plan."""
    return orjson.loads(stored["findings_json"] or "[]")


def _last_clock(state: State) -> datetime | None:
    runs = state.runs()
    done = runs[(runs["kind"] != "plan") & runs["status"].isin(["done", "incomplete"])] if len(runs) else runs
    return done["as_of"].max().to_pydatetime() if len(done) else None


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
) -> Planned:
    """Validate, build, compare, judge and store. The frames are taken out of `extracted`."""
    with session.timed("plan"):
        night = Night(session.config, session.state, session.run, full, map_parts, session.shelf)
        session.planned = make_plan(night, extracted, failed)
    return session.planned


def holds_deletes(session: Session, planned: Planned) -> bool:
    """Whether the plan goes without its deletes: `on_trip` says so, and every guard that tripped is answered by it."""
    return planned.waits and session.config.guards.on_trip == "hold-deletes" and all(f.about_deletes for f in planned.findings)


def load(session: Session, planned: Planned, *, progress: Callable[..., None] | None = None) -> LoadResult | None:
    """Send the plan unless a guard holds it. None: nothing was sent."""
    without_deletes = holds_deletes(session, planned)
    if planned.waits and not without_deletes:
        return None
    with session.timed("load"):
        if planned.diff.changes.empty:
            session.load = LoadResult({}, 0, 0, None, False)
        else:
            session.load = send(session, planned.plan_id, progress=progress, without_deletes=without_deletes)
    return session.load


def send(session: Session, plan_id: str, *, progress: Callable[..., None] | None = None, without_deletes: bool = False) -> LoadResult:
    """Apply a stored plan under this session's lease."""
    token, agent_token = read_tokens(session.config)
    lease = session.lease
    if lease is None:
        raise RuntimeError("sending needs the lease of `open_session`")
    result = apply_plan(
        session.config,
        session.state,
        plan_id,
        session.run,
        token=token,
        agent_token=agent_token,
        progress=progress,
        without_deletes=without_deletes,
        stop=lambda: not lease.is_ours(),
    )
    lease.check()
    return result


def finish(session: Session, *, error: SyncError | None = None) -> Result:
    """Write the report and close the run. Called whatever happened, so that every failure is in a report.

    Raises StateError, the bare report written, when the state store fails (again).
    """
    try:
        return _finish(session, error)
    except StateError as broken:
        report = _tell_failure(session, error or broken, pd.DataFrame())
        _try_writing(write_failure, _summarise(session)[1], report, wording=_wording(session))
        raise (error or broken) from None


def _tell_failure(session: Session, error: SyncError | None, problems: pd.DataFrame) -> dict[str, Any]:
    run, _ = _summarise(session)
    return build_failure(run=run, error=str(error), seconds=session.seconds, problems=problems, wording=_wording(session))


def _summarise(session: Session) -> tuple[dict[str, Any], Path]:
    run = session.run
    summary = {"run_id": run.run_id, "kind": session.kind, "as_of": run.as_of.isoformat(), "started_at": run.started_at.isoformat()}
    return summary, (session.config.root / session.config.report.directory / run.run_id).resolve()


def _finish(session: Session, error: SyncError | None) -> Result:
    planned, state, run = session.planned, session.state, session.run
    start = time.perf_counter()
    empty = pd.DataFrame()
    if planned is not None:
        stored, changes = state.load_plan(planned.plan_id, columns=TOLD, coded=CODED)
        if not isinstance(error, LeaseHeld):  # a plan is no measure for the next night, unless a person approves it
            state.save_source_reads(run.run_id, planned.reads, planned.health, measure=session.kind != "plan")
        if session.kind != "plan" and not isinstance(error, LeaseHeld):
            state.count_absent(planned.diff.absent_now)
            state.renew_fingerprints(planned.diff.refreshed, version=FINGERPRINT_VERSION)
            state.end_rejections(find_solved(state.rejections(), planned.diff.decisions, planned.desired, planned.health))
    problems = list_problems(changes if planned is not None else empty, state.rejections(), state.list_unanswered())
    exit_code = _exit_code(session, changes if planned is not None else empty, problems, error)
    summary, folder = _summarise(session)
    if planned is None:
        report = _tell_failure(session, error, problems)
        unwritten = _try_writing(write_failure, folder, report, wording=_wording(session))
    else:
        session.seconds["report"] = time.perf_counter() - start
        if session.load is not None:
            _save_policy(session, stored)
            error = error or session.load.error
        report = build_report(
            run=summary | {"exit_code": exit_code},
            plan=_plan_facts(stored),
            decisions=planned.diff.decisions,
            mails=planned.diff.mails,
            rejects=planned.rejects,
            changes=changes,
            findings=[finding.as_record() for finding in planned.findings],
            balance=planned.balance,
            notes=planned.desired.notes | _notes(session, ids_kept=planned.diff.rebound),
            failed_sources=planned.failed_sources,
            seconds=session.seconds,
            load=_load_facts(session),
            error=str(error) if error else None,
            problems=problems,
            odd_times=planned.odd_times,
            **_surroundings(session),
        )
        unwritten = _write_report(session, folder, report, changes, planned.plan_id)
    status = {0: "done", 3: "incomplete", 4: "stopped"}.get(exit_code, "failed")
    state.finish_run(
        run.run_id,
        finished_at=datetime.now(UTC),
        status=status,
        exit_code=exit_code,
        summary_json=orjson.dumps(summarise_report(report)).decode(),
        report_dir=str(folder),
        plan_id=planned.plan_id if planned else None,
    )
    if session.kind != "plan" and exit_code in (0, 3):
        for old in state.prune(datetime.now(UTC), session.config.state.keep_inactive_days, session.config.state.keep_runs_days):
            remove_report(Path(old))
        forget_after(session.config, state, now=datetime.now(UTC))
    told = _try_writing(_tell_outcome, session, report, exit_code)
    if unwritten is not None or told is not None:
        raise unwritten or told  # type: ignore[misc]  # one of them is an error
    return Result(report, folder, exit_code)


def _tell_outcome(session: Session, report: Mapping[str, Any], exit_code: int) -> None:
    """The log's last record, and the metrics file."""
    log_outcome(report, exit_code)
    file = session.config.report.metrics_file
    if file is not None:
        runs = session.state.runs()
        good = runs.loc[runs["kind"].isin(["sync", "apply"]) & runs["exit_code"].isin([EXIT_DONE, EXIT_INCOMPLETE]), "finished_at"].max()
        last = None if pd.isna(good) else good.to_pydatetime()
        write_metrics(session.config.root / file, report, exit_code, finished_at=datetime.now(UTC), last_success=last)


def _write_report(session: Session, folder: Path, report: dict[str, Any], changes: pd.DataFrame, plan_id: str) -> ReportError | None:
    def read_contents(seqs: Sequence[int]) -> Mapping[int, str]:
        return session.state.read_contents(plan_id, seqs)

    listed = session.state.read_changes(plan_id, choose_listed(changes)["seq"].tolist())
    parts = session.state.iterate_changes(plan_id, len(changes))
    return _try_writing(write_report, folder, report, listed, parts, wording=_wording(session), read_contents=read_contents)


def _try_writing(write: Callable[..., Any], *arguments: Any, **options: Any) -> ReportError | None:
    """What keeps a report from being written is told after the run is closed: what it sent has been sent all the same."""
    try:
        write(*arguments, **options)
    except ReportError as error:
        return error
    return None


def _notes(session: Session, **counts: int) -> dict[str, int]:
    counts["events_of_a_killed_run"] = session.lost_requests
    return {name: count for name, count in counts.items() if count}


def _exit_code(session: Session, changes: pd.DataFrame, problems: pd.DataFrame, error: SyncError | None) -> int:
    if error is not None:
        return error.exit_code
    if session.load is not None and session.load.error is not None:
        return session.load.error.exit_code
    if session.kind == "plan":
        return EXIT_DONE
    if session.planned is not None and session.planned.waits:
        return GuardTripped.exit_code
    if len(problems) or (len(changes) and changes["state"].isin(["planned", "sending"]).any()):
        return EXIT_INCOMPLETE
    return EXIT_DONE


def run_plan(config: Config, *, as_of: datetime | None = None, full: bool = False, kind: str = "plan") -> Result:
    """`plan` and `sync --dry-run`: everything but the sending."""
    with open_session(config, kind=kind, as_of=as_of) as session:
        try:
            plan(session, *extract(session), full=full)
        except SyncError as error:
            finish(session, error=error)
            raise
        return finish(session)


def run_apply(config: Config, plan_id: str, *, as_of: datetime | None = None, progress: Callable[..., None] | None = None) -> Result:
    """`apply PLAN`: send exactly a stored plan."""
    with open_session(config, kind="apply", as_of=as_of) as session:
        try:
            with session.timed("load"):
                session.load = send(session, plan_id, progress=progress)
        except SyncError as error:
            finish(session, error=error)
            raise
        return finish_apply(session, plan_id)


def finish_apply(session: Session, plan_id: str) -> Result:
    """Report of a plan that was applied in a run of its own."""
    stored, changes = session.state.load_plan(plan_id, columns=TOLD, coded=CODED)
    exit_code = session.load.error.exit_code if session.load and session.load.error else EXIT_DONE
    problems = list_problems(changes, session.state.rejections(), session.state.list_unanswered())
    if exit_code == EXIT_DONE and (len(problems) or changes["state"].isin(["planned", "sending"]).any()):
        exit_code = EXIT_INCOMPLETE
    run = session.run
    summary, folder = _summarise(session)
    decisions = changes[["source_id", "source", "action", "reason"]]
    _save_policy(session, stored)
    balance = orjson.loads(stored["balance_json"])
    report = build_report(
        run=summary | {"exit_code": exit_code},
        plan=_plan_facts(stored),
        decisions=decisions,
        mails=_read_mails(session.state, stored["plan_id"], len(changes)),
        rejects=session.state.quarantine(stored["run_id"]),
        changes=changes,
        findings=read_findings(stored),
        balance=balance,
        decided={name: balance["snapshot"].get(name, 0) for name in ("unchanged", "held", "dormant", "pilot")},
        notes=_notes(session),
        failed_sources={},
        seconds=session.seconds,
        load=_load_facts(session),
        error=str(session.load.error) if session.load and session.load.error else None,
        problems=problems,
        **_surroundings(session),
    )
    unwritten = _write_report(session, folder, report, changes, stored["plan_id"])
    session.state.finish_run(
        run.run_id,
        finished_at=datetime.now(UTC),
        status="done" if exit_code == 0 else "incomplete" if exit_code == EXIT_INCOMPLETE else "failed",
        exit_code=exit_code,
        summary_json=orjson.dumps(summarise_report(report)).decode(),
        report_dir=str(folder),
        plan_id=stored["plan_id"],
    )
    told = _try_writing(_tell_outcome, session, report, exit_code)
    if unwritten is not None or told is not None:
        raise unwritten or told  # type: ignore[misc]  # one of them is an error
    return Result(report, folder, exit_code)


def _plan_facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the report tells of the plan and of who released it."""
    facts = {"plan_id": stored["plan_id"], "digest": stored["digest"], "changes": int(stored["changes"]), "full": bool(stored["full"])}
    facts["status"] = stored["status"]
    if stored["approved_at"] is None:
        return facts | {"approval": None}
    who = {"by": stored["approved_by"], "reason": stored["approve_reason"] or "", "at": stored["approved_at"].isoformat()}
    return facts | {"approval": who | {"plan_id": stored["approval_of"] or stored["plan_id"]}}


def _save_policy(session: Session, stored: Mapping[str, Any]) -> None:
    """What was sent was sent under the settings of the plan."""
    digest, policy = digest_policy(session.config)
    session.state.save_policy(str(stored["policy_digest"]), policy if digest == stored["policy_digest"] else "")


def _load_facts(session: Session) -> dict[str, Any] | None:
    load = session.load
    return None if load is None else {"requests": load.requests, "retries": load.retries, "counts": load.counts}


def _wording(session: Session) -> Wording:
    return name_places(session.config, masked=session.config.report.personal_data == "masked")


def _surroundings(session: Session) -> dict[str, Any]:
    """What a report says beside its own run: names, earlier runs, and the visits that essentry expects."""
    return {
        "wording": _wording(session),
        "history": list_history(session.state.runs(), until=session.run.run_id),
        "visits": session.state.count_visits(session.run.as_of, session.run.as_of + timedelta(days=VISIT_DAYS)),
    }


def _read_mails(state: State, plan_id: str, count: int) -> pd.DataFrame:
    """Who a stored plan mails; payloads are read a part of the plan at a time."""
    frames = []
    for changes in state.iterate_changes(plan_id, count):
        for start in range(0, max(len(changes), 1), MAIL_ROWS):
            part = changes.iloc[start : start + MAIL_ROWS]
            frames.append(code_mails(list_mails(part, state.read_contents(plan_id, part.loc[needs_payload(part), "seq"].tolist()))))
    return unite_frames(frames)
