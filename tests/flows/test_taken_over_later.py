"""S18: what another integration created is known from the day it is taken over, due or not; and
leftovers tells it apart.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.commands.demo import run_demo
from flows.demo.databases import build_demo
from flows.night.session import open_state
from flows.operations.adopt import adopt_events
from flows.operations.leftovers import list_left_over
from flows.sandbox.server import SandboxServer
from flows.state.store import State
from schemas.errors import ConfigurationError, LeaseHeld, StateError
from tests.conftest import DEMO
from tests.firm import Firm
from transforms.operations.leftovers import find_left_over


def adopt(firm: Firm, keys: list[str], sandbox: SandboxServer) -> list[str]:
    """Events `old-KEY` with one invitation each, made by another integration and taken over."""
    events, lines = [], ["source,source_event_id,event_id,guest,invitation_id"]
    for key in keys:
        meeting = firm.meetings["rooms"][key]
        start = (
            meeting["start"]
            if isinstance(meeting["start"], datetime)
            else firm.now + timedelta(days=30)
        )
        guest, who = next(iter(meeting["guests"].items()))
        people = [
            {"sourceId": f"oldinv-{key}", "email": who if "@" in who else f"{guest}@out.example"}
        ]
        plain = {
            "sourceId": f"old-{key}",
            "name": "Visit",
            "startsAt": start.isoformat(),
            "endsAt": (start + timedelta(hours=1)).isoformat(),
        }
        events.append(
            plain
            | {"locationId": 11, "host": {"email": "host@corp.example"}, "invitations": people}
        )
        lines.append(f"rooms,{key},old-{key},{guest},oldinv-{key}")
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    answer = httpx.put(
        f"{sandbox.base_url}/events",
        json={"agentToken": sandbox.agent_token, "events": events},
        headers=headers,
    )
    assert {event["status"] for event in answer.json()["events"]} == {"SUCCESS"}
    file = firm.folder / "ids.csv"
    file.write_text("\n".join(lines) + "\n")
    firm.write()
    return adopt_events(firm.config, file, write=True)


FATES: dict[str, dict[str, Any]] = {
    "pending": {"status": "pending"},
    "beyond_window": {"start": datetime.now(UTC) + timedelta(days=300)},
    "quarantined": {"host": "nobody"},
    "due": {},
}


@pytest.mark.share(2)
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("end", ["cancelled", "absent"])
def test_s18_the_later_cancellation_of_what_was_not_due_reaches_essentry(
    firm: Firm, fate: str, end: str
) -> None:
    firm.sections["window"] = {"days_ahead": 60}
    firm.book("m", "ada", **FATES[fate])
    firm.book("n", "bob")
    told = adopt(firm, ["m", "n"], firm.sandbox)
    assert (fate in told[1]) is (fate != "due")
    firm.night()
    assert set(firm.held()) == {"old-m", "old-n"}, "nothing is created twice, and nothing cancelled"
    firm.new_mails()
    if end == "cancelled":
        firm.meetings["rooms"]["m"]["status"] = "cancelled"
    else:
        firm.cancel("m")
    result = firm.night()
    assert result.report["deletes_by_reason"] == {end: 1}
    assert set(firm.held()) == {"old-n"}
    assert [mail[:3] for mail in firm.new_mails()] == [("cancelled", "old-m", "oldinv-m")]


def test_s18_what_comes_due_is_an_update_under_the_id_taken_over(firm: Firm) -> None:
    firm.book("m", "ada", status="pending")
    firm.book("n", "bob", host="nobody")
    adopt(firm, ["m", "n"], firm.sandbox)
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"]["m"]["status"] = "confirmed"
    firm.meetings["rooms"]["n"]["host"] = "host@corp.example"
    assert firm.night().report["counts"]["update"] == 2
    assert firm.held() == {"old-m": {"oldinv-m"}, "old-n": {"oldinv-n"}}
    assert not [mail for mail in firm.new_mails() if mail[0] != "updated"]


def test_s18_what_is_cancelled_already_is_told_and_goes_with_the_next_night_and_what_is_over_stays(
    firm: Firm,
) -> None:
    firm.book("off", "ada", status="cancelled")
    firm.book("past", "bob", start=firm.now - timedelta(days=3))
    told = "\n".join(adopt(firm, ["off", "past"], firm.sandbox))
    assert "1 of the events are cancelled in their source: the next run cancels them" in told
    assert "1 of the events are past in their source: their ids are kept" in told
    assert firm.night().report["deletes_by_reason"] == {"cancelled": 1}
    assert set(firm.held()) == {"old-past"}


@pytest.mark.parametrize("fate", FATES)
def test_leftovers_after_adopt_knows_what_was_taken_over(firm: Firm, fate: str) -> None:
    firm.book("m", "ada", **FATES[fate])
    adopt(firm, ["m"], firm.sandbox)
    with open_state(firm.config) as state:
        left = list_left_over(firm.config, state)
    # of a row that could not be read the place is not known, so its invitation is listed, and
    # nothing crashes
    assert len(left) == (1 if fate == "quarantined" else 0)


def test_leftovers_an_id_alone_explains_one_invitation_at_its_place_and_start() -> None:
    at = datetime(2026, 12, 1, 9, tzinfo=UTC)
    payload = '{"sourceId": "old", "invitations": [{"sourceId": "i1"}]}'
    events = [
        {
            "id": n,
            "event": {"locationId": 11, "startsAt": at.isoformat(), "name": "x"},
            "contact": {"email": f"g{n}@x.example"},
        }
        for n in (1, 2)
    ]
    assert len(find_left_over(events, [payload], places={"old": (11, at)})) == 1
    assert len(find_left_over(events, [payload], places={"old": (12, at)})) == 2
    assert len(find_left_over(events, [payload])) == 2


# -- the demo writes over nothing but a demo -------------------------------------------------------


def refuse_demo(folder: Path) -> str:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError) as refused:
        run_demo(folder, nights=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return str(refused.value)


def test_demo_leaves_another_configuration_alone(tmp_path: Path) -> None:
    (tmp_path / DEMO.name).write_text("[sources.hr]\n")
    assert "is not the demo's configuration" in refuse_demo(tmp_path)
    shutil.copy(DEMO, tmp_path)
    with (tmp_path / DEMO.name).open("a") as file:
        file.write("# mine\n")
    assert "was changed since" in refuse_demo(tmp_path)


@pytest.mark.parametrize("name", ["hr.sqlite", "rooms.sqlite", "state/essentry-sync.sqlite"])
def test_demo_leaves_databases_and_states_of_others_alone(tmp_path: Path, name: str) -> None:
    """`--folder data` has the default place of a real state in it."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"somebody's")
    assert "is no demo's" in refuse_demo(tmp_path)


