"""Every remedy that a report prints is followed to its end: the row or the hold is told with it,
and one night after somebody has done what it says, essentry holds what the sources say.

Of a remedy that offers a choice each way is tried. A reason or check without a life here fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.night.session import open_state
from flows.operations.adopt import adopt_events
from flows.sandbox.records import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.frames import REMEDIES
from tests.firm import EVENTS, NOW, START, Firm
from transforms.report.holds import HOLDS, find_hold

Step = Callable[[Firm], object]
AT = START + timedelta(hours=2)


class Life(NamedTuple):
    """What brings a reason about, and what the remedy says to do, in each of its ways."""

    cause: Step
    ends: tuple[Step, ...]


def each(lives: Mapping[str, Life]) -> list[Any]:
    """What is told, its cause and an end of it, once for every end."""
    return [
        pytest.param(told, life.cause, end, id=f"{told}-{number}")
        for told, life in lives.items()
        for number, end in enumerate(life.ends)
    ]


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Firm]:
    """Rooms and people, of which one meeting each is what it is; essentry makes anew what was
    deleted.
    """
    with SandboxServer(SandboxSettings(on_deleted="resurrect")) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        firm = Firm(tmp_path, sandbox, sources=("rooms", "hr"))
        firm.sections["guards"] |= {
            "max_quarantine_share": 1.0,
            "max_deletes": 100,
            "max_delete_share": 1.0,
            "approve_policy_change": False,
        }
        firm.book("a", "ada", start=AT)
        firm.book("z", "zoe", start=AT - timedelta(days=1))
        firm.book("h", "hal", source="hr")
        yield firm


# -- rows that are quarantined ---------------------------------------------------------------------


def event(**wrong: Any) -> Life:
    """A column of a meeting, and its correction."""

    def spoil(firm: Firm) -> None:
        firm.book("m", "mia", start=AT, **wrong)

    def correct(firm: Firm) -> None:
        firm.book("m", "mia", start=AT)

    return Life(spoil, (correct,))


def guest(**wrong: Any) -> Life:
    """A column of a guest, and its correction."""

    def spoil(firm: Firm) -> None:
        firm.book("m", start=AT, guests={"mia": {"email": "mia@out.example"} | wrong})

    def correct(firm: Firm) -> None:
        firm.book("m", "mia", start=AT)

    return Life(spoil, (correct,))


def select(column: str, wrong: str, right: str, **source: Any) -> Life:
    """A column of the SELECT alone; source: settings of it."""

    def write(text: str) -> Step:
        def written(firm: Firm) -> None:
            firm.source_settings["rooms"] = source
            firm.book("m", "mia", start=AT)
            (firm.folder / "events.sql").write_text(
                EVENTS.replace(" FROM", f", {text} AS {column} FROM")
            )

        return written

    return Life(write(wrong), (write(right),))


def settings(section: str, **values: Any) -> Step:
    def change(firm: Firm) -> None:
        firm.sections[section] = firm.sections.get(section, {}) | values

    return change


def map_site(firm: Firm) -> None:
    firm.source_settings["rooms"] = {"sites": {"1": {"location_id": 11}, "9": {"location_id": 12}}}


def take_over(firm: Firm) -> None:
    firm.book("m", "mia", start=AT)
    firm.write()
    (firm.folder / "ids.csv").write_text(
        "source,source_event_id,event_id,guest,invitation_id\nrooms,m,rooms-n,,\n"
    )
    adopt_events(firm.config, firm.folder / "ids.csv", write=True)
    firm.book("n", "nora", start=AT)


def give_another_key(firm: Firm) -> None:
    firm.meetings["rooms"]["n-2"] = firm.meetings["rooms"].pop("n")


def two_rows(firm: Firm) -> None:
    firm.book("m", "mia", start=AT)
    firm.book("m2", start=AT, source_event_id="m", guests={}, name="Another")


def link(firm: Firm, *, key: str = "h2", same: bool = True) -> None:
    """A meeting that points at one of the people's."""
    firm.book("h2", "hal2", source="hr", start=AT)
    at = AT if same else AT + timedelta(days=9)
    firm.book("m", "mia", start=at, linked_source="hr", linked_event_id=key)


