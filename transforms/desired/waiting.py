"""The meetings to come of which nothing is sent tonight: they wait in their source, or cannot be
read. Pure.

One of them may be a meeting that essentry has under another key, so that its old row's absence
proves nothing (S15, S26).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from transforms.arrow.columns import Mask, is_among
from transforms.arrow.rows import pick_rows
from transforms.naming.naming import Naming
from transforms.validate.source import Validated

WAITING_COLUMNS = ["source_id", "source", "starts_at", "location_id", "people"]


def list_waiting(
    records: pd.DataFrame,
    sources: Sequence[Validated],
    guests: pd.DataFrame,
    hosts: Mask,
    naming: Naming,
    *,
    as_of: pd.Timestamp,
) -> pd.DataFrame:
    """WAITING_COLUMNS: the id that the row's key makes, start (UTC), place, and the sorted
    identities of the guests that can be read.

    records: with their disposition. sources: with what of their rejected events has a start and a
    place. guests: of both, by the id of their record. hosts: those of them who host their own
    meeting.
    """
    waits = records["disposition"].isin(["pending", "quarantined"]) & (records["ends_at"] > as_of)
    found = [records.loc[waits, ["own_id", "source", "starts_at", "location_id"]]]
    for source in sources:
        unread = source.unread_events
        own = naming.name_events(naming.prefix_of(source.source), unread["source_event_id"])
        found.append(unread[["starts_at", "location_id"]].assign(own_id=own, source=source.source))
    frames = [frame for frame in found if len(frame)]
    if not frames:
        return pd.DataFrame(columns=WAITING_COLUMNS)
    waiting = pd.concat(frames, ignore_index=True).astype({"location_id": "Int64"})
    waiting = waiting[waiting["location_id"].notna() & (waiting["starts_at"] > as_of)]
    mine = pick_rows(
        guests[["own_id", "identity"]], is_among(guests["own_id"], waiting["own_id"]) & ~hosts
    )
    people = mine.groupby("own_id")["identity"].agg(sorted)
    waiting = waiting.rename(columns={"own_id": "source_id"})
    return waiting.assign(people=[people.get(key, []) for key in waiting["source_id"]])[
        WAITING_COLUMNS
    ].reset_index(drop=True)
