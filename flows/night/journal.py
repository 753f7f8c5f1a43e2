"""The runs that may have sent something, written down outside the state store: what tells that the
store was restored from an older copy.

A line of JSON a run, in the folder of the reports and beside a SQLite store, in a file that is
named after the store's salt: a copy has it too, another store has not. Nobody is named in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import orjson
import pandas as pd

from flows.night.run import PART, Run
from flows.state.store import State
from schemas.config import Config

MOST_LINES, KEPT_LINES = 2_000, 1_000


@dataclass(frozen=True)
class Entry:
    """One run. `after`: the newest run that the state knew of when it began, so that a gap in the
    journal is seen; kind: sync, apply, adopt, part.
    """

    run_id: str
    kind: str
    started_at: str
    after: str | None

    @property
    def began(self) -> pd.Timestamp:
        """When it began (UTC)."""
        return pd.Timestamp(datetime.fromisoformat(self.started_at))


@dataclass(frozen=True)
class Missing:
    """Runs of the journal that the state does not know, oldest first. `gap`: there were others,
    which stand in no journal here.
    """

    entries: list[Entry]
    gap: bool


def note_run(config: Config, state: State, run: Run, kind: str) -> None:
    """Write a run down before it sends anything. A folder that cannot be written is told by the
    report.
    """
    runs = _list_senders(state, but=run.run_id)
    after = str(runs.iloc[-1]["run_id"]) if len(runs) else None
    line = orjson.dumps(asdict(Entry(run.run_id, kind, run.started_at.isoformat(), after))) + b"\n"
    for file in _list_files(config, state):
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
            if len(lines) > MOST_LINES:
                draft = file.with_name(file.name + ".part")
                draft.write_bytes(b"".join(lines[-KEPT_LINES:]))
                draft.chmod(0o600)
                draft.replace(file)
            handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)


def find_missing(config: Config, state: State) -> Missing:
    """The runs that the journal knows and the state does not: it is an older copy. Runs that the
    state has forgotten by age are not among them.
    """
    runs = state.runs()
    known = set(runs["run_id"])
    oldest = runs["started_at"].min() if len(runs) else None
    found = {entry.run_id: entry for file in _list_files(config, state) for entry in _read(file)}
    lost = [
        e for e in found.values() if e.run_id not in known and (oldest is None or e.began > oldest)
    ]
    ids = known | {entry.run_id for entry in lost}
    return Missing(
        sorted(lost, key=lambda entry: entry.began),
        any(e.after is not None and e.after not in ids for e in lost),
    )


def _list_senders(state: State, *, but: str) -> pd.DataFrame:
    runs = state.runs()
    return runs[
        runs["kind"].isin(["sync", "apply", "adopt", PART]) & (runs["run_id"] != but)
    ].sort_values("started_at")


def _list_files(config: Config, state: State) -> list[Path]:
    name = f".runs-{sha256(state.salt().encode()).hexdigest()[:12]}.jsonl"
    folders = [(config.root / config.report.directory).resolve()]
    if state.engine.url.get_backend_name() == "sqlite":
        folders.append(Path(str(state.engine.url.database)).resolve().parent)
    return [folder / name for folder in dict.fromkeys(folders)]


def _read(file: Path) -> Iterator[Entry]:
    """The lines that can be read; one that a killed run left half written is none."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            entry = Entry(**orjson.loads(line))
            datetime.fromisoformat(entry.started_at)
            yield entry
