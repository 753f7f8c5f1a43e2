"""What essentry rejected or never answered: kept with its reason, tried again, told every night
until it is solved.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.errors import EXIT_INCOMPLETE
from tests.firm import Firm

pytestmark = pytest.mark.usefixtures("way")

CODE = "ERROR_USER_CANNOT_HOST_AT_LOCATION"


def told(result) -> dict[str, tuple]:
    """source id → (action, state, tries) of the report's problems."""
    return {
        p["source_id"]: (p["action"], p["state"], p["tries"]) for p in result.report["problems"]
    }


def reject(firm: Firm, source_id: str, times: int = 99, code: str = CODE) -> None:
    firm.sandbox.add_faults(
        [{"kind": "reject_event", "source_id": source_id, "code": code, "times": times}]
    )


def test_rejected_event_is_told_every_night_also_while_it_waits(firm):
    firm.book("1")
    firm.book("2")
    reject(firm, "rooms-1")
    first = firm.night()
    assert (first.exit_code, told(first)) == (
        EXIT_INCOMPLETE,
        {"rooms-1": ("create", "rejected", 1)},
    )
    second = firm.night()  # the first retry comes with the next night
    assert told(second) == {"rooms-1": ("create", "rejected", 2)}
    puts = firm.puts()
    third = firm.night()  # then it waits, longer each time, and is told all the same
    assert (third.exit_code, told(third)) == (EXIT_INCOMPLETE, {"rooms-1": ("held", "rejected", 2)})
    assert firm.puts() == puts
    text = (third.folder / "report.md").read_text(encoding="utf-8")
    assert CODE in text
    assert "2 tries, again from" in text
    assert "1 event rejected or unknown" in third.report["verdict"]
    firm.meetings["rooms"]["1"]["name"] = "changed"  # at once when its row changes
    assert told(firm.night()) == {"rooms-1": ("create", "rejected", 3)}
    firm.sandbox.clear_faults()
    firm.now += timedelta(days=8)
    solved = firm.night()
    assert (solved.exit_code, told(solved)) == (0, {})
    assert set(firm.held()) == {"rooms-1", "rooms-2"}


@pytest.mark.share(2)
@pytest.mark.parametrize("how", ["row gone", "cancelled", "as it was"])
def test_rejection_ends_when_there_is_nothing_left_to_send(firm, how):
    firm.book("1")
    firm.book("2")
    if how == "as it was":
        assert firm.night().exit_code == 0
        firm.meetings["rooms"]["1"]["name"] = "changed"
    reject(firm, "rooms-1", 1)
    assert firm.night().exit_code == EXIT_INCOMPLETE
    if how == "row gone":
        firm.cancel("1")
    elif how == "cancelled":
        firm.meetings["rooms"]["1"]["status"] = "cancelled"
    else:
        firm.meetings["rooms"]["1"]["name"] = "Visit 1"
    after = firm.night()
    assert (after.exit_code, told(after)) == (0, {})
    assert firm.night().exit_code == 0


def test_rejection_of_a_row_that_became_unreadable_stands(firm):
    firm.book("1")
    firm.book("2")
    reject(firm, "rooms-1")
    firm.night()
    firm.meetings["rooms"]["1"]["host"] = "no address"
    held = firm.night()
    assert (held.exit_code, told(held)) == (EXIT_INCOMPLETE, {"rooms-1": ("held", "rejected", 1)})


def test_rejected_cancellation_is_told_until_it_is_done(firm):
    firm.book("1")
    firm.book("2")
    firm.night()
    firm.cancel("1")
    reject(firm, "rooms-1", 2, "ERROR_EVENT_HAS_VISITORS")
    assert told(firm.night()) == {"rooms-1": ("delete", "rejected", 1)}
    assert told(firm.night()) == {"rooms-1": ("delete", "rejected", 2)}
    waiting = firm.night()
    assert (waiting.exit_code, told(waiting)) == (
        EXIT_INCOMPLETE,
        {"rooms-1": ("held", "rejected", 2)},
    )
    firm.now += timedelta(days=8)
    assert firm.night().exit_code == 0
    assert set(firm.held()) == {"rooms-2"}


def test_delete_of_what_essentry_no_longer_knows_is_done(firm):
    firm.book("1")
    firm.book("2")
    firm.night()
    firm.cancel("1")
    reject(firm, "rooms-1", 1, "ERROR_EVENT_NOT_FOUND")
    done = firm.night()
    assert (done.exit_code, told(done)) == (0, {})
    assert firm.night().report["counts"]["delete"] == 0


def lose(firm: Firm, kind: str = "drop_after") -> None:
    firm.sandbox.add_faults([{"kind": kind, "times": 50}])


@pytest.mark.parametrize("applied", [True, False])
def test_s08_unknown_create_whose_row_is_gone_is_cancelled(firm, applied):
    firm.book("1", "g1")
    firm.book("2")
    lose(firm, "drop_after" if applied else "drop_before")
    lost = firm.night()
    assert {state for _, state, _ in told(lost).values()} == {"unknown"}
    firm.sandbox.clear_faults()
    firm.cancel("1")
    after = firm.night()
    assert (after.exit_code, told(after)) == (0, {})
    assert set(firm.held()) == {"rooms-2"}
    assert firm.mails()["cancelled"] == applied


@pytest.mark.parametrize("applied", [True, False])
def test_s08_guest_of_an_unanswered_request_who_is_no_longer_wanted_goes_by_name(firm, applied):
    meeting = firm.book("1", "g1")
    firm.book("2")
    firm.night()
    meeting["guests"]["g9"] = "g9@out.example"
    lose(firm, "drop_after" if applied else "drop_before")
    assert told(firm.night())["rooms-1"][1] == "unknown"
    firm.sandbox.clear_faults()
    del meeting["guests"]["g9"]  # back to the old state, and yet it is sent
    assert firm.night().exit_code == 0
    assert firm.held()["rooms-1"] == {"rooms-1-g1"}
    assert firm.mails()["cancelled"] == applied


def test_unknown_event_is_told_while_its_source_cannot_be_read(firm):
    firm.sections["on_source_failure"] = "others"
    firm.meetings["hr"] = {}
    firm.book("1")
    firm.book("2", source="hr")
    lose(firm)
    firm.night()
    firm.sandbox.clear_faults()
    firm.source_settings["hr"] = {"events_sql": "broken.sql"}
    (firm.folder / "broken.sql").write_text("SELECT * FROM nowhere")
    night = firm.night()
    assert night.exit_code == EXIT_INCOMPLETE
    assert told(night)["hr-2"][1] == "unknown"
    assert "hr" in night.report["failed_sources"]
