"""S8: a state store that is an older copy knows nothing of what was sent since; that is told, and
sent again, never taken for in step.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.night.journal import find_missing
from flows.night.session import open_state
from flows.operations.backup import back_up
from flows.operations.restored import describe_restored, find_restored, mark_restored
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.state.restore import CODE
from schemas.errors import StateError
from tests.firm import Firm


def copy_state(firm: Firm) -> Path:
    file = firm.folder / "backup.copy"
    with open_state(firm.config) as state:
        back_up(state, file)
    return file


def restore(firm: Firm, file: Path, *, reports: bool = True, journal: bool = True) -> None:
    """As the README tells it; without what a larger loss takes along."""
    for name in ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm"):
        (firm.folder / name).unlink(missing_ok=True)
    shutil.copy(file, firm.folder / "state.sqlite")
    if not reports:
        for folder in (firm.folder / "runs").iterdir():
            shutil.rmtree(folder, ignore_errors=True)
    if not journal:
        for found in [*firm.folder.rglob(".runs-*")]:
            found.unlink()


def tell_restored(firm: Firm) -> int:
    """The command `restored`."""
    with open_state(firm.config) as state:
        evidence = find_restored(firm.config, state)
        assert describe_restored(state, evidence)
        return mark_restored(firm.config, state, evidence)


@pytest.fixture
def moved(firm: Firm) -> tuple[Firm, Path]:
    """After the copy: m was cancelled, t moved, n got a guest, came and gone are new; gone is out
    of the source by now.
    """
    for key in ("m", "t", "n", "quiet"):
        firm.book(key)
    firm.night()
    copy = copy_state(firm)
    firm.meetings["rooms"]["m"]["status"] = "cancelled"
    firm.meetings["rooms"]["t"]["start"] += timedelta(hours=2)
    firm.meetings["rooms"]["n"]["guests"]["eve"] = "eve@out.example"
    firm.book("came")
    firm.book("gone")
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"]["m"]["status"] = "confirmed"
    firm.meetings["rooms"]["t"]["start"] -= timedelta(hours=2)
    del firm.meetings["rooms"]["n"]["guests"]["eve"]
    firm.cancel("gone")
    return firm, copy


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("way", ["sync", "apply"])
def test_s08_what_moved_since_the_copy_is_sent_again_when_the_reports_tell_it(
    moved: tuple[Firm, Path], way: str, partitions: int
) -> None:
    firm, copy = moved
    firm.sections["scale"] = {"partitions": partitions}
    restore(firm, copy)
    start = firm.meetings["rooms"]["t"]["start"].isoformat()
    if way == "sync":
        result = firm.night()
    else:
        assert firm.night(kind="plan").exit_code == 0
        result = firm.apply()
    held = firm.held()
    assert set(held) - {"rooms-m"} == {"rooms-t", "rooms-n", "rooms-quiet", "rooms-came"}, (
        "what came and went since is cancelled"
    )
    assert held["rooms-n"] == {"rooms-n-gn"}, (
        "a guest who came and went since is taken off the list"
    )
    assert datetime.fromisoformat(
        firm.sandbox.state()["events"]["rooms-t"]["startsAt"]
    ) == datetime.fromisoformat(start)
    assert (
        "invited",
        "rooms-quiet",
        "rooms-quiet-gquiet",
        "gquiet@out.example",
    ) not in firm.new_mails()
    refused = [(problem["source_id"], problem["code"]) for problem in result.report["problems"]]
    assert refused == [("rooms-m", "ERROR_EVENT_DELETED")], (
        "we cancelled it ourselves, so it is made anew, and this essentry refuses that"
    )
    puts = firm.puts()
    firm.meetings["rooms"]["m"]["status"] = "cancelled"
    again = firm.night()
    assert again.report["counts"]["update"] == 0
    assert firm.puts() == puts
    with open_state(firm.config) as state:
        assert find_missing(firm.config, state).entries == []
        assert state.list_unanswered().empty


def test_s08_a_copy_whose_later_runs_left_no_report_is_refused_until_it_is_told(
    moved: tuple[Firm, Path],
) -> None:
    firm, copy = moved
    restore(firm, copy, reports=False)
    puts = firm.puts()
    for kind in ("sync", "plan"):
        with pytest.raises(StateError, match="essentry-sync restored") as refused:
            firm.night(kind=kind)
        assert refused.value.exit_code == 2
    assert firm.puts() == puts
    assert tell_restored(firm) == 4  # m, t, n and quiet
    result = firm.night()
    assert result.report["counts"]["update"] + result.report["counts"]["create"] >= 4
    assert set(firm.held()) >= {"rooms-t", "rooms-n", "rooms-quiet", "rooms-came"}


def test_s08_a_loss_of_everything_but_the_copy_needs_the_command(moved: tuple[Firm, Path]) -> None:
    """A snapshot of the whole machine: no journal is left, so nothing can be noticed."""
    firm, copy = moved
    restore(firm, copy, reports=False, journal=False)
    assert tell_restored(firm) == 4
    with open_state(firm.config) as state:
        assert set(state.list_unanswered()["code"]) == {CODE}
    result = firm.night()
    assert result.report["counts"]["update"] >= 3
    assert (
        datetime.fromisoformat(firm.sandbox.state()["events"]["rooms-t"]["startsAt"])
        == firm.meetings["rooms"]["t"]["start"]
    )


@pytest.mark.parametrize("on_deleted", ["error", "resurrect"])
def test_s08_an_event_cancelled_since_is_not_in_step(
    firm: Firm, on_deleted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a report of it: the complete update meets a tombstone, and whatever essentry does
    with it is told or has helped.
    """
    with SandboxServer(SandboxSettings(on_deleted=on_deleted)) as sandbox:
        firm.sandbox = sandbox
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        firm.book("m")
        firm.book("n")
        firm.night()
        copy = copy_state(firm)
        firm.meetings["rooms"]["m"]["status"] = "cancelled"
        firm.night()
        restore(firm, copy, reports=False)
        firm.meetings["rooms"]["m"]["status"] = "confirmed"
        tell_restored(firm)
        result = firm.night()
        told = [problem["source_id"] for problem in result.report["problems"]]
        assert ("rooms-m" in firm.held()) != ("rooms-m" in told)
        assert result.exit_code == (3 if told else 0)


