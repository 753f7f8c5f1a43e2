"""The same night by the best engine alone: SQL of DuckDB from rows to payloads, batches sent four
at once, tables as the snapshot.

It sends what essentry-sync sends, body for body, and owes nothing else: no ledger, no guards, no
second look, no quarantine, no report; a night that is killed has lost what it sent. It is the
measure of what those cost.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import httpx
import orjson
import pyarrow as pa

from tests.bench.timing import timed

AT_ONCE = 4
BATCH = 100
_ADDRESS = r"[^@\s]+@[^@\s]+\.[^@\s]+"
_ESCAPED = "replace({0}, '-', '~2D')"
"""The keys of the benchmark's company hold no other character that an id must not."""
_TRANSFORM = f"""
CREATE TABLE events AS
SELECT 'rooms-' || {_ESCAPED.format("source_event_id")} AS source_id,
       trim(regexp_replace(name, '\\s+', ' ', 'g')) AS name, description,
       strftime(starts_at::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS starts_at,
       strftime(ends_at::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS ends_at,
       100 + site_key::INTEGER AS location_id,
       lower(trim(host_email)) AS host_email, host_first_name, host_last_name
FROM raw_events
WHERE status = 'confirmed' AND regexp_full_match(trim(host_email), '{_ADDRESS}');
CREATE TABLE guests AS
SELECT source_id, source_id || '-' || {_ESCAPED.format("guest_id")} AS invitation_id, email,
       first_name, last_name, company_name, language
FROM (SELECT 'rooms-' || {_ESCAPED.format("source_event_id")} AS source_id, guest_id,
             lower(trim(email)) AS email, first_name, last_name, company_name,
             upper(language[:2]) AS language
      FROM raw_guests) SEMI JOIN events USING (source_id)
WHERE regexp_full_match(email, '{_ADDRESS}') AND NOT ends_with(email, '@corp.example');
"""
_DIFF = f"""
CREATE TABLE changed_guests AS
SELECT coalesce(new.source_id, old.source_id) AS source_id,
       coalesce(new.invitation_id, old.invitation_id) AS invitation_id,
       new.invitation_id IS NULL AS gone, new.email, new.first_name, new.last_name,
       new.company_name, new.language
FROM guests AS new FULL JOIN state.guests AS old USING (source_id, invitation_id)
WHERE new IS DISTINCT FROM old;
CREATE TABLE changes AS
SELECT new.*, old.source_id IS NULL AS is_new,
       is_new OR new.name <> old.name AS new_name,
       is_new OR new.starts_at <> old.starts_at AS new_start,
       is_new OR new.ends_at <> old.ends_at AS new_end,
       is_new OR new.location_id <> old.location_id AS new_place,
       is_new OR (new.host_email, new.host_first_name, new.host_last_name) IS DISTINCT FROM
                 (old.host_email, old.host_first_name, old.host_last_name) AS new_host
FROM events AS new LEFT JOIN state.events AS old USING (source_id)
WHERE new IS DISTINCT FROM old OR new.source_id IN (SELECT source_id FROM changed_guests);
CREATE TABLE deletes AS
SELECT source_id FROM state.events ANTI JOIN events USING (source_id)
WHERE source_id NOT IN (SELECT 'rooms-' || {_ESCAPED.format("source_event_id")}
                        FROM raw_events WHERE status <> 'confirmed');
"""
_PAYLOAD = """
WITH lists AS (
    SELECT source_id, string_agg(
        CASE WHEN gone
             THEN '{"sourceId":' || to_json(invitation_id) || ',"deletedAt":"' || $as_of || '"}'
             ELSE '{"sourceId":' || to_json(invitation_id) || ',"email":' || to_json(email)
                  || ',"firstName":' || to_json(first_name) || ',"lastName":' || to_json(last_name)
                  || ',"companyName":' || to_json(company_name)
                  || ',"language":' || to_json(language) || '}' END,
        ',' ORDER BY gone, invitation_id) AS listed
    FROM changed_guests GROUP BY source_id)
SELECT '{"sourceId":' || to_json(source_id)
       || CASE WHEN new_name THEN ',"name":' || to_json(name) ELSE '' END
       || CASE WHEN description IS NULL THEN '' ELSE ',"description":' || to_json(description) END
       || CASE WHEN new_start THEN ',"startsAt":"' || starts_at || '"' ELSE '' END
       || CASE WHEN new_end THEN ',"endsAt":"' || ends_at || '"' ELSE '' END
       || CASE WHEN new_place THEN ',"locationId":' || location_id ELSE '' END
       || CASE WHEN new_host
               THEN ',"host":{"email":' || to_json(host_email)
                    || ',"firstName":' || to_json(host_first_name)
                    || ',"lastName":' || to_json(host_last_name) || '}'
               ELSE '' END
       || CASE WHEN listed IS NULL THEN '' ELSE ',"invitations":[' || listed || ']' END
       || '}' AS body, starts_at
FROM changes LEFT JOIN lists USING (source_id)
UNION ALL
SELECT '{"sourceId":' || to_json(source_id) || ',"deletedAt":"' || $as_of || '"}', '9999'
FROM deletes
ORDER BY starts_at
"""
_SNAPSHOT = """
BEGIN;
CREATE OR REPLACE TABLE state.events AS FROM events;
CREATE OR REPLACE TABLE state.guests AS FROM guests;
COMMIT;
CHECKPOINT state;
"""
_FIRST = """
CREATE TABLE IF NOT EXISTS state.events AS FROM events LIMIT 0;
CREATE TABLE IF NOT EXISTS state.guests AS FROM guests LIMIT 0;
"""


def run_night(
    events: pa.Table,
    guests: pa.Table,
    state: Path,
    base_url: str,
    *,
    as_of: str,
    seconds: dict[str, float],
) -> dict[str, int]:
    """One night; the number of creates, updates and deletes. `seconds` is filled by step.

    events, guests: the source's rows as text. state: a file of DuckDB. as_of: when the deletes are,
    ISO 8601.
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{state}' AS state")
        connection.register("raw_events", events)
        connection.register("raw_guests", guests)
        with timed(seconds, "transform"):
            connection.execute(_TRANSFORM)
        with timed(seconds, "diff"):
            connection.execute(_FIRST)
            connection.execute(_DIFF)
        with timed(seconds, "payload"):
            found = connection.execute(_PAYLOAD, {"as_of": as_of}).to_arrow_table()
            bodies = [body.encode() for body in found["body"].to_pylist()]
        with timed(seconds, "load"):
            asyncio.run(_send(bodies, base_url))
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM changes WHERE is_new), "
            "(SELECT count(*) FROM changes WHERE NOT is_new), (SELECT count(*) FROM deletes)"
        ).fetchone()
        with timed(seconds, "snapshot"):
            connection.execute(_SNAPSHOT)
    assert counts is not None
    return dict(zip(("create", "update", "delete"), counts, strict=True))


async def _send(bodies: list[bytes], base_url: str) -> None:
    head = b'{"agentToken":"00000000-0000-4000-8000-000000000000","events":['
    batches = iter([bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)])
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}

    async def work(client: httpx.AsyncClient) -> None:
        for batch in batches:
            answer = await client.put(
                f"{base_url}/events?ignoreMissingInvitations=true",
                content=head + b",".join(batch) + b"]}",
            )
            answer.raise_for_status()
            told = orjson.loads(answer.content)["events"]
            assert all(event["status"] == "SUCCESS" for event in told)

    async with httpx.AsyncClient(headers=headers) as client:
        await asyncio.gather(*(work(client) for _ in range(AT_ONCE)))
