"""Turns of a history's life: new keys, a changed setting, a pilot, a restored state, ids taken
over, a value taken away, audits of what a quiet night left, one event by itself, visits.

Each is lived in nights of its own between two days, and has promises of its own, judged by what
essentry and its mails show.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from flows.night.session import open_state
from flows.operations.adopt import adopt_events
from flows.operations.audit import Audited
from flows.operations.audit import audit as run_audit
from flows.operations.check_ins import read_visits
from flows.operations.restored import find_restored, mark_restored
from schemas.check_ins import SEVERAL_EVENTS
from schemas.load_config import load_config
from tests.chaos.company import HOST, LOCATIONS, Event
from tests.chaos.night import approve_latest, kill_reading, run_chosen, run_night

if TYPE_CHECKING:
    from tests.chaos.history import History

SHARE = 0.5
"""So many of the days end with a turn."""
VISITED = 0.5
"""So many of these with visits."""


def take_turn(history: History, day: int) -> None:
    """Sometimes one turn, drawn apart from what else a seed does."""
    rng = random.Random(f"turn {history.seed}-{day}")
    if rng.random() >= SHARE:
        return
    turn = Turn(history, rng, history.company.now + timedelta(days=day, hours=4))
    name = rng.choice(sorted(TURNS))
    if turn.rest() not in (0, 3):
        return
    if TURNS[name](turn):
        history.seen[f"turn: {name}"] += 1
    # drawn apart, so that what else a seed does stays as it was
    turn.rng = random.Random(f"visits {history.seed}-{day}")
    if turn.rng.random() < VISITED and bring_back(turn):
        history.seen["turn: visits brought back"] += 1
    history.check_all()


class Turn:
    """The nights of one turn, some minutes apart, without faults of the sources."""

    def __init__(self, history: History, rng: random.Random, as_of: datetime) -> None:
        self.history, self.company, self.rng, self.as_of = history, history.company, rng, as_of
        self.mails_seen = self.code = 0

    def night(self, *, faults: bool = False) -> int:
        """One night; its exit code."""
        self.as_of += timedelta(minutes=20)
        self.company.write(self.history.folder, {})
        if faults:
            self.history.add_faults()
        code = run_night(
            self.history.config,
            self.as_of,
            seed=str(self.as_of),
            way=self.rng.choice(["sync", "apply"]),
        )
        self.history.sandbox.clear_faults()
        return code

    def send(self, *, faults: bool = False) -> int:
        """One night, and if it asks somebody, the answer."""
        code = self.night(faults=faults)
        return self.approve() if code == 4 else code

    def rest(self) -> int:
        """A night in which nothing is wrong; mails from here on are the turn's."""
        code = self.night()
        if code == 4 and self.history.may_ask:
            code = self.approve()
        self.code = code
        self.mails_seen = len(self.history.sandbox.mails())
        return code

    def approve(self) -> int:
        """Somebody reads the plan that waits, and lets it go."""
        return approve_latest(self.history.config, self.as_of)

    def mails(self, *kinds: str) -> list[dict[str, Any]]:
        """What the turn has mailed."""
        return [
            mail
            for mail in self.history.sandbox.mails()[self.mails_seen :]
            if mail["kind"] in kinds
        ]

    def require(self, holds: object, words: str) -> None:
        """Raise AssertionError with the words unless it holds."""
        if not holds:
            raise AssertionError(f"turn at {self.as_of:%d %H:%M}: {words}")

    def set(self, old: str, new: str) -> None:
        """Another text in the configuration."""
        config = self.history.config
        text = config.read_text(encoding="utf-8")
        assert old in text
        config.write_text(text.replace(old, new), encoding="utf-8")

    def settled(self) -> list[Event]:
        """Coming events that stand alone, are readable, and are in essentry exactly as the company
        has them.
        """
        held = self.history.sandbox.state()["events"]
        families = set(self.company.family_of) | set(self.company.family_of.values())
        found = []
        for event in self.company.events.values():
            mine = held.get(event.id)
            if (
                mine is None
                or event.id in families
                or event.key == "0"
                or event.broken
                or event.bad_guests
                or event.link
            ):
                continue
            if event.status != "confirmed" or not event.guests or event.start <= self.as_of:
                continue
            people = sorted(str(self.company.people[n].shown) for n in event.guests)
            there = sorted(
                str((g.get("email") or None, g.get("firstName", ""), g.get("lastName", "")))
                for g in mine["guests"].values()
            )
            place = (
                mine["locationId"] == LOCATIONS[event.site]
                and datetime.fromisoformat(mine["startsAt"]) == event.start
            )
            if place and mine["name"] == event.name and people == there:
                found.append(event)
        contents = Counter(_content(event) for event in found)
        return [event for event in found if contents[_content(event)] == 1]


