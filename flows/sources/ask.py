"""A source asked again for single events, just before something is sent about them: by the SELECT
and the reader of the first look (S23).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from flows.sources.read import read_events, to_frame
from schemas.config_source import SourceConfig
from schemas.errors import SourceError
from transforms.arrow.columns import is_among, to_series
from transforms.validate.people import clean_key
from transforms.words import plural


@dataclass(frozen=True)
class FirstLook:
    """What a source surely shows: some of its keys, as they are compared, and how many rows it had.

    may_miss: the share of both that may be missing; fewer than `at_least` missing ones are no
    share.
    """

    keys: Collection[str]
    rows: int = 0
    may_miss: float = 0.3
    at_least: int = 5

    def is_far_from(self, before: int, now: int) -> bool:
        """Whether so much is missing that the look shows another source than the first one did."""
        return before - now >= max(self.at_least, 1) and now < before * (1 - self.may_miss)


def confirm_absent(
    name: str,
    config: SourceConfig,
    source_event_ids: Sequence[str],
    *,
    root: Path,
    first: FirstLook | None = None,
    identify: Callable[[pd.Series], pd.Series] | None = None,
) -> set[str]:
    """Which of these keys a fresh transaction still finds (S2, S23).

    The keys are read as the first look reads them and compared here; `identify` makes of a column
    of keys what they are compared by. first: without enough of it the look proves nothing. Raises
    SourceError when the source cannot be asked, or the look proves nothing.
    """
    if not source_event_ids:
        return set()
    controls = set(first.keys) - set(source_event_ids) if first else set()
    wanted = pd.Series(sorted({*source_event_ids, *controls}), dtype="str")

    def look(batches: Iterator[pa.RecordBatch]) -> tuple[set[str], int]:
        found: set[str] = set()
        rows = 0
        for batch in batches:
            keys = clean_key(to_series(batch.column("source_event_id"), pd.RangeIndex(len(batch))))
            keys = keys.dropna() if identify is None else identify(keys.dropna())
            found.update(keys[is_among(keys, wanted)])
            rows += len(batch)
        return found, rows

    found, rows = read_events(name, config, root=root, consume=look)
    if first is not None:
        _check_look(name, first, controls, found, rows)
    return found & set(source_event_ids)


def _check_look(
    name: str, first: FirstLook, controls: set[str], found: set[str], rows: int
) -> None:
    """Raise SourceError when a look does not show what was surely there."""
    if rows == 0:
        raise SourceError(f"source {name}: the second look at the events SELECT returned nothing")
    if first.is_far_from(first.rows, rows):
        raise SourceError(
            f"source {name}: the second look at the events SELECT returned {plural(rows, 'row')}; "
            f"it had {first.rows:,}"
        )
    seen = len(controls & found)
    if controls and (seen == 0 or first.is_far_from(len(controls), seen)):
        raise SourceError(
            f"source {name}: the second look shows {seen} of {plural(len(controls), 'event')} that "
            "were surely there"
        )


def read_event_rows(
    name: str, config: SourceConfig, source_event_id: str, *, root: Path
) -> pd.DataFrame:
    """The rows of the events SELECT with this key, as text. Raises as `read_source` does."""
    wanted = clean_key(pd.Series([source_event_id], dtype="str"))

    def look(batches: Iterator[pa.RecordBatch]) -> pd.DataFrame:
        frames: list[pa.RecordBatch] = []
        for batch in batches:
            keys = clean_key(to_series(batch.column("source_event_id"), pd.RangeIndex(len(batch))))
            mine = batch.filter(pa.array(is_among(keys, wanted)))
            if len(mine) or not frames:
                frames.append(mine)
        return to_frame(frames)

    return read_events(name, config, root=root, consume=look)
