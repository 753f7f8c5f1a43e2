"""The Prefect flows that read essentry back, the entry points of their deployments. Neither sends
anything, and neither counts as a night: an alert that waits for a night does not take one for it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.states import Completed, Failed, State

import flows.engine  # noqa: F401  before Prefect: the settings of its environment
from flows.night.session import open_state
from flows.operations.audit import Audited
from flows.operations.audit import audit as read_invitations
from flows.operations.check_ins import Visits, read_visits
from schemas.errors import SyncError
from schemas.load_config import load_config
from transforms.masking import mask_words
from transforms.words import plural

NAMED = 10
"""Events that the state of an audit names."""


@flow(name="essentry-audit", flow_run_name="audit {config}", persist_result=False)
def audit(config: str = "essentry-sync.toml") -> State:
    """Compare what essentry lists with what it confirmed; what is lost whole goes with the next
    night, through its guards.

    Args:
        config: Path of the configuration file, on the machine that runs this.
    """
    try:
        settings = load_config(Path(config))
        with open_state(settings) as state:
            done = read_invitations(settings, state)
    except SyncError as error:
        return Failed(message=str(error))
    return _end(_tell_audit(done), incomplete=bool(done.told))


@flow(name="essentry-checkins", flow_run_name="checkins {config}", persist_result=False)
def checkins(config: str = "essentry-sync.toml") -> State:
    """Bring the visits back, joined to the events they belong to.

    Args:
        config: Path of the configuration file, on the machine that runs this.
    """
    try:
        settings = load_config(Path(config))
        with open_state(settings, migrate=False) as state:
            done = read_visits(settings, state, now=datetime.now(UTC))
    except SyncError as error:
        return Failed(message=str(error))
    return _end(_tell_visits(done), incomplete=bool(done.unreadable))


def _end(words: str, *, incomplete: bool) -> State:
    """The flow run's last state, named as that of a night."""
    return Completed(name="Incomplete" if incomplete else "Completed", message=words)


def _tell_audit(done: Audited) -> str:
    ids = sorted({row.source_id for row in done.told})
    named = ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED:,} more" if ids[NAMED:] else "")
    words = [
        done.verdict,
        named and f"of {named}",
        f"the next night sends {len(done.marked):,} of them again" if done.marked else "",
        done.unhealed,
    ]
    return mask_words("; ".join(word for word in words if word))


def _tell_visits(done: Visits) -> str:
    words = [
        f"{plural(done.check_ins, 'check-in')} read",
        f"{done.resolved:,} joined to their events",
        f"{done.unreadable:,} could not be read whole" if done.unreadable else "",
    ]
    return ", ".join(word for word in words if word)