def unlink(firm: Firm) -> None:
    firm.meetings["rooms"]["m"] |= {"linked_source": None, "linked_event_id": None}


def circle(firm: Firm) -> None:
    link(firm)
    firm.meetings["hr"]["h2"] |= {"linked_source": "rooms", "linked_event_id": "m"}


def uncircle(firm: Firm) -> None:
    firm.meetings["hr"]["h2"] |= {"linked_source": None, "linked_event_id": None}


CHECKS: dict[str, Life] = {
    "key": event(source_event_id=" "),
    "guest_event_key": guest(source_event_id=None),
    "guest_event_case": guest(source_event_id="M"),
    "unique_key": Life(two_rows, (lambda firm: firm.cancel("m2"),)),
    "unique_guest": Life(
        lambda firm: firm.book(
            "m",
            start=AT,
            guests={"mia": "mia@out.example", "b": {"guest_id": "mia", "email": "b@out.example"}},
        ),
        (
            lambda firm: firm.book("m", "mia", "b", start=AT),
            lambda firm: firm.book(
                "m",
                start=AT,
                guests={
                    "mia": {"guest_id": None, "email": "mia@out.example"},
                    "b": {"guest_id": None, "email": "b@out.example"},
                },
            ),
        ),
    ),
    "problem": select("problem", "CASE source_event_id WHEN 'm' THEN 'periods' END", "NULL"),
    "start": event(starts_at="soon"),
    "end": event(ends_at="late"),
    "end_after_start": event(end=AT - timedelta(hours=1)),
    "length": Life(
        lambda firm: firm.book("m", "mia", start=AT, end=AT + timedelta(days=400)),
        (lambda firm: firm.book("m", "mia", start=AT), settings("window", longest_hours=24 * 401)),
    ),
    "zone": select("timezone", "'Mars/Base'", "'Europe/Berlin'", times="local"),
    "status": event(status="maybe"),
    "host": event(host=None),
    "host_address": event(host="nobody"),
    "host_active": select("host_active", "'no'", "'yes'"),
    "host_active_flag": select("host_active", "'perhaps'", "1"),
    "place": event(site=None),
    "location": Life(
        lambda firm: firm.book("m", "mia", start=AT, site="9"),
        (map_site, lambda firm: firm.book("m", "mia", start=AT)),
    ),
    "guest_address": guest(email="mia at out"),
    "guest_identity": guest(email=None, first_name=None, last_name=None),
    "private_flag": event(private="perhaps"),
    "internal_flag": guest(internal="perhaps"),
    "readable_text": select("custom_note", "CAST(x'436166E9' AS TEXT)", "'Café'"),
    "access_profiles": guest(access_profiles="{"),
    "taken_id": Life(take_over, (give_another_key,)),
    "link": Life(
        lambda firm: link(firm, key="none"),
        (lambda firm: firm.meetings["rooms"]["m"].update(linked_event_id="h2"), unlink),
    ),
    "link_strangers": Life(lambda firm: link(firm, same=False), (unlink,)),
    "link_cycle": Life(circle, (uncircle,)),
}
IMPOSSIBLE = {"required"}
"""No row brings it about: the sources' own checks come before it."""


def test_every_check_has_a_life() -> None:
    assert set(CHECKS) | IMPOSSIBLE == set(REMEDIES)


@pytest.mark.share(2)
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("check", "cause", "end"), each(CHECKS))
def test_a_quarantined_row_comes_when_its_remedy_is_followed(
    company: Firm, check: str, cause: Step, end: Step
) -> None:
    cause(company)
    night = company.night()
    told = {row["check"]: row["remedy"] for row in night.report["quarantined"]}
    assert told[check].endswith(REMEDIES[check][1].replace("<name>", "rooms"))
    assert night.exit_code == 3, "it is new, and soon"
    end(company)
    night = company.night()
    assert (night.exit_code, night.report["quarantined"]) == (0, [])
    guests = {row["email"] for row in _guests(company)}
    asked = {
        who if isinstance(who, str) else who["email"]
        for meetings in company.meetings.values()
        for meeting in meetings.values()
        for who in meeting["guests"].values()
    }
    assert guests == asked
    assert company.mails()["cancelled"] == 0


