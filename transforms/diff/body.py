"""What is sent of one event: the whole of it, or what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from transforms.desired.payload import list_guests
from transforms.diff.clearing import add_values, clear_lost

REQUIRED = ("name", "startsAt", "endsAt", "locationId", "host")
"""A create that lacks one of them is refused."""


def dump_payload(payload: dict) -> str:
    """The canonical JSON of a payload that was changed as an object; guests sorted by id."""
    guests = sorted(payload.get("invitations", []), key=lambda guest: guest["sourceId"])
    return orjson.dumps(
        {**{k: v for k, v in payload.items() if k != "invitations"}, "invitations": guests}
    ).decode()


def build_body(
    before: dict | None,
    after: dict,
    *,
    complete: bool,
    additive: bool,
    partial: bool,
    removed: set[str],
    deleted_at: str,
    values: Mapping[str, Mapping[str, Any]] | None = None,
    updated_at: str | None = None,
) -> dict:
    """The event as a request carries it.

    complete: every guest is listed (creates, events whose last outcome is unknown or which were
    refused, a full re-send); otherwise an additive list holds added, changed and removed guests
    only, so that what reception did by hand stays. removed: ids to take out by name, with
    `deletedAt`. values: empty values of lost fields, as `clear_lost` gives them; by default those
    of an empty one that clears.

    A body without the complete list lacks a required field: where essentry no longer knows the
    event, it is refused, and makes no meeting without its guests. When all of them changed, the
    list is complete.
    """
    if values is None:
        after, values = clear_lost([before or {}], after, clearing="empty")
    old, new = list_guests(before), list_guests(after)
    body = {key: value for key, value in after.items() if key != "invitations"}
    listed = not additive and (complete or not partial or old != new or bool(values.keys() - {""}))
    if before is not None and not complete:
        cleared = {path.partition(".")[0] for path in values.get("", ())}
        same = {key for key in body if before.get(key) == body[key] and key != "sourceId"} - cleared
        complete = not same.intersection(REQUIRED)
        left_out = (
            set()
            if complete
            else same
            if partial
            else same.intersection(REQUIRED)
            if not listed
            else set()
        )
        body = {key: value for key, value in body.items() if key not in left_out}
        listed = listed or (complete and not additive)
    body = add_values(body, values.get("", {}))
    if updated_at:
        body["updatedAt"] = updated_at
    if not additive:
        if listed:
            body["invitations"] = [
                add_values(guest, values.get(key, {})) for key, guest in new.items()
            ]
        return body
    sent = [
        add_values(guest, values.get(key, {}))
        for key, guest in new.items()
        if complete or old.get(key) != guest or key in values
    ]
    sent += [{"sourceId": key, "deletedAt": deleted_at} for key in sorted(removed - set(new))]
    if sent:
        body["invitations"] = sent
    return body
