"""The Prefect flow of a night. Its tasks are the steps of flows.nightly, in the order of the data."""

from __future__ import annotations

import os

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # before Prefect is imported: no calls outside

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows import nightly
from flows.nightly import Result, Session, open_session
from schemas.config import Config, load_config
from schemas.errors import SyncError
from transforms.report import render_markdown

_step = {"cache_policy": NO_CACHE, "persist_result": False}

extract = task(nightly.extract, name="extract", tags=["source"], **_step)  # type: ignore[call-overload]
plan = task(nightly.plan, name="validate, transform, diff, guard", tags=["plan"], **_step)  # type: ignore[call-overload]
load = task(nightly.load, name="load", tags=["essentry"], **_step)  # type: ignore[call-overload]


@task(name="report", tags=["report"], **_step)  # type: ignore[call-overload]
def report(session: Session) -> Result:
    """Write the report's files and show its summary as an artifact, people masked."""
    result = nightly.finish(session)
    create_markdown_artifact(render_markdown(result.report), key="essentry-sync-report", description=result.report["verdict"])
    return result


@flow(name="essentry-sync", flow_run_name="sync {label}", log_prints=False, persist_result=False, validate_parameters=False)
def sync_flow(label: str, config: Config, as_of: datetime | None, full: bool, dry_run: bool, progress: Any) -> Result:
    """One night: extract, plan, load, report. Raises SyncError after the report is written."""
    with open_session(config, kind="plan" if dry_run else "sync", as_of=as_of) as session:
        try:
            extracted, failed = extract(session)
            planned = plan(session, extracted, failed, full=full)
            if not dry_run:
                load(session, planned, progress=progress)
        except SyncError as error:
            nightly.finish(session, error=error)
            raise
        return report(session)


@flow(name="sync", flow_run_name="sync {config}", persist_result=False)
def sync(config: str = "essentry-sync.toml", full: bool = False, dry_run: bool = False) -> int:
    """The deployment's entry point: a night by a configuration file; returns the exit code, fails on 2, 5 and 6.

    config: path of the TOML file. full: send every current event again. dry_run: plan and report only.
    """
    return sync_flow(Path(config).stem, load_config(Path(config)), None, full, dry_run, None).exit_code


def run_sync(
    config: Config, *, as_of: datetime | None = None, full: bool = False, dry_run: bool = False, progress: Callable[..., None] | None = None
) -> Result:
    """Run the flow in this process, on the configured Prefect server or a temporary one."""
    return sync_flow(", ".join(config.sources), config, as_of, full, dry_run, progress)