@pytest.mark.parametrize("content", ["real", "rubbish"])
def test_demo_leaves_a_state_of_production_alone(tmp_path: Path, content: str) -> None:
    shutil.copy(DEMO, tmp_path)
    build_demo(tmp_path, night=1, anchor=datetime.now(UTC).date())
    file = tmp_path / "state" / "essentry-sync.sqlite"
    file.parent.mkdir()
    if content == "real":
        with State.open(f"sqlite:///{file}") as state:
            state.check_identity("https://app.essentry.com/api/v2", "a" * 64, "per-event")
    else:
        file.write_text("no database at all " * 99)
    assert "is not of a demo" in refuse_demo(tmp_path)


# -- who we are, and one run at a time -------------------------------------------------------------

URL, TOKEN, IDS = "https://app.essentry.com/api/v2", "a" * 64, "per-event"


def test_s13_a_plan_under_a_typing_error_binds_nobody(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm.book("m")
    right = firm.sandbox.agent_token
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", "00000000-0000-4000-8000-000000000000")
    firm.night(kind="plan")
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", right)
    with pytest.raises(ConfigurationError, match="superseded"):
        firm.apply()  # that plan was for another
    assert firm.night().exit_code == 0
    monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", "00000000-0000-4000-8000-000000000000")
    with pytest.raises(StateError, match="another agent token"):
        firm.night()


@pytest.mark.parametrize(
    "other",
    [("https://app.essentry.org/api/v2", TOKEN, IDS), (URL, "b" * 64, IDS), (URL, TOKEN, "shared")],
)
def test_s13_an_identity_is_released_only_while_nothing_was_sent(
    tmp_path: Path, other: tuple[str, str, str]
) -> None:
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        state.release_identity(URL, TOKEN, IDS)  # nothing to release yet
        state.check_identity(URL, TOKEN, IDS)
        with pytest.raises(StateError, match="belongs to another"):
            state.check_identity(*other)
        state.release_identity(*other)
        state.check_identity(*other)
        with state.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO plan_changes (plan_id, seq, source_id, state) VALUES ('p', 1, 'x', "
                "'unknown')"
            )
        state.release_identity(URL, TOKEN, IDS)
        with pytest.raises(StateError, match="belongs to another"):
            state.check_identity(URL, TOKEN, IDS)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://APP.essentry.com/api/v2", True),
        ("HTTPS://app.essentry.com/api/v2/", True),
        ("https://app.essentry.com:443/api/v2", True),
        ("https://app.essentry.com./api/v2", True),
        ("https://app.essentry.com/api/v3", False),
        ("https://app.essentry.com:8443/api/v2", False),
        ("https://test.essentry.com/api/v2", False),
        ("http://127.0.0.1/api/v2", False),
    ],
)
def test_s13_addresses_are_compared_as_urls_are(tmp_path: Path, url: str, same: bool) -> None:
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        state.check_identity(URL, TOKEN, IDS)
        if same:
            state.check_identity(url, TOKEN, IDS)
        else:
            with pytest.raises(StateError):
                state.check_identity(url, TOKEN, IDS)


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("ahead", [2 * MINUTE, 30 * MINUTE, 59 * MINUTE, timedelta(days=30)])
def test_a_lease_by_a_clock_ahead_blocks_no_longer_than_it_was_asked_for(
    tmp_path: Path, ahead: timedelta
) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    with State.open(url) as dead, State.open(url) as new:
        assert dead.acquire_lease("a:1:x", "x", now=NOON + ahead, seconds=60)
        new.acquire_lease("b:2:y", "y", now=NOON, seconds=60)
        assert new.acquire_lease("b:2:y", "y", now=NOON + MINUTE + timedelta(seconds=1), seconds=60)


def test_a_live_run_whose_clock_was_put_back_keeps_its_lease(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.sqlite"
    with State.open(url) as live, State.open(url) as new:
        assert live.acquire_lease("a:1:x", "x", now=NOON + 30 * MINUTE, seconds=60)
        assert not new.acquire_lease("b:2:y", "y", now=NOON, seconds=60)
        live.renew_lease("a:1:x", "x", now=NOON + timedelta(seconds=30), seconds=60)
        assert not new.acquire_lease("b:2:y", "y", now=NOON + timedelta(seconds=70), seconds=60)


def test_a_held_lease_says_for_how_long(firm: Firm) -> None:
    firm.book("m")
    firm.night()
    with open_state(firm.config) as state:
        assert state.acquire_lease("host:1:run-x", "run-x", now=state.clock(), seconds=100)
        with pytest.raises(
            LeaseHeld, match=r"run run-x on host.*this one in (9\d|100) s unless it is renewed"
        ):
            firm.night()
