"""A day at the demo's gates: three guests of one day come by their codes, somebody walks in, and
hands change what essentry holds. It happens in the sandbox alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from flows.sandbox.server import SandboxServer
from flows.state.store import State

GUESTS_OF_LOST = 2
"""So many guests at least has the meeting that is lost: of one guest, a list does not tell a lost
meeting from a removed guest.
"""


@dataclass(frozen=True)
class Day:
    """What was played. `ends_at`: when all have left; the rest are ids."""

    ends_at: datetime
    came: tuple[str, ...]
    renamed: str
    removed: str
    lost: str


def spend_day(sandbox: SandboxServer, state: State) -> Day:
    """The day of the first interview to come. Of later meetings one gets another title, one loses
    a guest, and one is gone as if it had never been.
    """
    known = state.read_fingerprints()
    known = known[(known["state"] == "active") & (known["starts_at"] > datetime.now(UTC))]
    rows = known.sort_values(["starts_at", "source_id"]).to_dict("records")
    interview = next(row for row in rows if row["source"] == "hr")
    day = interview["starts_at"].to_pydatetime()
    others = [row for row in rows if row["source"] != "hr"]
    today = [row for row in others if row["starts_at"].date() == day.date()][:2]
    guests = _read_guests(state, [row["source_id"] for row in (interview, *today, *others)])
    came, ends = [], []
    for row in (interview, *today):
        begin = row["starts_at"].to_pydatetime()
        code = guests[row["source_id"]][0]
        visit = sandbox.check_in(code, at=begin - timedelta(minutes=7))
        sandbox.check_out(visit, at=begin + timedelta(minutes=55))
        came.append(code)
        ends.append(begin + timedelta(hours=1))
    walked = sandbox.walk_in(int(interview["location_id"]), at=day, firstName="Pia")
    sandbox.check_out(walked, at=day + timedelta(minutes=20))
    later = [
        row["source_id"]
        for row in others
        if row["starts_at"] > day + timedelta(days=1)
        and len(guests[row["source_id"]]) >= GUESTS_OF_LOST
    ]
    renamed, removed, lost = later[:3]
    sandbox.edit("change", event=renamed, name="Moved to the large hall")
    sandbox.edit("remove_guest", event=removed, guest=guests[removed][0])
    sandbox.edit("lose", event=lost)
    return Day(max(ends), tuple(came), renamed, guests[removed][0], lost)


def _read_guests(state: State, ids: list[str]) -> Mapping[str, list[str]]:
    texts: Mapping[str, Any] = state.read_payloads(ids)
    return {
        name: [guest["sourceId"] for guest in orjson.loads(text).get("invitations", [])]
        for name, text in texts.items()
    }
