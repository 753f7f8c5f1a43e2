"""What a night held back, and whom it asks: a hold that keeps a guest from a visit, or a
cancellation from being sent, is a problem (S19).

`HOLDS` says for each reason whether a person is asked, what it means and what ends it. A reason
that is not in it is asked about: silence is the wrong default.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import pandas as pd

from transforms.arrow.codes import to_texts

NOT_DONE = ("held", "dormant")
"""The decisions after which essentry does not hold what the source says."""


class Hold(NamedTuple):
    """A reason of a hold: whether a person is asked, what it means, what to do."""

    asks: bool
    meaning: str
    remedy: str


_SOURCE = "correct the row in the source; the next run goes on from there"
HOLDS: dict[str, Hold] = {
    "pilot": Hold(
        False, "outside the limits of [pilot]", "lift the limit when it has served its time"
    ),
    "pending": Hold(
        False, "waits in the source for its confirmation", "confirm or cancel it there"
    ),
    "quarantined": Hold(
        False, "its row cannot be read", "see the quarantined rows: each has its remedy"
    ),
    "source not read": Hold(
        False,
        "its source could not be read",
        "see the failed source; nothing is cancelled meanwhile",
    ),
    "rejected before": Hold(
        False, "essentry refused it and its next try is not due", "see the rejected events"
    ),
    "reappeared": Hold(
        True,
        (
            "essentry's event of this id was deleted, and the source shows it again: "
            "its guests are not invited"
        ),
        (
            "invite them in essentry by hand, give it a new key in the source, "
            'or set essentry.on_reappear = "send"'
        ),
    ),
    "moved into the past": Hold(
        True,
        "the source moved it into the past while essentry still expects its guests",
        "correct the date in the source, or cancel it there",
    ),
    "moved beyond the window": Hold(
        True,
        (
            "its new date is beyond window.days_ahead, and essentry still expects its guests on "
            "the old one"
        ),
        "raise window.days_ahead, or cancel the event in the source",
    ),
    "may be under another key": Hold(
        True,
        (
            "its row is gone, and a row of another key that waits or cannot be read has its start, "
            "place and guests: it may be the same meeting"
        ),
        (
            "confirm or correct that row, and the meeting keeps its id; "
            "cancel or remove it there if this meeting is off"
        ),
    ),
    "under way": Hold(
        True,
        (
            "the source calls it off, or a guest of it, while the visit is under way: "
            "nobody is cancelled by mail who may be in the house"
        ),
        (
            "tell reception if it is really off, or set essentry.cancel_under_way = true; "
            "it ends with the visit"
        ),
    ),
    "source unhealthy": Hold(
        True,
        (
            "it is gone from a source that returned too few rows to be believed, "
            "so it is not cancelled"
        ),
        "mend the SELECT or the source, or approve the plan that says so",
    ),
    "unreadable keys in the source": Hold(
        True,
        "it is gone from a source some of whose rows have no readable key, so it is not cancelled",
        "correct those keys in the source",
    ),
    "linked meeting not found": Hold(
        True,
        "a record points at it that cannot be united with it",
        "correct the link in the source",
    ),
    "the SELECT has a LIMIT": Hold(
        True,
        "it is not among the rows of a SELECT that limits how many it returns, which shows nothing",
        "take LIMIT, TOP, FETCH or the like out of the events SELECT",
    ),
    "waits for the meeting it belongs to": Hold(
        True,
        (
            "it is one meeting with another by now, which essentry has not confirmed with all "
            "guests yet"
        ),
        "see what holds the other meeting; it is cancelled once essentry has that one",
    ),
    "a guest moves to a meeting that waits": Hold(
        True,
        "a guest of it belongs to another meeting by now, which could not be sent yet",
        "see what holds the other meeting; nobody is cancelled before being invited there",
    ),
    "reappeared after our delete": Hold(
        True,
        (
            "it was cancelled by this program, and the source shows it again: "
            "its guests are not invited"
        ),
        'set essentry.on_reappear_ours = "recreate", or invite them in essentry by hand',
    ),
    "guests of a retired source": Hold(
        False, "keeps guests whom a source gave that was retired", "nothing: retire leaves them"
    ),
    "guests unreadable": Hold(
        True,
        (
            "some of its guests cannot be read, so nobody is removed, and what may have been sent "
            "of them is not repeated"
        ),
        _SOURCE,
    ),
}
_WAITS = Hold(
    False,
    "gone from the source, and guards.delete_after_runs waits for more runs to agree",
    "nothing: it is cancelled when it stays away",
)
_UNKNOWN = Hold(True, "held back", _SOURCE)


def find_hold(reason: str) -> Hold:
    """The entry of a reason; one that is not listed asks a person."""
    if reason.startswith("absent in "):
        return _WAITS
    return HOLDS.get(reason, _UNKNOWN)


def list_holds(decisions: pd.DataFrame, kept: Mapping[str, str] | None = None) -> pd.DataFrame:
    """source_id and reason of the events whose hold asks a person.

    decisions: of the night. kept: event → why guests stay in it whom its source no longer names.
    """
    not_done = to_texts(decisions["action"]).isin(NOT_DONE)
    held = decisions.loc[not_done, ["source_id", "reason"]].reset_index(drop=True)
    held = held.assign(reason=to_texts(held["reason"]).astype("str"))
    stay = {"source_id": list(kept or ()), "reason": list((kept or {}).values())}
    held = pd.concat([held, pd.DataFrame(stay, dtype="str")], ignore_index=True).drop_duplicates(
        "source_id"
    )
    asks = held["reason"].fillna("held").map(lambda reason: find_hold(reason).asks)
    return held[asks.astype(bool)].reset_index(drop=True)


def count_not_done(decisions: pd.DataFrame) -> int:
    """How many events are not in step, whether a person is asked or not."""
    return int(to_texts(decisions["action"]).isin(NOT_DONE).sum())


def find_new(rejects: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """The quarantined rows of a night that the last one did not have. Both: REJECT_COLUMNS."""
    keys = ["source", "part", "source_event_id", "guest_id", "check", "value"]
    if told.empty or rejects.empty:
        return rejects
    seen = set(_texts(told, keys))
    return rejects[[key not in seen for key in _texts(rejects, keys)]].reset_index(drop=True)


def _texts(frame: pd.DataFrame, columns: Collection[str]) -> list[tuple[str, ...]]:
    plain = frame[list(columns)].astype("object").where(frame[list(columns)].notna(), "")
    return list(plain.itertuples(index=False, name=None))
