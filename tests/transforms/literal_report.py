"""A small night as frames and as its report: a create, two updates, a delete, a rejected event and
two quarantined rows.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from schemas.frames import DECISION_COLUMNS, MAIL_COLUMNS, REJECT_COLUMNS
from transforms.report.changes import choose_listed, list_changes
from transforms.report.report import build_report
from transforms.report.words import Wording

WORDING = Wording(
    "Europe/Berlin", False, {11: "Berlin Mitte", 12: "Zürich"}, {21: "Aalto", 22: "Bauhaus"}
)
MASKED = Wording(
    "Europe/Berlin", True, {11: "Berlin Mitte", 12: "Zürich"}, {21: "Aalto", 22: "Bauhaus"}
)
ADA = {
    "sourceId": "rooms-b-1",
    "email": "ada@out.example",
    "firstName": "Ada",
    "lastName": "Lovelace",
    "companyName": "Engines",
    "language": "EN",
}
BEN = {"sourceId": "rooms-b-2", "email": "ben@out.example"}
CLEO = {"sourceId": "rooms-b-3", "firstName": "Cleo", "lastName": "Moor"}
HOST = {"email": "hana@corp.example", "firstName": "Hana", "lastName": "Host"}
CREATED = {
    "sourceId": "rooms-a", "name": "Kick-off", "startsAt": "2026-11-24T13:00:00Z", "endsAt": (
        "2026-11-24T14:00:00Z"
    ), "locationId": 11,
    "host": HOST, "invitations": [ADA],
}  # fmt: skip
PAYLOADS = {1: json.dumps(CREATED)}
_MOVED = [
    {"field": "startsAt", "before": "2026-11-25T13:00:00Z", "after": "2026-11-25T14:30:00Z"},
    {"field": "endsAt", "before": "2026-11-25T14:00:00Z", "after": "2026-11-25T15:30:00Z"},
    {"field": "entranceId", "before": 21, "after": 22},
]
_GUESTS = {"added": [BEN, CLEO], "changed": [], "removed": [ADA]}


def change(seq: int, source_id: str, action: str, **columns: Any) -> dict[str, Any]:
    """A row of the ledger."""
    plain = {
        "seq": seq, "source_id": source_id, "source": "rooms", "location_id": 11, "action": action,
        "reason": None, "name": f"Visit {seq}",
        "starts_at": f"2026-11-{24 + seq % 5}T14:30:00Z", "ends_at": (
            f"2026-11-{24 + seq % 5}T15:30:00Z"
        ), "guests": 1, "fields_json": None,
        "guests_json": None, "state": "confirmed", "code": None, "message": None,
    }  # fmt: skip
    return plain | columns


def frame_changes(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of the ledger as the state store returns them."""
    frame = pd.DataFrame(rows)
    text = [
        "source_id",
        "source",
        "action",
        "reason",
        "name",
        "fields_json",
        "guests_json",
        "state",
        "code",
        "message",
    ]
    instants = {
        c: pd.to_datetime(frame[c], utc=True).astype("datetime64[us, UTC]")
        for c in ("starts_at", "ends_at")
    }
    return frame.assign(**instants).astype(
        {**dict.fromkeys(text, "str"), "location_id": "Int64", "guests": "Int64"}
    )


