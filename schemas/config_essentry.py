"""`[essentry]`: where essentry is, and how it is asked."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    field_validator,
)

from schemas.config_values import (
    MOST_SECONDS,
    Section,
    Unit,
    is_loopback,
)


class EssentryConfig(Section):
    """`[essentry]`: where and how to send."""

    base_url: str = Field(
        "https://app.essentry.com/api/v2",
        description="API address; plain http only for this machine",
    )
    token_env: str = Field(
        "ESSENTRY_TOKEN", description="environment variable with the integration token"
    )
    agent_token_env: str = Field(
        "ESSENTRY_AGENT_TOKEN", description="environment variable with the agent token (a UUID)"
    )
    token_block: str | None = Field(
        None, description="Prefect Secret block with the integration token, instead of token_env"
    )
    agent_token_block: str | None = Field(
        None, description="Prefect Secret block with the agent token"
    )
    batch_events: int = Field(100, ge=1, le=1_000_000, description="most events in one request")
    batch_bytes: int = Field(
        1_000_000, ge=1_000, le=10**10, description="most bytes in one request"
    )
    concurrency: Annotated[int, Unit("requests")] = Field(
        4, ge=1, le=64, description="requests under way at once"
    )
    timeout_seconds: float = Field(30, gt=0, le=MOST_SECONDS, description="time for one request")
    retry_budget_seconds: float = Field(
        300, ge=0, le=MOST_SECONDS, description="time for one batch with all its retries"
    )
    max_rejected_batches: int = Field(
        5, ge=1, description="stop after so many batches rejected whole: the fault is ours"
    )
    guest_list: Literal["additive", "authoritative"] = Field(
        "additive",
        description=(
            "additive: changes only, what reception did by hand stays; authoritative: "
            "our list is the whole list"
        ),
    )
    send_updated_at: bool = Field(
        False, description="send updatedAt; what essentry does with an old one is not documented"
    )
    payload: Literal["full", "partial"] = Field(
        "full", description="full: all fields of a changed event; partial: only the changed ones"
    )
    clearing: Literal["unproven", "empty", "null"] = Field(
        "unproven",
        description=(
            "how a value is taken away, which essentry does not document: unproven: sent empty, "
            "and named as what may still stand; empty, null: that an empty value, or null, "
            "takes it away was tried at your essentry"
        ),
    )
    invitation_ids: Literal["per-event", "shared", "sealed"] = Field(
        "per-event",
        description="per-event: an invitation for each event; shared: one contact for all of them; "
        "sealed: as per-event, and new ones end in a seal that nobody can guess",
    )
    invitation_secret_env: str | None = Field(
        None,
        description=(
            "environment variable with the secret of the seals; without one they rest on the salt "
            "of the state"
        ),
    )
    on_reappear: Literal["hold", "send"] = Field(
        "hold",
        description=(
            "an event that comes back after it was deleted in essentry; hold: it is reported, "
            "and not sent; send: it is sent again"
        ),
    )
    on_reappear_ours: Literal["recreate", "hold"] = Field(
        "recreate",
        description=(
            "an event that comes back after it was deleted here as cancelled, guestless or merged; "
            "recreate: it is made anew; hold: it is reported, and not sent"
        ),
    )
    cancel_under_way: bool = Field(
        False,
        description=(
            "whether guests are cancelled while their visit is under way; otherwise that is held, "
            "told, and ends with the visit"
        ),
    )
    delete_done_codes: list[str] = Field(
        default_factory=lambda: ["ERROR_EVENT_NOT_FOUND", "ERROR_NOT_FOUND", "ERROR_EVENT_DELETED"],
        description="answers to a delete that mean it is done already",
    )

    @field_validator("base_url")
    @classmethod
    def _safe_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) address such as https://app.essentry.com/api/v2")
        if parts.username or parts.password:
            raise ValueError("must not hold a user or password")
        if parts.scheme == "http" and not is_loopback(value):
            raise ValueError("plain http is allowed for this machine only; use https")
        return value.rstrip("/")
