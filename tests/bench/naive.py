"""The same night as a careful person writes it in an afternoon: row by row,
`merge(indicator=True)`, `to_sql`, one request an event.

It keeps the rules that decide what is sent (addresses, ids, pending held, the delta of guests), so
that it does the same job; it has no ledger, no guards, no second look. Used as the measure of
`just bench`, nowhere else.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pandas as pd
import sqlalchemy as sa

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
EVENT_FIELDS = [
    "name",
    "description",
    "starts_at",
    "ends_at",
    "location_id",
    "host_email",
    "host_first_name",
    "host_last_name",
]
GUEST_FIELDS = ["email", "first_name", "last_name", "company_name", "language"]


def run_night(
    events: pd.DataFrame,
    guests: pd.DataFrame,
    state: Path,
    base_url: str,
    *,
    seconds: dict[str, float],
) -> dict[str, int]:
    """One night; the number of creates, updates and deletes. `seconds` is filled by step."""
    engine = sa.create_engine(f"sqlite:///{state}")

    def timed(step: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - start
        return result

    held = set(events.loc[events["status"] == "pending", "source_event_id"])
    events, guests = timed("transform", lambda: transform(events, guests))
    before = timed("diff", lambda: read_state(engine))
    changes = (
        timed("diff", lambda: compare(events, guests, *before, held))
        if before
        else {"create": set(events["source_id"])}
    )
    payloads = timed("payload", lambda: build_payloads(events, guests, changes))
    timed("load", lambda: send(payloads, base_url))
    timed("snapshot", lambda: save(engine, events, guests))
    return {action: len(ids) for action, ids in changes.items()}


def transform(events: pd.DataFrame, guests: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Typed, checked rows with ids."""
    events = events[events["status"] == "confirmed"].copy()
    events = events[events["host_email"].apply(lambda text: bool(_ADDRESS.fullmatch(text)))]
    events["source_id"] = events.apply(
        lambda row: f"rooms-{quote(row['source_event_id'], safe='')}", axis=1
    )
    for column in ("starts_at", "ends_at"):
        events[column] = pd.to_datetime(events[column], utc=True).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    events["name"] = events["name"].apply(lambda text: re.sub(r"\s+", " ", text).strip())
    events["location_id"] = events["site_key"].apply(lambda key: 100 + int(key))
    guests = guests.copy()
    guests["email"] = guests["email"].apply(lambda text: text.strip().lower())
    guests = guests[
        guests["email"].apply(
            lambda text: bool(_ADDRESS.fullmatch(text)) and not text.endswith("@corp.example")
        )
    ]
    guests = guests[guests["source_event_id"].isin(set(events["source_event_id"]))].copy()
    guests["language"] = guests["language"].apply(lambda text: text[:2].upper())
    guests["invitation_id"] = guests.apply(
        lambda row: (
            f"rooms-{quote(row['source_event_id'], safe='')}-{quote(row['guest_id'], safe='')}"
        ),
        axis=1,
    )
    guests["source_id"] = guests["source_event_id"].apply(
        lambda key: f"rooms-{quote(key, safe='')}"
    )
    return events[["source_id", *EVENT_FIELDS]], guests[
        ["source_id", "invitation_id", *GUEST_FIELDS]
    ]


def read_state(engine: sa.Engine) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """What was sent last night."""
    if not sa.inspect(engine).has_table("events"):
        return None
    return pd.read_sql("SELECT * FROM events", engine), pd.read_sql("SELECT * FROM guests", engine)


def compare(
    events: pd.DataFrame,
    guests: pd.DataFrame,
    old_events: pd.DataFrame,
    old_guests: pd.DataFrame,
    held: set[str],
) -> dict[str, set[str]]:
    """Ids to create, update and delete."""
    both = events.merge(
        old_events, on="source_id", how="outer", suffixes=("", "_old"), indicator=True
    )
    create = set(both.loc[both["_merge"] == "left_only", "source_id"])
    gone = set(both.loc[both["_merge"] == "right_only", "source_id"])
    delete = {key for key in gone if key.removeprefix("rooms-") not in held}
    same = both[both["_merge"] == "both"]
    changed = set()
    for row in same.to_dict("records"):
        if any(not _equal(row[field], row[f"{field}_old"]) for field in EVENT_FIELDS):
            changed.add(row["source_id"])
    people = guests.merge(
        old_guests,
        on=["source_id", "invitation_id"],
        how="outer",
        suffixes=("", "_old"),
        indicator=True,
    )
    changed |= set(people.loc[people["_merge"] != "both", "source_id"])
    for row in people[people["_merge"] == "both"].to_dict("records"):
        if any(not _equal(row[field], row[f"{field}_old"]) for field in GUEST_FIELDS):
            changed.add(row["source_id"])
    return {"create": create, "update": changed - create - gone, "delete": delete}


def _equal(one: Any, other: Any) -> bool:
    return one == other or (pd.isna(one) and pd.isna(other))


def build_payloads(
    events: pd.DataFrame, guests: pd.DataFrame, changes: dict[str, set[str]]
) -> list[dict[str, Any]]:
    """An event's JSON object each."""
    wanted = changes["create"] | changes.get("update", set())
    people: dict[str, list[dict[str, Any]]] = {}
    for guest in guests[guests["source_id"].isin(wanted)].itertuples(index=False):
        people.setdefault(guest.source_id, []).append(
            {
                "sourceId": guest.invitation_id,
                "email": guest.email,
                "firstName": guest.first_name,
                "lastName": guest.last_name,
                "companyName": guest.company_name,
                "language": guest.language,
            }
        )
    bodies = []
    for event in events[events["source_id"].isin(wanted)].itertuples(index=False):
        body = {
            "sourceId": event.source_id,
            "name": event.name,
            "startsAt": event.starts_at,
            "endsAt": event.ends_at,
        }
        body |= {"locationId": event.location_id, "invitations": people.get(event.source_id, [])}
        body["host"] = {
            "email": event.host_email,
            "firstName": event.host_first_name,
            "lastName": event.host_last_name,
        }
        if isinstance(event.description, str):
            body["description"] = event.description
        bodies.append(body)
    return bodies + [
        {"sourceId": key, "deletedAt": "2027-01-01T02:00:00Z"}
        for key in sorted(changes.get("delete", set()))
    ]


def send(payloads: list[dict[str, Any]], base_url: str) -> None:
    """One request an event."""
    token = "00000000-0000-4000-8000-000000000000"
    with httpx.Client(
        headers={"Authorization": "Bearer x", "Content-Type": "application/json"}
    ) as client:
        for payload in payloads:
            answer = client.put(
                f"{base_url}/events", content=json.dumps({"agentToken": token, "events": [payload]})
            )
            answer.raise_for_status()


def save(engine: sa.Engine, events: pd.DataFrame, guests: pd.DataFrame) -> None:
    """The state for the next night."""
    events.to_sql("events", engine, index=False, if_exists="replace")
    guests.to_sql("guests", engine, index=False, if_exists="replace")