CHANGES = frame_changes(
    [
        change(1, "rooms-a", "create", name="Kick-off"),
        change(2, "rooms-b", "update", name="Review", guests=2, fields_json=json.dumps(_MOVED),
            guests_json=json.dumps(_GUESTS)),
        change(3, "rooms-c", "delete", reason="absent", location_id=12,
            guests_json=json.dumps({"added": [], "changed": [], "removed": [BEN]})),
        change(
            4, "rooms-d", "update", name="<script>alert(1)</script>", state="rejected", code=(
                "ERROR_USER_CANNOT_HOST_AT_LOCATION"
            ),
            message="host hana@corp.example may not",
            fields_json=json.dumps([{"field": "locationId", "before": 11, "after": 12}]),
        ),
    ]
)  # fmt: skip
REJECTS = pd.DataFrame(
    [
        ["rooms", "events", "e9", None, None, "starts_at", "start", "yesterday",
            "no readable start: correct the start in the source"],
        ["rooms", "guests", "b", "7", None, "email", "guest_address", "n…",
            "guest's e-mail address is malformed: correct the address in the source"],
    ],
    columns=REJECT_COLUMNS,
)  # fmt: skip
MAILS = pd.DataFrame(
    [
        ["rooms-a", "rooms", "ada@out.example", "invited"],
        ["rooms-b", "rooms", "ben@out.example", "invited"],
        ["rooms-b", "rooms", "name:cleo moor", "invited"],
        ["rooms-b", "rooms", "ada@out.example", "cancelled"],
        ["rooms-c", "rooms", "ben@out.example", "cancelled"],
        ["rooms-d", "rooms", "dan@out.example", "updated"],
    ],
    columns=MAIL_COLUMNS,
)  # fmt: skip
DECISIONS = pd.DataFrame(
    [
        ["rooms-a", "rooms", "create", None],
        ["rooms-b", "rooms", "update", None],
        ["rooms-c", "rooms", "delete", "absent"],
        ["rooms-d", "rooms", "update", None],
        ["rooms-e", "rooms", "unchanged", None],
        ["rooms-f", "rooms", "held", "guests unreadable"],
    ],
    columns=DECISION_COLUMNS,
).astype("str")  # fmt: skip
BALANCE = {
    "rows_read": 7, "rows": {"create": 1, "held": 1, "quarantined": 1, "unchanged": 1, "update": 2,
        "past": 1}, "rows_balanced": True,
    "snapshot_before": 5, "snapshot": {"delete": 1, "held": 1, "unchanged": 1, "update": 2},
    "snapshot_balanced": True,
}  # fmt: skip
GUARD = {
    "guard": "max_deletes", "scope": "run", "number": 60.0, "limit": 50.0, "message": (
        "60 cancellations, over the limit of 50 (run)"
    ),
    "about_deletes": True, "causes": ("rooms, location 11: 60 cancellations",),
}  # fmt: skip


def past_run(number: int, **columns: Any) -> dict[str, Any]:
    """A run of the history."""
    plain = {
        "run_id": f"202611{number:02}-010000-aaaa", "kind": "sync", "started_at": (
            f"2026-11-{number:02}T01:00:00Z"
        ), "status": "done",
        "changes": 40 + number, "create": 10, "update": 20 + number, "delete": 10, "people": 60,
        "quarantined": 2, "rejected": 0, "seconds": 12.5,
    }  # fmt: skip
    return plain | columns


def report_of(changes: pd.DataFrame = CHANGES, **given: Any) -> dict[str, Any]:
    """The report of the small night, or of others."""
    run = {
        "run_id": "20261124-010000-beef",
        "kind": "sync",
        "as_of": "2026-11-24T01:00:00+00:00",
        "started_at": "2026-11-24T01:00:00+00:00",
        "exit_code": 3,
    }
    plan = {
        "plan_id": "20261124-010000-beef",
        "digest": "ab" * 32,
        "changes": len(changes),
        "full": False,
        "status": "applied",
        "approval": None,
    }
    plain = {
        "run": run, "plan": plan, "decisions": DECISIONS, "mails": MAILS, "rejects": REJECTS,
        "changes": changes, "findings": [], "balance": BALANCE,
        "notes": {"ambiguous_times": 1}, "failed_sources": {},
        "seconds": {"extract": 0.5, "plan": 1.25, "load": 2.0, "report": 0.1},
        "load": {"requests": 1, "retries": 0, "counts": {"confirmed": 3, "rejected": 1}},
        "error": None, "wording": WORDING,
        "history": [past_run(number) for number in range(1, 24)],
        "visits": pd.DataFrame({"starts_at": pd.to_datetime(["2026-11-24T23:30:00Z",
            "2026-11-26T09:00:00Z"]), "events": [1, 2], "guests": [3, 4]}),
    }  # fmt: skip
    return build_report(**{**plain, **given})


def records_of(changes: pd.DataFrame = CHANGES, wording: Wording = WORDING) -> list[dict[str, Any]]:
    """Its changes one by one."""
    return list_changes(choose_listed(changes), PAYLOADS, wording)
