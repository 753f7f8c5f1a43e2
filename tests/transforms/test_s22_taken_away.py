"""S22: what is taken away is taken away, or told. Nights of random meetings against the sandbox's
rules, and the table of fields.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import orjson
import pandas as pd
import pytest
from literal_frames import NOW, compare, config, desire, guest, know, known_of, meeting

from flows.sandbox.records import SandboxSettings
from flows.sandbox.rules import SandboxState
from schemas.essentry import STATUS_SUCCESS, Employee, Event, Invitation, parse_events_request
from transforms.desired.payload import build_payloads, list_guests
from transforms.diff.changes import Diff, Known
from transforms.diff.clearing import FIELDS, UNCLEARED, clear_lost, find_field, list_uncleared

AGENT = "5a4db0c5-0000-4000-8000-000000000001"
LIVES = 2
CHANGING = [
    "description",
    "entrance_id",
    "host_phone",
    "creator_email",
    "creator_phone",
    "custom_fields",
    "guests",
    "location_id",
]
READINGS = ("clears", "ignored", "refused")
DOORS = ['[{"partitionId":1,"sourceId":"server-room"}]', '[{"partitionId":1,"sourceId":"gate"}]']
LOCATIONS = {1: [21, 22], 2: [], 3: [31]}


class Life:
    """One event source's nights: what is wanted, what the sandbox holds, what we believe."""

    def __init__(self, sandbox: SandboxState, **essentry: Any) -> None:
        self.sandbox, self.settings = sandbox, config(essentry={"on_reappear": "send", **essentry})
        self.clearing = self.settings.essentry.clearing
        self.rows: dict[str, dict] = {}
        self.rejections: dict[str, tuple[str, str]] = {}
        self.open: dict[str, list[tuple[dict, dict]]] = {}
        self.history: dict[str, list[dict]] = {}
        self.requests = 0
        self.wanted: dict[str, dict] = {}

    @property
    def known(self) -> Known:
        rows = [*self.rows.values()]
        lost = {
            key: {g["sourceId"]: g for after, _ in texts for g in after["invitations"]}
            for key, texts in self.open.items()
        }
        waiting = [
            (key, content, NOW - pd.Timedelta(hours=1))
            for key, (content, _) in self.rejections.items()
        ]
        plain = known_of(
            rows,
            unanswered={key: list(guests.values()) for key, guests in lost.items()},
            rejections=waiting,
        )
        codes = [code for _, code in self.rejections.values()]
        return replace(
            plain,
            rejections=plain.rejections.assign(code=codes),
            sent={key: [after for after, _ in texts] for key, texts in self.open.items()},
            removals={
                k: {
                    g["sourceId"]
                    for _, body in v
                    for g in body.get("invitations", [])
                    if "deletedAt" in g
                }
                for k, v in self.open.items()
            },
            former=lambda key: self.history.get(key, []),
        )

    def night(self, *meetings: dict, lose: Callable[[str], str] = lambda key: "") -> Diff:
        """lose: id → "" (answered), "before" (not applied, no answer) or "after" (applied, no
        answer).
        """
        desired = desire(*meetings)
        diff = compare(desired, self.known, settings=self.settings)
        texts = (
            dict(
                zip(
                    desired.events["source_id"],
                    build_payloads(desired.events, desired.invitations),
                    strict=True,
                )
            )
            if meetings
            else {}
        )
        self.wanted = {key: orjson.loads(text) for key, text in texts.items()}
        for change in diff.changes.to_dict("records"):
            key = change["source_id"]
            after = change["after"] if isinstance(change["after"], str) else texts.get(key)
            body = orjson.loads(change["body"] if isinstance(change["body"], str) else str(after))
            loss = lose(key)
            status = (
                self._send(body, ignore_missing=bool(change["ignore_missing"]))
                if loss != "before"
                else ""
            )
            payload = after or (self.rows[key]["payload"])
            row = {
                **change,
                "payload": payload,
                "state": "deleted" if change["action"] == "delete" else "active",
            }
            if loss:
                self.rows.setdefault(key, row | {"payload": "{}", "state": "active"})
                self.open.setdefault(key, []).append((orjson.loads(payload), body))
            if after and (loss or status == STATUS_SUCCESS):
                self.history.setdefault(key, []).append(orjson.loads(after))
            if not loss and status == STATUS_SUCCESS:
                self.rows[key] = row
                self.rejections.pop(key, None)
                self.open.pop(key, None)
            elif not loss:
                self.rejections[key] = (change["fingerprint"], status)
        return diff

    def _send(self, body: dict, *, ignore_missing: bool) -> str:
        self.requests += 1
        request = orjson.dumps({"agentToken": AGENT, "events": [body]})
        parsed = parse_events_request(request, nulls=self.sandbox.settings.null != "refused")
        (answer,) = self.sandbox.apply(
            parsed,
            ignore_missing=ignore_missing,
            rejected={},
            number=self.requests,
            now="2026-03-02T03:00:00Z",
        )
        return answer["status"]

    def named(self) -> set[tuple[str, str | None, str]]:
        return set(
            list_uncleared(
                {key: row["payload"] for key, row in self.rows.items()}, clearing=self.clearing
            )
        )

    def find_silent(self) -> list[tuple[str, str | None, str, Any, Any]]:
        """(event, invitation, field, held, wanted) where they differ, and nothing says so."""
        named, found = self.named(), []
        for key, payload in self.wanted.items():
            if key in self.rejections or key in self.open:
                continue  # a problem by name
            stored = self.sandbox.events[key]
            defaults = payload.get("customFields", {})
            found += [
                (key, None, *rest)
                for rest in _differ(stored.fields, payload)
                if not _is_named(named, key, None, rest[0])
            ]
            guests = list_guests(payload)
            assert set(stored.guests) == set(guests), key
            for who, wanted in guests.items():
                held = self.sandbox.contacts[who].fields | stored.guests[who].fields
                effective = stored.fields.get("customFields", {}) | held.get("customFields", {})
                held, wanted = (
                    held | {"customFields": effective},
                    wanted | {"customFields": defaults | wanted.get("customFields", {})},
                )
                found += [
                    (key, who, *rest)
                    for rest in _differ(held, wanted)
                    if not _is_named(named, key, who, rest[0])
                    and not _is_named(named, key, None, rest[0])
                ]
        return found


