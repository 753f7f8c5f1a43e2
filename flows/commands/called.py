"""How this command was called, so that the commands it names can be copied and run as they are:
with `uv run`, with the same --config.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import typer

NAME = "essentry-sync"
WITHOUT_CONFIG = frozenset({"demo", "init", "sandbox", "alerts"})
"""Commands that take no --config."""
_QUOTED = re.compile(rf"`{NAME} ([a-z][^`]*)`")


def spell_command(command: str) -> str:
    """`essentry-sync apply X` as it is to be typed here:
    `uv run essentry-sync apply X --config other.toml`.
    """
    words = command.removeprefix(NAME).strip()
    start = f"uv run {NAME}" if _by_uv() else NAME
    takes = words.split(" ", 1)[0] not in WITHOUT_CONFIG and "--config" not in words
    return f"{start} {words}" + (
        f" --config {shlex.quote(str(_given[-1]))}" if _given and takes else ""
    )


def spell_commands(text: str) -> str:
    """A message with each command between backticks as it is to be typed here."""
    return _QUOTED.sub(lambda found: f"`{spell_command(found[1])}`", text)


def _by_uv() -> bool:
    return Path(sys.argv[0]).name == NAME and "UV_RUN_RECURSION_DEPTH" in os.environ


def note_config(context: typer.Context, file: Path) -> Path:
    """Remember the file that --config named on the command line; one of the environment or by
    default is found again without a word.
    """
    source = context.get_parameter_source("config")
    if source is not None and source.name == "COMMANDLINE":
        _given.append(file)
    return file


_given: list[Path] = []
