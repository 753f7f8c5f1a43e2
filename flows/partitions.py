"""The work of one partition, and the ways to do the work of all: in this process, or wherever a flow's task runner puts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol

import pandas as pd

from schemas.config import Config
from transforms.build import Desired, build_desired
from transforms.naming import Naming
from transforms.partition import Frames
from transforms.payload import Payloads, add_fingerprints
from transforms.validate import Validated, validate_source


@dataclass(frozen=True)
class Part:
    """What building needs of one partition. It travels to the worker whole, and holds no secret."""

    validated: list[Validated]
    numbers: Mapping[str, Mapping[str, int]]
    config: Config
    confirmed: pd.DataFrame
    as_of: pd.Timestamp
    naming: Naming


class MapParts(Protocol):
    """Do the same work for each part and give the results in order; `name` is shown to the operator."""

    def __call__(self, name: str, work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]: ...


def validate_part(part: tuple[Frames, Config]) -> list[Validated]:
    """Every source's rows of one partition typed and checked."""
    frames, config = part
    return [validate_source(name, *frames[name], config.sources[name]) for name in sorted(frames)]


def build_part(part: Part) -> tuple[Desired, pd.DataFrame]:
    """What essentry should hold of one partition, and its events with fingerprints."""
    desired = build_desired(part.validated, part.numbers, part.config, confirmed=part.confirmed, as_of=part.as_of, naming=part.naming)
    return desired, add_fingerprints(Payloads(desired.events, desired.invitations))


def map_here(config: Config) -> MapParts:
    """Threads or processes of this machine, without an engine (`dask` needs the flow: threads here)."""

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
