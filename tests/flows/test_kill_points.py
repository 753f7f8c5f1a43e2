"""A share of the kill points: a process dies of SIGKILL there, the next run ends as an undisturbed
one. `just chaos` takes them all.
"""

from __future__ import annotations

import pytest

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.chaos.kills import choose_points, kill_once, prepare_night

POINTS = [
    ("after take the lease", 1),
    ("after read a source", 1),
    ("after save the plan", 1),
    ("before commit", 30),
    ("after write intents and outcomes", 1),
    ("before PUT", 4),
    ("after PUT", 1),
    ("before write intents and outcomes", 2),
    ("before write intents and outcomes", 5),
    ("after write intents and outcomes", 6),
    ("before report file", 2),
    ("after count absences", 1),
    ("after finish the run", 1),
]


@pytest.fixture(scope="module")
def sandbox():
    with pytest.MonkeyPatch.context() as patch, SandboxServer(SandboxSettings()) as server:
        patch.setenv("ESSENTRY_TOKEN", server.token)
        patch.setenv("ESSENTRY_AGENT_TOKEN", server.agent_token)
        yield server


@pytest.fixture(scope="module")
def quiet(sandbox, tmp_path_factory):
    return prepare_night(tmp_path_factory.mktemp("kills"), sandbox)


def test_there_are_many_points(quiet):
    points = choose_points(quiet.steps)
    assert len(points) >= 100
    assert set(POINTS) <= {
        (point, nth) for point, count in quiet.steps.items() for nth in range(1, count + 1)
    }


@pytest.mark.share(3)
@pytest.mark.parametrize(("point", "nth"), POINTS, ids=lambda value: str(value).replace(" ", "-"))
def test_killed_run_is_taken_up_where_it_died(point, nth, quiet, sandbox, tmp_path):
    kill_once(quiet, point, nth, tmp_path / "killed", sandbox)
