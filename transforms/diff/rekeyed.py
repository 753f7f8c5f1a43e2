"""Meetings that came back under another key: what essentry has of them keeps its id, and nobody is
mailed (S10, S15, S26). Pure.

A source that is migrated, restored or edited by a tool deletes rows and writes them anew under
other keys. Where start, place, host and guests are exactly those of a confirmed meeting whose row
is gone, it is that meeting. What is less than exact stays a question for the guards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import orjson
import pandas as pd

from transforms.arrow.columns import Positions, is_among
from transforms.arrow.rows import pick_rows, sort_rows
from transforms.desired.payload import name_person

NEW_COLUMNS = ["source_id", "source", "starts_at", "location_id", "host_email", "name", "people"]
GONE_COLUMNS = ["source_id", "source", "starts_at", "location_id"]
_NOBODY = name_person({})
"""The identity of a guest of whom the id alone is known."""


class _Meeting(NamedTuple):
    """A title, and the id under it: meetings of one content are told apart by their titles as far
    as they go.
    """

    name: str
    source_id: str


def find_rekeyed(
    new: pd.DataFrame,
    gone: pd.DataFrame,
    payloads: Callable[[list[str]], Mapping[str, str]],
    *,
    sent: Mapping[str, Sequence[dict]] | None = None,
    unread: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Id built of a new key → the id under which essentry has the same meeting; each of either side
    at most once.

    new: NEW_COLUMNS of events that essentry does not have, `people` the sorted identities of the
    guests. gone: GONE_COLUMNS of confirmed events whose rows their sources, read whole, no longer
    have. payloads: reads the confirmed canonical JSON of ids. sent: id → contents of requests whose
    answer was lost, which essentry may have in its place. unread: id of a new event → how many of
    its guests cannot be read; together with those they must be as many as essentry has. Of several
    meetings of one content as many must be new as are gone, or their titles must pair them.
    """
    sent, unread = sent or {}, unread or {}
    near = new.merge(
        gone,
        on=["source", "starts_at", "location_id"],
        how="inner",
        suffixes=("", "_gone"),
        validate="m:m",
    )
    if near.empty:
        return {}
    confirmed = {
        key: orjson.loads(text or "{}")
        for key, text in payloads(sorted(set(near["source_id_gone"]))).items()
    }
    sides: dict[tuple, tuple[set[_Meeting], set[_Meeting]]] = {}
    columns = [
        "source",
        "starts_at",
        "location_id",
        "host_email",
        "people",
        "name",
        "source_id",
        "source_id_gone",
    ]
    for source, start, place, host, people, name, key, old in near[columns].itertuples(
        index=False, name=None
    ):  # few: same minute, same place
        for payload in (confirmed.get(old, {}), *sent.get(old, ())):
            guests = sorted(name_person(guest) for guest in payload.get("invitations", []))
            if (
                not _are_same(guests, people, unread.get(key, 0))
                or payload.get("host", {}).get("email") != host
            ):
                continue
            came, went = sides.setdefault(
                (source, start, place, host, tuple(guests)), (set(), set())
            )
            came.add(_Meeting(name, key))
            went.add(_Meeting(payload.get("name", ""), old))
    pairs = {
        pair for came, went in sides.values() for pair in _pair(sorted(came), sorted(went)).items()
    }
    ones, others = (
        (Counter(side) for side in zip(*pairs, strict=True)) if pairs else (Counter(), Counter())
    )
    # what may be either of two is neither
    return {key: old for key, old in sorted(pairs) if ones[key] == others[old] == 1}


def find_perhaps_rekeyed(
    waiting: pd.DataFrame,
    gone: pd.DataFrame,
    payloads: Callable[[list[str]], Mapping[str, str]],
    *,
    sent: Mapping[str, Sequence[dict]],
    unread: Mapping[str, int],
) -> set[str]:
    """The ids of meetings whose row is gone and which a row that is not sent tonight may be: it has
    their start, place and guests.

    waiting: WAITING_COLUMNS of rows whose keys essentry does not know; the rest as `find_rekeyed`
    has it.
    """
    near = waiting.merge(
        gone,
        on=["source", "starts_at", "location_id"],
        how="inner",
        suffixes=("", "_gone"),
        validate="m:m",
    )
    confirmed = {
        key: orjson.loads(text or "{}")
        for key, text in payloads(sorted(set(near["source_id_gone"]))).items()
    }
    found = set()
    # few
    for key, people, old in near[["source_id", "people", "source_id_gone"]].itertuples(
        index=False, name=None
    ):
        for payload in (confirmed.get(old, {}), *sent.get(old, ())):
            if _are_same(
                [name_person(guest) for guest in payload.get("invitations", [])],
                people,
                unread.get(key, 0),
            ):
                found.add(old)
    return found


