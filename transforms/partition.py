"""Divide a night's rows into partitions that can be worked on apart, and unite what came of them. Pure.

An event and its guests stand in one partition, chosen by a fixed hash of source and key: the same event always in the same one, so that
nothing moves from one to another. Records of linked meetings may stand in two sources: all of them go into one more partition together. What comes
out is united before it is compared with the snapshot, so the plan, and its digest, are those of an undivided night.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms import people
from transforms.build import Desired
from transforms.columns import TEXT, Positions, is_among, map_distinct, no_text, pick_rows, sort_rows, to_arrow, to_series
from transforms.naming import Naming
from transforms.validate import Validated

Frames = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
"""source → its raw events and guests, as extraction gives them."""


def split_frames(
    frames: Frames, count: int, *, confirmed: pd.DataFrame, naming: Naming
) -> list[dict[str, tuple[pd.DataFrame, pd.DataFrame]]]:
    """The rows of every source in `count` partitions, and the linked records in one more; each partition has every source.

    confirmed: source_id, members_json of what essentry holds.
    """
    linked = _find_linked(frames, confirmed, naming)
    parts: list[dict[str, tuple[pd.DataFrame, pd.DataFrame]]] = [{} for _ in range(count + 1)]
    for source, (events, guests) in frames.items():
        where = [_choose(_name_records(source, frame["source_event_id"]), count, linked) for frame in (events, guests)]
        for number, part in enumerate(parts):
            part[source] = (pick_rows(events, where[0] == number), pick_rows(guests, where[1] == number))
    return parts


def _name_records(sources: pd.Series | str, keys: pd.Series) -> pd.Series:
    """A text for each record: its source and its key as validation reads it."""
    key = pc.utf8_trim_whitespace(to_arrow(keys))
    source = pa.scalar(sources, TEXT) if isinstance(sources, str) else to_arrow(sources)
    return to_series(pc.binary_join_element_wise(source, key, pa.scalar("\n", TEXT)), keys.index)


def _choose(records: pd.Series, count: int, linked: pd.Series) -> Positions:
    """The partition of each record; rows without a key go into the first."""
    coded = to_arrow(records).dictionary_encode()
    hashes = pd.util.hash_array(np.asarray(coded.dictionary.to_numpy(zero_copy_only=False), dtype=object), categorize=False) % count
    chosen = np.append(hashes.astype(np.int64), 0)[np.asarray(pc.fill_null(coded.indices, len(hashes)), dtype=np.int64)]
    chosen[is_among(records, linked)] = count
    return chosen


def _find_linked(frames: Frames, confirmed: pd.DataFrame, naming: Naming) -> pd.Series:
    """Every record that points at another, is pointed at, or was one meeting with another."""
    owners = {prefix: source for source, prefix in naming.prefixes.items()}
    found = []
    for source, (events, _) in frames.items():
        if {"linked_source", "linked_event_id"} <= set(events.columns):
            to_source, to_key = people.clean_text(events["linked_source"]), people.clean_text(events["linked_event_id"])
            to_source = map_distinct(to_source, by=lambda name: owners.get(naming.prefix_of(name), name))
            pointing = (to_source.notna() & to_key.notna()).to_numpy(dtype=bool)
            found += [_name_records(source, events["source_event_id"][pointing]), _name_records(to_source[pointing], to_key[pointing])]
    joint = confirmed[confirmed["members_json"].notna()]
    ids = {*joint["source_id"], *(member for text in joint["members_json"] for member in orjson.loads(text))}
    records = []
    for source_id in sorted(ids):  # united meetings are few
        try:
            record = naming.read_event(source_id)
        except ValueError:
            continue
        records.append((record.source, str(record.event)))
    if records:
        table = pd.DataFrame(records, columns=["source", "key"]).astype("str")
        found.append(_name_records(table["source"], table["key"]))
    return pd.concat(found, ignore_index=True).astype("str") if found else no_text(pd.RangeIndex(0))


def unite_validated(parts: Sequence[Sequence[Validated]]) -> list[Validated]:
    """What validation found, by source: counts, rejects and notes of all partitions; the rows themselves stay where they are."""
    united = []
    for same in zip(*parts, strict=True):
        notes = sum((Counter(v.notes) for v in same), Counter())
        rejects = [v.rejects for v in same if len(v.rejects)] or [same[0].rejects]
        numbers = {
            name: sum(getattr(v, name) for v in same)
            for name in (
                "event_rows",
                "guest_rows",
                "rejected_events",
                "rejected_guests",
                "unreadable_event_keys",
                "unreadable_guest_events",
            )
        }
        rows = {name: getattr(same[0], name).iloc[:0] for name in ("events", "guests", "held_guests")}
        united.append(replace(same[0], **rows, **numbers, rejects=pd.concat(rejects, ignore_index=True), notes=dict(notes)))
    return united


def unite_desired(parts: Sequence[tuple[Desired, pd.DataFrame]]) -> tuple[Desired, pd.DataFrame]:
    """What essentry should hold, of all partitions, and its events with their fingerprints. Sorted as an undivided night's."""
    every = [desired for desired, _ in parts]

    def together(name: str) -> pd.DataFrame:
        frames = [getattr(desired, name) for desired in every]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    events = sort_rows(pd.concat([frame for _, frame in parts if len(frame)] or [parts[0][1]], ignore_index=True), ["source_id"])
    desired = Desired(
        events=events.drop(columns=["fingerprint", "guests"]),
        invitations=sort_rows(together("invitations"), ["source_id", "invitation_id"]),
        dispositions=together("dispositions"),
        held_guests=together("held_guests"),
        rejects=together("rejects"),
        held_targets=set().union(*(desired.held_targets for desired in every)),
        outside_guests={name: sum(desired.outside_guests[name] for desired in every) for name in every[0].outside_guests},
        notes=dict(sum((Counter(desired.notes) for desired in every), Counter())),
    )
    return desired, events
