"""The partitions of a night as tasks of their own, on the task runner that the configuration
names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from schemas.config import Config
from schemas.errors import ConfigurationError


class Sealed:
    """An argument that neither Prefect nor Dask searches for futures: a partition is large."""

    def __init__(self, content: Any) -> None:
        self.content = content


@task(name="part", cache_policy=NO_CACHE, persist_result=False)
def work_on_part(work: Callable[[Any], Any], part: Sealed) -> Any:
    """The work of one partition, wherever the flow's task runner puts it."""
    return work(part.content)


def map_tasks(name: str, work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """Each part as a task of its own; an undivided night is no task."""
    if len(parts) == 1:
        return [work(parts[0])]
    futures = [
        work_on_part.with_options(task_run_name=f"{name} {number} of {len(parts)}").submit(
            work, Sealed(part)
        )
        for number, part in enumerate(parts, 1)
    ]
    return [future.result() for future in futures]


def choose_runner(config: Config) -> TaskRunner[Any]:
    """Where partitions are worked on, by `[scale]`. Raises ConfigurationError when the extra is
    missing.
    """
    scale = config.scale
    if scale.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=scale.workers)
    if scale.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=scale.workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise ConfigurationError(
            'scale.runner = "dask" needs the extra: install essentry-sync[dask], or use "processes"'
        ) from None
    if scale.dask_scheduler:
        return DaskTaskRunner(address=scale.dask_scheduler)
    return DaskTaskRunner(cluster_kwargs={"n_workers": scale.workers, "threads_per_worker": 1})
