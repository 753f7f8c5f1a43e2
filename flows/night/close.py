"""The end of a run: what the state owes, the report, the exit code."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from flows.night.plan import Planned
from flows.night.readings import tell_readings
from flows.night.restrict import Selected
from flows.night.retention import forget_after
from flows.night.run import PART, report_folder
from flows.night.session import Result, Session
from flows.night.sources import count_absences, end_code, tell_failed_sources
from flows.report.files import remove_report, write_failure, write_report
from flows.report.log import log_outcome
from flows.report.metrics import write_metrics
from schemas.errors import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    GuardTripped,
    LeaseHeld,
    ReportError,
    StateError,
    SyncError,
)
from schemas.frames import REJECT_COLUMNS, empty_frame
from transforms.arrow.codes import to_texts
from transforms.desired.payload import FINGERPRINT_VERSION
from transforms.diff.clearing import list_uncleared
from transforms.report.changes import choose_listed
from transforms.report.history import list_history, summarise_report
from transforms.report.holds import find_new, list_holds
from transforms.report.problems import find_solved, list_problems
from transforms.report.report import build_failure, build_report
from transforms.report.words import Wording, name_places

VISIT_DAYS = 28

TOLD = (
    "seq",
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "starts_at",
    "name",
    "state",
    "code",
    "message",
)

CODED = ("source", "action", "reason", "state", "code")
"""Of a plan's changes what the report's numbers rest on, and which of it are a few texts in many
rows.
"""


def read_findings(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The guards that tripped on a stored plan."""
    return orjson.loads(stored["findings_json"] or "[]")


def finish(session: Session, *, error: SyncError | None = None) -> Result:
    """Write the report and close the run. Called whatever happened, so that every failure is in a
    report.

    Raises StateError, the bare report written, when the state store fails (again).
    """
    try:
        return _finish(session, error)
    except StateError as broken:
        report = _tell_failure(session, error or broken, pd.DataFrame())
        _try_writing(write_failure, _summarise(session)[1], report, wording=_wording(session))
        raise (error or broken) from None


def _find_replaced(session: Session) -> LeaseHeld | None:
    """Why this run may settle nothing any more: it slept after its load, and another run has taken
    the state over.
    """
    if session.lease is None:
        return None
    session.lease.renew()
    try:
        session.lease.check()
    except LeaseHeld as lost:
        return lost
    return None


def _tell_failure(
    session: Session, error: SyncError | None, problems: pd.DataFrame
) -> dict[str, Any]:
    run, _ = _summarise(session)
    return build_failure(
        run=run,
        error=str(error),
        seconds=session.seconds,
        problems=problems,
        wording=_wording(session),
    )


def _summarise(session: Session) -> tuple[dict[str, Any], Path]:
    run = session.run
    summary = {
        "run_id": run.run_id,
        "kind": session.kind,
        "as_of": run.as_of.isoformat(),
        "started_at": run.started_at.isoformat(),
    }
    return summary, report_folder(session.config, run.run_id)


