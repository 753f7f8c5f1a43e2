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
from transforms.ids import build_event_ids, escape_parts, join_parts, numbered_guests
from transforms.link import Linked, link_events
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
    name = people.identify_people(pd.Series(pd.NA, index=guests.index, dtype="str"), guests["first_name"], guests["last_name"])
    text = guests["identity"]
    if shared:
        nameless = guests["email"].isna()
        text = text.mask(nameless, guests["source_event_id"] + "|" + text)
    # two people behind one address: the first by name keeps the address alone
    group = [guests["source_event_id"], guests["email"]]
    both = keyless & guests["email"].notna() & name.notna() & guests.duplicated(["source_event_id", "email"], keep=False)
    if both.any():
        smallest = name.where(both).groupby(group, sort=False).transform("min")
        text = text.mask(both & (name != smallest), text + "|" + name)
    return text.where(keyless)


def build_desired(
    sources: list[Validated],
    guest_numbers: Mapping[str, Mapping[str, int]],
    config: Config,
    *,
    confirmed: pd.DataFrame,
    as_of: pd.Timestamp,
) -> Desired:
    """Build what essentry should hold from the validated sources.

    guest_numbers: source → text of `list_guest_keys` → number. confirmed: source_id, members_json of what essentry holds.
    as_of: the clock, UTC.
    """
    notes: dict[str, int] = {}
    records = pd.concat([_records(v, config.sources[v.source]) for v in sources], ignore_index=True)
    quarantined = {v.source: _quarantined_ids(v) for v in sources}
    all_quarantined = set().union(*quarantined.values()) if quarantined else set()
    linked = link_events(records, confirmed=confirmed, quarantined=all_quarantined)
    shared = config.essentry.invitation_ids == "shared"
    guests = pd.concat([_guests(v, guest_numbers.get(v.source, {}), config, shared) for v in sources], ignore_index=True)
    guests = guests.assign(source_id=guests["own_id"].map(linked.meetings).astype("str").fillna(guests["own_id"]))
    held = pd.concat([_held(v, config, guest_numbers.get(v.source, {}), shared) for v in sources], ignore_index=True)
    held = held.assign(source_id=held["own_id"].map(linked.meetings).astype("str").fillna(held["own_id"])).drop(columns="own_id")
    records = linked.events
    records = records.assign(
        disposition=_dispose(records, linked, guests, held, config, as_of=as_of),
    )
    counted = guests[guests["own_id"].isin(records["own_id"])]
    outside = {v.source: int((counted["source"] == v.source).sum()) for v in sources}
    due = records[records["disposition"] == "due"].sort_values("source_id", kind="stable").reset_index(drop=True)
    invitations = _merge_guests(guests[guests["source_id"].isin(due["source_id"])], due, notes)
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


def _records(validated: Validated, config: SourceConfig) -> pd.DataFrame:
    """A source's events with essentry's columns; `own_id` is the record's sourceId."""
    events = validated.events
    source = pd.Series(validated.source, index=events.index, dtype="str")
    name = people.cut_text(events["name"].fillna(config.untitled))
    return events.assign(
        own_id=build_event_ids(source, events["source_event_id"]),
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
        json_text.member(str(number), json_text.quote(json_text.to_arrow(frame[CUSTOM_PREFIX + name])))
        for name, number in sorted(fields.items(), key=lambda item: item[1])
        if CUSTOM_PREFIX + name in frame.columns
    ]
    if not members:
        return pd.Series(pd.NA, index=frame.index, dtype="str")
    objects = json_text.null_if_empty(json_text.build_objects([*members, pa.scalar("", json_text.TEXT)]))
    return json_text.to_series(objects, frame.index)


def _quarantined_ids(validated: Validated) -> set[str]:
    rejected = validated.rejects[(validated.rejects["part"] == "events") & validated.rejects["source_event_id"].notna()]
    keys = rejected["source_event_id"].drop_duplicates().reset_index(drop=True)
    return set(build_event_ids(pd.Series(validated.source, index=keys.index, dtype="str"), keys))


def _guest_ids(frame: pd.DataFrame, source: str, keys: pd.Series, *, shared: bool) -> pd.Series:
    part = escape_parts(pd.Series(source, index=frame.index, dtype="str"))
    return join_parts(part, keys) if shared else join_parts(part, escape_parts(frame["source_event_id"]), keys)


