"""What is sent of one event: the whole of it, or what has changed."""

from __future__ import annotations

import orjson

from transforms.desired.payload import list_guests

# texts that are sent empty when they lost their value: a field left out of an update stays as it was
CLEARED_AS_EMPTY = ("description", "firstName", "lastName", "companyName", "email")


def dump_payload(payload: dict) -> str:
    """The canonical JSON of a payload that was changed as an object; guests sorted by id."""
    guests = sorted(payload.get("invitations", []), key=lambda guest: guest["sourceId"])
    return orjson.dumps({**{k: v for k, v in payload.items() if k != "invitations"}, "invitations": guests}).decode()


def build_body(
    before: dict | None,
    after: dict,
    *,
    complete: bool,
    additive: bool,
    partial: bool,
    removed: set[str],
    deleted_at: str,
    updated_at: str | None = None,
) -> dict:
    """The event as a request carries it.

    complete: every guest is listed (creates, events whose last outcome is unknown, a full re-send); otherwise an additive list holds added, changed
    and removed guests only, so that what reception did by hand stays. removed: ids to take out by name, with `deletedAt`.
    """
    old, new = list_guests(before), list_guests(after)
    body = {key: value for key, value in after.items() if key != "invitations"}
    if partial and before is not None and not complete:
        body = {key: value for key, value in body.items() if key == "sourceId" or before.get(key) != value}
    if before is not None:
        _clear_missing(before, after, body)
    if updated_at:
        body["updatedAt"] = updated_at
    if not additive:
        if complete or not partial or old != new:
            body["invitations"] = [_with_cleared(old.get(key), guest) for key, guest in new.items()]
        return body
    sent = [_with_cleared(old.get(key), guest) for key, guest in new.items() if complete or old.get(key) != guest]
    sent += [{"sourceId": key, "deletedAt": deleted_at} for key in sorted(removed - set(new))]
    if sent:
        body["invitations"] = sent
    return body


def _clear_missing(before: dict, after: dict, body: dict) -> None:
    for key in CLEARED_AS_EMPTY:
        if key in before and key not in after:
            body[key] = ""
    gone = set(before.get("customFields", {})) - set(after.get("customFields", {}))
    if gone:
        body["customFields"] = {**after.get("customFields", {}), **dict.fromkeys(sorted(gone), "")}


def _with_cleared(old: dict | None, guest: dict) -> dict:
    if old is None:
        return guest
    sent = dict(guest)
    for key in ("firstName", "lastName", "companyName"):
        if key in old and key not in guest:
            sent[key] = ""
    gone = set(old.get("customFields", {})) - set(guest.get("customFields", {}))
    if gone:
        sent["customFields"] = {**guest.get("customFields", {}), **dict.fromkeys(sorted(gone), "")}
    return sent
