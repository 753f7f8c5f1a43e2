"""S10, S15, S26: a meeting whose row comes back under another key keeps the id that essentry has;
nobody is mailed.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from flows.night.session import open_state
from flows.state import tables as t
from tests.firm import Firm, guards_of
from transforms.arrow import rows

pytestmark = [pytest.mark.usefixtures("way")]


@pytest.fixture(autouse=True)
def _few_meetings(firm: Firm) -> None:
    firm.sections["guards"] |= {"max_deletes": 100, "max_delete_share": 1.0}


def _rekey(firm: Firm, *keys: str, prefix: str = "uuid-", source: str = "rooms") -> None:
    """The rows deleted and written anew, with new keys of their guests too."""
    firm.meetings[source] = {
        f"{prefix}{key}" if key in keys else key: meeting | {"guests": _anew(meeting["guests"])}
        if key in keys
        else meeting
        for key, meeting in firm.meetings[source].items()
    }


def _anew(guests: dict) -> dict:
    """The same people under other keys."""
    return {
        f"n{key}": {"email": who, "last_name": key.upper()} if isinstance(who, str) else who
        for key, who in guests.items()
    }


@pytest.mark.parametrize("count", [1, 8])
def test_a_rekeyed_meeting_is_the_same_meeting(firm: Firm, count: int) -> None:
    firm.book_many(8)
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    _rekey(firm, *list(firm.meetings["rooms"])[:count])
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.new_mails(), firm.held()) == (
        0,
        set(),
        [],
        before,
    )
    if firm.way == "sync":
        assert result.report["notes"]["meetings_under_another_key"] == count
    result = firm.night()
    assert (result.exit_code, firm.new_mails(), firm.held()) == (0, [], before)


def test_its_life_goes_on_under_the_id_that_essentry_has(firm: Firm) -> None:
    """Moved, a guest more, a guest less, and at last called off: always the one event."""
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    _rekey(firm, "a")
    firm.night()
    firm.new_mails()
    meeting = firm.meetings["rooms"]["uuid-a"]
    meeting["start"] += timedelta(hours=3)
    assert firm.night().exit_code == 0
    assert {(kind, event, who) for kind, event, _, who in firm.new_mails()} == {
        ("updated", "rooms-a", "ada@out.example"), ("updated", "rooms-a", "bob@out.example"),
    }  # fmt: skip
    del meeting["guests"]["nada"]
    meeting["guests"]["eve"] = "eve@out.example"
    assert firm.night().exit_code == 0
    mails = {(kind, event, who) for kind, event, _, who in firm.new_mails() if kind != "updated"}
    assert mails == {
        ("cancelled", "rooms-a", "ada@out.example"),
        ("invited", "rooms-a", "eve@out.example"),
    }
    firm.cancel("uuid-a")
    assert firm.night().exit_code == 0
    assert {(kind, event) for kind, event, _, _ in firm.new_mails()} == {("cancelled", "rooms-a")}
    assert set(firm.held()) == {"rooms-z"}


def test_changed_again_and_again_and_back(firm: Firm) -> None:
    """A key after another, each gone when the next comes, and at last the first one: a backup was
    put back.
    """
    firm.book("a", "ada")
    firm.book("b", "bob")
    firm.night()
    first, before, _ = dict(firm.meetings["rooms"]), firm.held(), firm.new_mails()
    for prefix in ("x-", "y-"):
        _rekey(firm, *firm.meetings["rooms"], prefix=prefix)
        assert firm.night().exit_code == 0
    firm.meetings["rooms"] = first
    for _ in range(2):
        assert firm.night().exit_code == 0
    assert (firm.new_mails(), firm.held()) == ([], before)
    first["a"]["guests"]["eve"] = "eve@out.example"
    assert firm.night().exit_code == 0
    assert [(kind, event, who) for kind, event, _, who in firm.new_mails()] == [
        ("invited", "rooms-a", "eve@out.example")
    ]


def test_both_rows_at_last(firm: Firm) -> None:
    """The first row is back beside the new one: one of them is set aside and told, nobody is
    mailed.
    """
    firm.book("a", "ada")
    firm.night()
    first = dict(firm.meetings["rooms"])
    _rekey(firm, "a")
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"] |= first
    result = firm.night()
    assert (result.exit_code, firm.new_mails()) == (3, [])
    assert [(p["state"], p["source_id"]) for p in result.report["problems"]] == [
        ("quarantined", "rooms-a~taken")
    ]
    planned = firm.night(kind="plan")  # from the second night on it is listed
    assert [(row["check"], row["rows"]) for row in planned.report["quarantined"]] == [
        ("taken_id", 1)
    ]
    del firm.meetings["rooms"]["uuid-a"]
    assert firm.night().exit_code == 0
    assert (firm.new_mails(), firm.held()) == ([], {"rooms-a": {"rooms-a-ada"}})


def test_a_plan_that_was_never_sent_has_learned_it_all_the_same(firm: Firm) -> None:
    """The meeting moves before the next night: without the key of the day before it would be
    another meeting.
    """
    firm.book("a", "ada")
    firm.night()
    firm.new_mails()
    _rekey(firm, "a")
    firm.night(kind="plan")
    firm.meetings["rooms"]["uuid-a"]["start"] += timedelta(days=1)
    assert firm.night().exit_code == 0
    assert [(kind, event) for kind, event, _, _ in firm.new_mails()] == [("updated", "rooms-a")]


def test_meetings_of_one_content_keep_their_titles(firm: Firm) -> None:
    start = firm.book("a", "ada", name="Tour")["start"]
    firm.book("b", "ada", name="Talk", start=start)
    firm.night()
    firm.new_mails()
    _rekey(firm, "a", "b")
    assert (firm.night().exit_code, firm.new_mails()) == (0, [])
    names = {key: event["name"] for key, event in firm.sandbox.state()["events"].items()}
    assert names == {"rooms-a": "Tour", "rooms-b": "Talk"}


@pytest.mark.parametrize(
    "other", [{"start": timedelta(hours=1)}, {"site": "2"}, {"host": "other@corp.example"},
        {"guests": {"z": "z@out.example"}}],
    ids=["start", "place", "host", "guests"],
)  # fmt: skip
def test_another_meeting_is_another_meeting(firm: Firm, other: dict) -> None:
    meeting = firm.book("a", "ada")
    firm.night()
    firm.new_mails()
    firm.cancel("a")
    start = meeting["start"] + other.get("start", timedelta())
    firm.meetings["rooms"]["b"] = meeting | other | {"start": start}
    assert firm.night().exit_code == 0
    assert {(kind, event) for kind, event, _, _ in firm.new_mails()} == {
        ("invited", "rooms-b"),
        ("cancelled", "rooms-a"),
    }


@pytest.mark.parametrize(
    "doubt",
    ["keyless row", "cancelled row", "pending row", "unreadable row", "two for one", "limit"],
)
def test_what_is_not_certain_is_asked(firm: Firm, doubt: str) -> None:
    firm.book_many(8)
    meeting = firm.book("a", "ada")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    _rekey(firm, "a")
    if doubt == "keyless row":
        firm.book("", "zoe", source_event_id=None)
    elif doubt == "cancelled row":
        firm.meetings["rooms"]["a"] = meeting | {"status": "cancelled"}
    elif doubt == "pending row":
        firm.meetings["rooms"]["a"] = meeting | {"status": "pending"}
    elif doubt == "unreadable row":
        firm.meetings["rooms"]["a"] = meeting | {"host": "nobody"}
    elif doubt == "two for one":
        firm.meetings["rooms"]["other"] = dict(firm.meetings["rooms"]["uuid-a"])
    else:
        (firm.folder / "events.sql").write_text(
            (firm.folder / "events.sql").read_text() + " LIMIT 1000"
        )
    result = firm.night()
    assert "max_churn" in guards_of(result)
    assert (result.exit_code, firm.new_mails(), firm.held()) == (4, [], before)


def test_a_row_of_another_source_is_no_proof(firm: Firm) -> None:
    firm.meetings["hr"] = {}
    meeting = firm.book("a", "ada")
    firm.book("b", "bob")
    firm.book("z", "zoe", source="hr", start=meeting["start"] + timedelta(days=1))
    firm.night()
    firm.new_mails()
    firm.cancel("a")
    firm.meetings["hr"]["a"] = dict(meeting)
    result = firm.night()
    assert (result.exit_code, guards_of(result), firm.new_mails()) == (4, {"max_churn"}, [])


def test_divided_nights_find_it_too(firm: Firm) -> None:
    firm.sections["scale"] = {"partitions": 4, "folder": str(firm.folder / "parts")}
    firm.book_many(12)
    firm.night()
    before, first, _ = firm.held(), dict(firm.meetings["rooms"]), firm.new_mails()
    _rekey(firm, *list(firm.meetings["rooms"])[:9])
    assert (firm.night().exit_code, firm.night().exit_code, firm.new_mails(), firm.held()) == (
        0,
        0,
        [],
        before,
    )
    firm.meetings["rooms"] = first
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


def test_a_rekeyed_meeting_is_the_same_in_a_night_of_many(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above some thousand rows columns are picked by Arrow: here from the first row on."""
    monkeypatch.setattr(rows, "_FEW", 0)
    firm.book_many(4)
    assert firm.night().exit_code == 0
    before, _ = firm.held(), firm.new_mails()
    _rekey(firm, "m001")
    for _ in range(2):  # the second asks whether the first key is back
        assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


