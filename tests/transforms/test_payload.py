"""Canonical JSON, its fingerprint, and the body of a request."""

from __future__ import annotations

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from literal_frames import frames, guest, meeting

from transforms.desired.payload import Payloads, add_fingerprints, build_payloads, fingerprint
from transforms.diff.body import build_body, dump_payload

DELETED_AT = "2026-03-02T03:00:00Z"
_text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


def _before(*guests: dict, **columns: object) -> dict:
    return {
        "sourceId": "hr-1",
        "name": "Visit",
        "locationId": 1,
        **columns,
        "invitations": list(guests),
    }


def _body(before: dict | None, after: dict, **flags: object) -> dict:
    plain = {
        "complete": False,
        "additive": True,
        "partial": False,
        "removed": set(),
        "deleted_at": DELETED_AT,
    }
    return build_body(before, after, **(plain | flags))  # type: ignore[arg-type]


def test_golden_canonical_json_and_fingerprint() -> None:
    """A change here makes the next run compare every event's content: raise FINGERPRINT_VERSION
    with it.
    """
    row = meeting(
        "hr-1",
        guest("b", last_name="Bo"),
        guest("a", custom_fields='{"7":"x"}'),
        entrance_id=2,
        host_phone="+49",
    )
    text = build_payloads(*frames([row])).iloc[0]
    assert text == (
        '{"sourceId":"hr-1","name":"Visit","startsAt":"2026-03-10T09:00:00Z","endsAt":"2026-03-10T10:00:00Z","locationId":1,"entranceId":2,'
        '"host":{"email":"host@corp.example","phoneNumber":"+49"},"invitations":[{"sourceId":"a","email":"a@guest.example",'
        '"customFields":{"7":"x"}},{"sourceId":"b","email":"b@guest.example","lastName":"Bo"}]}'
    )
    assert fingerprint(text) == "607f8be984245b0f446f5b0718cbf2cd"
    assert dump_payload(orjson.loads(text)) == text


@settings(max_examples=60)
@given(name=_text, description=st.none() | _text, last_name=_text, company=st.none() | _text)
@example(name='"', description="\\", last_name="\x00\x1f\x7f", company="🚪\u2028")
def test_canonical_json_is_what_a_serialiser_writes(
    name: str, description: str | None, last_name: str, company: str | None
) -> None:
    row = meeting(
        "hr-1",
        guest("a", last_name=last_name, company_name=company),
        name=name,
        description=description,
    )
    text = build_payloads(*frames([row])).iloc[0]
    event = {
        "sourceId": "hr-1", "name": name, "description": description, "startsAt": (
            "2026-03-10T09:00:00Z"
        ), "endsAt": "2026-03-10T10:00:00Z",
        "locationId": 1, "host": {"email": "host@corp.example"},
    }  # fmt: skip
    person = {
        "sourceId": "a",
        "email": "a@guest.example",
        "lastName": last_name,
        "companyName": company,
    }
    expected = {k: v for k, v in event.items() if v is not None} | {
        "invitations": [{k: v for k, v in person.items() if v is not None}]
    }
    assert text == orjson.dumps(expected).decode()
    assert dump_payload(orjson.loads(text)) == text


def test_guests_go_to_their_own_event_in_any_chunking() -> None:
    rows = [meeting(f"hr-{n}", *[guest(f"g{n}{k}") for k in range(n % 3)]) for n in range(7)]
    events, invitations = frames(rows)
    whole = build_payloads(events, invitations)
    assert [len(orjson.loads(text)["invitations"]) for text in whole] == [n % 3 for n in range(7)]
    for chunk in (1, 2, 7, 50):
        assert [
            text
            for texts in Payloads(events, invitations).iterate(chunk=chunk)
            for text in texts.to_pylist()
        ] == whole.tolist()
    for rows in ([], [3], [6, 0, 2, 2]):
        built = Payloads(events, invitations).build(np.array(rows, dtype=np.int64))
        assert built.to_pylist() == whole.iloc[rows].tolist()
    added = add_fingerprints(Payloads(events, invitations))
    assert added["guests"].tolist() == [n % 3 for n in range(7)]
    assert added["fingerprint"].tolist() == [fingerprint(text) for text in whole]


