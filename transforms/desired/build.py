"""Turn validated source rows into what essentry should hold: `events`, `invitations`, and where
every source row went. Pure.

Every row of the events SELECT gets exactly one disposition: due, cancelled, quarantined, pending,
past, beyond_window, guestless or merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.frames import REJECT_COLUMNS, REMEDIES, Events, Invitations, empty_frame
from transforms.arrow.columns import find_positions, is_among, same_text, take_text
from transforms.arrow.rows import sort_rows
from transforms.desired.dispositions import _dispose, _Places
from transforms.desired.guests import (
    _custom_fields,
    _held,
    _merge_guests,
    _name_hosts,
    build_guests,
    set_aside_taken,
)
from transforms.desired.link import Linked, link_events
from transforms.desired.waiting import WAITING_COLUMNS, list_waiting
from transforms.naming.naming import Naming, name_by
from transforms.validate import people
from transforms.validate.source import Validated

EVENT_COLUMNS = list(Events.columns)


@dataclass(frozen=True)
class Desired:
    """What essentry should hold.

    `events`, `invitations`: see schemas.frames. `dispositions`: own_id, source_id, source,
    disposition; a row an events row with a readable key. `held_guests`: own_id, source_id,
    invitation_id (missing: the event's whole list is frozen). `rejects`: of the links.
    `held_targets`: ids that an unresolved link protects from deletion. `outside_guests`, and
    `coming_outside` of meetings that are not over: of each source.
    """

    events: pd.DataFrame
    invitations: pd.DataFrame
    dispositions: pd.DataFrame
    held_guests: pd.DataFrame
    rejects: pd.DataFrame
    held_targets: set[str]
    outside_guests: dict[str, int]
    notes: dict[str, int]
    coming_outside: dict[str, int] = field(default_factory=dict)
    waiting: pd.DataFrame = field(default_factory=lambda: empty_frame(WAITING_COLUMNS))


def build_desired(
    sources: Sequence[Validated],
    guest_numbers: Mapping[str, Mapping[str, int]],
    config: Config,
    *,
    confirmed: pd.DataFrame,
    as_of: pd.Timestamp,
    naming: Naming | None = None,
) -> Desired:
    """Build what essentry should hold from the validated sources.

    guest_numbers: source → text of `list_guest_keys` → number. confirmed: source_id, members_json
    of what essentry holds. as_of: the clock, UTC. naming: with ids that were taken over; by default
    those of the configuration.
    """
    notes: dict[str, int] = {}
    naming = naming or name_by(config)
    sources, taken, taken_ids = zip(*(set_aside_taken(v, naming) for v in sources), strict=True)
    records = pd.concat(
        [_records(v, config.sources[v.source], naming) for v in sources], ignore_index=True
    )
    quarantined = {v.source: _quarantined_ids(v, naming) for v in sources}
    all_quarantined = set().union(*quarantined.values()) if quarantined else set()
    shared = config.essentry.invitation_ids == "shared"
    of_source = [
        build_guests(v, guest_numbers.get(v.source, {}), config, naming, shared=shared, as_of=as_of)
        for v in sources
    ]
    counts = [len(frame) for frame in of_source]
    guests = pd.concat(of_source, ignore_index=True)
    del of_source
    linked = link_events(
        records, guests=guests, confirmed=confirmed, quarantined=all_quarantined, naming=naming
    )
    guests = guests.assign(source_id=_find_meetings(guests["own_id"], linked))
    held = pd.concat([_held(v, naming, shared=shared) for v in sources], ignore_index=True)
    held = held.assign(source_id=_find_meetings(held["own_id"], linked))
    records = linked.events
    places = _Places(guests["source_id"], records["source_id"])
    hosts = _name_hosts(guests, records)
    # the guests of a cancelled or pending record are not those of the meeting that carries its id
    off = is_among(
        guests["own_id"], records.loc[records["status"].isin(["cancelled", "pending"]), "own_id"]
    )
    invited = ~hosts & ~off
    records = records.assign(
        disposition=_dispose(
            records, linked, places.have_guests(invited), held, config, as_of=as_of
        )
    )
    counted = (
        places.of_guests >= 0
        if linked.meetings.empty
        else is_among(guests["own_id"], records["own_id"])
    )
    outside = {
        v.source: int(rows.sum())
        for v, rows in zip(sources, np.split(counted, np.cumsum(counts)[:-1]), strict=True)
    }
    places_to_come = places.are_of(
        (records["ends_at"] > as_of).to_numpy(dtype=bool, na_value=False)
    )
    to_come = {
        v.source: int(rows.sum())
        for v, rows in zip(
            sources, np.split(counted & places_to_come, np.cumsum(counts)[:-1]), strict=True
        )
    }
    is_due = (records["disposition"] == "due").to_numpy(dtype=bool)
    due = sort_rows(records, ["source_id"], among=is_due)
    asked = places.are_of(is_due)
    notes["hosts_as_guests"] = int((hosts & asked).sum())
    invitations = _merge_guests(guests, asked & invited, notes)
    notes["guests_without_a_name"] = int(
        (invitations["first_name"].isna() & invitations["last_name"].isna()).sum()
    )
    waiting = list_waiting(records, sources, guests, hosts, naming, as_of=as_of)
    del guests
    rejects, link_ids = _link_rejects(linked, records)
    dispositions = pd.concat(
        [
            records[["own_id", "source_id", "source", "disposition"]],
            *(
                pd.DataFrame(
                    {
                        "own_id": sorted(ids),
                        "source_id": sorted(ids),
                        "source": source,
                        "disposition": "quarantined",
                    }
                )
                for source, ids in quarantined.items()
                if ids
            ),
            *(
                ids.assign(source_id=ids["own_id"], source=v.source, disposition="quarantined")
                for v, ids in zip(sources, taken_ids, strict=True)
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
        invitations=Invitations.validate(invitations)
        if len(invitations) < 100_000
        else invitations,
        dispositions=dispositions,
        held_guests=held,
        rejects=pd.concat(
            [frame for frame in (rejects, *taken) if len(frame)] or [rejects], ignore_index=True
        ),
        held_targets=linked.held_targets | link_ids | _other_spellings(naming, dispositions),
        outside_guests=outside,
        coming_outside=to_come,
        waiting=waiting,
        notes={key: value for key, value in notes.items() if value},
    )


def _other_spellings(naming: Naming, dispositions: pd.DataFrame) -> set[str]:
    """Ids that essentry has of an event in a second spelling of its key: while the source shows the
    event, they are not deleted.
    """
    if not naming.spellings:
        return set()
    shown = set(dispositions["own_id"])
    return {
        other for first, *others in naming.spellings.values() if first in shown for other in others
    }


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
        custom_fields=_custom_fields(events, config.custom_fields).mask(events["private"]),
        name_cut=(events["name"].str.len() > people.TEXT_LIMIT).fillna(False).astype(bool),
        status=events["status"].mask((events["status"] == "pending") & (config.pending == "send"),
            "confirmed"),
    )[
        ["own_id", "source_event_id", "source", "site_key", "name", "description", "starts_at",
            "ends_at", "location_id", "entrance_id", "by_room"]
        + [f"{role}_{part}" for role in ("host", "creator") for part in ("email", "first_name",
            "last_name", "phone")]
        + ["custom_fields", "updated_at", "status", "linked_source", "linked_event_id", "name_cut",
            "private"]
    ]  # fmt: skip


def _quarantined_ids(validated: Validated, naming: Naming) -> set[str]:
    rejected = validated.rejects[
        (validated.rejects["part"] == "events") & validated.rejects["source_event_id"].notna()
    ]
    keys = rejected["source_event_id"].drop_duplicates().reset_index(drop=True)
    return set(naming.name_events(naming.prefix_of(validated.source), keys))


def _find_meetings(own_ids: pd.Series, linked: Linked) -> pd.Series:
    """The sourceId of the meeting that each record belongs to: its own, unless it was united with
    another.
    """
    if linked.meetings.empty:
        return own_ids
    place = find_positions(own_ids, linked.meetings.index.to_series())
    return take_text(linked.meetings, place, own_ids.index).fillna(own_ids)


def _finish_events(due: pd.DataFrame, notes: dict[str, int]) -> pd.DataFrame:
    notes["names_cut"] = int(due["name_cut"].sum())
    return due[EVENT_COLUMNS].assign(
        location_id=due["location_id"].astype("Int64"),
        entrance_id=due["entrance_id"].astype("Int64"),
    )


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
            "remedy": rows["check"].map(
                {name: f"{reason}: {remedy}" for name, (reason, remedy) in REMEDIES.items()}
            ),
        }
    ).astype("str")
    return table, set(linked.problems["own_id"])
