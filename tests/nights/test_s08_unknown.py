"""S8, S11: unknown stays unknown. What may have been applied is never called refused, and a refusal
of a whole request is everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows.essentry.client import EssentryClient
from flows.night import load as loads
from flows.night.session import open_state
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.firm import Firm


def refuse_after_loss(firm: Firm, source_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next answer is lost, and the try after it refuses this event."""
    firm.sandbox.add_faults([{"kind": "drop_after"}])
    pause, done = EssentryClient._pause, []

    async def refuse_from_now_on(self: EssentryClient, seconds: float) -> None:
        if not done:
            firm.sandbox.add_faults(
                [{"kind": "reject_event", "source_id": source_id, "code": "ERROR_TRY_LATER"}]
            )
            done.append(True)
        await pause(self, seconds)

    monkeypatch.setattr(EssentryClient, "_pause", refuse_from_now_on)


def test_s08_a_move_that_was_lost_and_then_refused_is_sent_back(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """essentry has the new time, the source the old one again: it is no longer in step, whatever
    the refusal said.
    """
    firm.sections["essentry"] = {"retry_budget_seconds": 20}
    firm.book("m", "ada")
    firm.book("n", "bob")
    firm.night()
    start = firm.meetings["rooms"]["m"]["start"]
    firm.meetings["rooms"]["m"]["start"] = start + timedelta(hours=5)
    refuse_after_loss(firm, "rooms-m", monkeypatch)
    result = firm.night()
    assert result.exit_code == 3
    assert [(p["source_id"], p["state"]) for p in result.report["problems"]] == [
        ("rooms-m", "unknown")
    ]
    firm.meetings["rooms"]["m"]["start"] = start
    assert firm.night().exit_code == 0
    assert firm.sandbox.state()["events"]["rooms-m"]["startsAt"].startswith(start.isoformat()[:16])


def test_s08_a_create_that_was_lost_and_then_refused_is_cancelled_when_its_row_goes(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm.sections["essentry"] = {"retry_budget_seconds": 20}
    firm.book("m", "ada")
    firm.book("n", "bob")
    refuse_after_loss(firm, "rooms-m", monkeypatch)
    assert firm.night().exit_code == 3
    assert "rooms-m" in firm.held()  # the lost try was applied
    firm.cancel("m")
    firm.night()
    assert set(firm.held()) == {"rooms-n"}


@pytest.fixture(params=["update", "resurrect", "error"])
def own(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Firm]:
    """A firm whose essentry treats a deleted event in one of the ways that the documentation leaves
    open.
    """
    with SandboxServer(SandboxSettings(on_deleted=request.param)) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield Firm(tmp_path, sandbox)


@pytest.mark.share(3)
@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
@pytest.mark.parametrize("on_reappear", ["hold", "send"])
def test_s08_a_meeting_back_after_an_unanswered_cancellation_comes_back_as_a_deleted_one(
    own: Firm, fault: str, on_reappear: str
) -> None:
    own.sections["essentry"] = {"retry_budget_seconds": 0, "on_reappear": on_reappear}
    own.book("m", "ada")
    own.book("n", "bob")
    own.night()
    gone = own.meetings["rooms"].pop("m")
    own.sandbox.add_faults([{"kind": fault}])
    own.night()
    own.new_mails()
    own.meetings["rooms"]["m"] = gone
    for _ in range(2):
        result = own.night()
        if on_reappear == "hold":
            assert result.exit_code == 3
            assert [p["source_id"] for p in result.report["problems"]] == ["rooms-m"]
            assert result.report["held_by_reason"] == {"reappeared": 1}
            assert own.new_mails() == []
    if on_reappear == "send" and (fault == "drop_before" or "rooms-m" in own.held()):
        assert result.exit_code == 0
        assert set(own.held()) == {"rooms-m", "rooms-n"}
    if on_reappear == "hold":
        own.cancel("m")
        assert own.night().exit_code == 0
        assert set(own.held()) == {"rooms-n"}


@pytest.mark.share(3)
@pytest.mark.parametrize("status", [404, 405, 410])
@pytest.mark.parametrize(
    "body",
    ["404 page not found", {"message": "no route"}, "<html>not here</html>", None],
    ids=["text", "json", "html", "none"],
)
def test_s11_a_wrong_address_stops_the_load_and_nobody_waits(
    firm: Firm, status: int, body: object
) -> None:
    firm.sections["essentry"] = {"retry_budget_seconds": 0.2, "batch_events": 2}
    firm.book_many(6)
    firm.sandbox.add_faults([{"kind": "status", "status": status, "body": body, "times": 1000}])
    result = firm.night()
    assert result.exit_code == 6
    assert "essentry.base_url" in result.report["error"]
    assert str(status) in result.report["error"]
    assert result.report["problems"] == []
    with open_state(firm.config) as state:
        assert state.rejections().empty
        assert state.list_unanswered().empty
    firm.sandbox.clear_faults()
    assert firm.night().exit_code == 0
    assert (len(firm.held()), firm.mails()["invited"]) == (6, 6)


def test_s19_giving_up_says_what_surely_was_not_sent(firm: Firm) -> None:
    firm.sections["essentry"] = {"retry_budget_seconds": 0.1}
    firm.book("m", "ada")
    firm.sandbox.add_faults([{"kind": "status", "status": 503, "times": 100}])
    lost = firm.night().report["error"]
    assert "HTTP_503: it may have been applied" in lost
    firm.sandbox.clear_faults()
    firm.sandbox.add_faults([{"kind": "drop_after"}])
    firm.sections["essentry"] = {"retry_budget_seconds": 0}
    assert "CONNECTION_LOST: the connection ended before the answer" in firm.night().report["error"]
    assert (
        loads.tell_giving_up(["UNREACHABLE", "UNREACHABLE"])
        == "UNREACHABLE: no connection could be made, so nothing of it was sent"
    )


def test_s08_a_guest_who_may_be_removed_is_not_invited_again_while_the_guests_cannot_be_read(
    firm: Firm,
) -> None:
    """Bob's removal is not answered; the next night a guest's row names no event, so that nobody
    may be removed.
    """
    firm.book("m", "ada", "bob")
    firm.book("n", "zoe")
    firm.night()
    firm.new_mails()
    del firm.meetings["rooms"]["m"]["guests"]["bob"]
    firm.meetings["rooms"]["m"]["guests"]["eve"] = "eve@out.example"
    firm.sandbox.add_faults([{"kind": "drop_after", "times": 50}])
    assert firm.night().exit_code == 6
    firm.sandbox.clear_faults()
    assert sorted((kind, who) for kind, _, _, who in firm.new_mails()) == [
        ("cancelled", "bob@out.example"),
        ("invited", "eve@out.example"),
    ]
    firm.meetings["rooms"]["n"]["guests"]["lost"] = {
        "email": "lost@out.example",
        "source_event_id": None,
    }
    for _ in range(2):
        result = firm.night()
        assert result.exit_code == 3
        assert "rooms-m" in {problem["source_id"] for problem in result.report["problems"]}
    del firm.meetings["rooms"]["n"]["guests"]["lost"]
    assert firm.night().exit_code == 0
    assert firm.new_mails() == []
    assert firm.held("rooms-m") == {"rooms-m": {"rooms-m-ada", "rooms-m-eve"}}
