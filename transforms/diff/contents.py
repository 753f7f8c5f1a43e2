"""What becomes of one event that both sides have and whose fingerprint differs: what is sent of it,
or why nothing is. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import pandas as pd

from schemas.config import Config
from transforms.desired.payload import (
    FINGERPRINT_VERSION,
    fingerprint,
    list_guests,
    name_person,
    read_times,
)
from transforms.diff.body import build_body, dump_payload
from transforms.diff.changes import Known
from transforms.diff.clearing import CONTACT, UNCLEARED, clear_lost, list_marks
from transforms.diff.fates import UNDER_WAY
from transforms.diff.rejected import Rejected
from transforms.diff.same_people import are_composed, keep_writing, match_known, name_guests
from transforms.diff.unions import keep_content
from transforms.naming.ids import plain_id
from transforms.naming.naming import Naming

Mark = tuple[str, str | None, str]
"""Event, invitation id or None, field."""


class Touched(NamedTuple):
    """An event that may differ from what essentry confirmed, and what is known of that.
    `updated_at`: as it is sent, when it is.
    """

    source_id: str
    source: str
    updated_at: str | None
    state: str
    fingerprint: str | None
    dirty: bool
    fingerprint_version: int | None


class Doubts(NamedTuple):
    """What of an event's rows may not be believed. Each of them keeps guests or content as they
    are.
    """

    guests: bool = False
    """No guest may be removed: some of its guests, or of a record of it, were not read."""
    why: str | None = None
    """Why a record of a united meeting is in doubt."""
    content: bool = False
    """The record that gives its content is missing."""
    unread: frozenset[str] = frozenset()
    """Invitation ids of guests whose rows could not be read."""


@dataclass(frozen=True)
class Outcome:
    """What was decided of one event."""

    action: str
    """create (again), update, unchanged or held."""
    reason: str | None = None
    change: dict[str, Any] | None = None
    """Of what is sent: action, reason, fingerprint, guests and the texts of CHANGE_COLUMNS."""
    mails: list[tuple[str, str]] = field(default_factory=list)
    """Person and kind of mail: invited, updated or cancelled."""
    awaited: list[str] = field(default_factory=list)
    """Persons who would be invited, were the event not held."""
    kept: str | None = None
    """Why guests stay in it whom its source no longer names."""
    refreshed: str | None = None
    """The fingerprint of a content that is as it was."""
    uncleared: list[Mark] = field(default_factory=list)
    rebound: int = 0
    """Guests who go on under an id that their row no longer gives."""
    removing: bool = False
    """The update does nothing but remove guests."""


class Contents:
    """The contents of events compared one by one with what essentry confirmed."""

    def __init__(
        self,
        known: Known,
        config: Config,
        naming: Naming,
        rejected: Rejected,
        *,
        as_of: pd.Timestamp,
        full: bool,
    ) -> None:
        self.known, self.config, self.rejected, self.as_of, self.full = (
            known,
            config,
            rejected,
            as_of,
            full,
        )
        self.additive = config.essentry.guest_list == "additive"
        self.deleted_at = as_of.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.prefixes, self.taken_over = set(naming.prefixes.values()), set(naming.guests.values())

    def decide(
        self, event: Touched, before_text: str | None, after_text: str, doubts: Doubts
    ) -> Outcome:
        """What becomes of the event. before_text: canonical JSON as confirmed; after_text: as the
        sources want it.
        """
        source_id = event.source_id
        before = orjson.loads(before_text) if before_text else {}
        after = orjson.loads(after_text)
        if doubts.content:
            after = keep_content(before, after)
            after_text = dump_payload(after)
        confirmed = list_guests(before)
        # of a deleted event the guests were cancelled: none is kept, and those of old go by name
        reappeared = event.state == "deleted" or source_id in self.known.perhaps_deleted
        known = {} if reappeared else confirmed | dict(self.known.unanswered.get(source_id, {}))
        stays = self.is_under_way(*read_times(before)) and self.is_under_way(*read_times(after))
        guests, kept, rebound, undecided = self._keep_guests(
            event, known, list_guests(after), doubts, stays=stays
        )
        if undecided:
            # S8: a guest may be removed already, and may not surely be removed now: either way of
            # sending could mail by mistake
            awaited = [name_person(guest) for key, guest in guests.items() if key not in confirmed]
            return Outcome("held", "guests unreadable", awaited=awaited, rebound=rebound)
        text, wanted, refused = (
            after_text,
            after.get("invitations"),
            self.rejected.refused_content(source_id),
        )
        if not are_composed(before_text, after_text):
            after = keep_writing(
                {key: value for key, value in before.items() if key != "invitations"}, after
            )
            guests = {key: keep_writing(confirmed.get(key), guest) for key, guest in guests.items()}
            wanted = None  # the text is another, whatever the guests are
        held = [
            before,
            *self.known.sent.get(source_id, ()),
            *self._find_former(source_id, guests.keys() - confirmed.keys()),
        ]
        clearing = self.config.essentry.clearing
        after, values = clear_lost(
            held, after | {"invitations": list(guests.values())}, clearing=clearing, refused=refused
        )
        if UNCLEARED in after or after["invitations"] != wanted:
            text = dump_payload(after)
        content = fingerprint(text)
        if event.state == "active" and not event.dirty and not self.full and after == before:
            standing = list_marks(source_id, after, clearing=clearing)
            stale = content != event.fingerprint or event.fingerprint_version != FINGERPRINT_VERSION
            reason = "refingerprinted" if stale else None
            refreshed = content if stale else None
            return Outcome(
                "unchanged",
                reason,
                kept=kept,
                refreshed=refreshed,
                uncleared=standing,
                rebound=rebound,
            )
        if self.rejected.waits(source_id, content):
            standing = list_marks(source_id, before, clearing=clearing)
            awaited = [
                name_person(guest)
                for key, guest in list_guests(after).items()
                if reappeared or key not in confirmed
            ]
            return Outcome(
                "held",
                "rejected before",
                awaited=awaited,
                kept=kept,
                uncleared=standing,
                rebound=rebound,
            )
        outcome = self._send(
            event, before, after, text=text, values=values, reappeared=reappeared, refused=refused
        )
        return replace(outcome, kept=kept, rebound=rebound)

    def _send(
        self,
        event: Touched,
        before: dict[str, Any],
        after: dict[str, Any],
        *,
        text: str,
        values: Mapping[str, Mapping[str, Any]],
        reappeared: bool,
        refused: bool,
    ) -> Outcome:
        """The request for an event that differs. text: canonical JSON of `after`; values: empty
        values of lost fields.
        """
        source_id = event.source_id
        guests, old = list_guests(after), list_guests(before)
        unanswered = dict(self.known.unanswered.get(source_id, {}))
        removed = {*old, *unanswered, *self.known.removals.get(source_id, ())} - set(guests)
        complete = event.dirty or self.full or reappeared or refused
        body = build_body(
            before or None,
            after,
            complete=complete,
            additive=self.additive,
            partial=self.config.essentry.payload == "partial",
            removed=removed,
            deleted_at=self.deleted_at,
            values=values,
            updated_at=event.updated_at,
        )
        confirmed = {} if reappeared else old
        fields = _list_fields(before, after)
        added = [guest for key, guest in guests.items() if key not in confirmed]
        both = [(key, guest) for key, guest in guests.items() if key in confirmed]
        changed = [(key, guest) for key, guest in both if confirmed[key] != guest or key in values]
        people = {**self.known.name_guests(source_id, old), **unanswered}
        gone = [{**people.get(key, {}), "sourceId": key} for key in sorted(removed)]
        # S12: a change of the event may mail every guest of it; so may a complete list
        everyone = bool(fields) or complete or "" in values
        again = {key for key, _ in (both if everyone else changed)}
        mails = [
            (name_person(guest), "updated" if key in again else "invited")
            for key, guest in guests.items()
            if key in again or key not in confirmed
        ]
        mails += [(name_person(guest), "cancelled") for guest in gone]
        reason = self._find_reason(
            event, reappeared, refused, anything=bool(fields or added or changed or gone)
        )
        if reason is None and "" in values and not fields:
            reason = "cleared"
        action = "create" if reappeared else "update"
        told = {
            "added": added,
            "changed": [{"before": confirmed[key], "after": guest} for key, guest in changed],
            "removed": gone,
        }
        change = {
            "action": action, "reason": reason, "fingerprint": fingerprint(text),
            "fields_json": orjson.dumps(fields).decode(),
            "guests_json": orjson.dumps(told).decode(), "after": text,
            "body": orjson.dumps(body).decode(), "guests": len(guests),
        }  # fmt: skip
        standing = list_marks(source_id, after, clearing=self.config.essentry.clearing)
        removing = reason is None and not (complete or fields or added or changed)
        return Outcome(action, reason, change, mails, uncleared=standing, removing=removing)

    def _find_reason(
        self, event: Touched, reappeared: bool, refused: bool, *, anything: bool
    ) -> str | None:
        if reappeared:
            return "reappeared"
        if event.state == "expired":
            return "rescheduled"
        if event.dirty:
            return "unknown outcome"
        if self.full and not anything:
            return "full"
        return "sent whole" if refused else None

    def _find_former(self, source_id: str, added: Collection[str]) -> list[dict]:
        """What was sent earlier of guests who are new in the event: one who comes again is the same
        contact, with what it had.
        """
        found = []
        for payload in self.known.former(source_id) if added else ():
            contacts = [
                {k: v for k, v in guest.items() if k in CONTACT}
                for key, guest in list_guests(payload).items()
                if key in added
            ]
            found.append({"invitations": contacts})
        return found

    def is_under_way(self, starts_at: datetime | None, ends_at: datetime | None) -> bool:
        """Whether a visit has begun and is not over, and is not to be called off any more."""
        if self.config.essentry.cancel_under_way or starts_at is None or ends_at is None:
            return False
        return bool(starts_at <= self.as_of < ends_at)

    def _keep_guests(
        self,
        event: Touched,
        known: dict[str, dict],
        wanted: dict[str, dict],
        doubts: Doubts,
        *,
        stays: bool,
    ) -> _GuestList:
        """The guests to hold: wanted ones under ids that essentry knows (S10), and known ones that
        must not be removed (S3, S4).

        stays: the visit is under way; its guests were read, so who is the same as before is told as
        ever.
        """
        retired = {
            key for key in known if "-" in key and key.partition("-")[0] not in self.prefixes
        } - self.taken_over
        unread = {plain_id(key) for key in doubts.unread | retired}
        held = {key for key in known if plain_id(key) in unread}
        strange = unread - {plain_id(key) for key in known}
        held |= {key for key in known if strange and self._may_be_known_otherwise(key, strange)}
        people = self.known.name_guests(event.source_id, known)
        matched = match_known(people, wanted, held=held, frozen=doubts.guests)
        guests = name_guests(known, wanted, matched)
        kept = (set(known) if doubts.guests or stays else held) - set(guests)
        guests |= {key: known[key] for key in kept}
        why = None
        if len(guests) > len(wanted):
            of_retired = retired >= set(guests) - set(wanted)
            why = doubts.why or (
                "guests of a retired source"
                if of_retired
                else UNDER_WAY
                if stays
                else "guests unreadable"
            )
        undecided = bool(kept & set(self.known.removals.get(event.source_id, ())))
        rebound = sum(key != old for key, old in matched.items())
        return _GuestList(dict(sorted(guests.items())), why, rebound, undecided)

    def _may_be_known_otherwise(self, key: str, unread: Collection[str]) -> bool:
        """Whether a guest whose row cannot be read may be this one (S3): essentry has the event's
        invitations under ids of another form than the source's keys give, as of a meeting that came
        under another key, or was taken over.
        """
        head = plain_id(key).rpartition("-")[0]
        source = head.partition("-")[0]
        return any(
            head != own.rpartition("-")[0]
            and (source == own.partition("-")[0] or source not in self.prefixes)
            for own in unread
        )


class _GuestList(NamedTuple):
    guests: dict[str, dict]
    why: str | None
    rebound: int
    undecided: bool
    """A guest who must be kept may have been removed already."""


def _list_fields(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    keys = [key for key in {**before, **after} if key not in ("invitations", UNCLEARED)]
    return [
        {"field": k, "before": before.get(k), "after": after.get(k)}
        for k in keys
        if before.get(k) != after.get(k)
    ]
