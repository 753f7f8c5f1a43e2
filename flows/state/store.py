"""The state store: what essentry confirmed, what was intended, what became of it. SQLite or
PostgreSQL, through SQLAlchemy.

The order is the point: an intent is committed before its request leaves, and an outcome, the
snapshot row it proves and the end of older intents go in one transaction. Everything else of
essentry-sync may be killed at any moment.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import pandas as pd
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from flows.connections.bulk import BulkReadError
from flows.state import tables as t
from flows.state.approvals import Approvals
from flows.state.audits import Audits
from flows.state.bulk import append_rows, read_rows
from flows.state.check_ins import CheckIns, prune_check_ins
from flows.state.clock import Clocks
from flows.state.contacts import Contacts
from flows.state.engine import READS, explain, open_engine
from flows.state.ledger import LedgerWrites
from flows.state.people import PersonalData
from flows.state.reports import CHANGE_FACTS, ReportReads
from flows.state.restore import Restores
from flows.state.sources import Sources
from flows.state.views import create_views, drop_views, has_views
from schemas.config_values import is_loopback
from schemas.errors import LeaseHeld, StateError
from schemas.frames import REJECT_COLUMNS
from transforms.naming.guest_numbers import derive_number

CHUNK = 500
MANY = 100_000
_TAKEN_OVER = (
    "another run has taken over this state store while this one was silent: this one stops; "
    "raise state.lease_seconds"
)


class State(
    Approvals,
    Audits,
    CheckIns,
    Clocks,
    Contacts,
    LedgerWrites,
    PersonalData,
    ReportReads,
    Restores,
    Sources,
):
    """An open state store; use as a context manager. Every method raises StateError, with the
    remedy, when the store fails.
    """

    def __init__(self, engine: sa.Engine, label: str) -> None:
        self.engine, self.label = engine, label
        self._holder: str | None = None

    @classmethod
    def open(cls, url: str, *, migrate: bool = True) -> State:
        """Open the store and bring it to its newest form; `migrate=False` only reads, and wants it
        to be there already.
        """
        state = cls(*open_engine(url, create=migrate))
        try:
            state._migrate(write=migrate)
        except BaseException:
            state.engine.dispose()
            raise
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """One transaction that writes; a failure leaves nothing of it."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StateError(explain(error, self.label)) from None

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """One transaction that only reads: it waits for no writer."""
        try:
            with self.engine.execution_options(**READS).begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StateError(explain(error, self.label)) from None

    def _migrate(self, *, write: bool) -> None:
        config = AlembicConfig()
        config.set_main_option(
            "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
        )
        scripts = ScriptDirectory.from_config(config)
        newest = scripts.get_current_head()
        with self._read() as connection:
            current = self._revision(connection, scripts)
            whole = current == newest and (not write or has_views(connection))
        if whole:
            return
        if not write:
            raise StateError(
                f"the state store {self.label} is empty or of an older form: "
                "run `essentry-sync plan` once"
            )
        with self._begin() as connection:
            if self.engine.dialect.name == "postgresql":  # SQLite's transaction is alone already
                connection.exec_driver_sql(
                    "SELECT pg_advisory_xact_lock(hashtext('essentry-sync migrations'))"
                )
            current = self._revision(connection, scripts)
            if current == newest and has_views(connection):
                return
            drop_views(connection)
            if current != newest:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            create_views(connection)

    def _revision(self, connection: sa.Connection, scripts: ScriptDirectory) -> str | None:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {
            script.revision for script in scripts.walk_revisions()
        }:
            raise StateError(
                f"the state store {self.label} was written by a newer essentry-sync (form "
                f"{current}): upgrade this one"
            )
        return current

    # -- who we are --------------------------------------------------------------------------------

    def release_identity(self, base_url: str, agent_token_hash: str, invitation_ids: str) -> None:
        """Let a state that has sent nothing belong to another essentry, integration or id policy: a
        typing error in the first plan binds nobody.

        Call it under the lease, before `check_identity`. What was planned under the other one is
        superseded.
        """
        given = {
            "base_url": base_url,
            "agent_token_hash": agent_token_hash,
            "invitation_ids": invitation_ids,
        }
        sent = (
            sa.select(sa.literal(1)).select_from(t.snapshot_events),
            sa.select(sa.literal(1)).select_from(t.adopted_ids),
            sa.select(sa.literal(1)).where(t.OPEN),
        )
        with self._begin() as connection:
            row = connection.execute(sa.select(t.identity)).mappings().first()
            if row is None or all(_is_same(key, row[key], value) for key, value in given.items()):
                return
            if any(connection.execute(query.limit(1)).first() for query in sent):
                return
            connection.execute(t.identity.update().values(**given))
            connection.execute(
                t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded")
            )
            for table in (t.rejections, t.checkins, t.checkin_reads):
                connection.execute(table.delete())

    def check_identity(self, base_url: str, agent_token_hash: str, invitation_ids: str) -> None:
        """Be created for, or belong to, this essentry, integration and id policy (S13). Raises
        StateError otherwise.
        """
        given = {
            "base_url": base_url,
            "agent_token_hash": agent_token_hash,
            "invitation_ids": invitation_ids,
        }
        names = {
            "base_url": "another essentry",
            "agent_token_hash": "another agent token",
            "invitation_ids": "another invitation_ids policy",
        }
        with self._begin() as connection:
            first = {
                "id": 1,
                **given,
                "salt": secrets.token_hex(16),
                "created_at": datetime.now(UTC),
            }
            connection.execute(self._insert(t.identity).values(**first).on_conflict_do_nothing())
            row = connection.execute(sa.select(t.identity)).mappings().one()
            for key, value in given.items():
                same = _is_same(key, row[key], value)
                # what is confirmed stays, new ones are sealed
                if key == "invitation_ids" and (row[key], value) == ("per-event", "sealed"):
                    connection.execute(t.identity.update().values(invitation_ids=value))
                    same = True
                if not same:
                    raise StateError(
                        f"the state store {self.label} belongs to {names[key]}: "
                        "its ids would cancel and re-invite everybody; correct the setting, "
                        "or use another state.url"
                    )

    def salt(self) -> str:
        """The key of the digests of guests' addresses."""
        return str(self._one(sa.select(t.identity.c.salt)))

    def policy_digest(self) -> str | None:
        """Digest of the settings that the last applied run used."""
        return self._one(sa.select(t.identity.c.policy_digest))

    def policy_json(self) -> str | None:
        """Those settings; empty when they were not kept."""
        return self._one(sa.select(t.identity.c.policy_json))

    def save_policy(self, digest: str, policy_json: str) -> None:
        """Remember the settings that decide who is invited."""
        with self._begin() as connection:
            connection.execute(
                t.identity.update().values(policy_digest=digest, policy_json=policy_json)
            )

    def _one(self, query: sa.Select[Any]) -> Any:
        with self._read() as connection:
            return connection.execute(query).scalar()

    # -- one run at a time -------------------------------------------------------------------------

    def acquire_lease(self, holder: str, run_id: str, *, now: datetime, seconds: float) -> bool:
        """Take the lease when it is free, expired or ours. Atomic: the primary key and a
        conditional update decide.

        A lease that ends later than any run could have asked for was written by a clock that has
        been put back since: it counts as expired. One that was taken or renewed later than now is
        honoured for as long as it was asked for, counted from now. From then on this store writes
        no intent, outcome or plan for a run that has lost its lease.
        """
        values = {
            "holder": holder,
            "run_id": run_id,
            "acquired_at": now,
            "expires_at": now + timedelta(seconds=seconds),
        }
        expires_at = t.lease.c.expires_at
        with self._begin() as connection:
            ahead = (
                connection.execute(sa.select(t.lease).where(t.lease.c.acquired_at > now))
                .mappings()
                .first()
            )
            if ahead is not None:
                shorter = {
                    "acquired_at": now,
                    "expires_at": now + (ahead["expires_at"] - ahead["acquired_at"]),
                }
                unchanged = (t.lease.c.acquired_at == ahead["acquired_at"]) & (
                    t.lease.c.expires_at == ahead["expires_at"]
                )
                if ahead["expires_at"] <= now + timedelta(seconds=max(2 * seconds, 3600)):
                    connection.execute(t.lease.update().where(unchanged).values(**shorter))
            impossible = expires_at > now + timedelta(seconds=max(2 * seconds, 3600))
            free = (expires_at < now) | impossible | (t.lease.c.holder == holder)
            if not connection.execute(t.lease.update().where(free).values(**values)).rowcount:
                connection.execute(
                    self._insert(t.lease).values(id=1, **values).on_conflict_do_nothing()
                )
            ours = bool(connection.execute(sa.select(t.lease.c.holder)).scalar() == holder)
        if ours:
            self._holder = holder
        return ours

    def renew_lease(self, holder: str, run_id: str, *, now: datetime, seconds: float) -> None:
        """Hold the lease longer. Raises LeaseHeld when another run has taken it."""
        with self._begin() as connection:
            until = {"acquired_at": now, "expires_at": now + timedelta(seconds=seconds)}
            mine = t.lease.update().where(t.lease.c.holder == holder).values(**until)
            if not connection.execute(mine).rowcount:
                raise LeaseHeld(_TAKEN_OVER)

    def release_lease(self, holder: str) -> None:
        """Let go of the lease."""
        with self._begin() as connection:
            connection.execute(t.lease.delete().where(t.lease.c.holder == holder))
        if self._holder == holder:
            self._holder = None

    def _check_lease(self, connection: sa.Connection) -> None:
        """Within a transaction that writes: the lease is still ours, and stays so until the
        commit.
        """
        if self._holder is None:
            return
        row = connection.execute(sa.select(t.lease.c.holder).with_for_update(read=True)).scalar()
        if row != self._holder:
            raise LeaseHeld(_TAKEN_OVER)

    def lease_holder(self) -> str:
        """Who holds the lease, in words."""
        with self._read() as connection:
            row = connection.execute(sa.select(t.lease)).mappings().first()
        if row is None:
            return "nobody"
        host, process = row["holder"].split(":")[:2]
        return (
            f"run {row['run_id']} on {host}, process {process}, until {row['expires_at']:%H:%M:%S} "
            "UTC"
        )

    def lease_seconds_left(self) -> float | None:
        """How long the lease is held from now on unless it is renewed; None: nobody holds it."""
        until = self._one(sa.select(t.lease.c.expires_at))
        return None if until is None else max(0.0, (until - self.clock()).total_seconds())

    def clock(self) -> datetime:
        """The time by which leases are judged: the database server's, so that machines whose clocks
        differ agree.
        """
        if self.engine.dialect.name == "sqlite":
            return datetime.now(UTC)
        now: datetime = self._one(sa.select(sa.func.clock_timestamp()))
        return now.astimezone(UTC)

    def _insert(self, table: sa.Table) -> Any:
        return (sqlite if self.engine.dialect.name == "sqlite" else postgresql).insert(table)

    # -- runs --------------------------------------------------------------------------------------

    def start_run(
        self,
        run_id: str,
        *,
        kind: str,
        started_at: datetime,
        as_of: datetime,
        report_dir: str | None = None,
    ) -> None:
        """Begin a run's line. report_dir: where its report will stand, which a run that is killed
        leaves behind, too.
        """
        values = {
            "run_id": run_id,
            "kind": kind,
            "started_at": started_at,
            "as_of": as_of,
            "report_dir": report_dir,
        }
        with self._begin() as connection:
            connection.execute(t.runs.insert().values(status="running", **values))

    def finish_run(self, run_id: str, **values: Any) -> None:
        """Complete a run's line: finished_at, status, exit_code, summary_json, report_dir,
        plan_id.
        """
        with self._begin() as connection:
            connection.execute(t.runs.update().where(t.runs.c.run_id == run_id).values(**values))

    def abandon_run(self, run_id: str, *, now: datetime) -> None:
        """A run that ended without a word (interrupt, cancelled flow run, refused plan) has failed;
        a finished one stays as it is.
        """
        with self._begin() as connection:
            mine = (t.runs.c.run_id == run_id) & (t.runs.c.status == "running")
            connection.execute(t.runs.update().where(mine).values(status="failed", finished_at=now))

    def runs(self) -> pd.DataFrame:
        """All runs."""
        return self._frame(sa.select(t.runs).order_by(t.runs.c.started_at))

    def save_source_reads(
        self,
        run_id: str,
        reads: Mapping[str, Mapping[str, int]],
        health: Mapping[str, Any],
        *,
        measure: bool = True,
    ) -> None:
        """What each source returned and whether it was healthy: the measure of the next night, if
        it is to be one.
        """
        now = datetime.now(UTC)
        rows = [
            {
                "run_id": run_id,
                "source": name,
                **counts,
                "events_healthy": measure and health[name].events,
                "guests_healthy": measure and health[name].guests,
                "read_at": now,
            }
            for name, counts in reads.items()
        ]
        if rows:
            with self._begin() as connection:
                connection.execute(t.source_reads.insert(), rows)

    def last_good_reads(self) -> dict[str, dict[str, Any]]:
        """Counts of the newest healthy read of each source, and the clock of its run as `as_of`."""
        reads = t.source_reads.c
        query = (
            sa.select(
                t.source_reads,
                sa.func.coalesce(t.runs.c.as_of, reads.read_at, type_=t.Instant).label("as_of"),
            )
            .outerjoin(t.runs, t.runs.c.run_id == reads.run_id)
            .where(reads.events_healthy, reads.guests_healthy)
            .order_by(reads.read_at)
        )
        with self._read() as connection:
            return {row["source"]: dict(row) for row in connection.execute(query).mappings()}

    # -- guests without a key ----------------------------------------------------------------------

    def guest_numbers(
        self, source: str, digests: Sequence[str], *, older: Mapping[str, str] | None = None
    ) -> dict[str, int]:
        """The number of each digest; a new one gets its own (see transforms.naming.guest_numbers),
        or the next free after it, in one transaction.

        older: digest → that of the address alone, under which an older release kept the guest. The
        only new guest behind it takes its number over; of several nobody does, now or later, and
        what is confirmed tells them apart.
        """
        older = older or {}
        with self._begin() as connection:
            query = sa.select(t.guest_keys.c.key_digest, t.guest_keys.c.number).where(
                t.guest_keys.c.source == source
            )
            known = {row[0]: row[1] for row in connection.execute(query)}
            uses = Counter(known.values())
            taken = set(uses)
            fresh: list[tuple[str, int, str | None]] = []
            new = sorted(set(digests) - set(known))
            heirs = Counter(older[digest] for digest in new if digest in older)
            for digest, count in heirs.items():
                # a row more: the number has been given away
                if count > 1 and uses[known.get(digest, -1)] == 1:
                    fresh.append((f"{digest}*", known[digest], digest))
            for digest in new:
                if heirs[older.get(digest, "")] == 1 and uses[known.get(older[digest], -1)] == 1:
                    known[digest] = known[older[digest]]
                else:
                    number = derive_number(digest)
                    while number in taken:
                        number += 1
                    taken.add(number)
                    known[digest] = number
                fresh.append((digest, known[digest], older.get(digest)))
            if fresh:
                names = ("key_digest", "number", "address_digest")
                connection.execute(
                    t.guest_keys.insert(),
                    [{"source": source, **dict(zip(names, row, strict=True))} for row in fresh],
                )
        return {digest: known[digest] for digest in digests}

    # -- what essentry has -------------------------------------------------------------------------

    def read_fingerprints(self) -> pd.DataFrame:
        """Every snapshot row without its payload."""
        columns = [c for c in t.snapshot_events.c if c.name not in ("payload", "confirmed_at")]
        return self._read_rows(sa.select(*columns), ordered_by="source_id")

    def read_bases(self, source_ids: pd.Series) -> pd.DataFrame:
        """source_id, fingerprint, confirmed_run and state of the snapshot's rows of these events;
        of very many events of the whole snapshot.
        """
        c = t.snapshot_events.c
        query = sa.select(c.source_id, c.fingerprint, c.confirmed_run, c.state)
        if len(source_ids) > MANY:
            return self._read_rows(query, ordered_by="source_id")
        parts = [
            source_ids.iloc[start : start + CHUNK].tolist()
            for start in range(0, len(source_ids), CHUNK)
        ] or [[]]
        return pd.concat(
            [
                self._read_rows(query.where(c.source_id.in_(part)), ordered_by="source_id")
                for part in parts
            ],
            ignore_index=True,
        )

    def read_payloads(self, source_ids: Sequence[str]) -> dict[str, str]:
        """The confirmed canonical JSON of these events."""
        found: dict[str, str] = {}
        query = sa.select(t.snapshot_events.c.source_id, t.snapshot_events.c.payload)
        with self._read() as connection:
            for start in range(0, len(source_ids), CHUNK):
                wanted = list(source_ids[start : start + CHUNK])
                found.update(
                    (row[0], row[1] or "{}")
                    for row in connection.execute(
                        query.where(t.snapshot_events.c.source_id.in_(wanted))
                    )
                )
        return found

    def read_sent(self, source_id: str) -> list[str]:
        """Canonical JSON of every create and update of an event that was sent, and not refused; as
        far back as the ledger goes, the oldest first.
        """
        c = t.plan_changes.c
        sent = c.state.in_(["sending", "unknown", "confirmed", "superseded"]) & c.after.is_not(None)
        with self._read() as connection:
            query = sa.select(c.after).where(c.source_id == source_id, sent)
            return list(connection.scalars(query.order_by(c.sent_at, c.seq)))

    def read_uncleared(self) -> dict[str, str]:
        """The canonical JSON of active events of which something may still stand in essentry; see
        transforms.diff.clearing.
        """
        c = t.snapshot_events.c
        query = sa.select(c.source_id, c.payload).where(
            c.state == "active", c.payload.like('%"uncleared":[%')
        )
        with self._read() as connection:
            return {row.source_id: row.payload for row in connection.execute(query)}

    def list_upcoming(self, source: str, *, now: datetime, limit: int) -> list[str]:
        """Some events of a source that essentry holds and that are not over, the latest first, none
        that was missing lately.
        """
        c = t.snapshot_events.c
        held = (
            (c.source == source)
            & (c.state == "active")
            & (c.ends_at > now)
            & (sa.func.coalesce(c.absent_runs, 0) == 0)
        )
        with self._read() as connection:
            return list(
                connection.execute(
                    sa.select(c.source_id).where(held).order_by(c.ends_at.desc()).limit(limit)
                ).scalars()
            )

    def open_intents(self) -> pd.DataFrame:
        """Changes whose outcome is not known, oldest first."""
        return self._frame(
            sa.select(t.plan_changes)
            .where(t.OPEN)
            .order_by(t.plan_changes.c.sent_at, t.plan_changes.c.seq)
        )

    def list_unanswered(self) -> pd.DataFrame:
        """source_id, action, code and message of every request whose outcome is not known, oldest
        first.
        """
        c = t.plan_changes.c
        query = sa.select(c.source_id, c.action, c.code, c.message).where(t.OPEN)
        return self._frame(query.order_by(c.sent_at, c.seq))

    def list_unanswered_since(self, plan_id: str, since: datetime) -> list[str]:
        """Events of requests of other plans that were sent since then and whose outcome is not
        known.
        """
        c = t.plan_changes.c
        with self._read() as connection:
            return list(
                connection.scalars(
                    sa.select(c.source_id).where(t.OPEN, c.plan_id != plan_id, c.sent_at > since)
                )
            )

    def find_held_with(self, text: str) -> list[str]:
        """Active events of which a guest has this address, or an invitation this id. Without regard
        to capitals.
        """
        c = t.snapshot_events.c
        value = sa.func.lower(c.payload).contains(f'"{text.lower()}"', autoescape=True)
        query = sa.select(c.source_id, c.payload).where(c.state == "active", value)
        with self._read() as connection:
            rows = connection.execute(query.order_by(c.source_id)).all()
        return [  # few; a host has an address, too
            row.source_id
            for row in rows
            if any(
                text.lower() in (guest.get("email", "").lower(), guest["sourceId"].lower())
                for guest in orjson.loads(row.payload).get("invitations", [])
            )
        ]

    def settle_lost(self, *, now: datetime, run_id: str) -> int:
        """Requests of a killed run: nobody waits for their answer any more, so they are unknown.
        Call it under the lease.
        """
        with self._begin() as connection:
            lost = t.plan_changes.update().where(t.OPEN, t.plan_changes.c.state == "sending")
            count = connection.execute(
                lost.values(
                    state="unknown", message="the run was killed before the answer", answered_at=now
                )
            ).rowcount
            dead = (t.runs.c.status == "running") & (t.runs.c.run_id != run_id)
            connection.execute(t.runs.update().where(dead).values(status="failed", finished_at=now))
        return count

    # -- plans and the ledger ----------------------------------------------------------------------

    def save_changes(self, plan_id: str, changes: pd.DataFrame) -> None:
        """Store some changes of a plan that is not there yet; without `save_plan` after them they
        are nobody's.
        """
        names = [c.name for c in t.plan_changes.c if c.name in changes.columns]
        with self._bulk(), self._begin() as connection:
            self._check_lease(connection)
            if len(changes):
                append_rows(
                    connection,
                    t.plan_changes,
                    changes[names].assign(plan_id=plan_id, state="planned"),
                )

    def save_conditions(self, plan_id: str, conditions: Iterable[tuple[str, str, str]]) -> None:
        """What must hold when changes of a plan are sent: event, kind (`after`, `absent`), other
        event or record.
        """
        rows = [
            {"plan_id": plan_id, "source_id": event, "kind": kind, "other_id": other}
            for event, kind, other in conditions
        ]
        if rows:
            with self._begin() as connection:
                self._check_lease(connection)
                connection.execute(t.plan_conditions.insert(), rows)

    def read_conditions(self, plan_id: str) -> list[tuple[str, str, str]]:
        """The conditions of a plan, as `save_conditions` took them."""
        c = t.plan_conditions.c
        query = (
            sa.select(c.source_id, c.kind, c.other_id)
            .where(c.plan_id == plan_id)
            .order_by(c.source_id, c.kind, c.other_id)
        )
        with self._read() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def read_states(self, plan_id: str, source_ids: Collection[str]) -> dict[str, str]:
        """Where the changes of a plan stand in the ledger, by event; an event without a change is
        left out.
        """
        c, ids = t.plan_changes.c, sorted(source_ids)
        found: dict[str, str] = {}
        with self._read() as connection:
            for start in range(0, len(ids), CHUNK):
                some = c.source_id.in_(ids[start : start + CHUNK])
                found.update(
                    (row[0], row[1])
                    for row in connection.execute(
                        sa.select(c.source_id, c.state).where(c.plan_id == plan_id, some)
                    )
                )
        return found

    def list_own_deletes(self) -> dict[str, str]:
        """Reason of the delete of every event that this store deleted itself as cancelled,
        guestless or merged, and essentry knew then.
        """
        e, c = t.snapshot_events.c, t.plan_changes.c
        same = (c.source_id == e.source_id) & (c.run_id == e.confirmed_run)
        query = sa.select(e.source_id, c.reason).join_from(t.snapshot_events, t.plan_changes, same)
        query = query.where(
            e.state == "deleted", c.action == "delete", c.state == "confirmed", c.code.is_(None)
        )
        with self._read() as connection:
            rows = connection.execute(
                query.where(c.reason.in_(["cancelled", "guestless", "merged"]))
            )
            return {row[0]: row[1] for row in rows}

    def save_plan(self, plan: Mapping[str, Any]) -> None:
        """Store the head of a plan, its changes being there; plans that still wait are superseded,
        unless this one is a selection.
        """
        with self._begin() as connection:
            self._check_lease(connection)
            if plan.get("selection") is None:
                waiting = t.plans.update().where(t.plans.c.status.in_(t.WAITING))
                connection.execute(waiting.values(status="superseded"))
            connection.execute(t.plans.insert().values(**plan))

    def save_looks(self, plan_id: str, looks: Mapping[str, tuple[int, Sequence[str]]]) -> None:
        """What the sources showed when a plan was made: source → rows of the events SELECT, and
        some of its keys.
        """
        rows = [
            {
                "plan_id": plan_id,
                "source": name,
                "events": events,
                "keys_json": orjson.dumps(list(keys)).decode(),
            }
            for name, (events, keys) in looks.items()
        ]
        if rows:
            with self._begin() as connection:
                connection.execute(t.plan_looks.insert(), rows)

    def read_looks(self, plan_id: str) -> dict[str, tuple[int, list[str]]]:
        """As `save_looks` took them; nothing of a plan from before there were any."""
        query = sa.select(t.plan_looks).where(t.plan_looks.c.plan_id == plan_id)
        with self._read() as connection:
            rows = connection.execute(query).mappings().all()
        return {
            row["source"]: (int(row["events"] or 0), orjson.loads(row["keys_json"] or "[]"))
            for row in rows
        }

    def load_plan(
        self, plan_id: str, *, columns: Sequence[str] = CHANGE_FACTS, coded: Collection[str] = ()
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """A plan by its id, a unique beginning of it, or `latest`, and these columns of its
        changes. Raises StateError when there is none.

        The latest is the newest of a whole night: a plan of a selection goes by its id alone.

        coded: the columns of few texts that may be categorical.
        """
        query = (
            sa.select(t.plans)
            .where(t.plans.c.selection.is_(None))
            .order_by(t.plans.c.created_at.desc())
        )
        if plan_id != "latest":  # a whole id is nobody's beginning
            query = sa.select(t.plans).order_by(
                (t.plans.c.plan_id == plan_id).desc(), t.plans.c.created_at.desc()
            )
            query = query.where(t.plans.c.plan_id.startswith(plan_id, autoescape=True))
        with self._read() as connection:
            rows = connection.execute(query.limit(2)).mappings().all()
        if not rows:
            raise StateError(f"there is no plan {plan_id!r}: make one with `essentry-sync plan`")
        if plan_id != "latest" and len(rows) > 1 and rows[0]["plan_id"] != plan_id:
            raise StateError(f"{plan_id!r} is the beginning of several plans: write more of it")
        plan = dict(rows[0])
        query = sa.select(*(t.plan_changes.c[name] for name in columns)).where(
            t.plan_changes.c.plan_id == plan["plan_id"]
        )
        return plan, self._read_rows(query, ordered_by="seq", coded=coded)

    def read_page(self, plan_id: str, first: int, last: int) -> pd.DataFrame:
        """What a plan sends for its changes `first` to `last`: `body` is the JSON of each event, a
        create's its whole payload.
        """
        c = t.plan_changes.c
        body = sa.func.coalesce(c.body, sa.case((c.action == "create", c.after))).label("body")
        known = [
            c.seq,
            c.source_id,
            c.action,
            c.reason,
            c.base_fingerprint,
            c.fingerprint,
            c.ignore_missing,
        ]
        return self._read_rows(
            sa.select(*known, body).where(c.plan_id == plan_id, c.seq.between(first, last)),
            ordered_by="seq",
        )

    def set_plan_status(self, plan_id: str, status: str) -> None:
        """Where a plan stands."""
        self._set_plan(plan_id, status=status)

    def _set_plan(self, plan_id: str, **values: Any) -> None:
        with self._begin() as connection:
            connection.execute(
                t.plans.update().where(t.plans.c.plan_id == plan_id).values(**values)
            )

    def rejections(self) -> pd.DataFrame:
        """Events that essentry rejected and that are not solved."""
        return self._frame(sa.select(t.rejections))

    def end_rejections(self, source_ids: Sequence[str]) -> None:
        """Forget rejections that are solved without an answer of essentry."""
        with self._begin() as connection:
            for start in range(0, len(source_ids), CHUNK):
                some = t.rejections.c.source_id.in_(list(source_ids[start : start + CHUNK]))
                connection.execute(t.rejections.delete().where(some))

    def list_absent(self) -> pd.DataFrame:
        """source_id and source of the events that were missing in the last run in which they were
        looked for.
        """
        c = t.snapshot_events.c
        return self._frame(sa.select(c.source_id, c.source).where(c.absent_runs > 0))

    def count_absent(self, absent: Iterable[str], *, unsure: Collection[str] = ()) -> None:
        """Complete runs in which an event was missing; one that is there again starts over.

        unsure: events that were not looked for in this run; their counts stay as they are.
        """
        table = t.snapshot_events
        with self._begin() as connection:
            missing = list(dict.fromkeys(absent))
            counted = connection.execute(
                sa.select(table.c.source_id).where(table.c.absent_runs > 0)
            ).scalars()
            back = sorted(set(counted) - set(missing) - set(unsure))
            for ids, runs in (
                (back, sa.literal(0)),
                (missing, sa.func.coalesce(table.c.absent_runs, 0) + 1),
            ):
                for start in range(0, len(ids), CHUNK):
                    some = table.c.source_id.in_(ids[start : start + CHUNK])
                    connection.execute(table.update().where(some).values(absent_runs=runs))

    # -- quarantine, ends --------------------------------------------------------------------------

    def save_quarantine(self, run_id: str, rejects: pd.DataFrame) -> None:
        """Rows that were set aside in a run; their values are masked already."""
        if rejects.empty:
            return
        frame = rejects.reindex(columns=REJECT_COLUMNS).astype("object")
        frame = frame.where(frame.notna(), None)
        rows = [
            {**row, "run_id": run_id, "id": number}
            for number, row in enumerate(frame.to_dict("records"))
        ]
        with self._begin() as connection:
            connection.execute(t.quarantine.insert(), rows)

    def quarantine(self, run_id: str) -> pd.DataFrame:
        """What a run set aside."""
        return self._frame(
            sa.select(t.quarantine)
            .where(t.quarantine.c.run_id == run_id)
            .order_by(t.quarantine.c.id)
        )

    def renew_fingerprints(self, fingerprints: Mapping[str, str], *, version: int) -> None:
        """New fingerprints of events whose content is what essentry confirmed; nothing else of them
        changes.
        """
        table = t.snapshot_events
        renew = table.update().where(
            table.c.source_id == sa.bindparam("b_id"), table.c.state == "active"
        )
        renew = renew.values(fingerprint=sa.bindparam("b_print"), fingerprint_version=version)
        if fingerprints:
            with self._begin() as connection:
                connection.execute(
                    renew, [{"b_id": key, "b_print": text} for key, text in fingerprints.items()]
                )

    def renew_members(self, members: Mapping[str, str | None]) -> None:
        """Which records events are made of, where that alone has changed."""
        table = t.snapshot_events
        renew = table.update().where(
            table.c.source_id == sa.bindparam("b_id"), table.c.state == "active"
        )
        if members:
            with self._begin() as connection:
                connection.execute(
                    renew.values(members_json=sa.bindparam("b_members")),
                    [{"b_id": key, "b_members": text} for key, text in members.items()],
                )

    def prune(self, now: datetime, keep_inactive_days: int, keep_runs_days: int) -> list[str]:
        """Forget traces of old events, and of old runs everything; never an event that is active or
        unanswered.

        Each source keeps its last good read, the measure of its health. Returns the report folders
        of the runs that are forgotten.
        """
        measures = {row["run_id"] for row in self.last_good_reads().values()}
        changes, plans, runs, reads = t.plan_changes, t.plans, t.runs, t.source_reads
        with self._begin() as connection:
            old = now - timedelta(days=keep_inactive_days)
            events = t.snapshot_events.c
            is_open = t.OPEN
            unanswered = sa.select(changes.c.source_id).where(is_open)
            ended = (
                (events.state != "active") & (events.confirmed_at < old) & (events.ends_at < old)
            )
            connection.execute(
                t.snapshot_events.delete().where(ended, events.source_id.not_in(unanswered))
            )
            ancient = now - timedelta(days=keep_runs_days)
            ids = sa.select(plans.c.plan_id).where(plans.c.created_at < ancient)
            connection.execute(changes.delete().where(changes.c.plan_id.in_(ids), ~is_open))
            kept = sa.select(changes.c.plan_id).where(is_open)
            # pages of a plan whose run was killed before its head was stored
            connection.execute(
                changes.delete().where(
                    changes.c.plan_id.not_in(sa.select(plans.c.plan_id)), ~is_open
                )
            )
            connection.execute(
                plans.delete().where(plans.c.created_at < ancient, plans.c.plan_id.not_in(kept))
            )
            connection.execute(
                t.plan_conditions.delete().where(
                    t.plan_conditions.c.plan_id.not_in(sa.select(plans.c.plan_id))
                )
            )
            connection.execute(
                t.plan_looks.delete().where(
                    t.plan_looks.c.plan_id.not_in(sa.select(plans.c.plan_id))
                )
            )
            connection.execute(
                reads.delete().where(reads.c.read_at < ancient, reads.c.run_id.not_in(measures))
            )
            gone = (runs.c.started_at < ancient) & (runs.c.status != "running")
            ids = sa.select(runs.c.run_id).where(gone)
            connection.execute(t.quarantine.delete().where(t.quarantine.c.run_id.in_(ids)))
            folders = (
                connection.execute(
                    sa.select(runs.c.report_dir).where(gone, runs.c.report_dir.is_not(None))
                )
                .scalars()
                .all()
            )
            connection.execute(runs.delete().where(gone))
            prune_check_ins(connection, ancient)
        return list(folders)

    def _read_rows(
        self, query: sa.Select[Any], *, ordered_by: str, coded: Collection[str] = ()
    ) -> pd.DataFrame:
        """Many rows as a frame, by the bulk way."""
        with self._bulk(), self._read() as connection:
            return read_rows(connection, query, ordered_by=ordered_by, coded=coded)

    @contextmanager
    def _bulk(self) -> Iterator[None]:
        try:
            yield
        except BulkReadError as error:
            raise StateError(explain(error, self.label)) from None

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        with self._read() as connection:
            return t.read_frame(connection, query)


def _is_same(key: str, kept: str, given: str) -> bool:
    """Whether a state of one identity is the other's, too. Addresses are compared as URLs are: the
    host without case, no port that is the default.
    """
    if key != "base_url" or kept == given:
        return kept == given
    # the demo's sandbox has another port each time: this machine is this machine
    if is_loopback(kept) and is_loopback(given):
        return True
    return _plain_url(kept) == _plain_url(given)


def _plain_url(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url.strip())
    scheme = parts.scheme.lower()
    return (
        scheme,
        (parts.hostname or "").rstrip("."),
        parts.port or {"https": 443, "http": 80}.get(scheme),
        parts.path.rstrip("/"),
    )