def _guests(firm: Firm) -> list[dict[str, Any]]:
    return [
        who for held in firm.sandbox.state()["events"].values() for who in held["guests"].values()
    ]


# -- what a night holds back -----------------------------------------------------------------------


def meeting(firm: Firm, key: str = "a") -> dict[str, Any]:
    return firm.meetings["rooms"][key]


def move(**by: float) -> Step:
    return lambda firm: meeting(firm).update(start=firm.now + timedelta(**by))


def cancel(firm: Firm) -> None:
    firm.cancel("a")


def set_back(firm: Firm) -> None:
    meeting(firm)["start"] = AT


def end_and_return(firm: Firm) -> None:
    """Its row goes and comes back after the cancellation."""
    gone = firm.meetings["rooms"].pop("a")
    firm.night()
    firm.meetings["rooms"]["a"] = gone


def call_off_and_confirm(firm: Firm) -> None:
    firm.sections["essentry"] = {"on_reappear_ours": "hold"}
    meeting(firm)["status"] = "cancelled"
    firm.night()
    meeting(firm)["status"] = "confirmed"


def another_key(firm: Firm) -> None:
    firm.meetings["rooms"]["new"] = firm.meetings["rooms"].pop("a") | {"status": "pending"}


def rename_key(firm: Firm) -> None:
    firm.meetings["rooms"]["other"] = firm.meetings["rooms"].pop("a")


def leave_unread(firm: Firm) -> None:
    firm.meetings["rooms"]["bad"] = meeting(firm) | {"source_event_id": " ", "guests": {}}
    firm.cancel("a")


def limit(firm: Firm) -> None:
    firm.cancel("a")
    firm.book("late", "lea", start=AT + timedelta(days=1))
    (firm.folder / "events.sql").write_text(EVENTS + " ORDER BY starts_at LIMIT 2")


def unlimit(firm: Firm) -> None:
    (firm.folder / "events.sql").write_text(EVENTS)


def call_off_now(firm: Firm) -> None:
    """A visit that has begun."""
    meeting(firm).update(start=NOW + timedelta(hours=2.5), end=NOW + timedelta(hours=6.5))
    firm.night()
    firm.now += timedelta(hours=1)
    meeting(firm)["status"] = "cancelled"


def lose_most(firm: Firm) -> None:
    """A SELECT that returns little of what it did."""
    firm.book_many(20)
    firm.night()
    firm.sections["guards"] |= {"on_trip": "hold-deletes", "max_shrink_share": 0.3}
    firm.meetings["rooms"] = {"m000": meeting(firm, "m000")}


def find_again(firm: Firm) -> None:
    firm.book("a", "ada", start=AT)
    firm.book("z", "zoe", start=AT - timedelta(days=1))
    firm.book_many(20)


def join(firm: Firm, **of_other: Any) -> None:
    """Two meetings become one, whose own record cannot go yet."""
    firm.book("9", "ada9", start=AT)
    firm.book("5", "cand", source="hr", start=AT)
    firm.night()
    firm.meetings["rooms"]["9"] |= {"linked_source": "hr", "linked_event_id": "5"}
    firm.meetings["hr"]["5"] |= of_other


def join_a_pilot(firm: Firm) -> None:
    join(firm)
    firm.sections["pilot"] = {"sources": ["rooms"]}


def join_none(firm: Firm) -> None:
    """A record points at a confirmed meeting, which is gone."""
    join(firm)
    del firm.meetings["hr"]["5"]


def correct_link(firm: Firm) -> None:
    firm.meetings["rooms"]["9"] |= {"linked_source": None, "linked_event_id": None}


def move_a_guest(firm: Firm) -> None:
    """To a meeting that the pilot leaves out."""
    firm.book("b", "bea", start=AT + timedelta(days=1), site="2")
    firm.night()
    firm.sections["pilot"] = {"sites": ["1"]}
    meeting(firm, "b")["guests"]["ada"] = meeting(firm)["guests"].pop("ada")
    meeting(firm)["guests"]["amy"] = "amy@out.example"


def spoil_a_guest(firm: Firm) -> None:
    meeting(firm)["guests"] = {"ada": {"email": "ada at out"}, "amy": "amy@out.example"}


def correct_a_guest(firm: Firm) -> None:
    meeting(firm)["guests"]["ada"] = "ada@out.example"


