"""A run that is restricted to single events, to those of a guest, or to a part by source, location
and day: everything is read and compared, and the chosen changes alone are sent, by the ledger,
guards and proofs of any night. Each event is explained on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.restrict import describe_selected
from flows.night.run import PART
from flows.night.session import Result, Session, open_session
from flows.night.watch import Watch
from flows.operations.explain import explain_events
from schemas.config import Config
from schemas.errors import SyncError
from transforms.guards.restriction import Restriction


@dataclass(frozen=True)
class PartResult:
    """How it ended; the steps of each event, as `explain_events` has them; what came along, in
    words; and the events that it was about.
    """

    result: Result
    explained: list[dict[str, Any]]
    along: str
    selected: frozenset[str]


def run_part(
    config: Config,
    only: Restriction,
    *,
    as_of: datetime | None = None,
    full: bool = False,
    send: bool = True,
    progress: Callable[..., None] | None = None,
) -> PartResult:
    """Plan the chosen changes, and send them unless a guard holds them or `send` is false.

    Raises ConfigurationError when nothing can be chosen so, and SyncError, once the report is
    written, as a night does.
    """
    with open_session(config, kind=PART if send else "plan", as_of=as_of) as session:
        session.watch(progress)
        watch = Watch(only, timezone=config.report.timezone)
        try:
            planned = nightly.plan(session, *nightly.extract(session), full=full, watch=watch)
            if send:
                nightly.load(session, planned, progress=progress)
        except SyncError as error:
            finish(session, error=error)
            raise
        session.begins("report")
        result = finish(session)
        return _explain(session, watch, result)


def _explain(session: Session, watch: Watch, result: Result) -> PartResult:
    planned = session.planned
    if planned is None or planned.selected is None:
        raise RuntimeError("a restricted run has a selection")
    explained = explain_events(session.config, session.state, planned, watch)
    return PartResult(
        result, explained, describe_selected(planned.selected, watch.only), planned.selected.ids
    )
