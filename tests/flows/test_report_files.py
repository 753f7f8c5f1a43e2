"""The files of a report: complete, whole, readable by the owner alone, safe in a spreadsheet; and
in an installed wheel.
"""

from __future__ import annotations

import stat
import subprocess
import zipfile
from pathlib import Path

import orjson
import pandas as pd
import pyarrow as pa
import pytest

from flows.report.files import defuse_formulas, write_report
from schemas.errors import ReportError
from schemas.report import parse_report
from tests.transforms import literal_report as literal
from transforms.report.changes import TABLE_COLUMNS, choose_listed


def write(folder: Path, changes: pd.DataFrame = literal.CHANGES) -> Path:
    return write_report(
        folder,
        literal.report_of(changes),
        choose_listed(changes),
        [changes],
        wording=literal.WORDING,
        read_contents=lambda seqs: literal.PAYLOADS,
    )


def test_all_files_are_written_for_the_owner_alone(tmp_path):
    folder = write(tmp_path / "run")
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "report.json",
        "report.md",
        "changes.csv",
        "changes.parquet",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    report = parse_report((folder / "report.json").read_bytes())
    assert [change["source_id"] for change in report["changes"]] == [
        "rooms-d",
        "rooms-c",
        "rooms-b",
        "rooms-a",
    ]


def test_tables_hold_every_change_with_before_and_after(tmp_path):
    folder = write(tmp_path)
    table = pd.read_parquet(folder / "changes.parquet").set_index("source_id")
    assert str(table["starts_at"].dt.tz) == "Europe/Berlin"
    assert table.loc["rooms-b", "what"].startswith("moved 14:00 → 15:30")
    assert orjson.loads(table.loc["rooms-b", "removed"]) == [literal.ADA]
    assert table.loc["rooms-a", "what"] == "new, 1 guest"
    assert table["location"].tolist() == ["Berlin Mitte", "Berlin Mitte", "Zürich", "Berlin Mitte"]
    assert pd.read_csv(folder / "changes.csv")["source_id"].tolist() == table.index.tolist()


def test_an_empty_night_has_tables_with_a_head(tmp_path):
    folder = write(tmp_path, literal.CHANGES.head(0))
    assert pd.read_parquet(folder / "changes.parquet").empty
    assert pd.read_csv(folder / "changes.csv").columns.tolist() == TABLE_COLUMNS


def test_formulas_are_defused():
    table = pa.table({"name": ["=1+1", "+49", "-x", "@a", "\tx", "plain", None], "n": range(7)})
    assert defuse_formulas(table)["name"].to_pylist() == [
        "'=1+1",
        "'+49",
        "'-x",
        "'@a",
        "'\tx",
        "plain",
        None,
    ]


def test_csv_tells_instants_with_their_offset_and_quotes_what_it_must(tmp_path):
    folder = write(tmp_path, literal.CHANGES.assign(name='a "b", c'))
    row = pd.read_csv(folder / "changes.csv").set_index("source_id").loc["rooms-b"]
    assert (row["starts_at"], row["name"]) == ("2026-11-26T15:30:00+0100", 'a "b", c')


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ReportError, match="cannot be written"):
        write(tmp_path / "run")


def test_an_installed_wheel_brings_the_templates(tmp_path):
    root = Path(__file__).parents[2]
    built = subprocess.run(
        ["uv", "build", "--wheel", "--offline", "--no-build-isolation", "-o", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    # without the build backend in the environment, what the build takes in is read from its
    # settings
    if built.returncode:
        built = subprocess.run(
            ["uv", "build", "--wheel", "-o", str(tmp_path)],
            cwd=root,
            capture_output=True,
            text=True,
        )
    assert built.returncode == 0, built.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {f"flows/report/templates/report.{kind}" for kind in ("html.j2", "css", "js")} <= set(
        names
    )
