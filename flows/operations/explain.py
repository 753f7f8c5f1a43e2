"""Each step of an event on its way through a restricted run, in words, from its rows to essentry's
answer. People are masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import pandas as pd

from flows.night.plan import Planned
from flows.night.watch import Watch
from flows.operations.history import tell_rows
from flows.state.store import State
from schemas.config import Config
from transforms.arrow.codes import to_texts
from transforms.desired.payload import list_guests
from transforms.diff.unions import read_members
from transforms.guards.findings import Finding
from transforms.masking import mask_text, mask_value
from transforms.naming.naming import Naming, name_by
from transforms.report.changes import list_changes
from transforms.report.holds import find_hold
from transforms.report.words import Wording, explain_code, name_places, show_instant, show_value
from transforms.words import plural

MOST = 20
"""So many events are explained; of more the report has the changes."""
STEPS = ("read", "validated", "built", "compared", "guards", "request", "answer")
_SAID = {
    "pending": "it waits in the source for its confirmation, so nothing is sent",
    "past": "it is over, so nothing is sent",
    "beyond_window": "it is beyond window.days_ahead, so nothing is sent yet",
    "cancelled": "the source has cancelled it",
    "guestless": "it has no guest from outside",
    "quarantined": "a row of it cannot be used; see what was set aside",
}
"""What a row is whose event is not due."""


def explain_events(
    config: Config, state: State, planned: Planned, watch: Watch
) -> list[dict[str, Any]]:
    """`source_id` and the texts of STEPS of the first MOST events that a restricted run is about,
    those with a change first.
    """
    selected = planned.selected
    naming = planned.naming or name_by(config, state.adopted())
    wording = name_places(config, masked=True, adopted=state.adopted().get("event"))
    _, changes = state.load_plan(planned.plan_id)
    sent = changes["source_id"].tolist()
    ids = [*sent, *sorted((selected.ids if selected else frozenset()) - set(sent))][:MOST]
    rows = {
        row["source_id"]: row for row in changes[changes["source_id"].isin(ids)].to_dict("records")
    }
    seqs = [int(row["seq"]) for row in rows.values()]
    contents = state.read_contents(planned.plan_id, seqs)
    told = {
        r["source_id"]: r
        for r in list_changes(
            changes[changes["seq"].isin(seqs)].reset_index(drop=True), contents, wording
        )
    }
    held = state.read_payloads(ids)
    decisions = planned.diff.decisions
    decided = {
        key: (action, reason)
        for key, action, reason in zip(
            to_texts(decisions["source_id"]),
            to_texts(decisions["action"]),
            to_texts(decisions["reason"]),
            strict=True,
        )
    }
    return [
        {
            "source_id": source_id,
            "read": _tell_read(source_id, rows.get(source_id), naming, watch),
            "validated": _tell_validated(source_id, planned.rejects),
            "built": _tell_built(
                contents.get(int(rows[source_id]["seq"])) if source_id in rows else None,
                held.get(source_id),
                wording,
            ),
            "compared": _tell_compared(source_id, decided, told, watch),
            "guards": _tell_guards(planned.findings, released=planned.released),
            "request": _tell_request(state, planned.plan_id, rows.get(source_id)),
            "answer": _tell_answer(rows.get(source_id)),
        }
        for source_id in ids
    ]


def _tell_read(source_id: str, row: Mapping[str, Any] | None, naming: Naming, watch: Watch) -> str:
    members = row["members_json"] if row is not None else None
    records = sorted(
        {
            source_id,
            *(own for own, (target, _, _) in watch.records.items() if target == source_id),
            *read_members(members),
        }
    )
    return "; ".join(_tell_record(record, naming, watch) for record in records)


def _tell_record(record: str, naming: Naming, watch: Watch) -> str:
    try:
        parsed = naming.read_event(record)
    except ValueError:
        return f"{record} cannot be read back, so its row is not shown"
    found = watch.find_rows(parsed.source, str(parsed.event))
    if found is None:
        return f"the rows of {parsed.source} are not kept: it is too large, or was not read"
    events, guests = found
    if events.empty:
        return f"{parsed.source} does not show {parsed.event!r}"
    return f"{tell_rows(parsed.source, parsed.event, events)}; {plural(len(guests), 'guest row')}"


def _tell_validated(source_id: str, rejects: pd.DataFrame) -> str:
    mine = rejects[rejects["source_id"] == source_id]
    if mine.empty:
        return "nothing was set aside"
    return "; ".join(
        dict.fromkeys(
            f"{row['part']}: {mask_text(str(row['remedy']))}" for row in mine.to_dict("records")
        )
    )


def _tell_built(after: str | None, held: str | None, wording: Wording) -> str:
    text = after or held
    payload = orjson.loads(text) if text else {}
    if "startsAt" not in payload:
        return "nothing: essentry is to hold nothing of it"
    place = show_value("locationId", payload.get("locationId"), wording, with_id=True)
    start = show_instant(str(payload["startsAt"]), wording.timezone)
    title = mask_value("name", payload["name"]) if payload.get("name") else "no title"
    words = f"{title}, {start}, location {place}, {plural(len(list_guests(payload)), 'guest')}"
    return words if after else f"as essentry holds it: {words}"


def _tell_compared(
    source_id: str, decided: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]], watch: Watch
) -> str:
    action, reason = decided.get(source_id, (None, None))
    if source_id in told:
        return f"{told[source_id]['action']}: {told[source_id]['what']}"
    if action is None:
        said = watch.records.get(source_id, ("", "", ""))[2]
        return _SAID.get(said, "nothing is to be sent")
    if action in ("held", "dormant"):
        hold = find_hold(str(reason or ""))
        return f"{action}: {reason or 'held back'}; {hold.meaning}; {hold.remedy}"
    if action == "unchanged":
        return "unchanged: essentry holds exactly this; --full sends it again"
    return str(action)


def _tell_guards(findings: Iterable[Finding], *, released: bool) -> str:
    found = [f"{finding.guard}: {finding.message}" for finding in findings]
    if not found:
        return "none trips"
    return "; ".join(found) + ("; released by an approval" if released else "")


def _tell_request(state: State, plan_id: str, row: Mapping[str, Any] | None) -> str:
    if row is None or row["action"] == "expire":
        return "none"
    if pd.isna(row["sent_at"]):
        return "none was sent"
    page = state.read_page(plan_id, int(row["seq"]), int(row["seq"]))
    body = orjson.loads(page["body"].iloc[0]) if isinstance(page["body"].iloc[0], str) else {}
    return "; ".join(_tell_body(str(row["action"]), body, additive=bool(row["ignore_missing"])))


def _tell_body(action: str, body: Mapping[str, Any], *, additive: bool) -> Iterator[str]:
    """Which fields and how many guests a request has; never a value, which may name a person."""
    if action == "delete":
        yield "PUT, deletedAt: the event is cancelled"
        return
    fields = [name for name in body if name not in ("sourceId", "invitations", "updatedAt")]
    yield f"PUT, {', '.join(fields) or 'no field'}"
    if "invitations" in body:
        removed = sum("deletedAt" in guest for guest in body["invitations"])
        count = len(body["invitations"]) - removed
        yield f"{plural(count, 'guest')}{f' and {removed:,} to be removed' if removed else ''}"
        yield "guests that it leaves out stay" if additive else "guests that it leaves out go"


def _tell_answer(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "none: nothing was asked"
    state, code = str(row["state"]), row["code"] if isinstance(row["code"], str) else None
    if state == "planned":
        return "none: it was not sent"
    if state == "confirmed" and code is None:
        return "confirmed"
    meaning, remedy = explain_code(code, state)
    said = f": {mask_text(row['message'])}" if isinstance(row["message"], str) else ""
    return f"{state}{f' {code}' if code else ''}{said}; {meaning}; {remedy}"