@pytest.mark.share(2)
@pytest.mark.parametrize("doubt", ["limit", "keyless row"])
def test_an_id_is_given_back_only_where_the_row_is_surely_gone(firm: Firm, doubt: str) -> None:
    """Both rows are there, and a read does not show the one that has the id: it must not be invited
    again when it is seen the next time.
    """
    firm.book("a", "ada")
    firm.night()
    first = dict(firm.meetings["rooms"])
    _rekey(firm, "a")
    firm.night()
    both = firm.meetings["rooms"] = first | firm.meetings["rooms"]
    firm.night()
    firm.new_mails()
    if doubt == "limit":
        file = firm.folder / "events.sql"
        file.write_text(file.read_text() + " LIMIT 1")
    else:
        firm.meetings["rooms"] = first | {"": both["uuid-a"] | {"source_event_id": None}}
    firm.night()
    if doubt == "limit":
        file.write_text(file.read_text().removesuffix(" LIMIT 1"))
    firm.meetings["rooms"] = both
    for _ in range(2):
        firm.night()
    assert (firm.new_mails(), set(firm.held())) == ([], {"rooms-a"})


def test_what_was_taken_over_by_hand_comes_before_what_was_found(firm: Firm) -> None:
    with open_state(firm.config) as state:
        kept = {"rooms-a": "rooms-b", "rooms-c": "rooms-d"}
        state.keep_rekeyed(kept, dict.fromkeys(kept, "rooms"))
        ids = [{"own_id": "rooms-a", "kind": "event", "adopted_id": "old-1", "source": "rooms"}]
        with state.engine.begin() as connection:
            connection.execute(t.adopted_ids.insert(), ids)
        assert state.adopted()["event"] == {"rooms-a": "old-1", "rooms-c": "rooms-d"}
        state.keep_rekeyed({"rooms-e": "rooms-d"}, {"rooms-e": "rooms"})
        assert state.rekeyed() == {"rooms-a": "rooms-b", "rooms-e": "rooms-d"}


