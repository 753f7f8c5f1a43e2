"""The demo company: a room-booking and an HR database as SQLite files, the same for the same night
and anchor.

Nordlicht Optik has six offices in five time zones. `rooms.sqlite` has LibreBooking's tables,
`hr.sqlite` OrangeHRM's, each with the columns the presets read and a few more. Night 1 is the first
state, night 2 a working day later, night 3 equals night 2. Everybody is invented, every domain is
`.example`. Nothing here knows the pipeline; the clock is an argument.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flows.demo.people import EMPLOYEES, ORGANISATIONS, TITLES, Person, email_of, outsiders

DAYS = 88
LINK_ATTRIBUTE = 7
# schedule id → name, zone, rooms; the last one is not in the demo's configuration
SITES: dict[int, tuple[str, str, tuple[str, ...]]] = {
    1: ("Berlin Mitte", "Europe/Berlin", ("Spree", "Havel", "Panke", "Müggelsee", "Großer Saal")),
    2: ("München Süd", "Europe/Berlin", ("Isar", "Würm", "Föhn", "Zugspitze")),
    3: ("Zürich", "Europe/Zurich", ("Limmat", "Sihl", "Uetliberg")),
    4: ("London", "Europe/London", ("Thames", "Fleet", "Greenwich")),
    5: ("Łódź", "Europe/Warsaw", ("Wisła", "Warta", "Bałtyk")),
    6: ("New York", "America/New_York", ("Hudson", "Bryant", "Liberty")),
    7: ("Lager Süd", "Europe/Berlin", ("Rampe 3",)),
}
# what night 2 does to night 1, in events; the kinds do not overlap
CHANGES = {
    "moved": 12,
    "renamed": 8,
    "other_room": 5,
    "guest_added": 6,
    "guest_removed": 3,
    "guest_swapped": 1,
    "other_host": 3,
    "interview_moved": 2,
    "created": 12,
    "cancelled": 8,
    "deleted": 4,
}
_SEED = 20_260_104
_CREATED, _DELETED, _PENDING = 1, 2, 3


@dataclass
class Series:
    """A booking: one or more occurrences that share title, room, owner and status. `link`: an
    interview's id.
    """

    id: int
    title: str | None
    owner: int
    room: int | None
    status: int = _CREATED
    link: int | None = None


@dataclass
class Occurrence:
    """One meeting, in UTC. `guests` are addresses, `accounts` are user ids; `ordinary` ones may
    change in night 2.
    """

    id: int
    series: Series
    start: datetime
    end: datetime
    guests: list[str] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)
    ordinary: bool = True

    @property
    def reference(self) -> str:
        return f"nlo{self.id * 2_654_435_761 % 0xFFFFFFFFFFFF:012x}"


@dataclass
class Interview:
    """An interview, in wall-clock time of the interviewer's office."""

    id: int
    candidate: int
    name: str
    day: date
    at: time | None
    interviewers: list[int]
    status: str = "INTERVIEW SCHEDULED"


@dataclass
class Company:
    """Everything the two databases hold, before it is written."""

    users: dict[int, Person]
    candidates: dict[int, Person]
    days: list[date]
    series: list[Series] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    interviews: list[Interview] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)
    next_occurrence: int = 1

    @property
    def employees(self) -> list[int]:
        return [key for key, person in self.users.items() if person.site and person.active]

    @property
    def accounts(self) -> list[int]:
        return [key for key, person in self.users.items() if not person.site]

    def book(
        self,
        title: str | None,
        *,
        owner: int,
        room: int | None,
        times: list[tuple[datetime, datetime]],
        **more: Any,
    ) -> list[Occurrence]:
        """Add a booking with one occurrence a pair of times; `more` goes to `Series` (status,
        link).
        """
        series = Series(len(self.series) + 1, title, owner, room, **more)
        self.series.append(series)
        made = []
        for start, end in times:
            made.append(Occurrence(self.next_occurrence, series, start, end))
            self.next_occurrence += 1
        self.occurrences.extend(made)
        return made

    def own_series(self, occurrence: Occurrence) -> Series:
        """The occurrence's own booking: an edited occurrence leaves its series and keeps its
        reference number.
        """
        old = occurrence.series
        if sum(other.series is old for other in self.occurrences) > 1:
            occurrence.series = Series(
                len(self.series) + 1, old.title, old.owner, old.room, old.status
            )
            self.series.append(occurrence.series)
        return occurrence.series


