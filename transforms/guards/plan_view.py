"""The views `plan` and `mails` that a guard of one's own asks, from the changes of a plan. Pure.

Their columns, types and units stand in `schemas.plan_view`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from schemas.plan_view import VIEWS, ViewColumn
from transforms.arrow.codes import to_plain
from transforms.desired.payload import read_times
from transforms.diff.changes import SENT

ASKED = (
    "seq",
    "source_id",
    "source",
    "location_id",
    "action",
    "reason",
    "name",
    "starts_at",
    "ends_at",
    "fields_json",
    "after",
    "guests",
)
"""Of a stored change what a row of `plan` is built from."""
_KINDS = ("invited", "updated", "cancelled")
_ARROW = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "BIGINT": pa.int64(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class PlanViews:
    """`plan` and `mails` of a plan, with the columns of schemas.plan_view.VIEWS."""

    plan: pa.Table
    mails: pa.Table

    def only(self, source_ids: Collection[str]) -> PlanViews:
        """The views of some of the plan's events."""
        return self._keep(
            lambda table: pc.is_in(table["source_id"], pa.array(list(source_ids), pa.string()))
        )

    def without_deletes(self) -> PlanViews:
        """The views of what goes when the plan's deletes are held back."""
        return self._keep(lambda table: pc.not_equal(table["action"], "delete"))

    def _keep(self, choose: Any) -> PlanViews:
        return PlanViews(self.plan.filter(choose(self.plan)), self.mails.filter(choose(self.mails)))


def empty_views() -> PlanViews:
    """The views of a plan without a change."""
    return PlanViews(*(_schema(columns).empty_table() for columns in VIEWS.values()))


def build_views(
    pages: Iterable[tuple[pd.DataFrame, Mapping[str, str]]],
    mails: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
) -> PlanViews:
    """The views of a plan. pages: its stored changes (ASKED) with source_id → confirmed canonical
    JSON of those that essentry has; mails: MAIL_COLUMNS; as_of: the run's clock (UTC)."""
    counts = _count_mails(mails)
    schema = _schema(VIEWS["plan"])
    tables = [schema.empty_table()]
    for changes, before in pages:
        sent = changes[changes["action"].isin(SENT)]
        rows = list(_list_rows(sent, before, counts, as_of))
        tables.append(pa.Table.from_pylist(rows, schema=schema))
    plan = pa.concat_tables(tables)
    return PlanViews(plan, _list_mails(to_plain(mails), plan))


def _schema(columns: Mapping[str, ViewColumn]) -> pa.Schema:
    return pa.schema([(name, _ARROW[column.type]) for name, column in columns.items()])


def _count_mails(mails: pd.DataFrame) -> Mapping[tuple[str, str], int]:
    if mails.empty:
        return {}
    counts: Mapping[tuple[str, str], int] = (
        mails.groupby(["source_id", "kind"], observed=True).size().to_dict()
    )
    return counts


def _list_rows(
    changes: pd.DataFrame,
    payloads: Mapping[str, str],
    counts: Mapping[tuple[str, str], int],
    as_of: pd.Timestamp,
) -> Iterator[dict[str, Any]]:
    """Rows of `plan`; a loop, for each holds JSON of its own."""
    facts = changes[[name for name in ASKED if name != "seq"]].astype("object")
    facts = facts.where(facts.notna(), None)
    for change in facts.to_dict("records"):
        source_id = change["source_id"]
        before = orjson.loads(payloads.get(source_id) or "{}")
        deleted = change["action"] == "delete"
        after = before if deleted else orjson.loads(change["after"] or "{}")
        start, end = read_times(after)
        start_before, end_before = read_times(before)
        fields = orjson.loads(change["fields_json"] or "[]")
        yield {
            "source_id": source_id,
            "source": change["source"],
            "action": change["action"],
            "reason": change["reason"],
            "name": after.get("name") or change["name"],
            "name_before": before.get("name"),
            "starts_at": start or change["starts_at"],
            "starts_at_before": start_before,
            "ends_at": end or change["ends_at"],
            "ends_at_before": end_before,
            "location_id": after.get("locationId", change["location_id"]),
            "location_id_before": before.get("locationId"),
            "host_email": (after.get("host") or {}).get("email"),
            "host_email_before": (before.get("host") or {}).get("email"),
            "fields": [field["field"] for field in fields],
            "guests": change["guests"],
            **{kind: counts.get((source_id, kind), 0) for kind in _KINDS},
            "as_of": as_of,
        }


def _list_mails(mails: pd.DataFrame, plan: pa.Table) -> pa.Table:
    actions = dict(zip(plan["source_id"].to_pylist(), plan["action"].to_pylist(), strict=True))
    address = mails["identity"].where(
        ~mails["identity"]
        .str.startswith("name:")
        .astype("boolean")
        .fillna(True)
        .to_numpy(dtype=bool)
    )
    frame = mails[["source_id", "source", "kind"]].assign(
        action=mails["source_id"].map(actions),
        email=address,
        domain=address.str.extract(r"@([^@]*)$", expand=False) if len(mails) else address,
    )
    frame = frame[frame["action"].notna().to_numpy(dtype=bool)]
    schema = _schema(VIEWS["mails"])
    columns = [
        pa.array(frame[field.name].astype("object").to_numpy(), field.type, from_pandas=True)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