@pytest.mark.parametrize(
    "new_keys", [False, True], ids=["the guests' keys stay", "the guests' keys change"]
)
def test_s03_an_unreadable_guest_of_a_rekeyed_meeting_keeps_the_invitation(
    firm: Firm, new_keys: bool
) -> None:
    firm.book("a", "ada", "bob")
    firm.night()
    firm.new_mails()
    if new_keys:
        _rekey(firm, "a")
    else:
        firm.meetings["rooms"] = {"uuid-a": firm.meetings["rooms"]["a"]}
    firm.night()
    meeting = firm.meetings["rooms"]["uuid-a"]
    (key,) = [key for key in meeting["guests"] if key.endswith("ada")]
    meeting["guests"] = meeting["guests"] | {key: "no address"}
    meeting["name"] = "Another title"
    for _ in range(2):
        firm.night()
        assert firm.held() == {"rooms-a": {"rooms-a-ada", "rooms-a-bob"}}
    assert {kind for kind, *_ in firm.new_mails()} == {"updated"}


@pytest.mark.parametrize(
    "change", [{"email": "new@out.example"}, {"last_name": "ADA-LOVELACE"}], ids=["address", "name"]
)
def test_a_guest_of_a_rekeyed_meeting_changes_and_is_the_same_guest(
    firm: Firm, change: dict
) -> None:
    firm.book("a", "ada", "bob")
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"] = {"uuid-a": firm.meetings["rooms"]["a"]}
    firm.night()
    meeting = firm.meetings["rooms"]["uuid-a"]
    meeting["guests"] = meeting["guests"] | {"ada": {"email": "ada@out.example"} | change}
    firm.night()
    assert firm.held() == {"rooms-a": {"rooms-a-ada", "rooms-a-bob"}}
    assert {(kind, invitation) for kind, _, invitation, _ in firm.new_mails()} == {
        ("updated", "rooms-a-ada")
    }


