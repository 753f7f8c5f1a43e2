"""What a run did as a text file for Prometheus' node exporter; needs the extra `metrics`
(prometheus-client).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError, ReportError


def check_metrics(file: Path | None) -> None:
    """Raise ConfigurationError, before a run begins, when its metrics could not be written for want
    of the library.
    """
    if file is not None and find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "report.metrics_file needs prometheus-client: install essentry-sync[metrics], "
            "or leave the key out"
        )


def write_metrics(
    file: Path,
    report: Mapping[str, Any],
    exit_code: int,
    *,
    finished_at: datetime,
    last_success: datetime | None,
) -> None:
    """Replace the file with the figures of this run; `last_success`: the end of the newest run that
    ended well. Raises ReportError.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()

    def gauge(name: str, text: str, values: Mapping[str, float], label: str) -> None:
        metric = Gauge(f"essentry_sync_{name}", text, [label], registry=registry)
        for key, value in values.items():
            metric.labels(key).set(value)

    def single(name: str, text: str, value: float) -> None:
        Gauge(f"essentry_sync_{name}", text, registry=registry).set(value)

    single("last_run_timestamp_seconds", "end of the last run", finished_at.timestamp())
    single("last_exit_code", "exit code of the last run", exit_code)
    if last_success is not None:
        single(
            "last_success_timestamp_seconds",
            "end of the last run that ended well",
            last_success.timestamp(),
        )
    gauge("events", "events by what was decided", report.get("counts", {}), "action")
    gauge("outcomes", "changes by their outcome", report.get("outcomes", {}), "outcome")
    people = {
        kind: count for kind, count in report.get("people_mailed", {}).items() if kind != "mails"
    }
    gauge("people_mailed", "distinct people mailed", people, "kind")
    gauge("step_seconds", "seconds by step", report.get("seconds", {}), "step")
    load = report.get("load") or {}
    single("requests", "requests to essentry", load.get("requests", 0))
    single("retries", "requests tried again", load.get("retries", 0))
    single("guards_tripped", "guards that tripped", len(report.get("guards", [])))
    single(
        "quarantined_rows",
        "rows set aside",
        sum(group["rows"] for group in report.get("quarantined", [])),
    )
    single(
        "failed_sources", "sources that could not be read", len(report.get("failed_sources", {}))
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise ReportError(
            f"the metrics file {file} cannot be written ({error.strerror}): "
            "correct report.metrics_file"
        ) from None
