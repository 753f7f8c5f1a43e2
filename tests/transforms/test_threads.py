"""What is taken ahead by a second thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from transforms.arrow.threads import take_ahead


def test_takes_the_items_in_order_and_at_most_so_many_ahead() -> None:
    taken: list[int] = []

    def count() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    seen = []
    for number in take_ahead(count(), most=3):
        assert len(taken) <= len(seen) + 1 + 3
        seen.append(number)
    assert seen == list(range(50))


def test_an_error_of_the_source_comes_after_what_was_before_it() -> None:
    def fail() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the cable is out")

    ahead = take_ahead(fail())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="the cable is out"):
        next(ahead)


def test_a_caller_who_stops_leaves_the_source_free_to_be_closed() -> None:
    closed = []

    def count() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    source = count()
    ahead = take_ahead(source)
    assert next(ahead) == 0
    ahead.close()
    source.close()  # would raise while a thread still takes from it
    assert closed == [True]
