"""An invitation as essentry lists it: whether it can be read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_TEXTS = ("email", "firstName", "lastName")


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether place, end, title and guest of a listed invitation can be read. Its start can, or the
    reader would have refused it.
    """
    event, contact = row["event"], row.get("contact") or {}
    if not isinstance(contact, Mapping):
        return False
    texts = [event.get("name"), event.get("endsAt"), *(contact.get(name) for name in _TEXTS)]
    if not all(text is None or isinstance(text, str) for text in texts):
        return False
    try:
        ends_at = datetime.fromisoformat(event["endsAt"]) if event.get("endsAt") else None
        int(event["locationId"])
    except (KeyError, TypeError, ValueError):
        return False
    return ends_at is None or ends_at.tzinfo is not None
