"""The part of the state store that forgets, renames and takes over whole sources. None of it calls
essentry.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import sqlalchemy as sa

from flows.state import tables as t
from flows.state.bulk import insert_rows
from transforms.diff.unions import read_members

REKEYED = "rekeyed"
"""The kind of the ids of events that came back under another key."""
NAMED = (
    t.snapshot_events,
    t.plan_changes,
    t.rejections,
    t.source_reads,
    t.guest_keys,
    t.quarantine,
    t.adopted_ids,
)
"""The tables whose rows name their source."""


class Sources:
    """Mixed into State, whose transactions it uses."""

    if TYPE_CHECKING:

        def _begin(self) -> AbstractContextManager[sa.Connection]: ...

        def _read(self) -> AbstractContextManager[sa.Connection]: ...

    def retire_source(self, source: str) -> int:
        """Forget a source without a call: its events stay in essentry as they are. Returns how many
        rows it had, those with others included.

        It leaves the meetings that it has in common with other sources, whose records keep the ids:
        the guests that it gave stay there. Plans that wait are superseded: they may name its
        events. Numbers of its guests stay, so that they never name another guest.
        """
        with self._begin() as connection:
            count = connection.execute(
                t.snapshot_events.delete().where(t.snapshot_events.c.source == source)
            ).rowcount
            connection.execute(
                t.plan_changes.update()
                .where(t.plan_changes.c.source == source, t.OPEN)
                .values(state="superseded")
            )
            connection.execute(t.rejections.delete().where(t.rejections.c.source == source))
            count += self._leave_unions(connection, source)
            connection.execute(
                t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded")
            )
        return count

    @staticmethod
    def _leave_unions(connection: sa.Connection, source: str) -> int:
        """Take a source's records out of the meetings of other sources. One whose id such a meeting
        carries leaves it to another record of it.
        """
        left = 0
        for table in (t.snapshot_events, t.plan_changes):
            c, keys = table.c, list(table.primary_key.columns)
            query = sa.select(*keys, c.source_id, c.source, c.members_json).where(
                c.members_json.is_not(None), c.source != source
            )
            if table is t.plan_changes:
                query = query.where(t.OPEN)
            for row in connection.execute(query).mappings().all():  # united meetings are few
                members = read_members(row["members_json"])
                rest = [member for member in members if member.partition("-")[0] != source]
                carried = row["source_id"].partition("-")[0] == source
                if rest == members and not carried:
                    continue
                mine = [c[key.name] == row[key.name] for key in keys]
                if carried and rest and table is t.snapshot_events:
                    heir = min([m for m in rest if m.partition("-")[0] == row["source"]] or rest)
                    rest.remove(heir)
                    # the heir may go by another id than its key's itself
                    mine_of_heir = sa.select(t.adopted_ids.c.own_id).where(
                        t.adopted_ids.c.adopted_id == heir, t.adopted_ids.c.kind != "guest"
                    )
                    heir = (
                        connection.execute(mine_of_heir.order_by(t.adopted_ids.c.kind)).scalar()
                        or heir
                    )
                    ids = {
                        "own_id": heir,
                        "kind": "event",
                        "adopted_id": row["source_id"],
                        "source": row["source"],
                    }
                    connection.execute(
                        t.adopted_ids.delete().where(
                            t.adopted_ids.c.own_id == heir, t.adopted_ids.c.kind != "guest"
                        )
                    )
                    connection.execute(t.adopted_ids.insert().values(**ids))
                text = orjson.dumps(rest).decode() if rest else None
                connection.execute(table.update().where(*mine).values(members_json=text))
                left += table is t.snapshot_events
        return left

    def rename_source(self, old: str, new: str) -> int:
        """Move the rows of a source to another name; their ids stay. Returns how many events it
        had, unanswered ones included. Plans that wait are superseded.
        """
        with self._begin() as connection:
            count = len(_list_events(connection, old))
            # of a source that has nothing in essentry
            connection.execute(t.source_reads.delete().where(t.source_reads.c.source == new))
            for table in NAMED:
                connection.execute(table.update().where(table.c.source == old).values(source=new))
            connection.execute(
                t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded")
            )
        return count

    def knows_source(self, source: str) -> bool:
        """Whether any row but history names the source; a request without an answer is none."""
        tables = (t.guest_keys, t.adopted_ids)
        with self._read() as connection:
            return bool(_list_events(connection, source)) or any(
                connection.execute(
                    sa.select(sa.literal(1)).where(table.c.source == source).limit(1)
                ).first()
                for table in tables
            )

    def adopted(self) -> dict[str, dict[str, str]]:
        """Ids that an event or guest has in essentry in place of its own: `event` and `guest` →
        built id → that id.

        Those that were taken over from another integration, and those of events that came back
        under another key.
        """
        found: dict[str, dict[str, str]] = {"event": {}, "guest": {}}
        with self._read() as connection:
            c = t.adopted_ids.c
            for kind, own, adopted in connection.execute(
                sa.select(c.kind, c.own_id, c.adopted_id).order_by(c.kind, c.own_id)
            ):
                # what was taken over comes first
                found["event" if kind == REKEYED else kind].setdefault(own, adopted)
        return found

    def rekeyed(self) -> dict[str, str]:
        """Built id → id in essentry of the events that came back under another key."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(t.adopted_ids.c.own_id, t.adopted_ids.c.adopted_id).where(
                    t.adopted_ids.c.kind == REKEYED
                )
            )
            return {row.own_id: row.adopted_id for row in rows}

    def keep_rekeyed(
        self, kept: Mapping[str, str], sources: Mapping[str, str], *, returned: Collection[str] = ()
    ) -> None:
        """Remember events that came back under another key: built id → id in essentry, and its
        source. An id belongs to its last event alone.

        returned: built ids that give theirs back.
        """
        heirs = set(kept.values())
        old = {
            own
            for own, adopted in self.rekeyed().items()
            if own in returned or own in kept or adopted in heirs
        }
        rows = [
            {"own_id": own, "kind": REKEYED, "adopted_id": adopted, "source": sources[own]}
            for own, adopted in kept.items()
        ]
        by_key = t.adopted_ids.delete().where(
            t.adopted_ids.c.kind == REKEYED, t.adopted_ids.c.own_id == sa.bindparam("old")
        )
        with self._begin() as connection:
            if old:
                connection.execute(by_key, [{"old": own} for own in sorted(old)])
            if rows:
                connection.execute(t.adopted_ids.insert(), rows)

    def adopt(self, ids: Sequence[Mapping[str, Any]], events: pd.DataFrame) -> None:
        """Keep ids that are taken over, and the events that essentry has under them, in one
        transaction. Plans that wait are superseded.

        ids: own_id, kind, adopted_id, source. events: rows of snapshot_events.
        """
        with self._begin() as connection:
            if ids:
                connection.execute(t.adopted_ids.insert(), [dict(row) for row in ids])
            insert_rows(connection, t.snapshot_events, events)
            connection.execute(
                t.plans.update().where(t.plans.c.status.in_(t.WAITING)).values(status="superseded")
            )


def _list_events(connection: sa.Connection, source: str) -> set[str]:
    """The events that essentry has, or may have by a request that it did not answer."""
    return {
        source_id
        for table, rows in (
            (t.snapshot_events, sa.true()),
            (t.plan_changes, t.OPEN),
        )
        for source_id in connection.scalars(
            sa.select(table.c.source_id).where(table.c.source == source, rows)
        )
    }
