"""Type a source's rows, check them with pandera, and set the bad ones aside with a reason each. Pure.

In: the canonical columns as text. Out: typed `events` and `guests` and the `rejects`. No row is lost: it is in one of the
three. A row with a readable key that says `cancelled` passes whatever else is wrong with it (S5).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from zoneinfo import available_timezones

import numpy as np
import orjson
import pandas as pd
import pandera.errors

from schemas.config import SiteConfig, SourceConfig
from schemas.frames import REJECT_COLUMNS, REMEDIES, SourceEvents, SourceGuests, empty_frame
from schemas.source import CUSTOM_PREFIX, EVENT_COLUMNS, GUEST_COLUMNS
from transforms import people, times
from transforms.columns import Mask, are_repeated, is_among, look_up, map_distinct, no_text, pick_rows, sort_rows

MAX_ODD = 50
_STATUS = {"confirmed": "confirmed", "pending": "pending", "cancelled": "cancelled", "canceled": "cancelled"}


@dataclass(frozen=True)
class Validated:
    """One source after validation.

    `events`, `guests`: typed frames. `rejects`: a row a failed check. `held_guests`: source_event_id and guest_key (missing:
    unreadable, the whole guest list is frozen) of rejected guests. `unreadable_event_keys`: rows of the events SELECT without a
    key; `unreadable_guest_events`: guest rows that name no event. `odd_times`: source_event_id, value and what of the first 50 rows
    whose clock time a change of clocks made ambiguous.
    """

    source: str
    events: pd.DataFrame
    guests: pd.DataFrame
    rejects: pd.DataFrame
    held_guests: pd.DataFrame
    event_rows: int
    guest_rows: int
    rejected_events: int = 0
    rejected_guests: int = 0
    unreadable_event_keys: int = 0
    unreadable_guest_events: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    odd_times: list[dict[str, str]] = field(default_factory=list)


def validate_source(source: str, raw_events: pd.DataFrame, raw_guests: pd.DataFrame, config: SourceConfig) -> Validated:
    """Type and check both frames of one source; `config.times` must be set. See `Validated`."""
    beside = ThreadPoolExecutor(1, thread_name_prefix="guests")  # Arrow's kernels let the other thread run meanwhile
    job = beside.submit(_type_guests, raw_guests, config)
    beside.shutdown(wait=False)
    typed, notes, odd_times = _type_events(raw_events, config)
    keyless = typed["source_event_id"].isna()
    rejects = [_rejects(source, "events", typed[keyless], "source_event_id", "key")]
    keyed = _drop_copies(pick_rows(typed, ~keyless.to_numpy(dtype=bool)), ["source_event_id"])
    copies = len(typed) - int(keyless.sum()) - len(keyed)
    certain = _surely_cancelled(keyed)
    sure = pick_rows(keyed, certain).drop_duplicates("source_event_id")
    copies += int(certain.sum()) - len(sure)
    checked = pick_rows(keyed, ~certain)
    bad, failures = _check(SourceEvents, checked)
    rejects.append(_named(source, "events", failures, checked))
    good = pick_rows(checked, ~bad)
    events = pd.concat([sure, good], ignore_index=True) if len(sure) else good
    events = sort_rows(events.drop(columns=["starts_at_text", "ends_at_text"]), ["source_event_id"])

    guests, eventless = job.result()
    rejects.append(_rejects(source, "guests", eventless, "source_event_id", "guest_event_key"))
    bad_guests, guest_failures = _check(SourceGuests, guests)
    rejects.append(_named(source, "guests", guest_failures, guests))
    held = guests.loc[bad_guests, ["source_event_id", "guest_key"]].reset_index(drop=True)
    notes["copies_dropped"] = copies
    all_rejects = pd.concat([frame for frame in rejects if len(frame)] or [empty_frame(REJECT_COLUMNS)], ignore_index=True)
    return Validated(
        source=source,
        events=events,
        guests=pick_rows(guests, ~bad_guests),
        rejects=all_rejects,
        held_guests=held,
        event_rows=len(raw_events),
        guest_rows=len(raw_guests),
        rejected_events=int(bad.sum()) + int(keyless.sum()),
        rejected_guests=int(bad_guests.sum()) + len(eventless),
        unreadable_event_keys=int(keyless.sum()),
        unreadable_guest_events=len(eventless),
        notes={key: value for key, value in notes.items() if value},
        odd_times=odd_times,
    )


def _surely_cancelled(keyed: pd.DataFrame) -> Mask:
    """S5: only a key whose rows all say cancelled is a cancellation without question."""
    cancelled = (keyed["status"] == "cancelled").to_numpy(dtype=bool)
    if not cancelled.any():
        return cancelled
    called_off = keyed.loc[cancelled, "source_event_id"]
    unsure = called_off[is_among(called_off, keyed.loc[~cancelled, "source_event_id"])]
    return cancelled & ~is_among(keyed["source_event_id"], unsure)


def _column(raw: pd.DataFrame, name: str) -> pd.Series:
    return raw[name].astype("str") if name in raw.columns else no_text(raw.index)


def _type_events(raw: pd.DataFrame, config: SourceConfig) -> tuple[pd.DataFrame, dict[str, int], list[dict[str, str]]]:
    raw = raw.reset_index(drop=True)
    columns = {name: people.clean_text(_column(raw, name)) for name in EVENT_COLUMNS if name not in ("source_event_id", "description")}
    out = pd.DataFrame({"source_event_id": people.clean_key(_column(raw, "source_event_id")), **columns})
    description = _column(raw, "description").str.replace("\r\n", "\n").str.strip()
    out["description"] = description.mask(description == "")
    for name in [column for column in raw.columns if column.startswith(CUSTOM_PREFIX)]:
        out[name] = people.clean_text(raw[name])
    out["status"] = map_distinct(out["status"].fillna("confirmed"), by=lambda status: _STATUS.get(status.lower(), status.lower()))
    for role in ("host", "creator"):
        out[f"{role}_email"] = people.clean_addresses(out[f"{role}_email"])
    site, room = map_places(out["room_key"], out["site_key"], config)
    zones = (
        out["timezone"].fillna(site["timezone"]).fillna(config.timezone) if config.timezone else out["timezone"].fillna(site["timezone"])
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
    out["zone_known"] = (~unknown_zone & ~(needs_zone & zones.isna())) if kind == "local" else pd.Series(True, index=out.index)
    out["has_start"] = start.at.notna() | ~out["zone_known"]
    out["has_end"] = no_end | end.at.notna() | ~out["zone_known"]
    out["starts_at_text"], out["ends_at_text"] = out["starts_at"], out["ends_at"]
    out["starts_at"], out["ends_at"], out["updated_at"] = start.at, end.at.where(~no_end, default_end), updated.at
    out["ends_after_start"] = ~(out["ends_at"] <= out["starts_at"])
    out["key_is_unique"] = True
    out["usable"] = out["problem"].isna()
    out["has_host"] = out["host_email"].notna()
    out["host_address_ok"] = people.are_addresses(out["host_email"])
    out["host_is_active"] = out["host_active"].isna() | people.read_flags(out["host_active"])
    out["has_place"] = out["room_key"].notna() | out["site_key"].notna()
    out["place_mapped"] = room["location_id"].notna() | ~out["has_place"]
    out["location_id"], out["entrance_id"], out["by_room"] = room["location_id"], room["entrance_id"], room["by_room"]
    out["private"] = people.read_flags(out["private"])
    bad_creator = ~people.are_addresses(out["creator_email"])
    for part in ("email", "first_name", "last_name", "phone"):
        out[f"creator_{part}"] = out[f"creator_{part}"].mask(bad_creator | out["creator_email"].isna())
    notes = {
        "ambiguous_times": int((start.ambiguous | end.ambiguous).sum()),
        "shifted_times": int((start.shifted | end.shifted).sum()),
        "default_ends": int((no_end & start.at.notna()).sum()),
    }
    return out, notes, [*_tell_odd_times(out, start, "starts_at_text"), *_tell_odd_times(out, end, "ends_at_text")][:MAX_ODD]


def _tell_odd_times(out: pd.DataFrame, read: times.Instants, column: str) -> list[dict[str, str]]:
    """The rows whose clock time happened twice, or not at all, and how it was read."""
    found = []
    for mask, what in ((read.ambiguous, "happened twice, read as the first"), (read.shifted, "was skipped, read an hour later")):
        rows = out.loc[mask, ["source_event_id", column]].head(MAX_ODD).dropna()
        found += [
            {"source_event_id": key, "value": value, "what": what} for key, value in zip(rows["source_event_id"], rows[column], strict=True)
        ]
    return found


def map_places(room_key: pd.Series, site_key: pd.Series, config: SourceConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The configured zone of each row's room or site, and its location, entrance and whether the room's own entry gave them."""

    def pick(attribute: str, table: Mapping[str, SiteConfig], keys: pd.Series, dtype: str) -> pd.Series:
        return look_up(keys, {key: getattr(entry, attribute) for key, entry in table.items()}, dtype)

    by_room = pd.Series(is_among(room_key, list(config.rooms)), index=room_key.index)
    zone = pick("timezone", config.rooms, room_key, "str").fillna(pick("timezone", config.sites, site_key, "str"))
    place = pd.DataFrame({"by_room": by_room})
    for attribute in ("location_id", "entrance_id"):
        of_room = pick(attribute, config.rooms, room_key, "Int64")
        of_site = pick(attribute, config.sites, site_key, "Int64")
        place[attribute] = of_room.where(by_room, of_site)
    return pd.DataFrame({"timezone": zone}), place


