"""The invitations that essentry lists for a location, read by windows of time: each to its end, or not at all.

A window is never longer than a day where there is much to read; where there is little it grows, so that ten
quiet years are a dozen requests. No more than one window is in memory. An event belongs to the window in which it
starts, so one that reaches over a border is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from flows.connections.secrets import read_tokens
from schemas.config import Config, is_loopback
from schemas.errors import EssentryError, EssentryUnauthorised
from schemas.essentry import READ_LIMIT_MAX as PAGE

FAR = timedelta(days=3650)
DAY = timedelta(days=1)
WINDOW_ROWS = 500
"""A window longer than a day that holds more invitations is halved before it is read."""
TRIES = 5
"""Readings of a window whose count moves meanwhile."""
ASKED = 4
"""Requests for one page, as long as the answer is a passing failure."""
LONGEST_WAIT = 120.0
"""Seconds of a Retry-After that are waited; who asks for more is asked again another time."""

Rows = list[dict[str, Any]]


class _Busy(Exception):
    """A passing failure; `seconds` is what its Retry-After asks for."""

    def __init__(self, what: str, seconds: float = 0.0) -> None:
        super().__init__(what)
        self.seconds = seconds


class _TooMany(Exception):
    """A window holds more than is read at once."""


def read_invitations(config: Config, location_id: int, *, now: datetime, until: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Every invitation of a location to an event that is not over and starts before `until`, one after the other.

    Raises EssentryError when they cannot be read to the end.
    """
    for _, found in read_windows(config, location_id, now=now, until=until):
        yield from found


def read_windows(
    config: Config, location_id: int, *, now: datetime, until: datetime | None = None
) -> Iterator[tuple[tuple[datetime | None, datetime], Rows]]:
    """Windows of time one after the other: (start, end) and the invitations to events that start from `start` on and before `end`.

    The first start is None: what has begun and is not over belongs to the first window. until: default ten years ahead. Raises EssentryError.
    """
    token, _ = read_tokens(config)
    settings = config.essentry
    start: datetime | None = None
    begin = now.replace(microsecond=0)
    last = until or begin + FAR
    length = DAY
    headers, url = {"Authorization": f"Bearer {token}"}, f"{settings.base_url}/locations/{location_id}/invitations"
    with httpx.Client(headers=headers, timeout=settings.timeout_seconds, trust_env=not is_loopback(settings.base_url)) as client:
        while begin < last:
            end = min(begin + length, last)
            query = {"endsAfter": begin.isoformat(), "beginsBefore": end.isoformat(), "limit": str(PAGE)}
            try:
                found = _read_steady(client, url, query, most=WINDOW_ROWS if end - begin > DAY else None)
            except _TooMany:
                length = max(DAY, length / 2)
                continue
            yield (start, end), [row for row in found if _belongs(row, start, end, url)]
            length = length * 2 if len(found) <= PAGE else max(DAY, length / 2)
            begin = start = end


def read_start(row: Mapping[str, Any]) -> datetime:
    """When the event of a listed invitation starts, UTC. Raises ValueError."""
    event = row.get("event")
    at = datetime.fromisoformat(event["startsAt"]) if isinstance(event, dict) and isinstance(event.get("startsAt"), str) else None
    if at is None or at.tzinfo is None:
        raise ValueError("an invitation without the start of its event")
    return at.astimezone(UTC)


def _belongs(row: Mapping[str, Any], start: datetime | None, end: datetime, url: str) -> bool:
    try:
        return (start is None or read_start(row) >= start) and read_start(row) < end
    except ValueError as error:
        raise _unreadable(url, error) from None


def _read_steady(client: httpx.Client, url: str, query: dict[str, str], *, most: int | None) -> Rows:
    """A window that did not move while it was read. Raises EssentryError when it never rests, _TooMany when it holds more than `most`."""
    for _ in range(TRIES):
        found = _read_window(client, url, query, most=most)
        if found is not None:
            return found
    raise EssentryError(f"essentry's invitations change while they are read back from {url}: try again when nobody is working on them")


def _read_window(client: httpx.Client, url: str, query: dict[str, str], *, most: int | None) -> Rows | None:
    """All pages of a window of time; None when its count moved in between: a page may then have been skipped, or read twice.

    Raises EssentryError for an answer that is no whole page: what was cut off must not look like the end.
    """
    found: Rows = []
    expected: int | None = None
    while True:
        answer = _get(client, url, query | {"offset": str(len(found))})
        total = answer["pageInfo"]["totalCount"]
        if expected not in (None, total):
            return None
        if most is not None and total > most:
            raise _TooMany
        expected = total
        found += answer["invitations"]
        if len(found) == total:
            return found if len({row.get("id") for row in found}) == total or any("id" not in row for row in found) else None
        if not answer["invitations"] or len(found) > total:
            return None


def _get(client: httpx.Client, url: str, query: dict[str, str]) -> dict[str, Any]:
    backoff = wait_random_exponential(max=20)

    def wait(state: RetryCallState) -> float:
        lost = state.outcome.exception() if state.outcome else None
        return backoff(state) + (lost.seconds if isinstance(lost, _Busy) else 0.0)

    try:
        for attempt in Retrying(
            stop=stop_after_attempt(ASKED), wait=wait, retry=retry_if_exception_type((httpx.TransportError, _Busy)), reraise=True
        ):
            with attempt:
                response = client.get(url, params=query)
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise _Busy(f"status {response.status_code}", _asked_to_wait(response))
        if response.status_code in (401, 403):
            raise EssentryUnauthorised(f"essentry refused the token ({response.status_code}): put a valid one in its place")
        answer = response.raise_for_status().json()
        if not isinstance(answer, dict) or not _are_rows(answer.get("invitations")):
            raise ValueError("no list of invitations")
        page = answer.get("pageInfo")
        if not isinstance(page, dict) or not isinstance(page.get("totalCount"), int) or isinstance(page["totalCount"], bool):
            raise ValueError("no number of invitations")
        return answer
    except (httpx.HTTPError, ValueError, _Busy) as error:
        raise _unreadable(url, error) from None


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _asked_to_wait(response: httpx.Response) -> float:
    """Seconds that Retry-After asks for, as seconds or as an HTTP date; 0 without one that can be read."""
    value = response.headers.get("Retry-After", "").strip()
    seconds = 0.0
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    elif value:
        with suppress(ValueError, TypeError):
            until = parsedate_to_datetime(value)
            given = response.headers.get("Date")
            seconds = (until - (parsedate_to_datetime(given) if given else datetime.now(UTC))).total_seconds()
    return min(max(0.0, seconds), LONGEST_WAIT)


def _unreadable(url: str, error: Exception) -> EssentryError:
    what = str(error) if isinstance(error, _Busy) else type(error).__name__
    return EssentryError(f"essentry's invitations cannot be read back from {url} ({what}): try again later")
