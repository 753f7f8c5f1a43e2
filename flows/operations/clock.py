"""After nights by a clock that was ahead: what they ended before its time, and the way back.
essentry is asked for the time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from flows.night.clock import compare_clocks
from flows.night.lease import hold_lease
from flows.night.run import new_run
from flows.state.store import State
from schemas.config import Config
from transforms.words import plural

_NAMED = 10


@dataclass(frozen=True)
class ClockAhead:
    """`runs`: those that went by a clock later than `now`; `events`: what is ended in the state,
    and is not over yet.
    """

    now: datetime
    runs: pd.DataFrame
    events: pd.DataFrame

    def describe(self) -> list[str]:
        """For a person: the clocks, and what would be put right."""
        if self.runs.empty and self.events.empty:
            return [
                (
                    f"no run went by a clock later than this machine's ({self.now:%Y-%m-%d %H:%M} "
                    "UTC): nothing to forget"
                )
            ]
        lines = [f"this machine's clock: {self.now:%Y-%m-%d %H:%M} UTC"]
        if len(self.runs):
            last = self.runs.iloc[-1]
            clock = max(last["as_of"], last["started_at"])
            lines.append(
                f"{plural(len(self.runs), 'run')} by a later one, the last {last['run_id']} "
                f"({last['kind']}) by {clock:%Y-%m-%d %H:%M} UTC"
            )
        lines.append(
            f"{plural(len(self.events), 'event')} ended as over that "
            f"{'is' if len(self.events) == 1 else 'are'} not over yet"
        )
        lines += [
            f"  {row.source_id}, until {row.ends_at:%Y-%m-%d %H:%M} UTC"
            for row in self.events.head(_NAMED).itertuples()
        ]
        if len(self.events) > _NAMED:
            lines.append(f"  … and {len(self.events) - _NAMED:,} more")
        return lines


def find_clock_ahead(config: Config, state: State) -> ClockAhead:
    """What went by a clock ahead of this machine's. Raises ConfigurationError when this machine's
    own clock is the one that is wrong.
    """
    compare_clocks(config, new_run())
    now = datetime.now(UTC)
    return ClockAhead(now, state.list_ahead(now), state.list_ended_early(now))


def forget_clock(config: Config, state: State) -> int:
    """Put it right; returns how many events count as held by essentry again. The next run compares
    them with their sources.
    """
    with hold_lease(state, new_run(), config):
        return state.forget_clock(datetime.now(UTC))
