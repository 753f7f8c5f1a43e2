"""The SQL views of the state store: what people and other programs may rest their queries on,
whatever becomes of the tables.

They are made anew in one place, after every upgrade: before it they are taken away, so that no
migration meets a view in its way. The columns of a view are only ever added to; whoever changes a
definition raises VERSION, and stores of that version get the new ones when they are next opened.

Instants are texts of UTC to the second, `2026-11-24T02:00:00Z`, which sort and compare as instants
do and are the same on SQLite and PostgreSQL. No view has a title, a payload, a name, an address,
essentry's or a source's own words: ids, times, counts, states and codes alone. An id is as the
source made it, and that of an invitation (v_visits) ends in the guest's key there; a visit's state
is the word of the customer's own flow.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

VERSION = 2
"""Of the views together; `SELECT version FROM v_version` tells that of a store."""
NAMES = ("v_runs", "v_snapshot", "v_changelog", "v_problems", "v_visits", "v_version")

_RUNS = """
SELECT r.run_id, r.kind, r.status, r.exit_code, @r.started_at AS started_at, @r.finished_at AS finished_at, @r.as_of AS as_of, r.plan_id,
    s.events AS events_read, s.guests AS guests_read, s.quarantined AS rows_quarantined,
    COALESCE(c.confirmed, 0) AS changes_confirmed, COALESCE(c.rejected, 0) AS changes_rejected, COALESCE(c.unanswered, 0) AS changes_unanswered
FROM runs r
LEFT JOIN (
    SELECT run_id, CAST(SUM(events) AS BIGINT) AS events, CAST(SUM(guests) AS BIGINT) AS guests, CAST(SUM(quarantined) AS BIGINT) AS quarantined
    FROM source_reads GROUP BY run_id
) s ON s.run_id = r.run_id
LEFT JOIN (
    SELECT run_id, COUNT(CASE WHEN state = 'confirmed' THEN 1 END) AS confirmed, COUNT(CASE WHEN state = 'rejected' THEN 1 END) AS rejected,
        COUNT(CASE WHEN state IN ('sending', 'unknown') THEN 1 END) AS unanswered
    FROM plan_changes WHERE run_id IS NOT NULL GROUP BY run_id
) c ON c.run_id = r.run_id
"""  # noqa: E501
_SNAPSHOT = """
SELECT e.source_id, e.source, e.location_id, @e.starts_at AS starts_at, @e.ends_at AS ends_at, e.state, e.guests,
    COALESCE(e.absent_runs, 0) AS absent_runs, e.confirmed_run, @e.confirmed_at AS confirmed_at
FROM snapshot_events e
"""  # noqa: E501
_CHANGELOG = """
SELECT c.plan_id, c.seq, @p.created_at AS planned_at, c.source_id, c.source, c.location_id, c.action, c.reason, @c.starts_at AS starts_at,
    @c.ends_at AS ends_at, c.guests, c.state, c.code, c.run_id, @c.sent_at AS sent_at, @c.answered_at AS answered_at,
    p.status AS plan_status, CASE WHEN p.approved_at IS NULL THEN 0 ELSE 1 END AS approved
FROM plan_changes c JOIN plans p ON p.plan_id = c.plan_id
"""  # noqa: E501
_PROBLEMS = """
SELECT 'quarantined' AS kind, q.source, q.source_id, q.source_event_id, q.part, q."column" AS column_name, q."check" AS code, q.remedy,
    CAST(NULL AS BIGINT) AS tries, q.run_id, @l.read_at AS seen_at, CAST(NULL AS TEXT) AS next_at
FROM quarantine q
JOIN source_reads l ON l.run_id = q.run_id AND l.source = q.source
WHERE NOT EXISTS (
    SELECT 1 FROM source_reads n WHERE n.source = l.source AND (n.read_at > l.read_at OR (n.read_at = l.read_at AND n.run_id > l.run_id))
)
UNION ALL
SELECT 'rejected', j.source, j.source_id, NULL, NULL, NULL, j.code, NULL, j.tries, j.last_run, @j.last_at, @j.next_at
FROM rejections j
UNION ALL
SELECT 'unanswered', c.source, c.source_id, NULL, NULL, NULL, c.code, NULL, NULL, c.run_id, @c.sent_at, NULL
FROM plan_changes c WHERE c.state IN ('sending', 'unknown')
"""  # noqa: E501
_VISITS = """
SELECT k.checkin_id, k.location_id, k.invitation_id, k.event_id AS source_id, e.source,
    COALESCE(@e.starts_at, @k.starts_at) AS starts_at, COALESCE(@e.ends_at, @k.ends_at) AS ends_at, e.state AS event_state,
    k.state AS visit_state, @k.arrived_at AS arrived_at, @k.left_at AS left_at, k.reason, @k.read_at AS read_at
FROM checkins k LEFT JOIN snapshot_events e ON e.source_id = k.event_id
"""  # noqa: E501
_INSTANT = {
    "postgresql": r"to_char(to_timestamp(\1 / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"
    + '"T"HH24:MI:SS"Z"'
    + "')",
    "sqlite": r"strftime('%Y-%m-%dT%H:%M:%SZ', \1 / 1000000, 'unixepoch')",
}


def define_views(dialect: str) -> dict[str, str]:
    """Name → SELECT of every view, in SQLAlchemy's `sqlite` or `postgresql`."""
    texts = {
        "v_runs": _RUNS,
        "v_snapshot": _SNAPSHOT,
        "v_changelog": _CHANGELOG,
        "v_problems": _PROBLEMS,
        "v_visits": _VISITS,
    }
    texts["v_version"] = f"SELECT {VERSION} AS version"
    return {
        name: re.sub(r"@(\w\.\w+)", _INSTANT[dialect], text.strip()) for name, text in texts.items()
    }


def has_views(connection: sa.Connection) -> bool:
    """Whether the store has every view, of this VERSION or a newer one."""
    if not set(NAMES) <= set(sa.inspect(connection).get_view_names()):
        return False
    return int(connection.exec_driver_sql("SELECT version FROM v_version").scalar() or 0) >= VERSION


def drop_views(connection: sa.Connection) -> None:
    """Take the views away; views of others that rest on them keep PostgreSQL from it, and are not
    lost.
    """
    for name in NAMES:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


def create_views(connection: sa.Connection) -> None:
    """Make the views of a store of the newest form."""
    for name, text in define_views(connection.dialect.name).items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {text}")
