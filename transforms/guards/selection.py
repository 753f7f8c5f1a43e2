"""Choose some of a plan's changes by source, location, action, event or reason: what goes, what
waits, what cannot be parted. Pure.

What belongs together goes together: a guest who moves is invited there before being cancelled here,
and a meeting that became part of another ends after that one is confirmed. Such events are one
group, and a choice that parts a group is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from schemas.errors import ConfigurationError
from transforms.arrow.codes import to_texts
from transforms.diff.unions import list_sources
from transforms.naming.naming import Naming

KINDS = {
    "source": "source",
    "location": "location_id",
    "action": "action",
    "event": "source_id",
    "reason": "reason",
}
"""What a change can be chosen by, and its column."""
_NEXT = re.compile(rf",(?=(?:{'|'.join(KINDS)})=)")

Term = Mapping[str, str]
"""Kind → value; all of them hold for the changes that it names."""


@dataclass(frozen=True)
class Choice:
    """A change is chosen when one of `only` names it, or there is none, and none of `but` does."""

    only: Sequence[Term] = ()
    but: Sequence[Term] = ()

    def __str__(self) -> str:
        words = [f"only {_write(term)}" for term in self.only] + [
            f"except {_write(term)}" for term in self.but
        ]
        return ", ".join(words)


@dataclass(frozen=True)
class Selection:
    """`chosen`: a flag for each change. `parted`: groups of which the choice takes some events and
    leaves others, each in the order of the plan.
    """

    chosen: np.ndarray
    parted: list[list[str]]


def read_choice(only: Iterable[str], but: Iterable[str]) -> Choice:
    """A choice from texts such as `location=12`, or `source=hr,action=delete` for both. Raises
    ConfigurationError.
    """
    return Choice(
        tuple(_read(text, "--only") for text in only),
        tuple(_read(text, "--except") for text in but),
    )


def _read(text: str, option: str) -> Term:
    term: dict[str, str] = {}
    for part in _NEXT.split(text):
        kind, sign, value = part.partition("=")
        kind, value = kind.strip(), value.strip()
        if not sign or kind not in KINDS or not value:
            raise ConfigurationError(
                f"{option} {text!r} is no choice: write {', '.join(f'{name}=…' for name in KINDS)}"
            )
        if kind in term:
            raise ConfigurationError(
                f"{option} {text!r} names two of {kind}: nothing is both; give {option} twice"
            )
        term[kind] = value
    return term


def _write(term: Term) -> str:
    return ",".join(f"{kind}={value}" for kind, value in term.items())


def select_changes(
    changes: pd.DataFrame,
    conditions: Iterable[tuple[str, str, str]],
    choice: Choice,
    naming: Naming,
) -> Selection:
    """What a choice takes of a plan. changes: the columns of KINDS and members_json; conditions: as
    `Diff.conditions`.

    A meeting of several sources is one of a source for `only` when all its records are, and for
    `but` when one of them is. Raises ConfigurationError for a term that names no change: it is
    typed wrongly, and what it was to keep back would go.
    """
    columns = {kind: to_texts(changes[column]).astype("str") for kind, column in KINDS.items()}
    sources = _list_sources(changes, naming)

    def find(term: Term, *, whole: bool) -> np.ndarray:
        named = np.ones(len(changes), dtype=bool)
        for kind, value in term.items():
            if kind == "source":
                named &= np.array(
                    [found == {value} if whole else value in found for found in sources], dtype=bool
                )
            else:
                named &= (columns[kind] == value).to_numpy(dtype=bool, na_value=False)
        return named

    def find_any(terms: Sequence[Term], option: str, *, whole: bool) -> np.ndarray:
        found = [find(term, whole=whole) for term in terms]
        for term, flags in zip(terms, found, strict=True):
            if not flags.any():
                raise ConfigurationError(
                    f"{option} {_write(term)} names no change of the plan: "
                    f"{_tell_there(term, columns, sources)}"
                )
        return np.logical_or.reduce(found) if found else np.zeros(len(changes), dtype=bool)

    only = (
        find_any(choice.only, "--only", whole=True)
        if choice.only
        else np.ones(len(changes), dtype=bool)
    )
    chosen = only & ~find_any(choice.but, "--except", whole=False)
    return Selection(
        chosen, find_parted(to_texts(changes["source_id"]).tolist(), chosen, conditions)
    )


def _list_sources(changes: pd.DataFrame, naming: Naming) -> list[set[str]]:
    rows = (
        changes[["source_id", "source", "members_json"]]
        .astype("object")
        .itertuples(index=False, name=None)
    )
    return [
        {source} if pd.isna(members) else {source, *list_sources(key, source, members, naming)}
        for key, source, members in rows
    ]


def _tell_there(term: Term, columns: Mapping[str, pd.Series], sources: Sequence[set[str]]) -> str:
    for kind, value in term.items():
        there = (
            sorted(set().union(*sources))
            if kind == "source"
            else sorted(columns[kind].dropna().unique())
        )
        if value not in there:
            more = f" and {len(there) - 5:,} more" if len(there) > 5 else ""
            return f"of {kind} it has {', '.join(map(str, there[:5])) or 'none'}{more}"
    return (
        "each of its values is there, and never together; a meeting of several sources is chosen "
        "by event=…"
    )


def find_parted(
    ids: Sequence[str], chosen: np.ndarray, conditions: Iterable[tuple[str, str, str]]
) -> list[list[str]]:
    """Groups of events that wait for one another, one way or the other, with both chosen and left
    ones.
    """
    leader = {source_id: source_id for source_id in ids}

    def find(source_id: str) -> str:
        while leader[source_id] != source_id:
            leader[source_id] = leader[leader[source_id]]
            source_id = leader[source_id]
        return source_id

    for source_id, kind, other in conditions:
        # another event is another plan's, or as it should be
        if kind == "after" and source_id in leader and other in leader:
            leader[find(source_id)] = find(other)
    groups: dict[str, dict[str, set[bool]]] = {}
    for source_id, flag in zip(ids, chosen.tolist(), strict=True):
        groups.setdefault(find(source_id), {}).setdefault(source_id, set()).add(flag)
    return [list(group) for group in groups.values() if len(set().union(*group.values())) > 1]