def found_company(anchor: date) -> Company:
    """Night 1: about 2,400 meetings to come, 60 past ones, 70 interviews, and a handful of rows
    nobody can use.
    """
    rng = random.Random(_SEED)  # noqa: S311
    users = dict(enumerate(EMPLOYEES, start=1))
    for number, person in enumerate(outsiders(rng, 60), start=201):
        users[number] = person
    candidates = dict(enumerate(outsiders(rng, 70, private=True), start=1))
    days = [
        day for day in (anchor + timedelta(days=n) for n in range(2, DAYS + 1)) if day.weekday() < 5
    ]
    company = Company(
        users, candidates, days, pool=[email_of(person) for person in outsiders(rng, 900)]
    )
    _add_recurring(company, rng)
    _add_singles(company, rng, count=1000)
    _add_past(company, rng, anchor)
    _add_interviews(company, rng)
    _add_unusable(company, rng)
    return company


def _slot(rng: random.Random, day: date, site: int) -> tuple[datetime, datetime]:
    zone = ZoneInfo(SITES[site][1])
    local = datetime.combine(
        day, time(rng.randint(8, 17), rng.choice((0, 15, 30, 30, 0))), tzinfo=zone
    )
    start = local.astimezone(UTC)
    return start, start + timedelta(minutes=rng.choice((30, 45, 60, 60, 90, 120)))


def _room(rng: random.Random, site: int) -> int:
    return site * 10 + rng.randrange(len(SITES[site][2]))


def _title(rng: random.Random) -> str | None:
    title = rng.choice(TITLES)
    return title.format(organisation=rng.choice(ORGANISATIONS)[0]) if title else None


def _invite(
    company: Company, rng: random.Random, occurrences: list[Occurrence], *, outside: float
) -> None:
    """Give all occurrences of a booking the same guests: by the chance `outside` outsiders,
    sometimes colleagues.
    """
    emails, accounts = [], []
    if rng.random() < outside:
        emails = rng.sample(company.pool, rng.choice((0, 1, 1, 1, 2, 2, 3)))
        accounts = rng.sample(company.accounts, rng.choice((0, 1) if emails else (1, 2)))
    if rng.random() < 0.3 or not (emails or accounts):
        owner = occurrences[0].series.owner
        accounts = accounts + [key for key in rng.sample(company.employees, 2) if key != owner]
    for occurrence in occurrences:
        occurrence.guests, occurrence.accounts = list(emails), list(accounts)
        occurrence.ordinary = any(key > 200 for key in accounts) or bool(emails)


def _add_recurring(company: Company, rng: random.Random) -> None:
    for _ in range(140):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        first = rng.randrange(10)
        weekly = [
            day for day in company.days[first::5] if day.weekday() == company.days[first].weekday()
        ]
        zone = ZoneInfo(SITES[site][1])
        at, length = (
            time(rng.randint(8, 16), rng.choice((0, 30))),
            timedelta(minutes=rng.choice((30, 60, 90))),
        )
        starts = [
            datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
            for day in weekly[: rng.randint(8, 12)]
        ]
        made = company.book(
            _title(rng),
            owner=owner,
            room=_room(rng, site),
            times=[(start, start + length) for start in starts],
        )
        _invite(company, rng, made, outside=0.8)


def _add_singles(company: Company, rng: random.Random, *, count: int) -> None:
    for number in range(count):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        status = _DELETED if number % 33 == 5 else _PENDING if number % 50 == 7 else _CREATED
        made = company.book(
            _title(rng),
            owner=owner,
            room=_room(rng, site),
            times=[_slot(rng, rng.choice(company.days), site)],
            status=status,
        )
        _invite(company, rng, made, outside=0.85)
        if status != _CREATED:
            made[0].ordinary = False


def _add_past(company: Company, rng: random.Random, anchor: date) -> None:
    for number in range(60):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        day = anchor - timedelta(days=1 + number % 25)
        made = company.book(
            _title(rng), owner=owner, room=_room(rng, site), times=[_slot(rng, day, site)]
        )
        _invite(company, rng, made, outside=1)
        made[0].ordinary = False


def _add_interviews(company: Company, rng: random.Random) -> None:
    for candidate in company.candidates:
        host = rng.choice([key for key in company.employees if key <= 60])
        site, day, at = (
            company.users[host].site,
            rng.choice(company.days),
            time(rng.randint(9, 16), rng.choice((0, 30))),
        )
        others = rng.sample(range(host + 1, 121), 2) if candidate % 3 == 0 else []
        round_name = rng.choice(
            (
                "Erstgespräch",
                "Zweitgespräch",
                "Fachinterview",
                "First interview",
                "Rozmowa kwalifikacyjna",
            )
        )
        company.interviews.append(
            Interview(candidate, candidate, round_name, day, at, [*others, host])
        )
        if candidate <= 40:
            start = datetime.combine(day, at, tzinfo=ZoneInfo(SITES[site][1])).astimezone(UTC)
            times = [(start, start + timedelta(minutes=60))]
            (made,) = company.book(
                "Vorstellungsgespräch",
                owner=host,
                room=_room(rng, site),
                times=times,
                link=candidate,
            )
            made.guests, made.ordinary = [email_of(company.candidates[candidate])], False
    for interview in company.interviews[60:63]:
        interview.status = "REJECTED"
    company.interviews[-1].at = None
    gone = next(key for key, person in company.users.items() if not person.active)
    company.interviews[-2].interviewers = [gone]


