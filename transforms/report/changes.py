"""The changes of a plan as records that a person reads: words, fields and guests before and after.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.report import MAX_LISTED
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import to_arrow
from transforms.arrow.instants import format_instants
from transforms.desired.payload import list_guests
from transforms.diff.clearing import UNCLEARED
from transforms.masking import mask_record, mask_text, mask_value
from transforms.naming.ids import read_event_keys
from transforms.report.words import Wording, describe_change, show_instant
from transforms.words import plural

SAID = {"delete": "cancel", "update": "update", "create": "new"}
"""What is sent, in the words of a list of it."""
_ORDER = {"delete": 2, "update": 3, "create": 4, "expire": 5}
_PLAIN = (
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "state",
    "code",
    "message",
    "name",
    "starts_at",
    "ends_at",
    "guests",
)
TABLE_COLUMNS = [
    "source_id", "source", "source_event_id", "action", "reason", "starts_at", "ends_at", "name",
    "location_id", "location", "guests", "what",
    "state", "code", "message", "fields", "added", "changed", "removed",
]  # fmt: skip


def choose_listed(changes: pd.DataFrame, *, limit: int = MAX_LISTED) -> pd.DataFrame:
    """The changes to list one by one: problems first, then deletes, updates, creates, by start; at
    most `limit`.
    """
    if changes.empty:
        return changes
    kinds = [
        changes["state"].isin(["rejected", "unknown"]),
        *(changes["action"] == action for action in _ORDER),
    ]
    rank = np.select(
        [kind.to_numpy(dtype=bool, na_value=False) for kind in kinds],
        [1, *_ORDER.values()],
        default=6,
    )
    table = pa.table(
        {
            "rank": rank,
            "starts_at": pa.array(changes["starts_at"]),
            "source_id": to_arrow(changes["source_id"]),
        }
    )
    keys = [("rank", "ascending"), ("starts_at", "ascending"), ("source_id", "ascending")]
    rows = (
        pc.sort_indices(table, sort_keys=keys)
        if limit >= len(changes)
        else pc.select_k_unstable(table, k=limit, sort_keys=keys)
    )
    return changes.iloc[rows.to_numpy()]


def count_listed(changes: pd.DataFrame, listed: pd.DataFrame) -> dict[str, Any]:
    """The report's `listing`."""
    all_of, shown = (
        to_texts(frame["action"]).value_counts().to_dict() if len(frame) else {}
        for frame in (changes, listed)
    )
    counts = {
        str(action): int(left)
        for action, count in sorted(all_of.items())
        if (left := count - shown.get(action, 0))
    }
    return {"total": len(changes), "listed": len(listed), "left_out": counts}


def list_changes(
    changes: pd.DataFrame, payloads: Mapping[int, str], wording: Wording
) -> list[dict[str, Any]]:
    """Records in the form of schemas.report.Change, in the frame's order.

    payloads: seq → canonical JSON of created events, whose content the frame does not carry. A loop
    over rows: each holds JSON of its own.
    """
    if changes.empty:
        return []
    rows = changes.assign(
        starts_at=format_instants(changes["starts_at"]),
        ends_at=format_instants(changes["ends_at"]),
        source_key=_read_keys(changes, wording),
    )
    found = []
    for row in rows.to_dict("records"):
        record: dict[str, Any] = {
            key: None if pd.isna(row[key]) else row[key] for key in (*_PLAIN, "source_key")
        }
        fields = orjson.loads(row["fields_json"]) if isinstance(row["fields_json"], str) else []
        guests = orjson.loads(row["guests_json"]) if isinstance(row["guests_json"], str) else {}
        if row["action"] == "create" and row["seq"] in payloads:
            payload = orjson.loads(payloads[row["seq"]])
            fields = [
                {"field": k, "before": None, "after": v}
                for k, v in payload.items()
                if k not in ("sourceId", "invitations", "updatedAt", UNCLEARED)
            ]
            guests = {"added": list(list_guests(payload).values())}
        record |= {
            "fields": fields,
            **{kind: guests.get(kind) or [] for kind in ("added", "changed", "removed")},
        }
        if wording.masked:
            record = mask_record(record)
        record["what"] = describe_change(record, wording)
        found.append(record)
    return found


def _read_keys(changes: pd.DataFrame, wording: Wording) -> pd.Series:
    """The source's own key of each event; of one that holds an address it is left out, for an id
    may stay where people are forgotten.
    """
    ids = changes["source_id"].astype("str")
    if wording.built:
        ids = ids.where(~ids.isin(list(wording.built)), ids.map(dict(wording.built))).astype("str")
    keys = read_event_keys(ids)
    return keys.mask(keys.str.contains("@", regex=False).fillna(False).astype(bool))


def tell_changes(
    records: Sequence[Mapping[str, Any]], wording: Wording, *, limit: int
) -> list[dict[str, str]]:
    """The first `limit` records as rows of words: action, start (report's zone), event, what.
    Cancellations first, then updates, then new ones.

    People are masked, whatever the records hold.
    """
    sent = sorted(
        (record for record in records if record["action"] in SAID),
        key=lambda record: _ORDER[record["action"]],
    )
    rows = []
    masking = replace(wording, masked=True)
    for record in map(mask_record, sent[:limit]):
        start = show_instant(record["starts_at"], wording.timezone) if record["starts_at"] else "–"
        row = {
            "action": SAID[record["action"]],
            "start": start,
            "event": mask_text(record["source_id"]),
        }
        rows.append(row | {"what": describe_change(record, masking)})
    return rows


def tabulate_changes(changes: pd.DataFrame, wording: Wording) -> pd.DataFrame:
    """All changes as TABLE_COLUMNS: `starts_at`, `ends_at` in the report's zone; fields and guests
    as JSON text, missing for creates.

    Creates, of which there may be a million, are told at once; the others one by one.
    """
    if changes.empty:
        return pd.DataFrame({column: pd.Series(dtype="str") for column in TABLE_COLUMNS})
    told = changes["action"] != "create"
    records = list_changes(changes[told], {}, wording)
    guests = changes["guests"].fillna(0).astype("int64")
    what = pd.Series("new, ", index=changes.index, dtype="str") + guests.map(
        {n: plural(int(n), "guest") for n in guests.unique()}
    ).astype("str")
    table = changes.assign(
        source_event_id=_read_keys(changes, wording),
        starts_at=changes["starts_at"].dt.tz_convert(wording.timezone),
        ends_at=changes["ends_at"].dt.tz_convert(wording.timezone),
        location=changes["location_id"].map(dict(wording.locations)).astype("str"),
        what=what,
    )
    if wording.masked:
        distinct = {name: mask_value("name", name) for name in table["name"].dropna().unique()}
        table = table.assign(name=table["name"].map(distinct).astype("str"))
    for column in ("fields", "added", "changed", "removed"):
        texts = pd.Series(
            [orjson.dumps(r[column]).decode() if r[column] else None for r in records],
            index=changes.index[told],
            dtype="str",
        )
        table[column] = texts.reindex(changes.index).astype("str")
    for column in ("what", "message"):
        own = pd.Series([r[column] for r in records], index=changes.index[told], dtype="str")
        table[column] = table[column].astype("str").mask(told, own.reindex(changes.index))
    return table[TABLE_COLUMNS]
