"""Deal a source's rows to the partitions' files while they are read, so that no source has to fit
into memory. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from flows.parts.shelf import Place, Shelf, explain_failure
from flows.sources.read import Extracted, read_parts, read_source, read_sources, to_frame
from flows.state.store import State
from schemas.config import Config
from schemas.config_source import SourceConfig
from transforms.arrow.columns import to_series
from transforms.arrow.rows import pick_rows
from transforms.desired.partition import Frames, are_linked, choose_partitions, find_pointing
from transforms.naming.naming import Naming, name_by

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Dealt:
    """One source's raw rows, a file a partition. `pointing`: records of its events that point at
    others; `read_at`: when reading began (UTC).
    """

    source: str
    events: list[Path]
    guests: list[Path]
    pointing: pd.Series
    read_at: datetime


@dataclass(frozen=True)
class DealtPart:
    """The raw frames of one partition, without the linked records; as flows.parts.shelf.Place."""

    files: Mapping[str, tuple[Path, Path]]
    linked: pd.Series

    def look(self) -> Frames:
        """The frames; the files stay."""
        return {
            source: (_read(events, source, self.linked), _read(guests, source, self.linked))
            for source, (events, guests) in self.files.items()
        }

    def take(self) -> Frames:
        """The frames; the files are gone."""
        frames = self.look()
        for pair in self.files.values():
            for file in pair:
                file.unlink()
        return frames


def deal_source(
    name: str, config: SourceConfig, *, root: Path, shelf: Shelf, count: int, naming: Naming
) -> Dealt:
    """Read one completed source into the files of `count` partitions. Raises as `read_source` does,
    and StateError when the folder is full.
    """
    read_at = datetime.now(UTC)
    pointing: list[pd.Series] = []

    def deal(part: Literal["events", "guests"], batches: Iterator[pa.RecordBatch]) -> list[Path]:
        files = [shelf.new_path() for _ in range(count)]
        if part == "events":
            pointing.clear()
        first = next(batches)
        with ExitStack() as stack:
            with explain_failure(files[0]):
                writers = [
                    stack.enter_context(
                        pa.ipc.new_stream(str(file), first.schema, options=_COMPRESSED)
                    )
                    for file in files
                ]
            for batch in chain([first], batches):
                keys = to_series(batch.column("source_event_id"), pd.RangeIndex(len(batch)))
                where = choose_partitions(name, keys, count)
                rows = np.argsort(where, kind="stable")
                bounds = np.searchsorted(where[rows], np.arange(count + 1))
                dealt = batch.take(pa.array(rows))
                with explain_failure(files[0]):
                    for number, writer in enumerate(writers):
                        if bounds[number] < bounds[number + 1]:
                            writer.write_batch(
                                dealt.slice(bounds[number], bounds[number + 1] - bounds[number])
                            )
                if part == "events":
                    pointing.append(find_pointing(name, to_frame([batch]), naming))
        return files

    events, guests = read_parts(name, config, root=root, consume=deal)
    return Dealt(name, events, guests, pd.concat(pointing, ignore_index=True), read_at)


def read_night(
    config: Config, state: State, shelf: Shelf
) -> tuple[dict[str, Extracted] | dict[str, Dealt], dict[str, str]]:
    """Read every source as `read_sources` does: into memory, or into the files of a shelf that has
    a folder.
    """
    if shelf.folder is None:
        return read_sources(config, read=partial(read_source, root=config.root))
    naming = name_by(config, state.adopted())
    return read_sources(
        config,
        read=partial(
            deal_source, root=config.root, shelf=shelf, count=config.scale.partitions, naming=naming
        ),
    )


def gather_parts(
    sources: Sequence[Dealt], *, united: pd.Series, shelf: Shelf
) -> list[Place[Frames]]:
    """The partitions of a night, and the linked records of all sources in one more. united: as
    `find_united` gives it.
    """
    linked = pd.concat(
        [united, *(source.pointing for source in sources)], ignore_index=True
    ).astype("str")
    count = len(sources[0].events)
    parts: list[Place[Frames]] = [
        DealtPart({s.source: (s.events[n], s.guests[n]) for s in sources}, linked)
        for n in range(count)
    ]
    together = {
        source.source: tuple(
            pd.concat(
                [
                    _read(file, source.source, linked, only=True)
                    for file in (files if len(linked) else files[:1])
                ],
                ignore_index=True,
            )
            for files in (source.events, source.guests)
        )
        for source in sources
    }
    return [*parts, shelf.put(together)]


def _read(file: Path, source: str, linked: pd.Series, *, only: bool = False) -> pd.DataFrame:
    """The rows of a file that are linked, or all the others."""
    with pa.ipc.open_stream(str(file)) as reader:
        batches = [pa.RecordBatch.from_pylist([], schema=reader.schema), *reader]
    frame = to_frame(batches)
    mine = are_linked(source, frame["source_event_id"], linked)
    return pick_rows(frame, mine if only else ~mine)