def _finish(session: Session, error: SyncError | None) -> Result:
    planned, state, run = session.planned, session.state, session.run
    start = time.perf_counter()
    # what a run owes is settled by the one that holds the state now
    error = _find_replaced(session) or error
    empty = pd.DataFrame()
    if planned is not None:
        stored, changes = state.load_plan(planned.plan_id, columns=TOLD, coded=CODED)
        if (
            not isinstance(error, LeaseHeld) and planned.selected is None
        ):  # a night that sent nothing is no measure for the next one, unless a person approves it
            sent = session.kind != "plan" and (not planned.waits or session.load is not None)
            state.save_source_reads(run.run_id, planned.reads, planned.health, measure=sent)
        if session.kind != "plan" and not isinstance(error, LeaseHeld) and planned.selected is None:
            count_absences(state, planned)
            state.renew_fingerprints(planned.diff.refreshed, version=FINGERPRINT_VERSION)
            state.renew_members(planned.diff.rejoined)
            state.end_rejections(
                find_solved(
                    state.rejections(), planned.diff.decisions, planned.desired, planned.health
                )
            )
    if not isinstance(error, LeaseHeld):
        _spread_contacts(session)
    uncleared = list_uncleared(state.read_uncleared(), clearing=session.config.essentry.clearing)
    problems = list_problems(
        changes if planned is not None else empty,
        state.rejections(),
        state.list_unanswered(),
        holds=list_holds(planned.diff.decisions, planned.diff.kept)
        if planned is not None
        else None,
        uncleared=uncleared,
        unread=_find_unread(session, planned) if planned is not None else None,
    )
    # the others are told of by the night that settles them
    if planned is not None and planned.selected is not None:
        problems, uncleared = _tell_selected(planned.selected, problems, uncleared)
    failed = planned.failed_sources if planned is not None else {}
    problems, too_long = tell_failed_sources(
        session.config, state, failed, problems, plan_id=planned.plan_id if planned else ""
    )
    settled = _exit_code(session, changes if planned is not None else empty, problems, error)
    exit_code = end_code(settled, too_long=too_long)
    summary, folder = _summarise(session)
    if planned is None:
        report = _tell_failure(session, error, problems)
        unwritten = _try_writing(write_failure, folder, report, wording=_wording(session))
    else:
        session.seconds["report"] = time.perf_counter() - start
        if session.load is not None:
            if not isinstance(error, LeaseHeld):
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
            uncleared=uncleared,
            kept_ids=state.rekeyed(),
            **_surroundings(session),
        )
        report["plan"]["commands"] = [
            session.config.spell(command) for command in report["plan"]["commands"]
        ]
        unwritten = _write_report(session, folder, report, changes, planned.plan_id)
    status = {0: "done", 3: "incomplete", 4: "stopped"}.get(settled, "failed")
    state.finish_run(
        run.run_id,
        finished_at=datetime.now(UTC),
        status=status,
        exit_code=exit_code,
        summary_json=orjson.dumps(summarise_report(report)).decode(),
        report_dir=str(folder),
        plan_id=planned.plan_id if planned else None,
    )
    if session.kind not in ("plan", PART) and settled in (0, 3):
        for old in state.prune(
            datetime.now(UTC),
            session.config.state.keep_inactive_days,
            session.config.state.keep_runs_days,
        ):
            remove_report(Path(old))
        forget_after(session.config, state, now=datetime.now(UTC))
    told = _try_writing(_tell_outcome, session, report, exit_code)
    if unwritten is not None or told is not None:
        raise unwritten or told  # type: ignore[misc]  # one of them is an error
    return Result(report, folder, exit_code)


def _spread_contacts(session: Session) -> None:
    """What was sent of a shared contact in one event is known of the others that have it."""
    planned = session.planned
    shared = session.config.essentry.invitation_ids == "shared"
    if not shared or session.load is None or planned is None:
        return
    decisions = planned.diff.decisions
    unchanged = (to_texts(decisions["action"]) == "unchanged").to_numpy(dtype=bool)
    settled = set(to_texts(decisions.loc[unchanged, "source_id"]))
    session.state.spread_contacts(session.run.run_id, settled=settled)


def _is_part(session: Session) -> bool:
    """Whether the run is about a selection of events, sent or only planned."""
    return session.kind == PART or (
        session.planned is not None and session.planned.selected is not None
    )


def _tell_selected(
    selected: Selected, problems: pd.DataFrame, uncleared: list[tuple[str, str | None, str]]
) -> tuple[pd.DataFrame, list[tuple[str, str | None, str]]]:
    mine = problems[problems["source_id"].isin(list(selected.ids))].reset_index(drop=True)
    return mine, [mark for mark in uncleared if mark[0] in selected.ids]


def _find_unread(session: Session, planned: Planned) -> pd.DataFrame:
    """The quarantined rows that no run before this one has told of; of a selection every one."""
    runs = session.state.runs()
    told = runs[
        runs["kind"].isin(["sync", "apply"])
        & runs["plan_id"].notna()  # else it ended before it had read anything
        & runs["exit_code"].isin([EXIT_DONE, EXIT_INCOMPLETE, GuardTripped.exit_code])
    ]
    last = told.loc[told["run_id"] != session.run.run_id, "run_id"]
    before = (
        session.state.quarantine(last.iloc[-1])
        if len(last) and planned.selected is None
        else empty_frame(REJECT_COLUMNS)
    )
    rejects = planned.rejects
    if "past" in rejects:  # of the links there is no clock
        rejects = rejects[~rejects["past"].fillna(False).astype(bool)].reset_index(drop=True)
    return find_new(rejects, before)


