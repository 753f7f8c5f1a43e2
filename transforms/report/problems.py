"""What stays open after a run: what essentry rejected or never answered for, what was held back,
what could not be read.

Told by id in every report and in the exit code until it is solved (S19). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from schemas.frames import REJECT_COLUMNS, empty_frame
from transforms.arrow.codes import to_plain, to_texts
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.build import Desired
from transforms.diff.changes import SourceHealth
from transforms.diff.clearing import find_field

PROBLEM_COLUMNS = ["source_id", "action", "state", "code", "message", "tries", "next_at"]
ANSWERED_BADLY = ("rejected", "unknown")
STILL_THERE = "STILL_THERE"
OPEN_STATES = (*ANSWERED_BADLY, "held")


def list_problems(
    changes: pd.DataFrame,
    rejections: pd.DataFrame,
    unanswered: pd.DataFrame,
    *,
    holds: pd.DataFrame | None = None,
    unread: pd.DataFrame | None = None,
    uncleared: Sequence[tuple[str, str | None, str]] = (),
) -> pd.DataFrame:
    """PROBLEM_COLUMNS, a row an event: those of this run first, then those of earlier runs that
    this one did not settle.

    changes: the run's, with the ledger's state. rejections: source_id, code, message, tries,
    next_at of every rejection that stands. unanswered: source_id, action, code, message of every
    request whose outcome is still not known. An event that waits for its next try has the action
    `held`. tries: how often essentry rejected it; next_at: when it is tried again though nothing
    changed (UTC). holds: source_id and reason of events that are held back and ask a person.
    unread: REJECT_COLUMNS of the rows that this run was the first to set aside, and that keep a
    guest from a visit. uncleared: event, invitation or None, and field, of what was taken away and
    may still stand in essentry; what opens a door or is mailed to is a problem.
    """
    mine = empty_frame(PROBLEM_COLUMNS)
    if len(changes):  # a row that is back in its source is nobody's problem
        mine = changes[
            changes["state"].isin(OPEN_STATES) & (to_texts(changes["code"]) != STILL_THERE)
        ]
    mine = to_plain(mine[["source_id", "action", "state", "code", "message"]])
    older = unanswered.drop_duplicates("source_id", keep="last").assign(state="unknown")
    waiting = rejections.assign(action="held", state="rejected")
    kept = _list_held(holds if holds is not None else empty_frame(["source_id", "reason"]))
    bad = _list_unread(unread if unread is not None else empty_frame(REJECT_COLUMNS))
    standing = _list_standing(uncleared)
    frames = [
        frame[mine.columns] for frame in (mine, older, waiting, kept, bad, standing) if len(frame)
    ]
    if not frames:
        return empty_frame(PROBLEM_COLUMNS)
    table = pd.concat(frames, ignore_index=True).drop_duplicates("source_id", ignore_index=True)
    tries = rejections[["source_id", "tries", "next_at"]]
    return table.merge(tries, on="source_id", how="left", validate="1:1")[PROBLEM_COLUMNS]


def _list_held(holds: pd.DataFrame) -> pd.DataFrame:
    """Holds as problems: the reason is the code."""
    plain = to_plain(holds)
    return plain[["source_id"]].assign(
        action="held", state="held", code=plain["reason"], message=pd.NA
    )


def _list_standing(uncleared: Sequence[tuple[str, str | None, str]]) -> pd.DataFrame:
    """What may still stand in essentry as problems, one an event, where it is grave."""
    fields: dict[str, list[str]] = {}
    for source_id, invitation, path in uncleared:
        if find_field(invitation, path).grave:
            fields.setdefault(source_id, []).append(
                f"{path} of {invitation}" if invitation else path
            )
    rows = [
        (source_id, "held", "held", "UNCLEARED", ", ".join(names))
        for source_id, names in fields.items()
    ]
    return pd.DataFrame(
        rows, columns=["source_id", "action", "state", "code", "message"], dtype="str"
    )


def _list_unread(rejects: pd.DataFrame) -> pd.DataFrame:
    """Quarantined rows as problems, one an event or, without a readable key, one a row; the check
    is the code.
    """
    key = rejects["source"] + " row " + (rejects.index.to_series() + 1).astype("str")
    names = rejects["source_id"].fillna(key)
    guest = rejects["guest_id"].fillna("?").where(rejects["part"] == "guests")
    told = (
        rejects["remedy"] + guest.map(" (guest {})".format, na_action="ignore").fillna("")
    ).astype("str")
    plain = pd.DataFrame({"source_id": names, "code": rejects["check"], "message": told})
    return plain.drop_duplicates("source_id").assign(action="held", state="quarantined")


def find_solved(
    rejections: pd.DataFrame,
    decisions: pd.DataFrame,
    desired: Desired,
    health: Mapping[str, SourceHealth],
) -> list[str]:
    """Ids whose rejection is over though nothing was sent: essentry holds what the source says, or
    nobody wants the event any more.

    The second needs proof: the source read whole and healthily, its row neither quarantined nor
    part of an unresolved link.
    """
    mine = pick_rows(decisions, is_among(decisions["source_id"], rejections["source_id"]))
    fate = (
        rejections["source_id"]
        .map(mine.drop_duplicates("source_id").set_index("source_id")["action"])
        .astype("str")
    )
    unsure = desired.dispositions[desired.dispositions["disposition"] == "quarantined"]
    unsure_ids = {*unsure["source_id"], *unsure["own_id"], *desired.held_targets}
    sure = [
        name
        for name, seen in health.items()
        if seen.read and seen.events and not seen.unreadable_event_keys and not seen.events_limited
    ]
    unwanted = (
        fate.isna() & rejections["source"].isin(sure) & ~rejections["source_id"].isin(unsure_ids)
    )
    return rejections.loc[unwanted | (fate == "unchanged"), "source_id"].tolist()


def describe_problem(problem: Mapping[str, Any]) -> str:
    """Why, how often and until when, in words; never a person."""
    words = " ".join(str(problem[key]) for key in ("code", "message") if problem.get(key))
    if not problem.get("tries") or problem["state"] != "rejected":
        return words
    tries = f"{problem['tries']} tries" if problem["tries"] > 1 else "1 try"
    again = (
        f", again from {problem['next_at'][:16].replace('T', ' ')} UTC or when it changes"
        if problem["action"] == "held"
        else ""
    )
    return f"{words} ({tries}{again})".strip()
