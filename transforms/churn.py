"""Find ids that have changed: everybody would be cancelled and invited again (S15). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
import pandas as pd

from transforms.build import Desired
from transforms.diff import Diff


def find_churn(diff: Diff, desired: Desired, snapshot: pd.DataFrame, payloads: Callable[[list[str]], Mapping[str, str]]) -> tuple[str, ...]:
    """Pairs `old → new` in words: created events with the content of deleted or held ones, and guests of an event whose invitation has another id.

    Content is start, place, host and guests. snapshot: source_id, starts_at and location_id of what essentry holds; payloads: reads the
    confirmed canonical JSON of ids. The contents are read for events alone that share start and place with a created one.
    """
    return (*_pair_events(diff, desired, snapshot, payloads), *_pair_invitations(diff))


def _pair_events(
    diff: Diff, desired: Desired, snapshot: pd.DataFrame, payloads: Callable[[list[str]], Mapping[str, str]]
) -> tuple[str, ...]:
    created = diff.changes.loc[diff.changes["action"] == "create", "source_id"]
    gone = diff.decisions.loc[diff.decisions["action"].isin(["delete", "held"]), "source_id"]
    new = desired.events[desired.events["source_id"].isin(created)]
    old = snapshot.loc[snapshot["source_id"].isin(gone) & (snapshot["state"] == "active"), ["source_id", "starts_at", "location_id"]]
    near = new.merge(old, on=["starts_at", "location_id"], how="inner", suffixes=("", "_old"), validate="m:m")
    if near.empty:
        return ()
    people = desired.invitations[desired.invitations["source_id"].isin(near["source_id"])].groupby("source_id")["identity"].agg(list)
    before = {key: orjson.loads(text or "{}") for key, text in payloads(near["source_id_old"].unique().tolist()).items()}
    taken: set[str] = set()
    pairs: dict[str, str] = {}
    for key, host, other in near[["source_id", "host_email", "source_id_old"]].itertuples(index=False):  # few: same minute, same place
        payload = before.get(other, {})
        same = payload.get("host", {}).get("email") == host and sorted(people.get(key, [])) == _people(payload)
        if same and key not in pairs and other not in taken:
            pairs[key] = f"{other} → {key}"
            taken.add(other)
    return tuple(pairs.values())


def _people(payload: dict) -> list[str]:
    guests = payload.get("invitations", [])
    names = [f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip().casefold() for guest in guests]
    return sorted(guest.get("email") or "name:" + name for guest, name in zip(guests, names, strict=True))


def _pair_invitations(diff: Diff) -> tuple[str, ...]:
    """An event that stays, in which one person is removed under one invitation id and invited under another."""
    updated = diff.changes.loc[diff.changes["action"] == "update", "source_id"]
    mails = diff.mails[diff.mails["source_id"].isin(updated) & diff.mails["kind"].isin(["invited", "cancelled"])]
    kinds = mails.groupby(["source_id", "identity"], sort=True)["kind"].nunique()
    events = kinds[kinds > 1].index.get_level_values("source_id") if len(kinds) else []
    return tuple(f"a guest of {source_id} under another invitation id" for source_id in events)
