"""Ask the sources again just before a delete is sent: no proof, no delete (S2, S17)."""

from __future__ import annotations

import pandas as pd

from flows.night.compare import compare_sources
from flows.night.run import Night, Run
from flows.parts.deal import read_night
from flows.parts.shelf import open_shelf
from flows.sources.ask import confirm_absent
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SyncError
from transforms.naming.naming import name_by


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


def find_still_there(config: Config, state: State, source_ids: list[str]) -> set[str]:
    """Which of these events their sources still show (S2), by a fresh look. A source that cannot be asked shows all of its own."""
    naming = name_by(config, state.adopted())
    still: set[str] = set()
    by_source: dict[str, dict[str, str]] = {}
    for source_id in source_ids:
        try:
            record = naming.read_event(source_id)
        except ValueError:
            still.add(source_id)  # the key cannot be read back: no proof
            continue
        if record.source in config.sources:
            by_source.setdefault(record.source, {})[str(record.event)] = source_id
        else:
            still.add(source_id)  # nobody can be asked
    for name, keys in by_source.items():
        try:
            found = confirm_absent(name, config.sources[name], list(keys), root=config.root)
        except SyncError:
            still.update(keys.values())
        else:
            still.update(keys[key] for key in found & set(keys))
    return still
