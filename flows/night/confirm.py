"""Ask the sources again just before a delete is sent: no proof, no delete (S2, S17)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from flows.night.compare import compare_sources
from flows.night.run import Night, Run
from flows.parts.deal import read_night
from flows.parts.shelf import open_shelf
from flows.sources.ask import FirstLook, confirm_absent
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SyncError
from transforms.naming.ids import build_event_ids, escape_part
from transforms.naming.naming import name_by

LOOK_SECONDS = 120.0
"""A second look is used for so long at most."""
CONTROLS = 20
"""So many events that essentry holds say whether a look can be believed, where the plan knows of no first look."""


def find_confirmed(config: Config, state: State, run: Run, deletes: pd.DataFrame) -> set[str]:
    """Which of an older plan's deletes a fresh look at the sources would make again, by event.

    deletes: source_id and reason. All rules hold again, those of health among them; a source that cannot be read confirms nothing.
    """
    try:
        with open_shelf(config.spill_folder) as shelf:
            diff = compare_sources(Night(config, state, run, shelf=shelf), *read_night(config, state, shelf)).diff
    except SyncError:
        return set()
    again = diff.decisions.loc[diff.decisions["action"] == "delete", "source_id"]
    return set(deletes["source_id"]) & set(again)


@dataclass(frozen=True)
class SecondLook:
    """`found`: events that their sources show again. `failed`: event → why the look at it proved nothing. An event in neither is gone.

    `in` tells of an event whether it must not be deleted.
    """

    found: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, source_id: str) -> bool:
        return source_id in self.found or source_id in self.failed

    def tell(self, source_id: str) -> tuple[str, str]:
        """The code and the reason of an event that must not be deleted."""
        if source_id in self.failed:
            return "LOOK_FAILED", self.failed[source_id]
        return "STILL_THERE", "its source shows it again, so it is not cancelled"


class Looks:
    """The second look of one load, read anew when it is no longer fresh: sending goes on for long, and a source may be large.

    So a look is used for twenty times as long as it took, and for LOOK_SECONDS at most.
    """

    def __init__(self, look: Callable[[], SecondLook], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._look, self._clock = look, clock
        self._last: SecondLook | None = None
        self._fresh_until = 0.0

    def now(self) -> SecondLook:
        """What the sources show now, or a moment ago."""
        began = self._clock()
        if self._last is None or began > self._fresh_until:
            self._last = self._look()
            ended = self._clock()
            self._fresh_until = ended + min(20 * (ended - began), LOOK_SECONDS)
        return self._last


def find_still_there(config: Config, state: State, source_ids: Sequence[str], plan_id: str | None = None) -> SecondLook:
    """Which of these events their sources still show (S2, S23), by a fresh look: one at each source, whatever the number of events.

    Ids are compared, so an id that cannot be read back is found as well. An event that was one meeting with others is still there when any of
    its records is. plan_id: the plan whose first look says what is surely there; without it, what essentry holds says so.
    """
    naming = name_by(config, state.adopted())
    built = {adopted: own for own, adopted in naming.events.items()}
    owners = {escape_part(prefix): source for source, prefix in naming.prefixes.items()}
    members = state.read_members(source_ids)
    asked: dict[str, dict[str, set[str]]] = {}
    failed: dict[str, str] = {}
    for source_id in source_ids:
        for record in (source_id, *members.get(source_id, ())):
            own = built.get(record, record)
            source = owners.get(own.split("-", 1)[0])
            if source is None:
                failed[source_id] = f"no source of the configuration can be asked for {record}: put its source back, or retire it"
            else:
                asked.setdefault(source, {}).setdefault(own, set()).add(source_id)
    still: set[str] = set()
    looks = state.read_looks(plan_id) if plan_id else {}
    for name, ids in asked.items():
        prefix = naming.prefixes[name]
        first = _find_first_look(config, state, name, looks, built)
        try:
            found = confirm_absent(
                name,
                config.sources[name],
                list(ids),
                root=config.root,
                first=first,
                identify=lambda keys, prefix=prefix: build_event_ids(prefix, keys),  # type: ignore[misc]
            )
        except SyncError as error:
            failed |= {source_id: f"the second look failed: {error}" for mine in ids.values() for source_id in mine}
        else:
            still.update(source_id for own in found for source_id in ids[own])
    return SecondLook(frozenset(still), {key: why for key, why in failed.items() if key not in still})


def _find_first_look(
    config: Config, state: State, name: str, looks: Mapping[str, tuple[int, list[str]]], built: Mapping[str, str]
) -> FirstLook:
    """What the source surely shows, by the look that the plan rests on; without one, by what essentry holds of it."""
    prefix = config.sources[name].id_prefix or name
    if name in looks:
        rows, keys = looks[name]
        ids = build_event_ids(prefix, pd.Series(keys, dtype="str")).tolist()
    else:
        rows = state.last_good_reads().get(name, {}).get("events", 0)
        held = [built.get(key, key) for key in state.list_upcoming(name, now=datetime.now(UTC), limit=CONTROLS)]
        ids = [key for key in held if key.startswith(f"{escape_part(prefix)}-")]
    return FirstLook(ids, rows, config.guards.max_shrink_share, config.guards.min_count)
