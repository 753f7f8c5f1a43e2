"""What essentry lists, compared with what it confirmed, a window at a time. Pure.

The list names no sourceId, so an event is recognised by its location, its start, its guests and its
title, and an invitation by the guest's address, or by the name where there is none. Where two
readings are possible nothing is guessed: it is counted as ambiguous. An event that is not where it
should be and turns up elsewhere is moved, not lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

from transforms.operations.listed import is_whole

Kind = Literal["missing event", "missing invitation", "different"]
COMPARED = "title, start, end, location, and each guest's address and name"
NOT_LISTED = "host, creator, entrance, custom fields, door access and the ids of both"
NOT_COMPARED = "description, and a guest's company and language"


@dataclass(frozen=True)
class Finding:
    """`item`: the invitation's id, or empty for the event; `fields`: what differs, in words;
    `guests`: of the event, as confirmed.
    """

    kind: Kind
    source_id: str
    item: str
    location_id: int
    starts_at: datetime
    guests: int
    fields: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """By which it is known again."""
        return self.source_id, self.kind, self.item


@dataclass(frozen=True)
class _Guest:
    item: str
    who: str
    name: str


@dataclass(frozen=True)
class _Event:
    """Of both sides. `name` of the id: a sourceId of ours, or essentry's own id."""

    name: str
    location: int
    start: datetime
    end: datetime | None
    title: str
    guests: tuple[_Guest, ...]

    @property
    def people(self) -> Counter[str]:
        return Counter(guest.who for guest in self.guests)

    @property
    def content(self) -> tuple[Any, ...]:
        return self.title, self.end, tuple(sorted((guest.who, guest.name) for guest in self.guests))


@dataclass(frozen=True)
class _Trace:
    """An unexplained event of the list, small enough to be kept until all is read: no person can be
    read from it.
    """

    location: int
    start: datetime
    end: datetime | None
    title: bytes
    people: frozenset[bytes]
    guests: int


