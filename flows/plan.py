"""Compute and store a plan: read the sources, build what essentry should hold, compare, judge. Sends nothing.

Plain functions; the Prefect flow and the command line both call them, in this order:
read_sources → split_frames → validate_part → build_part → compare → judge → store_plan.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pandas as pd

from flows.extract import Extracted
from flows.guest_keys import digest_guest_keys
from flows.judge import judge_plan, judge_sources
from flows.partitions import MapParts, Part, build_part, map_here, validate_part
from flows.plan_pages import PlanDigest, iterate_pages, seal
from flows.state import State
from schemas.config import Config, is_loopback
from schemas.errors import ConfigurationError
from schemas.frames import REJECT_COLUMNS, empty_frame
from transforms.approval import Approval
from transforms.build import Desired, list_guest_keys
from transforms.columns import find_positions, take_text
from transforms.diff import Diff, Known, SourceHealth, diff_events
from transforms.findings import Finding
from transforms.naming import Naming, name_by
from transforms.partition import split_frames, unite_desired, unite_validated
from transforms.payload import Payloads, list_guests
from transforms.pilot import dump_pilot, limit_to_pilot
from transforms.policy import digest_policy
from transforms.validate import MAX_ODD, Validated


@dataclass(frozen=True)
class Run:
    """One run: its id, the clock it works by (UTC), and when it really began."""

    run_id: str
    as_of: datetime
    started_at: datetime

    @property
    def clock(self) -> pd.Timestamp:
        """`as_of` as pandas counts it."""
        return pd.Timestamp(self.as_of).tz_convert("UTC").as_unit("us")


@dataclass
class Planned:
    """Everything a plan rests on, for the report."""

    plan_id: str
    digest: str
    diff: Diff
    desired: Desired
    snapshot: pd.DataFrame
    findings: list[Finding]
    health: dict[str, SourceHealth]
    failed_sources: dict[str, str]
    rejects: pd.DataFrame
    balance: dict[str, Any]
    reads: dict[str, dict[str, int]] = field(default_factory=dict)
    full: bool = False
    approval: Approval | None = None
    odd_times: list[dict[str, str]] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """A guard tripped, and no approval covers it."""
        return bool(self.findings) and self.approval is None


@dataclass(frozen=True)
class Compared:
    """The sources against what essentry holds: what the guards judge. `findings`: on the health of the sources."""

    sources: list[Validated]
    known: Known
    desired: Desired
    payloads: Payloads
    diff: Diff
    health: dict[str, SourceHealth]
    findings: list[Finding]
    reads: dict[str, dict[str, int]]


def new_run(as_of: datetime | None = None) -> Run:
    """A run that starts now, by the given clock or the wall's."""
    now = datetime.now(UTC)
    return Run(f"{now:%Y%m%d-%H%M%S}-{random.token_hex(2)}", (as_of or now).astimezone(UTC), now)


def check_clock(config: Config, run: Run, last_as_of: datetime | None) -> None:
    """S16: what goes to a real essentry goes by a believable clock. Raises ConfigurationError."""
    if is_loopback(config.essentry.base_url):
        return
    if abs((run.as_of - run.started_at).total_seconds()) > 24 * 3600:
        raise ConfigurationError("--as-of is more than a day from this machine's clock: leave it out, or correct the clock")
    if last_as_of is not None and run.as_of < last_as_of:
        raise ConfigurationError(f"this machine's clock is before the last run ({last_as_of:%Y-%m-%d %H:%M} UTC): correct the clock")


def check_sources(config: Config, snapshot: pd.DataFrame) -> None:
    """S15: a source that essentry has events of may not just leave the configuration. Raises ConfigurationError."""
    known = set(snapshot.loc[snapshot["state"] == "active", "source"])
    for name in sorted(known - set(config.sources)):
        raise ConfigurationError(
            f"the state holds events of the source {name!r}, which the configuration does not name: put it back, "
            f'or give its new name id_prefix = "{name}" and run `essentry-sync rename {name} NEW` (the ids stay, nobody is mailed), '
            f"or `essentry-sync retire {name}` (its events stay in essentry as they are)"
        )


