"""Who a stored plan mails, read from its changes alone: for the report of a plan that is applied in
a run of its own. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson
import pandas as pd

from schemas.frames import MAIL_COLUMNS
from transforms.desired.payload import list_guests, name_person

COMPLETE = ("unknown outcome", "full", "sent whole", "cleared")


def needs_payload(changes: pd.DataFrame) -> pd.Series:
    """True for the changes whose mails depend on the whole guest list: creates, and updates that go
    to every guest (S12).
    """
    everyone = changes["fields_json"].fillna("[]").ne("[]") | changes["reason"].isin(COMPLETE)
    return (changes["action"] == "create") | ((changes["action"] == "update") & everyone)


def list_mails(changes: pd.DataFrame, payloads: Mapping[int, str]) -> pd.DataFrame:
    """MAIL_COLUMNS, a row a guest and event. payloads: seq → canonical JSON, for the changes that
    need it. A loop: each row is its own JSON.
    """
    rows = []
    columns = ["seq", "source_id", "source", "guests_json"]
    for seq, source_id, source, guests_json in changes[columns].itertuples(index=False):
        stored = orjson.loads(guests_json) if isinstance(guests_json, str) else {}
        payload = orjson.loads(payloads[seq]) if seq in payloads else None
        rows += [
            (source_id, source, name_person(guest), kind)
            for guest, kind in _mailed(stored, payload)
        ]
    return pd.DataFrame(rows, columns=MAIL_COLUMNS)


def _mailed(stored: dict, payload: dict | None) -> Iterator[tuple[dict, str]]:
    for guest in stored.get("removed", []):
        yield guest, "cancelled"
    added = {guest["sourceId"]: guest for guest in stored.get("added", [])}
    if payload is None:
        for guest in added.values():
            yield guest, "invited"
        for pair in stored.get("changed", []):
            yield pair["after"], "updated"
        return
    for key, guest in list_guests(payload).items():
        yield guest, "invited" if key in added or not stored else "updated"
