"""Prefect automations that tell a person: a run failed, a run waits for an approval, a run did not
happen. Prefect watches and notifies.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import AutomationCore, EventTrigger, Posture
from prefect.events.actions import SendNotification
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.engine.server import check_server, server_url
from schemas.errors import ConfigurationError

FLOW = {"prefect.resource.role": "flow", "prefect.resource.name": "essentry-sync"}
FLOWS: dict[str, str | list[str]] = {
    "prefect.resource.role": "flow",
    "prefect.resource.name": ["essentry-sync", "essentry-audit", "essentry-checkins"],
}
"""Those whose failure is told. Of a night alone it is told that there was none."""
RUN = {"prefect.resource.id": "prefect.flow-run.*"}
TOLD = "{{ flow_run.name }} ended as {{ flow_run.state.name }}: {{ flow_run.state.message }}"


def build_automations(block_document_id: UUID, *, max_age: timedelta) -> list[AutomationCore]:
    """The three automations; `max_age`: a sync that ended well is wanted so often."""

    def when(*states: str) -> EventTrigger:
        return EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in states},
            match=RUN,
            match_related=FLOWS,
            posture=Posture.Reactive,
        )

    def tell(subject: str, body: str) -> list[SendNotification]:
        return [SendNotification(block_document_id=block_document_id, subject=subject, body=body)]

    late = EventTrigger(
        expect={"prefect.flow-run.Completed", "prefect.flow-run.Incomplete"},
        match=RUN,
        match_related=FLOW,
        posture=Posture.Proactive,
        threshold=1,
        within=max_age,
    )
    hours = f"{max_age.total_seconds() / 3600:g}"
    return [
        AutomationCore(
            name="essentry-sync: failed",
            description="A run failed, crashed or timed out.",
            trigger=when("Failed", "Crashed", "TimedOut"),
            actions=tell("essentry-sync failed", TOLD),
        ),
        AutomationCore(
            name="essentry-sync: waiting for approval",
            description="A guard stopped a run; its plan waits for a person.",
            trigger=when("AwaitingApproval", "Paused", "Suspended"),
            actions=tell(
                "essentry-sync waits for an approval",
                TOLD + ". Read the report, then approve and apply, or correct the source.",
            ),
        ),
        AutomationCore(
            name="essentry-sync: late",
            description="No run has ended well for too long: the dead man's switch.",
            trigger=late,
            actions=tell(
                "essentry-sync did not run",
                f"No sync has ended well for {hours} hours. Is the worker (or `serve`) at work?",
            ),
        ),
    ]


def set_up_alerts(block: str, *, max_age: timedelta) -> list[str]:
    """Create the automations, or replace those of an earlier call; returns their names.

    block: a notification block as TYPE/NAME, e.g. slack-webhook/operations. Raises
    ConfigurationError.
    """
    if server_url() is None:
        raise ConfigurationError(
            "alerts live in a Prefect server that stays: name it in PREFECT_API_URL"
        )
    check_server()
    kind, _, name = block.partition("/")
    try:
        with get_client(sync_client=True) as client:
            document = _find_block(client, kind, name)
            automations = build_automations(document, max_age=max_age)
            for automation in automations:
                for old in client.read_automations_by_name(automation.name):
                    client.delete_automation(old.id)
                client.create_automation(automation)
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ConfigurationError(
            f"the Prefect server {server_url()} refused the automations ({type(error).__name__})"
        ) from None
    return [automation.name for automation in automations]


def _find_block(client: SyncPrefectClient, kind: str, name: str) -> UUID:
    try:
        return client.read_block_document_by_name(
            name, block_type_slug=kind, include_secrets=False
        ).id
    except ObjectNotFound:
        raise ConfigurationError(
            f"there is no block {kind}/{name}: `prefect block ls` lists them; "
            "create a notification block in Prefect's UI, or by `prefect block create "
            "slack-webhook`"
        ) from None