@pytest.mark.parametrize("lost", ["create", "update"])
def test_s08_a_meeting_whose_request_was_not_answered_keeps_the_id_too(
    firm: Firm, lost: str
) -> None:
    """essentry has what was sent, or what it confirmed before: the row under another key is the
    same meeting as either.
    """
    firm.book("z", "zoe")
    firm.book("a", "ada", "bob")
    if lost == "update":
        firm.night()
        firm.meetings["rooms"]["a"]["guests"]["eve"] = "eve@out.example"
    firm.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    firm.night()
    firm.sandbox.clear_faults()
    before, _ = firm.held(), firm.new_mails()
    _rekey(firm, "a")
    for _ in range(2):
        assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


def test_s03_a_rekeyed_meeting_with_a_guest_who_cannot_be_read_is_the_same_meeting(
    firm: Firm,
) -> None:
    firm.book("z", "zoe")
    firm.book("a", "ada", "bob")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    firm.meetings["rooms"]["a"]["guests"]["ada"] = "no address"
    firm.meetings["rooms"]["uuid-a"] = firm.meetings["rooms"].pop("a")
    for _ in range(2):
        firm.night()
        assert (firm.new_mails(), firm.held()) == ([], before)
    firm.meetings["rooms"]["uuid-a"]["guests"]["ada"] = "ada@out.example"
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


@pytest.mark.share(2)
@pytest.mark.parametrize(
    "doubt",
    [
        {"status": "pending"},
        {"host": "nobody"},
        {"status": "who knows"},
        {"guests": {"ada": "no address", "bob": "none either"}},
    ],
    ids=["pending", "no host", "unknown status", "no guest"],
)
def test_s15_a_meeting_whose_row_under_another_key_waits_is_held(
    firm: Firm, way: str, doubt: dict
) -> None:
    """Nothing is sent of the new row, so nothing can heal yet; it is the same meeting once it can
    be read.
    """
    firm.book("z", "zoe")
    firm.book("a", "ada", "bob")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    meeting = firm.meetings["rooms"].pop("a")
    firm.meetings["rooms"]["uuid-a"] = meeting | doubt
    for _ in range(2):
        result = firm.night()
        assert (result.exit_code, firm.new_mails(), firm.held()) == (3, [], before)
        assert {
            (p["source_id"], p["code"]) for p in result.report["problems"] if p["state"] == "held"
        } == {("rooms-a", "may be under another key")}
    firm.meetings["rooms"]["uuid-a"] = meeting
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


