"""What essentry holds that no event of the snapshot explains. Pure.

essentry's list of invitations names no sourceId, so an invitation is recognised by its location,
its start and who the guest is. What is left over may be an orphan of a lost state, or somebody whom
reception invited by hand: a person decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from transforms.masking import mask_address, mask_name
from transforms.operations.listed import is_whole

Key = tuple[int, datetime, str]


def find_left_over(
    listed: Iterable[Mapping[str, Any]],
    payloads: Iterable[str],
    *,
    places: Mapping[str, tuple[int, datetime]] | None = None,
) -> list[dict[str, Any]]:
    """Invitations without an explanation, by location and start.

    listed: invitations as `GET /locations/{id}/invitations` answers them. payloads: canonical JSON
    of what is confirmed. An invitation explains one listed one: a guest who was invited twice to a
    meeting is left over once. places: location and start by sourceId, of events whose payload does
    not say them: of what was taken over from another integration only ids are known, so each
    explains one invitation there, whoever that is.
    """
    explained: Counter[Key] = Counter()
    for text in payloads:
        payload = orjson.loads(text)
        location, start = (places or {}).get(payload.get("sourceId", ""), (None, None))
        location, start = payload.get("locationId", location), payload.get("startsAt", start)
        if location is None or start is None:
            continue
        for guest in payload.get("invitations", []):
            explained[_key(location, start, guest)] += 1
    left: list[dict[str, Any]] = []
    for invitation in listed:
        if not is_whole(invitation):
            left.append(_tell_unreadable(invitation))
            continue
        event, contact = invitation["event"], invitation.get("contact") or {}
        key = _key(event["locationId"], event["startsAt"], contact)
        unnamed = (key[0], key[1], "")
        if explained[key] or explained[unnamed]:
            explained[key if explained[key] else unnamed] -= 1
            continue
        guest = (
            mask_address(contact["email"]) if contact.get("email") else mask_name(_name(contact))
        )
        left.append(
            {
                "location_id": key[0],
                "starts_at": key[1].isoformat(),
                "event": event.get("name"),
                "guest": guest,
                "invitation": invitation.get("id"),
            }
        )
    return sorted(
        left, key=lambda row: (row["location_id"] or 0, row["starts_at"], str(row["invitation"]))
    )


def _tell_unreadable(invitation: Mapping[str, Any]) -> dict[str, Any]:
    """One that may be anybody's."""
    at = datetime.fromisoformat(invitation["event"]["startsAt"]).astimezone(UTC)
    return {
        "location_id": None,
        "starts_at": at.isoformat(),
        "event": None,
        "guest": "cannot be read",
        "invitation": invitation.get("id"),
    }


def _key(location: int, start: str | datetime, guest: Mapping[str, Any]) -> Key:
    at = datetime.fromisoformat(start) if isinstance(start, str) else start
    return int(location), at.astimezone(UTC), (guest.get("email") or _name(guest)).casefold()


def _name(guest: Mapping[str, Any]) -> str:
    return f"{guest.get('firstName') or ''} {guest.get('lastName') or ''}".strip()
