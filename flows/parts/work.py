"""The work of one partition, and the ways to do the work of all: in this process, or wherever a
flow's task runner puts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any, Protocol

import pandas as pd

from flows.parts.shelf import Place, Shelf
from schemas.config import Config
from transforms.arrow.columns import Positions, is_among
from transforms.arrow.rows import leave_no_rows
from transforms.desired.build import Desired, build_desired
from transforms.desired.guests import list_guest_keys
from transforms.desired.partition import Frames, leave_out_rows
from transforms.desired.payload import Payloads, add_fingerprints
from transforms.diff.rekeyed import join_places, swap_columns
from transforms.naming.ids import build_event_ids
from transforms.naming.naming import Naming
from transforms.validate.source import Validated, validate_source


@dataclass(frozen=True)
class RawPart:
    """What validation needs of one partition. It travels to the worker whole, and holds no secret.
    since: the clock of each source's measure.

    `asked`: source → ids of events of which is asked whether the source has their row.
    """

    frames: Place[Frames]
    config: Config
    shelf: Shelf
    as_of: pd.Timestamp | None = None
    since: Mapping[str, pd.Timestamp] = field(default_factory=dict)
    asked: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidatedPart:
    """One partition's rows, and what validation found. keyless: source → the texts for which guests
    need a number; shown: of the ids asked for.
    """

    rows: Place[list[Validated]]
    found: list[Validated]
    keyless: Mapping[str, list[str]]
    shown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part:
    """What building needs of one partition. It travels to the worker whole, and holds no secret."""

    validated: Place[list[Validated]]
    numbers: Mapping[str, Mapping[str, int]]
    config: Config
    confirmed: pd.DataFrame
    as_of: pd.Timestamp
    naming: Naming
    shelf: Shelf


@dataclass(frozen=True)
class Built:
    """The rows of what essentry should hold of one partition: `events` with fingerprints, and as
    `Desired` has them the rest.
    """

    events: pd.DataFrame
    invitations: pd.DataFrame
    dispositions: pd.DataFrame


@dataclass(frozen=True)
class BuiltPart:
    """One partition, built. `ids`: the source_id of its events; `places`: `join_places` of them;
    `found`: everything but the rows.
    """

    rows: Place[Built]
    ids: pd.Series
    places: Positions
    found: Desired


class MapParts(Protocol):
    """Do the same work for each part and give the results in order; `name` is shown to the
    operator.
    """

    def __call__(
        self, name: str, work: Callable[[Any], Any], parts: Sequence[Any]
    ) -> list[Any]: ...


def validate_part(part: RawPart) -> ValidatedPart:
    """Every source's rows of one partition typed and checked."""
    validated = validate_frames(part.frames.take(), part.config, as_of=part.as_of, since=part.since)
    keyless = list_keyless(validated, part.config)
    shown = frozenset().union(
        *(_find_shown(source, part) for source in validated if part.asked.get(source.source))
    )
    return ValidatedPart(
        part.shelf.put(validated), [leave_out_rows(source) for source in validated], keyless, shown
    )


def _find_shown(source: Validated, part: RawPart) -> set[str]:
    """The ids asked for whose row is there, readable or not."""
    rejected = source.rejects.loc[source.rejects["part"] == "events", "source_event_id"].dropna()
    keys = pd.concat([source.events["source_event_id"], rejected], ignore_index=True).astype("str")
    ids = build_event_ids(part.config.sources[source.source].id_prefix or source.source, keys)
    return set(ids[is_among(ids, list(part.asked[source.source]))])


def validate_frames(
    frames: Frames,
    config: Config,
    *,
    as_of: pd.Timestamp | None = None,
    since: Mapping[str, pd.Timestamp] | None = None,
) -> list[Validated]:
    """Every source, by name."""
    return [
        validate_source(
            name,
            *frames[name],
            config.sources[name],
            longest_hours=config.window.longest_hours,
            as_of=as_of,
            since=(since or {}).get(name),
        )
        for name in sorted(frames)
    ]


def list_keyless(validated: Sequence[Validated], config: Config) -> dict[str, list[str]]:
    """source → the texts for which its guests without a key need a number."""
    shared = config.essentry.invitation_ids == "shared"
    return {
        source.source: list_guest_keys(source, shared=shared).dropna().unique().tolist()
        for source in validated
    }


def build_part(part: Part) -> BuiltPart:
    """What essentry should hold of one partition, and its events with fingerprints."""
    validated = part.validated.take()
    desired = build_desired(
        validated,
        part.numbers,
        part.config,
        confirmed=part.confirmed,
        as_of=part.as_of,
        naming=part.naming,
    )
    del validated
    events = add_fingerprints(Payloads(desired.events, desired.invitations))
    rows = part.shelf.put(Built(events, desired.invitations, desired.dispositions))
    found = replace(
        desired,
        **{
            name: leave_no_rows(getattr(desired, name))
            for name in ("events", "invitations", "dispositions")
        },
    )
    return BuiltPart(rows, events["source_id"], join_places(events), found)


def rename_part(part: BuiltPart, kept: Mapping[str, str], shelf: Shelf) -> BuiltPart:
    """A part whose events go by the ids that essentry has of them: built id → that id."""
    content = part.rows.take()
    events = swap_columns(content.events, kept, by=["source_id"])
    invitations = swap_columns(content.invitations, kept, by=["source_id", "invitation_id"])
    events = add_fingerprints(Payloads(events, invitations))
    rows = shelf.put(Built(events, invitations, swap_columns(content.dispositions, kept)))
    return BuiltPart(rows, events["source_id"], join_places(events), part.found)


def map_here(config: Config) -> MapParts:
    """Threads or processes of this machine, without an engine (`dask` needs the flow: threads
    here).
    """

    def map_parts(name: str, work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
        if len(parts) == 1:
            return [work(parts[0])]
        with _open_pool(config) as pool:
            return list(pool.map(work, parts))

    return map_parts


def _open_pool(config: Config) -> Executor:
    if config.scale.runner == "processes":
        return ProcessPoolExecutor(config.scale.workers, mp_context=get_context("spawn"))
    return ThreadPoolExecutor(config.scale.workers, thread_name_prefix="partition")
