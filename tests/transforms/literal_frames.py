"""Small literal frames for tests of the rules: what essentry should hold, what it confirmed, and
the steps between the two.

A meeting is a dict of the event's columns plus `guests`, a list of `guest(...)`; everything left
out has a plain default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pandas as pd

from schemas.config import Config
from schemas.frames import REJECT_COLUMNS, Events, Invitations, empty_frame
from transforms.desired.build import EVENT_COLUMNS, Desired
from transforms.desired.guests import INVITATION_COLUMNS
from transforms.desired.payload import (
    FINGERPRINT_VERSION,
    Payloads,
    add_fingerprints,
    build_payloads,
    fingerprint,
    list_guests,
)
from transforms.diff.changes import Diff, Known, SourceHealth
from transforms.diff.comparison import diff_events

NOW = pd.Timestamp("2026-03-02T03:00:00Z")
START = pd.Timestamp("2026-03-10T09:00:00Z")
INSTANT = "datetime64[us, UTC]"


def config(**sections: Any) -> Config:
    """A configuration of one source `hr`, with the given sections."""
    source = {
        "url": "sqlite://",
        "events_sql": "e.sql",
        "guests_sql": "g.sql",
        "times": "utc",
        "timezone": "Europe/Berlin",
    }
    source |= {"sites": {"hq": {"location_id": 1}}, "internal_domains": ["corp.example"]}
    return Config(**{"sources": {"hr": source}, **sections})


def guest(key: str, email: str | None = "", **columns: Any) -> dict:
    """An invitation; its address follows the key unless given."""
    address = f"{key}@guest.example" if email == "" else email
    row = dict.fromkeys(INVITATION_COLUMNS) | {"invitation_id": key, "email": address} | columns
    names = f"{row['first_name'] or ''} {row['last_name'] or ''}".strip().casefold()
    return row | {"identity": address or "name:" + names}


def meeting(source_id: str, *guests: dict, **columns: Any) -> dict:
    """An event that is due, with its guests."""
    start = pd.Timestamp(columns.pop("starts_at", START))
    row = dict.fromkeys(EVENT_COLUMNS) | {
        "source_id": source_id, "source": "hr", "source_event_id": source_id.partition("-")[2],
        "site_key": "hq", "name": "Visit",
        "starts_at": start, "ends_at": start + pd.Timedelta(hours=1), "location_id": 1,
        "host_email": "host@corp.example",
    }  # fmt: skip
    return row | columns | {"guests": list(guests)}


def frames(meetings: Sequence[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two frames of some meetings, typed and sorted as the build leaves them."""
    ordered = sorted(meetings, key=lambda row: row["source_id"])
    events = pd.DataFrame(
        [{c: row[c] for c in EVENT_COLUMNS} for row in ordered], columns=EVENT_COLUMNS
    )
    times = dict.fromkeys(("starts_at", "ends_at", "updated_at"), INSTANT)
    numbers = dict.fromkeys(("location_id", "entrance_id"), "Int64")
    text = {c: "str" for c in EVENT_COLUMNS if c not in times and c not in numbers}
    events = events.astype(text | numbers)
    for column in times:
        events[column] = pd.to_datetime(events[column], utc=True).astype(INSTANT)
    rows = [
        {**g, "source_id": row["source_id"]}
        for row in ordered
        for g in sorted(row["guests"], key=lambda g: g["invitation_id"])
    ]
    invitations = pd.DataFrame(rows, columns=INVITATION_COLUMNS).astype("str")
    return Events.validate(events), Invitations.validate(invitations)


def desire(
    *meetings: dict,
    dispositions: Mapping[str, str] | None = None,
    held: Sequence[tuple[str, str | None]] = (),
    held_targets: set[str] | None = None,
) -> Desired:
    """What essentry should hold. dispositions: id → where a row went that is not due; held: (event,
    invitation or None).
    """
    events, invitations = frames(meetings)
    places = dict.fromkeys(events["source_id"], "due") | dict(dispositions or {})
    table = [
        {"own_id": k, "source_id": k, "source": "hr", "disposition": v} for k, v in places.items()
    ]
    held_rows = [{"source": "hr", "invitation_id": g, "source_id": e} for e, g in held]
    return Desired(
        events=events,
        invitations=invitations,
        dispositions=pd.DataFrame(
            table, columns=["own_id", "source_id", "source", "disposition"]
        ).astype("str"),
        held_guests=pd.DataFrame(
            held_rows, columns=["source", "invitation_id", "source_id"]
        ).astype("str"),
        rejects=empty_frame(REJECT_COLUMNS),
        held_targets=held_targets or set(),
        outside_guests={},
        notes={},
    )


