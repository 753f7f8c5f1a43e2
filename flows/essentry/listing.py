"""A page of what essentry lists, asked for with patience. Reads only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from flows.connections.secrets import read_tokens
from schemas.config import Config
from schemas.config_values import is_loopback
from schemas.errors import EssentryError, EssentryUnauthorised

ASKED = 4
"""Requests for one page, as long as there is no answer or a passing failure."""
LONGEST_WAIT = 120.0
"""Seconds of a Retry-After that are waited; who asks for more is asked again another time."""
_backoff = wait_random_exponential(max=20)


class _Busy(Exception):
    """A passing failure; `seconds` is what its Retry-After asks for."""

    def __init__(self, what: str, seconds: float = 0.0) -> None:
        super().__init__(what)
        self.seconds = seconds


@contextmanager
def open_listing(config: Config) -> Iterator[httpx.Client]:
    """A client of the configured essentry that may read. Raises ConfigurationError for a missing
    token.
    """
    token, _ = read_tokens(config)
    settings = config.essentry
    headers, local = {"Authorization": f"Bearer {token}"}, is_loopback(settings.base_url)
    with httpx.Client(
        headers=headers, timeout=settings.timeout_seconds, trust_env=not local
    ) as client:
        yield client


def get_page(
    client: httpx.Client, url: str, query: dict[str, str], *, key: str, what: str
) -> tuple[list[Any], int]:
    """The rows under `key` of an answer, and how many there are in all.

    what: the rows in words. Raises EssentryError for no answer, and for one that is no whole page:
    what was cut off must not look like the end.
    """
    patient = Retrying(
        stop=stop_after_attempt(ASKED),
        wait=_wait,
        retry=retry_if_exception_type((httpx.TransportError, _Busy)),
        reraise=True,
    )
    try:
        response = patient(_ask, client, url, query, what)
        if response.status_code in (401, 403):
            raise EssentryUnauthorised(
                f"essentry refused the token ({response.status_code}): put a valid one in its place"
            )
        answer = _read_json(response.raise_for_status().text)
        rows, total = answer[key], answer["pageInfo"]["totalCount"]
        if not isinstance(rows, list) or not isinstance(total, int) or isinstance(total, bool):
            raise ValueError("no list with its number")
        return rows, total
    except (httpx.HTTPError, _Busy, ValueError, KeyError, TypeError) as error:
        raise unreadable(url, what, error) from None


def _read_json(text: str) -> Any:
    """What the text holds, each half of a character (a name cut off within an emoji) and each NUL
    as a question mark: not every store keeps one, and nothing can compare a half.
    """
    whole = json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace")
    # a backslash of a value is two here, so that what follows one is no NUL
    return json.loads(re.sub(rb"(\\\\)|\\u0000", lambda found: found[1] or b"?", whole))


def unreadable(url: str, what: str, error: Exception) -> EssentryError:
    """The error for an answer that cannot be used."""
    kind = str(error) if isinstance(error, _Busy) else type(error).__name__
    return EssentryError(
        f"essentry's {what} cannot be read back from {url} ({kind}): try again later"
    )


def _ask(client: httpx.Client, url: str, query: dict[str, str], what: str) -> httpx.Response:
    response = client.get(url, params=query)
    if response.status_code in (408, 429) or response.status_code >= 500:
        seconds = _asked_to_wait(response)
        if seconds > LONGEST_WAIT:
            raise EssentryError(
                f"essentry asks to wait {seconds:,.0f} seconds before {what} are read: "
                "try again then"
            )
        raise _Busy(f"status {response.status_code}", seconds)
    return response


def _wait(state: RetryCallState) -> float:
    lost = state.outcome.exception() if state.outcome else None
    return float(_backoff(state)) + (lost.seconds if isinstance(lost, _Busy) else 0.0)


def _asked_to_wait(response: httpx.Response) -> float:
    """Seconds that Retry-After asks for, as seconds or as an HTTP date; 0 without one that can be
    read.
    """
    value = response.headers.get("Retry-After", "").strip()
    seconds = 0.0
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    elif value:
        with suppress(ValueError, TypeError):
            until = parsedate_to_datetime(value)
            given = response.headers.get("Date")
            seconds = (
                until - (parsedate_to_datetime(given) if given else datetime.now(UTC))
            ).total_seconds()
    return max(0.0, seconds)