def _is_named(named: set, key: str, who: str | None, path: str) -> bool:
    return (key, who, path) in named or (key, who, path.partition(".")[0]) in named


def _differ(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    one, other = _flat(held), _flat(wanted)
    return [
        (path, one.get(path), other.get(path))
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    ]


def _flat(part: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key in ("sourceId", "invitations", UNCLEARED):
            continue
        found |= (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return {path: value for path, value in found.items() if value not in ("", None, [])}


def _maybe(rng: random.Random, *values: Any) -> Any:
    return rng.choice([None, *values])


def _some_fields(rng: random.Random) -> str | None:
    fields = {name: rng.choice("xyz") for name in ("5", "12") if rng.random() < 0.5}
    return orjson.dumps(fields).decode() if fields else None


def _some_guest(rng: random.Random, key: str) -> dict:
    first, last = rng.choice(["Ann", "Bo"]), rng.choice(["Ng", "Ek"])
    return guest(
        key, _maybe(rng, f"{key}@a.example", f"{key}@b.example"), first_name=_maybe(rng, first),
        last_name=f"{last} {key}",
        company_name=_maybe(rng, "A", "B"), language=_maybe(rng, "DE", "EN"),
        custom_fields=_some_fields(rng),
        access_profiles=_maybe(rng, *DOORS),
    )  # fmt: skip


def _some_meeting(rng: random.Random, key: str) -> dict:
    location = rng.choice(list(LOCATIONS))
    people: dict[str, Any] = {}
    for role in ("host", "creator"):
        people |= {
            f"{role}_{part}": _maybe(rng, f"{part} 1", f"{part} 2")
            for part in ("first_name", "last_name", "phone")
        }
    return meeting(
        key, *[_some_guest(rng, f"{key}-{who}") for who in rng.sample("abc", rng.randint(1, 3))],
        name=rng.choice(["Visit", "Tour"]), description=_maybe(rng, "one", "two"),
        starts_at=NOW + pd.Timedelta(days=rng.randint(3, 5)),
        location_id=location, entrance_id=_maybe(rng, *LOCATIONS[location]),
        custom_fields=_some_fields(rng),
        **people | {"host_email": rng.choice(["h@c.example", "i@c.example"]),
            "creator_email": _maybe(rng, "h@c.example", "j@c.example")},
    )  # fmt: skip


MODES = [
    *product(("unproven",), READINGS, READINGS, ("refused",)),
    ("empty", "clears", "clears", "refused"),
    ("null", "clears", "ignored", "clears"),
    ("null", "refused", "refused", "clears"),
]


@pytest.mark.share(4)
@pytest.mark.parametrize(("clearing", "text", "lists", "null"), MODES)
def test_s22_after_any_night_what_is_held_is_what_is_wanted_or_stands_by_name(
    clearing: str, text: str, lists: str, null: str
) -> None:
    """Random nights, random answers lost: full and partial, additive and authoritative, custom
    fields replaced and merged.
    """
    ways = [
        *product(
            ("full", "partial"),
            ("additive", "authoritative"),
            ("replaced", "merged"),
            (False, True),
        )
    ]
    rng = random.Random(f"{clearing} {text} {lists} {null}")
    for payload, kind, custom, strict in rng.sample(ways, LIVES):
        sandbox = SandboxState(
            SandboxSettings(
                empty_text=text, empty_list=lists, null=null, custom_fields=custom,
                locations=LOCATIONS if strict else None,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        life = Life(sandbox, payload=payload, guest_list=kind, clearing=clearing)
        keys = [f"hr-{n}" for n in range(8)]
        meetings = {key: _some_meeting(rng, key) for key in keys}
        for night in range(6):
            life.night(
                *meetings.values(),
                lose=(lambda key: rng.choice(["", "before", "after"]))
                if night == 2
                else lambda key: "",
            )
            assert life.find_silent() == [], (payload, kind, custom, strict, night)
            for key in keys:
                fresh = _some_meeting(rng, key)
                # one alone, as it mostly is
                columns = list(fresh) if rng.random() < 0.5 else rng.sample(CHANGING, 1)
                meetings[key] = meetings[key] | {column: fresh[column] for column in columns}
        for _ in range(
            0 if strict else 3
            # and once nothing changes, everything goes through: what is refused goes without what
            # was refused
        ):
            life.night(*meetings.values())
            assert life.find_silent() == [], (payload, kind, custom)
        if not strict:
            assert (life.rejections, life.open) == ({}, {}), (payload, kind, custom)
            assert life.night(*meetings.values()).changes.empty


# -- the table -------------------------------------------------------------------------------------


def test_s22_every_field_of_the_api_has_a_row() -> None:
    people = {f"{role}.{part}" for role in ("host", "creator") for part in Employee.__annotations__}
    event = (
        set(Event.__annotations__) - {"sourceId", "invitations", "updatedAt", "deletedAt", "host"}
        | people
    )
    of_guest = set(Invitation.__annotations__) - {"sourceId", "deletedAt"}
    rows = [(field.part, field.path) for field in FIELDS]
    assert len(set(rows)) == len(rows)
    assert set(rows) == {("event", path) for path in event} | {("guest", path) for path in of_guest}


@pytest.mark.parametrize(
    "field",
    [field for field in FIELDS if field.empty is not None],
    ids=lambda field: f"{field.part} {field.path}",
)
def test_s22_the_empty_value_of_a_field_is_of_its_type(field: Any) -> None:
    path = field.path + ".5" if field.path == "customFields" else field.path
    name, _, inner = path.partition(".")
    part = {name: {inner: field.empty} if inner else field.empty}
    event = part if field.part == "event" else {"invitations": [{"sourceId": "g"} | part]}
    assert parse_events_request(
        orjson.dumps({"agentToken": AGENT, "events": [{"sourceId": "a"} | event]})
    )


@pytest.mark.parametrize("clearing", ["unproven", "empty", "null"])
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize(
    "field",
    [f for f in FIELDS if f.nullable or f.empty is not None or "Name" in f.path],
    ids=lambda f: f"{f.part} {f.path}",
)
def test_s22_a_lost_value_is_sent_away_for_sure_or_stands(
    field: Any, refused: bool, clearing: str
) -> None:
    """Of every field, and as often as the event is looked at again; it stands no more when it has a
    value.
    """
    name, _, inner = (field.path + ".5" if field.path == "customFields" else field.path).partition(
        "."
    )
    value: Any = (
        [{"partitionId": 1, "sourceId": "d"}]
        if name == "accessProfiles"
        else 7
        if name == "entranceId"
        else "DE"
    )
    base: dict[str, Any] = {
        "name": "V",
        "host": {"email": "h@c.example"},
        "creator": {"email": "c@c.example"},
    }
    who = "" if field.part == "event" else "g"
    if field.path == "creator":
        base.pop("creator")
        inner, value = "email", "c@c.example"
    part = {name: base.get(name, {}) | {inner: value} if inner else value}
    full = {**base, "invitations": [{"sourceId": "g"}]} | (
        part if not who else {"invitations": [{"sourceId": "g"} | part]}
    )
    lost = {**base, "invitations": [{"sourceId": "g"}]}
    path = f"{name}.{inner}" if inner and field.path != "creator" else name
    first = clear_lost([full], lost, clearing=clearing, refused=refused)
    sent = path in first.values.get(who, {})
    marked = (who, path) in {(key, path) for key, path, _ in first.after.get(UNCLEARED, ())}
    proven = (clearing == "null" and field.nullable) or (
        clearing == "empty" and field.empty is not None
    )
    assert (sent, marked) == (
        proven or (clearing == "unproven" and field.empty is not None and not refused),
        not proven,
    )
    again = clear_lost([first.after], lost, clearing=clearing, refused=refused)
    assert (again.after, again.values) == (first.after, {})
    assert UNCLEARED not in clear_lost([first.after], full, clearing=clearing).after
    assert find_field(who or None, path).meaning


def test_s22_what_was_asked_without_an_answer_may_stand() -> None:
    """The confirmed event never had the description; the request whose answer was lost may have
    brought it.
    """
    plain = {"name": "V", "invitations": []}
    cleared = clear_lost([plain, plain | {"description": "d"}], plain, clearing="unproven")
    assert (cleared.values, cleared.after[UNCLEARED]) == (
        {"": {"description": ""}},
        [["", "description", "empty"]],
    )


def test_s22_a_null_that_is_proven_later_takes_away_what_stood() -> None:
    before, after = meeting("hr-1", guest("a"), entrance_id=7), meeting("hr-1", guest("a"))
    first = compare(desire(after), know(before))
    assert first.uncleared == [("hr-1", None, "entranceId")]
    believed = [
        dict(row) | {"payload": row["after"], "state": "active"}
        for row in first.changes.to_dict("records")
    ]
    same = compare(desire(after), known_of(believed))
    assert (same.changes.empty, same.uncleared) == (True, first.uncleared)
    diff = compare(
        desire(after), known_of(believed), settings=config(essentry={"clearing": "null"})
    )
    body = orjson.loads(diff.changes.loc[0, "body"])
    assert (body["entranceId"], diff.uncleared, diff.changes.loc[0, "reason"], len(diff.mails)) == (
        None,
        [],
        "cleared",
        1,
    )


def test_s22_another_host_has_another_phone() -> None:
    before = {"host": {"email": "a@c.example", "phoneNumber": "1"}, "invitations": []}
    after = {"host": {"email": "b@c.example"}, "invitations": []}
    assert clear_lost([before], after, clearing="unproven").after == after