def _content(event: Event) -> tuple:
    return event.source, event.start, event.site, tuple(sorted(event.guests))


def rekey(turn: Turn) -> bool:
    """Rows deleted and written anew under other keys: nobody is mailed on that account."""
    unreadable = {event.source for event in turn.company.events.values() if event.broken == "key"}
    left = {
        event.source
        for event in turn.company.events.values()
        for how in event.bad_guests.values()
        if how == "lose guest's event"
    }
    some = [event for event in turn.settled() if event.source not in unreadable | left]
    if not some:
        return False
    chosen = turn.rng.sample(some, turn.rng.randint(1, len(some)))
    for event in chosen:
        event.row_key = f"n{turn.rng.randint(100, 999)}-{event.key}"
        turn.company.alias[f"{event.source}-{event.row_key.replace('-', '~2D')}"] = event.id
    ids = {event.id for event in chosen}
    for faults in (True, False):
        code = turn.night(faults=faults)
        turn.require(code in (0, 3, 6), f"a night after new keys ended with {code}")
        mailed = {mail["event"] for mail in turn.mails("invited", "cancelled")} & ids
        turn.require(not mailed, f"new keys mailed for {sorted(mailed)}")
        turn.require(
            ids <= set(turn.history.sandbox.state()["events"]), "an event with a new key is gone"
        )
    return True


def change_policy(turn: Turn) -> bool:
    """A typing error in the domains of employees: asked about while its effect shows, and forgotten
    when it is mended.
    """
    if not any(turn.company.people[n].email for event in turn.settled() for n in event.guests):
        return False
    if any("lose guest's event" in e.bad_guests.values() for e in turn.company.events.values()):
        return False  # a guest of nobody knows which meeting: all removals are held, and told
    typed = 'internal_domains = ["out.example"]\n'
    turn.set('events_sql = "events.sql"\n', 'events_sql = "events.sql"\n' + typed)
    code = turn.night()
    turn.require(code == 4, f"all guests turned employees, and the night ended with {code}")
    turn.require(not turn.mails("invited", "cancelled"), "mailed before somebody answered")
    turn.set(typed, "")
    code = turn.night()
    turn.require(code in (0, 3), f"the setting is as it was, and the night ended with {code}")
    return True


def pilot(turn: Turn) -> bool:
    """Only one source sends; what the other changes waits and is not lost."""
    # whether the end of the pilot is noticed depends on what it left out
    turn.history.may_ask = True
    turn.set("[report]", '[pilot]\nsources = ["hr"]\n[report]')
    turn.company.change(turn.rng.randint(2, 6))
    code = turn.send()
    turn.require(code in (0, 3), f"a night of the pilot ended with {code}")
    families = {
        turn.company.family(mail["event"]) for mail in turn.mails("invited", "cancelled", "updated")
    }
    others = sorted(family for family in families if not turn.history.touches(family, {"hr"}))
    turn.require(not others, f"mailed outside of the pilot: {others}")
    turn.set('[pilot]\nsources = ["hr"]\n', "")
    code = turn.send()
    turn.require(code in (0, 3), f"the night after the pilot ended with {code}")
    return True


def restore(turn: Turn) -> bool:
    """The state is put back to an older copy, and is told so; what went on in between is neither
    lost nor mailed twice.
    """
    if not turn.history.settings["state"].startswith("sqlite"):
        return False
    path = turn.history.folder / "state.sqlite"
    copy = turn.history.folder / "copy.sqlite"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    turn.company.change(turn.rng.randint(2, 6))
    turn.night(faults=turn.rng.random() < 0.5)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.replace(path)
    config = load_config(turn.history.config)
    with open_state(config) as state:
        mark_restored(config, state, find_restored(config, state))
    code = turn.send()
    turn.require(code in (0, 3), f"the night after a restore ended with {code}")
    return True