@pytest.mark.share(2)
@pytest.mark.parametrize(
    "doubt", [{"status": "pending"}, {"host": "nobody"}], ids=["pending", "no host"]
)
@pytest.mark.parametrize("both", [False, True], ids=["one record", "both records"])
def test_s15_a_record_of_a_linked_meeting_waits_under_another_key(
    firm: Firm, way: str, doubt: dict, both: bool
) -> None:
    """None of its guests is called off while a row that may be the record's cannot be sent; nor the
    meeting when the other record is gone, too.
    """
    firm.meetings["hr"] = {}
    start = firm.book("a", "ada", "bob")["start"]
    firm.book("z", "zoe")
    firm.book("z2", "zed", source="hr")
    interview = firm.book(
        "h", "hal", source="hr", start=start, linked_source="rooms", linked_event_id="a"
    )
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    meeting = firm.meetings["rooms"].pop("a")
    firm.meetings["rooms"]["uuid-a"] = meeting | doubt
    interview["linked_event_id"] = "uuid-a"
    if both:
        firm.cancel("h", source="hr")
    for _ in range(2):
        result = firm.night()
        assert (firm.new_mails(), firm.held()) == ([], before)
        # a link to a record that waits, or is quarantined, is a matter of that record, which is
        # told where rows are told
        assert (
            result.exit_code == 3
            if both
            else "held back" in result.report["verdict"] or result.exit_code == 3
        )
    firm.meetings["rooms"]["uuid-a"] = meeting
    if not both:
        assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)


def test_s15_a_meeting_that_is_off_is_not_held_for_another_that_waits(firm: Firm) -> None:
    """Another time, other guests, or a key that essentry knows: it is another meeting."""
    firm.book("z", "zoe")
    off = firm.book("a", "ada", "bob")
    known = firm.book("k", "kim", start=off["start"])
    firm.night()
    firm.new_mails()
    firm.cancel("a")
    firm.meetings["rooms"]["n1"] = off | {
        "status": "pending",
        "start": off["start"] + timedelta(hours=5),
    }
    firm.meetings["rooms"]["n2"] = off | {
        "status": "pending",
        "guests": {"eve": "eve@out.example", "bob": "bob@out.example"},
    }
    firm.meetings["rooms"]["k"] = known | {"status": "pending", "guests": off["guests"]}
    firm.night()
    assert {(kind, event) for kind, event, _, _ in firm.new_mails()} == {("cancelled", "rooms-a")}


@pytest.mark.parametrize("by", [1, 2])
def test_s15_keys_that_are_dealt_out_anew_are_asked(firm: Firm, by: int) -> None:
    """A migration numbers the rows anew, and most of the new numbers are other rows' old ones: each
    meeting would get another one's guests.
    """
    for number in range(8):
        firm.book(f"{number:02}")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    firm.meetings["rooms"] = {
        f"{int(key) + by:02}": meeting for key, meeting in firm.meetings["rooms"].items()
    }
    result = firm.night()
    assert "max_churn" in guards_of(result)
    assert (result.exit_code, firm.new_mails(), firm.held()) == (4, [], before)


def test_s21_a_linked_meeting_under_another_key_is_asked_while_the_link_names_the_old_one(
    firm: Firm,
) -> None:
    firm.meetings["hr"] = {}
    start = firm.book("a", "ada", "bob")["start"]
    firm.book("z", "zoe")
    firm.book("h", "hal", source="hr", start=start, linked_source="rooms", linked_event_id="a")
    firm.night()
    before, _ = firm.held(), firm.new_mails()
    _rekey(firm, "a")
    result = firm.night()
    assert "max_churn" in guards_of(result)
    assert (firm.new_mails(), firm.held()) == ([], before)
    firm.meetings["hr"]["h"]["linked_event_id"] = "uuid-a"
    assert (firm.night().exit_code, firm.new_mails(), firm.held()) == (0, [], before)
