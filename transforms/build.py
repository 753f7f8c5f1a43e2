"""Turn validated source rows into what essentry should hold: `events`, `invitations`, and where every source row went. Pure.

Every row of the events SELECT gets exactly one disposition: due, cancelled, quarantined, pending, past, beyond_window, guestless or merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from schemas.config import Config, SourceConfig
from schemas.frames import REJECT_COLUMNS, REMEDIES, Events, Invitations, empty_frame
from schemas.source import CUSTOM_PREFIX
from transforms import json_text, people
from transforms.columns import (
    TEXT,
    Mask,
    are_repeated,
    find_positions,
    is_among,
    look_up,
    no_text,
    pick_rows,
    repeat_the_row_before,
    same_text,
    sort_rows,
    take_text,
    to_arrow,
    to_series,
)
from transforms.ids import escape_parts, numbered_guests
from transforms.link import Linked, link_events
from transforms.naming import Naming, name_by
from transforms.validate import Validated

INVITATION_COLUMNS = list(Invitations.columns)
EVENT_COLUMNS = list(Events.columns)


@dataclass(frozen=True)
class Desired:
    """What essentry should hold.

    `events`, `invitations`: see schemas.frames. `dispositions`: own_id, source_id, source, disposition; a row an events row with
    a readable key. `held_guests`: source_id, invitation_id (missing: the event's whole list is frozen). `rejects`: of the links.
    `held_targets`: ids that an unresolved link protects from deletion.
    """

    events: pd.DataFrame
    invitations: pd.DataFrame
    dispositions: pd.DataFrame
    held_guests: pd.DataFrame
    rejects: pd.DataFrame
    held_targets: set[str]
    outside_guests: dict[str, int]
    notes: dict[str, int]


def list_guest_keys(validated: Validated, *, shared: bool = False) -> pd.Series:
    """The texts for which the state store must know a number: guests without a key of their own. Aligned with `guests`."""
    guests = validated.guests
    keyless = guests["guest_key"].isna()
    if not keyless.any():
        return no_text(guests.index)
    some = guests[keyless]
    text = some["identity"]
    if shared:
        text = text.mask(some["email"].isna(), some["source_event_id"] + "|" + text)
    # two people behind one address: the first by name keeps the address alone
    both = some[are_repeated(some["source_event_id"], some["email"])]
    if len(both):
        name = people.name_people(both["first_name"], both["last_name"])
        named = both.assign(name=name)[name.notna()]
        smallest = named.groupby(["source_event_id", "email"], sort=False)["name"].transform("min")
        others = named.loc[named["name"] != smallest, "name"]
        text = text.mask(text.index.isin(others.index), text + "|" + others.reindex(text.index))
    return text.reindex(guests.index)


def build_desired(
    sources: list[Validated],
    guest_numbers: Mapping[str, Mapping[str, int]],
    config: Config,
    *,
    confirmed: pd.DataFrame,
    as_of: pd.Timestamp,
    naming: Naming | None = None,
) -> Desired:
    """Build what essentry should hold from the validated sources.

    guest_numbers: source → text of `list_guest_keys` → number. confirmed: source_id, members_json of what essentry holds.
    as_of: the clock, UTC. naming: with ids that were taken over; by default those of the configuration.
    """
    notes: dict[str, int] = {}
    naming = naming or name_by(config)
    records = pd.concat([_records(v, config.sources[v.source], naming) for v in sources], ignore_index=True)
    quarantined = {v.source: _quarantined_ids(v, naming) for v in sources}
    all_quarantined = set().union(*quarantined.values()) if quarantined else set()
    linked = link_events(records, confirmed=confirmed, quarantined=all_quarantined, naming=naming)
    shared = config.essentry.invitation_ids == "shared"
    of_source = [build_guests(v, guest_numbers.get(v.source, {}), config, naming, shared=shared) for v in sources]
    counts = [len(frame) for frame in of_source]
    guests = pd.concat(of_source, ignore_index=True)
    del of_source
    guests = guests.assign(source_id=_find_meetings(guests["own_id"], linked))
    held = pd.concat([_held(v, naming, shared=shared) for v in sources], ignore_index=True)
    held = held.assign(source_id=_find_meetings(held["own_id"], linked)).drop(columns="own_id")
    records = linked.events
    places = _Places(guests["source_id"], records["source_id"])
    hosts = _name_hosts(guests, records)
    # the guests of a cancelled record are not those of the meeting that carries its id
    off = is_among(guests["own_id"], records.loc[(records["status"] == "cancelled").to_numpy(dtype=bool), "own_id"])
    invited = ~hosts & ~off
    records = records.assign(disposition=_dispose(records, linked, places.have_guests(invited), held, config, as_of=as_of))
    counted = places.of_guests >= 0 if linked.meetings.empty else is_among(guests["own_id"], records["own_id"])
    outside = {v.source: int(rows.sum()) for v, rows in zip(sources, np.split(counted, np.cumsum(counts)[:-1]), strict=True)}
    is_due = (records["disposition"] == "due").to_numpy(dtype=bool)
    due = sort_rows(records, ["source_id"], among=is_due)
    asked = places.are_of(is_due)
    notes["hosts_as_guests"] = int((hosts & asked).sum())
    invitations = _merge_guests(guests, asked & invited, notes)
    del guests
    rejects, link_ids = _link_rejects(linked, records)
    dispositions = pd.concat(
        [
            records[["own_id", "source_id", "source", "disposition"]],
            *(
                pd.DataFrame({"own_id": sorted(ids), "source_id": sorted(ids), "source": source, "disposition": "quarantined"})
                for source, ids in quarantined.items()
                if ids
            ),
        ],
        ignore_index=True,
    ).astype("str")
    for v in sources:
        for note, count in v.notes.items():
            notes[note] = notes.get(note, 0) + count
    events = _finish_events(due, notes)
    return Desired(
        events=Events.validate(events),
        invitations=Invitations.validate(invitations) if len(invitations) < 100_000 else invitations,
        dispositions=dispositions,
        held_guests=held,
        rejects=rejects,
        held_targets=linked.held_targets | link_ids,
        outside_guests=outside,
        notes={key: value for key, value in notes.items() if value},
    )


def _records(validated: Validated, config: SourceConfig, naming: Naming) -> pd.DataFrame:
    """A source's events with essentry's columns; `own_id` is the record's sourceId."""
    events = validated.events
    source = same_text(validated.source, events.index)
    name = people.cut_text(events["name"].fillna(config.untitled))
    return events.assign(
        own_id=naming.name_events(naming.prefix_of(validated.source), events["source_event_id"]),
        source=source,
        name=name.mask(events["private"], config.private_title),
        description=events["description"].mask(events["private"]),
        custom_fields=_custom_fields(events, config.custom_fields),
        name_cut=(events["name"].str.len() > people.TEXT_LIMIT).fillna(False).astype(bool),
        status=events["status"].mask((events["status"] == "pending") & (config.pending == "send"), "confirmed"),
    )[
        ["own_id", "source_event_id", "source", "site_key", "name", "description", "starts_at", "ends_at", "location_id", "entrance_id", "by_room"]
        + [f"{role}_{part}" for role in ("host", "creator") for part in ("email", "first_name", "last_name", "phone")]
        + ["custom_fields", "updated_at", "status", "linked_source", "linked_event_id", "name_cut"]
    ]  # fmt: skip


def _custom_fields(frame: pd.DataFrame, fields: Mapping[str, int]) -> pd.Series:
    """The mapped custom_<name> columns as one JSON object, keys in numeric order; missing when empty."""
    members = [
        json_text.text_member(str(number), to_arrow(frame[CUSTOM_PREFIX + name]))
        for name, number in sorted(fields.items(), key=lambda item: item[1])
        if CUSTOM_PREFIX + name in frame.columns
    ]
    return to_series(json_text.build_objects(members, len(frame)), frame.index)


def _quarantined_ids(validated: Validated, naming: Naming) -> set[str]:
    rejected = validated.rejects[(validated.rejects["part"] == "events") & validated.rejects["source_event_id"].notna()]
    keys = rejected["source_event_id"].drop_duplicates().reset_index(drop=True)
    return set(naming.name_events(naming.prefix_of(validated.source), keys))


def _guest_ids(frame: pd.DataFrame, source: str, keys: pd.Series, naming: Naming, *, shared: bool) -> pd.Series:
    return naming.name_guests(naming.prefix_of(source), frame["source_event_id"], keys, shared=shared)


def build_guests(validated: Validated, numbers: Mapping[str, int], config: Config, naming: Naming, *, shared: bool) -> pd.DataFrame:
    """A source's outside guests with their invitation ids; employees are left out unless the source invites everybody."""
    guests, settings = validated.guests, config.sources[validated.source]
    texts = list_guest_keys(validated, shared=shared)
    number = numbered_guests(_find_numbers(texts, numbers))
    frame = pd.DataFrame(
        {
            "own_id": naming.name_events(naming.prefix_of(validated.source), guests["source_event_id"]),
            "invitation_id": _guest_ids(guests, validated.source, escape_parts(guests["guest_key"]).fillna(number), naming, shared=shared),
            "identity": guests["identity"],
            "email": guests["email"],
            "first_name": people.cut_text(guests["first_name"]),
            "last_name": people.cut_text(guests["last_name"]),
            "company_name": people.cut_text(guests["company_name"]),
            "language": guests["language"],
            "custom_fields": _custom_fields(guests, settings.custom_fields),
            "access_profiles": guests["access_profiles"],
        }
    )
    if settings.guests == "external":
        inside = guests["internal"].to_numpy(dtype=bool) | people.are_of_domains(guests["email"], settings.internal_domains)
        frame = pick_rows(frame, ~inside)
    if shared and are_repeated(frame["invitation_id"]).any():  # one contact: the same data in every event
        first = frame.sort_values(["own_id"], kind="stable").drop_duplicates("invitation_id").set_index("invitation_id")
        for column in ("email", "first_name", "last_name", "company_name", "language", "identity"):
            frame = frame.assign(**{column: frame["invitation_id"].map(first[column]).astype("str")})
    return frame


def _find_numbers(texts: pd.Series, numbers: Mapping[str, int]) -> pd.Series:
    if not numbers:
        return pd.Series(pd.NA, index=texts.index, dtype="Int64")
    return look_up(texts, numbers, "Int64")


def _held(validated: Validated, naming: Naming, *, shared: bool) -> pd.DataFrame:
    """Rejected guests: own_id of the event and the invitation id, missing when the guest's key cannot be read."""
    held = validated.held_guests
    ids = _guest_ids(held, validated.source, escape_parts(held["guest_key"]), naming, shared=shared)
    own = naming.name_events(naming.prefix_of(validated.source), held["source_event_id"])
    return pd.DataFrame({"own_id": own, "source": validated.source, "invitation_id": ids}).astype("str")


def _dispose(
    records: pd.DataFrame,
    linked: Linked,
    has_guests: Mask,
    held: pd.DataFrame,
    config: Config,
    *,
    as_of: pd.Timestamp,
) -> pd.Series:
    """Where each record goes; the first rule that fits wins. has_guests: true for records with an outside guest who is not the host."""
    horizon = as_of + pd.Timedelta(days=config.window.days_ahead)
    skip = records["source"].isin([name for name, entry in config.sources.items() if entry.events_without_guests == "skip"])
    some_held = is_among(records["source_id"], held["source_id"])
    rules = [
        (records["status"] == "cancelled", "cancelled"),
        (records["own_id"].isin(linked.problems["own_id"]), "quarantined"),
        (records["status"] == "merged", "merged"),
        (records["status"] == "pending", "pending"),
        (records["ends_at"] <= as_of, "past"),
        (records["starts_at"] > horizon, "beyond_window"),
        (skip & ~has_guests & some_held, "quarantined"),
        (skip & ~has_guests, "guestless"),
    ]
    chosen = np.select([rule.to_numpy(dtype=bool) for rule, _ in rules], range(len(rules)), default=len(rules))
    return to_series(pa.array([*(name for _, name in rules), "due"], TEXT).take(pa.array(chosen)), records.index)


class _Places:
    """Which guests are of which records, by the sourceId of the meeting, looked up once. `of_guests`: a record of that id, or -1."""

    def __init__(self, guest_ids: pd.Series, record_ids: pd.Series) -> None:
        self.of_guests = find_positions(guest_ids, record_ids)
        self._of_records = find_positions(record_ids, record_ids)

    def are_of(self, records: Mask) -> Mask:
        """True for the guests of these records."""
        marked = np.zeros(len(records) + 1, dtype=bool)
        marked[self._of_records[records]] = True
        return marked[self.of_guests]

    def have_guests(self, guests: Mask) -> Mask:
        """True for the records with one of these guests."""
        marked = np.zeros(len(self._of_records) + 1, dtype=bool)
        marked[self.of_guests[guests]] = True
        return marked[self._of_records]


def _name_hosts(guests: pd.DataFrame, records: pd.DataFrame) -> Mask:
    """True for guests who are the host of their own meeting."""
    hosts = is_among(guests["email"], records["host_email"])
    some = pick_rows(guests[["source_id", "email"]], hosts)
    main = pick_rows(records[["source_id", "host_email"]], (records["status"] != "merged").to_numpy(dtype=bool))
    host = take_text(main["host_email"], find_positions(some["source_id"], main["source_id"]), some.index)
    hosts[hosts] = (some["email"] == host).fillna(False).to_numpy(dtype=bool)
    return hosts


def _find_meetings(own_ids: pd.Series, linked: Linked) -> pd.Series:
    """The sourceId of the meeting that each record belongs to: its own, unless it was united with another."""
    if linked.meetings.empty:
        return own_ids
    place = find_positions(own_ids, linked.meetings.index.to_series())
    return take_text(linked.meetings, place, own_ids.index).fillna(own_ids)


def _merge_guests(guests: pd.DataFrame, asked: Mask, notes: dict[str, int]) -> pd.DataFrame:
    """One invitation a person and event, of the guests `asked`.

    Of duplicates the smallest id stays here; one that essentry knows wins later, in the diff.
    """
    guests = sort_rows(guests[INVITATION_COLUMNS], ["source_id", "invitation_id"], among=asked)
    twice = are_repeated(guests["source_id"], guests["identity"])
    if twice.any():
        # same address and different names are two people; a nameless row joins the first named one
        shared = guests[twice]
        shared = shared.assign(who=people.name_people(shared["first_name"], shared["last_name"]))
        first_name = shared.groupby(["source_id", "identity"], sort=False)["who"].transform("first")
        shared = shared.assign(who=shared["who"].fillna(first_name).fillna(""))
        columns = ["first_name", "last_name", "company_name", "language", "custom_fields", "access_profiles", "email"]
        keys = ["source_id", "identity", "who"]
        filled = shared.groupby(keys, sort=False)[columns].transform("first")
        merged = shared.assign(**{c: filled[c].astype("str") for c in columns}).drop_duplicates(keys)
        notes["guests_merged"] = len(shared) - len(merged)
        # of two people behind one address the identity for counting stays the address
        guests = pd.concat([pick_rows(guests, ~twice), merged.drop(columns="who")], ignore_index=True)
        guests = sort_rows(guests, ["source_id", "invitation_id"])
    again = repeat_the_row_before(guests["source_id"], guests["invitation_id"])
    notes["guests_merged"] = notes.get("guests_merged", 0) + int(again.sum())
    return pick_rows(guests, ~again)


def _finish_events(due: pd.DataFrame, notes: dict[str, int]) -> pd.DataFrame:
    notes["names_cut"] = int(due["name_cut"].sum())
    return due[EVENT_COLUMNS].assign(location_id=due["location_id"].astype("Int64"), entrance_id=due["entrance_id"].astype("Int64"))


def _link_rejects(linked: Linked, records: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    if linked.problems.empty:
        return empty_frame(REJECT_COLUMNS), set()
    rows = linked.problems.merge(records, on="own_id", how="left", validate="1:1")
    table = pd.DataFrame(
        {
            "source": rows["source"],
            "part": "events",
            "source_event_id": rows["source_event_id"],
            "guest_id": pd.NA,
            "source_id": rows["own_id"],
            "column": "linked_event_id",
            "check": rows["check"],
            "value": rows["linked_source"] + " " + rows["linked_event_id"],
            "remedy": rows["check"].map({name: f"{reason}: {remedy}" for name, (reason, remedy) in REMEDIES.items()}),
        }
    ).astype("str")
    return table, set(linked.problems["own_id"])
