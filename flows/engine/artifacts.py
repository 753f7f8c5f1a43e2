"""What Prefect's UI shows of a run: the report as Markdown, a table of what needs attention, a link
to the page, and progress while loading.

People are masked always. An artifact that cannot be stored is a warning in the log: it never ends a
night, nor does a silent server hold it up.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
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
PUBLISH_SECONDS = 10.0
"""So long is waited for the artifacts of a report; what is not stored by then is left out."""
QUEUE = 8


class Onlooker:
    """Calls in the order in which they were posted, in a thread of their own. One that is posted
    while too many wait is dropped.

    The thread works with the context in which the onlooker was made, which is the engine's task.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE)
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name="onlooker", daemon=True
        )
        self._thread.start()

    def post(self, call: Callable[[], None]) -> None:
        """Have it called some time, or never; returns at once."""
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            get_logger("essentry_sync").debug(
                "the Prefect server is slow: something that it would show was left out"
            )

    def end(self, seconds: float) -> bool:
        """Take no more, and wait for what was posted at most so long. False: something is left."""
        until = time.monotonic() + seconds
        try:
            self._calls.put(None, timeout=seconds)
        except queue.Full:
            return False
        self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def publish_report(result: Result, config: Config) -> bool:
    """Store the artifacts of a written report; of a run that ended before there was a plan, the
    words and the link.

    False: the server did not take them in time.
    """
    report = result.report
    verdict = mask_text(report["verdict"])
    page = result.folder / PAGE
    link = (
        f"{config.report.url.rstrip('/')}/{result.folder.name}/{PAGE}"
        if config.report.url
        else page.as_uri()
    )
    rows = list_attention(report)

    name = f"{PAGE} of {result.folder.name}"
    attention = "what needs attention, and what to do"
    calls = [
        partial(
            create_markdown_artifact,
            render_markdown(report),
            key="essentry-sync-report",
            description=verdict,
        )
    ]
    if rows:
        calls.append(
            partial(create_table_artifact, rows, key="essentry-sync-rejects", description=attention)
        )
    calls.append(
        partial(
            create_link_artifact,
            link,
            link_text=name,
            key="essentry-sync-page",
            description=verdict,
        )
    )
    stored: list[Any] = []

    def publish() -> None:
        for call in calls:
            stored.append(_try(call))

    onlooker = Onlooker()
    onlooker.post(publish)
    if onlooker.end(PUBLISH_SECONDS):
        return None not in stored
    get_logger("essentry_sync").warning("the Prefect server is silent: it may not show the report")
    return False


class LoadProgress:
    """A progress artifact of the load, updated every few seconds; hands each call on to `then`.
    Make it in the task that loads.

    It only posts: the load's one thread for the ledger never waits for the engine.
    """

    def __init__(
        self, then: Callable[..., None] | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.then, self.clock = then, clock
        self.shown_at = clock()
        self.artifact: Any = None
        for told in ("begins", "tell"):  # what `then` wants to know beside
            if hasattr(then, told):
                setattr(self, told, getattr(then, told))
        self.onlooker = Onlooker()
        self.onlooker.post(self._create)

    def __call__(self, done: int, total: int | None, outcomes: Sequence[Any]) -> None:
        if self.then is not None:
            self.then(done, total, outcomes)
        now = self.clock()
        if not total or (done < total and now - self.shown_at < PROGRESS_SECONDS):
            return
        self.shown_at = now
        self.onlooker.post(lambda: self._update(done, total))

    def end(self) -> None:
        """What was sent is shown, if the server answers soon."""
        self.onlooker.end(PROGRESS_SECONDS)

    def _create(self) -> None:
        self.artifact = _try(
            create_progress_artifact, 0.0, key="essentry-sync-progress", description="changes sent"
        )

    def _update(self, done: int, total: int) -> None:
        if self.artifact is not None:
            _try(
                update_progress_artifact,
                self.artifact,
                progress=100.0 * done / total,
                description=f"{done:,} of {total:,} changes sent",
            )


def _try(publish: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return publish(*arguments, **options)
    except Exception as error:  # whatever the server or the network does, the night goes on
        get_logger("essentry_sync").warning(
            "an artifact could not be stored: %s", type(error).__name__
        )
        return None