def no_pilot(firm: Firm) -> None:
    firm.sections["pilot"] = {}


def refuse(firm: Firm) -> None:
    firm.sandbox.add_faults(
        [{"kind": "reject_event", "source_id": "rooms-a", "code": "ERROR_TRY_LATER", "times": 2}]
    )
    meeting(firm)["name"] = "Another title"
    firm.night()
    firm.night()


def break_people(firm: Firm) -> None:
    firm.sections["on_source_failure"] = "others"
    firm.broken = {"hr"}


def mend_people(firm: Firm) -> None:
    firm.broken = set()


def retire_people(firm: Firm) -> None:
    firm.book("9", "ada9", start=AT, linked_source="hr", linked_event_id="5")
    firm.book("5", "cand", source="hr", start=AT)
    firm.night()
    del firm.meetings["hr"]
    meeting(firm, "9").update(linked_source=None, linked_event_id=None)
    with open_state(firm.config) as state:
        state.retire_source("hr")


def pend(firm: Firm) -> None:
    meeting(firm)["status"] = "pending"


def confirm(firm: Firm) -> None:
    meeting(firm)["status"] = "confirmed"


LIVES: dict[str, Life] = {
    "pilot": Life(
        lambda firm: (settings("pilot", sources=["hr"])(firm), meeting(firm).update(name="New")),
        (no_pilot,),
    ),
    "pending": Life(pend, (confirm, lambda firm: meeting(firm).update(status="cancelled"))),
    "quarantined": Life(
        lambda firm: meeting(firm).update(host="nobody"),
        (lambda firm: meeting(firm).update(host="host@corp.example"),),
    ),
    "source not read": Life(break_people, (mend_people,)),
    "rejected before": Life(refuse, (lambda firm: meeting(firm).update(name="A third"),)),
    "reappeared": Life(
        end_and_return,
        (
            settings("essentry", on_reappear="send"),
            rename_key,
        ),
    ),
    "reappeared after our delete": Life(
        call_off_and_confirm, (settings("essentry", on_reappear_ours="recreate"),)
    ),
    "moved into the past": Life(move(days=-400), (set_back, cancel)),
    "moved beyond the window": Life(move(days=500), (settings("window", days_ahead=900), cancel)),
    "may be under another key": Life(
        another_key,
        (
            lambda firm: meeting(firm, "new").update(status="confirmed"),
            lambda firm: meeting(firm, "new").update(status="cancelled"),
            lambda firm: firm.cancel("new"),
        ),
    ),
    "under way": Life(call_off_now, (settings("essentry", cancel_under_way=True), confirm)),
    "source unhealthy": Life(lose_most, (find_again,)),
    "unreadable keys in the source": Life(
        leave_unread, (lambda firm: meeting(firm, "bad").update(source_event_id="good"),)
    ),
    "linked meeting not found": Life(join_none, (correct_link,)),
    "the SELECT has a LIMIT": Life(limit, (unlimit,)),
    "waits for the meeting it belongs to": Life(join_a_pilot, (no_pilot,)),
    "a guest moves to a meeting that waits": Life(move_a_guest, (no_pilot,)),
    "guests of a retired source": Life(retire_people, ()),
    "guests unreadable": Life(spoil_a_guest, (correct_a_guest,)),
}


def test_every_hold_has_a_life() -> None:
    assert set(LIVES) == set(HOLDS)


@pytest.mark.share(2)
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("reason", "cause", "end"), each(LIVES))
def test_a_hold_ends_when_its_remedy_is_followed(
    company: Firm, reason: str, cause: Step, end: Step
) -> None:
    assert company.night().exit_code == 0
    cause(company)
    night = company.night()
    told = dict(night.report["held_by_reason"])
    remedies = {row["code"]: row.get("remedy") for row in night.report["problems"]}
    assert reason in {*told, *remedies}, (told, remedies)
    if find_hold(reason).asks:
        assert night.exit_code in (3, 4)
        assert remedies[reason] == find_hold(reason).remedy
    end(company)
    night = company.night()
    codes = [row["code"] for row in night.report["problems"]]
    assert (night.exit_code, night.report["held_by_reason"], codes) == (0, {}, [])
