"""The invitations that essentry lists for a location, read by windows of time: each to its end, or
not at all.

A window is never longer than a day where there is much to read; where there is little it grows, so
that ten quiet years are a dozen requests. No more than one window is in memory. An event belongs to
the window in which it starts, so one that reaches over a border is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.essentry.listing import get_page, open_listing, unreadable
from schemas.config import Config
from schemas.errors import EssentryError
from schemas.essentry import READ_LIMIT_MAX as PAGE

FAR = timedelta(days=3650)
DAY = timedelta(days=1)
WINDOW_ROWS = 500
"""A window longer than a day that holds more invitations is halved before it is read."""
WHAT = "invitations"
TRIES = 5
"""Readings of a window whose count moves meanwhile."""
Rows = list[dict[str, Any]]


class _TooMany(Exception):
    """A window holds more than is read at once."""


def read_invitations(
    config: Config, location_id: int, *, now: datetime, until: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Every invitation of a location to an event that is not over and starts before `until`, one
    after the other.

    Raises EssentryError when they cannot be read to the end.
    """
    for _, found in read_windows(config, location_id, now=now, until=until):
        yield from found


def read_windows(
    config: Config, location_id: int, *, now: datetime, until: datetime | None = None
) -> Iterator[tuple[tuple[datetime | None, datetime], Rows]]:
    """Windows of time one after the other: (start, end) and the invitations to events that start
    from `start` on and before `end`.

    The first start is None: what has begun and is not over belongs to the first window. until:
    default ten years ahead. Raises EssentryError.
    """
    start: datetime | None = None
    begin = now.replace(microsecond=0)
    last = until or begin + FAR
    length = DAY
    url = f"{config.essentry.base_url}/locations/{location_id}/invitations"
    with open_listing(config) as client:
        while begin < last:
            end = min(begin + length, last)
            query = {
                "endsAfter": begin.isoformat(),
                "beginsBefore": end.isoformat(),
                "limit": str(PAGE),
            }
            try:
                found = _read_steady(
                    client, url, query, most=WINDOW_ROWS if end - begin > DAY else None
                )
            except _TooMany:
                length = max(DAY, length / 2)
                continue
            yield (start, end), [row for row in found if _belongs(row, start, end, url)]
            length = length * 2 if len(found) <= PAGE else max(DAY, length / 2)
            begin = start = end


def read_start(row: Mapping[str, Any]) -> datetime:
    """When the event of a listed invitation starts, UTC. Raises ValueError."""
    event = row.get("event")
    at = (
        datetime.fromisoformat(event["startsAt"])
        if isinstance(event, dict) and isinstance(event.get("startsAt"), str)
        else None
    )
    if at is None or at.tzinfo is None:
        raise ValueError("an invitation without the start of its event")
    return at.astimezone(UTC)


def _belongs(row: Mapping[str, Any], start: datetime | None, end: datetime, url: str) -> bool:
    try:
        return (start is None or read_start(row) >= start) and read_start(row) < end
    except ValueError as error:
        raise unreadable(url, WHAT, error) from None


def _read_steady(
    client: httpx.Client, url: str, query: dict[str, str], *, most: int | None
) -> Rows:
    """A window that did not move while it was read. Raises EssentryError when it never rests,
    _TooMany when it holds more than `most`.
    """
    for _ in range(TRIES):
        found = _read_window(client, url, query, most=most)
        if found is not None:
            return found
    raise EssentryError(
        f"essentry's invitations change while they are read back from {url}: "
        "try again when nobody is working on them"
    )


def _read_window(
    client: httpx.Client, url: str, query: dict[str, str], *, most: int | None
) -> Rows | None:
    """All pages of a window of time; None when its count moved in between: a page may then have
    been skipped, or read twice.

    Raises EssentryError for an answer that is no whole page: what was cut off must not look like
    the end.
    """
    found: Rows = []
    expected: int | None = None
    while True:
        rows, total = get_page(
            client, url, query | {"offset": str(len(found))}, key="invitations", what=WHAT
        )
        if not all(isinstance(row, dict) for row in rows):
            raise unreadable(url, WHAT, ValueError())
        if expected not in (None, total):
            return None
        if most is not None and total > most:
            raise _TooMany
        expected = total
        found += rows
        if len(found) == total:
            return (
                found
                if len({row.get("id") for row in found}) == total
                or any("id" not in row for row in found)
                else None
            )
        if not rows or len(found) > total:
            return None
