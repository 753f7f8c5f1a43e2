"""Source rows with the types of the canonical columns."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import available_timezones

import orjson
import pandas as pd

from schemas.config_source import SiteConfig, SourceConfig
from schemas.source import (
    ACTIVE_WORDS,
    CUSTOM_PREFIX,
    EVENT_COLUMNS,
    GUEST_COLUMNS,
    INTERNAL_WORDS,
    PRIVATE_WORDS,
)
from transforms.arrow.columns import is_among, look_up, map_distinct, no_text
from transforms.arrow.rows import are_repeated, pick_rows
from transforms.validate import people, times

MAX_ODD = 50
IGNORED = "ignored"
"""The status of an event of a site or room that is left out on purpose: held at what was sent,
never sent, whatever else is wrong with it.
"""

_STATUS = {
    "confirmed": "confirmed",
    "pending": "pending",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}


def _column(raw: pd.DataFrame, name: str) -> pd.Series:
    return raw[name].astype("str") if name in raw.columns else no_text(raw.index)


_EVENT_TEXTS = (
    *(
        "name",
        "room_key",
        "site_key",
        "host_email",
        "host_first_name",
        "host_last_name",
        "host_phone",
    ),
    *("creator_first_name", "creator_last_name", "creator_phone"),
)
_GUEST_TEXTS = (
    "guest_id",
    "email",
    "first_name",
    "last_name",
    "full_name",
    "company_name",
    "access_profiles",
)
"""The columns whose bytes must be text: what is sent by name, and what things are found by. A
description may have lost a letter.
"""


def _type_events(
    raw: pd.DataFrame, config: SourceConfig, *, longest_hours: int
) -> tuple[pd.DataFrame, dict[str, int], list[dict[str, str]]]:
    raw = raw.reset_index(drop=True)
    columns = {
        name: people.clean_text(_column(raw, name))
        for name in EVENT_COLUMNS
        if name not in ("source_event_id", "description")
    }
    out = pd.DataFrame(
        {"source_event_id": people.clean_key(_column(raw, "source_event_id")), **columns}
    )
    description = (
        _column(raw, "description").str.replace("\r\n", "\n").str.strip().str.replace("\x00", "")
    )
    out["description"] = description.mask(description == "")
    for name in [column for column in raw.columns if column.startswith(CUSTOM_PREFIX)]:
        out[name] = people.clean_text(raw[name])
    out["linked_event_id"] = people.clean_key(_column(raw, "linked_event_id"))
    out["status"] = map_distinct(
        out["status"].fillna("confirmed"),
        by=lambda status: _STATUS.get(status.lower(), status.lower()),
    )
    for role in ("host", "creator"):
        out[f"{role}_email"] = people.clean_addresses(_column(raw, f"{role}_email"))
    customs = [column for column in out.columns if column.startswith(CUSTOM_PREFIX)]
    out["unreadable"] = people.find_unreadable(out, [*_EVENT_TEXTS, *customs])
    out["text_is_read"] = out["unreadable"].isna()
    site, room = map_places(out["room_key"], out["site_key"], config)
    zones = (
        out["timezone"].fillna(site["timezone"]).fillna(config.timezone)
        if config.timezone
        else out["timezone"].fillna(site["timezone"])
    )
    known = available_timezones()
    bad_zones = [zone for zone in zones.dropna().unique() if zone not in known]
    unknown_zone = is_among(zones, bad_zones)
    kind = config.times or "utc"
    readable = zones.mask(unknown_zone)
    start = times.read_instants(out["starts_at"], times=kind, zones=readable)
    end = times.read_instants(out["ends_at"], times=kind, zones=readable)
    updated = times.read_instants(out["updated_at"], times=kind, zones=readable)
    no_end = out["ends_at"].isna()
    default_end = start.at + pd.Timedelta(minutes=config.default_duration_minutes)
    needs_zone = out["starts_at"].notna() & ~times.have_offsets(out["starts_at"])
    out["zone_known"] = (
        (~unknown_zone & ~(needs_zone & zones.isna()))
        if kind == "local"
        else pd.Series(True, index=out.index)
    )
    out["has_start"] = start.at.notna() | ~out["zone_known"]
    out["has_end"] = no_end | end.at.notna() | ~out["zone_known"]
    out["starts_at_text"], out["ends_at_text"] = out["starts_at"], out["ends_at"]
    out["starts_at"], out["ends_at"], out["updated_at"] = (
        start.at,
        end.at.where(~no_end, default_end),
        updated.at,
    )
    # as they are sent
    out["ends_after_start"] = ~(out["ends_at"].dt.floor("s") <= out["starts_at"].dt.floor("s"))
    out["short_enough"] = no_end | ~(
        out["ends_at"] - out["starts_at"] > pd.Timedelta(hours=longest_hours)
    )
    out["key_is_unique"] = True
    out["usable"] = out["problem"].isna()
    out["has_host"] = out["host_email"].notna()
    out["host_address_ok"] = people.are_addresses(out["host_email"])
    active = people.read_flags(_column(raw, "host_active"), ACTIVE_WORDS)
    given = (_column(raw, "host_active").notna() & (_column(raw, "host_active") != "")).astype(bool)
    out["host_is_active"] = active.yes | ~active.known | ~given
    out["host_active_is_read"] = active.known
    out["has_place"] = out["room_key"].notna() | out["site_key"].notna()
    out["place_mapped"] = room["location_id"].notna() | ~out["has_place"]
    out["status"] = out["status"].mask(room["ignored"] & (out["status"] != "cancelled"), IGNORED)
    out["location_id"], out["entrance_id"], out["by_room"] = (
        room["location_id"],
        room["entrance_id"],
        room["by_room"],
    )
    private = people.read_flags(_column(raw, "private"), PRIVATE_WORDS, any_number=True)
    out["private_text"], out["private"], out["private_is_read"] = (
        out["private"].mask(private.known),
        private.yes,
        private.known,
    )
    bad_creator = ~people.are_addresses(out["creator_email"])
    for part in ("email", "first_name", "last_name", "phone"):
        out[f"creator_{part}"] = out[f"creator_{part}"].mask(
            bad_creator | out["creator_email"].isna()
        )
    notes = {
        "ambiguous_times": int((start.ambiguous | end.ambiguous).sum()),
        "shifted_times": int((start.shifted | end.shifted).sum()),
        "default_ends": int((no_end & start.at.notna()).sum()),
    }
    return (
        out,
        notes,
        [
            *_tell_odd_times(out, start, "starts_at_text"),
            *_tell_odd_times(out, end, "ends_at_text"),
        ][:MAX_ODD],
    )


def _tell_odd_times(out: pd.DataFrame, read: times.Instants, column: str) -> list[dict[str, str]]:
    """The rows whose clock time happened twice, or not at all, and how it was read."""
    found = []
    for mask, what in (
        (read.ambiguous, "happened twice, read as the first"),
        (read.shifted, "was skipped, read an hour later"),
    ):
        rows = out.loc[mask, ["source_event_id", column]].head(MAX_ODD).dropna()
        found += [
            {"source_event_id": key, "value": value, "what": what}
            for key, value in zip(rows["source_event_id"], rows[column], strict=True)
        ]
    return found


def _tables(config: SourceConfig) -> tuple[tuple[str, Mapping[str, SiteConfig]], ...]:
    return ("rooms", config.rooms), ("sites", config.sites)


def map_places(
    room_key: pd.Series, site_key: pd.Series, config: SourceConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The configured zone of each row's room or site, and its location, entrance, whether the
    room's own entry gave them, or it is left out.
    """

    def pick(
        attribute: str, table: Mapping[str, SiteConfig], keys: pd.Series, dtype: str
    ) -> pd.Series:
        return look_up(
            keys,
            {people.clean_place(key): getattr(entry, attribute) for key, entry in table.items()},
            dtype,
        )

    by_room = pd.Series(
        is_among(room_key, [people.clean_place(key) for key in config.rooms]), index=room_key.index
    )
    zone = pick("timezone", config.rooms, room_key, "str").fillna(
        pick("timezone", config.sites, site_key, "str")
    )
    place = pd.DataFrame({"by_room": by_room})
    left_out = {
        kind: [people.clean_place(key) for key, entry in table.items() if entry.location_id is None]
        for kind, table in _tables(config)
    }
    of_sites = is_among(site_key, left_out["sites"]) & ~by_room.to_numpy(dtype=bool)
    place["ignored"] = is_among(room_key, left_out["rooms"]) | of_sites
    for attribute in ("location_id", "entrance_id"):
        of_room = pick(attribute, config.rooms, room_key, "Int64")
        of_site = pick(attribute, config.sites, site_key, "Int64")
        place[attribute] = of_room.where(by_room, of_site)
    return pd.DataFrame({"timezone": zone}), place


