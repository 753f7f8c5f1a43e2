"""What is decided about each event: rows in, rows out. Tests of a rule of safety bear its
number.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_frames import (
    NOW,
    accept,
    body_of,
    compare,
    config,
    decisions,
    desire,
    guest,
    know,
    mails,
    meeting,
)

from transforms.desired.payload import Payloads, add_fingerprints, fingerprint
from transforms.diff.changes import SourceHealth, unite_diffs
from transforms.diff.comparison import Comparison
from transforms.diff.unions import keep_dispositions

PAST = "2026-03-01T09:00:00Z"
DELETED_AT = "2026-03-02T03:00:00Z"


def _ids(body: dict) -> list[str]:
    return [item["sourceId"] for item in body.get("invitations", [])]


def test_new_event_is_created_and_invites_its_guests() -> None:
    diff = compare(desire(meeting("hr-1", guest("a"), guest("b"))), know())
    assert decisions(diff) == {"hr-1": ("create", None)}
    assert mails(diff) == [
        ("hr-1", "a@guest.example", "invited"),
        ("hr-1", "b@guest.example", "invited"),
    ]
    assert diff.changes.loc[0, "guests"] == 2


def test_an_update_carries_the_time_of_its_change_when_it_is_asked_for_and_known() -> None:
    before = [meeting("hr-1", name="Old"), meeting("hr-2", name="Old")]
    wanted = desire(
        meeting("hr-1", name="New", updated_at="2026-03-01T09:30:15.9+01:00"),
        meeting("hr-2", name="New"),
    )
    diff = compare(wanted, know(*before), settings=config(essentry={"send_updated_at": True}))
    assert body_of(diff, "hr-1")["updatedAt"] == "2026-03-01T08:30:15Z"
    assert "updatedAt" not in body_of(diff, "hr-2")
    assert "updatedAt" not in body_of(compare(wanted, know(*before)), "hr-1")


def test_a_change_has_what_its_event_and_the_snapshot_say_of_it() -> None:
    before = [meeting("hr-1", guest("a"), name="Old"), meeting("hr-2", guest("b"))]
    after = meeting(
        "hr-1",
        guest("a"),
        name="New",
        location_id=2,
        starts_at="2026-03-11T09:00:00Z",
        members='["hr-1","hr-9"]',
    )
    known = know(*before)
    diff = compare(desire(after, meeting("hr-2", guest("b"))), known)
    change, base = diff.changes.iloc[0], known.snapshot.set_index("source_id").loc["hr-1"]
    assert diff.changes["source_id"].tolist() == ["hr-1"]
    assert change[["source", "location_id", "name", "members_json", "guests"]].tolist() == [
        "hr",
        2,
        "New",
        '["hr-1","hr-9"]',
        1,
    ]
    assert change["starts_at"] == pd.Timestamp("2026-03-11T09:00:00Z")
    assert (change["base_fingerprint"], change["base_run"]) == (
        base["fingerprint"],
        base["confirmed_run"],
    )
    assert change["fingerprint"] == fingerprint(change["after"]) != base["fingerprint"]


def test_same_event_is_left_alone() -> None:
    same = meeting("hr-1", guest("a"))
    diff = compare(desire(same), know(same))
    assert decisions(diff) == {"hr-1": ("unchanged", None)}
    assert diff.changes.empty
    assert mails(diff) == []


def test_full_sends_an_unchanged_event_completely() -> None:
    same = meeting("hr-1", guest("a"))
    diff = compare(desire(same), know(same), full=True)
    assert decisions(diff) == {"hr-1": ("update", "full")}
    assert _ids(body_of(diff, "hr-1")) == ["a"]
    assert mails(diff) == [("hr-1", "a@guest.example", "updated")]


def test_changed_title_names_the_field() -> None:
    diff = compare(
        desire(meeting("hr-1", guest("a"), name="New")),
        know(meeting("hr-1", guest("a"), name="Old")),
    )
    assert orjson.loads(diff.changes.loc[0, "fields_json"]) == [
        {"field": "name", "before": "Old", "after": "New"}
    ]
    assert diff.changes.loc[0, "base_run"] == "run-1"


def test_fingerprint_of_an_older_version_is_renewed_without_sending() -> None:
    same = meeting("hr-1", guest("a"))
    known = know(same)
    known.snapshot.loc[0, ["fingerprint", "fingerprint_version"]] = ["0" * 32, 0]
    diff = compare(desire(same), known)
    assert decisions(diff) == {"hr-1": ("unchanged", "refingerprinted")}
    assert diff.changes.empty


# -- deletes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("disposition", ["cancelled", "guestless", "merged"])
def test_s01_reasons_in_the_source(disposition: str) -> None:
    diff = compare(desire(dispositions={"hr-1": disposition}), know(meeting("hr-1", guest("a"))))
    assert decisions(diff) == {"hr-1": ("delete", disposition)}
    assert body_of(diff, "hr-1") == {"sourceId": "hr-1", "deletedAt": DELETED_AT}
    assert mails(diff) == [("hr-1", "a@guest.example", "cancelled")]


def test_s01_absent_is_the_fourth_reason() -> None:
    diff = compare(desire(), know(meeting("hr-1", guest("a"))))
    assert decisions(diff) == {"hr-1": ("delete", "absent")}
    assert diff.absent_now == ["hr-1"]


@pytest.mark.parametrize("disposition", ["pending", "quarantined"])
def test_s01_anything_else_is_held(disposition: str) -> None:
    diff = compare(desire(dispositions={"hr-1": disposition}), know(meeting("hr-1", guest("a"))))
    assert decisions(diff) == {"hr-1": ("held", disposition)}
    assert diff.changes.empty


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (SourceHealth(read=False), "source not read"),
        (SourceHealth(events=False), "source unhealthy"),
        (SourceHealth(unreadable_event_keys=1), "unreadable keys in the source"),
    ],
)
def test_s02_absent_needs_a_complete_and_healthy_read(health: SourceHealth, reason: str) -> None:
    diff = compare(desire(), know(meeting("hr-1", guest("a"))), health=health)
    assert decisions(diff) == {"hr-1": ("held", reason)}
    assert diff.changes.empty
    assert diff.absent_now == []


def test_s02_an_event_that_is_over_expires_without_a_call() -> None:
    diff = compare(desire(), know(meeting("hr-1", guest("a"), starts_at=PAST)))
    assert decisions(diff) == {"hr-1": ("expire", "over")}
    assert pd.isna(diff.changes.loc[0, "body"])
    assert mails(diff) == []


def test_s02_moved_into_the_past_is_held() -> None:
    diff = compare(desire(dispositions={"hr-1": "past"}), know(meeting("hr-1", guest("a"))))
    assert decisions(diff) == {"hr-1": ("held", "moved into the past")}


def test_s02_target_of_an_unresolved_link_is_held() -> None:
    diff = compare(desire(held_targets={"hr-1"}), know(meeting("hr-1", guest("a"))))
    assert decisions(diff) == {"hr-1": ("held", "linked meeting not found")}


@pytest.mark.parametrize(("runs_before", "action"), [(0, "held"), (1, "held"), (2, "delete")])
def test_s02_absent_must_last_as_many_runs_as_configured(runs_before: int, action: str) -> None:
    patient = config(guards={"delete_after_runs": 3})
    diff = compare(
        desire(), know(meeting("hr-1", guest("a")), absent_runs=runs_before), settings=patient
    )
    assert decisions(diff)["hr-1"][0] == action
    assert diff.absent_now == ["hr-1"]


def test_s02_source_without_health_is_held() -> None:
    diff = compare(desire(), know(meeting("crm-1", guest("a"), source="crm")))
    assert decisions(diff) == {"crm-1": ("held", "source not read")}


def test_s03_rejected_guest_keeps_the_invitation() -> None:
    before, after = (
        meeting("hr-1", guest("a"), guest("b"), name="Old"),
        meeting("hr-1", guest("b"), name="New"),
    )
    diff = compare(desire(after, held=[("hr-1", "a")]), know(before))
    assert "invitations" not in body_of(diff, "hr-1")
    assert _ids(orjson.loads(diff.changes.loc[0, "after"])) == ["a", "b"]
    assert [kind for _, _, kind in mails(diff)] == ["updated", "updated"]


def test_s03_rejected_guest_that_essentry_never_had_is_not_invented() -> None:
    same = meeting("hr-1", guest("b"))
    assert decisions(compare(desire(same, held=[("hr-1", "a")]), know(same))) == {
        "hr-1": ("unchanged", None)
    }


def test_s03_unreadable_guest_key_freezes_the_removals_of_its_event_alone() -> None:
    known = know(meeting("hr-1", guest("a"), guest("b")), meeting("hr-2", guest("c"), guest("d")))
    diff = compare(
        desire(meeting("hr-1", guest("b")), meeting("hr-2", guest("d")), held=[("hr-1", None)]),
        known,
    )
    assert decisions(diff) == {"hr-1": ("unchanged", None), "hr-2": ("update", None)}
    assert body_of(diff, "hr-2")["invitations"] == [{"sourceId": "c", "deletedAt": DELETED_AT}]


@pytest.mark.parametrize("held", ["a", None])
def test_s03_rejected_guest_counts_against_guestless(held: str | None) -> None:
    diff = compare(
        desire(dispositions={"hr-1": "guestless"}, held=[("hr-1", held)]),
        know(meeting("hr-1", guest("a"))),
    )
    assert decisions(diff) == {"hr-1": ("held", "guests unreadable")}


@pytest.mark.parametrize(
    "health",
    [SourceHealth(guests=False), SourceHealth(unreadable_guest_events=1), SourceHealth(read=False)],
)
def test_s04_unhealthy_guests_freeze_removals_and_guestless(health: SourceHealth) -> None:
    known = know(meeting("hr-1", guest("a"), guest("b")), meeting("hr-2", guest("c")))
    diff = compare(
        desire(meeting("hr-1", guest("b")), dispositions={"hr-2": "guestless"}),
        known,
        health=health,
    )
    assert decisions(diff) == {"hr-1": ("unchanged", None), "hr-2": ("held", "guests unreadable")}


def test_s04_unhealthy_guests_still_let_new_guests_in() -> None:
    diff = compare(
        desire(meeting("hr-1", guest("b"), guest("n"))),
        know(meeting("hr-1", guest("a"), guest("b"))),
        health=SourceHealth(guests=False),
    )
    assert _ids(body_of(diff, "hr-1")) == ["n"]
    assert mails(diff) == [("hr-1", "n@guest.example", "invited")]


def test_s05_cancelled_needs_no_healthy_read() -> None:
    sick = SourceHealth(events=False, guests=False, unreadable_event_keys=3)
    diff = compare(
        desire(dispositions={"hr-1": "cancelled"}), know(meeting("hr-1", guest("a"))), health=sick
    )
    assert decisions(diff) == {"hr-1": ("delete", "cancelled")}


def test_s06_moved_beyond_the_window_sleeps() -> None:
    diff = compare(
        desire(dispositions={"hr-1": "beyond_window"}), know(meeting("hr-1", guest("a")))
    )
    assert decisions(diff) == {"hr-1": ("dormant", "moved beyond the window")}
    assert diff.changes.empty


def test_s07_expired_then_rescheduled_is_an_update_with_its_removals() -> None:
    known = know(meeting("hr-1", guest("a"), guest("b"), starts_at=PAST), state={"hr-1": "expired"})
    diff = compare(desire(meeting("hr-1", guest("b"))), known)
    assert decisions(diff) == {"hr-1": ("update", "rescheduled")}
    assert {"sourceId": "a", "deletedAt": DELETED_AT} in body_of(diff, "hr-1")["invitations"]
    assert mails(diff) == [
        ("hr-1", "a@guest.example", "cancelled"),
        ("hr-1", "b@guest.example", "updated"),
    ]


def test_s07_reappeared_event_is_held_or_sent() -> None:
    same = meeting("hr-1", guest("a"))
    known = know(same, state={"hr-1": "deleted"})
    assert decisions(compare(desire(same), known)) == {"hr-1": ("held", "reappeared")}
    sending = config(essentry={"on_reappear": "send"})
    diff = compare(desire(same), known, settings=sending)
    assert decisions(diff) == {"hr-1": ("create", "reappeared")}
    assert mails(diff) == [("hr-1", "a@guest.example", "invited")]


@pytest.mark.parametrize("frozen", [False, True])
def test_s07_reappeared_event_brings_back_no_guest_of_old(frozen: bool) -> None:
    """Whether essentry takes the event up where it was deleted is not documented: who is no longer
    wanted is removed by name.
    """
    known = know(meeting("hr-1", guest("a"), guest("b")), state={"hr-1": "deleted"})
    held = [("hr-1", None)] if frozen else []
    diff = compare(
        desire(meeting("hr-1", guest("b"), guest("c")), held=held),
        known,
        settings=config(essentry={"on_reappear": "send"}),
    )
    invited = body_of(diff, "hr-1")["invitations"]
    assert {"sourceId": "a", "deletedAt": DELETED_AT} in invited
    assert {item["sourceId"] for item in invited if "deletedAt" not in item} == {"b", "c"}
    assert [g["sourceId"] for g in orjson.loads(diff.changes.loc[0, "after"])["invitations"]] == [
        "b",
        "c",
    ]
    assert mails(diff) == [
        ("hr-1", f"{who}@guest.example", how)
        for who, how in (("a", "cancelled"), ("b", "invited"), ("c", "invited"))
    ]


def test_s08_removals_of_an_unanswered_request_are_repeated() -> None:
    ghost = know(meeting("hr-1"), unanswered={"hr-1": [{"sourceId": "b"}]})
    known = replace(ghost, removals={"hr-1": {"a", "b"}})
    body = body_of(compare(desire(meeting("hr-1", guest("b"))), known), "hr-1")
    assert {"sourceId": "a", "deletedAt": DELETED_AT} in body["invitations"]
    assert [
        item for item in body["invitations"] if item["sourceId"] == "b" and "deletedAt" in item
    ] == []


@pytest.mark.parametrize("state", ["expired", "deleted"])
def test_s07_inactive_rows_are_not_deleted_again(state: str) -> None:
    diff = compare(desire(), know(meeting("hr-1", guest("a")), state={"hr-1": state}))
    assert decisions(diff) == {}


# -- what is sent ----------------------------------------------------------------------------------


def test_s08_unknown_makes_dirty_even_when_the_source_went_back() -> None:
    same = meeting("hr-1", guest("a"))
    diff = compare(
        desire(same),
        know(same, unanswered={"hr-1": [{"sourceId": "x", "email": "x@guest.example"}]}),
    )
    assert decisions(diff) == {"hr-1": ("update", "unknown outcome")}
    body = body_of(diff, "hr-1")
    assert body["name"] == "Visit"
    assert [item["sourceId"] for item in body["invitations"]] == ["a", "x"]
    assert body["invitations"][1] == {"sourceId": "x", "deletedAt": DELETED_AT}
    assert mails(diff) == [
        ("hr-1", "a@guest.example", "updated"),
        ("hr-1", "x@guest.example", "cancelled"),
    ]


def test_s08_dirty_ignores_partial() -> None:
    same = meeting("hr-1", guest("a"))
    known = know(same, unanswered={"hr-1": []})
    diff = compare(desire(same), known, settings=config(essentry={"payload": "partial"}))
    assert {"name", "startsAt", "endsAt", "host", "locationId", "invitations"} <= set(
        body_of(diff, "hr-1")
    )


def test_s08_delete_mails_unanswered_guests_too() -> None:
    known = know(
        meeting("hr-1", guest("a")),
        unanswered={"hr-1": [{"sourceId": "x", "email": "x@guest.example"}]},
    )
    diff = compare(desire(dispositions={"hr-1": "cancelled"}), known)
    assert mails(diff) == [
        ("hr-1", "a@guest.example", "cancelled"),
        ("hr-1", "x@guest.example", "cancelled"),
    ]


def test_s09_change_of_title_names_no_guest() -> None:
    diff = compare(
        desire(meeting("hr-1", guest("a"), name="New")), know(meeting("hr-1", guest("a")))
    )
    assert "invitations" not in body_of(diff, "hr-1")


def test_s09_list_is_added_changed_and_removed() -> None:
    before = meeting("hr-1", guest("a"), guest("b", last_name="Old"), guest("c"))
    after = meeting("hr-1", guest("a"), guest("b", last_name="New"), guest("d"))
    diff = compare(desire(after), know(before))
    assert [(g["sourceId"], "deletedAt" in g) for g in body_of(diff, "hr-1")["invitations"]] == [
        ("b", False),
        ("d", False),
        ("c", True),
    ]
    assert bool(diff.changes.loc[0, "ignore_missing"])
    assert mails(diff) == [
        ("hr-1", "b@guest.example", "updated"),
        ("hr-1", "c@guest.example", "cancelled"),
        ("hr-1", "d@guest.example", "invited"),
    ]


def test_s09_authoritative_lists_everybody_who_stays() -> None:
    before, after = meeting("hr-1", guest("a"), guest("b")), meeting("hr-1", guest("a"), guest("d"))
    diff = compare(
        desire(after), know(before), settings=config(essentry={"guest_list": "authoritative"})
    )
    assert _ids(body_of(diff, "hr-1")) == ["a", "d"]
    assert not bool(diff.changes.loc[0, "ignore_missing"])


def test_s10_email_guest_who_becomes_a_user_keeps_the_id() -> None:
    before = meeting("hr-1", guest("hr-1-~g7", "ann@guest.example", last_name="Ann"))
    after = meeting("hr-1", guest("hr-1-u42", "ann@guest.example", last_name="Ann"))
    diff = compare(desire(after), know(before))
    assert decisions(diff) == {"hr-1": ("unchanged", None)}
    assert diff.rebound == 1
    assert mails(diff) == []


def test_s10_other_person_at_the_same_address_is_another_invitation() -> None:
    before = meeting("hr-1", guest("k1", "office@guest.example", last_name="Ann"))
    after = meeting("hr-1", guest("k2", "office@guest.example", last_name="Bob"))
    diff = compare(desire(after), know(before))
    assert [(g["sourceId"], "deletedAt" in g) for g in body_of(diff, "hr-1")["invitations"]] == [
        ("k2", False),
        ("k1", True),
    ]


def test_s10_merged_duplicates_keep_the_confirmed_id() -> None:
    """Of two rows for one person the build keeps the smallest id; essentry knows the other."""
    before = meeting("hr-1", guest("z", "ann@guest.example"))
    after = meeting("hr-1", guest("a", "ann@guest.example"), name="New")
    diff = compare(desire(after), know(before))
    assert _ids(orjson.loads(diff.changes.loc[0, "after"])) == ["z"]
    assert "invitations" not in body_of(diff, "hr-1")


def test_s12_changed_event_counts_every_guest_as_mailed() -> None:
    people = [guest("a"), guest("b"), guest("c")]
    diff = compare(desire(meeting("hr-1", *people, location_id=2)), know(meeting("hr-1", *people)))
    assert [kind for _, _, kind in mails(diff)] == ["updated"] * 3


# -- rejections ------------------------------------------------------------------------------------


def test_rejected_content_waits_until_its_time_or_a_change() -> None:
    wanted = meeting("hr-1", guest("a"), name="New")
    fresh = compare(desire(wanted), know())
    content = fresh.changes.loc[0, "fingerprint"]
    later, earlier = NOW + pd.Timedelta(hours=1), NOW - pd.Timedelta(hours=1)
    for known in (
        know(rejections=[("hr-1", content, later)]),
        know(meeting("hr-1", guest("a")), rejections=[("hr-1", content, later)]),
    ):
        assert decisions(compare(desire(wanted), known)) == {"hr-1": ("held", "rejected before")}
    assert (
        decisions(compare(desire(wanted), know(rejections=[("hr-1", content, earlier)])))["hr-1"][0]
        == "create"
    )
    assert (
        decisions(compare(desire(wanted), know(rejections=[("hr-1", "0" * 32, later)])))["hr-1"][0]
        == "create"
    )
    assert (
        decisions(compare(desire(wanted), know(rejections=[("hr-1", content, later)]), full=True))[
            "hr-1"
        ][0]
        == "create"
    )


def test_rejected_delete_waits() -> None:
    known = know(
        meeting("hr-1", guest("a")), rejections=[("hr-1", None, NOW + pd.Timedelta(hours=1))]
    )
    assert decisions(compare(desire(dispositions={"hr-1": "cancelled"}), known)) == {
        "hr-1": ("held", "rejected before")
    }


def test_changes_are_ordered_by_start() -> None:
    later = meeting("hr-1", guest("a"), starts_at="2026-03-20T09:00:00Z")
    diff = compare(desire(later, meeting("hr-2", guest("b"))), know())
    assert diff.changes["source_id"].tolist() == ["hr-2", "hr-1"]


# -- the whole -------------------------------------------------------------------------------------

_guests = st.lists(
    st.builds(
        lambda key, address, name: guest(key, address, last_name=name),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["a@x.example", "b@x.example", "c@x.example", None]),
        st.sampled_from(["Ann", "Bob", "Cy"]),
    ),
    max_size=4,
    unique_by=(lambda g: g["invitation_id"], lambda g: (g["email"], g["last_name"])),
)
_start = st.sampled_from(["2026-03-01T09:00:00Z", "2026-03-10T09:00:00Z", "2026-03-11T09:00:00Z"])
_meetings = st.lists(
    st.builds(
        lambda key, start, name, guests, host: meeting(
            key, *guests, starts_at=start, name=name, host_phone=host
        ),
        st.sampled_from(["hr-1", "hr-2", "hr-3"]),
        _start,
        st.sampled_from(["Visit", 'Quote "x" \n', "Tür 🚪"]),
        _guests,
        st.sampled_from([None, "+49"]),
    ),
    max_size=3,
    unique_by=lambda row: row["source_id"],
)
_lost = st.dictionaries(
    st.sampled_from(["hr-1", "hr-2", "hr-3"]),
    st.lists(st.sampled_from([{"sourceId": "q"}]), max_size=1),
    max_size=2,
)


@settings(max_examples=25)
@given(
    before=_meetings,
    after=_meetings,
    lost=_lost,
    full=st.booleans(),
    kind=st.sampled_from(["additive", "authoritative"]),
)
def test_accepted_diff_leaves_nothing_to_do(
    before: list, after: list, lost: dict, full: bool, kind: str
) -> None:
    chosen = config(essentry={"guest_list": kind, "on_reappear": "send"})
    wanted = desire(*after)
    known = know(
        *before,
        unanswered={k: v for k, v in lost.items() if k in {row["source_id"] for row in before}},
    )
    diff = compare(wanted, known, settings=chosen, full=full)
    assert diff.changes["source_id"].is_unique
    assert diff.decisions["source_id"].is_unique
    again = compare(wanted, accept(diff, wanted, known), settings=chosen)
    assert again.changes.empty
    assert set(decisions(again)) == {row["source_id"] for row in after}
    assert {action for action, _ in decisions(again).values()} <= {"unchanged"}


@settings(max_examples=25)
@given(before=_meetings, after=_meetings)
def test_essentry_ends_with_exactly_the_wanted_guests(before: list, after: list) -> None:
    """Applying each additive body to what essentry had gives the guests the plan says it will
    hold.
    """
    wanted, known = desire(*after), know(*before)
    diff = compare(wanted, known)
    held = {
        key: {g["sourceId"] for g in orjson.loads(t)["invitations"]}
        for key, t in known.payloads([r["source_id"] for r in before]).items()
    }
    for change in diff.changes[diff.changes["action"] == "update"].to_dict("records"):
        body, guests = orjson.loads(change["body"]), held[change["source_id"]]
        for item in body.get("invitations", []):
            (guests.discard if "deletedAt" in item else guests.add)(item["sourceId"])
        assert guests == {g["sourceId"] for g in orjson.loads(change["after"])["invitations"]}


_fates = st.dictionaries(
    st.sampled_from(["hr-1", "hr-2", "hr-3", "hr-4"]),
    st.sampled_from(["cancelled", "quarantined", "guestless", "beyond_window", "past", "merged"]),
)


@settings(max_examples=50)
@given(
    before=_meetings,
    after=_meetings,
    lost=_lost,
    cut=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    fates=_fates,
)
def test_diff_of_parts_is_the_diff_of_the_whole(
    before: list, after: list, lost: dict, cut: list, fates: dict
) -> None:
    """However the events are dealt to parts: the same changes in the same order, the same decisions
    and the same mails.
    """
    known = know(
        *before,
        unanswered={
            key: guests
            for key, guests in lost.items()
            if key in {row["source_id"] for row in before}
        },
    )
    due = {row["source_id"] for row in after}
    whole_desired = desire(
        *after,
        dispositions={key: fate for key, fate in fates.items() if key not in due},
        held_targets={"hr-2"},
    )
    whole = compare(whole_desired, known)
    work = Comparison(
        known, {"hr": SourceHealth()}, config(), held_guests=whole_desired.held_guests, as_of=NOW
    )
    parts, kept = [], []
    for number in range(3):
        mine = [row for row, part in zip(after, cut, strict=False) if part == number]
        desired = desire(
            *mine,
            dispositions={
                key: fate
                for key, fate in fates.items()
                if key not in due and int(key[-1]) % 3 == number
            },
        )
        payloads = Payloads(desired.events, desired.invitations)
        rows = add_fingerprints(payloads)
        parts.append(
            work.compare(
                rows,
                desired.invitations,
                lambda places, payloads=payloads: payloads.build(places).to_pylist(),
            )
        )
        kept.append(keep_dispositions(desired.dispositions, known.snapshot))
    parts.append(work.settle_missing(pd.concat(kept, ignore_index=True), held_targets={"hr-2"}))
    slim, order = unite_diffs([part.slim() for part in parts])
    united, again = unite_diffs(parts)
    pd.testing.assert_frame_equal(united.changes, whole.changes)
    assert order.tolist() == again.tolist()
    assert slim.changes["source_id"].tolist() == whole.changes["source_id"].tolist()
    for diff in (united, slim):
        assert decisions(diff) == decisions(whole)
        assert mails(diff) == mails(whole)
        assert diff.absent_now == whole.absent_now
    assert set(decisions(whole)) >= {row["source_id"] for row in [*before, *after]}
