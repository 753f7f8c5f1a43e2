"""A divided night has the plan of an undivided one: on threads, on processes, and on a Dask cluster
of two workers.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from flows.connections.urls import source_url
from flows.demo.databases import build_demo
from flows.night import steps as nightly
from flows.night.close import finish
from flows.night.session import open_session, open_state
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.errors import ConfigurationError
from schemas.load_config import load_config
from tests.conftest import AS_OF, DEMO
from tests.firm import ended_well
from transforms.desired.partition import find_pointing, find_united, split_frames
from transforms.naming.naming import name_by

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def after_night_1(tmp_path_factory):
    """The demo's company after its first night, with the rows of the second in its databases:
    (folder, sandbox).
    """
    folder = tmp_path_factory.mktemp("divided")
    shutil.copy(DEMO, folder)
    with SandboxServer(SandboxSettings()) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESSENTRY_SYNC_ESSENTRY__BASE_URL", sandbox.base_url)
        patch.setenv("ESSENTRY_TOKEN", sandbox.token)
        patch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        build_demo(folder, night=1, anchor=AS_OF.date())
        with open_session(load_config(folder / DEMO.name), kind="sync", as_of=AS_OF) as session:
            nightly.load(session, nightly.plan(session, *nightly.extract(session)))
            assert ended_well(finish(session))
        build_demo(folder, night=2, anchor=AS_OF.date())
        yield folder, sandbox


def plan_digest(
    company: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    flow: bool = False,
    **scale: object,
) -> tuple[str, dict]:
    """The digest and the counts of the second night's plan, made from a copy of the state; by the
    flow, or without an engine.
    """
    for name, value in scale.items():
        monkeypatch.setenv(f"ESSENTRY_SYNC_SCALE__{name.upper()}", str(value))
    home = tmp_path / "night"
    shutil.copytree(company, home, ignore=shutil.ignore_patterns("runs"))
    as_of = AS_OF + timedelta(days=1)
    monkeypatch.setenv("ESSENTRY_SYNC_PILOT__PAUSED", "true")  # the plan is made, nothing is sent
    if flow:
        from flows.sync import run_sync

        with pytest.raises(Exception, match="paused"):
            run_sync(load_config(home / DEMO.name), as_of=as_of)
    else:
        nightly.run_plan(load_config(home / DEMO.name), as_of=as_of)
    with open_state(load_config(home / DEMO.name)) as state:
        plan, changes = state.load_plan("latest")
        assert len(changes) > 40
    return plan["digest"], changes["action"].value_counts().to_dict()


@pytest.fixture(scope="module")
def undivided(after_night_1, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return plan_digest(after_night_1[0], patch, tmp_path_factory.mktemp("one"), partitions=1)


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("partitions", "runner"), [(2, "threads"), (7, "threads"), (3, "processes")]
)
def test_plan_is_the_same_however_the_night_is_divided(
    partitions, runner, after_night_1, undivided, monkeypatch, tmp_path
):
    assert (
        plan_digest(after_night_1[0], monkeypatch, tmp_path, partitions=partitions, runner=runner)
        == undivided
    )


@pytest.mark.parametrize(("partitions", "runner"), [(3, "threads"), (3, "processes")])
def test_plan_is_the_same_when_the_parts_lie_in_files(
    partitions, runner, after_night_1, undivided, monkeypatch, tmp_path
):
    scale = {"partitions": partitions, "runner": runner, "folder": tmp_path / "parts"}
    assert plan_digest(after_night_1[0], monkeypatch, tmp_path, **scale) == undivided
    assert list((tmp_path / "parts").iterdir()) == [], "people's data stay no longer than the night"


def test_source_that_fails_is_left_out_of_the_files_too(after_night_1, monkeypatch, tmp_path):
    """Its events are held, and the plan is that of an undivided night."""
    monkeypatch.setenv("ESSENTRY_SYNC_ON_SOURCE_FAILURE", "others")
    company = tmp_path / "company"
    shutil.copytree(after_night_1[0], company, ignore=shutil.ignore_patterns("runs"))
    config = load_config(company / DEMO.name)
    for name in sorted(config.sources)[:1]:
        Path(str(source_url(name, config.sources[name], root=company).database)).unlink()
    found = [
        plan_digest(company, monkeypatch, tmp_path / str(number), **scale)
        for number, scale in enumerate(
            [{"partitions": 1}, {"partitions": 3, "folder": tmp_path / "parts"}]
        )
    ]
    assert found[0] == found[1]
    assert found[0][1].get("delete", 0) < 40


def test_linked_meetings_stay_together(after_night_1, monkeypatch, tmp_path):
    config = load_config(after_night_1[0] / DEMO.name)
    with open_session(config, kind="plan") as session:
        extracted, _ = nightly.extract(session)
        naming = name_by(session.config)
        confirmed = session.state.read_fingerprints()[["source_id", "members_json"]]
    frames = {name: (read.events, read.guests) for name, read in extracted.items()}
    linked = [
        find_united(confirmed, naming),
        *(find_pointing(name, events, naming) for name, (events, _) in frames.items()),
    ]
    parts = split_frames(frames, 4, linked=pd.concat(linked, ignore_index=True).astype("str"))
    assert len(parts) == 5
    for name, (events, guests) in frames.items():
        for whole, place in ((events, 0), (guests, 1)):
            divided = pd.concat([part[name][place] for part in parts])
            keys = list(divided.columns)
            pd.testing.assert_frame_equal(
                divided.sort_values(keys).reset_index(drop=True),
                whole.sort_values(keys).reset_index(drop=True),
                check_dtype=False,
            )
        for one in parts:
            for other in parts:
                if one is not other:
                    assert not set(one[name][0]["source_event_id"].dropna()) & set(
                        other[name][1]["source_event_id"].dropna()
                    )
    rooms, _ = frames["rooms"]
    pointing = set(
        rooms.loc[
            rooms["linked_event_id"].notna() & rooms["linked_source"].notna(), "source_event_id"
        ]
    )
    assert pointing
    assert pointing <= set(parts[-1]["rooms"][0]["source_event_id"])
    # an interview whose booking is linked to it is where the booking is
    assert set(rooms.loc[rooms["source_event_id"].isin(pointing), "linked_event_id"]) & set(
        frames["hr"][0]["source_event_id"]
    ) <= set(parts[-1]["hr"][0]["source_event_id"])


def test_flow_divides_the_night_into_files(after_night_1, undivided, monkeypatch, tmp_path):
    scale = {"partitions": 3, "runner": "processes", "folder": tmp_path / "parts"}
    assert plan_digest(after_night_1[0], monkeypatch, tmp_path, flow=True, **scale) == undivided


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_flow_divides_the_night_on_its_task_runner(
    runner, after_night_1, undivided, monkeypatch, tmp_path
):
    assert (
        plan_digest(after_night_1[0], monkeypatch, tmp_path, partitions=3, runner=runner, flow=True)
        == undivided
    )


def test_flow_divides_the_night_on_a_dask_cluster(after_night_1, undivided, monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        scheduler = cluster.scheduler_address
        found = plan_digest(
            after_night_1[0],
            monkeypatch,
            tmp_path,
            partitions=3,
            runner="dask",
            dask_scheduler=scheduler,
            flow=True,
        )
        with distributed.Client(cluster) as client:
            ran = client.run(
                lambda dask_worker: dask_worker.state.task_counter.current_count(by_prefix=False)
            )
    assert found == undivided
    assert len(ran) == 2


def test_dask_without_its_extra_says_what_to_install(monkeypatch, after_night_1):
    import sys

    from flows.engine.parts import choose_runner

    monkeypatch.setenv("ESSENTRY_SYNC_SCALE__RUNNER", "dask")
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(ConfigurationError, match=r"essentry-sync\[dask\]"):
        choose_runner(load_config(after_night_1[0] / DEMO.name))
