"""The guard on what an approval left out: a person has said no to it, or not yet, and no limit says
yes instead. Pure.
"""

from __future__ import annotations

import pandas as pd

from transforms.arrow.codes import to_texts
from transforms.guards.findings import CAUSES, Finding
from transforms.words import plural

LEFT_OUT = "left_out"


def find_left_out(left_out: pd.DataFrame, changes: pd.DataFrame) -> list[Finding]:
    """A finding when changes of a plan are among those that an approval left out. left_out,
    changes: source_id and action at least.
    """
    if left_out.empty or changes.empty:
        return []
    keys = set(left_out[["source_id", "action"]].itertuples(index=False, name=None))
    pairs = zip(to_texts(changes["source_id"]), to_texts(changes["action"]), strict=True)
    found = [f"{source_id}: {action}" for source_id, action in pairs if (source_id, action) in keys]
    if not found:
        return []
    text = (
        f"{plural(len(found), 'change')} {'was' if len(found) == 1 else 'were'} left out of an "
        "approval"
    )
    return [
        Finding(
            LEFT_OUT,
            "run",
            len(found),
            0,
            f"{text}, and {'goes' if len(found) == 1 else 'go'} by an approval alone",
            causes=tuple(found[:CAUSES]),
        )
    ]
