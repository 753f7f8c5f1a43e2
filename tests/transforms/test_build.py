"""From validated rows to what essentry should hold."""

from __future__ import annotations

import pytest
from literal_rows import build, event, fates, guest, invited, validate


def test_row_becomes_an_event_with_its_invitation() -> None:
    desired = build(
        validate([event("7")], [guest("7", "g1", language="de_DE", company_name="ACME")])
    )
    row = desired.events.iloc[0]
    assert (row["source_id"], row["name"], row["location_id"], row["host_email"]) == (
        "hr-7",
        "Visit",
        1,
        "host@corp.example",
    )
    assert invited(desired) == [("hr-7", "hr-7-g1")]
    assert desired.invitations.loc[0, ["language", "company_name", "last_name"]].tolist() == [
        "DE",
        "ACME",
        "Guest",
    ]
    assert fates(desired) == {"hr-7": "due"}


def test_rooms_entry_outranks_the_sites() -> None:
    desired = build(validate([event("1", room_key="r1")], [guest()]))
    assert desired.events.loc[0, ["location_id", "entrance_id"]].tolist() == [5, 6]


def test_host_is_no_guest_of_the_own_meeting() -> None:
    people = [guest("1", "h", email="HOST@corp.example"), guest("1", "g1")]
    desired = build(validate([event()], people), settings={"guests": "all"})
    assert invited(desired) == [("hr-1", "hr-1-g1")]
    assert desired.notes["hosts_as_guests"] == 1


def test_meeting_with_its_host_alone_is_guestless() -> None:
    desired = build(
        validate([event()], [guest("1", "h", email="host@corp.example")]),
        settings={"guests": "all"},
    )
    assert fates(desired) == {"hr-1": "guestless"}


def test_employees_are_left_out_by_domain_and_by_flag() -> None:
    people = [
        guest("1", "e1", email="Ann@CORP.example"),
        guest("1", "e2", internal="1"),
        guest("1", "g1"),
        guest("1", "g2", email="x@notcorp.example"),
    ]
    assert [key for _, key in invited(build(validate([event()], people)))] == ["hr-1-g1", "hr-1-g2"]
    assert len(invited(build(validate([event()], people), settings={"guests": "all"}))) == 4


@pytest.mark.parametrize("policy", ["skip", "send"])
def test_meeting_without_outside_guest(policy: str) -> None:
    desired = build(
        validate([event()], [guest("1", "e1", email="a@corp.example")]),
        settings={"events_without_guests": policy},
    )
    assert fates(desired) == {"hr-1": "guestless" if policy == "skip" else "due"}


def test_s03_meeting_with_a_rejected_guest_alone_is_not_guestless() -> None:
    assert fates(build(validate([event()], [guest("1", "g1", email="broken@")]))) == {
        "hr-1": "quarantined"
    }


def test_duplicates_of_a_person_merge_into_the_smallest_id() -> None:
    people = [
        guest("1", "b", email="ann@guest.example", company_name="ACME"),
        guest("1", "a", email="Ann@Guest.example "),
    ]
    desired = build(validate([event()], people))
    assert invited(desired) == [("hr-1", "hr-1-a")]
    assert desired.invitations.loc[0, "company_name"] == "ACME"
    assert desired.notes["guests_merged"] == 1


def test_one_address_and_two_names_are_two_people() -> None:
    people = [
        guest("1", None, email="office@guest.example", last_name=name) for name in ("Ann", "Bob")
    ]
    desired = build(validate([event()], people))
    assert sorted(desired.invitations["last_name"]) == ["Ann", "Bob"]
    assert sorted(desired.invitations["invitation_id"]) == ["hr-1-~g1", "hr-1-~g2"]
    assert set(desired.invitations["identity"]) == {"office@guest.example"}


def test_guest_without_a_key_has_a_number_and_no_personal_data_in_the_id() -> None:
    people = [
        guest("1", None, email="ann@guest.example"),
        guest("2", None, email="ann@guest.example"),
    ]
    desired = build(validate([event("1"), event("2")], people))
    assert invited(desired) == [("hr-1", "hr-1-~g1"), ("hr-2", "hr-2-~g1")]


