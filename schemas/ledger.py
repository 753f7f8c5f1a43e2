"""The words of the ledger: what may become of a change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

OutcomeState: TypeAlias = Literal["confirmed", "rejected", "unknown", "planned", "held", "stale"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change: `planned` means surely not sent, `held` not sent on purpose,
    `unknown` perhaps applied.
    """

    seq: int
    source_id: str
    state: OutcomeState
    code: str | None = None
    message: str | None = None
