"""Ask the sources again just before a delete is sent: no proof, no delete (S2, S17)."""

from __future__ import annotations

from flows.sources.ask import confirm_absent
from flows.state.store import State
from schemas.config import Config
from schemas.errors import SyncError
from transforms.naming.naming import name_by


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
