"""Compare what essentry should hold with what it confirmed, and decide what to do about each event.
Pure: no I/O, no clock.

Two looks: fingerprints of all events, then contents of those that differ. The order of the rules is
the order of caution: an event is deleted for one of four reasons only (absent, cancelled,
guestless, merged), and everything without proof is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import orjson
import pandas as pd

from schemas.config import Config
from schemas.frames import DECISION_COLUMNS, MAIL_COLUMNS, empty_frame
from transforms.arrow.columns import (
    Mask,
    Positions,
    find_positions,
    is_among,
    no_text,
    same_text,
    take_text,
    to_list,
)
from transforms.arrow.instants import format_instants
from transforms.arrow.rows import pick_rows
from transforms.desired.build import Desired
from transforms.desired.payload import FINGERPRINT_VERSION, list_guests, name_person
from transforms.diff.changes import (
    CHANGE_COLUMNS,
    Diff,
    Known,
    SourceHealth,
    order_changes,
    type_changes,
    unite_diffs,
)
from transforms.diff.contents import Contents, Doubts, Touched
from transforms.diff.fates import ELSEWHERE, Event, Fate, decide_fate, find_doubt
from transforms.diff.rejected import Rejected
from transforms.diff.unions import (
    Records,
    is_missing,
    list_followed,
    list_members,
    list_sources,
    read_members,
)
from transforms.naming.naming import Naming, name_by

_COPIED = ["source_id", "source", "location_id", "starts_at", "ends_at", "name", "members"]
"""What a change takes from its event as it stands."""
_BASE = ["state", "dirty", "fingerprint", "fingerprint_version", "confirmed_run"]
"""What is asked of an event's row in the snapshot."""


def diff_events(
    desired: Desired,
    known: Known,
    health: Mapping[str, SourceHealth],
    config: Config,
    *,
    events: pd.DataFrame,
    payload_of: Callable[[np.ndarray], list[str]],
    as_of: pd.Timestamp,
    full: bool = False,
) -> Diff:
    """Decide what to do, of a night that is not divided; a divided one uses `Comparison`.

    events: `desired.events` with fingerprints. payload_of: canonical JSON of rows of `events` by
    position. full: send every current event again whatever the snapshot says.
    """
    work = Comparison(
        known, health, config, held_guests=desired.held_guests, as_of=as_of, full=full
    )
    compared = work.compare(
        events, desired.invitations, payload_of, dispositions=desired.dispositions
    )
    followed = list_followed(desired.dispositions, compared.decisions)
    settled = work.settle_missing(
        desired.dispositions, held_targets=desired.held_targets, followed=followed
    )
    return unite_diffs([compared, settled])[0]