def _guests(validated: Validated, numbers: Mapping[str, int], config: Config, shared: bool) -> pd.DataFrame:
    """A source's outside guests with their invitation ids; employees are left out unless the source invites everybody."""
    guests, settings = validated.guests, config.sources[validated.source]
    texts = list_guest_keys(validated, shared=shared)
    number = numbered_guests(texts.map(dict(numbers)))
    frame = pd.DataFrame(
        {
            "own_id": build_event_ids(pd.Series(validated.source, index=guests.index, dtype="str"), guests["source_event_id"]),
            "source": pd.Series(validated.source, index=guests.index, dtype="str"),
            "invitation_id": _guest_ids(guests, validated.source, escape_parts(guests["guest_key"]).fillna(number), shared=shared),
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
        domain = frame["email"].str.replace(r"^.*@", "", regex=True)
        inside = guests["internal"] | domain.isin(settings.internal_domains).fillna(False)
        frame = frame[~inside.to_numpy(dtype=bool)]
    if shared and frame.duplicated("invitation_id").any():  # one contact: the same data in every event
        first = frame.sort_values(["own_id"], kind="stable").drop_duplicates("invitation_id").set_index("invitation_id")
        for column in ("email", "first_name", "last_name", "company_name", "language", "identity"):
            frame = frame.assign(**{column: frame["invitation_id"].map(first[column]).astype("str")})
    return frame


def _held(validated: Validated, config: Config, numbers: Mapping[str, int], shared: bool) -> pd.DataFrame:
    """Rejected guests: own_id of the event and the invitation id, missing when the guest's key cannot be read."""
    held = validated.held_guests
    ids = _guest_ids(held, validated.source, escape_parts(held["guest_key"]), shared=shared)
    own = build_event_ids(pd.Series(validated.source, index=held.index, dtype="str"), held["source_event_id"])
    return pd.DataFrame({"own_id": own, "source": validated.source, "invitation_id": ids}).astype("str")


def _dispose(
    records: pd.DataFrame,
    linked: Linked,
    guests: pd.DataFrame,
    held: pd.DataFrame,
    config: Config,
    *,
    as_of: pd.Timestamp,
) -> pd.Series:
    """Where each record goes; the first rule that fits wins."""
    horizon = as_of + pd.Timedelta(days=config.window.days_ahead)
    with_guests = set(guests.loc[_not_host(guests, records), "source_id"])
    skip = records["source"].isin([name for name, entry in config.sources.items() if entry.events_without_guests == "skip"])
    has_guests = records["source_id"].isin(with_guests)
    problem = dict(zip(linked.problems["own_id"], linked.problems["check"], strict=True))
    rules = [
        (records["status"] == "cancelled", "cancelled"),
        (records["own_id"].isin(list(problem)), "quarantined"),
        (records["status"] == "merged", "merged"),
        (records["status"] == "pending", "pending"),
        (records["ends_at"] <= as_of, "past"),
        (records["starts_at"] > horizon, "beyond_window"),
        (skip & ~has_guests & records["source_id"].isin(set(held["source_id"])), "quarantined"),
        (skip & ~has_guests, "guestless"),
    ]
    chosen = np.select([rule.to_numpy(dtype=bool) for rule, _ in rules], [name for _, name in rules], default="due")
    return pd.Series(chosen, index=records.index, dtype="str")


def _not_host(guests: pd.DataFrame, records: pd.DataFrame) -> pd.Series:
    """True for guests who are not the host of their own meeting."""
    main = records[records["status"] != "merged"].drop_duplicates("source_id")
    host = guests["source_id"].map(main.set_index("source_id")["host_email"]).astype("str")
    return ~(guests["email"] == host).fillna(False).astype(bool)


def _merge_guests(guests: pd.DataFrame, due: pd.DataFrame, notes: dict[str, int]) -> pd.DataFrame:
    """One invitation a person and event. Of duplicates the smallest id stays here; one that essentry knows wins later, in the diff."""
    not_host = _not_host(guests, due.assign(status="confirmed"))
    notes["hosts_as_guests"] = int((~not_host).sum())
    guests = guests[not_host].sort_values(["source_id", "invitation_id"], kind="stable")
    twice = guests.duplicated(["source_id", "identity"], keep=False) & guests["identity"].notna()
    if twice.any():
        name = people.identify_people(pd.Series(pd.NA, index=guests.index, dtype="str"), guests["first_name"], guests["last_name"])
        # same address and different names are two people; a nameless row joins the first named one
        shared = guests[twice].assign(who=name[twice])
        first_name = shared.groupby(["source_id", "identity"], sort=False)["who"].transform("first")
        shared = shared.assign(who=shared["who"].fillna(first_name).fillna(""))
        columns = ["first_name", "last_name", "company_name", "language", "custom_fields", "access_profiles", "email"]
        keys = ["source_id", "identity", "who"]
        filled = shared.groupby(keys, sort=False)[columns].transform("first")
        merged = shared.assign(**{c: filled[c].astype("str") for c in columns}).drop_duplicates(keys)
        notes["guests_merged"] = len(shared) - len(merged)
        # of two people behind one address the identity for counting stays the address
        guests = pd.concat([guests[~twice], merged.drop(columns="who")]).sort_values(["source_id", "invitation_id"], kind="stable")
    again = guests.duplicated(["source_id", "invitation_id"])
    notes["guests_merged"] = notes.get("guests_merged", 0) + int(again.sum())
    return guests.loc[~again, INVITATION_COLUMNS].reset_index(drop=True)


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
