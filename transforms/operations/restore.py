"""What may have moved since the copy of a state store was made. Pure."""

from __future__ import annotations

import orjson
import pandas as pd

from transforms.naming.naming import Naming

TOUCHED_COLUMNS = [
    "source_id", "source", "action", "reason", "starts_at", "ends_at", "name", "location_id",
    "guests", "state", "code", "invitations",
]  # fmt: skip
APPLIED = ("confirmed", "unknown", "sending")
"""States of a change that essentry may have applied."""


def find_touched(changes: pd.DataFrame) -> pd.DataFrame:
    """The last change of each event that essentry may have applied, with all guests that any of
    them may have brought.

    changes: TOUCHED_COLUMNS of runs one after the other; starts_at and ends_at in any zone,
    `invitations` a JSON list of guests: the id, and who it is where that is known.
    """
    rows = changes[changes["state"].isin(APPLIED) & (changes["action"] != "expire")].reset_index(
        drop=True
    )
    if rows.empty:
        return pd.DataFrame(columns=TOUCHED_COLUMNS)
    guests: dict[str, dict[str, dict[str, str]]] = {}
    # a few nights of changes
    for source_id, text in zip(rows["source_id"], rows["invitations"], strict=True):
        mine = guests.setdefault(source_id, {})
        mine.update({guest["sourceId"]: guest for guest in orjson.loads(text)})
    last = rows.drop_duplicates("source_id", keep="last").reset_index(drop=True)
    texts = [
        orjson.dumps([guest for _, guest in sorted(guests[source_id].items())]).decode()
        for source_id in last["source_id"]
    ]
    instants = {
        name: pd.to_datetime(last[name], utc=True).astype("datetime64[us, UTC]")
        for name in ("starts_at", "ends_at")
    }
    return last.assign(invitations=pd.Series(texts, index=last.index, dtype="str"), **instants)


def rename_sources(touched: pd.DataFrame, snapshot: pd.DataFrame, naming: Naming) -> pd.DataFrame:
    """`touched` with the rows of a source that was renamed since under its name of today, which its
    ids tell: they stayed as they were.

    snapshot: source_id and source of what the state knows, which comes first: an id that was taken
    over begins otherwise.
    """
    old = ~touched["source"].isin(list(naming.prefixes))
    if not old.any():
        return touched
    known = dict(zip(snapshot["source_id"], snapshot["source"], strict=True))
    rows = touched.loc[old, ["source_id", "source"]]
    owners = [
        next(
            (name for name in (known.get(key), naming.find_owner(key)) if name in naming.prefixes),
            source,
        )
        for key, source in rows.itertuples(index=False, name=None)
    ]
    names = touched["source"].astype("object").copy()
    names[old] = owners
    return touched.assign(source=names.astype(touched["source"].dtype))


def find_kept(touched: pd.DataFrame, naming: Naming) -> dict[str, str]:
    """Built id → id of the events whose key is not the one that their id is built of: they came
    back under it, which an older copy does not know.

    touched: source, source_id and source_event_id, which is missing where it is not told. naming:
    without any id taken over. What was taken over from another integration is not among them:
    `adopt` tells that again.
    """
    found = {}
    # a few nights of changes
    rows = touched.loc[touched["source_event_id"].notna(), ["source", "source_id"]]
    keys = touched.loc[rows.index, "source_event_id"].astype("str")
    prefixes = rows["source"].map(naming.prefix_of).astype("str")
    for prefix, own, source_id in zip(
        prefixes, naming.name_events(prefixes, keys), rows["source_id"], strict=True
    ):
        if own != source_id and source_id.startswith(f"{prefix}-"):
            found[str(own)] = str(source_id)
    return found


def mark_all(snapshot: pd.DataFrame, touched: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """`touched` and every other event that the copy holds and that is not over, as updates whose
    outcome is unknown.
    """
    rest = snapshot[
        (snapshot["state"] == "active")
        & ~(snapshot["ends_at"] <= as_of)
        & ~snapshot["source_id"].isin(touched["source_id"])
    ]
    rows = rest.assign(action="update", reason=None, state="unknown", code=None, invitations="[]")[
        TOUCHED_COLUMNS
    ]
    return pd.concat(
        [frame for frame in (touched, rows) if len(frame)] or [touched], ignore_index=True
    )