class Comparison:
    """The decisions of a night: part by part about the events that are due, then about those that
    no part has. Each gives a Diff of its own.
    """

    def __init__(
        self,
        known: Known,
        health: Mapping[str, SourceHealth],
        config: Config,
        *,
        held_guests: pd.DataFrame,
        as_of: pd.Timestamp,
        full: bool = False,
        naming: Naming | None = None,
        elsewhere: Collection[str] = (),
    ) -> None:
        self.naming = naming or name_by(config)
        self.elsewhere = elsewhere
        self.known, self.health, self.config, self.as_of, self.full = (
            known,
            health,
            config,
            as_of,
            full,
        )
        self.rejected = Rejected(known.rejections, as_of, full=full)
        self.contents = Contents(known, config, self.naming, self.rejected, as_of=as_of, full=full)
        self.held_guests: dict[str, set[str]] = {}
        self.frozen: set[str] = set(
            held_guests.loc[held_guests["invitation_id"].isna(), "source_id"]
        )
        self.held_records = set(held_guests["own_id" if "own_id" in held_guests else "source_id"])
        self.doubts: dict[str, str] = {}
        self.incomplete: set[str] = set()
        for event, guest in held_guests.dropna(subset="invitation_id")[
            ["source_id", "invitation_id"]
        ].itertuples(index=False):
            self.held_guests.setdefault(event, set()).add(guest)
        self.frozen_sources = {
            n
            for n, h in health.items()
            if not h.guests or not h.read or h.unreadable_guest_events or h.guests_limited
        }
        snapshot = known.snapshot
        self.active = (snapshot["state"] == "active").to_numpy(dtype=bool, na_value=False)
        self.deleted = (snapshot["state"] == "deleted").to_numpy(dtype=bool, na_value=False)
        # S8: what may be deleted comes back as what is
        self.deleted = self.deleted | is_among(snapshot["source_id"], list(known.perhaps_deleted))
        current = (snapshot["fingerprint_version"] == FINGERPRINT_VERSION).to_numpy(
            dtype=bool, na_value=False
        )
        self.current = self.active & current & ~snapshot["dirty"].to_numpy(dtype=bool)
        ours = is_among(snapshot["source_id"], list(known.ours))
        self.back_held = self.deleted & np.where(
            ours, config.essentry.on_reappear_ours == "hold", config.essentry.on_reappear == "hold"
        )
        self.back_ours = self.back_held & ours
        self.seen = np.zeros(len(snapshot), dtype=bool)
        self._start_part()

    def _start_part(self) -> None:
        self.rows: list[dict] = []
        self.single: list[tuple[str, str, str, str | None]] = []
        self.frames: list[pd.DataFrame] = []
        self.decided: list[pd.DataFrame] = []
        self.mails: list[tuple[str, str, str, str]] = []
        self.mail_frames: list[pd.DataFrame] = []
        self.absent_now: list[str] = []
        self.rebound = 0
        self.refreshed: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self.rejoined: dict[str, str | None] = {}
        self.conditions: list[tuple[str, str, str]] = []
        self.awaited: list[tuple[str, str, str, str]] = []
        self.removing: set[str] = set()
        self.uncleared: list[tuple[str, str | None, str]] = []

    # -- events that the sources have --------------------------------------------------------------

    def compare(
        self,
        events: pd.DataFrame,
        invitations: pd.DataFrame,
        payload_of: Callable[[np.ndarray], list[str]],
        *,
        place: Positions | None = None,
        dispositions: pd.DataFrame | None = None,
    ) -> Diff:
        """Creates, updates and unchanged among the events of a part that are due.

        events: with fingerprints. payload_of: canonical JSON of rows of `events` by position.
        place: where the events stand in the snapshot, when it is known already. dispositions: of
        the part; without them no record of a union is missed.
        """
        snapshot = self.known.snapshot
        if place is None:
            place = find_positions(events["source_id"], snapshot["source_id"])
        new, found = place < 0, place >= 0
        if dispositions is not None:
            events = self._protect_unions(events, place, dispositions)
        self.seen[place[found]] = True
        equal = take_text(snapshot["fingerprint"], place, events.index) == events["fingerprint"]
        same = (
            equal.to_numpy(dtype=bool, na_value=False)
            & _pick_flags(self.current, place)
            & (not self.full)
        )
        hold, ours = _pick_flags(self.back_held, place), _pick_flags(self.back_ours, place)
        create = new & self._not_waiting(events)
        update = found & ~same & ~hold
        named = events[["source_id", "source"]]
        self._decide(pick_rows(named, same), "unchanged", None)
        self._decide(pick_rows(named, hold & ~ours), "held", "reappeared")
        self._decide(pick_rows(named, ours), "held", "reappeared after our delete")
        self._await(pick_rows(events, hold), invitations)
        self._create(pick_rows(events, create), invitations)
        self._decide(pick_rows(named, new & ~create), "held", "rejected before")
        self._await(pick_rows(events, new & ~create), invitations)
        rows = np.flatnonzero(update)
        if len(rows):
            self._compare_contents(
                pick_rows(events, rows), pick_rows(snapshot[_BASE], place[rows]), payload_of(rows)
            )
        return self._finish_part()

    def _protect_unions(
        self, events: pd.DataFrame, place: Positions, dispositions: pd.DataFrame
    ) -> pd.DataFrame:
        """S21: where a record of a meeting may not be believed, no guest is removed from it; the
        events with that record among their members.
        """
        before = take_text(self.known.snapshot["members_json"], place, events.index)
        rows = np.flatnonzero((before.notna() | events["members"].notna()).to_numpy(dtype=bool))
        if not len(rows):
            return events
        some = events.iloc[rows].assign(before=before.iloc[rows])
        facts = list(
            zip(
                *(to_list(some[name]) for name in ("source_id", "source", "members", "before")),
                strict=True,
            )
        )
        ids = {
            record
            for key, _, now, old in facts
            for record in (key, *read_members(now), *read_members(old))
        }
        records = self._read_records(dispositions, ids=ids)
        members: list[str | None] = []
        current = _pick_flags(self.current, place)[rows]
        # united meetings are few
        for (source_id, source, now, old), active in zip(facts, current, strict=True):
            together = sorted({*read_members(now), *read_members(old)} - {source_id})
            said = records.speak(source_id, source, orjson.dumps(together).decode())
            spoken = [record for words in said.values() for record in words]
            absent = any(record.state == "absent" for record in spoken)
            doubt = find_doubt(spoken) or (
                ELSEWHERE if absent and source_id in self.elsewhere else None
            )
            missing = [own for own, words in said.items() if is_missing(words)]
            if isinstance(old, str):
                self.conditions += [
                    (source_id, "absent", own)
                    for own, words in said.items()
                    if any(r.state == "absent" for r in words)
                ]
            if doubt is not None and isinstance(old, str):
                self.frozen.add(source_id)
                self.doubts[source_id] = doubt
            if missing and isinstance(old, str):
                self.incomplete.add(source_id)
            joined = {*missing} - {source_id, *read_members(now)}
            members.append(
                orjson.dumps(sorted(joined | {*read_members(now)})).decode() if joined else now
            )
            text = members[-1] if isinstance(members[-1], str) else None
            if active and text != (old if isinstance(old, str) else None):
                self.rejoined[source_id] = text
        column = events["members"].astype("object")
        column.iloc[rows] = members
        return events.assign(members=column.astype("str"))

    def _read_records(
        self,
        dispositions: pd.DataFrame,
        *,
        ids: Collection[str],
        held_targets: Collection[str] = (),
        followed: Mapping[str, str] | None = None,
    ) -> Records:
        return Records(
            dispositions, self.health, self.naming,
            held=self.held_records, frozen=self.frozen, held_targets=held_targets,
            followed=followed or {}, ids=ids,
        )  # fmt: skip

    def _await(self, events: pd.DataFrame, guests: pd.DataFrame) -> None:
        """Note the guests of events that are due and wait: whoever comes from another meeting is
        not cancelled there before.
        """
        if len(events):
            mine = pick_rows(
                guests[["source_id", "identity"]],
                is_among(guests["source_id"], events["source_id"]),
            )
            owners = dict(zip(events["source_id"], events["source"], strict=True))
            self.awaited += [
                (key, owners[key], who, "invited") for key, who in mine.itertuples(index=False)
            ]

    def _not_waiting(self, events: pd.DataFrame) -> np.ndarray:
        """False for events whose rejection is recent and whose content has not changed since."""
        goes = np.ones(len(events), dtype=bool)
        rejected = np.flatnonzero(is_among(events["source_id"], list(self.rejected)))  # few
        some = events.iloc[rejected]
        goes[rejected] = [
            not self.rejected.waits(i, p)
            for i, p in zip(some["source_id"], some["fingerprint"], strict=True)
        ]
        return goes

    def _create(self, events: pd.DataFrame, guests: pd.DataFrame) -> None:
        if events.empty:
            return
        self.frames.append(
            events[[*_COPIED, "fingerprint", "guests"]]
            .rename(columns={"members": "members_json"})
            .assign(
                action=same_text("create", events.index),
                fingerprint_version=FINGERPRINT_VERSION,
                ignore_missing=self.contents.additive,
            )
        )
        self._decide(events, "create", None)
        place = find_positions(guests["source_id"], events["source_id"])
        mine = pick_rows(guests[["source_id", "identity"]], place >= 0)
        event = place[place >= 0]
        self.mail_frames.append(
            pd.DataFrame(
                {
                    "source_id": mine["source_id"],
                    "source": take_text(events["source"], event, mine.index),
                    "identity": mine["identity"],
                    "kind": same_text("invited", mine.index),
                }
            )
        )

    def _compare_contents(
        self, events: pd.DataFrame, base: pd.DataFrame, payloads: list[str]
    ) -> None:
        """Updates among events whose fingerprint differs, row by row with `base`, their rows of the
        snapshot.

        Only what decides becomes a Python object a row; all else goes from column to column.
        """
        ids = to_list(events["source_id"])
        before = self.known.payloads(ids)
        stamps = (
            to_list(format_instants(events["updated_at"]))
            if self.config.essentry.send_updated_at
            else [None] * len(ids)
        )
        facts = [base[name].tolist() for name in ("dirty", "fingerprint_version")]
        touched = zip(
            ids,
            to_list(events["source"]),
            stamps,
            to_list(base["state"]),
            to_list(base["fingerprint"]),
            *facts,
            strict=True,
        )
        changes = [
            self._update(Touched(*event), before.get(event[0]), payload)
            for event, payload in zip(touched, payloads, strict=True)
        ]
        rows = np.flatnonzero([change is not None for change in changes])
        if len(rows) == 0:
            return
        events, base = (
            pick_rows(events[_COPIED], rows),
            pick_rows(base[["fingerprint", "confirmed_run"]], rows),
        )
        told = pd.DataFrame([change for change in changes if change is not None])
        self.frames.append(
            events.rename(columns={"members": "members_json"}).assign(
                **{name: told[name] for name in told.columns},
                base_fingerprint=base["fingerprint"],
                base_run=base["confirmed_run"],
                fingerprint_version=FINGERPRINT_VERSION,
                ignore_missing=self.contents.additive,
            )
        )

    def _update(self, event: Touched, before: str | None, after: str) -> dict[str, Any] | None:
        """What is sent of one event, as `Outcome.change`; the rest of its outcome is noted."""
        source_id, source = event.source_id, event.source
        doubts = Doubts(
            guests=source_id in self.frozen or source in self.frozen_sources,
            why=self.doubts.get(source_id),
            content=source_id in self.incomplete,
            unread=frozenset(self.held_guests.get(source_id, ())),
        )
        outcome = self.contents.decide(event, before, after, doubts)
        self._decide_one(source_id, source, outcome.action, outcome.reason)
        self.mails += [(source_id, source, who, kind) for who, kind in outcome.mails]
        self.awaited += [(source_id, source, who, "invited") for who in outcome.awaited]
        self.uncleared += outcome.uncleared
        self.rebound += outcome.rebound
        if outcome.kept is not None:
            self.kept[source_id] = outcome.kept
        if outcome.refreshed is not None:
            self.refreshed[source_id] = outcome.refreshed
        if outcome.removing:
            self.removing.add(source_id)
        return outcome.change

    # -- events that essentry has and the sources do not want --------------------------------------

    def settle_missing(
        self,
        dispositions: pd.DataFrame,
        *,
        held_targets: Collection[str],
        followed: Mapping[str, str] | None = None,
    ) -> Diff:
        """Delete, expire, hold or let sleep what is active in the snapshot and no part has due.

        dispositions: as `Desired` has them, at least those of the records of events that the
        snapshot knows. held_targets: ids that an unresolved link protects. followed:
        `list_followed` of all parts.
        """
        left = pick_rows(self.known.snapshot, self.active & ~self.seen)
        ids = {*left["source_id"], *list_members(left)}
        records = self._read_records(
            dispositions, ids=ids, held_targets=held_targets, followed=followed
        )
        over = (left["ends_at"] <= self.as_of).to_numpy(dtype=bool)
        deletes: list[tuple[dict, str]] = []
        for base, is_over in zip(left.to_dict("records"), over, strict=True):
            action, reason = self._fate(base, records, is_over, followed or {})
            if action == "delete":
                deletes.append((base, reason))
            elif action == "expire":
                self.rows.append(_settled(base, "expire", reason))
                self._decide_one(base["source_id"], base["source"], "expire", reason)
            else:
                self._decide_one(base["source_id"], base["source"], action, reason)
        payloads = (
            self.known.read_people([base["source_id"] for base, _ in deletes]) if deletes else {}
        )
        for base, reason in deletes:
            body = {"sourceId": base["source_id"], "deletedAt": self.contents.deleted_at}
            row = _settled(base, "delete", reason)
            guests = list_guests(orjson.loads(payloads.get(base["source_id"]) or "{}"))
            guests |= dict(self.known.unanswered.get(base["source_id"], {}))
            changed = {"added": [], "changed": [], "removed": list(guests.values())}
            row |= {
                "body": orjson.dumps(body).decode(),
                "guests_json": orjson.dumps(changed).decode(),
                "ignore_missing": self.contents.additive,
            }
            self.rows.append(row)
            self._decide_one(base["source_id"], base["source"], "delete", reason)
            self.mails += [
                (base["source_id"], base["source"], name_person(guest), "cancelled")
                for guest in guests.values()
            ]
        return self._finish_part()

    def _fate(
        self, base: dict, records: Records, over: bool, followed: Mapping[str, str]
    ) -> tuple[str, str]:
        """What becomes of an event, by `transforms.diff.fates`; and what must hold when its delete
        is sent.
        """
        source_id, members = base["source_id"], base["members_json"]
        said = records.speak(source_id, base["source"], members)
        sources = self.config.pilot.sources
        event = Event(
            over=over,
            tried=self.rejected.waits(source_id, None),
            in_pilot=not sources
            or set(list_sources(source_id, base["source"], members, self.naming)) <= set(sources),
            absent_runs=int(base["absent_runs"] or 0),
            needed_runs=self.config.guards.delete_after_runs,
            under_way=self.contents.is_under_way(base["starts_at"], base["ends_at"]),
            elsewhere=source_id in self.elsewhere,
        )
        fate = decide_fate(event, [record for words in said.values() for record in words]) or Fate(
            "held", "not in essentry"
        )
        if fate.absent:
            self.absent_now.append(source_id)
        if fate.action == "delete":
            after = sorted(
                target
                for target in records.find_targets(source_id, members)
                if followed.get(target) != "unchanged"
            )
            self.conditions += [(source_id, "after", target) for target in after]
            if isinstance(members, str):
                gone = [
                    own
                    for own, words in said.items()
                    if any(record.state == "absent" for record in words)
                ]
                self.conditions += [(source_id, "absent", own) for own in gone]
        return fate.action, fate.reason

    # -- the result --------------------------------------------------------------------------------

    def _decide(self, events: pd.DataFrame, action: str, reason: str | None) -> None:
        if len(events):
            told = no_text(events.index) if reason is None else same_text(reason, events.index)
            self.decided.append(
                events[["source_id", "source"]].assign(
                    action=same_text(action, events.index), reason=told
                )
            )

    def _decide_one(self, source_id: str, source: str, action: str, reason: str | None) -> None:
        self.single.append((source_id, source, action, reason))

    def _finish_part(self) -> Diff:
        frames = [*self.frames, *([pd.DataFrame(self.rows)] if self.rows else [])]
        changes = (
            pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=CHANGE_COLUMNS)
        )
        changes = order_changes(type_changes(changes.reindex(columns=CHANGE_COLUMNS)))
        single = pd.DataFrame(self.single, columns=DECISION_COLUMNS)
        decisions = pd.concat(
            [frame for frame in [*self.decided, single] if len(frame)]
            or [empty_frame(DECISION_COLUMNS)],
            ignore_index=True,
        )
        mails = pd.DataFrame(self.mails, columns=MAIL_COLUMNS)
        all_mails = pd.concat(
            [frame for frame in [*self.mail_frames, mails] if len(frame)] or [mails],
            ignore_index=True,
        )
        diff = Diff(
            changes, decisions.astype("str"), all_mails, self.absent_now, self.rebound,
            self.refreshed,
            self.kept, self.rejoined, self.conditions,
            pd.DataFrame(self.awaited, columns=MAIL_COLUMNS).astype("str"),
            frozenset(self.removing),
            self.uncleared,
        )  # fmt: skip
        self._start_part()
        return diff


def _pick_flags(flags: Mask, positions: Positions) -> Mask:
    """The flags at these positions; false at -1."""
    return np.append(flags, False)[positions]


def _settled(base: dict, action: str, reason: str) -> dict:
    return {
        "source_id": base["source_id"], "source": base["source"],
        "location_id": base["location_id"], "action": action, "reason": reason,
        "base_fingerprint": base["fingerprint"], "base_run": base["confirmed_run"],
        "fingerprint": None, "fingerprint_version": FINGERPRINT_VERSION,
        "starts_at": base["starts_at"], "ends_at": base["ends_at"], "name": base.get("name"),
        "members_json": base["members_json"],
        "ignore_missing": True, "guests": base["guests"],
    }  # fmt: skip