@dataclass
class Audit:
    """Feed it every window with `compare`, then `settle`.

    unknown: invitations by location that nothing of ours explains. ambiguous: of ours that cannot
    be told apart. unreadable: listed ones; what of ours starts with one is ambiguous, too.
    """

    findings: list[Finding] = field(default_factory=list)
    unknown: Counter[int] = field(default_factory=Counter)
    events: int = 0
    invitations: int = 0
    ambiguous_events: int = 0
    ambiguous_invitations: int = 0
    unreadable: int = 0
    _lost: list[_Event] = field(default_factory=list)
    _traces: list[_Trace] = field(default_factory=list)

    def compare(
        self,
        payloads: Iterable[Mapping[str, Any]],
        listed: Iterable[Mapping[str, Any]],
        *,
        opaque: Iterable[datetime] = (),
    ) -> None:
        """A window of one location. payloads: confirmed events that start in it. listed: its
        invitations, as essentry answers them.

        opaque: starts of events of ours that cannot be compared; each explains one listed event
        that is otherwise unknown.
        """
        ours: dict[datetime, list[_Event]] = defaultdict(list)
        theirs: dict[datetime, list[_Event]] = defaultdict(list)
        for payload in payloads:
            event = _read_payload(payload)
            ours[event.start].append(event)
            self.events += 1
            self.invitations += len(event.guests)
        rows = list(listed)
        odd = [_read_start(row) for row in rows if not is_whole(row)]
        self.unreadable += len(odd)
        for event in _group(row for row in rows if is_whole(row)):
            theirs[event.start].append(event)
        hidden = Counter(opaque)
        for start in sorted({*ours, *theirs}):
            if start in odd:
                self.ambiguous_events += len(ours[start])
                continue
            pairs, lost, rest, unclear = _pair_events(ours[start], theirs[start])
            self.ambiguous_events += unclear
            self._lost += lost
            for event, other in pairs:
                self._compare_event(event, other)
            for other in rest[hidden[start] :]:
                self.unknown[other.location] += len(other.guests)
                self._traces.append(_trace(other))

    def settle(self) -> None:
        """After the last window: what is lost, and what has only moved."""
        holders: dict[bytes, set[int]] = defaultdict(set)
        for place, trace in enumerate(self._traces):
            for person in trace.people:
                holders[person].add(place)
        moved: dict[int, list[_Event]] = defaultdict(list)
        for event in self._lost:
            people, title = frozenset(map(_digest, event.people)), _digest(event.title)
            near = set().union(*(holders[person] for person in people)) if people else set()
            alike = [place for place in near if self._traces[place].title == title]
            if len(alike) == 1:
                moved[alike[0]].append(event)
            elif alike or any(self._traces[place].people == people for place in near):
                self.ambiguous_events += 1
            else:
                self._find(event, "missing event")
        for place, events in moved.items():
            if len(events) > 1:
                self.ambiguous_events += len(events)
                continue
            (event,), trace = events, self._traces[place]
            pairs = {
                "location": (event.location, trace.location),
                "start": (event.start, trace.start),
                "end": (event.end, trace.end),
            }
            self._find(
                event,
                "different",
                fields=", ".join(name for name, (ours, theirs) in pairs.items() if ours != theirs),
            )
            self.unknown[trace.location] -= trace.guests
        self._lost, self._traces = [], []
        self.unknown = +self.unknown

    def _find(self, event: _Event, kind: Kind, *, item: str = "", fields: str = "") -> None:
        self.findings.append(
            Finding(kind, event.name, item, event.location, event.start, len(event.guests), fields)
        )

    def _compare_event(self, event: _Event, other: _Event) -> None:
        facts = {
            "title": event.title != other.title,
            "end": event.end is not None and event.end != other.end,
        }
        if any(facts.values()):
            self._find(
                event,
                "different",
                fields=", ".join(name for name, differs in facts.items() if differs),
            )
        missing, strangers = self._compare_guests(event, other)
        named = Counter(guest.name for guest in missing), Counter(guest.name for guest in strangers)
        for guest in missing:
            if guest.name and named[0][guest.name] == named[1][guest.name] == 1:
                self._find(event, "different", item=guest.item, fields="guest's address")
                strangers = [one for one in strangers if one.name != guest.name]
            else:
                self._find(event, "missing invitation", item=guest.item)
        self.unknown[other.location] += len(strangers)

    def _compare_guests(self, event: _Event, other: _Event) -> tuple[list[_Guest], list[_Guest]]:
        """The guests of ours who are not there, and those who are there and not of ours; several
        may share an address.
        """
        missing: list[_Guest] = []
        strangers: list[_Guest] = []
        pools: dict[str, tuple[list[_Guest], list[_Guest]]] = defaultdict(lambda: ([], []))
        for side, guests in enumerate((event.guests, other.guests)):
            for guest in guests:
                pools[guest.who][side].append(guest)
        for ours, theirs in pools.values():
            alike: dict[str, tuple[list[_Guest], list[_Guest]]] = defaultdict(lambda: ([], []))
            for side, some in enumerate((ours, theirs)):
                for guest in some:
                    alike[guest.name][side].append(guest)
            left: list[_Guest] = []
            over: list[_Guest] = []
            for wanted, there in alike.values():
                if len(wanted) > len(there) > 0:  # which of them is there, nothing says
                    self.ambiguous_invitations += len(wanted) - len(there)
                    continue
                left += wanted[len(there) :]
                over += there[len(wanted) :]
            if len(left) == len(over) == 1:
                self._find(event, "different", item=left[0].item, fields="guest's name")
            elif left and over:
                self.ambiguous_invitations += len(left)
            else:
                missing += left
                strangers += over
        return missing, strangers


