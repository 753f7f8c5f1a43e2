"""Compare what essentry lists with what it confirmed, remember what differs, and have what is lost
whole sent again by the next run.

Only reads of essentry. What is marked goes through the guards like anything else; nothing is ever
deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import orjson
import pandas as pd

from flows.connections.secrets import hash_token, read_agent_token
from flows.essentry.invitations import read_windows
from flows.night.lease import hold_lease
from flows.night.restore import read_evidence
from flows.night.run import Run, new_run
from flows.operations.leftovers import list_places
from flows.state.store import State
from schemas.config import Config
from schemas.errors import EXIT_DONE, EXIT_INCOMPLETE, ConfigurationError, LeaseHeld, StateError
from transforms.desired.payload import fingerprint
from transforms.diff.body import dump_payload
from transforms.operations.audit import Audit, Finding
from transforms.operations.restore import TOUCHED_COLUMNS, mark_all
from transforms.words import plural


@dataclass
class Audited:
    """What an audit found. `told`: seen often enough; `fresh`: seen for the first times; `marked`:
    ids that the next run sends again.

    `apart`: confirmed events that were not compared, by reason. `unhealed`: why nothing was marked
    by itself, or empty.
    """

    run_id: str
    audit: Audit
    told: list[Finding] = field(default_factory=list)
    fresh: list[Finding] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    apart: dict[str, int] = field(default_factory=dict)
    unhealed: str = ""

    @property
    def exit_code(self) -> int:
        """3 when something is told that is missing or different, or could not be read, else 0."""
        return EXIT_INCOMPLETE if self.told or self.audit.unreadable else EXIT_DONE

    @property
    def verdict(self) -> str:
        """One line for `runs`."""
        kinds = [
            plural(sum(row.kind == kind for row in self.told), kind)
            for kind in ("missing event", "missing invitation")
        ]
        different = sum(row.kind == "different" for row in self.told)
        words = [
            *kinds,
            f"{different:,} different",
            f"{plural(self.audit.unknown.total(), 'invitation')} unknown to us",
        ]
        if self.audit.unreadable:
            words.append(f"{plural(self.audit.unreadable, 'listed invitation')} unreadable")
        return f"{plural(self.audit.events, 'event')} compared: {', '.join(words)}"


@dataclass(frozen=True)
class _Confirmed:
    """What is to be compared, at its beginning. events: active, not over; skipped: ids that have no
    content, or wait for an answer.
    """

    events: pd.DataFrame
    skipped: frozenset[str]
    apart: dict[str, int]


def audit(config: Config, state: State, *, heal: Collection[str] = ()) -> Audited:
    """Read every location and compare. heal: ids, as an earlier audit told them, that the next run
    is to send again, whatever was seen before.

    Raises ConfigurationError for an id that is not found missing now, StateError for a state that
    is another's or a copy, EssentryError.
    """
    run = new_run()
    essentry = config.essentry
    state.check_identity(
        essentry.base_url, hash_token(read_agent_token(config)), essentry.invitation_ids
    )
    if read_evidence(config, state).missing.entries:
        raise StateError(
            f"the state store {state.label} was restored from an older copy: "
            "let a run settle that first, then audit again"
        )
    state.start_run(run.run_id, kind="audit", started_at=run.started_at, as_of=run.as_of)
    try:
        done = _audit(config, state, run, heal)
    except BaseException:
        state.abandon_run(run.run_id, now=datetime.now(UTC))
        raise
    summary = {"verdict": done.verdict, "marked": done.marked, "unknown": dict(done.audit.unknown)}
    text = orjson.dumps(summary, option=orjson.OPT_NON_STR_KEYS).decode()
    state.finish_run(
        run.run_id,
        finished_at=datetime.now(UTC),
        status="audited",
        exit_code=done.exit_code,
        summary_json=text,
    )
    return done


def _audit(config: Config, state: State, run: Run, heal: Collection[str]) -> Audited:
    confirmed = _read_confirmed(state, run.clock)
    found = Audit()
    for place in list_places(config, confirmed.events):
        _audit_place(config, state, run, found, place, confirmed)
    found.settle()
    done = Audited(run.run_id, found, apart=confirmed.apart)
    now = pd.Timestamp(datetime.now(UTC))
    findings = _still_so(state, confirmed.events, found.findings, now)
    asked = [
        row
        for row in findings
        if heal and (row.item or row.source_id) in heal and row.kind != "different"
    ]
    unknown = sorted(set(heal) - {row.item or row.source_id for row in asked})
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]!r} is not missing in essentry as the state knows it: nothing was marked; "
            "`essentry-sync audit` lists what is"
        )
    findings = _without_removed(state, findings)
    times = state.note_sightings([asdict(row) for row in findings], now=run.started_at)
    done.told = [row for row in findings if times[row.key] >= config.audit.seen or row in asked]
    done.fresh = [row for row in findings if row not in done.told]
    lost = [row for row in done.told if row.kind == "missing event"]
    healed = state.list_healed() if config.audit.heal else set()
    of_itself = [
        row
        for row in lost
        if config.audit.heal
        and row.guests >= config.audit.heal_guests
        and row.source_id not in healed
    ]
    blind = _find_blind(confirmed, found)
    done.unhealed = _why_not(config, of_itself, blind, unreadable=found.unreadable)
    if len(of_itself) > config.audit.heal_events or found.unreadable:
        of_itself = []
    chosen = asked + [row for row in of_itself if row.location_id not in blind]
    _mark(config, state, run, done, confirmed.events, chosen)
    return done


def _without_removed(state: State, findings: Sequence[Finding]) -> list[Finding]:
    """The findings; `guests` of a missing event without those who were missing before it was.

    Whom somebody took off the list one by one is not lost with the event.
    """
    before = state.sightings()
    single = before[before["kind"] == "missing invitation"]["source_id"].value_counts().to_dict()
    whole = before[before["kind"] == "missing event"].set_index("source_id")["guests"].to_dict()
    return [
        replace(
            row,
            guests=min(
                row.guests - single.get(row.source_id, 0), whole.get(row.source_id, row.guests)
            ),
        )
        if row.kind == "missing event"
        else row
        for row in findings
    ]


def _read_confirmed(state: State, clock: pd.Timestamp) -> _Confirmed:
    known = state.read_fingerprints()
    events = known[(known["state"] == "active") & ~(known["ends_at"] <= clock)].reset_index(
        drop=True
    )
    unplaced = events["location_id"].isna() | events["starts_at"].isna()
    unanswered = events["source_id"].isin(set(state.list_unanswered()["source_id"]))
    bare = events["fingerprint"].isna() & ~unanswered | unplaced
    apart = {
        "whose last request the next run settles": int(unanswered.sum()),
        "taken over by their ids alone": int(bare.sum()),
    }
    return _Confirmed(
        events,
        frozenset(events.loc[unanswered | bare, "source_id"]),
        {why: count for why, count in apart.items() if count},
    )


def _audit_place(
    config: Config, state: State, run: Run, found: Audit, place: int, confirmed: _Confirmed
) -> None:
    events = confirmed.events
    here = events[(events["location_id"] == place) & events["starts_at"].notna()].sort_values(
        ["starts_at", "source_id"]
    )
    for (start, end), listed in read_windows(config, place, now=run.as_of):
        within = here[
            (here["starts_at"] < end) & (True if start is None else here["starts_at"] >= start)
        ]
        skipped = within["source_id"].isin(confirmed.skipped)
        texts = state.read_payloads(within.loc[~skipped, "source_id"].tolist())
        hidden = [at.to_pydatetime() for at in within.loc[skipped, "starts_at"]]
        found.compare(map(orjson.loads, texts.values()), listed, opaque=hidden)


def _still_so(
    state: State, events: pd.DataFrame, findings: Sequence[Finding], now: pd.Timestamp
) -> list[Finding]:
    """The findings of events that are what they were when the reading began: a run may have sent
    them meanwhile, or their time came.
    """
    ids = pd.Series([row.source_id for row in findings], dtype="str").drop_duplicates()
    names = ["fingerprint", "confirmed_run", "state"]
    merged = events.merge(
        state.read_bases(ids), on="source_id", how="inner", suffixes=("", "_now"), validate="1:1"
    )
    same = ~(merged["ends_at"] <= now) & ~merged["source_id"].isin(
        set(state.list_unanswered()["source_id"])
    )
    for name in names:
        before, after = merged[name].astype("object"), merged[f"{name}_now"].astype("object")
        same &= (before == after) | (before.isna() & after.isna())
    kept = set(merged.loc[same, "source_id"])
    return [row for row in findings if row.source_id in kept]


def _find_blind(confirmed: _Confirmed, found: Audit) -> set[int]:
    """Locations of several events of ours of which essentry lists none, or all locations when it
    lists none anywhere.

    Every audit counts by itself here: an event that was new since the last one is as invisible.
    """
    events = confirmed.events
    compared = Counter(
        events[~events["source_id"].isin(confirmed.skipped)]["location_id"].astype(int)
    )
    missing = Counter(row.location_id for row in found.findings if row.kind == "missing event")
    if missing.total() == found.events > 1:
        return set(missing)
    return {place for place, count in missing.items() if count == compared[place] > 1}


def _why_not(
    config: Config, of_itself: Sequence[Finding], blind: Collection[int], *, unreadable: int
) -> str:
    """Why some of these are not marked, or nothing. blind: locations of which nothing of ours is
    listed; unreadable: listed invitations that may be of any event.
    """
    if of_itself and unreadable:
        return (
            f"essentry lists {plural(unreadable, 'invitation')} that cannot be read, and any of "
            "these may be there, so none is sent again by itself: "
            "`essentry-sync audit --heal ID` has one sent again"
        )
    if len(of_itself) > config.audit.heal_events:
        return (
            f"{plural(len(of_itself), 'event')} missing whole are more than audit.heal_events "
            f"({config.audit.heal_events:,}), so none is sent again by itself: "
            "is it another account, or one without the right to read? If they are lost, "
            "`essentry-sync restored` has all sent again"
        )
    unseen = sorted({row.location_id for row in of_itself} & set(blind))
    if unseen:
        return (
            "essentry lists none of our events at location "
            f"{', '.join(map(str, unseen))}, so none there is sent again by itself: "
            "is it another account, or a token without the right to read? If they are lost, "
            "`essentry-sync audit --heal ID` for each, or `essentry-sync restored`, "
            "has them sent again"
        )
    return ""


def _mark(
    config: Config,
    state: State,
    run: Run,
    done: Audited,
    events: pd.DataFrame,
    chosen: Sequence[Finding],
) -> None:
    """Have the next run send these again, if nothing has moved; under the lease. A run at work
    leaves it to the next audit.
    """
    if not chosen:
        return
    try:
        with hold_lease(state, run, config):
            now = datetime.now(UTC)
            chosen = _still_so(state, events, list(dict.fromkeys(chosen)), pd.Timestamp(now))
            whole = [row.source_id for row in chosen if not row.item]
            guests = [row for row in chosen if row.item]
            if whole:
                none = pd.DataFrame(columns=TOUCHED_COLUMNS)
                rows = mark_all(events[events["source_id"].isin(whole)], none, as_of=run.clock)
                state.mark_missing(f"audit-{run.run_id}", rows, now=now)
            if guests:
                state.make_unknown(_as_unknown(state, guests), now=now)
            done.marked = sorted([*whole, *(row.item for row in guests)])
    except LeaseHeld as error:
        done.unhealed = f"nothing was marked: {error}"


def _as_unknown(state: State, guests: Sequence[Finding]) -> dict[str, tuple[str, str, int]]:
    """The contents of these events with nothing of these guests but their ids: the next run sends
    them whole, or removes them if the source has by then, for who is not found may only be called
    otherwise.
    """
    contents = {}
    for source_id, text in state.read_payloads(sorted({row.source_id for row in guests})).items():
        payload = orjson.loads(text)
        items = {row.item for row in guests if row.source_id == source_id}
        payload["invitations"] = [
            {"sourceId": guest["sourceId"]} if guest["sourceId"] in items else guest
            for guest in payload["invitations"]
        ]
        new = dump_payload(payload)
        contents[source_id] = new, fingerprint(new), len(payload["invitations"])
    return contents
