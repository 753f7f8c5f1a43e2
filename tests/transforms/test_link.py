"""One meeting in two sources: S10 as far as the ids of events go."""

from __future__ import annotations

import orjson
import pandas as pd

from transforms.desired.link import Linked, link_events

COLUMNS = [
    "own_id",
    "source",
    "status",
    "linked_source",
    "linked_event_id",
    "name",
    "description",
    "host_email",
    "host_first_name",
]
COLUMNS += [
    "host_last_name",
    "host_phone",
    "by_room",
    "location_id",
    "entrance_id",
    "starts_at",
    "ends_at",
]
TIMES = ["starts_at", "ends_at"]
NINE = pd.Timestamp("2026-11-25 09:00", tz="UTC")


def _record(own_id: str, points_at: str | None = None, **columns: object) -> dict:
    source, _, event = (points_at or "").partition("-")
    row = dict.fromkeys(COLUMNS) | {
        "starts_at": NINE,
        "ends_at": NINE + pd.Timedelta(hours=1),
        "own_id": own_id,
        "source": own_id.partition("-")[0],
        "status": "confirmed",
        "host_email": "h@corp.example",
    }
    return (
        row
        | {
            "linked_source": source or None,
            "linked_event_id": event or None,
            "by_room": False,
            "location_id": 1,
        }
        | columns
    )


def _link(
    *records: dict,
    confirmed: dict[str, list[str] | None] | None = None,
    quarantined: set[str] | None = None,
    guests: dict[str, str] | None = None,
) -> Linked:
    """guests: record → its only one; by default the same for all."""
    frame = pd.DataFrame(list(records), columns=COLUMNS)
    numbers = ["location_id", "entrance_id"]
    frame = frame.astype(
        {c: "str" for c in COLUMNS if c not in (*numbers, *TIMES, "by_room")}
        | dict.fromkeys(numbers, "Int64")
        | {"by_room": "bool"}
    )
    known = [
        (key, None if members is None else orjson.dumps(members).decode())
        for key, members in (confirmed or {}).items()
    ]
    table = pd.DataFrame(known, columns=["source_id", "members_json"]).astype("str")
    people = [
        (own, (guests or {}).get(own, "ada"))
        for own in frame["own_id"]
        if guests is None or own in guests
    ]
    return link_events(
        frame,
        guests=pd.DataFrame(people, columns=["own_id", "identity"]).astype("str"),
        confirmed=table,
        quarantined=quarantined or set(),
    )


def _ids(linked: Linked) -> dict[str, tuple[str, str]]:
    return {
        own: (key, status)
        for own, key, status in linked.events[["own_id", "source_id", "status"]].itertuples(
            index=False
        )
    }


def test_records_without_links_keep_their_ids() -> None:
    linked = _link(_record("a-1"), _record("b-1"))
    assert _ids(linked) == {"a-1": ("a-1", "confirmed"), "b-1": ("b-1", "confirmed")}
    assert linked.problems.empty


def test_s10_with_none_confirmed_the_smallest_id() -> None:
    linked = _link(_record("b-1"), _record("a-1", "b-1"))
    assert _ids(linked) == {"b-1": ("a-1", "confirmed"), "a-1": ("a-1", "merged")}
    assert linked.meetings.to_dict() == {"b-1": "a-1"}
    members = linked.events.set_index("own_id").at["b-1", "members"]
    assert orjson.loads(members) == ["b-1"]


def test_s10_the_confirmed_id_stays() -> None:
    linked = _link(_record("b-1"), _record("a-1", "b-1"), confirmed={"b-1": None})
    assert _ids(linked) == {"b-1": ("b-1", "confirmed"), "a-1": ("b-1", "merged")}
    linked = _link(_record("a-1"), _record("b-1", "a-1"), confirmed={"b-1": None})
    assert {key for key, _ in _ids(linked).values()} == {"b-1"}


def test_s10_of_two_confirmed_the_record_pointed_at() -> None:
    linked = _link(_record("b-1"), _record("a-1", "b-1"), confirmed={"a-1": None, "b-1": None})
    assert _ids(linked) == {"b-1": ("b-1", "confirmed"), "a-1": ("b-1", "merged")}


def test_s10_chain_is_one_meeting() -> None:
    linked = _link(_record("a-1"), _record("b-1", "a-1"), _record("c-1", "b-1"))
    assert _ids(linked) == {
        "a-1": ("a-1", "confirmed"),
        "b-1": ("a-1", "merged"),
        "c-1": ("a-1", "merged"),
    }


def test_s10_circle_is_quarantined() -> None:
    linked = _link(
        _record("a-1", "b-1"), _record("b-1", "a-1"), _record("c-1", "c-1"), _record("d-1")
    )
    assert dict(linked.problems.itertuples(index=False, name=None)) == dict.fromkeys(
        ("a-1", "b-1", "c-1"), "link_cycle"
    )
    assert _ids(linked)["d-1"] == ("d-1", "confirmed")


def test_s10_unresolved_link_holds_both() -> None:
    linked = _link(_record("a-1", "b-404"))
    assert dict(linked.problems.itertuples(index=False, name=None)) == {"a-1": "link"}
    assert linked.held_targets == {"a-1", "b-404"}


def test_s10_link_to_a_quarantined_record_holds_it() -> None:
    linked = _link(_record("a-1", "b-1"), quarantined={"b-1"})
    assert linked.problems["own_id"].tolist() == ["a-1"]
    assert linked.held_targets == {"a-1", "b-1"}


