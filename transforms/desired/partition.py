"""Divide a night's rows into partitions that can be worked on apart, and unite what came of them.
Pure.

An event and its guests stand in one partition, chosen by a fixed hash of source and key: the same
event always in the same one, so that nothing moves from one to another. Records of linked meetings
may stand in two sources: all of them go into one more partition together. Each part is compared
with the whole snapshot, and what no part has is settled after the last one, so the plan, and its
digest, are those of an undivided night.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.columns import (
    TEXT,
    Mask,
    Positions,
    is_among,
    map_distinct,
    no_text,
    to_arrow,
    to_series,
)
from transforms.arrow.rows import leave_no_rows, pick_rows
from transforms.desired.build import Desired
from transforms.naming.naming import Naming
from transforms.validate import people
from transforms.validate.source import SAMPLE_KEYS, Validated

Frames = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
"""source → its raw events and guests, as extraction gives them."""


def split_frames(
    frames: Frames, count: int, *, linked: pd.Series
) -> list[dict[str, tuple[pd.DataFrame, pd.DataFrame]]]:
    """The rows of every source in `count` partitions, and the linked records in one more; each
    partition has every source.

    linked: what `find_pointing` and `find_united` found.
    """
    parts: list[dict[str, tuple[pd.DataFrame, pd.DataFrame]]] = [{} for _ in range(count + 1)]
    for source, (events, guests) in frames.items():
        for frame in (events, guests):
            where = choose_partitions(source, frame["source_event_id"], count)
            where[are_linked(source, frame["source_event_id"], linked)] = count
            for number, part in enumerate(parts):
                part[source] = (*part.get(source, ()), pick_rows(frame, where == number))
    return parts


def _name_records(sources: pd.Series | str, keys: pd.Series) -> pd.Series:
    """A text for each record: its source and its key as validation reads it, without regard to
    capitals, for validation looks at these together.
    """
    key = to_arrow(people.fold_keys(people.clean_key(keys)))
    source = pa.scalar(sources, TEXT) if isinstance(sources, str) else to_arrow(sources)
    return to_series(pc.binary_join_element_wise(source, key, pa.scalar("\n", TEXT)), keys.index)


def choose_partitions(source: str, keys: pd.Series, count: int) -> Positions:
    """The partition of each row, 0 to count - 1, by its source_event_id; rows without a key go into
    the first.
    """
    coded = to_arrow(_name_records(source, keys)).dictionary_encode()
    hashes = (
        pd.util.hash_array(
            np.asarray(coded.dictionary.to_numpy(zero_copy_only=False), dtype=object),
            categorize=False,
        )
        % count
    )
    return np.append(hashes.astype(np.int64), 0)[
        np.asarray(pc.fill_null(coded.indices, len(hashes)), dtype=np.int64)
    ]


def are_linked(source: str, keys: pd.Series, linked: pd.Series) -> Mask:
    """True for rows of the linked records."""
    return (
        is_among(_name_records(source, keys), linked)
        if len(linked)
        else np.zeros(len(keys), dtype=bool)
    )


def find_pointing(source: str, events: pd.DataFrame, naming: Naming) -> pd.Series:
    """Every record of a source's raw events that points at another, and those that are pointed
    at.
    """
    if not {"linked_source", "linked_event_id"} <= set(events.columns):
        return no_text(pd.RangeIndex(0))
    owners = {prefix: name for name, prefix in naming.prefixes.items()}
    to_source, to_key = (
        people.clean_text(events["linked_source"]),
        people.clean_key(events["linked_event_id"]),
    )
    to_source = map_distinct(to_source, by=lambda name: owners.get(naming.prefix_of(name), name))
    pointing = (to_source.notna() & to_key.notna()).to_numpy(dtype=bool)
    found = [
        _name_records(source, events["source_event_id"][pointing]),
        _name_records(to_source[pointing], to_key[pointing]),
    ]
    return pd.concat(found, ignore_index=True).astype("str").drop_duplicates(ignore_index=True)


def find_united(confirmed: pd.DataFrame, naming: Naming) -> pd.Series:
    """Every record that was one meeting with another. confirmed: source_id, members_json of what
    essentry holds.
    """
    joint = confirmed[confirmed["members_json"].notna()]
    ids = {
        *joint["source_id"],
        *(member for text in joint["members_json"] for member in orjson.loads(text)),
    }
    records = []
    for source_id in sorted(ids):  # united meetings are few
        try:
            record = naming.read_event(source_id)
        except ValueError:
            continue
        records.append((record.source, str(record.event)))
    if not records:
        return no_text(pd.RangeIndex(0))
    table = pd.DataFrame(records, columns=["source", "key"]).astype("str")
    return _name_records(table["source"], table["key"])


def unite_validated(parts: Sequence[Sequence[Validated]]) -> list[Validated]:
    """What validation found, by source: counts, rejects and notes of all partitions; the rows
    themselves stay where they are.
    """
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
        keys = list(
            dict.fromkeys(
                key
                for turn in zip_longest(*(v.sample_keys for v in same))
                for key in turn
                if key is not None
            )
        )
        found = {
            "rejects": pd.concat(rejects, ignore_index=True),
            "notes": dict(notes),
            "sample_keys": keys[:SAMPLE_KEYS],
        }
        coming = {name: sum(v.coming[name] for v in same) for name in same[0].coming}
        united.append(replace(leave_out_rows(same[0]), **numbers, coming=coming, **found))
    return united


def leave_out_rows(validated: Validated) -> Validated:
    """What validation found, without the rows themselves."""
    return replace(
        validated,
        **{
            name: leave_no_rows(getattr(validated, name))
            for name in ("events", "guests", "held_guests", "unread_events")
        },
    )


def unite_desired(parts: Sequence[Desired]) -> Desired:
    """What essentry should hold, of all partitions; the rows of each frame in the order of the
    partitions.
    """

    def together(name: str) -> pd.DataFrame:
        frames = [getattr(desired, name) for desired in parts]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    return Desired(
        events=together("events"),
        invitations=together("invitations"),
        dispositions=together("dispositions"),
        held_guests=together("held_guests"),
        rejects=together("rejects"),
        waiting=together("waiting"),
        held_targets=set().union(*(desired.held_targets for desired in parts)),
        outside_guests={
            name: sum(desired.outside_guests[name] for desired in parts)
            for name in parts[0].outside_guests
        },
        notes=dict(sum((Counter(desired.notes) for desired in parts), Counter())),
        coming_outside={
            name: sum(desired.coming_outside.get(name, 0) for desired in parts)
            for name in parts[0].outside_guests
        },
    )