def test_shared_contact_has_one_id_and_one_content_in_all_events() -> None:
    people = [
        guest("1", "u", email="ann@guest.example", company_name="ACME"),
        guest("2", "u", email="ann@guest.example", company_name="Other"),
    ]
    desired = build(
        validate([event("1"), event("2")], people), essentry={"invitation_ids": "shared"}
    )
    assert invited(desired) == [("hr-1", "hr-u"), ("hr-2", "hr-u")]
    assert desired.invitations["company_name"].tolist() == ["ACME", "ACME"]


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "fate"),
    [
        ("2026-03-01 09:00", "2026-03-02 03:00", "past"),
        ("2026-03-01 09:00", "2026-03-02 03:01", "due"),
        ("2026-03-12 03:00", "2026-03-12 04:00", "due"),
        ("2026-03-12 03:01", "2026-03-12 04:00", "beyond_window"),
    ],
)
def test_s06_window(starts_at: str, ends_at: str, fate: str) -> None:
    desired = build(
        validate([event("1", starts_at=starts_at, ends_at=ends_at)], [guest()]),
        window={"days_ahead": 10},
    )
    assert fates(desired) == {"hr-1": fate}
    assert len(desired.events) == (fate == "due")


@pytest.mark.parametrize("policy", ["hold", "send"])
def test_pending(policy: str) -> None:
    desired = build(
        validate([event("1", status="pending")], [guest()]), settings={"pending": policy}
    )
    assert fates(desired) == {"hr-1": "pending" if policy == "hold" else "due"}


def test_cancelled_and_quarantined_rows_keep_their_place() -> None:
    rows = [event("1", status="cancelled"), event("2", host_email=None), event("3")]
    desired = build(validate(rows, [guest(k) for k in ("1", "2", "3")]))
    assert fates(desired) == {"hr-1": "cancelled", "hr-2": "quarantined", "hr-3": "due"}
    assert desired.events["source_id"].tolist() == ["hr-3"]


def test_private_title_and_description_do_not_leave_the_house() -> None:
    row = build(
        validate([event("1", private="1", name="Merger", description="secret")], [guest()])
    ).events.iloc[0]
    assert row["name"] == "Private meeting"
    assert row[["description"]].isna().all()


def test_untitled_and_long_titles() -> None:
    desired = build(
        validate([event("1", name=" "), event("2", name="x" * 300)], [guest("1"), guest("2")])
    )
    assert desired.events["name"].tolist() == ["Meeting", "x" * 254 + "…"]
    assert desired.notes["names_cut"] == 1


def test_custom_fields_of_events_and_guests() -> None:
    checked = validate(
        [event("1", custom_badge='a "b"')], [guest("1", "g1", custom_badge="VIP"), guest("1", "g2")]
    )
    desired = build(checked, settings={"custom_fields": {"badge": 12}})
    assert desired.events["custom_fields"].tolist() == ['{"12":"a \\"b\\""}']
    assert desired.invitations["custom_fields"].fillna("none").tolist() == ['{"12":"VIP"}', "none"]


def test_guests_of_unknown_events_are_no_invitations() -> None:
    assert invited(build(validate([event("1")], [guest("1"), guest("404", "g2")]))) == [
        ("hr-1", "hr-1-g1")
    ]


def test_no_rows_at_all() -> None:
    desired = build(validate([event("1", status="cancelled")]))
    assert desired.events.empty
    assert desired.invitations.empty


def test_s10_linked_records_unite_their_guests_under_one_event() -> None:
    hr = validate([event("1")], [guest("1", "g1", email="ann@guest.example")])
    rooms = validate(
        [event("9", linked_source="hr", linked_event_id="1", room_key="r1")],
        [guest("9", "x", email="ann@guest.example"), guest("9", "y", last_name="Yo")],
        source="rooms",
    )
    desired = build(hr, rooms)
    assert fates(desired) == {"hr-1": "due", "rooms-9": "merged"}
    assert invited(desired) == [
        ("hr-1", "hr-1-g1"),
        ("hr-1", "rooms-9-y"),
    ]
    assert desired.events.loc[0, ["location_id", "entrance_id"]].tolist() == [5, 6]


def test_s10_cancelled_record_whose_id_the_meeting_keeps_brings_no_guests() -> None:
    hr = validate([event("1")], [guest("1", "g1", email="ann@guest.example")])
    off = event("9", linked_source="hr", linked_event_id="1", status="cancelled")
    rooms = validate([off], [guest("9", "x", email="bob@guest.example")], source="rooms")
    desired = build(hr, rooms, confirmed={"rooms-9": None})
    assert fates(desired) == {"hr-1": "due", "rooms-9": "cancelled"}
    assert invited(desired) == [("rooms-9", "hr-1-g1")]
