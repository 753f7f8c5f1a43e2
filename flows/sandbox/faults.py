"""Faults the sandbox can play: rules handed in, used up in order. No HTTP and no state of events
here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from flows.sandbox.edits import Edit

_EVENT_KINDS = ("reject_event", "reject_request")


class Fault(BaseModel):
    """One rule. `times` is how often it acts: once by default; `reject_request` acts for ever."""

    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Literal[
        "status",  # answer `status` with `retry_after` and `body`, apply nothing
        "drop_before",  # close the connection, apply nothing
        "drop_after",  # apply, then close the connection without an answer
        "hang_before",  # wait `seconds`; a sender that has gone by then: apply nothing
        "hang_after",  # apply, wait `seconds`, answer
        # apply all, leave out the statuses of `source_ids` (default: every second one)
        "partial_statuses",
        "shuffle",  # apply all, answer the statuses in reverse order
        "garbage",  # answer 200 with `body` or a page of HTML; applies only with `apply`
        "edit_after",  # answer a reading call, then do `edit`: the next page is one of another list
        "reject_event",  # give event `source_id` the status `code`
        "reject_request",  # answer `status` (400) to every request that holds event `source_id`
    ]
    on: Literal["put", "get"] = Field(
        "put",
        description=(
            "get: the reading calls; there only status, drops, hangs and garbage make sense"
        ),
    )
    times: int | None = Field(None, ge=1)
    count: int | None = Field(None, ge=1, description="another word for times")
    status: int | None = Field(None, ge=400, le=599)
    retry_after: float | int | str | None = None
    body: Any = None
    seconds: float = Field(5.0, ge=0)
    source_id: str | None = None
    source_ids: list[str] | None = None
    code: str = "ERROR_REJECTED"  # the sandbox's own code
    apply: bool = False
    edit: Edit | None = None

    @model_validator(mode="after")
    def _complete(self) -> Fault:
        if self.kind in _EVENT_KINDS and not self.source_id:
            raise ValueError(f"{self.kind} needs source_id")
        if self.kind == "status" and self.status is None:
            raise ValueError("status needs status")
        if self.kind == "edit_after" and (self.edit is None or self.on != "get"):
            raise ValueError('edit_after needs edit, and on = "get"')
        if self.times is None:
            self.times = self.count
        if self.times is None and self.kind != "reject_request":
            self.times = 1
        return self


_FAULTS = TypeAdapter(list[Fault])


def parse_faults(rules: bytes | list[dict[str, Any]]) -> list[Fault]:
    """Parse a JSON list, or a list of dictionaries, of fault rules; raises ValueError."""
    return (
        _FAULTS.validate_json(rules) if isinstance(rules, bytes) else _FAULTS.validate_python(rules)
    )


class FaultQueue:
    """Rules waiting to act; a request uses up at most one of the rules that are not bound to an
    event.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, faults: Iterable[Fault]) -> None:
        """Append rules."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Drop all rules."""
        with self._lock:
            self._faults.clear()

    def take(self, *, on: Literal["put", "get"]) -> Fault | None:
        """Use up the first rule that is not bound to an event."""
        with self._lock:
            fault = next(
                (rule for rule in self._faults if rule.kind not in _EVENT_KINDS and rule.on == on),
                None,
            )
            if fault is not None:
                self._use(fault)
            return fault

    def take_for(
        self, kind: Literal["reject_event", "reject_request"], source_ids: Iterable[str]
    ) -> dict[str, Fault]:
        """Use up the rules of this kind bound to one of the events: sourceId → rule."""
        with self._lock:
            wanted = set(source_ids)
            found: dict[str, Fault] = {}
            for rule in self._faults:
                if rule.kind == kind and rule.source_id in wanted:
                    found.setdefault(rule.source_id, rule)
            for rule in found.values():
                self._use(rule)
            return found

    def _use(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self._faults = [rule for rule in self._faults if rule is not fault]
