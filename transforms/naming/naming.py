"""Which ids the records of this configuration have: built by transforms.ids, from a source's
prefix, unless an older id was taken over. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import pyarrow.compute as pc

from schemas.config import Config
from transforms.arrow.columns import Mask, to_arrow, to_mask
from transforms.naming.ids import (
    ParsedId,
    build_event_ids,
    escape_part,
    escape_parts,
    join_parts,
    may_be_respelled,
    parse_event_id,
    respell_id,
    seal_ids,
)

TAKEN = "~taken"
"""At the end of a mark that stands for an id; no id ends so."""


@dataclass(frozen=True)
class Naming:
    """`prefixes`: source → first part of its ids. `events`, `guests`: built id → the id under which
    essentry has it from another integration.

    `spellings`: built id → the ids under which essentry has the event because its key was spelled
    otherwise; the first one stays. `secret`: of the seals of invitations, where they are sealed.
    """

    prefixes: Mapping[str, str]
    events: Mapping[str, str] = field(default_factory=dict)
    guests: Mapping[str, str] = field(default_factory=dict)
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret: str | None = field(default=None, repr=False)

    def prefix_of(self, source: str) -> str:
        """The first part of a source's ids; of a source that is not configured its name."""
        return self.prefixes.get(source, source)

    def name_events(self, prefixes: pd.Series | str, keys: pd.Series) -> pd.Series:
        """sourceIds of events by the prefix of their source, which may be the same for all, and
        source_event_id, aligned.
        """
        ids = _replace(build_event_ids(prefixes, keys), self.events)
        return _swap(ids, {built: found[0] for built, found in self.spellings.items()})

    def name_guests(
        self, prefix: str, event_keys: pd.Series, guest_parts: pd.Series, *, shared: bool
    ) -> pd.Series:
        """sourceIds of invitations. guest_parts: escaped, aligned; missing ones stay missing."""
        events = () if shared else (escape_parts(event_keys),)
        ids = join_parts(escape_part(prefix), *events, guest_parts)
        if self.secret is None:
            return _replace(ids, self.guests)
        return (
            _swap(ids, self.guests)
            .where(ids.isin(list(self.guests)), seal_ids(ids, self.secret))
            .astype("str")
        )

    def read_event(self, source_id: str) -> ParsedId:
        """The record behind an event's id: its source as it is called now, and its key there.
        Raises ValueError as `parse_event_id` does.
        """
        built = {adopted: own for own, adopted in self.events.items()}
        parsed = parse_event_id(built.get(source_id, source_id))
        owners = {prefix: source for source, prefix in self.prefixes.items()}
        return replace(parsed, source=owners.get(parsed.source, parsed.source))

    def find_source(self, source_id: str) -> str:
        """The source of the record behind an event's id, as it is called now; of one that is not
        configured what its ids begin with.

        Of a shortened id too, which cannot be read back: its beginning is whole.
        """
        return self.find_owner(
            next((own for own, adopted in self.events.items() if adopted == source_id), source_id)
        )

    def find_owner(self, built: str) -> str:
        """The source whose key made an id, as it is called now."""
        prefix = built.partition("-")[0]
        return next((source for source, first in self.prefixes.items() if first == prefix), prefix)


def name_by(
    config: Config,
    adopted: Mapping[str, Mapping[str, str]] | None = None,
    *,
    secret: str | None = None,
) -> Naming:
    """The naming of a configuration; `adopted`: `event` and `guest` → built id → id that was taken
    over. secret: of the seals.
    """
    prefixes = {name: entry.id_prefix or name for name, entry in config.sources.items()}
    known = adopted or {}
    return Naming(prefixes, known.get("event", {}), known.get("guest", {}), secret=secret)


def keep_spellings(naming: Naming, snapshot: pd.DataFrame) -> Naming:
    """The naming with the ids that essentry has of keys in another spelling: they stay. snapshot:
    source_id, state.
    """
    odd = may_be_respelled(snapshot["source_id"])
    if odd.empty:
        return naming
    active = set(snapshot.loc[odd.index[snapshot.loc[odd.index, "state"] == "active"], "source_id"])
    found: dict[str, list[str]] = {}
    for source_id in sorted(odd, key=lambda source_id: (source_id not in active, source_id)):  # few
        built = respell_id(source_id)
        if built != source_id:
            found.setdefault(built, []).append(source_id)
    if not found:
        return naming
    states = dict(zip(snapshot["source_id"], snapshot["state"], strict=True))
    for built, ids in found.items():
        if states.get(built) == "active" or (built in states and states[ids[0]] != "active"):
            ids.insert(0, built)
    return replace(naming, spellings={built: tuple(ids) for built, ids in found.items()})


def _swap(ids: pd.Series, known: Mapping[str, str]) -> pd.Series:
    return ids.where(~ids.isin(list(known)), ids.map(dict(known))).astype("str") if known else ids


def _replace(ids: pd.Series, known: Mapping[str, str]) -> pd.Series:
    """Ids that were taken over in place of the built ones. A record whose built id went to another
    one is marked: no id is left for it.
    """
    if not known:
        return ids
    taken = {new: f"{new}{TAKEN}" for own, new in known.items() if new not in known}
    return _swap(ids, taken | dict(known))


def are_taken(ids: pd.Series) -> Mask:
    """True for the marks of records whose id was taken over for another one."""
    return to_mask(pc.ends_with(to_arrow(ids), TAKEN))
