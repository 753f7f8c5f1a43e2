"""What a guard says when it trips. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from transforms.words import plural

CAUSES = 10


@dataclass(frozen=True)
class Finding:
    """A guard that tripped: `number` is over `limit` in `scope`.

    about_deletes: holding the plan's deletes back brings it under the limit. causes: the ten
    largest, in words, without a person's name.
    """

    guard: str
    scope: str
    number: float
    limit: float
    message: str
    about_deletes: bool = False
    causes: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """For the state store and the report."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Finding:
        """A finding as `as_record` gave it."""
        return cls(**{**record, "causes": tuple(record.get("causes") or ())})


def find_over(
    guard: str,
    scope: str,
    number: float,
    limit: float | None,
    text: str,
    *,
    causes: Callable[[], Sequence[str]] = tuple,
    about_deletes: bool = False,
) -> list[Finding]:
    """A finding when `number` is over `limit`; None is no limit. `text` goes on after the number;
    the causes are asked for when there is one.
    """
    if limit is None or number <= limit:
        return []
    share = guard.endswith("share")
    shown, allowed = (f"{number:.1%}", f"{limit:.1%}") if share else (f"{number:,g}", f"{limit:,g}")
    message = f"{shown} {text}, over the limit of {allowed} ({scope})"
    return [
        Finding(
            guard, scope, round(number, 4), limit, message, about_deletes, tuple(causes())[:CAUSES]
        )
    ]


def count_largest(keys: pd.Series, noun: str, nouns: str | None = None) -> tuple[str, ...]:
    """The ten most frequent keys in words, `rooms-17: 12 guests`; of equal ones the smallest key
    first.
    """
    return tell_largest(keys.value_counts(), noun, nouns)


def tell_largest(counts: pd.Series, noun: str, nouns: str | None = None) -> tuple[str, ...]:
    """The ten largest counts in words, by the keys of their index."""
    # a mask without an index: to compare two indexes of millions of texts would cost a Python
    # object a text
    largest = (
        counts[(counts >= max(counts.nlargest(CAUSES).min(), 1)).to_numpy()]
        if len(counts)
        else counts
    )
    table = pd.DataFrame({"key": largest.index.astype("str"), "rows": largest.to_numpy()})
    table = table.sort_values(["rows", "key"], ascending=[False, True]).head(CAUSES)
    return tuple(
        f"{key}: {plural(rows, noun, nouns)}" for key, rows in table.itertuples(index=False)
    )
