"""Compare the sources with what essentry holds: every stage of a night between the rows that were
read and the decisions about every event.

Each stage does its work part by part and lets go of the one before: divide → validate → number
guests → build → judge the sources → diff.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from flows.night.health import judge_sources
from flows.night.known import _pick_numbers, check_sources, load_known, number_guests, read_seal
from flows.night.pages import Pages, shelve_pages
from flows.night.rekeyed import (
    ask_returned,
    find_elsewhere,
    find_given_back,
    keep_confirmed_ids,
    remember_given_back,
    without,
)
from flows.night.run import Night
from flows.parts.deal import Dealt, gather_parts
from flows.parts.shelf import Place, release_memory
from flows.parts.work import BuiltPart, Part, RawPart, build_part, map_here, validate_part
from transforms.arrow.columns import find_positions, is_among
from transforms.arrow.rows import leave_no_rows, pick_rows
from transforms.desired.build import Desired
from transforms.desired.partition import (
    Frames,
    find_pointing,
    find_united,
    split_frames,
    unite_desired,
    unite_validated,
)
from transforms.desired.payload import Payloads
from transforms.diff.balance import count_rows
from transforms.diff.changes import Diff, Known, SourceHealth, unite_diffs
from transforms.diff.comparison import Comparison
from transforms.diff.moves import find_moves, renew_changes, rewrite_pages
from transforms.diff.pilot import limit_to_pilot
from transforms.diff.rekeyed import join_places
from transforms.diff.unions import keep_dispositions, list_followed
from transforms.guards.churn import list_candidates
from transforms.guards.findings import Finding
from transforms.guards.strangers import count_hosts, unite_hosts
from transforms.naming.naming import Naming, keep_spellings, name_by
from transforms.validate.source import Validated


@dataclass(frozen=True)
class Compared:
    """The sources against what essentry holds: what the guards judge.

    `desired`: without the rows of events and invitations; of its dispositions those that are asked
    for later. `diff`: its changes without their texts, which are in `pages`: runs that are sorted
    as `diff.changes` is, each row of which comes from the run that `order` says. `findings`: on the
    health of the sources. `rows`: where the rows went, by disposition or action. `candidates`: see
    `find_churn`; `hosts`: see `find_strangers`.
    """

    sources: list[Validated]
    naming: Naming
    known: Known
    desired: Desired
    diff: Diff
    pages: list[Pages]
    order: np.ndarray
    candidates: pd.DataFrame
    hosts: pd.DataFrame
    rows: Mapping[str, int]
    health: dict[str, SourceHealth]
    findings: list[Finding]
    reads: dict[str, dict[str, int]]


def compare_sources(
    night: Night, extracted: MutableMapping[str, Any], failed: Mapping[str, str]
) -> Compared:
    """Validate, build and compare, up to the decisions about every event. The state changes by the
    numbers of new guests and the keys under which meetings came back alone.

    extracted: `Extracted` or, of a night whose parts lie in files, `Dealt` of every source; it is
    emptied: a large night needs the room.
    """
    config, state, map_parts = night.config, night.state, night.map_parts or map_here(night.config)
    known = load_known(state)
    naming = keep_spellings(
        name_by(config, state.adopted(), secret=read_seal(config, state)), known.snapshot
    )
    check_sources(config, known.snapshot, naming)
    confirmed = known.snapshot.loc[
        known.snapshot["state"] == "active", ["source_id", "members_json"]
    ]
    raw = _divide(night, extracted, confirmed, naming)
    last = state.last_good_reads()
    since = {name: pd.Timestamp(read["as_of"]) for name, read in last.items()}
    rekeyed = state.rekeyed()
    asked = ask_returned(naming, rekeyed)
    validated = map_parts(
        "validate",
        validate_part,
        [RawPart(frames, config, night.shelf, night.run.clock, since, asked) for frames in raw],
    )
    del raw
    returned = find_given_back(night, naming, rekeyed, validated)
    naming = without(naming, returned)
    numbers = number_guests(state, [part.keyless for part in validated])
    sources = unite_validated([part.found for part in validated])
    # united meetings are built in the last partition, which alone needs to know them
    knows = [leave_no_rows(confirmed)] * (len(validated) - 1) + [confirmed]
    work = [
        Part(
            part.rows,
            _pick_numbers(numbers, part.keyless),
            config,
            known_there,
            night.run.clock,
            naming,
            night.shelf,
        )
        for part, known_there in zip(validated, knows, strict=True)
    ]
    del validated
    release_memory()
    built = map_parts("build", build_part, work)
    del work
    release_memory()
    desired = unite_desired([part.found for part in built])
    upcoming = known.snapshot[
        (known.snapshot["state"] == "active") & (known.snapshot["ends_at"] > night.run.clock)
    ]
    health, findings, reads = judge_sources(sources, desired, failed, last, config, upcoming)
    remember_given_back(night, returned, health, naming)
    built, desired, naming = keep_confirmed_ids(night, known, built, desired, health, naming)
    elsewhere = find_elsewhere(night, known, built, desired, health, naming)
    rest = {"sources": sources, "findings": findings, "reads": reads}
    return _diff_parts(
        night, known, built, elsewhere, desired=desired, naming=naming, health=health, **rest
    )


def _divide(
    night: Night, extracted: MutableMapping[str, Any], confirmed: pd.DataFrame, naming: Naming
) -> list[Place[Frames]]:
    """The rows of every source by partition; an undivided night is one."""
    read = dict(extracted)
    extracted.clear()
    dealt = [source for source in read.values() if isinstance(source, Dealt)]
    if dealt:
        return gather_parts(dealt, united=find_united(confirmed, naming), shelf=night.shelf)
    frames = {name: (source.events, source.guests) for name, source in read.items()}
    if night.config.scale.partitions == 1:
        return [night.shelf.put(frames)]
    linked = [
        find_united(confirmed, naming),
        *(find_pointing(name, events, naming) for name, (events, _) in frames.items()),
    ]
    parts = split_frames(
        frames,
        night.config.scale.partitions,
        linked=pd.concat(linked, ignore_index=True).astype("str"),
    )
    return [night.shelf.put(part) for part in parts]


def _diff_parts(
    night: Night,
    known: Known,
    built: list[BuiltPart],
    elsewhere: set[str],
    *,
    desired: Desired,
    naming: Naming,
    health: dict[str, SourceHealth],
    **found: Any,
) -> Compared:
    """Decide about the events of each part, then about those that no part has."""
    config, snapshot = night.config, known.snapshot
    held_guests, clock = desired.held_guests, night.run.clock
    work = Comparison(
        known,
        health,
        config,
        held_guests=held_guests,
        as_of=clock,
        full=night.full,
        naming=naming,
        elsewhere=elsewhere,
    )
    sizes = np.cumsum([len(part.ids) for part in built])[:-1]
    places = np.split(
        find_positions(
            pd.concat([part.ids for part in built], ignore_index=True), snapshot["source_id"]
        ),
        sizes,
    )
    held = np.sort(join_places(pick_rows(snapshot[["starts_at", "location_id"]], work.active)))
    diffs: list[Diff] = []
    pages: list[Pages] = []
    near: list[pd.DataFrame] = []
    hosts: list[pd.DataFrame] = []
    kept: list[pd.DataFrame] = []
    rows: Counter[str] = Counter()
    followed: dict[str, str] = {}

    def settle(diff: Diff, payloads: Payloads | None) -> Diff:
        diff = limit_to_pilot(diff, config, naming, None if payloads is None else payloads.events)
        pages.append(
            shelve_pages(
                night.shelf, diff.changes, payloads, send_updated_at=config.essentry.send_updated_at
            )
        )
        diffs.append(diff.slim())
        return diff

    for part, place in zip(built, places, strict=True):
        content = part.rows.take()
        payloads = Payloads(content.events, content.invitations)
        if night.watch is not None:
            night.watch.see_built(content, naming)

        def payload_of(places: np.ndarray, payloads: Payloads = payloads) -> list[str]:
            return payloads.build(places).to_pylist()

        diff = settle(
            work.compare(
                content.events,
                content.invitations,
                payload_of,
                place=place,
                dispositions=content.dispositions,
            ),
            payloads,
        )
        rows.update(count_rows(content.dispositions, diff.decisions))
        near.append(list_candidates(diff, content.events, content.invitations, held))
        hosts.append(count_hosts(diff, content.events))
        kept.append(keep_dispositions(content.dispositions, snapshot))
        followed |= list_followed(kept[-1], diff.decisions)
        release_memory()
    desired = replace(desired, dispositions=pd.concat(kept, ignore_index=True))
    settle(
        work.settle_missing(
            desired.dispositions, held_targets=desired.held_targets, followed=followed
        ),
        None,
    )
    release_memory()
    diff, order = unite_diffs(diffs)
    whole, (diff, moves) = diff.changes["source_id"], find_moves(diff)
    if moves.kept or moves.dropped:
        order = order[~is_among(whole, list(moves.dropped))]
        pages = [rewrite_pages(run, moves) for run in pages]
    if moves.kept:
        diff = replace(diff, changes=renew_changes(diff.changes, pages, moves.kept))
    release_memory()
    candidates = pd.concat([frame for frame in near if len(frame)] or near[:1], ignore_index=True)
    return Compared(
        naming=naming,
        known=known,
        desired=desired,
        diff=diff,
        pages=pages,
        order=order,
        candidates=candidates,
        hosts=unite_hosts(hosts),
        rows=rows,
        health=health,
        **found,
    )
