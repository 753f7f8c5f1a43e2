"""What the client is given to send, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class Item:
    """One event to send: `body` is its JSON object, `ignore_missing` the request's
    ignoreMissingInvitations.

    tries: how often it was sent and had no answer.
    """

    seq: int
    source_id: str
    body: bytes = field(repr=False)
    action: str
    ignore_missing: bool
    tries: int = 0


def list_names(items: Sequence[Item]) -> set[str]:
    """The names of people in what was sent: essentry may repeat them in what it says."""
    names: set[str] = set()
    for item in items:
        body = orjson.loads(item.body)
        people = [*body.get("invitations", ()), body.get("host"), body.get("creator")]
        for person in people:
            if isinstance(person, dict):
                names |= {
                    person[key]
                    for key in ("firstName", "lastName")
                    if isinstance(person.get(key), str)
                }
    return names


@dataclass(frozen=True, slots=True)
class Retry:
    """A request is about to be tried again: `attempt` tries have failed, the next starts in
    `wait_seconds`.
    """

    attempt: int
    wait_seconds: float
    reason: str
    events: int


@dataclass(frozen=True, slots=True)
class Ping:
    """essentry's answer to a harmless GET; `token_checked` only when the answer shows that the
    token was accepted.
    """

    status: int
    seconds: float
    token_checked: bool


class _NoAnswer(Exception):
    """A try without a usable answer. `sent`: the request may have been applied; `stops`: why all
    sending stops when no other try does better.
    """

    def __init__(
        self,
        code: str,
        words: str = "",
        *,
        sent: bool = True,
        retry_after: float | None = None,
        stops: str | None = None,
    ) -> None:
        super().__init__(code)
        self.code, self.words, self.sent, self.retry_after, self.stops = (
            code,
            words,
            sent,
            retry_after,
            stops,
        )


@dataclass(slots=True)
class _Batch:
    """What the requests of one `put_events` share. Times are of the event loop's clock."""

    deadline: float
    spent: bool = False
    refused: int = 0


@dataclass(slots=True)
class _Call:
    """One request with its retries; `tainted`: some try of these events may have been applied."""

    items: Sequence[Item]
    tainted: bool