def _type_guests(raw: pd.DataFrame, config: SourceConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The guests, copies left out, and the rows that name no event."""
    raw = raw.reset_index(drop=True)
    keys = ("source_event_id", "guest_id")
    out = pd.DataFrame({name: (people.clean_key if name in keys else people.clean_text)(_column(raw, name)) for name in GUEST_COLUMNS})
    for name in [column for column in raw.columns if column.startswith(CUSTOM_PREFIX)]:
        out[name] = people.clean_text(raw[name])
    out["email"] = people.clean_addresses(out["email"])
    first, last = people.split_names(out["full_name"])
    nameless = out["first_name"].isna() & out["last_name"].isna()
    out["first_name"] = out["first_name"].mask(nameless, first)
    out["last_name"] = out["last_name"].mask(nameless, last)
    out["language"] = people.map_languages(out["language"])
    out["internal"] = people.read_flags(out["internal"])
    out["identity"] = people.identify_people(out["email"], out["first_name"], out["last_name"])
    out["has_identity"] = out["identity"].notna()
    out["address_ok"] = people.are_addresses(out["email"])
    # the part of the invitation id: the source's own key, or the identity, for which the state store keeps a number
    out["guest_key"] = out["guest_id"]
    out["key_is_unique"] = True
    out["access_profiles"], out["profiles_ok"] = _read_profiles(out["access_profiles"])
    eventless = out["source_event_id"].isna().to_numpy(dtype=bool)
    return _drop_copies(pick_rows(out, ~eventless), ["source_event_id", "guest_key"]), out[eventless]


def _read_profiles(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Door access as canonical JSON, and whether it was readable."""

    def read(text: str) -> str | None:
        try:
            profiles = orjson.loads(text)
            pairs = [(p["partitionId"], p["sourceId"]) for p in profiles]
            if not all(type(a) is int and type(b) is str and len(p) == 2 for (a, b), p in zip(pairs, profiles, strict=True)):
                return None
        except (ValueError, TypeError, KeyError):
            return None
        return orjson.dumps([{"partitionId": a, "sourceId": b} for a, b in sorted(pairs)]).decode() if pairs else None

    profiles = map_distinct(values, by=read)
    wrong = profiles.isna() & values.notna() & (values != "[]").fillna(False).astype(bool)
    return profiles, ~wrong


def _drop_copies(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Rows that are copies of another in every column go; rows that share a key and differ are marked."""
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


def _check(schema: object, frame: pd.DataFrame) -> tuple[Mask, pd.DataFrame]:
    """Rows that fail, and a (row, check) table of why. A failed check costs its row, never the run. Rows are numbered from 0."""
    bad = np.zeros(len(frame), dtype=bool)
    try:
        schema.validate(frame, lazy=True)  # type: ignore[attr-defined]
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        broken = cases[cases["index"].isna()]
        if len(broken):
            raise ValueError(f"a source frame has the wrong form: {broken[['column', 'check']].to_dict('records')}") from None
        cases = cases[["column", "check", "index"]].drop_duplicates(["check", "index"])
        cases = cases.assign(index=cases["index"].astype("int64"), check=cases["check"].astype("str"))
        bad[cases["index"].unique()] = True
        return bad, cases
    return bad, pd.DataFrame({"column": [], "check": [], "index": []})


_VALUE_COLUMN = {
    "unique_key": "source_event_id", "problem": "problem", "start": "starts_at_text", "end": "ends_at_text", "end_after_start": "ends_at_text",
    "zone": "timezone", "status": "status", "host": "host_email", "host_address": "host_email", "host_active": "host_email",
    "place": "site_key", "location": "site_key", "unique_guest": "guest_key", "guest_identity": "email", "guest_address": "email",
    "access_profiles": "access_profiles",
}  # fmt: skip


def _named(source: str, part: str, failures: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    pieces = [
        _rejects(source, part, frame.loc[group["index"]], _VALUE_COLUMN.get(str(check), "source_event_id"), str(check))
        for check, group in failures.groupby("check", sort=True)
    ]
    return pd.concat(pieces, ignore_index=True) if pieces else empty_frame(REJECT_COLUMNS)


def _rejects(source: str, part: str, rows: pd.DataFrame, column: str, check: str) -> pd.DataFrame:
    """One line a rejected row, its value masked when it can name a person."""
    reason, remedy = REMEDIES[check]
    values = rows[column].astype("str") if column in rows else pd.Series(dtype="str", index=rows.index)
    if check == "location":
        values = ("room " + rows["room_key"].fillna("-") + ", site " + rows["site_key"].fillna("-")).astype("str")
    if column in ("host_email", "email"):
        values = map_distinct(values, by=people.mask_address)
    guest = rows["guest_id"] if "guest_id" in rows else pd.Series(pd.NA, index=rows.index, dtype="str")
    return pd.DataFrame(
        {
            "source": source,
            "part": part,
            "source_event_id": rows["source_event_id"].astype("str").to_numpy(),
            "guest_id": guest.astype("str").to_numpy(),
            "source_id": pd.Series(pd.NA, index=range(len(rows)), dtype="str"),
            "column": column.removesuffix("_text"),
            "check": check,
            "value": values.str.slice(0, 120).to_numpy(),
            "remedy": f"{reason}: {remedy}".replace("<name>", source),
        },
        index=np.arange(len(rows)),
    ).astype("str")
