"""Which ids the records of this configuration have: built by transforms.ids, from a source's prefix, unless an older id was taken over. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from schemas.config import Config
from transforms.naming.ids import ParsedId, build_event_ids, escape_part, escape_parts, join_parts, parse_event_id


@dataclass(frozen=True)
class Naming:
    """`prefixes`: source → first part of its ids. `events`, `guests`: built id → the id under which essentry has it from another integration."""

    prefixes: Mapping[str, str]
    events: Mapping[str, str] = field(default_factory=dict)
    guests: Mapping[str, str] = field(default_factory=dict)

    def prefix_of(self, source: str) -> str:
        """The first part of a source's ids; of a source that is not configured its name."""
        return self.prefixes.get(source, source)

    def name_events(self, prefixes: pd.Series | str, keys: pd.Series) -> pd.Series:
        """sourceIds of events by the prefix of their source, which may be the same for all, and source_event_id, aligned."""
        return _replace(build_event_ids(prefixes, keys), self.events)

    def name_guests(self, prefix: str, event_keys: pd.Series, guest_parts: pd.Series, *, shared: bool) -> pd.Series:
        """sourceIds of invitations. guest_parts: escaped, aligned; missing ones stay missing."""
        events = () if shared else (escape_parts(event_keys),)
        ids = join_parts(escape_part(prefix), *events, guest_parts)
        return _replace(ids, self.guests)

    def read_event(self, source_id: str) -> ParsedId:
        """The record behind an event's id: its source as it is called now, and its key there. Raises ValueError as `parse_event_id` does."""
        built = {adopted: own for own, adopted in self.events.items()}
        parsed = parse_event_id(built.get(source_id, source_id))
        owners = {prefix: source for source, prefix in self.prefixes.items()}
        return replace(parsed, source=owners.get(parsed.source, parsed.source))

    def find_source(self, source_id: str) -> str:
        """The source of the record behind an event's id, as it is called now; of one that is not configured what its ids begin with.

        Of a shortened id too, which cannot be read back: its beginning is whole.
        """
        built = next((own for own, adopted in self.events.items() if adopted == source_id), source_id)
        prefix = built.partition("-")[0]
        return next((source for source, first in self.prefixes.items() if first == prefix), prefix)


def name_by(config: Config, adopted: Mapping[str, Mapping[str, str]] | None = None) -> Naming:
    """The naming of a configuration; `adopted`: `event` and `guest` → built id → id that was taken over."""
    prefixes = {name: entry.id_prefix or name for name, entry in config.sources.items()}
    known = adopted or {}
    return Naming(prefixes, known.get("event", {}), known.get("guest", {}))


def _replace(ids: pd.Series, known: Mapping[str, str]) -> pd.Series:
    return ids.where(~ids.isin(list(known)), ids.map(dict(known))).astype("str") if known else ids
