"""What the sandbox holds after a request, and whom it would mail: events and guests."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_caller import DELETED, OK, Caller, event, guest, serve, without

# --- state: create, update, delete ---


def test_a_create_stores_the_event_and_invites(caller: Caller) -> None:
    assert caller.put(event("a", guest("g"), guest("h", companyName="Y", language="FR"))) == [OK]
    shown = caller.event()
    assert shown["startsAt"] == "2026-03-01T10:00:00+01:00"
    assert shown["guests"]["h"] == without(
        guest("h", companyName="Y", language="FR"), "sourceId"
    ) | {"effectiveCustomFields": {}}
    assert caller.mails() == [("invited", "a", "g"), ("invited", "a", "h")]
    (first, _) = caller.server.mails()
    assert first["email"] == "g@guest.example"
    assert first["request"] == 1
    assert first["at"].endswith("+00:00")
    assert caller.server.state()["mails"] == {"invited": 2, "updated": 0, "cancelled": 0}


def test_events_not_in_the_request_stay(caller: Caller) -> None:
    caller.put(event("a", guest()))
    caller.put(event("b"))
    assert set(caller.server.state()["events"]) == {"a", "b"}
    assert caller.mails(after=1) == []


def test_an_update_changes_only_the_fields_sent(caller: Caller) -> None:
    caller.put(event("a", guest(), description="D"))
    assert caller.put({"sourceId": "a", "name": "New"}) == [OK]
    shown = caller.event()
    assert (shown["name"], shown["description"], list(shown["guests"])) == ("New", "D", ["g"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "New"},
        {"description": "New"},
        {"startsAt": "2026-03-01T10:01:00+01:00"},
        {"endsAt": "2026-03-01T11:00:00Z"},
        {"locationId": 2},
        {"entranceId": 2},
        {"host": {"email": "other@x.example"}},
        {"host": {"email": "host@x.example", "phoneNumber": "1"}},
        {"creator": {"email": "other@x.example"}},
        {"customFields": {"1": "x"}},
        {"updatedAt": "2026-02-01T00:00:00Z"},
    ],
)
def test_any_difference_mails_every_guest_once(caller: Caller, change: dict[str, Any]) -> None:
    caller.put(event("a", guest("g"), guest("h")))
    caller.put({"sourceId": "a"} | change)
    assert caller.mails(after=1) == [("updated", "a", "g"), ("updated", "a", "h")]
    caller.put({"sourceId": "a"} | change)
    assert caller.mails(after=2) == []


def test_nothing_different_mails_nobody(caller: Caller) -> None:
    caller.put(event("a", guest("g", customFields={"1": "x"}), customFields={"1": "y"}))
    caller.put(event("a", guest("g", customFields={"1": "x"}), customFields={"1": "y"}))
    caller.put(
        {"sourceId": "a", "startsAt": "2026-03-01T09:00:00Z", "host": {"email": "host@x.example"}}
    )
    assert caller.mails(after=1) == []


def test_a_deletion_cancels_everybody_and_leaves_a_tombstone(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h")), event("b", guest("i")))
    assert caller.put({"sourceId": "a"} | DELETED) == [OK]
    state = caller.server.state()
    assert (set(state["events"]), set(state["tombstones"])) == ({"b"}, {"a"})
    assert set(state["tombstones"]["a"]["guests"]) == {"g", "h"}
    assert state["tombstones"]["a"]["deletedAt"]
    assert caller.mails(after=1) == [("cancelled", "a", "g"), ("cancelled", "a", "h")]


def test_a_deletion_changes_nothing_else(caller: Caller) -> None:
    caller.put(event("a", guest("g")))
    caller.put(event("a", guest("h"), name="New", **DELETED))
    assert caller.server.state()["tombstones"]["a"]["name"] == "Visit"
    assert caller.mails(after=1) == [("cancelled", "a", "g")]


def test_a_deleted_event_sent_again_is_an_error_by_default(caller: Caller) -> None:
    caller.put(event("a", guest()))
    caller.put({"sourceId": "a"} | DELETED)
    assert caller.put(event("a", guest(), name="New")) == ["ERROR_EVENT_DELETED"]
    assert caller.put({"sourceId": "a"} | DELETED) == ["ERROR_EVENT_DELETED"]
    assert caller.server.state()["tombstones"]["a"]["name"] == "Visit"
    assert caller.mails(after=2) == []


def test_on_deleted_update_changes_the_tombstone_silently() -> None:
    with serve(on_deleted="update") as server:
        caller = Caller(server)
        caller.put(event("a", guest("g")))
        caller.put({"sourceId": "a"} | DELETED)
        assert caller.put(event("a", guest("h"), name="New")) == [OK]
        assert caller.put({"sourceId": "a"} | DELETED) == [OK]
        assert server.state()["events"] == {}
        assert server.state()["tombstones"]["a"]["name"] == "New"
        assert caller.mails(after=2) == []


def test_on_deleted_resurrect_invites_everybody_again() -> None:
    with serve(on_deleted="resurrect") as server:
        caller = Caller(server)
        caller.put(event("a", guest("g"), guest("h")))
        caller.put({"sourceId": "a"} | DELETED)
        assert caller.put({"sourceId": "a"} | DELETED) == [OK]
        assert caller.put({"sourceId": "a", "name": "New"}) == [OK]
        assert caller.event()["name"] == "New"
        assert server.state()["tombstones"] == {}
        assert caller.mails(after=2) == [("invited", "a", "g"), ("invited", "a", "h")]
        caller.put({"sourceId": "a"} | DELETED)
        caller.put(event("a", guest("h"), guest("i")))
        assert caller.mails(after=5) == [("invited", "a", "h"), ("invited", "a", "i")]


# --- guests ---


def test_without_the_parameter_the_list_is_complete(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h")))
    caller.put({"sourceId": "a", "invitations": [guest("h"), guest("i")]})
    assert set(caller.event()["guests"]) == {"h", "i"}
    assert caller.mails(after=1) == [("cancelled", "a", "g"), ("invited", "a", "i")]
    caller.put({"sourceId": "a", "invitations": []})
    assert caller.event()["guests"] == {}


def test_with_the_parameter_missing_guests_stay(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h")))
    caller.put({"sourceId": "a", "invitations": [guest("i")]}, ignore_missing=True)
    assert set(caller.event()["guests"]) == {"g", "h", "i"}
    assert caller.mails(after=1) == [("invited", "a", "i")]


def test_deleted_at_of_a_guest_needs_the_parameter(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h")))
    caller.put({"sourceId": "a", "invitations": [guest("g") | DELETED, guest("h")]})
    assert set(caller.event()["guests"]) == {"g", "h"}
    assert caller.mails(after=1) == []
    caller.put(
        {"sourceId": "a", "invitations": [{"sourceId": "g"} | DELETED, guest("x") | DELETED]},
        ignore_missing=True,
    )
    assert set(caller.event()["guests"]) == {"h"}
    assert "x" not in caller.server.state()["contacts"]
    assert caller.mails(after=2) == [("cancelled", "a", "g")]
    caller.put({"sourceId": "a", "invitations": [guest("g")]}, ignore_missing=True)
    assert caller.mails(after=3) == [("invited", "a", "g")]


@pytest.mark.parametrize(
    "change",
    [
        {"firstName": "N"},
        {"email": "new@y.example"},
        {"companyName": "N"},
        {"language": "IT"},
        {"customFields": {"1": "x"}},
        {"accessProfiles": [{"partitionId": 1, "sourceId": "d"}]},
    ],
)
def test_a_changed_guest_is_mailed_alone(caller: Caller, change: dict[str, Any]) -> None:
    caller.put(event("a", guest("g"), guest("h")))
    caller.put({"sourceId": "a", "invitations": [{"sourceId": "g"} | change]}, ignore_missing=True)
    assert caller.mails(after=1) == [("updated", "a", "g")]
    shown = caller.event()["guests"]["g"]
    assert shown["lastName"] == "g"
    assert shown | change == shown
    caller.put({"sourceId": "a", "invitations": [{"sourceId": "g"} | change]}, ignore_missing=True)
    assert caller.mails(after=2) == []


def test_a_guest_keeps_the_fields_that_are_not_sent(caller: Caller) -> None:
    caller.put(event("a", guest("g", customFields={"1": "x"})))
    caller.put({"sourceId": "a", "invitations": [{"sourceId": "g", "accessProfiles": []}]})
    shown = caller.event()["guests"]["g"]
    assert (shown["customFields"], shown["accessProfiles"], shown["firstName"]) == (
        {"1": "x"},
        [],
        "G",
    )


def test_a_changed_event_and_guest_are_one_mail_each(caller: Caller) -> None:
    caller.put(event("a", guest("g"), guest("h"), guest("i")))
    caller.put(event("a", guest("g", firstName="N"), guest("h"), guest("j"), name="New"))
    assert caller.mails(after=1) == [
        ("cancelled", "a", "i"),
        ("updated", "a", "g"),
        ("updated", "a", "h"),
        ("invited", "a", "j"),
    ]


def test_a_guest_without_email_is_mailed_nothing(caller: Caller) -> None:
    caller.put(event("a", without(guest("g"), "email"), guest("h", email=" ")))
    assert set(caller.event()["guests"]) == {"g", "h"}
    assert caller.mails() == []


def test_the_same_invitation_id_elsewhere_is_one_contact(caller: Caller) -> None:
    caller.put(
        event("a", guest("g")),
        event("b", guest("g")),
        event("c", guest("g")),
        event("d", guest("h")),
    )
    caller.put({"sourceId": "c"} | DELETED)
    caller.put({"sourceId": "a", "invitations": [guest("g", email="new@y.example", firstName="N")]})
    state = caller.server.state()
    assert state["contacts"]["g"]["email"] == "new@y.example"
    assert state["events"]["b"]["guests"]["g"]["firstName"] == "N"
    assert sorted(caller.mails(after=2)) == [("updated", "a", "g"), ("updated", "b", "g")]
    assert {mail["email"] for mail in caller.server.mails() if mail["request"] == 3} == {
        "new@y.example"
    }


def test_a_contact_changed_in_both_events_of_a_request_is_mailed_once_each(caller: Caller) -> None:
    caller.put(event("a", guest("g")), event("b", guest("g")))
    changed = guest("g", firstName="N")
    caller.put(
        {"sourceId": "a", "invitations": [changed]}, {"sourceId": "b", "invitations": [changed]}
    )
    assert sorted(caller.mails(after=1)) == [("updated", "a", "g"), ("updated", "b", "g")]


def test_composite_ids_stay_independent(caller: Caller) -> None:
    caller.put(
        event("a", guest("a-g", email="g@y.example")), event("b", guest("b-g", email="g@y.example"))
    )
    caller.put({"sourceId": "a", "invitations": [guest("a-g", email="g@y.example", firstName="N")]})
    assert caller.event("b")["guests"]["b-g"]["firstName"] == "G"
    assert caller.mails(after=1) == [("updated", "a", "a-g")]


def test_a_contact_outlives_its_removal_only_where_it_is_invited(caller: Caller) -> None:
    caller.put(event("a", guest("g")), event("b", guest("g")))
    caller.put({"sourceId": "b", "invitations": []})
    caller.put({"sourceId": "a", "invitations": [guest("g", firstName="N")]})
    assert caller.mails(after=2) == [("updated", "a", "g")]


def test_without_source_id_a_guest_is_matched_by_email_and_name(caller: Caller) -> None:
    anna = {"email": "anna@y.example", "firstName": "Anna", "lastName": "A"}
    caller.put(event("a", anna, guest("g")))
    caller.put(
        event(
            "a",
            anna | {"email": "ANNA@y.example", "companyName": "Y"},
            without(guest("g"), "sourceId"),
        )
    )
    assert len(caller.event()["guests"]) == 2
    assert caller.mails(after=1) == [("updated", "a", None)]
    caller.put(event("a", anna | {"firstName": "Ann"}, guest("g")))
    assert caller.mails(after=2) == [("cancelled", "a", None), ("invited", "a", None)]


def test_custom_fields_of_the_event_are_the_default_for_each_guest(caller: Caller) -> None:
    caller.put(
        event(
            "a",
            guest("g", customFields={"1": "own"}),
            guest("h"),
            customFields={"1": "all", "2": "both"},
        )
    )
    guests = caller.event()["guests"]
    assert guests["g"]["effectiveCustomFields"] == {"1": "own", "2": "both"}
    assert guests["h"]["effectiveCustomFields"] == {"1": "all", "2": "both"}


def test_employees_come_from_host_and_creator_by_email(caller: Caller) -> None:
    caller.put(event("a", creator={"email": "creator@x.example", "firstName": "C"}))
    caller.put(event("b", host={"email": "HOST@x.example", "phoneNumber": "+49"}))
    people = caller.server.state()["employees"]
    assert set(people) == {"host@x.example", "creator@x.example"}
    host = people["host@x.example"]
    assert (host["firstName"], host["phoneNumber"]) == ("H", "+49")
