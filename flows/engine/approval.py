"""A flow run that waits for the approval of its plan: by the form of the paused run in Prefect, or
by `essentry-sync approve`.

While it waits it holds no lease: other runs may work, and supersede the plan. The form needs
nothing but the engine's own pause; the command needs nothing but the state store, which the waiting
process looks at, and then it resumes itself. So both work with any Prefect server.
"""

from __future__ import annotations

import contextvars
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from pydantic import BaseModel, Field

from flows.night.session import Session
from flows.state.store import State

LOOK_SECONDS = 5
"""How often the state store and the engine are asked."""
GRACE_SECONDS = 60
"""The engine's own limit is later than ours, so that a run nobody answers ends in a state of its
own.
"""


class Answer(BaseModel):
    """The form of the paused flow run."""

    approve: bool = Field(False, description="Send this plan, as the report of this run shows it")
    by: str = Field(description="Who approves; kept with the plan")
    reason: str = Field("", description="Why; kept with the plan")


def wait_for_approval(session: Session, plan_id: str) -> str:
    """Let go of the lease and wait. Returns where the plan stands then: `approved`, or `waiting`,
    `superseded`, `applied` …
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow run can wait for an approval")
    if session.lease is not None:
        session.lease.let_go()
    seconds = session.config.guards.approval_wait_minutes * 60
    get_run_logger().info(
        "waits %g minutes for `essentry-sync approve %s`, or for this run's form in Prefect",
        seconds / 60,
        plan_id,
    )
    ended = threading.Event()
    arguments = (session.state, plan_id, context.flow_run.id, time.monotonic() + seconds, ended)
    watch = contextvars.copy_context()  # the engine's settings are of this context
    thread = threading.Thread(
        target=lambda: watch.run(_resume_when_answered, *arguments), name="approval", daemon=True
    )
    session.state.mark_waiting(session.run.run_id, waits=True)
    thread.start()
    try:
        answer = pause_flow_run(
            wait_for_input=Answer, timeout=int(seconds + GRACE_SECONDS), poll_interval=LOOK_SECONDS
        )
    except FlowPauseTimeout:
        answer = None
    finally:
        ended.set()
        thread.join()
        session.state.mark_waiting(session.run.run_id, waits=False)
    if answer is not None and answer.approve:
        session.state.approve_plan(
            plan_id, by=answer.by, reason=answer.reason, now=datetime.now(UTC)
        )
    return session.state.plan_approval(plan_id)[0]


def _resume_when_answered(
    state: State, plan_id: str, flow_run_id: UUID, until: float, ended: threading.Event
) -> None:
    """Resume the flow run when the plan waits no more in the state store, or nobody has answered in
    time.
    """
    with get_client(sync_client=True) as client:
        while not ended.wait(LOOK_SECONDS):
            status, by, reason = state.plan_approval(plan_id)
            # what another run is sending is not settled yet
            if status not in ("waiting", "applying") or time.monotonic() >= until:
                answer = {"approve": status == "approved", "by": by or "nobody", "reason": reason}
                # again until it is heard: the form may not be there yet, or have been sent a moment
                # ago
                client.resume_flow_run(flow_run_id, run_input=answer)
