"""Read back what essentry holds at the configured locations, and list what the snapshot does not
explain. Reads only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from flows.essentry.invitations import read_invitations
from flows.state.store import State
from schemas.config import Config
from transforms.operations.leftovers import find_left_over


def list_left_over(config: Config, state: State) -> list[dict[str, Any]]:
    """Upcoming invitations that essentry holds and no event of the state explains; see
    transforms.leftovers. Raises EssentryError.
    """
    known = state.read_fingerprints()
    active = known[known["state"] == "active"]
    placed = active.dropna(subset=["location_id", "starts_at"])
    where = {
        row.source_id: (int(row.location_id), row.starts_at.to_pydatetime())
        for row in placed.itertuples()
    }
    ids = active["source_id"].tolist()
    now = datetime.now(UTC)
    # a window at a time
    listed = (
        item
        for place in list_places(config, known)
        for item in read_invitations(config, place, now=now)
    )
    # what an unanswered request asked for may be there, and the next night settles it
    asked = [text for text in state.open_intents()["after"] if isinstance(text, str)]
    return find_left_over(listed, [*state.read_payloads(ids).values(), *asked], places=where)


def list_places(config: Config, known: pd.DataFrame) -> list[int]:
    """The locations that the configuration maps, and those of the events in `known`
    (`location_id`).
    """
    tables = [table for entry in config.sources.values() for table in (entry.sites, entry.rooms)]
    places = {
        site.location_id
        for table in tables
        for site in table.values()
        if site.location_id is not None
    }
    return sorted(places | {int(place) for place in known["location_id"].dropna()})
