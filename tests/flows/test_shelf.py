"""Parts of a night on the disk: what is laid down is there again, and nothing of a night outlives
it, however it ends.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.night.pages import PAGE_ROWS, merge_pages, shelve_pages
from flows.parts.shelf import Shelf, open_shelf
from schemas.errors import ConfigurationError, StateError
from schemas.load_config import load_config
from transforms.diff.changes import CHANGE_COLUMNS, find_order

FRAME = pd.DataFrame(
    {
        "text": pd.Series(["Łuczak", None, ""], dtype="str"),
        "number": pd.Series([1, None, 3], dtype="Int64"),
        "flag": pd.Series([True, None, False], dtype="boolean"),
        "at": pd.to_datetime(
            ["2027-01-04T07:00:00Z", None, "2027-01-05T07:00:00Z"], utc=True
        ).astype("datetime64[us, UTC]"),
    }
)


@pytest.mark.parametrize("in_file", [False, True])
def test_what_is_put_down_is_taken_once(in_file, tmp_path):
    with open_shelf(tmp_path / "parts" if in_file else None) as shelf:
        place = shelf.put({"rooms": FRAME})
        pd.testing.assert_frame_equal(place.look()["rooms"], FRAME)
        pd.testing.assert_frame_equal(place.take()["rooms"], FRAME)
        if in_file:
            assert list(shelf.folder.iterdir()) == []


def test_only_the_owner_reads_the_parts_and_none_is_left(tmp_path):
    with open_shelf(tmp_path / "parts") as shelf:
        shelf.put(FRAME)
        assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700
    assert list((tmp_path / "parts").iterdir()) == []


def test_parts_of_a_run_that_fails_are_removed(tmp_path):
    def fail() -> None:
        with open_shelf(tmp_path / "parts") as shelf:
            shelf.put(FRAME)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert list((tmp_path / "parts").iterdir()) == []


def test_parts_of_a_killed_run_go_with_the_next_and_those_of_a_living_one_stay(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from flows.parts.shelf import open_shelf\n"
        "with open_shelf(Path(sys.argv[1])) as shelf:\n"
        "    shelf.put('Ada Lovelace'); print(shelf.folder, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with open_shelf(tmp_path):
            assert len(list(theirs.iterdir())) == 1, "another night is at work in it"
        os.kill(other.pid, signal.SIGKILL)
    assert theirs.exists()
    with open_shelf(tmp_path):
        assert not theirs.exists()


def test_a_folder_that_cannot_be_used_is_told_with_the_key(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match=r"scale\.folder: .*file.*name a folder"),
        open_shelf(tmp_path / "file"),
    ):
        pass


def test_a_disk_that_fails_is_told_with_the_key(tmp_path):
    with (
        open_shelf(tmp_path / "parts") as shelf,
        pytest.raises(StateError, match=r"scale\.folder: .*make room"),
    ):
        Shelf(shelf.folder / "gone").put(FRAME)


def test_a_folder_without_partitions_is_refused(tmp_path):
    source = (
        '[sources.rooms]\nurl = "sqlite:///s.sqlite"\nevents_sql = "e.sql"\nguests_sql = '
        '"g.sql"\ntimes = "utc"\n'
    )
    (tmp_path / "c.toml").write_text(source + '[scale]\nfolder = "parts"\n')
    with pytest.raises(ConfigurationError, match=r"scale\.partitions over 1"):
        load_config(tmp_path / "c.toml")


def _changes(ids: np.ndarray, starts: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "source_id": [f"r-{n}" for n in ids],
            "starts_at": pd.to_datetime(starts, unit="h", utc=True).as_unit("us"),
        }
    )
    frame = frame.reindex(columns=CHANGE_COLUMNS).astype({"source_id": "str", "after": "str"})
    frame = frame.assign(action="update", after="after " + frame["source_id"])
    return frame.iloc[find_order(frame)].reset_index(drop=True)


@pytest.mark.parametrize("in_file", [False, True])
def test_runs_are_merged_into_the_pages_of_the_whole(in_file, tmp_path):
    random = np.random.default_rng(7)
    rows = 2 * PAGE_ROWS + 77
    ids, starts, part = (
        random.permutation(rows),
        random.integers(0, 500, rows),
        random.integers(0, 5, rows),
    )
    part[part == 3] = 2  # one run is empty
    whole = _changes(ids, starts)
    runs = [_changes(ids[part == number], starts[part == number]) for number in range(5)]
    place = pd.Series(part, index=[f"r-{n}" for n in ids])
    with open_shelf(tmp_path if in_file else None) as shelf:
        pages = list(
            merge_pages(
                [shelve_pages(shelf, run, None) for run in runs],
                place[whole["source_id"]].to_numpy(),
            )
        )
        if in_file:
            assert list(shelf.folder.iterdir()) == []
    assert [len(page) for page in pages] == [PAGE_ROWS, PAGE_ROWS, 77]
    merged = pd.concat(pages, ignore_index=True)
    assert merged["seq"].tolist() == list(range(1, rows + 1))
    assert merged["source_id"].tolist() == whole["source_id"].tolist()
    assert merged["after"].tolist() == whole["after"].tolist()
