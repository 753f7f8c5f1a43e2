"""The same work for several columns or parts, on two threads where it pays. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MANY_ROWS = 50_000
_One = TypeVar("_One")
_Other = TypeVar("_Other")


def on_two_threads(work: Callable[[_One], _Other], items: Collection[_One], *, rows: int) -> list[_Other]:
    """The results of `work` in order, on two threads where there are many rows: Arrow's kernels let another thread run meanwhile."""
    if rows < MANY_ROWS or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(2, thread_name_prefix="columns") as pool:
        return list(pool.map(work, items))
