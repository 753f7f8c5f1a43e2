"""A flow run that waits for an approval, on a real Prefect server: by the command, by the form, by
nobody.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

from flows.engine import approval as waiting
from flows.night.session import Result, open_state
from flows.state.store import State
from flows.sync import run_sync
from schemas.config import Config
from schemas.errors import GuardTripped, StalePlanError
from tests.firm import Firm
from tests.flows.small import Company

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 1)


@pytest.fixture
def stopped(firm: Firm) -> Firm:
    """Six meetings, three of them cancelled, one may be; a run waits for two minutes."""
    firm.book_many(6)
    assert firm.night().exit_code == 0
    firm.cancel("m000", "m001", "m002")
    firm.write()
    firm.sections["guards"] |= {
        "max_deletes": 1,
        "max_delete_share": 1.0,
        "max_shrink_share": 1.0,
        "approval_wait_minutes": 2,
    }
    return firm


def run_and(firm: Firm, act: Callable[[Any], None], config: Config | None = None) -> Result:
    """One flow run in this thread; `act` in another once the run is paused, with its flow run."""
    failures: list[BaseException] = []

    def wait_and_act() -> None:
        try:
            deadline = time.monotonic() + 90
            paused = FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED]))
            )
            with get_client(sync_client=True) as client:
                while not (runs := client.read_flow_runs(flow_run_filter=paused)):
                    assert time.monotonic() < deadline, "the flow run never paused"
                    time.sleep(0.2)
            act(runs[0])
        except BaseException as error:
            failures.append(error)

    here = contextvars.copy_context()  # the server's address is of this context
    thread = threading.Thread(target=here.run, args=(wait_and_act,))
    thread.start()
    try:
        result = run_sync(config or firm.config, as_of=firm.now)
    finally:
        thread.join()
    assert failures == []
    return result


def test_s17_a_waiting_run_holds_no_lease_and_goes_on_by_the_command(stopped, capsys):
    def approve(_: Any) -> None:
        with open_state(stopped.config) as state:
            assert state.lease_holder() == "nobody"
            assert state.is_waiting(state.load_plan("latest")[0]["run_id"])
        assert stopped.approve(by="anna", reason="the fair was called off")

    result = run_and(stopped, approve)
    assert result.exit_code == 0
    assert (result.report["run"]["kind"], result.report["plan"]["approval"]["by"]) == (
        "apply",
        "anna",
    )
    assert result.report["plan"]["approval"]["reason"] == "the fair was called off"
    assert stopped.mails()["cancelled"] == 3
    with open_state(stopped.config) as state:
        assert state.runs()["kind"].tolist() == ["sync", "sync", "apply"]
        assert state.runs()["status"].tolist() == ["done", "stopped", "done"]


def test_the_form_releases_it_too_and_is_kept_with_the_plan(stopped):
    def answer(run: Any) -> None:
        with get_client(sync_client=True) as client:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                status = client.resume_flow_run(
                    run.id, run_input={"approve": True, "by": "ben", "reason": "seen"}
                ).status
                if status == "ACCEPT":
                    return
                time.sleep(0.3)
        raise AssertionError(status)

    result = run_and(stopped, answer)
    assert result.exit_code == 0
    assert result.report["plan"]["approval"]["by"] == "ben"
    assert stopped.mails()["cancelled"] == 3


def test_without_an_answer_the_run_ends_as_it_would_have(stopped):
    stopped.sections["guards"]["approval_wait_minutes"] = 0.05
    before = stopped.puts()
    result = run_sync(stopped.config, as_of=stopped.now)
    assert (result.exit_code, stopped.puts()) == (4, before)
    assert stopped.plan_of()[0]["status"] == "waiting"
    assert stopped.approve()  # and later still
    assert stopped.apply().exit_code == 0


def test_s17_a_plan_that_went_stale_while_the_run_waited_is_not_sent(stopped):
    stopped.meetings["rooms"]["m003"]["name"] = "Another title"
    stopped.write()

    def move(_: Any) -> None:
        with open_state(stopped.config) as state, state.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE snapshot_events SET fingerprint = 'moved' WHERE source_id = 'rooms-m003'"
            )
        assert stopped.approve()

    before = stopped.puts()
    with pytest.raises(StalePlanError, match="stale"):
        run_and(stopped, move)
    assert stopped.puts() == before


def test_a_plan_that_another_run_sends_ends_the_waiting(stopped, monkeypatch):
    sending, look = threading.Lock(), State.plan_approval

    def look_between(state: State, plan_id: str) -> tuple[str, str, str]:
        with sending:
            return look(state, plan_id)

    def send(_: Any) -> None:
        with sending:  # seen as approved, the waiting run would send it itself
            assert stopped.approve()
            assert stopped.apply().exit_code == 0

    monkeypatch.setattr(State, "plan_approval", look_between)
    result = run_and(stopped, send)
    assert result.exit_code == 0
    assert result.report["verdict"].endswith("was approved and sent by another run")
    assert stopped.mails()["cancelled"] == 3


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [("applied", 0, "sent by another run"), ("partly", 3, "sent it only in part")],
)
def test_a_plan_that_another_run_is_sending_is_waited_for(stopped, end, code, words):
    """It is not said to wait for an approval, with nothing sent, while another run sends it."""

    def send(_: Any) -> None:
        plan_id = stopped.plan_of()[0]["plan_id"]
        with open_state(stopped.config) as state:
            state.set_plan_status(plan_id, "applying")
            time.sleep(3)  # three looks
            state.set_plan_status(plan_id, end)

    result = run_and(stopped, send)
    assert result.exit_code == code
    assert words in result.report["verdict"]


WIDE = (
    "max_deletes = 1\nmax_delete_share = 1.0\nmax_shrink_share = 1.0\napproval_wait_minutes = 2\n"
)


@pytest.mark.parametrize(
    ("section", "ends"),
    [
        ("[pilot]\npaused = true\n", pytest.raises(GuardTripped, match="sending is paused")),
        (
            '[pilot]\nsites = ["2"]\n',
            pytest.raises(StalePlanError, match=r"under other \[pilot\] limits"),
        ),
    ],
)
def test_s24_the_kill_switch_and_the_pilot_are_those_of_the_end_of_the_wait(
    company: Company, section: str, ends: Any
) -> None:
    company.path.write_text(company.path.read_text() + WIDE)
    company.write({str(number): [f"guest{number}@out.example"] for number in range(6)})
    company.night()
    company.write({str(number): [f"guest{number}@out.example"] for number in range(3)})

    def stop_and_approve(_: Any) -> None:
        company.path.write_text(company.path.read_text() + section)
        with open_state(company.config()) as state:
            plan_id = state.load_plan("latest")[0]["plan_id"]
            assert state.approve_plan(plan_id, by="anna", reason="read", now=datetime.now(UTC))

    puts = company.sandbox.requests()["puts"]
    with ends:
        run_and(company, stop_and_approve, company.config())
    assert company.sandbox.requests()["puts"] == puts
