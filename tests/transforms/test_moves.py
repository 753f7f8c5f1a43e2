"""S21: a guest who moves is invited before being cancelled; what waits for what in a plan."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_frames import compare, config, decisions, desire, guest, know, mails, meeting

from transforms.diff.changes import Diff
from transforms.diff.moves import MOVED, Moves, find_moves, list_others, rewrite_pages


def _meetings(places: dict[str, str], **columns: object) -> list[dict]:
    """Meetings m0 to m3 with the guests that stand in each: `places` is event → letters; everyone
    else is the event's own guest.
    """
    return [
        meeting(
            key,
            guest(f"{key}-own"),
            *(guest(f"{key}-{who}", f"{who}@guest.example") for who in who),
            **columns,
        )
        for key, who in places.items()
    ]


def _moved(
    before: dict[str, str], after: dict[str, str], **options: object
) -> tuple[Diff, Moves, Diff]:
    diff = compare(desire(*_meetings(after)), know(*_meetings(before)), **options)  # type: ignore[arg-type]
    found, moves = find_moves(diff)
    return found, moves, diff


def test_s21_a_removal_waits_for_the_invitation_elsewhere() -> None:
    diff, moves, _ = _moved({"hr-1": "a", "hr-2": ""}, {"hr-1": "", "hr-2": "a"})
    assert diff.conditions == [("hr-1", "after", "hr-2")]
    assert moves == Moves()


def test_s21_who_only_leaves_or_only_comes_waits_for_nobody() -> None:
    assert _moved({"hr-1": "a", "hr-2": ""}, {"hr-1": "", "hr-2": "b"})[0].conditions == []


def test_s21_guests_who_change_places_are_invited_first_and_removed_later() -> None:
    diff, moves, plain = _moved({"hr-1": "a", "hr-2": "b"}, {"hr-1": "b", "hr-2": "a"})
    assert diff.conditions == []
    assert moves.kept == {"hr-1": {"a@guest.example"}, "hr-2": {"b@guest.example"}}
    assert [kind for _, _, kind in mails(diff)].count("cancelled") == 0
    assert [kind for _, _, kind in mails(plain)].count("cancelled") == 2
    assert diff.kept == {"hr-1": MOVED, "hr-2": MOVED}
    page = pd.concat(list(rewrite_pages(lambda: [plain.changes], moves)()))
    for row in page.itertuples():
        body, after, told = (
            orjson.loads(getattr(row, name)) for name in ("body", "after", "guests_json")
        )
        assert len(body["invitations"]) == 1
        assert "deletedAt" not in body["invitations"][0]
        assert len(after["invitations"]) == row.guests == 3
        assert told["removed"] == []


def test_s21_a_guest_of_a_meeting_that_waits_stays_and_an_update_of_that_alone_is_held() -> None:
    before, after = {"hr-1": "a", "hr-2": ""}, {"hr-1": "", "hr-2": "a"}
    left, moves, _ = _moved(before, after)
    base = compare(desire(*_meetings(after)), know(*_meetings(before)))
    waiting = replace(
        base,
        changes=base.changes[base.changes["source_id"] == "hr-1"].reset_index(drop=True),
        mails=base.mails[base.mails["source_id"] == "hr-1"].reset_index(drop=True),
        awaited=base.mails[base.mails["kind"] == "invited"].reset_index(drop=True),
    )
    diff, moves = find_moves(waiting)
    assert moves.dropped == {"hr-1"}
    assert diff.changes.empty
    assert decisions(diff)["hr-1"] == ("held", MOVED)
    assert list(rewrite_pages(lambda: [waiting.changes], moves)()) == []
    del left


@pytest.mark.parametrize("kind", ["additive", "authoritative"])
def test_s21_the_rest_of_an_update_goes_without_the_removal(kind: str) -> None:
    settings_ = config(essentry={"guest_list": kind})
    base = compare(
        desire(*_meetings({"hr-1": "e"})), know(*_meetings({"hr-1": "a"})), settings=settings_
    )
    awaited = pd.DataFrame(
        [("hr-2", "hr", "a@guest.example", "invited")], columns=list(base.mails.columns)
    ).astype("str")
    diff, moves = find_moves(replace(base, awaited=awaited))
    assert moves.kept == {"hr-1": {"a@guest.example"}}
    row = next(iter(rewrite_pages(lambda: [base.changes], moves)())).iloc[0]
    sent = {item["sourceId"]: item for item in orjson.loads(row["body"])["invitations"]}
    assert set(sent) == ({"hr-1-e"} if kind == "additive" else {"hr-1-a", "hr-1-e", "hr-1-own"})
    assert [item["sourceId"] for item in orjson.loads(row["after"])["invitations"]] == [
        "hr-1-a",
        "hr-1-e",
        "hr-1-own",
    ]
    assert ("hr-1", "a@guest.example", "cancelled") not in mails(diff)


def test_s21_an_absent_or_cancelled_meeting_waits_for_nobody() -> None:
    """It is off, wherever else its guests are asked."""
    diff = compare(
        desire(*_meetings({"hr-2": "a"}), dispositions={"hr-1": "cancelled"}),
        know(*_meetings({"hr-1": "a"})),
    )
    assert find_moves(diff)[0].conditions == []
    diff = compare(
        desire(*_meetings({"hr-2": "a"}), dispositions={"hr-1": "guestless"}),
        know(*_meetings({"hr-1": "a"})),
    )
    assert find_moves(diff)[0].conditions == [("hr-1", "after", "hr-2")]


_PLACES = st.fixed_dictionaries(
    {
        f"hr-{n}": st.sets(st.sampled_from("abcd")).map(lambda who: "".join(sorted(who)))
        for n in range(4)
    }
)


@settings(max_examples=60)
@given(_PLACES, _PLACES)
def test_s21_whoever_moves_is_somewhere_at_every_moment(
    before: dict[str, str], after: dict[str, str]
) -> None:
    """Sent in the order of the conditions, whatever is refused: nobody who is wanted anywhere is
    without a meeting.
    """
    diff, moves, _ = _moved(before, after)
    waits = list_others(diff.conditions, "after")
    changed = set(diff.changes["source_id"])
    seen: set[str] = set()
    while ready := {key for key in changed - seen if set(waits.get(key, ())) <= seen}:
        seen |= ready
    assert seen == changed, "nothing waits for itself"
    kept = moves.kept
    for key, who in before.items():
        for person in set(who) - set(after[key]):
            elsewhere = {
                other
                for other, guests in after.items()
                if person in guests and person not in before[other]
            }
            still = f"{person}@guest.example" in kept.get(key, set()) or key in moves.dropped
            assert not elsewhere or still or elsewhere <= set(waits.get(key, ()))
