"""Limit sending to a part of the company (S18). What is left out is counted as `pilot`, and comes
when the limit is lifted. Pure.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import pandas as pd

from schemas.config import Config
from transforms.arrow.columns import find_positions, take_text
from transforms.diff.changes import SENT, Diff
from transforms.diff.unions import list_sources
from transforms.naming.naming import Naming, name_by


def limit_to_pilot(
    diff: Diff, config: Config, naming: Naming | None = None, sites: pd.DataFrame | None = None
) -> Diff:
    """The diff without the changes outside `[pilot]`: by the source of every record, by site, by
    the domain of every guest.

    naming: with ids that were taken over; by default that of the configuration. sites: source_id
    and site_key of the records that are here. What no record has any more is known by its location
    alone: it is inside when every site of its source with that location is.
    """
    naming = naming or name_by(config)
    pilot = config.pilot
    if not (pilot.sources or pilot.sites or pilot.recipient_domains):
        return diff
    changes = diff.changes
    inside = pd.Series(True, index=changes.index)
    if pilot.sources:
        inside &= changes["source"].isin(pilot.sources)
        united = changes["members_json"].notna()
        some = changes.loc[united, ["source_id", "source", "members_json"]]
        for row, source_id, source, members in some.itertuples(name=None):  # few
            inside.loc[row] = set(list_sources(source_id, source, members, naming)) <= set(
                pilot.sources
            )
    if pilot.sites:
        inside &= _are_of_sites(changes, config, sites)
    if pilot.recipient_domains:
        outside = diff.mails.loc[
            ~diff.mails["identity"]
            .str.replace(r"^.*@", "", regex=True)
            .isin(pilot.recipient_domains),
            "source_id",
        ]
        inside &= ~changes["source_id"].isin(outside)
        # guests who are not mailed by this change belong to the event too
        texts = changes[["source_id", "after"]].dropna()
        strangers = [
            key
            for key, text in texts.itertuples(index=False)
            if not _all_of(orjson.loads(text), pilot.recipient_domains)
        ]
        inside &= ~changes["source_id"].isin(strangers)
    left_out = changes.loc[~inside & changes["action"].isin(SENT), "source_id"]
    decisions = diff.decisions
    out = decisions["source_id"].isin(left_out)
    created = out & (decisions["action"] == "create")
    decisions = decisions.assign(
        action=decisions["action"].mask(created, "pilot").mask(out & ~created, "held"),
        reason=decisions["reason"].mask(out, "pilot"),
    )
    waits = diff.mails["source_id"].isin(left_out)
    later = diff.mails[waits & (diff.mails["kind"] == "invited")]
    return replace(
        diff,
        changes=changes[~changes["source_id"].isin(left_out)].reset_index(drop=True),
        decisions=decisions,
        mails=diff.mails[~waits].reset_index(drop=True),
        awaited=pd.concat(
            [frame for frame in (diff.awaited, later) if len(frame)] or [diff.awaited],
            ignore_index=True,
        ),
    )


def _are_of_sites(changes: pd.DataFrame, config: Config, sites: pd.DataFrame | None) -> pd.Series:
    """True for changes of the pilot's sites."""
    wanted = set(config.pilot.sites)
    sure: set[tuple[str, object]] = set()
    doubtful: set[tuple[str, object]] = set()
    for name, entry in config.sources.items():
        for key, place in entry.sites.items():
            (sure if key in wanted else doubtful).add((name, getattr(place, "location_id", None)))
        # a room says a place of its own, and nothing of a site
        doubtful |= {(name, getattr(place, "location_id", None)) for place in entry.rooms.values()}
    places = (
        changes[["source", "location_id"]]
        .astype({"source": "str", "location_id": "object"})
        .itertuples(index=False, name=None)
    )
    by_place = pd.Series(
        [place in sure - doubtful for place in places], index=changes.index, dtype=bool
    )
    if sites is None:
        return by_place
    position = find_positions(changes["source_id"], sites["source_id"])
    site = take_text(sites["site_key"], position, changes.index)
    return by_place.where(position < 0, site.isin(wanted).astype(bool))


def _all_of(payload: dict, domains: list[str]) -> bool:
    return all(
        guest.get("email", "").rpartition("@")[2] in domains
        for guest in payload.get("invitations", [])
    )


def dump_pilot(config: Config) -> str:
    """The limits as text, for a plan to remember under which ones it was made."""
    return config.pilot.model_dump_json(exclude={"paused"})