def _pair_events(
    ours: Sequence[_Event], theirs: Sequence[_Event]
) -> tuple[list[tuple[_Event, _Event]], list[_Event], list[_Event], int]:
    """Events of one place and start: pairs, ours that are not there, those that are there besides,
    and how many cannot be told apart.
    """
    pairs: list[tuple[_Event, _Event]] = []
    unclear = 0
    mine, its = list(ours), list(theirs)
    while True:
        scores = [(_score(event, other), event, other) for event in mine for other in its]
        best = max((score for score, _, _ in scores if score), default=None)
        if best is None:
            break
        alike = [(event, other) for score, event, other in scores if score == best]
        events = _distinct(
            [
                event
                for event, _ in alike
                if any(other is alike[0][1] for e, other in alike if e is event)
            ]
        )
        others = _distinct([other for event, other in alike if any(event is e for e in events)])
        same_ours, same_theirs = (
            len({e.content for e in events}) == 1,
            len({o.content for o in others}) == 1,
        )
        if (len(events) == len(others) and (same_ours or same_theirs)) or (
            len(events) < len(others) and same_theirs
        ):
            pairs += zip(events, others, strict=False)
            others = others[: len(events)]
        else:
            unclear += len(events)
        mine = [event for event in mine if not any(event is e for e in events)]
        its = [other for other in its if not any(other is o for o in others)]
    titles = Counter(event.title for event in mine), Counter(other.title for other in its)
    for event in list(mine):  # every guest of it was changed by hand
        if titles[0][event.title] == titles[1][event.title] == 1:
            other = next(other for other in its if other.title == event.title)
            pairs.append((event, other))
            mine, its = [e for e in mine if e is not event], [o for o in its if o is not other]
    return pairs, mine, its, unclear


def _score(event: _Event, other: _Event) -> tuple[bool, float, bool] | None:
    """How well two events go together; None without a guest in common."""
    common = (event.people & other.people).total()
    if not common:
        return None
    return (
        event.title == other.title,
        common / (event.people | other.people).total(),
        event.end == other.end,
    )


def _distinct(events: Sequence[_Event]) -> list[_Event]:
    return list({id(event): event for event in events}.values())


def _read_payload(payload: Mapping[str, Any]) -> _Event:
    guests = tuple(
        _Guest(guest["sourceId"], _who(guest), _name(guest))
        for guest in payload.get("invitations", [])
    )
    start, end = _instant(payload["startsAt"]), _instant(payload.get("endsAt"))
    assert start is not None  # noqa: S101  what is without a start is opaque
    return _Event(
        payload["sourceId"],
        int(payload["locationId"]),
        start,
        end,
        _plain(payload.get("name")),
        guests,
    )


def _group(listed: Iterable[Mapping[str, Any]]) -> list[_Event]:
    """The events of listed invitations; only what is compared is taken from them."""
    groups: dict[str, tuple[Mapping[str, Any], list[_Guest]]] = {}
    for row in listed:
        event, contact = row["event"], row.get("contact") or {}
        name = str(
            event.get("id") or f"{event['startsAt']} {event.get('endsAt')} {event.get('name')}"
        )
        groups.setdefault(name, (event, []))[1].append(
            _Guest(str(row.get("id")), _who(contact), _name(contact))
        )
    found = []
    for name, (event, guests) in groups.items():
        end, title = _instant(event.get("endsAt")), _plain(event.get("name"))
        start, place = _read_start({"event": event}), int(event["locationId"])
        found.append(_Event(name, place, start, end, title, tuple(guests)))
    return found


def _read_start(row: Mapping[str, Any]) -> datetime:
    start = _instant(row["event"]["startsAt"])
    assert start is not None  # noqa: S101  the reader has seen it
    return start


def _trace(event: _Event) -> _Trace:
    return _Trace(
        event.location,
        event.start,
        event.end,
        _digest(event.title),
        frozenset(map(_digest, event.people)),
        len(event.guests),
    )


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _who(guest: Mapping[str, Any]) -> str:
    return _plain(guest.get("email")).casefold() or f"name {_name(guest).casefold()}"


def _name(guest: Mapping[str, Any]) -> str:
    return _plain(f"{guest.get('firstName') or ''} {guest.get('lastName') or ''}")