def test_s08_the_guards_count_what_a_restore_sends_again(moved: tuple[Firm, Path]) -> None:
    firm, copy = moved
    restore(firm, copy, reports=False)
    tell_restored(firm)
    firm.sections["guards"] |= {"max_people_mailed": 1}
    puts = firm.puts()
    assert firm.night().exit_code == 4
    assert firm.puts() == puts


def test_a_run_that_was_killed_after_the_copy_makes_the_evidence_incomplete(
    moved: tuple[Firm, Path],
) -> None:
    firm, copy = moved
    newest = max(
        (folder for folder in (firm.folder / "runs").iterdir() if folder.is_dir()),
        key=lambda folder: folder.stat().st_mtime_ns,
    )
    shutil.rmtree(newest)
    restore(firm, copy)
    with pytest.raises(StateError, match="restored from a backup"):
        firm.night()


def test_runs_that_sent_nothing_since_the_copy_change_nothing(firm: Firm) -> None:
    firm.book_many(3)
    firm.night()
    copy = copy_state(firm)
    firm.night()
    firm.night(kind="plan")
    restore(firm, copy)
    puts = firm.puts()
    result = firm.night()
    assert (result.exit_code, result.report["counts"]["unchanged"], firm.puts()) == (0, 3, puts)


def test_an_adoption_after_the_copy_is_told(firm: Firm) -> None:
    from flows.operations.adopt import adopt_events

    firm.book("a")
    firm.book("b")
    firm.night()
    copy = copy_state(firm)
    firm.book("c")
    firm.write()
    file = firm.folder / "ids.csv"
    file.write_text("source,source_event_id,event_id\nrooms,c,old-c\n")
    adopt_events(firm.config, file, write=True)
    restore(firm, copy)
    with pytest.raises(StateError, match="essentry-sync restored"):
        firm.night()
    with open_state(firm.config) as state:
        told = "\n".join(describe_restored(state, find_restored(firm.config, state)))
    assert "run `adopt` with its file again" in told


def test_the_journal_is_private_names_nobody_and_outlives_old_runs(firm: Firm) -> None:
    firm.book("a", "ada")
    for _ in range(3):
        firm.night()
    files = [*firm.folder.rglob(".runs-*")]
    assert len(files) == 2  # beside the state and among the reports
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert "ada" not in files[0].read_text()
    with open_state(firm.config) as state:
        state.prune(state.runs()["started_at"].max().to_pydatetime() + timedelta(days=1), 90, 1)
        assert len(state.runs()) == 1
        assert find_missing(firm.config, state).entries == []
    files[0].write_text("{half a li")  # a run was killed while it wrote
    assert firm.night().exit_code == 0


def test_another_state_in_the_same_folder_is_no_older_copy(firm: Firm) -> None:
    firm.book("a")
    firm.night()
    firm.sections["state"] = {"url": "sqlite:///other.sqlite"}
    assert firm.night().exit_code == 0
