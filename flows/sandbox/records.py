"""What the sandbox holds: events, guests, contacts, mails, and how it is set up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

SANDBOX_TOKEN = "sandbox-token"  # noqa: S105  public on purpose, opens nothing but a sandbox

SANDBOX_AGENT_TOKEN = "5a4db0c5-0000-4000-8000-000000000001"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """How a sandbox behaves."""

    token: str = SANDBOX_TOKEN
    agent_token: str = SANDBOX_AGENT_TOKEN
    locations: Mapping[int, Collection[int]] | None = None
    """Location id → ids of its entrances; None accepts every location."""
    cannot_host: Collection[str] = ()
    """E-mails of employees that may not host anywhere."""
    on_deleted: Literal["error", "update", "resurrect"] = "error"
    """What a deleted sourceId does when it is sent again: not documented. `error`:
    ERROR_EVENT_DELETED; `update`: SUCCESS, but the event stays deleted and nobody is mailed;
    `resurrect`: it is live again and all its guests are invited. A second deletion is SUCCESS
    without mails, except with `error`."""
    empty_text: Literal["clears", "ignored", "refused"] = "clears"
    """What "" does in a field: not documented. `clears`: it is the value; `refused`:
    ERROR_EMPTY_VALUE for the event.
    """
    empty_list: Literal["clears", "ignored", "refused"] = "clears"
    """What an empty list of access profiles does: not documented. An empty list of invitations is
    the complete list.
    """
    null: Literal["clears", "ignored", "refused"] = "refused"
    """What null does in a field: not documented. `refused`: 400 for the whole request, as for any
    value of a wrong type.
    """
    custom_fields: Literal["replaced", "merged"] = "replaced"
    """Whether the object of custom fields that is sent takes the place of the old one, or is laid
    over it: not documented.
    """
    open_visits: Literal["hidden", "listed"] = "hidden"
    """Whether check-ins of people still inside are answered: the filter is on leaving, and what it
    says of them is not documented. `hidden`: never; `listed`: in every window."""
    persist_path: Path | None = None
    """SQLite file that keeps the state over a restart."""
    count_only: bool = False
    """Check shapes, store nothing but counts: for benchmarks."""
    max_bytes: int | None = None
    """Larger bodies get 413; the largest request is not documented."""
    max_events: int | None = None
    """More events in one request get 413."""


@dataclass(slots=True)
class StoredContact:
    """A guest as a person: one for each invitation sourceId."""

    id: int
    fields: dict[str, Any]
    events: set[str] = field(default_factory=set)


@dataclass(slots=True)
class StoredGuest:
    """An invitation: a contact in one event; `source_id` is None when it came without."""

    id: int
    source_id: str | None
    fields: dict[str, Any]
    created_at: str
    updated_at: str


@dataclass(slots=True)
class StoredEvent:
    """An event; with `deleted_at` set it is a tombstone and its guests are cancelled."""

    id: int
    fields: dict[str, Any]
    guests: dict[str, StoredGuest]
    created_at: str
    updated_at: str
    deleted_at: str | None = None


Mail = tuple[str, str, str | None, str, int, str]
"""kind, event sourceId, invitation sourceId, e-mail, request number, instant (ISO 8601, UTC)."""


def parse_instant(text: str) -> datetime:
    """Parse an instant that the wire shapes accepted."""
    return datetime.fromisoformat(text)
