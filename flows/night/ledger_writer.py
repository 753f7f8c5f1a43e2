"""What the sending of a plan writes down, as the load sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from schemas.ledger import Outcome


class Ledger(Protocol):
    """The write of the load; the state store has it. It is called from one thread."""

    def write_down(
        self,
        plan_id: str,
        sending: Sequence[int],
        outcomes: Sequence[Outcome],
        *,
        run_id: str,
        now: datetime,
    ) -> Any:
        """These rows (seqs) → sending, others → their outcome, and the snapshot with them, in one
        transaction that is committed on return.

        `planned`: as if never sent. What raises has written nothing.
        """


@dataclass(slots=True, eq=False)
class _Write:
    """What a batch has to write down: seqs to mark, or outcomes. `begins`: left out once the load
    is stopped.

    `written`: True after the commit, False when it was left out, or why it failed.
    """

    sending: Sequence[int]
    outcomes: Sequence[Outcome]
    begins: bool
    written: asyncio.Future[bool]


def _tell(results: Sequence[tuple[_Write, bool | BaseException]]) -> None:
    for write, result in results:
        if isinstance(result, BaseException):
            write.written.set_exception(result)
        else:
            write.written.set_result(result)
