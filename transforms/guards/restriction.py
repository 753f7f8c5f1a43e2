"""What a run is restricted to: single events, events of a guest, or a part by source, location and
day. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches

import numpy as np
import pandas as pd

from schemas.errors import ConfigurationError
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import Mask
from transforms.diff.unions import list_sources
from transforms.masking import mask_text
from transforms.naming.naming import Naming

MANY = 50_000
"""Among more ids than this none is looked for that is near to a mistyped one."""


@dataclass(frozen=True)
class Restriction:
    """`events`: ids, or keys as their sources have them; `guests`: addresses or invitation ids;
    else sources, locations and days.

    Of each kind one must hold, and all kinds. `first`, `last`: days in the zone of the report, both
    included.
    """

    events: Sequence[str] = ()
    guests: Sequence[str] = ()
    sources: Sequence[str] = ()
    locations: Sequence[int] = ()
    first: date | None = None
    last: date | None = None

    def __bool__(self) -> bool:
        return self.by_id or bool(self.sources or self.locations or self.first or self.last)

    @property
    def by_id(self) -> bool:
        """Whether events or guests are named, and not a part."""
        return bool(self.events or self.guests)

    def __str__(self) -> str:
        """As it is kept and told: people are masked."""
        kinds: list[tuple[str, Iterable[object]]] = [
            ("event", self.events),
            ("guest", self.guests),
            ("source", self.sources),
            ("location", self.locations),
            ("from", [self.first] if self.first else []),
            ("to", [self.last] if self.last else []),
        ]
        return ", ".join(
            f"{kind} {mask_text(str(value))}" for kind, values in kinds for value in values
        )


def is_of_guests(words: str) -> bool:
    """Whether a restriction, as it is kept, names guests alone: they may have meetings in any
    source.
    """
    return words.startswith("guest ")


def read_restriction(
    *,
    events: Iterable[str] | None = None,
    guests: Iterable[str] | None = None,
    sources: Iterable[str] | None = None,
    locations: Iterable[int] | None = None,
    first: str | None = None,
    last: str | None = None,
) -> Restriction:
    """A restriction as options give it; none of them: it is false. Raises ConfigurationError."""
    found = Restriction(
        tuple(dict.fromkeys(text.strip() for text in events or ())),
        tuple(dict.fromkeys(text.strip() for text in guests or ())),
        tuple(dict.fromkeys(sources or ())),
        tuple(dict.fromkeys(locations or ())),
        _read_day(first, "--from"),
        _read_day(last, "--to"),
    )
    for option, texts in (("--event", found.events), ("--guest", found.guests)):
        if "" in texts:
            raise ConfigurationError(
                f"{option} is empty: write an id, as `essentry-sync show` takes it"
            )
    if found.by_id and (found.sources or found.locations or found.first or found.last):
        raise ConfigurationError(
            "--event and --guest choose by themselves: leave --source, --location, "
            "--from and --to out"
        )
    if found.first and found.last and found.last < found.first:
        raise ConfigurationError(
            f"--to {found.last} is before --from {found.first}: no day is chosen"
        )
    return found


def _read_day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} {text!r} is no day: write it as 2026-11-24") from None


def find_part(
    events: pd.DataFrame, restriction: Restriction, naming: Naming, timezone: str
) -> Mask:
    """True for the events of a part. events: source_id, source, location_id, starts_at (UTC),
    members_json.

    A meeting of several sources is one of a source when one of its records is: it goes as a whole.
    """
    chosen = np.ones(len(events), dtype=bool)
    if restriction.sources:
        wanted = set(restriction.sources)
        rows = (
            events[["source_id", "source", "members_json"]]
            .astype("object")
            .itertuples(index=False, name=None)
        )
        chosen &= np.array(
            [
                not wanted.isdisjoint(list_sources(key, source, text, naming))
                for key, source, text in rows
            ],
            dtype=np.bool_,
        )
    if restriction.locations:
        chosen &= (
            events["location_id"]
            .isin(list(restriction.locations))
            .to_numpy(dtype=bool, na_value=False)
        )
    if restriction.first:
        begin = pd.Timestamp(restriction.first).tz_localize(timezone).tz_convert("UTC")
        chosen &= (events["starts_at"] >= begin).to_numpy(dtype=bool, na_value=False)
    if restriction.last:
        end = (
            pd.Timestamp(restriction.last + timedelta(days=1))
            .tz_localize(timezone)
            .tz_convert("UTC")
        )
        chosen &= (events["starts_at"] < end).to_numpy(dtype=bool, na_value=False)
    return chosen


def find_near(text: str, ids: Collection[str]) -> list[str]:
    """Up to three ids that are spelled nearly like this one, or whose key is; none where there are
    very many.
    """
    if len(ids) > MANY:
        return []
    keys = {source_id.partition("-")[2]: source_id for source_id in ids}
    found = get_close_matches(text, list(ids), 3) + [
        keys[key] for key in get_close_matches(text, list(keys), 3)
    ]
    return list(dict.fromkeys(found))[:3]


def list_involved(changes: pd.DataFrame, naming: Naming) -> set[str]:
    """The sources of every record of these changes."""
    rows = changes[["source_id", "source", "members_json"]]
    plain = (
        rows.assign(source=to_texts(rows["source"]))
        .astype("object")
        .itertuples(index=False, name=None)
    )
    return {name for key, source, text in plain for name in list_sources(key, source, text, naming)}
