"""What becomes of every event by one configuration and by another, and what differs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson
import pandas as pd

from transforms.arrow.codes import to_texts
from transforms.desired.payload import list_guests

KINDS = ("invited", "updated", "cancelled")
Rejected = tuple[str, str, str, str, str]
"""source, part, source_event_id, column, check of a row that is set aside."""


@dataclass(frozen=True)
class Outcome:
    """What becomes of an event. `content`: its canonical JSON where it is sent; `people`: (kind,
    identity) of everybody who would be mailed.
    """

    source: str
    action: str
    reason: str = ""
    content: str | None = None
    fields: tuple[str, ...] = ()
    people: frozenset[tuple[str, str]] = frozenset()


NOTHING = Outcome("", "nothing")


@dataclass(frozen=True)
class Outcomes:
    """`events`: sourceId → outcome, without those of which nothing becomes; `rejected`: rows that
    are set aside, with how often.
    """

    events: Mapping[str, Outcome]
    rejected: Counter[Rejected] = field(default_factory=Counter)


@dataclass(frozen=True)
class Difference:
    """An event that fares otherwise. `fields`: of essentry that differ, without their values.
    `causes`: settings, in words.
    """

    source_id: str
    this: Outcome
    other: Outcome
    fields: tuple[str, ...]
    causes: tuple[str, ...] = ()

    def list_people(self, kind: str) -> tuple[list[str], list[str]]:
        """Who would be mailed so by this configuration alone, and by the other alone."""
        mine, others = (
            {who for how, who in outcome.people if how == kind}
            for outcome in (self.this, self.other)
        )
        return sorted(mine - others), sorted(others - mine)


@dataclass(frozen=True)
class Comparison:
    """`settings`: what differs, in words. `differences`: events that fare otherwise. `empty`: there
    is no state yet.
    """

    settings: tuple[str, ...]
    differences: tuple[Difference, ...]
    this: Outcomes
    other: Outcomes
    empty: bool = False

    @property
    def same(self) -> bool:
        """Whether the two do the same."""
        return not self.differences and self.this.rejected == self.other.rejected

    def list_rejected(self) -> tuple[list[Rejected], list[Rejected]]:
        """Rows that this configuration alone sets aside, and the other alone."""
        return sorted((self.this.rejected - self.other.rejected).elements()), sorted(
            (self.other.rejected - self.this.rejected).elements()
        )


def read_outcomes(
    decisions: pd.DataFrame,
    pages: Iterable[pd.DataFrame],
    mails: pd.DataFrame,
    rejects: pd.DataFrame,
) -> Outcomes:
    """decisions, mails: of a `Diff`; pages: its changes with their texts; rejects:
    REJECT_COLUMNS.
    """
    people: dict[str, set[tuple[str, str]]] = {}
    for source_id, kind, identity in zip(
        *(to_texts(mails[name]) for name in ("source_id", "kind", "identity")), strict=True
    ):
        people.setdefault(str(source_id), set()).add((str(kind), str(identity)))
    sent: dict[str, tuple[str | None, tuple[str, ...]]] = {}
    for page in pages:
        for source_id, after, fields in page[["source_id", "after", "fields_json"]].itertuples(
            index=False, name=None
        ):
            named = (
                [str(item["field"]) for item in orjson.loads(fields)]
                if isinstance(fields, str)
                else []
            )
            sent[source_id] = (after if isinstance(after, str) else None, tuple(named))
    columns = (to_texts(decisions[name]) for name in ("source_id", "source", "action", "reason"))
    events = {
        str(source_id): Outcome(
            str(source), str(action), reason if isinstance(reason, str) else "",
            *sent.get(source_id, (None, ())),
            frozenset(people.get(source_id, ())),
        )
        for source_id, source, action, reason in zip(*columns, strict=True)
        if action != "unchanged"
    }  # fmt: skip
    rows = rejects[["source", "part", "source_event_id", "column", "check"]].astype("object")
    return Outcomes(
        events, Counter(rows.where(rows.notna(), "").itertuples(index=False, name=None))
    )


def find_differences(this: Outcomes, other: Outcomes) -> list[Difference]:
    """The events that fare otherwise, by their id."""
    found = []
    for source_id in sorted({*this.events, *other.events}):
        mine, others = this.events.get(source_id, NOTHING), other.events.get(source_id, NOTHING)
        if not are_same(mine, others):
            found.append(Difference(source_id, mine, others, _differing_fields(mine, others)))
    return found


def are_same(one: Outcome, two: Outcome) -> bool:
    """Whether an event fares the same; what a source is called makes no difference."""
    return (one.action, one.reason, one.content, one.people) == (
        two.action,
        two.reason,
        two.content,
        two.people,
    )


def _differing_fields(this: Outcome, other: Outcome) -> tuple[str, ...]:
    if this.content is None or other.content is None:
        return this.fields or other.fields
    mine, others = orjson.loads(this.content), orjson.loads(other.content)
    names = [
        name
        for name in dict.fromkeys([*mine, *others])
        if name != "invitations" and mine.get(name) != others.get(name)
    ]
    guests = list_guests(mine), list_guests(others)
    if guests[0].keys() != guests[1].keys():
        names.append("guests")
    elif guests[0] != guests[1]:
        names.append("data of guests")
    return tuple(names)


def find_cause(difference: Difference, trials: Mapping[str, Outcomes]) -> tuple[str, ...]:
    """The settings each of which makes an event fare as by this configuration. trials: the other
    configuration with one setting of this.
    """
    return tuple(
        words
        for words, tried in trials.items()
        if are_same(tried.events.get(difference.source_id, NOTHING), difference.this)
    )


def find_shares(
    difference: Difference, trials: Mapping[str, Outcomes], back: Mapping[str, Outcomes]
) -> tuple[str, ...]:
    """The settings that have a part in a difference of which none is the cause alone. back: this
    configuration with one setting of the other.
    """

    def has_part(words: str) -> bool:
        there, here = (
            tried[words].events.get(difference.source_id, NOTHING) if words in tried else None
            for tried in (trials, back)
        )
        return (there is not None and not are_same(there, difference.other)) or (
            here is not None and not are_same(here, difference.this)
        )

    return tuple(words for words in {**trials, **back} if has_part(words))
