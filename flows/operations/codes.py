"""Codes for the gate: an image an invitation that holds exactly its sourceId, and a list of them.
essentry is not called.

A code is a bearer key: whoever shows it is taken for the guest. Files are their owner's alone.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
import segno

from flows.night.session import open_state
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.naming.naming import name_by
from transforms.operations.codes import MANIFEST_COLUMNS, Choice, choose_codes, name_files

MANIFEST = "manifest.csv"
SCALE, BORDER = 8, 4
"""Pixels a module, and the quiet zone in modules that the standard asks for."""


@dataclass(frozen=True)
class Written:
    """`codes`: images that are there now; `removed`: images of an earlier call whose invitation no
    longer holds. `refused`: see `Choice`.
    """

    folder: Path
    codes: int
    removed: int
    refused: dict[str, str]


def write_codes(
    config: Config,
    folder: Path,
    *,
    form: Literal["png", "svg"],
    asked: Sequence[str],
    as_of: datetime,
) -> Written:
    """Write the codes and their manifest into a folder that is new, empty, or one of ours.

    Raises ConfigurationError when the folder is somebody else's or cannot be written to, and when
    one that was asked for has no code: then nothing is written.
    """
    before = _read_manifest(folder)
    choice = _choose(config, asked, as_of)
    if asked and choice.refused:
        raise ConfigurationError(
            "; ".join(f"{key}: {why}" for key, why in choice.refused.items())
            + "; no code was written"
        )
    names = name_files(choice.codes["invitation_id"].tolist(), f".{form}")
    codes = choice.codes.assign(file=names)[MANIFEST_COLUMNS]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ours = (
            pd.concat([codes, pd.DataFrame({"file": sorted(before - set(names))})])
            if before - set(names)
            else codes
        )
        # first: killed from here on, the next call knows its own files
        _write(folder / MANIFEST, lambda part: _list(part, ours))
        for name, text in codes[["file", "invitation_id"]].itertuples(index=False, name=None):
            _write(folder / name, partial(_draw, text=text, form=form))
        _write(folder / MANIFEST, lambda part: _list(part, codes))
        gone = sorted(before - set(names))
        for name in gone:  # a code of somebody who is not expected any more
            (folder / name).unlink(missing_ok=True)
        for name in before:  # the draft that a killed call left
            (folder / f"{name}.part").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written to ({error.strerror}): make room, or name another folder"
        ) from None
    return Written(folder, len(codes), len(gone), dict(choice.refused))


def _choose(config: Config, asked: Sequence[str], as_of: datetime) -> Choice:
    with open_state(config, migrate=False) as state:
        snapshot = state.read_fingerprints()
        now = pd.Timestamp(as_of)
        coming = (snapshot["state"] == "active") & ~(snapshot["ends_at"] <= now)
        # an invitation may be of any event
        read = snapshot["source_id"] if asked else snapshot.loc[coming, "source_id"]
        return choose_codes(
            snapshot,
            state.read_payloads(read.tolist()),
            set(state.list_unanswered()["source_id"]),
            name_by(config, state.adopted()),
            as_of=now,
            asked=asked,
            shared=config.essentry.invitation_ids == "shared",
        )


def _read_manifest(folder: Path) -> set[str]:
    """The images that an earlier call wrote there. Raises ConfigurationError when something is
    there that none of ours has written.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder: name another one with --out")
    there = {path.name for path in folder.iterdir() if not path.name.endswith(".part")}
    if not there:
        return set()
    try:
        with (folder / MANIFEST).open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != MANIFEST_COLUMNS:
                raise KeyError("file")
            listed = {
                row["file"]
                for row in rows
                if row["file"] == Path(row["file"]).name
                and Path(row["file"]).suffix in (".png", ".svg")
            }
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        raise ConfigurationError(
            f"{folder} holds files that are not of `essentry-sync qr`: "
            "name a new or empty folder with --out"
        ) from None
    strangers = sorted(there - listed - {MANIFEST})
    if strangers:
        raise ConfigurationError(
            f"{folder} holds {strangers[0]}, which its {MANIFEST} does not name: take it out, "
            "or name another folder"
        )
    return listed


def _write(path: Path, fill: Callable[[Path], None]) -> None:
    """A file, whole or not at all, its owner's alone."""
    part = path.with_name(path.name + ".part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    fill(part)
    part.replace(path)


def _draw(path: Path, text: str, form: str) -> None:
    code = segno.make_qr(text, error="m", boost_error=False)
    code.save(str(path), kind=form, scale=SCALE, border=BORDER)


def _list(path: Path, codes: pd.DataFrame) -> None:
    instants = (
        {name: codes[name].dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in ("starts_at", "ends_at")}
        if len(codes)
        else {}
    )
    codes.assign(**instants).to_csv(path, index=False, lineterminator="\n")
