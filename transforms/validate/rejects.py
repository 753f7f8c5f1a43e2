"""Rows that cannot be used, with the reason and the remedy of each."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pandera.errors

from schemas.frames import REJECT_COLUMNS, REMEDIES, empty_frame
from transforms.arrow.columns import Mask, map_distinct
from transforms.masking import mask_address, mask_name


def _check(schema: object, frame: pd.DataFrame) -> tuple[Mask, pd.DataFrame]:
    """Rows that fail, and a (row, check) table of why. A failed check costs its row, never the run.
    Rows are numbered from 0.
    """
    bad = np.zeros(len(frame), dtype=bool)
    try:
        schema.validate(frame, lazy=True)  # type: ignore[attr-defined]
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        broken = cases[cases["index"].isna()]
        if len(broken):
            raise ValueError(
                "a source frame has the wrong form: "
                f"{broken[['column', 'check']].to_dict('records')}"
            ) from None
        cases = cases[["column", "check", "index"]].drop_duplicates(["check", "index"])
        cases = cases.assign(
            index=cases["index"].astype("int64"), check=cases["check"].astype("str")
        )
        bad[cases["index"].unique()] = True
        return bad, cases
    return bad, pd.DataFrame({"column": [], "check": [], "index": []})


_VALUE_COLUMN = {
    "unique_key": "source_event_id", "problem": "problem", "start": "starts_at_text",
    "end": "ends_at_text", "end_after_start": "ends_at_text",
    "zone": "timezone", "status": "status", "host": "host_email", "host_address": "host_email",
    "host_active": "host_email",
    "place": "site_key", "location": "site_key", "unique_guest": "guest_key",
    "guest_identity": "email", "guest_address": "email",
    "access_profiles": "access_profiles", "length": "ends_at_text", "private_flag": "private_text",
    "host_active_flag": "host_active",
    "internal_flag": "internal_text", "readable_text": "unreadable",
}  # fmt: skip


def _named(source: str, part: str, failures: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    pieces = [
        _rejects(
            source,
            part,
            frame.loc[group["index"]],
            _VALUE_COLUMN.get(str(check), "source_event_id"),
            str(check),
        )
        for check, group in failures.groupby("check", sort=True)
    ]
    return pd.concat(pieces, ignore_index=True) if pieces else empty_frame(REJECT_COLUMNS)


def _mask_addresses(value: str) -> str:
    """What stands in a field for one address, which may be several, without a person in it."""
    pieces = re.split(r"([\s,;:/|<>()\[\]\"]+)", value)
    return "".join(
        piece if number % 2 else mask_address(piece) if "@" in piece else mask_name(piece)
        for number, piece in enumerate(pieces)
    )


def _rejects(source: str, part: str, rows: pd.DataFrame, column: str, check: str) -> pd.DataFrame:
    """One line a rejected row, its value masked when it can name a person."""
    reason, remedy = REMEDIES[check]
    values = (
        rows[column].astype("str") if column in rows else pd.Series(dtype="str", index=rows.index)
    )
    if check == "location":
        values = (
            "room " + rows["room_key"].fillna("-") + ", site " + rows["site_key"].fillna("-")
        ).astype("str")
    if column in ("host_email", "email"):
        values = map_distinct(values, by=_mask_addresses)
    guest = (
        rows["guest_id"] if "guest_id" in rows else pd.Series(pd.NA, index=rows.index, dtype="str")
    )
    return pd.DataFrame(
        {
            "source": source,
            "part": part,
            "source_event_id": rows["source_event_id"].astype("str").to_numpy(),
            "guest_id": guest.astype("str").to_numpy(),
            "source_id": pd.Series(pd.NA, index=range(len(rows)), dtype="str"),
            "column": column.removesuffix("_text"),
            "check": check,
            "value": values.str.slice(0, 120).to_numpy(),
            "remedy": f"{reason}: {remedy}".replace("<name>", source),
        },
        index=np.arange(len(rows)),
    ).astype("str")