def _add_unusable(company: Company, rng: random.Random) -> None:
    gone = next(key for key, person in company.users.items() if not person.active)

    def add(**changes: Any) -> Occurrence:
        owner, room = changes.get("owner", company.employees[0]), changes.get("room", 10)
        times = [_slot(rng, company.days[20], 1)]
        (made,) = company.book(
            "Besuch " + rng.choice(ORGANISATIONS)[0], owner=owner, room=room, times=times
        )
        made.guests, made.ordinary = [rng.choice(company.pool)], False
        return made

    add(owner=gone)
    add(room=70)
    add(room=None)
    backwards = add()
    backwards.start, backwards.end = backwards.end, backwards.start
    add().guests.append("n/a")
    add().guests.append("frau.dr.weiß(at)optik.example")


def spend_a_day(company: Company, rng: random.Random) -> None:
    """Turn night 1 into night 2: `CHANGES`, as the booking system's users would have made them."""
    ordinary = [occurrence for occurrence in company.occurrences if occurrence.ordinary]
    lengths: dict[int, int] = {}
    for occurrence in company.occurrences:
        lengths[occurrence.series.id] = lengths.get(occurrence.series.id, 0) + 1
    alone = [occurrence for occurrence in ordinary if lengths[occurrence.series.id] == 1]
    recurring = [occurrence for occurrence in ordinary if lengths[occurrence.series.id] > 1]
    several = [occurrence for occurrence in ordinary if len(occurrence.guests) > 1]
    used: set[int] = set()

    def take(kind: str, among: list[Occurrence]) -> list[Occurrence]:
        chosen = rng.sample(
            [occurrence for occurrence in among if occurrence.id not in used], CHANGES[kind]
        )
        used.update(occurrence.id for occurrence in chosen)
        return chosen

    for occurrence in take("cancelled", alone):
        occurrence.series.status = _DELETED
    deleted = {occurrence.id for occurrence in take("deleted", recurring)}
    company.occurrences = [
        occurrence for occurrence in company.occurrences if occurrence.id not in deleted
    ]
    for occurrence in take("guest_removed", several):
        occurrence.guests.pop()
    for occurrence in take("guest_swapped", several):
        occurrence.guests[0] = "lena.grünwald@kupferblatt.example"
    for occurrence in take("guest_added", ordinary):
        occurrence.guests.append(
            rng.choice([email for email in company.pool if email not in occurrence.guests])
        )
    for occurrence in take("moved", ordinary):
        company.own_series(occurrence)
        later = timedelta(minutes=rng.choice((-30, 30, 60, 90)))
        occurrence.start, occurrence.end = occurrence.start + later, occurrence.end + later
    for occurrence in take("renamed", ordinary):
        series = company.own_series(occurrence)
        series.title = f"{series.title or 'Besprechung'} – neue Agenda"
    for occurrence in take("other_room", ordinary):
        series = company.own_series(occurrence)
        series.room = (series.room or 0) // 10 * 10 + (1 if (series.room or 0) % 10 == 0 else 0)
    for occurrence in take("other_host", ordinary):
        series = company.own_series(occurrence)
        invited = {series.owner, *occurrence.accounts}
        series.owner = rng.choice([key for key in company.employees if key not in invited])
    _move_interviews(company)
    for _ in range(CHANGES["created"]):
        owner = rng.choice(company.employees)
        site = company.users[owner].site
        made = company.book(
            _title(rng),
            owner=owner,
            room=_room(rng, site),
            times=[_slot(rng, rng.choice(company.days), site)],
        )
        _invite(company, rng, made, outside=1)


def _move_interviews(company: Company) -> None:
    """One interview without a room booking, and one with: both records move."""
    linked = {
        occurrence.series.link: occurrence
        for occurrence in company.occurrences
        if occurrence.series.link
    }
    for interview in (company.interviews[45], company.interviews[3]):
        later = timedelta(minutes=30)
        if interview.at is not None:
            interview.at = (datetime.combine(interview.day, interview.at) + later).time()
        if booking := linked.get(interview.id):
            booking.start, booking.end = booking.start + later, booking.end + later
