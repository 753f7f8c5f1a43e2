"""What an empty value does in a request: the documentation says nothing of it, so each reading can
be set. No state here.

Strict in what is documented: only a field that is sent changes.
"""

from __future__ import annotations

from typing import Any, cast

from flows.sandbox.records import SandboxSettings
from schemas.essentry import Event

ERROR_EMPTY_VALUE = "ERROR_EMPTY_VALUE"
"""The sandbox's own code."""
_DROP = object()


class EmptyRefused(ValueError):
    """The event holds an empty value that this sandbox refuses."""


def read_empties(event: Event, settings: SandboxSettings) -> Event:
    """The event as it is understood: what is ignored is left out, null stands for a value that is
    taken away.

    Raises EmptyRefused.
    """
    return cast(Event, _read(cast(dict[str, Any], event), settings))


def _read(part: dict[str, Any], settings: SandboxSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key == "invitations" and value is not None:
            found[key] = [_read(guest, settings) for guest in value]
        elif isinstance(value, dict):
            found[key] = _read(value, settings)
        elif (kept := _read_value(value, settings)) is not _DROP:
            found[key] = kept
    return found


def _read_value(value: Any, settings: SandboxSettings) -> Any:
    reading = (
        settings.null
        if value is None
        else settings.empty_text
        if value == ""
        else settings.empty_list
        if value == []
        else "clears"
    )
    if reading == "refused":
        raise EmptyRefused
    return value if reading == "clears" else _DROP


def merge_fields(
    before: dict[str, Any], sent: dict[str, Any], settings: SandboxSettings
) -> dict[str, Any]:
    """The fields after a request: those sent change, null takes one away, custom fields one by one
    or all at once.
    """
    after = before | sent
    own = sent.get("customFields")
    if own is not None and settings.custom_fields == "merged":
        after["customFields"] = before.get("customFields", {}) | own
    return _without_nulls(after)


def _without_nulls(part: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, dict) else value
        for key, value in part.items()
        if value is not None
    }
