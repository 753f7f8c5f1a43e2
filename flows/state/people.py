"""What the state store knows of people, and how it forgets them; mixed into `State`. Fingerprints
and ids stay, for the diff needs them.

Never touched: a meeting that is not over (its guests are still invited, and the next change of it
is a difference to this content), a request whose outcome is unknown, and a plan that may still be
sent (its digest is over its content). What is left for later is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.check_ins import forget_old_visitors, forget_visitor
from flows.state.reports import Store
from transforms.masking import keep_ids, mask_ledger
from transforms.operations.forget import find_names_in_texts, forget_in_texts, forget_words

CHUNK = 500
_MASKED = '"masked":true'
_TEXTS = ("fields_json", "guests_json", "after", "body", "name", "message")


@dataclass
class Forgotten:
    """What was taken out, and what waits. `upcoming`: events that still invite the guest; `until`:
    when the last of them ends.
    """

    events: int = 0
    changes: int = 0
    reports: int = 0
    keys: int = 0
    upcoming: list[str] = field(default_factory=list)
    until: datetime | None = None
    unanswered: int = 0
    waiting: int = 0
    numbers: int = 0
    visits: int = 0

    @property
    def complete(self) -> bool:
        """True when nothing waits."""
        return not (self.upcoming or self.unanswered or self.waiting or self.numbers)


class PersonalData:
    """Forgetting."""

    def forget_guest(self: Store, address: str, *, now: datetime) -> tuple[Forgotten, set[str]]:
        """Take a guest out of ended events, settled changes, the quarantine and rejections; also
        returns the names. address: lower case.
        """
        found = Forgotten()
        snapshot, changes, plans = t.snapshot_events, t.plan_changes, t.plans
        with self._begin() as connection:
            names = _find_events(connection, address)
            for start in range(0, len(names), CHUNK):
                ids = sorted(names)[start : start + CHUNK]
                query = sa.select(
                    snapshot.c.source_id,
                    snapshot.c.name,
                    snapshot.c.payload,
                    snapshot.c.state,
                    snapshot.c.ends_at,
                )
                for row in connection.execute(query.where(snapshot.c.source_id.in_(ids))).all():
                    new = forget_in_texts(
                        {"payload": row.payload, "name": row.name}, address, names[row.source_id]
                    )
                    # of a row that was taken over and could not be read no end is known
                    if row.state == "active" and (row.ends_at is None or row.ends_at > now):
                        if "payload" in new and address in row.payload:
                            found.upcoming.append(row.source_id)
                            ends = [at for at in (found.until, row.ends_at) if at is not None]
                            found.until = max(ends, default=None)
                    elif new:
                        connection.execute(
                            snapshot.update()
                            .where(snapshot.c.source_id == row.source_id)
                            .values(**new)
                        )
                        found.events += 1
                texts = [changes.c[name] for name in _TEXTS]
                query = sa.select(
                    changes.c.plan_id,
                    changes.c.seq,
                    changes.c.source_id,
                    changes.c.state,
                    plans.c.status,
                    *texts,
                )
                query = query.join(plans, plans.c.plan_id == changes.c.plan_id).where(
                    changes.c.source_id.in_(ids)
                )
                for row in connection.execute(query).all():
                    new = forget_in_texts(
                        {name: getattr(row, name) for name in _TEXTS}, address, names[row.source_id]
                    )
                    if not new:
                        continue
                    if row.state in ("sending", "unknown"):
                        found.unanswered += 1
                    elif row.status in t.WAITING:
                        found.waiting += 1
                    else:
                        key = (changes.c.plan_id == row.plan_id) & (changes.c.seq == row.seq)
                        connection.execute(changes.update().where(key).values(**new))
                        found.changes += 1
            found.visits = forget_visitor(connection, address, names)
            kept = t.quarantine
            connection.execute(
                kept.update().where(sa.func.lower(kept.c.guest_id) == address).values(guest_id=None)
            )
            connection.execute(
                kept.update()
                .where(sa.func.lower(kept.c.value).contains(address, autoescape=True))
                .values(value=None)
            )
            told = t.rejections
            for row in connection.execute(
                sa.select(told.c.source_id, told.c.message).where(
                    sa.func.lower(told.c.message).contains(address, autoescape=True)
                )
            ).all():
                words = forget_words(row.message, address, ())
                connection.execute(
                    told.update().where(told.c.source_id == row.source_id).values(message=words)
                )
        return found, set().union(*names.values())

    def forget_numbers(self: Store, digest: str, found: Forgotten) -> None:
        """Drop the digests of an address whose number no event refers to any more.

        digest: of the address. Should the guest come again, it is the same number.
        """
        keys, snapshot, changes = t.guest_keys, t.snapshot_events, t.plan_changes
        with self._begin() as connection:
            # an older release kept the address alone
            by_address = sa.or_(keys.c.address_digest == digest, keys.c.key_digest == digest)
            rows = connection.execute(sa.select(keys).where(by_address)).all()
            for row in rows:
                part = f"~g{row.number}"
                ends = (f'{part}"', f"{part}~s")  # without and with a seal
                sent = sa.func.coalesce(changes.c.after, changes.c.body)
                uses = (
                    sa.select(sa.literal(1)).where(
                        sa.or_(*(snapshot.c.payload.contains(end, autoescape=True) for end in ends))
                    ),
                    sa.select(sa.literal(1)).where(
                        changes.c.state.in_(["sending", "unknown", "planned"]),
                        sa.or_(*(sent.contains(end, autoescape=True) for end in ends)),
                    ),
                    sa.select(sa.literal(1)).where(
                        t.adopted_ids.c.own_id.endswith(part, autoescape=True)
                    ),
                )
                if any(connection.execute(use.limit(1)).first() for use in uses):
                    found.numbers += 1
                    continue
                mine = (keys.c.source == row.source) & (keys.c.key_digest == row.key_digest)
                connection.execute(keys.delete().where(mine))
                found.keys += 1

    def forget_old(self: Store, before: datetime) -> int:
        """Mask the people of settled changes planned before an instant, and of events that ended
        before it. Returns how many rows changed.
        """
        snapshot, changes, plans = t.snapshot_events, t.plan_changes, t.plans
        count = 0
        with self._begin() as connection:
            ended = (
                (snapshot.c.state != "active")
                & (snapshot.c.ends_at < before)
                & snapshot.c.payload.contains('"name":', autoescape=True)
            )
            for row in connection.execute(
                sa.select(snapshot.c.source_id, snapshot.c.payload).where(ended)
            ).all():
                mine = snapshot.c.source_id == row.source_id
                connection.execute(
                    snapshot.update().where(mine).values(payload=keep_ids(row.payload), name=None)
                )
                count += 1
            old = (plans.c.created_at < before) & plans.c.status.not_in(t.WAITING)
            settled = changes.c.state.not_in(["sending", "unknown"]) & (
                changes.c.after.is_not(None)
                | changes.c.body.is_not(None)
                | changes.c.name.is_not(None)
            )
            query = sa.select(
                changes.c.plan_id,
                changes.c.seq,
                changes.c.fields_json,
                changes.c.guests_json,
                changes.c.message,
            )
            rows = connection.execute(
                query.join(plans, plans.c.plan_id == changes.c.plan_id).where(old, settled)
            ).all()
            for start in range(0, len(rows), CHUNK):
                _mask_rows(connection, rows[start : start + CHUNK])
            count += len(rows) + forget_old_visitors(connection, before)
        return count

    def list_personal(self: Store, before: datetime) -> list[dict[str, str]]:
        """run_id and report_dir of the runs that began before an instant and whose files were not
        masked yet.
        """
        c = t.runs.c
        old = (
            (c.started_at < before)
            & c.report_dir.is_not(None)
            & ~sa.func.coalesce(c.summary_json, "").contains(_MASKED, autoescape=True)
        )
        with self._read() as connection:
            return [
                dict(row)
                for row in connection.execute(
                    sa.select(c.run_id, c.report_dir).where(old)
                ).mappings()
            ]

    def note_masked(self: Store, run_id: str) -> None:
        """Remember that a run's files hold no people any more."""
        with self._begin() as connection:
            kept = connection.execute(
                sa.select(t.runs.c.summary_json).where(t.runs.c.run_id == run_id)
            ).scalar()
            summary = {**orjson.loads(kept or "{}"), "masked": True}
            connection.execute(
                t.runs.update()
                .where(t.runs.c.run_id == run_id)
                .values(summary_json=orjson.dumps(summary).decode())
            )