def test_cancelled_pointer_drops_out() -> None:
    linked = _link(_record("a-1"), _record("b-1", "a-1", status="cancelled"))
    assert _ids(linked) == {"a-1": ("a-1", "confirmed"), "b-1": ("b-1", "cancelled")}


def test_cancelled_target_cancels_the_meeting() -> None:
    linked = _link(_record("a-1", status="cancelled"), _record("b-1", "a-1"))
    assert {status for _, status in _ids(linked).values()} == {"cancelled"}


def test_s10_id_is_taken_over_when_its_record_is_gone() -> None:
    linked = _link(_record("b-1"), confirmed={"a-1": ["b-1"]})
    assert _ids(linked) == {"b-1": ("a-1", "confirmed")}
    assert linked.meetings.to_dict() == {"b-1": "a-1"}


def test_s21_the_id_stays_with_the_meeting_while_the_record_that_carries_it_cannot_be_read() -> (
    None
):
    assert _ids(_link(_record("b-1"), confirmed={"a-1": ["b-1"]}, quarantined={"a-1"}))["b-1"] == (
        "a-1",
        "confirmed",
    )
    linked = _link(
        _record("b-1"),
        _record("c-1", "b-1"),
        confirmed={"a-1": ["b-1", "c-1"]},
        quarantined={"a-1"},
    )
    assert _ids(linked) == {"b-1": ("a-1", "confirmed"), "c-1": ("a-1", "merged")}


def test_s10_no_take_over_of_an_id_whose_record_is_there() -> None:
    assert _ids(_link(_record("a-1"), _record("b-1"), confirmed={"a-1": ["b-1"]}))["b-1"] == (
        "b-1",
        "confirmed",
    )
    assert _ids(_link(_record("b-1", status="cancelled"), confirmed={"a-1": ["b-1"]}))["b-1"] == (
        "b-1",
        "cancelled",
    )


def test_target_gives_the_content_and_the_pointer_fills_it() -> None:
    target = _record("a-1", name="Title")
    pointer = _record(
        "b-1",
        "a-1",
        name="Other",
        description="From b",
        host_phone="+49",
        by_room=True,
        location_id=5,
        entrance_id=6,
    )
    row = _link(target, pointer).events.set_index("own_id").loc["a-1"]
    assert row[["name", "description", "host_phone", "location_id", "entrance_id"]].tolist() == [
        "Title",
        "From b",
        "+49",
        5,
        6,
    ]
    stranger = {**pointer, "host_email": "other@corp.example"}
    assert pd.isna(_link(target, stranger).events.set_index("own_id").at["a-1", "host_phone"])


LATER = {"starts_at": NINE + pd.Timedelta(days=7), "ends_at": NINE + pd.Timedelta(days=7, hours=1)}


def _doubted(linked: Linked) -> dict[str, str]:
    return dict(linked.problems.itertuples(index=False, name=None))


def test_s21_a_link_is_believed_by_the_time_or_by_a_guest() -> None:
    two = {"a-1": "bob", "b-1": "ada"}
    overlapping = {"starts_at": NINE - pd.Timedelta(days=1)}
    after_lunch = {
        "starts_at": NINE + pd.Timedelta(hours=4),
        "ends_at": NINE + pd.Timedelta(hours=5),
    }
    assert _doubted(_link(_record("b-1"), _record("a-1", "b-1"), guests=two)) == {}
    assert _doubted(_link(_record("b-1"), _record("a-1", "b-1", **overlapping), guests=two)) == {}
    assert _doubted(_link(_record("b-1"), _record("a-1", "b-1", **after_lunch), guests=two)) == {}
    assert _doubted(_link(_record("b-1"), _record("a-1", "b-1", **LATER))) == {}
    assert (
        _doubted(_link(_record("b-1"), _record("a-1", "b-1", **LATER), guests={"b-1": "ada"})) == {}
    ), "it brings nobody along"
    linked = _link(_record("b-1"), _record("a-1", "b-1", **LATER), guests=two)
    assert _doubted(linked) == {"a-1": "link_strangers"}
    assert _ids(linked)["b-1"] == ("b-1", "confirmed")
    assert linked.meetings.empty
    assert _doubted(
        _link(_record("b-1"), _record("a-1", "b-1", **LATER), guests={"a-1": "bob"})
    ) == {"a-1": "link_strangers"}


def test_s21_a_meeting_that_essentry_has_as_one_stays_one_when_a_record_moves() -> None:
    linked = _link(
        _record("b-1"),
        _record("a-1", "b-1", **LATER),
        guests={"a-1": "bob", "b-1": "ada"},
        confirmed={"a-1": ["b-1"]},
    )
    assert (_doubted(linked), _ids(linked)["a-1"]) == ({}, ("a-1", "merged"))


def test_s21_a_cancelled_record_does_not_cancel_a_stranger() -> None:
    linked = _link(
        _record("b-1", status="cancelled"),
        _record("a-1", "b-1", **LATER),
        guests={"a-1": "bob", "b-1": "ada"},
    )
    assert _doubted(linked) == {"a-1": "link_strangers"}
    assert _ids(linked)["a-1"] == ("a-1", "confirmed")


def test_s21_who_points_at_a_doubted_link_is_doubted_too() -> None:
    linked = _link(
        _record("c-1"),
        _record("b-1", "c-1", **LATER),
        _record("a-1", "b-1", **LATER),
        guests={"a-1": "x", "b-1": "y", "c-1": "z"},
    )
    assert _doubted(linked) == {"a-1": "link_strangers", "b-1": "link_strangers"}
