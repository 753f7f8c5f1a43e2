"""Work on a second thread where it pays: Arrow's kernels and drivers let another thread run
meanwhile. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MANY_ROWS = 50_000
_One = TypeVar("_One")
_Other = TypeVar("_Other")


def on_two_threads(
    work: Callable[[_One], _Other], items: Collection[_One], *, rows: int
) -> list[_Other]:
    """The results of `work` in order, on two threads where there are many rows."""
    if rows < MANY_ROWS or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(2, thread_name_prefix="columns") as pool:
        return list(pool.map(work, items))


def take_ahead(items: Iterable[_One], *, most: int = 2) -> Iterator[_One]:
    """The items in order; while the caller works on one, a thread takes the next ones from their
    source, at most so many.
    """
    source, end = iter(items), object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        taken = deque(pool.submit(next, source, end) for _ in range(most))
        while (item := taken.popleft().result()) is not end:
            taken.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]
    finally:
        # what is being taken is waited for: its source may be closed after this
        pool.shutdown(cancel_futures=True)