def adopt(turn: Turn) -> bool:
    """A meeting that an older integration has created: its ids stay, nobody is invited again."""
    company, sandbox = turn.company, turn.history.sandbox
    if turn.history.settings["invitation_ids"] == "shared":
        return False  # a contact has one id for all meetings, and may be known already
    company.next += 1
    numbers = turn.rng.sample(
        [person.number for person in company.people if person.kind == "keyed"], 2
    )
    event = company.add(
        Event(
            "rooms",
            str(company.next),
            company.now + timedelta(days=50, hours=company.next),
            guests=set(numbers),
        )
    )
    old = f"old/{event.key}"
    company.alias[old] = event.id
    people = [
        {"sourceId": f"inv/{event.key}/{n}", "email": email, "firstName": first, "lastName": last}
        for n in sorted(event.guests)
        for email, first, last in [company.people[n].shown]
    ]
    body = {
        "sourceId": old, "name": "Old title", "startsAt": event.start.isoformat(),
        "endsAt": event.end.isoformat(), "locationId": 11,
        "host": {"email": HOST}, "invitations": people,
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    httpx.put(
        f"{sandbox.base_url}/events",
        json={"agentToken": sandbox.agent_token, "events": [body]},
        headers=headers,
    ).raise_for_status()
    company.write(turn.history.folder, {})
    guests = {f"g{n}": f"inv/{event.key}/{n}" for n in event.guests}
    lines = [f"rooms,{event.key},{old},{key},{invitation}" for key, invitation in guests.items()]
    file = turn.history.folder / "ids.csv"
    file.write_text(
        "source,source_event_id,event_id,guest,invitation_id\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    adopt_events(load_config(turn.history.config), file, write=True)
    turn.mails_seen = len(sandbox.mails())
    for faults in (True, False):
        code = turn.night(faults=faults)
        turn.require(code in (0, 3, 6), f"a night after a take-over ended with {code}")
        turn.require(
            not turn.mails("invited", "cancelled")
            or old not in {m["event"] for m in turn.mails("invited", "cancelled")},
            "invited again",
        )
    turn.require(event.id not in sandbox.state()["events"], "the meeting was created a second time")
    return True


def withdraw(turn: Turn) -> bool:
    """A description is written, then taken away: essentry has none, or the report says so."""
    some = turn.settled()
    if not some:
        return False
    for event in some:
        event.told = "bring the badge"
    code = turn.send()
    turn.require(code in (0, 3), f"a night of descriptions ended with {code}")
    for event in some:
        event.told = turn.rng.choice([None, None, "no badge"])
    turn.send(faults=True)
    code = turn.send()
    turn.require(code in (0, 3), f"a night without descriptions ended with {code}")
    told = {mark["source_id"] for mark in turn.history.report()["uncleared"]} | {
        p["source_id"] for p in turn.history.report()["problems"]
    }
    held = turn.history.sandbox.state()["events"]
    silent = [
        event.id
        for event in some
        if (held[event.id].get("description") or None) != event.told and event.id not in told
    ]
    turn.require(
        not silent, f"a description stands in essentry, and the report is silent: {silent}"
    )
    return True


def audit(turn: Turn) -> bool:
    """What a quiet night left is in step, and an audit says so; an event that is lost by hand is
    sent again whole, and no other.
    """
    sandbox, company = turn.history.sandbox, turn.company

    def look(heal: list[str] | None = None) -> Audited:
        before = sandbox.requests()["puts"], len(sandbox.mails())
        config = load_config(turn.history.config)
        with open_state(config) as state:
            done = run_audit(config, state, heal=heal or ())
        after = sandbox.requests()["puts"], len(sandbox.mails())
        turn.require(before == after, "an audit has sent something")
        return done

    if turn.code != 0:
        return False
    for _ in range(2):
        done = look()
        turn.require(not done.told and not done.marked, f"told after a quiet night: {done.told}")
    # an event that was healed before is told, and left to a person
    healed = turn.history.healed
    some = [event for event in turn.settled() if len(event.guests) > 1 and event.id not in healed]
    turn.rng.shuffle(some)
    if not some:
        return True
    lost = turn.rng.choice(some)
    healed.add(lost.id)
    sandbox.edit("lose", event=lost.id)
    for number in lost.guests:
        company.invitations[company.family(lost.id), number] += 1
    others = [event for event in some if event is not lost]
    by_hand = _change_by_hand(turn, others) if turn.history.per_event else {}
    look()
    done = look()
    turn.require(done.marked == [lost.id], f"{lost.id} is lost, and marked are {done.marked}")
    told = {row.item or row.source_id: row.kind for row in done.told}
    expected = {lost.id: "missing event", **by_hand}
    turn.require(told == expected, f"changed by hand {expected}, told {told}")
    gone = [name for name, kind in by_hand.items() if kind == "missing invitation"]
    if gone:
        look(heal=gone)
    for event in others:
        if event.id in by_hand:
            event.name = "Named again"
    for faults in (True, False):
        code = turn.send(faults=faults)
        turn.require(code in (0, 3, 6), f"a night after an audit ended with {code}")
    held = sandbox.state()["events"]
    turn.require(lost.id in held, "a lost event is not sent again")
    there = {name for event in held.values() for name in event["guests"]}
    turn.require(set(gone) <= there, f"a guest who was asked for is not invited again: {gone}")
    touched = {lost.id} | {name for name, kind in by_hand.items() if kind == "different"}
    mailed = {mail["event"] for mail in turn.mails("invited", "cancelled") if mail["request"]}
    mailed -= touched | {
        mail["event"] for mail in turn.mails("invited") if mail["invitation"] in gone
    }
    turn.require(not mailed, f"an audit mailed for {sorted(mailed)}")
    return True


def _change_by_hand(turn: Turn, some: list[Event]) -> dict[str, str]:
    """Reception takes a guest off one list and gives another event a title; what an audit is to
    tell of it. The source changes that title later.
    """
    sandbox, company = turn.history.sandbox, turn.company
    told = {}
    if len(some) > 0:
        event = some[0]
        guest = turn.rng.choice(sorted(sandbox.state()["events"][event.id]["guests"]))
        email = sandbox.state()["events"][event.id]["guests"][guest].get("email")
        if email:
            number = company.read_number(email)
            company.may_cancel.add((company.family(event.id), number))
            company.invitations[company.family(event.id), number] += 1
            sandbox.edit("remove_guest", event=event.id, guest=guest)
            told[guest] = "missing invitation"
    if len(some) > 1:
        sandbox.edit("change", event=some[1].id, name="By hand")
        told[some[1].id] = "different"
    return told


def choose_one(turn: Turn) -> bool:
    """One event by itself on a busy day: no other is touched, and the night sends the rest."""
    some = turn.settled()
    if not some:
        return False
    chosen = turn.rng.choice(some)
    turn.company.change(turn.rng.randint(2, 6))
    if chosen.id not in turn.company.events or chosen.broken:
        return False
    chosen.told = "bring the badge"
    turn.as_of += timedelta(minutes=20)
    turn.company.write(turn.history.folder, {})
    if turn.rng.random() < 0.5:
        turn.history.add_faults()
    code = run_chosen(turn.history.config, chosen.id, turn.as_of)
    turn.history.sandbox.clear_faults()
    turn.require(code in (0, 3, 6), f"a run of one event ended with {code}")
    family = turn.company.family(chosen.id)
    mails = turn.mails("invited", "cancelled", "updated")
    others = {turn.company.family(mail["event"]) for mail in mails} - {family}
    turn.require(not others, f"a run of {chosen.id} mailed for {sorted(others)}")
    code = turn.send()
    turn.require(code in (0, 3), f"the night after a run of one event ended with {code}")
    return True


def bring_back(turn: Turn) -> bool:
    """Guests come and leave, and the reading of it is killed on the way: read again, every visit is
    there once, with its event, and nobody is mailed.
    """
    sandbox, config = turn.history.sandbox, turn.history.config
    held = sandbox.state()["events"]
    some = [event.id for event in turn.settled()]
    if not some:
        return False
    turn.as_of += timedelta(hours=3)
    expected = {}
    for event in turn.rng.sample(some, turn.rng.randint(1, min(3, len(some)))):
        for invitation in held[event]["guests"]:
            here = sandbox.check_in(invitation, at=turn.as_of - timedelta(hours=2))
            sandbox.check_out(here, at=turn.as_of - timedelta(minutes=turn.rng.randint(10, 100)))
            expected[str(here)] = event, invitation
    before = sandbox.requests()["puts"], len(sandbox.mails())
    kill_reading(config, turn.as_of, turn.rng.randint(1, 6))
    with open_state(load_config(config)) as state:
        done = read_visits(load_config(config), state, now=turn.as_of)
        found = {row["checkin_id"]: row for part in state.iterate_visits(500) for row in part}
    turn.require(done.unreadable == 0, "a check-in could not be read")
    turn.require(set(expected) <= set(found), f"not read: {sorted(set(expected) - set(found))}")
    shared = turn.history.settings["invitation_ids"] == "shared"
    for key, (event, invitation) in expected.items():
        row = found[key]
        turn.require(row["invitation_id"] == invitation, f"check-in {key} has another invitation")
        theirs = {name for name, other in held.items() if invitation in other["guests"]}
        joined = {row["source_id"]} <= (theirs if shared else {event})
        unsure = shared and row["reason"] == SEVERAL_EVENTS
        turn.require(joined or unsure, f"check-in {key} is of {row['source_id']}, not {event}")
    turn.require(
        before == (sandbox.requests()["puts"], len(sandbox.mails())), "a reading sent something"
    )
    return True


TURNS: dict[str, Callable[[Turn], bool]] = {
    "new keys": rekey,
    "a changed setting": change_policy,
    "a pilot": pilot,
    "a restored state": restore,
    "ids taken over": adopt,
    "a value taken away": withdraw,
    "audits": audit,
    "one event by itself": choose_one,
}
