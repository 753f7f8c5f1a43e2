"""Ask the sources again just before a delete is sent: no proof, no delete (S2, S17)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from flows.sources.ask import FirstLook, confirm_absent
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SyncError
from transforms.naming.naming import Naming, name_by

LOOK_SECONDS = 120.0
"""A second look is used for so long at most."""
CONTROLS = 20
"""So many events that essentry holds say whether a look can be believed, where the plan knows of no
first look.
"""


@dataclass(frozen=True)
class SecondLook:
    """`found`: events that their sources show again. `failed`: event → why the look at it proved
    nothing. An event in neither is gone.

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
    """The second look of one load, read anew when it is no longer fresh: sending goes on for long,
    and a source may be large.

    So a look is used for twenty times as long as it took, and for LOOK_SECONDS at most.
    """

    def __init__(
        self, look: Callable[[], SecondLook], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
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


def find_still_there(
    config: Config,
    state: State,
    events: Mapping[str, Sequence[str]],
    plan_id: str | None = None,
    naming: Naming | None = None,
) -> SecondLook:
    """Which of these events their sources still show (S2, S23), by a fresh look: one at each
    source, whatever the number of events.

    events: event → the records that must be gone, which of a united meeting are several; it is
    still there when any of them is. Ids are compared, so one that cannot be read back is found as
    well. plan_id: the plan whose first look says what is surely there; without it, what essentry
    holds says so. naming: of the run, with the spellings that essentry has.
    """
    named = naming or name_by(config, state.adopted())
    asked: dict[str, dict[str, set[str]]] = {}
    failed: dict[str, str] = {}
    for event, records in events.items():
        for record in records:
            source = named.find_source(record)
            if source not in config.sources:
                failed[event] = (
                    f"no source of the configuration can be asked for {record}: "
                    "put its source back, or retire it"
                )
            else:
                asked.setdefault(source, {}).setdefault(record, set()).add(event)
    still: set[str] = set()
    looks = state.read_looks(plan_id) if plan_id else {}
    for name, ids in asked.items():
        try:
            found = confirm_absent(
                name,
                config.sources[name],
                list(ids),
                root=config.root,
                first=_find_first_look(config, state, name, looks, named),
                identify=lambda keys, prefix=named.prefix_of(name): named.name_events(prefix, keys),  # type: ignore[misc]
            )
        except SyncError as error:
            failed |= {
                event: f"the second look failed: {error}" for mine in ids.values() for event in mine
            }
        else:
            still.update(event for record in found for event in ids[record])
    return SecondLook(
        frozenset(still), {key: why for key, why in failed.items() if key not in still}
    )


def _find_first_look(
    config: Config,
    state: State,
    name: str,
    looks: Mapping[str, tuple[int, list[str]]],
    naming: Naming,
) -> FirstLook:
    """What the source surely shows, by the look that the plan rests on; without one, by what
    essentry holds of it.
    """
    if name in looks:
        rows, keys = looks[name]
        ids = naming.name_events(naming.prefix_of(name), pd.Series(keys, dtype="str")).tolist()
    else:
        rows = state.last_good_reads().get(name, {}).get("events", 0)
        held = state.list_upcoming(name, now=datetime.now(UTC), limit=CONTROLS)
        ids = [key for key in held if naming.find_source(key) == name]
    return FirstLook(ids, rows, config.guards.max_shrink_share, config.guards.min_count)
