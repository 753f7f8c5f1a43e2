"""What Prefect's UI shows of a night, on a real Prefect server."""

import re
import threading
import time

import pytest
from prefect.client.orchestration import get_client

from flows.engine import artifacts
from flows.sync import run_sync
from schemas.load_config import load_config
from tests.conftest import AS_OF

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]


def artifacts_of(run_id: str) -> dict:
    """key → artifact of the flow run whose report this is."""
    with get_client(sync_client=True) as client:
        found = [a for a in client.read_artifacts() if a.key and a.key.startswith("essentry-sync-")]
    mine = {a.flow_run_id for a in found if run_id in str(a.data)}
    return {a.key: a for a in found if a.flow_run_id in mine}


def test_a_night_leaves_report_rejects_link_and_progress_and_names_nobody(demo_night, monkeypatch):
    path, _ = demo_night
    monkeypatch.setenv("ESSENTRY_SYNC_REPORT__URL", "https://reports.corp.example/essentry/")
    result = run_sync(load_config(path), as_of=AS_OF)
    run_id = result.report["run"]["run_id"]
    shown = artifacts_of(run_id)
    assert set(shown) == {
        "essentry-sync-report",
        "essentry-sync-rejects",
        "essentry-sync-page",
        "essentry-sync-progress",
    }
    assert shown["essentry-sync-progress"].data == 100.0
    assert (
        f"https://reports.corp.example/essentry/{run_id}/report.html"
        in shown["essentry-sync-page"].data
    )
    assert "Quarantined rows" in shown["essentry-sync-report"].data
    assert "room and site are not mapped" in str(shown["essentry-sync-rejects"].data)
    text = " ".join(str(artifact.data) for artifact in shown.values())
    assert [
        address for address in re.findall(r"[^\s\"'`|]+@[^\s\"'`|]+", text) if "…@" not in address
    ] == []


def test_an_artifact_that_cannot_be_stored_does_not_end_the_night(company, monkeypatch):

    def broken(*arguments, **options):
        raise ConnectionError("the server is away")

    for name in (
        "create_markdown_artifact",
        "create_table_artifact",
        "create_link_artifact",
        "create_progress_artifact",
    ):
        monkeypatch.setattr(artifacts, name, broken)
    company.write({"1": ["ada@out.example"]})
    result = run_sync(company.config(), as_of=company.now)
    assert result.exit_code == 0
    assert company.held() == {"1": ["ada@out.example"]}


def test_progress_is_told_every_few_seconds_and_at_the_end(monkeypatch):
    told, clock = [], iter([0.0, 0.5, 3.0, 3.5, 3.6])
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *a, **o: "id")
    monkeypatch.setattr(
        artifacts,
        "update_progress_artifact",
        lambda artifact, progress, description: told.append((progress, description)),
    )
    passed = []
    progress = artifacts.LoadProgress(lambda *call: passed.append(call), clock=lambda: next(clock))
    for done in (10, 20, 30, 40):
        progress(done, 40, [])
    progress.end()
    assert told == [(50.0, "20 of 40 changes sent"), (100.0, "40 of 40 changes sent")]
    assert [call[0] for call in passed] == [10, 20, 30, 40]


def test_what_a_silent_server_does_not_take_is_dropped_and_nobody_waits():
    """The load's one thread for the ledger posts, whatever becomes of it."""
    free, called = threading.Event(), []
    onlooker = artifacts.Onlooker()
    began = time.monotonic()
    for number in range(1000):
        onlooker.post(lambda number=number: (free.wait(30), called.append(number)))
    assert time.monotonic() - began < 5
    assert onlooker.end(0.1) is False
    free.set()
    assert len(called) <= artifacts.QUEUE + 1


def test_what_is_posted_is_done_in_its_order():
    called = []
    onlooker = artifacts.Onlooker()
    for number in range(5):
        onlooker.post(lambda number=number: called.append(number))
    assert onlooker.end(30) is True
    assert called == [0, 1, 2, 3, 4]
