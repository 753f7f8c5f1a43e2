"""Find ids that have changed: everybody would be cancelled and invited again (S15). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import orjson
import pandas as pd

from transforms.arrow.codes import to_plain
from transforms.arrow.columns import Positions, is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import name_person
from transforms.diff.changes import Diff
from transforms.diff.rekeyed import gather_people, join_places

CANDIDATE_COLUMNS = ["source_id", "starts_at", "location_id", "host_email", "people"]


def find_churn(
    diff: Diff,
    candidates: pd.DataFrame,
    snapshot: pd.DataFrame,
    payloads: Callable[[list[str]], Mapping[str, str]],
) -> tuple[str, ...]:
    """Pairs `old → new` in words: created events with the content of deleted or held ones, and
    guests of an event whose invitation has another id.

    Content is start, place, host and guests. An event that stays counts as both, when it gets other
    guests: keys may have been dealt out anew. Of a held or deleted meeting of several records a
    part of the guests is enough, for one of its records may have changed its id. candidates:
    `list_candidates` of every part; snapshot: source_id, state, starts_at, location_id and
    members_json of what essentry holds; payloads: reads the confirmed canonical JSON of ids. The
    contents are read for events alone that share start and place with a candidate.
    """
    return (*_pair_events(diff, candidates, snapshot, payloads), *_pair_invitations(diff))


def name_those_of(churn: tuple[str, ...], diff: Diff) -> tuple[str, ...]:
    """The pairs of `find_churn` in which an event of these changes is. No id has a blank."""
    ids = set(diff.changes["source_id"])
    return tuple(words for words in churn if not ids.isdisjoint(words.split()))


def list_candidates(
    diff: Diff, events: pd.DataFrame, invitations: pd.DataFrame, held: Positions
) -> pd.DataFrame:
    """CANDIDATE_COLUMNS of the events that a diff creates, or gives other guests, where essentry
    holds an event of the same start and place.

    events, invitations: of the diff's part. held: `join_places` of the snapshot's active events,
    sorted. `people`: the identities of the guests, sorted.
    """
    created = diff.changes.loc[diff.changes["action"] == "create", "source_id"]
    wanted = [*created, *_find_replaced(diff)]
    if not wanted or not len(held):
        return pd.DataFrame(columns=CANDIDATE_COLUMNS)
    new = pick_rows(
        events[["source_id", "starts_at", "location_id", "host_email"]],
        is_among(events["source_id"], wanted),
    )
    places = join_places(new)
    new = pick_rows(new, held[np.searchsorted(held, places).clip(max=len(held) - 1)] == places)
    return gather_people(new, invitations)


def _find_replaced(diff: Diff) -> set[str]:
    """The events that stay, of which guests are cancelled and others invited."""
    updated = diff.changes.loc[diff.changes["action"] == "update", "source_id"]
    mails = to_plain(pick_rows(diff.mails, is_among(diff.mails["source_id"], updated)))
    invited, cancelled = (
        set(mails.loc[mails["kind"] == kind, "source_id"]) for kind in ("invited", "cancelled")
    )
    return invited & cancelled


def _pair_events(
    diff: Diff,
    candidates: pd.DataFrame,
    snapshot: pd.DataFrame,
    payloads: Callable[[list[str]], Mapping[str, str]],
) -> tuple[str, ...]:
    if candidates.empty:
        return ()
    stays = diff.changes.loc[diff.changes["action"].isin(["create", "update"]), "source_id"]
    gone = diff.decisions.loc[diff.decisions["action"].isin(["delete", "held"]), "source_id"]
    new = pick_rows(candidates, is_among(candidates["source_id"], stays))
    old = pick_rows(
        snapshot[["source_id", "starts_at", "location_id", "members_json"]],
        is_among(snapshot["source_id"], [*gone, *candidates["source_id"]])
        & (snapshot["state"] == "active").to_numpy(dtype=bool, na_value=False),
    )
    near = new.merge(
        old, on=["starts_at", "location_id"], how="inner", suffixes=("", "_old"), validate="m:m"
    )
    if near.empty:
        return ()
    before = {
        key: orjson.loads(text or "{}")
        for key, text in payloads(near["source_id_old"].unique().tolist()).items()
    }
    taken: set[str] = set()
    pairs: dict[str, str] = {}
    near = near[near["source_id"] != near["source_id_old"]]
    columns = ["source_id", "host_email", "people", "source_id_old", "members_json"]
    leaving = set(gone)
    # few: same minute, same place
    for key, host, guests, other, members in near[columns].itertuples(index=False, name=None):
        payload = before.get(other, {})
        same = payload.get("host", {}).get("email") == host and guests == _people(payload)
        if not same and isinstance(members, str) and other in leaving:
            same = bool(guests) and set(guests) <= set(_people(payload))
        if same and key not in pairs and other not in taken:
            pairs[key] = f"{other} → {key}"
            taken.add(other)
    return tuple(pairs.values())


def _people(payload: dict) -> list[str]:
    return sorted(name_person(guest) for guest in payload.get("invitations", []))


def _pair_invitations(diff: Diff) -> tuple[str, ...]:
    """An event that stays, in which one person is removed under one invitation id and invited under
    another.
    """
    updated = diff.changes.loc[diff.changes["action"] == "update", "source_id"]
    mails = diff.mails[
        is_among(diff.mails["source_id"], updated)
        & diff.mails["kind"].isin(["invited", "cancelled"]).to_numpy()
    ]
    mails = to_plain(mails)
    kinds = mails.groupby(["source_id", "identity"], sort=True)["kind"].nunique()
    events = kinds[kinds > 1].index.get_level_values("source_id") if len(kinds) else []
    return tuple(f"a guest of {source_id} under another invitation id" for source_id in events)