def find_perhaps_parted(
    waiting: pd.DataFrame,
    united: pd.DataFrame,
    payloads: Callable[[list[str]], Mapping[str, str]],
    *,
    sent: Mapping[str, Sequence[dict]],
) -> set[str]:
    """The ids of meetings of several records of which a row that is not sent tonight may be one: it
    has their start and place, and guests of theirs alone. united: GONE_COLUMNS; the rest as
    `find_perhaps_rekeyed` has it.
    """
    near = waiting.merge(
        united,
        on=["starts_at", "location_id"],
        how="inner",
        suffixes=("", "_united"),
        validate="m:m",
    )
    confirmed = {
        key: orjson.loads(text or "{}")
        for key, text in payloads(sorted(set(near["source_id_united"]))).items()
    }
    found = set()
    # few
    for people, key in near[["people", "source_id_united"]].itertuples(index=False, name=None):
        contents = (confirmed.get(key, {}), *sent.get(key, ()))
        theirs = {
            name_person(guest) for payload in contents for guest in payload.get("invitations", [])
        }
        if people and theirs.issuperset(people):
            found.add(key)
    return found


def _are_same(guests: Sequence[str], people: Sequence[str], unread: int) -> bool:
    """Whether the guests that essentry has are those that can be read and as many more as
    cannot. One of whom the id alone is known (it is sent again) may be any of them, but not all.
    """
    known = [guest for guest in guests if guest != _NOBODY]
    return (
        bool(known)
        and len(guests) == len(people) + unread
        and (Counter(people) - Counter(known)).total() <= len(guests) - len(known)
    )


def _pair(came: list[_Meeting], went: list[_Meeting]) -> dict[str, str]:
    """New id → old id of meetings of one content, in the order of their titles; those of one title
    first.
    """
    found: dict[str, str] = {}
    for name in sorted({meeting.name for meeting in came}):
        here, there = ([m.source_id for m in side if m.name == name] for side in (came, went))
        if len(here) == len(there):
            found |= dict(zip(here, there, strict=True))
    rest = [m.source_id for m in came if m.source_id not in found]
    left = [m.source_id for m in went if m.source_id not in found.values()]
    return found | (dict(zip(rest, left, strict=True)) if len(rest) == len(left) else {})


def find_returned(rekeyed: Mapping[str, str], shown: Collection[str]) -> set[str]:
    """The built ids that give their meeting's id back: their row is gone, and the row whose key
    made the id is there again.

    rekeyed: built id → id that its meeting kept. shown: those of either side whose rows the sources
    have.
    """
    return {own for own, kept in rekeyed.items() if own not in shown and kept in shown}


def swap_ids(ids: pd.Series, kept: Mapping[str, str]) -> pd.Series:
    """Ids with those in `kept` replaced."""
    rows = is_among(ids, list(kept))
    return ids.where(~rows, ids.map(dict(kept))).astype("str") if rows.any() else ids


def swap_columns(
    frame: pd.DataFrame, kept: Mapping[str, str], *, by: list[str] | None = None
) -> pd.DataFrame:
    """A frame with the ids of its events replaced, sorted by some columns again."""
    names = [name for name in ("own_id", "source_id") if name in frame]
    frame = frame.assign(**{name: swap_ids(frame[name], kept) for name in names})
    return sort_rows(frame, by).reset_index(drop=True) if by else frame


def list_new(events: pd.DataFrame, invitations: pd.DataFrame, ids: Collection[str]) -> pd.DataFrame:
    """NEW_COLUMNS of the events with these ids that are no union of several records."""
    mine = pick_rows(
        events,
        is_among(events["source_id"], list(ids)) & events["members"].isna().to_numpy(dtype=bool),
    )
    return gather_people(mine, invitations)[NEW_COLUMNS]


def gather_people(events: pd.DataFrame, invitations: pd.DataFrame) -> pd.DataFrame:
    """The events with `people`: the sorted identities of their guests."""
    guests = pick_rows(
        invitations[["source_id", "identity"]],
        is_among(invitations["source_id"], events["source_id"]),
    )
    people = guests.groupby("source_id")["identity"].agg(sorted)
    return events.assign(people=[people.get(key, []) for key in events["source_id"]])


def join_places(frame: pd.DataFrame) -> Positions:
    """Start and place of each row as one number; two pairs that share one are told apart later."""
    starts = frame["starts_at"].dt.as_unit("us").astype("int64").to_numpy()
    return starts * 1009 + frame["location_id"].astype("Int64").fillna(-1).to_numpy(dtype="int64")