def know(
    *meetings: dict,
    state: Mapping[str, str] | None = None,
    unanswered: Mapping[str, Sequence[dict]] | None = None,
    rejections: Sequence[tuple[str, str | None, pd.Timestamp]] = (),
    absent_runs: int = 0,
) -> Known:
    """What essentry confirmed. state: id → expired or deleted; unanswered: id → guests of requests
    without an answer.
    """
    events, invitations = frames(meetings)
    texts = build_payloads(events, invitations).tolist() if len(events) else []
    return known_of(
        [
            {
                "source_id": row["source_id"], "source": row["source"],
                "location_id": row["location_id"], "name": row["name"],
                "starts_at": row["starts_at"], "ends_at": row["ends_at"],
                "members_json": row["members"], "payload": text,
                "state": (state or {}).get(row["source_id"], "active"),
            }
            for row, text in zip(events.to_dict("records"), texts, strict=True)
        ],
        unanswered=unanswered, rejections=rejections, absent_runs=absent_runs,
    )  # fmt: skip


def known_of(
    rows: Sequence[dict],
    *,
    unanswered: Mapping[str, Sequence[dict]] | None = None,
    rejections: Sequence[tuple[str, str | None, pd.Timestamp]] = (),
    absent_runs: int = 0,
) -> Known:
    """A snapshot of confirmed rows, each with its `payload`."""
    lost = {key: {g["sourceId"]: g for g in guests} for key, guests in (unanswered or {}).items()}
    columns = [
        "source_id",
        "source",
        "location_id",
        "name",
        "starts_at",
        "ends_at",
        "fingerprint",
        "fingerprint_version",
        "guests",
    ]
    columns += ["members_json", "state", "confirmed_run", "absent_runs", "dirty"]
    table = [
        {
            **row, "fingerprint": fingerprint(row["payload"]),
            "fingerprint_version": FINGERPRINT_VERSION, "confirmed_run": "run-1",
            "guests": len(list_guests(orjson.loads(row["payload"]))), "absent_runs": absent_runs,
            "dirty": row["source_id"] in lost,
        }
        for row in rows
    ]  # fmt: skip
    snapshot = pd.DataFrame(table, columns=columns)
    text = ["source_id", "source", "name", "fingerprint", "members_json", "state", "confirmed_run"]
    snapshot = snapshot.astype(
        dict.fromkeys(text, "str")
        | dict.fromkeys(["location_id", "fingerprint_version", "guests", "absent_runs"], "Int64")
    )
    snapshot = snapshot.astype({"dirty": "bool"})
    for column in ("starts_at", "ends_at"):
        snapshot[column] = pd.to_datetime(snapshot[column], utc=True).astype(INSTANT)
    payloads = {row["source_id"]: row["payload"] for row in rows}
    waiting = pd.DataFrame(rejections, columns=["source_id", "fingerprint", "next_at"])
    return Known(
        snapshot, lambda ids: {key: payloads[key] for key in ids if key in payloads}, lost, waiting
    )


def compare(
    desired: Desired,
    known: Known,
    *,
    health: SourceHealth | None = None,
    settings: Config | None = None,
    full: bool = False,
    as_of: pd.Timestamp = NOW,
) -> Diff:
    """Diff the two as the plan does."""
    events = add_fingerprints(Payloads(desired.events, desired.invitations))

    def payload_of(rows: np.ndarray) -> list[str]:
        wanted = desired.events.iloc[rows]
        guests = desired.invitations[desired.invitations["source_id"].isin(wanted["source_id"])]
        return build_payloads(wanted.reset_index(drop=True), guests).tolist()

    return diff_events(
        desired,
        known,
        {"hr": health or SourceHealth()},
        settings or config(),
        events=events,
        payload_of=payload_of,
        as_of=as_of,
        full=full,
    )


def decisions(diff: Diff) -> dict[str, tuple[str, str | None]]:
    """source_id → (action, reason)."""
    rows = diff.decisions[["source_id", "action", "reason"]].astype("object")
    return {
        key: (action, None if pd.isna(reason) else reason)
        for key, action, reason in rows.itertuples(index=False)
    }


def mails(diff: Diff) -> list[tuple[str, str, str]]:
    """(source_id, identity, kind), sorted."""
    return sorted(diff.mails[["source_id", "identity", "kind"]].itertuples(index=False, name=None))


def body_of(diff: Diff, source_id: str) -> dict:
    """The request body of an event's change."""
    return orjson.loads(diff.changes.set_index("source_id").at[source_id, "body"])


def accept(diff: Diff, desired: Desired, known: Known) -> Known:
    """What essentry holds when it confirms every change of the diff."""
    snapshot = known.snapshot.set_index("source_id")
    payloads = dict(known.payloads(known.snapshot["source_id"].tolist()))
    rows = {
        key: {**row, "source_id": key, "payload": payloads[key]}
        for key, row in snapshot.to_dict("index").items()
    }
    texts = (
        dict(
            zip(
                desired.events["source_id"],
                build_payloads(desired.events, desired.invitations),
                strict=True,
            )
        )
        if len(desired.events)
        else {}
    )
    for change in diff.changes.to_dict("records"):
        key = change["source_id"]
        if change["action"] in ("delete", "expire"):
            rows[key] = {
                **rows[key],
                "state": "deleted" if change["action"] == "delete" else "expired",
            }
        else:
            payload = change["after"] if isinstance(change["after"], str) else texts[key]
            rows[key] = {**change, "payload": payload, "state": "active"}
    return known_of(list(rows.values()))