def test_no_events_have_no_fingerprints() -> None:
    assert add_fingerprints(Payloads(*frames([]))).empty


def test_updated_at_is_no_part_of_the_fingerprint() -> None:
    stamped = meeting("hr-1", guest("a"), updated_at=pd.Timestamp("2026-03-01T00:00:00Z"))
    one, other = (
        add_fingerprints(Payloads(*frames([row]))).loc[0, "fingerprint"]
        for row in (stamped, meeting("hr-1", guest("a")))
    )
    assert one == other


def test_s09_additive_body_holds_the_delta() -> None:
    stays, old, new = (
        {"sourceId": "a"},
        {"sourceId": "b", "language": "DE"},
        {"sourceId": "b", "language": "EN"},
    )
    after = _before(stays, new, {"sourceId": "d"})
    body = _body(_before(stays, old, {"sourceId": "c"}), after, removed={"c"})
    assert body["invitations"] == [
        new,
        {"sourceId": "d"},
        {"sourceId": "c", "deletedAt": DELETED_AT},
    ]
    assert "invitations" not in _body(after, after)


@pytest.mark.parametrize("before", [None, _before({"sourceId": "a"})])
def test_s09_complete_list_on_create_and_for_dirty_events(before: dict | None) -> None:
    after = _before({"sourceId": "a"}, {"sourceId": "b"})
    assert _body(before, after, complete=True)["invitations"] == after["invitations"]


def test_guest_who_stays_is_not_removed() -> None:
    after = _before({"sourceId": "a"})
    assert "invitations" not in _body(after, after, removed={"a"})


def test_lost_values_are_sent_empty() -> None:
    before = _before(
        {"sourceId": "a", "lastName": "X", "companyName": "C", "customFields": {"1": "x"}},
        description="d",
        customFields={"3": "y", "4": "z"},
    )
    after = _before({"sourceId": "a", "lastName": "X"}, customFields={"4": "z"})
    body = _body(before, after)
    assert body["description"] == ""
    assert body["customFields"] == {"4": "z", "3": ""}
    assert body["invitations"] == [
        {"sourceId": "a", "lastName": "X", "companyName": "", "customFields": {"1": ""}}
    ]


def test_partial_sends_changed_fields_alone() -> None:
    before, after = _before(description="d"), _before(name="New")
    assert _body(before, after, partial=True) == {
        "sourceId": "hr-1",
        "name": "New",
        "description": "",
    }
    assert _body(before, after, partial=True, complete=True)["locationId"] == 1


def test_authoritative_lists_everybody_and_names_no_removals() -> None:
    before, after = _before({"sourceId": "a"}, {"sourceId": "b"}), _before({"sourceId": "a"})
    assert _body(before, after, additive=False, removed={"b"})["invitations"] == [{"sourceId": "a"}]
    assert _body(before, _before(), additive=False, removed={"a", "b"})["invitations"] == []


def test_updated_at_is_sent_when_asked() -> None:
    assert (
        _body(None, _before(), updated_at="2026-03-01T00:00:00Z")["updatedAt"]
        == "2026-03-01T00:00:00Z"
    )
    assert "updatedAt" not in _body(None, _before())


def test_inputs_stay_as_they_were() -> None:
    before, after = (
        _before({"sourceId": "a", "lastName": "X"}, customFields={"1": "x"}),
        _before({"sourceId": "a"}),
    )
    copies = orjson.dumps(before), orjson.dumps(after)
    _body(before, after, removed={"z"})
    assert (orjson.dumps(before), orjson.dumps(after)) == copies
