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


def read_invitations(config: Config, location_id: int, *, now: datetime) -> Iterator[dict[str, Any]]:
    """Every invitation of a location to an event that is not over, page by page."""
    token, _ = read_tokens(config)
    settings = config.essentry
    start = now.replace(microsecond=0)
    query = {"endsAfter": start.isoformat(), "beginsBefore": (start + FAR).isoformat(), "limit": str(PAGE)}
    with httpx.Client(
        headers={"Authorization": f"Bearer {token}"}, timeout=settings.timeout_seconds, trust_env=not is_loopback(settings.base_url)
    ) as client:
        offset = 0
        while True:
            answer = _get(client, f"{settings.base_url}/locations/{location_id}/invitations", query | {"offset": str(offset)})
            yield from answer["invitations"]
            offset += len(answer["invitations"])
            if not answer["invitations"] or offset >= int(answer.get("pageInfo", {}).get("totalCount", 0)):
                return


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
        if not isinstance(answer.get("invitations"), list):
            raise ValueError("no list of invitations")
        return dict(answer)
    except (httpx.HTTPError, ValueError) as error:
        raise EssentryError(f"essentry's invitations cannot be read back from {url} ({type(error).__name__}): try again later") from None
