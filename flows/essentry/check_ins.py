"""The check-ins that essentry lists for a location, a page at a time. Reads only.

`leftAfter` and `leftBefore` are compulsory, and filter on leaving. Neither the order of the pages
nor what is answered of people still inside is documented: a window is read once more when its count
moved, and whoever is listed without having left is taken as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.essentry.listing import get_page, open_listing
from schemas.config import Config
from schemas.errors import EssentryError

PAGE = 50
"""The most that essentry lists in one answer."""
WINDOW = timedelta(days=1)
MOST = 2_000
"""A window of more check-ins is halved, so that one that moves is soon read again."""
EDGE = timedelta(seconds=1)
"""So far before a window its reading begins: whether `leftAfter` takes in that very moment is not
documented.
"""
LEAST = timedelta(minutes=1)
TRIES = 5
"""Readings of a window whose count moves meanwhile."""
Page = list[Any]
Asked = tuple[datetime, Page]
"""When a page was asked for, by this machine's clock, and what it holds."""


class CheckInReader:
    """Use it inside `with open_reader(config) as reader`. Every method raises EssentryError when
    essentry cannot be read.
    """

    def __init__(self, http: httpx.Client, base_url: str) -> None:
        self._http, self._base_url = http, base_url

    def read_windows(
        self, location_id: int, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, Iterator[Asked]]]:
        """Windows in order, as the end of each and its pages. The next window must be asked for
        after the last page of this one was taken.

        Pages may repeat a check-in: of a window that moved while it was read, and of whoever is
        still inside.
        """
        while since < until:
            end, total = min(since + WINDOW, until), 0
            while True:
                total = self._count(location_id, since, end)
                if total <= MOST or end - since <= LEAST:
                    break
                end = since + (end - since) / 2
            yield end, self._read_window(location_id, since, end) if total else iter(())
            since = end

    def _count(self, location_id: int, since: datetime, until: datetime) -> int:
        return self._get(location_id, since, until, limit=1, offset=0)[1]

    def _read_window(self, location_id: int, since: datetime, until: datetime) -> Iterator[Asked]:
        """The pages of a window, until one reading found as many different check-ins as essentry
        counted from its first page to its last.
        """
        for _ in range(TRIES):
            seen: set[str] = set()
            offset, totals = 0, set()
            while True:
                asked_at = datetime.now(UTC)
                page, total = self._get(location_id, since, until, limit=PAGE, offset=offset)
                totals.add(total)
                seen.update(
                    str(row.get("id")) if isinstance(row, dict) else f"row {offset + place}"
                    for place, row in enumerate(page)
                )
                offset += len(page)
                if page:
                    yield asked_at, page
                if not page or offset >= total:
                    break
            if totals == {len(seen)}:
                return
        raise EssentryError(
            f"essentry's check-ins of location {location_id} change while they are read back: "
            "what was read is kept; run again"
        )

    def _get(
        self, location_id: int, since: datetime, until: datetime, *, limit: int, offset: int
    ) -> tuple[Page, int]:
        url = f"{self._base_url}/locations/{location_id}/check-ins"
        query = {
            "leftAfter": _text(since - EDGE),
            "leftBefore": _text(until),
            "limit": str(limit),
            "offset": str(offset),
        }
        return get_page(self._http, url, query, key="checkIns", what="check-ins")


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def open_reader(config: Config) -> Iterator[CheckInReader]:
    """A reader of the configured essentry. Raises ConfigurationError for a missing token."""
    with open_listing(config) as http:
        yield CheckInReader(http, config.essentry.base_url)
