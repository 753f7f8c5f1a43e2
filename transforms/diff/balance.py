"""Where every row went: rows read and snapshot rows, each by what became of them. Both sums hold,
or a row was lost. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from transforms.arrow.codes import to_texts
from transforms.arrow.columns import find_positions, take_text
from transforms.validate.source import Validated


def count_rows(dispositions: pd.DataFrame, decisions: pd.DataFrame) -> dict[str, int]:
    """A part's rows by disposition, those that are due by the action that was decided; `lost`
    counts what should not be.
    """
    due = (dispositions["disposition"] == "due").to_numpy(dtype=bool)
    action = _find_action(dispositions["source_id"], decisions)
    named = dispositions["disposition"].where(~due, action)
    return {str(name): int(count) for name, count in named.value_counts().items()}


def build_balance(
    rows: Mapping[str, int],
    decisions: pd.DataFrame,
    snapshot: pd.DataFrame,
    sources: Sequence[Validated],
) -> dict[str, Any]:
    """rows: `count_rows` of all parts. decisions: of the whole night; snapshot: as it was
    before.
    """
    counted = dict(rows)
    keyless = sum(v.unreadable_event_keys for v in sources)
    copies = sum(v.notes.get("copies_dropped", 0) for v in sources)
    shared_keys = sum(int((v.rejects["check"] == "unique_key").sum()) for v in sources)
    repeated = shared_keys - sum(
        v.rejects.loc[v.rejects["check"] == "unique_key", "source_event_id"].nunique()
        for v in sources
    )
    counted["quarantined"] = counted.get("quarantined", 0) + keyless + repeated
    if copies:
        counted["copies"] = copies
    before = snapshot[snapshot["state"] == "active"]["source_id"]
    kept = _find_action(before, decisions).value_counts().to_dict()
    read = sum(v.event_rows for v in sources)
    return {
        "rows_read": read,
        "rows": {key: value for key, value in sorted(counted.items()) if value},
        "rows_balanced": sum(counted.values()) == read,
        "snapshot_before": len(before),
        "snapshot": {key: int(value) for key, value in sorted(kept.items())},
        "snapshot_balanced": sum(kept.values()) == len(before) and "lost" not in kept,
    }


def _find_action(source_ids: pd.Series, decisions: pd.DataFrame) -> pd.Series:
    """What was decided about each event."""
    action = to_texts(decisions["action"])
    return take_text(
        action, find_positions(source_ids, decisions["source_id"]), source_ids.index
    ).fillna("lost")