def _type_guests(raw: pd.DataFrame, config: SourceConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The guests, copies left out, and the rows that name no event."""
    raw = raw.reset_index(drop=True)
    keys = ("source_event_id", "guest_id")
    out = pd.DataFrame(
        {
            name: (people.clean_key if name in keys else people.clean_text)(_column(raw, name))
            for name in GUEST_COLUMNS
        }
    )
    for name in [column for column in raw.columns if column.startswith(CUSTOM_PREFIX)]:
        out[name] = people.clean_text(raw[name])
    out["email"] = people.clean_addresses(_column(raw, "email"))
    customs = [column for column in out.columns if column.startswith(CUSTOM_PREFIX)]
    out["unreadable"] = people.find_unreadable(
        out.assign(guest_id=_column(raw, "guest_id")), [*_GUEST_TEXTS, *customs]
    )
    out["text_is_read"] = out["unreadable"].isna()
    first, last = people.split_names(out["full_name"])
    nameless = out["first_name"].isna() & out["last_name"].isna()
    out["first_name"] = out["first_name"].mask(nameless, first)
    out["last_name"] = out["last_name"].mask(nameless, last)
    out["language"] = people.map_languages(out["language"])
    internal = people.read_flags(_column(raw, "internal"), INTERNAL_WORDS)
    out["internal_text"], out["internal"] = out["internal"].mask(internal.known), internal.yes
    out["internal_is_read"] = internal.known
    out["identity"] = people.identify_people(out["email"], out["first_name"], out["last_name"])
    out["has_identity"] = out["identity"].notna()
    out["address_ok"] = people.are_addresses(out["email"])
    if config.exclude_guests:
        out = pick_rows(
            out, ~people.match_patterns(out["email"], config.exclude_guests)
        ).reset_index(drop=True)
    # the part of the invitation id: the source's own key, or the identity, for which the state
    # store keeps a number
    out["guest_key"] = out["guest_id"]
    out["key_is_unique"] = True
    out["access_profiles"], out["profiles_ok"] = _read_profiles(out["access_profiles"])
    eventless = out["source_event_id"].isna().to_numpy(dtype=bool)
    return _drop_copies(pick_rows(out, ~eventless), ["source_event_id", "guest_key"]), out[
        eventless
    ]


def _read_profiles(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Door access as canonical JSON, and whether it was readable."""

    def read(text: str) -> str | None:
        try:
            profiles = orjson.loads(text)
            pairs = [(p["partitionId"], p["sourceId"]) for p in profiles]
            if not all(
                type(a) is int and type(b) is str and len(p) == 2
                for (a, b), p in zip(pairs, profiles, strict=True)
            ):
                return None
        except (ValueError, TypeError, KeyError):
            return None
        return (
            orjson.dumps([{"partitionId": a, "sourceId": b} for a, b in sorted(pairs)]).decode()
            if pairs
            else None
        )

    profiles = map_distinct(values, by=read)
    wrong = profiles.isna() & values.notna() & (values != "[]").fillna(False).astype(bool)
    return profiles, ~wrong


def _drop_copies(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Rows that are copies of another in every column go; rows that share a key and differ are
    marked.
    """
    twice = are_repeated(*(frame[name] for name in key))
    if not twice.any():
        return frame
    shared = frame[twice]
    kept = shared[~shared.astype("object").fillna("").astype("str").duplicated()]
    still = kept.duplicated(key, keep=False)
    frame = frame.drop(index=shared.index.difference(kept.index))
    marks = frame["key_is_unique"].copy()
    marks.loc[kept.index[still]] = False
    return frame.assign(key_is_unique=marks).reset_index(drop=True)