def load_known(state: State) -> Known:
    """What is known of essentry: the snapshot, and on top of it every request whose outcome is unknown (S8)."""
    snapshot = state.read_fingerprints()
    intents = state.open_intents()
    unanswered: dict[str, dict[str, dict]] = {}
    removals: dict[str, set[str]] = {}
    latest: dict[str, dict] = {}
    for intent in intents.to_dict("records"):
        guests = unanswered.setdefault(intent["source_id"], {})
        for text in (intent["after"], intent["body"]):
            if isinstance(text, str):
                for key, guest in list_guests(orjson.loads(text)).items():
                    if "deletedAt" in guest:
                        removals.setdefault(intent["source_id"], set()).add(key)
                    else:
                        guests.setdefault(key, guest)
        latest[intent["source_id"]] = intent
    snapshot = snapshot.assign(dirty=snapshot["source_id"].isin(list(latest)))
    active = set(snapshot.loc[snapshot["state"] == "active", "source_id"])
    lost = [row for key, row in latest.items() if key not in active and row["action"] != "expire"]
    ghosts = {row["source_id"] for row in lost}
    if lost:
        rows = pd.DataFrame(lost).reindex(columns=snapshot.columns)
        trace = snapshot.set_index("source_id")  # an event that was deleted or over before: a plan is judged stale by it
        rows = rows.assign(
            **{name: rows["source_id"].map(trace[name]) for name in ("fingerprint", "confirmed_run")},
            fingerprint_version=0, state="active", absent_runs=0, dirty=True, guests=0,
        )  # fmt: skip
        snapshot = pd.concat([snapshot[~snapshot["source_id"].isin(ghosts)], rows.astype(snapshot.dtypes.to_dict())], ignore_index=True)

    def payloads(ids: list[str]) -> dict[str, str]:
        stored = dict(state.read_payloads([key for key in ids if key not in ghosts]))
        return stored | {key: "{}" for key in ids if key in ghosts}

    return Known(snapshot, payloads, unanswered, state.rejections(), removals)


def number_guests(state: State, validated: Sequence[Sequence[Validated]], *, shared: bool) -> dict[str, dict[str, int]]:
    """Numbers for guests without a key of their own, of all partitions; new ones are kept in the state store, so that a plan's ids hold."""
    texts: dict[str, set[str]] = {}
    for source in (source for part in validated for source in part):
        texts.setdefault(source.source, set()).update(list_guest_keys(source, shared=shared).dropna())
    numbers: dict[str, dict[str, int]] = {}
    for name, found in texts.items():
        ordered = sorted(found)
        digests = digest_guest_keys(ordered, state.salt())
        known = state.guest_numbers(name, digests)
        numbers[name] = {text: known[digest] for text, digest in zip(ordered, digests, strict=True)}
    return numbers


def _build(
    config: Config,
    state: State,
    run: Run,
    extracted: MutableMapping[str, Extracted],
    confirmed: pd.DataFrame,
    naming: Naming,
    map_parts: MapParts,
) -> tuple[Desired, pd.DataFrame, list[Validated]]:
    """What essentry should hold, its events with fingerprints, and what validation found. Each stage lets go of the one before: they are large."""
    frames = {name: (read.events, read.guests) for name, read in extracted.items()}
    extracted.clear()
    parts = [frames] if config.scale.partitions == 1 else split_frames(frames, config.scale.partitions, confirmed=confirmed, naming=naming)
    del frames
    validated = map_parts("validate", validate_part, [(part, config) for part in parts])
    # united meetings are built in the last partition, which alone needs to know them
    knows = [confirmed.iloc[:0]] * (len(parts) - 1) + [confirmed]
    del parts
    numbers = number_guests(state, validated, shared=config.essentry.invitation_ids == "shared")
    sources = unite_validated(validated)
    work = [Part(some, numbers, config, known, run.clock, naming) for some, known in zip(validated, knows, strict=True)]
    del validated
    built = map_parts("build", build_part, work)
    del work
    desired, events = unite_desired(built)
    return desired, events, sources


def compare_sources(
    config: Config,
    state: State,
    run: Run,
    extracted: MutableMapping[str, Extracted],
    failed: Mapping[str, str],
    *,
    full: bool = False,
    map_parts: MapParts | None = None,
) -> Compared:
    """Validate, build and compare, up to the decisions about every event. The state changes by the numbers of new guests alone.

    extracted is emptied: a large night needs the room. map_parts: how the work of the partitions is done, by default in this process.
    """
    map_parts = map_parts or map_here(config)
    known = load_known(state)
    check_sources(config, known.snapshot)
    naming = name_by(config, state.adopted())
    confirmed = known.snapshot.loc[known.snapshot["state"] == "active", ["source_id", "members_json"]]
    desired, events, sources = _build(config, state, run, extracted, confirmed, naming, map_parts)
    upcoming = known.snapshot[(known.snapshot["state"] == "active") & (known.snapshot["ends_at"] > run.clock)]
    health, findings, reads = judge_sources(sources, desired, failed, state, config, upcoming)
    payloads = Payloads(desired.events, desired.invitations)

    def payload_of(rows: np.ndarray) -> list[str]:
        return payloads.build(rows).to_pylist()

    diff = diff_events(desired, known, health, config, events=events, payload_of=payload_of, as_of=run.clock, full=full)
    return Compared(sources, known, desired, payloads, limit_to_pilot(diff, desired, config), health, findings, reads)


