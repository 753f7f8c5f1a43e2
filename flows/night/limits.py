"""What was sent in the hours before that limits look back on, so that they hold over a day as over
a run (S27).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd

from flows.night.run import Run
from flows.state.store import State
from transforms.arrow.codes import to_texts, unite_frames
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.diff.changes import Diff, code_mails
from transforms.guards.approval import key_changes
from transforms.report.mails import list_mails, needs_payload

SLACK_HOURS = 0.5
"""A nightly run that starts some minutes earlier than the night before is no second run of the same
day.
"""
MAIL_ROWS = 10_000
_COLUMNS = ["source_id", "source", "location_id", "action", "reason", "guests"]


def read_earlier(
    state: State, run: Run, *, hours: float, again: pd.Series
) -> tuple[Diff, dict[str, Diff]]:
    """What earlier runs sent and essentry confirmed, or may have done: without a person's word,
    and, by the plan that was approved, with it.

    The clock is that of the runs. A change that an approval of another plan let pass, and that was
    no part of that plan, is without a word. again: the events of this plan: a request without an
    answer that it repeats is counted in it alone.
    """
    since = run.as_of - timedelta(hours=max(hours - SLACK_HOURS, hours / 2))
    unasked: list[tuple[str, pd.DataFrame]] = []
    released: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    recent = list(state.read_recent(since=since, besides=run.run_id))
    for plan, changes in _leave_repeated(recent, again):
        asked = _are_asked(state, plan, changes)
        if asked.any():
            name = str(plan["approval_of"] or plan["plan_id"])
            released.setdefault(name, []).append((plan["plan_id"], pick_rows(changes, asked)))
        if not asked.all():
            unasked.append((plan["plan_id"], pick_rows(changes, ~asked)))
    return _read_diff(state, unasked), {
        name: _read_diff(state, sent) for name, sent in released.items()
    }


def _leave_repeated(
    recent: list[tuple[dict[str, Any], pd.DataFrame]], again: pd.Series
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The plans, newest first, without the requests that were repeated since: of each event the
    last one whose answer is not known counts (S12).
    """
    repeated = set(to_texts(again))
    for plan, changes in reversed(recent):
        open_ones = (changes["state"] != "confirmed").to_numpy(dtype=bool)
        left_out = open_ones & is_among(changes["source_id"], list(repeated))
        repeated.update(changes.loc[open_ones, "source_id"])
        if not left_out.all():
            yield plan, pick_rows(changes, ~left_out)


def _are_asked(state: State, plan: dict[str, Any], changes: pd.DataFrame) -> Any:
    """True for the changes that a person released: of an approved plan what was sent after the
    approval.
    """
    if plan["approved_at"] is None:
        return (changes["seq"] < 0).to_numpy(dtype=bool)
    if plan["approval_of"] not in (None, plan["plan_id"]):
        return is_among(key_changes(changes), state.approved_changes(plan["approval_of"]))
    return (changes["sent_at"] >= plan["approved_at"]).to_numpy(dtype=bool, na_value=False)


def _read_diff(state: State, sent: list[tuple[str, pd.DataFrame]]) -> Diff:
    """Changes by their plan, and their mails; those of a quiet day are read as one, else their
    payloads a part at a time.
    """
    if not sent:
        no_mails = list_mails(
            pd.DataFrame(columns=["seq", "source_id", "source", "guests_json"]), {}
        )
        return Diff(pd.DataFrame(columns=_COLUMNS), pd.DataFrame(), code_mails(no_mails))
    few = sum(len(changes) for _, changes in sent) <= MAIL_ROWS
    parts = [
        (plan_id, changes.iloc[start : start + MAIL_ROWS])
        for plan_id, changes in sent
        for start in range(0, len(changes), MAIL_ROWS)
    ]
    mails = [
        code_mails(_list_mails(state, batch))
        for batch in ([parts] if few else [[part] for part in parts])
    ]
    return Diff(
        pd.concat([changes[_COLUMNS] for _, changes in sent], ignore_index=True),
        pd.DataFrame(),
        unite_frames(mails),
    )


def read_stored(state: State, plan_id: str, changes: pd.DataFrame) -> Diff:
    """The changes of a stored plan, and their mails. changes: _COLUMNS, starts_at, and what mails
    are listed from.
    """
    diff = _read_diff(state, [(plan_id, changes)])
    return replace(diff, changes=changes.reset_index(drop=True))


def _list_mails(state: State, sent: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    numbered, payloads, first = [], {}, 0
    for plan_id, changes in sent:
        found = state.read_contents(plan_id, changes.loc[needs_payload(changes), "seq"].tolist())
        payloads.update(
            {number: found[seq] for number, seq in enumerate(changes["seq"], first) if seq in found}
        )
        # a plan numbers its own changes
        numbered.append(changes.assign(seq=range(first, first + len(changes))))
        first += len(changes)
    return list_mails(pd.concat(numbered, ignore_index=True), payloads)


def unite_earlier(parts: list[Diff]) -> Diff:
    """The same of several plans."""
    changes = pd.concat(
        [part.changes for part in parts if len(part.changes)] or [parts[0].changes],
        ignore_index=True,
    )
    return Diff(
        changes,
        pd.DataFrame(),
        unite_frames([part.mails for part in parts if len(part.mails)] or [parts[0].mails]),
    )