def _tell_outcome(session: Session, report: Mapping[str, Any], exit_code: int) -> None:
    """The log's last record, and the metrics file."""
    log_outcome(report, exit_code)
    file = session.config.report.metrics_file
    if file is not None and not _is_part(session):  # which would stand there for the night
        runs = session.state.runs()
        good = runs.loc[
            runs["kind"].isin(["sync", "apply"])
            & runs["exit_code"].isin([EXIT_DONE, EXIT_INCOMPLETE]),
            "finished_at",
        ].max()
        last = None if pd.isna(good) else good.to_pydatetime()
        write_metrics(
            session.config.root / file,
            report,
            exit_code,
            finished_at=datetime.now(UTC),
            last_success=last,
        )


def _write_report(
    session: Session, folder: Path, report: dict[str, Any], changes: pd.DataFrame, plan_id: str
) -> ReportError | None:
    def read_contents(seqs: Sequence[int]) -> Mapping[int, str]:
        return session.state.read_contents(plan_id, seqs)

    listed = session.state.read_changes(plan_id, choose_listed(changes)["seq"].tolist())
    parts = session.state.iterate_changes(plan_id, len(changes))
    masked = session.config.report.personal_data == "masked"
    wording = name_places(
        session.config, masked=masked, adopted=session.state.adopted().get("event")
    )
    return _try_writing(
        write_report, folder, report, listed, parts, wording=wording, read_contents=read_contents
    )


def _try_writing(write: Callable[..., Any], *arguments: Any, **options: Any) -> ReportError | None:
    """What keeps a report from being written is told after the run is closed: what it sent has been
    sent all the same.
    """
    try:
        write(*arguments, **options)
    except ReportError as error:
        return error
    return None


def _notes(session: Session, **counts: int) -> dict[str, int]:
    counts["events_of_a_killed_run"] = session.lost_requests
    counts["events_unknown_since_a_restore"] = session.restored
    counts["minutes_that_the_clock_differs_from_essentry"] = session.minutes_off
    counts["events_brought_back_that_a_clock_ahead_had_ended"] = session.brought_back
    return {name: count for name, count in counts.items() if count}


def _exit_code(
    session: Session, changes: pd.DataFrame, problems: pd.DataFrame, error: SyncError | None
) -> int:
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


def _plan_facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the report tells of the plan and of who released it."""
    facts = {
        "plan_id": stored["plan_id"],
        "digest": stored["digest"],
        "changes": int(stored["changes"]),
        "full": bool(stored["full"]),
    }
    facts["status"] = stored["status"]
    if stored["approved_at"] is None:
        return facts | {"approval": None}
    who = {
        "by": stored["approved_by"],
        "reason": stored["approve_reason"] or "",
        "at": stored["approved_at"].isoformat(),
    }
    return facts | {"approval": who | {"plan_id": stored["approval_of"] or stored["plan_id"]}}


def _save_policy(session: Session, stored: Mapping[str, Any]) -> None:
    """What was sent was sent under the settings of the plan, and answers what its effect could show
    of them (S24).
    """
    if stored["policy_json"]:
        digest, policy = orjson.loads(stored["policy_json"])
        session.state.save_policy(digest, policy)


def _load_facts(session: Session) -> dict[str, Any] | None:
    load = session.load
    return (
        None
        if load is None
        else {"requests": load.requests, "retries": load.retries, "counts": load.counts}
    )


def _wording(session: Session) -> Wording:
    return name_places(session.config, masked=session.config.report.personal_data == "masked")


def _surroundings(session: Session) -> dict[str, Any]:
    """What a report says beside its own run: names, earlier runs, the visits that essentry expects,
    and what was read back of it.
    """
    return {
        "wording": _wording(session),
        "history": []
        if _is_part(session)
        else list_history(session.state.runs(), until=session.run.run_id),
        "visits": session.state.count_visits(
            session.run.as_of, session.run.as_of + timedelta(days=VISIT_DAYS)
        ),
        "readings": {}
        if _is_part(session)
        else tell_readings(session.config, session.state, now=session.run.as_of),
    }