def make_plan(
    config: Config,
    state: State,
    run: Run,
    extracted: MutableMapping[str, Extracted],
    failed: Mapping[str, str],
    *,
    full: bool = False,
    map_parts: MapParts | None = None,
) -> Planned:
    """From extracted frames to a stored plan. The state changes by the plan, the numbers of new guests and the quarantine alone."""
    compared = compare_sources(config, state, run, extracted, failed, full=full, map_parts=map_parts)
    known, desired, diff, sources = compared.known, compared.desired, compared.diff, compared.sources
    digest, _ = digest_policy(config)
    findings, approval = judge_plan(config, state, run, compared, full=full)
    rejects = pd.concat(
        [frame for frame in [*(v.rejects for v in sources), desired.rejects] if len(frame)] or [empty_frame(REJECT_COLUMNS)],
        ignore_index=True,
    )
    balance = build_balance(desired, diff, known.snapshot, sources)
    plan_id, sealed = run.run_id, PlanDigest()
    for page in iterate_pages(diff.changes, compared.payloads, send_updated_at=config.essentry.send_updated_at):
        state.save_changes(plan_id, seal(sealed, page))
    state.save_plan(
        {
            "plan_id": plan_id,
            "run_id": run.run_id,
            "digest": sealed.hexdigest(),
            "created_at": run.started_at,
            "as_of": run.as_of,
            "status": "empty" if diff.changes.empty else "waiting" if approval is None else "approved",
            "full": full,
            "findings_json": orjson.dumps([finding.as_record() for finding in findings]).decode(),
            "balance_json": orjson.dumps(balance).decode(),
            "policy_digest": digest,
            "pilot_json": dump_pilot(config),
            "changes": len(diff.changes),
        }
        | ({} if approval is None else _released_by(approval))
    )
    state.save_quarantine(run.run_id, rejects)
    return Planned(
        plan_id,
        sealed.hexdigest(),
        diff,
        desired,
        known.snapshot,
        findings,
        compared.health,
        dict(failed),
        rejects,
        balance,
        compared.reads,
        full,
        approval,
        [{"source": v.source, **row} for v in sources for row in v.odd_times][:MAX_ODD],
    )


def _released_by(approval: Approval) -> dict[str, Any]:
    return {
        "approved_by": approval.by,
        "approve_reason": approval.reason,
        "approved_at": approval.at,
        "approval_of": approval.plan_id,
    }


def build_balance(desired: Desired, diff: Diff, snapshot: pd.DataFrame, sources: list[Validated]) -> dict[str, Any]:
    """Where every row went: rows read and snapshot rows, each by what became of them. Both sums hold, or a row was lost."""
    decided, fate = diff.decisions, desired.dispositions
    due = fate["disposition"] == "due"

    def find_action(source_ids: pd.Series) -> pd.Series:
        return take_text(decided["action"], find_positions(source_ids, decided["source_id"]), source_ids.index).fillna("lost")

    named = fate["disposition"].where(~due, find_action(fate["source_id"]))
    rows = named.value_counts().to_dict()
    keyless = sum(v.unreadable_event_keys for v in sources)
    copies = sum(v.notes.get("copies_dropped", 0) for v in sources)
    shared_keys = sum(int((v.rejects["check"] == "unique_key").sum()) for v in sources)
    repeated = shared_keys - sum(v.rejects.loc[v.rejects["check"] == "unique_key", "source_event_id"].nunique() for v in sources)
    rows["quarantined"] = rows.get("quarantined", 0) + keyless + repeated
    if copies:
        rows["copies"] = copies
    before = snapshot[snapshot["state"] == "active"]["source_id"]
    kept = find_action(before).value_counts().to_dict()
    read = sum(v.event_rows for v in sources)
    return {
        "rows_read": read,
        "rows": {key: int(value) for key, value in sorted(rows.items()) if value},
        "rows_balanced": sum(rows.values()) == read,
        "snapshot_before": len(before),
        "snapshot": {key: int(value) for key, value in sorted(kept.items())},
        "snapshot_balanced": sum(kept.values()) == len(before) and "lost" not in kept,
    }
