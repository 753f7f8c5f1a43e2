"""What an answer of essentry, or of something before it, says about each event that was sent."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson

from flows.essentry.items import Item, _Call
from schemas.ledger import Outcome, OutcomeState

MESSAGE_CHARS = 300

REFUSALS = frozenset({400, 413, 422})
"""Refusals whatever the body looks like; another 4xx in HTML is taken for a proxy's."""

_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]{}]{1,64}@[^\s@<>\"'(),;:\[\]{}]+")

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")


def read_statuses(content: bytes) -> dict[str, str] | None:
    """sourceId → status of an answer's `events`; "" where two statuses contradict each other; None for anything else.

    Elements that are no status are passed over: their events count as left out.
    """
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    events = answer.get("events") if isinstance(answer, dict) else None
    if not isinstance(events, list):
        return None
    statuses: dict[str, str] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        source_id, status = event.get("sourceId"), event.get("status")
        if isinstance(source_id, str) and isinstance(status, str):
            statuses[source_id] = status if statuses.get(source_id, status) == status else ""
    return statuses


def _outcomes(items: Sequence[Item], state: OutcomeState, code: str | None, message: str | None) -> list[Outcome]:
    return [Outcome(item.seq, item.source_id, state, code, message) for item in items]


def _unsent(call: _Call, code: str | None = None, message: str | None = None) -> list[Outcome]:
    """Back to planned, unless some try may have been applied."""
    return _outcomes(call.items, "unknown" if call.tainted else "planned", code, message)


def _is_html(response: httpx.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or response.content[:200].lstrip().startswith(b"<")


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _http_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
