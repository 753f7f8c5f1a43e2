"""The views that guards of one's own ask: rows in, rows out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import orjson
import pandas as pd

from flows.night.own_guards import check_own_guards
from schemas.config_guards import GuardsConfig
from schemas.plan_view import VIEWS
from transforms.guards.plan_view import build_views, empty_views

OPERATING = (Path(__file__).parents[2] / "flows" / "OPERATING.md").read_text(encoding="utf-8")
SECTION = OPERATING[OPERATING.index("## Guards of your own") :].split("\n## ")[0]
AS_OF = pd.Timestamp("2026-12-01T02:00:00Z")
CHANGES = pd.DataFrame(
    [
        {"source_id": "rooms-1", "action": "create", "location_id": 11, "guests": 2},
        {"source_id": "rooms-2", "action": "update", "location_id": 12, "guests": 1},
        {
            "source_id": "rooms-3",
            "action": "delete",
            "location_id": 11,
            "guests": 1,
            "reason": "absent",
        },
        {"source_id": "rooms-4", "action": "expire", "location_id": 11, "guests": 1},
    ]
).assign(
    source="rooms",
    name="Visit",
    starts_at=pd.Timestamp("2026-12-02T09:00:00Z"),
    ends_at=pd.NaT,
    seq=[1, 2, 3, 4],
)


def payload(start: str, host: str, place: int = 11) -> str:
    return orjson.dumps(
        {"name": "Visit", "startsAt": start, "locationId": place, "host": {"email": host}}
    ).decode()


CHANGES["after"] = [
    payload("2026-12-02T09:00:00Z", "h@corp.example"),
    payload("2026-12-03T09:00:00Z", "i@corp.example", 12),
    None,
    None,
]
CHANGES["fields_json"] = [None, '[{"field":"startsAt"},{"field":"locationId"}]', None, None]
BEFORE = {
    key: payload("2026-12-02T10:00:00Z", "h@corp.example")
    for key in ("rooms-2", "rooms-3", "rooms-4")
}
MAILS = pd.DataFrame(
    [
        ("rooms-1", "rooms", "ada@out.example", "invited"),
        ("rooms-1", "rooms", "name:bob", "invited"),
        ("rooms-2", "rooms", "cy@out.example", "updated"),
        ("rooms-3", "rooms", "di@out.example", "cancelled"),
    ],
    columns=["source_id", "source", "identity", "kind"],
)


def views() -> tuple[dict, list]:
    built = build_views(
        [(CHANGES.iloc[:2], BEFORE), (CHANGES.iloc[2:], BEFORE)], MAILS, as_of=AS_OF
    )
    return {row["source_id"]: row for row in built.plan.to_pylist()}, built.mails.to_pylist()


def test_a_row_says_what_would_be_and_what_essentry_has() -> None:
    plan, _ = views()
    assert list(plan) == ["rooms-1", "rooms-2", "rooms-3"]  # what is not sent is no part of it
    new, moved, gone = plan.values()
    assert {
        name for name, value in new.items() if name.endswith("_before") and value is not None
    } == set()
    assert (new["invited"], new["updated"], new["guests"], new["fields"]) == (2, 0, 2, [])
    assert (str(moved["starts_at_before"]), str(moved["starts_at"])) == (
        "2026-12-02 10:00:00+00:00",
        "2026-12-03 09:00:00+00:00",
    )
    assert (moved["location_id_before"], moved["location_id"]) == (11, 12)
    assert (moved["host_email_before"], moved["host_email"]) == ("h@corp.example", "i@corp.example")
    assert (moved["fields"], moved["updated"]) == (["startsAt", "locationId"], 1)
    assert (gone["reason"], gone["cancelled"], gone["host_email"]) == (
        "absent",
        1,
        "h@corp.example",
    )
    assert str(gone["starts_at"]) == "2026-12-02 10:00:00+00:00"
    assert {row["as_of"] for row in plan.values()} == {AS_OF}


def test_a_mail_has_its_address_and_a_guest_with_a_name_alone_has_none() -> None:
    _, mails = views()
    assert [
        (row["source_id"], row["action"], row["kind"], row["email"], row["domain"]) for row in mails
    ] == [
        ("rooms-1", "create", "invited", "ada@out.example", "out.example"),
        ("rooms-1", "create", "invited", None, None),
        ("rooms-2", "update", "updated", "cy@out.example", "out.example"),
        ("rooms-3", "delete", "cancelled", "di@out.example", "out.example"),
    ]


def test_a_part_of_the_events_is_a_part_of_both_views() -> None:
    built = build_views([(CHANGES, BEFORE)], MAILS, as_of=AS_OF)
    assert [
        table.num_rows for table in (built.only(["rooms-1"]).plan, built.only(["rooms-1"]).mails)
    ] == [1, 2]
    assert [
        table.num_rows for table in (built.without_deletes().plan, built.without_deletes().mails)
    ] == [2, 3]
    assert [table.num_rows for table in (built.only([]).plan, built.only([]).mails)] == [0, 0]


def test_the_inputs_stay_as_they_are() -> None:
    changes, mails = CHANGES.copy(), MAILS.copy()
    views()
    pd.testing.assert_frame_equal(CHANGES, changes)
    pd.testing.assert_frame_equal(MAILS, mails)


def test_the_page_has_every_column_as_the_model_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", SECTION, flags=re.M)
    assert rows == [
        (name, *column) for columns in VIEWS.values() for name, column in columns.items()
    ]
    assert [table.schema.names for table in (empty_views().plan, empty_views().mails)] == [
        list(columns) for columns in VIEWS.values()
    ]


def test_every_guard_of_the_page_can_be_asked() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", SECTION, flags=re.S)
    guards = tomllib.loads(example)["guards"]["sql"]
    assert len(guards) == 4
    check_own_guards(GuardsConfig(sql=guards))
