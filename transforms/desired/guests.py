"""The guests of validated sources as invitations: ids, hosts, one invitation a person and event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from schemas.config import Config
from schemas.frames import REJECT_COLUMNS, Invitations, empty_frame
from schemas.source import CUSTOM_PREFIX
from transforms.arrow import json_text
from transforms.arrow.columns import (
    Mask,
    find_positions,
    is_among,
    look_up,
    no_text,
    take_text,
    to_arrow,
    to_series,
)
from transforms.arrow.rows import are_repeated, pick_rows, repeat_the_row_before, sort_rows
from transforms.naming.ids import escape_parts, numbered_guests
from transforms.naming.naming import Naming, are_taken
from transforms.validate import people
from transforms.validate.rejects import _rejects
from transforms.validate.source import Validated

INVITATION_COLUMNS = list(Invitations.columns)


def list_guest_keys(validated: Validated, *, shared: bool = False) -> pd.Series:
    """The texts for which the state store must know a number: guests without a key of their own.
    Aligned with `guests`.

    A text rests on its own row alone: the address with the name, or the name; so people behind one
    address have one each (S26).
    """
    guests = validated.guests
    keyless = guests["guest_key"].isna()
    if not keyless.any():
        return no_text(guests.index)
    some = guests[keyless]
    name = people.name_people(some["first_name"], some["last_name"])
    text = (some["email"] + "|" + name.fillna("name:")).fillna(name)
    if shared:
        text = text.mask(some["email"].isna(), some["source_event_id"] + "|" + text)
    return text.reindex(guests.index)


def set_aside_taken(
    validated: Validated, naming: Naming
) -> tuple[Validated, pd.DataFrame, pd.DataFrame]:
    """A source without the records whose id was taken over for another record: their rejects, and
    their dispositions' own ids.

    An older integration may have called one record by what is now the id of another: the two must
    never meet in one event.
    """
    prefix = naming.prefix_of(validated.source)
    events = validated.events
    own = naming.name_events(prefix, events["source_event_id"])
    taken = are_taken(own)
    guests = validated.guests
    of_taken = are_taken(naming.name_events(prefix, guests["source_event_id"]))
    ids = _guest_ids(
        guests, validated.source, escape_parts(guests["guest_key"]), naming, shared=False
    )
    lost = are_taken(ids) & ~of_taken
    rejects = [
        _rejects(validated.source, part, pick_rows(frame, rows), column, "taken_id")
        for part, frame, rows, column in (
            ("events", events, taken, "source_event_id"),
            ("guests", guests, lost, "guest_key"),
        )
        if rows.any()
    ]
    if taken.any():  # by the mark: the id itself is another record's, which may be well
        rejects[0] = rejects[0].assign(source_id=own[taken].to_numpy())
    if not rejects:
        return validated, empty_frame(REJECT_COLUMNS), empty_frame(["own_id"])
    rest = replace(
        validated, events=pick_rows(events, ~taken), guests=pick_rows(guests, ~(lost | of_taken))
    )
    return (
        rest,
        pd.concat(rejects, ignore_index=True),
        pd.DataFrame({"own_id": own[taken]}).astype("str"),
    )


def _custom_fields(frame: pd.DataFrame, fields: Mapping[str, int]) -> pd.Series:
    """The mapped custom_<name> columns as one JSON object, keys in numeric order; missing when
    empty.
    """
    members = [
        json_text.text_member(str(number), to_arrow(frame[CUSTOM_PREFIX + name]))
        for name, number in sorted(fields.items(), key=lambda item: item[1])
        if CUSTOM_PREFIX + name in frame.columns
    ]
    return to_series(json_text.build_objects(members, len(frame)), frame.index)


def _guest_ids(
    frame: pd.DataFrame, source: str, keys: pd.Series, naming: Naming, *, shared: bool
) -> pd.Series:
    return naming.name_guests(
        naming.prefix_of(source), frame["source_event_id"], keys, shared=shared
    )


def build_guests(
    validated: Validated,
    numbers: Mapping[str, int],
    config: Config,
    naming: Naming,
    *,
    shared: bool,
    as_of: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """A source's outside guests with their invitation ids; employees are left out unless the source
    invites everybody.

    as_of: the clock, by which a shared contact's newest meeting to come is known. `own_key`: source
    and key of guests without an address.
    """
    guests, settings = validated.guests, config.sources[validated.source]
    texts = list_guest_keys(validated, shared=shared)
    number = numbered_guests(_find_numbers(texts, numbers))
    frame = pd.DataFrame(
        {
            "own_id": naming.name_events(
                naming.prefix_of(validated.source), guests["source_event_id"]
            ),
            "invitation_id": _guest_ids(
                guests,
                validated.source,
                escape_parts(guests["guest_key"]).fillna(number),
                naming,
                shared=shared,
            ),
            "identity": guests["identity"],
            "email": guests["email"],
            "first_name": people.cut_text(guests["first_name"]),
            "last_name": people.cut_text(guests["last_name"]),
            "company_name": people.cut_text(guests["company_name"]),
            "language": guests["language"],
            "custom_fields": _custom_fields(guests, settings.custom_fields),
            "access_profiles": guests["access_profiles"],
            "own_key": (
                validated.source + "|" + guests["guest_key"].where(guests["email"].isna())
            ).astype("str"),
        }
    )
    if settings.guests == "external":
        inside = guests["internal"].to_numpy(dtype=bool) | people.are_of_domains(
            guests["email"], settings.internal_domains, below=settings.internal_subdomains
        )
        frame = pick_rows(frame, ~inside)
    # one contact: the same data in every event
    if shared and are_repeated(frame["invitation_id"]).any():
        first = (
            _put_newest_first(frame, validated, config, naming, as_of)
            .drop_duplicates("invitation_id")
            .set_index("invitation_id")
        )
        for column in ("email", "first_name", "last_name", "company_name", "language", "identity"):
            frame = frame.assign(
                **{column: frame["invitation_id"].map(first[column]).astype("str")}
            )
    return frame


def _put_newest_first(
    frame: pd.DataFrame,
    validated: Validated,
    config: Config,
    naming: Naming,
    as_of: pd.Timestamp | None,
) -> pd.DataFrame:
    """The guests of confirmed meetings to come first, those of the last one before the others; then
    the rest, in the same order.
    """
    events = validated.events
    own = naming.name_events(naming.prefix_of(validated.source), events["source_event_id"])
    place = find_positions(frame["own_id"], own)
    starts = events["starts_at"].take(place).mask(place < 0).set_axis(frame.index)
    to_come = pd.Series(place >= 0, index=frame.index) & (events["status"] == "confirmed").take(
        place
    ).set_axis(frame.index)
    if as_of is not None:
        ends = events["ends_at"].take(place).set_axis(frame.index)
        to_come &= (ends > as_of) & (starts <= as_of + pd.Timedelta(days=config.window.days_ahead))
    ranked = frame.assign(_to_come=to_come, _starts=starts)
    order = {"_to_come": False, "_starts": False, "own_id": True}
    return ranked.sort_values(
        list(order), ascending=list(order.values()), kind="stable", na_position="last"
    ).drop(columns=["_to_come", "_starts"])


def _find_numbers(texts: pd.Series, numbers: Mapping[str, int]) -> pd.Series:
    if not numbers:
        return pd.Series(pd.NA, index=texts.index, dtype="Int64")
    return look_up(texts, numbers, "Int64")


def _held(validated: Validated, naming: Naming, *, shared: bool) -> pd.DataFrame:
    """Rejected guests: own_id of the event and the invitation id, missing when the guest's key
    cannot be read.
    """
    held = validated.held_guests
    ids = _guest_ids(held, validated.source, escape_parts(held["guest_key"]), naming, shared=shared)
    own = naming.name_events(naming.prefix_of(validated.source), held["source_event_id"])
    return pd.DataFrame({"own_id": own, "source": validated.source, "invitation_id": ids}).astype(
        "str"
    )


def _name_hosts(guests: pd.DataFrame, records: pd.DataFrame) -> Mask:
    """True for guests who are the host of their own meeting."""
    hosts = is_among(guests["email"], records["host_email"])
    some = pick_rows(guests[["source_id", "email"]], hosts)
    main = pick_rows(
        records[["source_id", "host_email"]], (records["status"] != "merged").to_numpy(dtype=bool)
    )
    host = take_text(
        main["host_email"], find_positions(some["source_id"], main["source_id"]), some.index
    )
    hosts[hosts] = (some["email"] == host).fillna(False).to_numpy(dtype=bool)
    return hosts


def _merge_guests(guests: pd.DataFrame, asked: Mask, notes: dict[str, int]) -> pd.DataFrame:
    """One invitation a person and event, of the guests `asked`.

    Of duplicates the smallest id stays here; one that essentry knows wins later, in the diff.
    """
    guests = sort_rows(
        guests[[*INVITATION_COLUMNS, "own_key"]], ["source_id", "invitation_id"], among=asked
    )
    twice = are_repeated(guests["source_id"], guests["identity"])
    if twice.any():
        # same address and different names are two people; a nameless row joins the first named one
        shared = guests[twice]
        shared = shared.assign(who=people.name_people(shared["first_name"], shared["last_name"]))
        first_name = shared.groupby(["source_id", "identity"], sort=False)["who"].transform("first")
        shared = shared.assign(who=shared["who"].fillna(first_name).fillna(""))
        shared = shared.assign(
            who=shared["who"].mask(
                _have_namesakes(shared), shared["who"] + "|" + shared["invitation_id"]
            )
        )
        columns = [
            "first_name",
            "last_name",
            "company_name",
            "language",
            "custom_fields",
            "access_profiles",
            "email",
        ]
        keys = ["source_id", "identity", "who"]
        filled = shared.groupby(keys, sort=False)[columns].transform("first")
        merged = shared.assign(**{c: filled[c].astype("str") for c in columns}).drop_duplicates(
            keys
        )
        notes["guests_merged"] = len(shared) - len(merged)
        # of two people behind one address the identity for counting stays the address
        guests = pd.concat(
            [pick_rows(guests, ~twice), merged.drop(columns="who")], ignore_index=True
        )[INVITATION_COLUMNS]
        guests = sort_rows(guests, ["source_id", "invitation_id"])
    again = repeat_the_row_before(guests["source_id"], guests["invitation_id"])
    notes["guests_merged"] = notes.get("guests_merged", 0) + int(again.sum())
    return pick_rows(guests[INVITATION_COLUMNS], ~again)


def _have_namesakes(guests: pd.DataFrame) -> pd.Series:
    """True for guests without an address whose name a meeting has more than once under keys of one
    source: so many people, not one.
    """
    source = guests["own_key"].str.partition("|")[0].mask(guests["own_key"].isna())
    groups = [guests["source_id"], guests["identity"]]
    count = (
        guests.assign(source=source)
        .groupby([*groups, "source"], sort=False)["own_key"]
        .transform("nunique")
    )
    most = count.groupby(groups, sort=False).transform("max")
    return (most > 1) & guests["email"].isna()
