"""The invitations that essentry lists for a location, read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from flows.connections.secrets import read_tokens
from schemas.config import Config, is_loopback
from schemas.errors import EssentryError, EssentryUnauthorised

PAGE = 50
"""The most invitations that essentry lists in one answer."""

FAR = timedelta(days=3650)
TRIES = 5
"""Readings of a window whose count moves meanwhile."""


def read_invitations(config: Config, location_id: int, *, now: datetime) -> Iterator[dict[str, Any]]:
    """Every invitation of a location to an event that is not over. Raises EssentryError when they cannot be read to the end."""
    token, _ = read_tokens(config)
    settings = config.essentry
    start = now.replace(microsecond=0)
    query = {"endsAfter": start.isoformat(), "beginsBefore": (start + FAR).isoformat(), "limit": str(PAGE)}
    with httpx.Client(
        headers={"Authorization": f"Bearer {token}"}, timeout=settings.timeout_seconds, trust_env=not is_loopback(settings.base_url)
    ) as client:
        url = f"{settings.base_url}/locations/{location_id}/invitations"
        for _ in range(TRIES):
            found = _read_window(client, url, query)
            if found is not None:
                yield from found
                return
    raise EssentryError(f"essentry's invitations change while they are read back from {url}: try again when nobody is working on them")


def _read_window(client: httpx.Client, url: str, query: dict[str, str]) -> list[dict[str, Any]] | None:
    """All pages of a window of time; None when its count moved in between: a page may then have been skipped, or read twice.

    Raises EssentryError for an answer that is no whole page: what was cut off must not look like the end.
    """
    found: list[dict[str, Any]] = []
    expected: int | None = None
    while True:
        answer = _get(client, url, query | {"offset": str(len(found))})
        total = answer["pageInfo"]["totalCount"]
        if expected not in (None, total):
            return None
        expected = total
        found += answer["invitations"]
        if len(found) == total:
            return found if len({row.get("id") for row in found}) == total or any("id" not in row for row in found) else None
        if not answer["invitations"] or len(found) > total:
            return None


def _get(client: httpx.Client, url: str, query: dict[str, str]) -> dict[str, Any]:
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(max=20),
            retry=retry_if_exception_type(httpx.TransportError),
            reraise=True,
        ):
            with attempt:
                response = client.get(url, params=query)
                if response.status_code in (408, 429) or response.status_code >= 500:
                    raise httpx.TransportError(f"status {response.status_code}")
        if response.status_code in (401, 403):
            raise EssentryUnauthorised(f"essentry refused the token ({response.status_code}): put a valid one in its place")
        answer = response.raise_for_status().json()
        if not isinstance(answer, dict) or not isinstance(answer.get("invitations"), list):
            raise ValueError("no list of invitations")
        page = answer.get("pageInfo")
        if not isinstance(page, dict) or not isinstance(page.get("totalCount"), int) or isinstance(page["totalCount"], bool):
            raise ValueError("no number of invitations")
        return answer
    except (httpx.HTTPError, ValueError) as error:
        raise EssentryError(f"essentry's invitations cannot be read back from {url} ({type(error).__name__}): try again later") from None
