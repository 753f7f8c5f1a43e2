"""The log of a run: one record a step, for people (text) or machines (JSON), on standard error.
Names nobody.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

LOGGER = logging.getLogger("essentry_sync")
# with the log off, logging's last resort would print failures a second time
LOGGER.addHandler(logging.NullHandler())
_HANDLER = "essentry-sync"


def set_up_log(form: Literal["off", "text", "json"]) -> None:
    """Write records to standard error in this form; a second call replaces the first. Prefect's UI
    gets them whatever the form.
    """
    LOGGER.setLevel(logging.INFO)
    for handler in [handler for handler in LOGGER.handlers if handler.name == _HANDLER]:
        LOGGER.removeHandler(handler)
    if form == "off":
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER
    if form == "json":
        renamed = {"asctime": "time", "levelname": "level"}
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{message}",
                style="{",
                rename_fields=renamed,
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(
            logging.Formatter("{asctime} {levelname} {run_id} {message}", style="{")
        )
    LOGGER.addHandler(handler)


def log_step(run_id: str, step: str, text: str, *, failed: bool = False, **counters: Any) -> None:
    """One record: which run, which step, and its counters as fields of their own."""
    LOGGER.log(
        logging.ERROR if failed else logging.INFO,
        text,
        extra={"run_id": run_id, "step": step, **counters},
    )


def log_outcome(report: Mapping[str, Any], exit_code: int) -> None:
    """The last record of a run: the verdict, and what was counted."""
    counters = {
        name: report[name]
        for name in ("counts", "outcomes", "people_mailed", "seconds", "load")
        if report.get(name)
    }
    text = str(report["verdict"])
    log_step(
        report["run"]["run_id"],
        "end",
        text,
        failed=exit_code not in (0, 3),
        exit_code=exit_code,
        **counters,
    )
