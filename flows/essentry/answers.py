"""What an answer of essentry, or of something before it, says about each event that was sent."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, TypeAlias

import httpx
import orjson

from flows.essentry.items import Item, _Call
from schemas.ledger import Outcome, OutcomeState

MESSAGE_CHARS = 300

Meaning: TypeAlias = Literal[
    "statuses", "unknown", "refused", "again", "token", "elsewhere", "address", "manner"
]
"""What an answer is taken for.

statuses: each event has a status of its own. unknown: not understood, perhaps applied. refused: one
of its events is at fault, so the request is halved. again: perhaps it passes, so it is tried again;
at the end unknown. The rest is everybody's fault, and all sending stops: the token, a redirect, the
address, or the manner in which we ask.
"""

STATUS_MEANINGS: dict[int, Meaning] = {
    200: "statuses",
    **dict.fromkeys((400, 413, 422), "refused"),  # whatever the body looks like
    **dict.fromkeys((409, 412, 423, 424), "refused"),  # in HTML they are a proxy's
    **dict.fromkeys((401, 403), "token"),
    **dict.fromkeys(range(300, 400), "elsewhere"),
    **dict.fromkeys((404, 405, 410), "address"),  # of a whole request: no event of it is meant
    **dict.fromkeys((402, 407, 411, 414, 415, 417, 421, 426, 428, 431, 451), "manner"),
    **dict.fromkeys((408, 425, 429), "again"),
}
"""Status → meaning. The documentation knows 200 and "anything else"; what is not named here is
tried again (4xx, 5xx and beyond) or unknown.
"""

SURE_REFUSALS = frozenset({400, 413, 422})
UNSURE_REDIRECTS = frozenset(range(300, 400)) - {301, 302, 307, 308}
"""Redirects that may come after the request was applied (303 See Other says so)."""

REFUSED_AFTER_LOSS = "REFUSED_AFTER_LOSS"
"""Code of an event that was refused after a try without an answer: that one may have been
applied.
"""

GIVING_UP = {
    "UNREACHABLE": "no connection could be made, so nothing of it was sent",
    "TIMEOUT": "no answer came in time, so it may have been applied",
    "CONNECTION_LOST": "the connection ended before the answer, so it may have been applied",
    "UNREADABLE": "the answer held no result, so it may have been applied",
    "NO_STATUS": "the answer left the events out, so they may have been applied",
}
"""Code → what it means that nothing better came, in words."""

_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]{}]{1,64}@[^\s@<>\"'(),;:\[\]{}]+")

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")


def read_statuses(content: bytes) -> dict[str, str] | None:
    """sourceId → status of an answer's `events`; "" where two statuses contradict each other; None
    for anything else.

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


def read_meaning(response: httpx.Response) -> Meaning:
    """What an answer is taken for, by its status and the look of its body."""
    status = response.status_code
    meaning = STATUS_MEANINGS.get(status, "again" if status >= 400 else "unknown")
    if meaning in ("statuses", "refused") and _is_html(response) and status not in SURE_REFUSALS:
        return "again"
    if meaning == "address" and read_statuses(response.content):
        return "refused"
    return meaning


def tell_giving_up(codes: Iterable[str | None]) -> str:
    """Why sending was given up, by the codes of the last requests: what surely was not sent, and
    what may have been applied.
    """
    told = list(dict.fromkeys(code for code in codes if code))
    return "; ".join(f"{code}: {GIVING_UP.get(code, 'it may have been applied')}" for code in told)


def _refuse(call: _Call, items: Sequence[Item], code: str, message: str | None) -> list[Outcome]:
    """Rejected; of a request whose earlier try may have been applied: unknown."""
    if not call.tainted:
        return _outcomes(items, "rejected", code, message)
    words = f"{code} {message or ''}".strip()
    return _outcomes(
        items,
        "unknown",
        REFUSED_AFTER_LOSS,
        f"refused ({words}) after a try without an answer, which may have been applied",
    )


def _outcomes(
    items: Sequence[Item], state: OutcomeState, code: str | None, message: str | None
) -> list[Outcome]:
    return [Outcome(item.seq, item.source_id, state, code, message) for item in items]


def _unsent(call: _Call, code: str | None = None, message: str | None = None) -> list[Outcome]:
    """Back to planned, unless some try may have been applied."""
    return _outcomes(call.items, "unknown" if call.tainted else "planned", code, message)


def _is_html(response: httpx.Response) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or response.content[
        :200
    ].lstrip().startswith(b"<")


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
