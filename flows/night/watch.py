"""What a night that is restricted to single events keeps of them on the way: their rows as they
were read, and which meeting they became part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from flows.parts.work import Built
from flows.sources.read import Extracted
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.guards.restriction import Restriction, find_part
from transforms.naming.naming import Naming
from transforms.validate.people import clean_key, normalise_key

MOST_ROWS = 1_000_000
"""Of a source with more rows they are not kept: they would be as large as the night."""


@dataclass
class Watch:
    """`read`: source → events and guests as they were read, without those of a night that is
    divided. `records`: own_id → id of the meeting, its source and disposition, of the events asked
    for. `invited`: text asked for → ids of the meetings whose guest it names. `due`: ids of the
    events of a part by source, location and day that are due, sent or not; days are those of
    `timezone`.
    """

    only: Restriction
    read: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = field(default_factory=dict)
    records: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    invited: dict[str, set[str]] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    timezone: str = "UTC"

    def see_read(self, extracted: Mapping[str, Any]) -> None:
        """Keep the rows of the sources; of a divided night they lie in files, and are not kept."""
        for name, source in extracted.items():
            if (
                isinstance(source, Extracted)
                and len(source.events) + len(source.guests) <= MOST_ROWS
            ):
                self.read[name] = source.events, source.guests

    def see_built(self, built: Built, naming: Naming) -> None:
        """Keep of a part what it says of the events and guests asked for."""
        wanted = {source_id for text in self.only.events for source_id in list_names(text, naming)}
        rows = built.dispositions
        some = pick_rows(
            rows, is_among(rows["own_id"], wanted) | is_among(rows["source_id"], wanted)
        )
        for own, target, source, said in some[
            ["own_id", "source_id", "source", "disposition"]
        ].itertuples(index=False, name=None):
            self.records[own] = target, source, said
        if not self.only.by_id:
            events = built.events.rename(columns={"members": "members_json"})
            mine = find_part(events, self.only, naming, self.timezone)
            self.due.update(events.loc[mine, "source_id"])
        if self.only.guests:
            emails, ids = built.invitations["email"].str.lower(), built.invitations["invitation_id"]
        for text in self.only.guests:
            mine = ((emails == text.lower()) | (ids == text)).fillna(False).to_numpy(dtype=bool)
            self.invited.setdefault(text, set()).update(built.invitations.loc[mine, "source_id"])

    def find_rows(self, source: str, key: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The rows of an event as they were read, events and guests; None where they were not
        kept.
        """
        if source not in self.read:
            return None
        events, guests = self.read[source]
        wanted = clean_key(pd.Series([key], dtype="str"))
        mine, theirs = (
            pick_rows(frame, is_among(clean_key(frame["source_event_id"]), wanted))
            for frame in (events, guests)
        )
        return mine, theirs


def list_names(text: str, naming: Naming) -> Iterable[str]:
    """The ids that a text may mean: itself, and in each source the id of the event that has it as
    its key.
    """
    keys = pd.Series([normalise_key(text)], dtype="str")
    return [
        text,
        *(str(naming.name_events(prefix, keys).iloc[0]) for prefix in naming.prefixes.values()),
    ]
