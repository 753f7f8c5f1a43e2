"""Commands for the gate: codes that guests show. Heavy imports wait until a command runs."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.app import DEFAULT_CONFIG, AsOf, ConfigFile, app, load_settings, read_clock


class Form(StrEnum):
    """What an image is written as."""

    png = "png"
    svg = "svg"


@app.command(rich_help_panel="Look back")
def qr(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID]...", help="events or invitations, by their sourceIds; without any, all"
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="a new or empty folder, or one of an earlier call"
        ),
    ] = Path("data/codes"),
    form: Annotated[Form, typer.Option("--form", help="png or svg")] = Form.png,
    config: ConfigFile = DEFAULT_CONFIG,
    as_of: AsOf = None,
) -> None:
    """Write a QR code for each invitation that essentry has confirmed, and a list.

    A code is a key: whoever shows it is taken for the guest.
    """
    from flows.commands.terminal import say
    from flows.operations.codes import MANIFEST, write_codes
    from transforms.words import plural

    done = write_codes(
        load_settings(config),
        out,
        form=form.value,
        asked=ids or (),
        as_of=read_clock(as_of) or datetime.now(UTC),
    )
    say(
        f"{plural(done.codes, 'code')} in {done.folder}, listed in {MANIFEST}; each is a key: "
        "keep the folder to yourself"
    )
    if done.removed:
        say(
            f"{plural(done.removed, 'code')} of an earlier call removed: "
            "nobody is expected by them any more"
        )
    for key, why in sorted(done.refused.items()):
        say(f"{key}: no code: {why}")