def _find_events(connection: sa.Connection, address: str) -> dict[str, set[str]]:
    """source_id → names of the guest with this address, of every event whose guest that is or
    was.
    """
    names: dict[str, set[str]] = {}
    snapshot, changes = t.snapshot_events, t.plan_changes
    texts = [changes.c[name] for name in ("guests_json", "after", "body", "message")]
    for query in (
        sa.select(snapshot.c.source_id, snapshot.c.payload).where(
            snapshot.c.payload.contains(address, autoescape=True)
        ),
        sa.select(changes.c.source_id, *texts).where(
            sa.or_(*(text.contains(address, autoescape=True) for text in texts))
        ),
    ):
        for source_id, *found in connection.execute(query):
            names.setdefault(source_id, set()).update(find_names_in_texts(found, address))
    return names


def _mask_rows(connection: sa.Connection, rows: Sequence[sa.Row]) -> None:
    changes = t.plan_changes
    update = changes.update().where(
        changes.c.plan_id == sa.bindparam("b_plan"), changes.c.seq == sa.bindparam("b_seq")
    )
    update = update.values(
        after=None,
        body=None,
        name=None,
        **{name: sa.bindparam(f"b_{name}") for name in ("fields_json", "guests_json", "message")},
    )
    values = []
    for row in rows:
        masked = mask_ledger(row.fields_json, row.guests_json, row.message)
        values.append(
            {
                "b_plan": row.plan_id,
                "b_seq": row.seq,
                **{f"b_{key}": text for key, text in masked.items()},
            }
        )
    connection.execute(update, values)
