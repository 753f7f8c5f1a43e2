"""What Prefect's UI shows of a run: the report as Markdown, a table of what needs attention, a link to the page, and progress while loading.

People are masked always. An artifact that cannot be stored is a warning in the log: it never ends a night.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_logger

from flows.night.session import Result
from flows.report.files import PAGE
from schemas.config import Config
from transforms.masking import mask_text
from transforms.report.markdown import list_attention, render_markdown

PROGRESS_SECONDS = 2.0


def publish_report(result: Result, config: Config) -> None:
    """The artifacts of a written report; of a run that ended before there was a plan, the words and the link."""
    report = result.report
    verdict = mask_text(report["verdict"])
    _try(create_markdown_artifact, render_markdown(report), key="essentry-sync-report", description=verdict)
    rows = list_attention(report)
    if rows:
        _try(create_table_artifact, rows, key="essentry-sync-rejects", description="what needs attention, and what to do")
    page = result.folder / PAGE
    link = f"{config.report.url.rstrip('/')}/{result.folder.name}/{PAGE}" if config.report.url else page.as_uri()
    _try(create_link_artifact, link, link_text=f"{PAGE} of {result.folder.name}", key="essentry-sync-page", description=verdict)


class LoadProgress:
    """A progress artifact of the load, updated every few seconds; hands each call on to `then`. Make it in the task that loads."""

    def __init__(self, then: Callable[..., None] | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.then, self.clock = then, clock
        self.shown_at = clock()
        self.artifact = _try(create_progress_artifact, 0.0, key="essentry-sync-progress", description="changes sent")

    def __call__(self, done: int, total: int | None, outcomes: Sequence[Any]) -> None:
        if self.then is not None:
            self.then(done, total, outcomes)
        now = self.clock()
        if self.artifact is None or not total or (done < total and now - self.shown_at < PROGRESS_SECONDS):
            return
        self.shown_at = now
        _try(update_progress_artifact, self.artifact, progress=100.0 * done / total, description=f"{done:,} of {total:,} changes sent")


def _try(publish: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return publish(*arguments, **options)
    except Exception as error:  # whatever the server or the network does, the night goes on
        get_logger("essentry_sync").warning("an artifact could not be stored: %s", type(error).__name__)
        return None
