"""Take over events that another integration created: keep their ids, so that the next run updates
them and creates nothing twice.

The file says which record of a source is which event of essentry. It is held against a fresh read
of the sources; whatever does not fit ends the command before anything is written. essentry is not
called.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson
import pandas as pd

from flows.night.journal import note_run
from flows.night.known import number_guests
from flows.night.session import open_session
from flows.parts.work import list_keyless, validate_frames
from flows.sources.read import read_source, read_sources
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.desired.build import build_desired
from transforms.desired.guests import build_guests
from transforms.naming.naming import name_by
from transforms.operations.adopt import (
    ADOPT_COLUMNS,
    REQUIRED,
    AdoptError,
    Adoption,
    list_records,
    match_adoption,
)
from transforms.words import plural


def adopt_events(config: Config, file: Path, *, write: bool) -> list[str]:
    """What the file takes over, in words; kept in the state store when `write`. Raises
    ConfigurationError naming file, line and remedy.
    """
    lines = read_lines(file)
    with open_session(config, kind="plan") as session:
        config, state, run = session.config, session.state, session.run
        session.kind = "adopt"
        extracted, failed = read_sources(config, read=partial(read_source, root=config.root))
        if failed:
            raise ConfigurationError(
                f"source {next(iter(failed))} could not be read: nothing is taken over without a "
                "look at every source"
            )
        sources = validate_frames(
            {name: (read.events, read.guests) for name, read in extracted.items()}, config
        )
        shared = config.essentry.invitation_ids == "shared"
        numbers = number_guests(state, [list_keyless(sources, config)])
        naming = name_by(config)
        snapshot = state.read_fingerprints()
        none = pd.DataFrame({"source_id": [], "members_json": []}, dtype="str")
        desired = build_desired(
            sources, numbers, config, confirmed=none, as_of=run.clock, naming=naming
        )
        guests = pd.concat(
            [
                build_guests(v, numbers.get(v.source, {}), config, naming, shared=shared)
                for v in sources
            ],
            ignore_index=True,
        )
        try:
            records = list_records(sources, config, naming)
            adoption = match_adoption(
                lines,
                desired,
                guests,
                naming,
                state.adopted(),
                snapshot,
                shared=shared,
                records=records,
                asked=set(state.list_unanswered()["source_id"]),
            )
        except AdoptError as error:
            raise ConfigurationError(
                f"{file}, line {error.line}: {error}; nothing was taken over"
            ) from None
        if write:
            now = datetime.now(UTC)
            events = adoption.events.assign(
                confirmed_run=run.run_id, confirmed_at=pd.Timestamp(now).as_unit("us")
            )
            # a copy of the state that is older than this knows nothing of it
            note_run(config, state, run, "adopt")
            state.adopt(adoption.ids, events)
        state.finish_run(
            run.run_id, finished_at=datetime.now(UTC), status="done", exit_code=0, kind="adopt"
        )
    return describe_adoption(adoption, written=write)


_LATER = {
    "past": "their ids are kept, and essentry is left as it is",
    "cancelled": "the next run cancels them in essentry, as far as it still has them",
    "guestless": "the next run cancels them in essentry, for nobody from outside comes",
    "merged": "the next run makes one meeting of each with the record that it is linked to",
}
_LATER_ELSE = (
    "essentry is left as it is until they are due; should they be cancelled before, it is told"
)


def describe_adoption(adoption: Adoption, *, written: bool) -> list[str]:
    """What is taken over, for a person."""
    events, guests = (
        sum(row["kind"] == kind for row in adoption.ids) for kind in ("event", "guest")
    )
    told = [
        (
            f"{plural(events, 'event')} and {plural(guests, 'invitation')} "
            f"{'are' if written else 'would be'} taken over; essentry was not called"
        )
    ]
    if adoption.known:
        told.append(f"{plural(adoption.known, 'id')} taken over before")
    for fate, count in sorted(adoption.not_due.items()):
        told.append(
            f"{count:,} of the events are {fate} in their source: {_LATER.get(fate, _LATER_ELSE)}"
        )
    if adoption.unnamed:
        told.append(
            f"{plural(adoption.unnamed, 'guest')} of these events not in the file: "
            "the next run would invite anew, under ids of essentry-sync; "
            "add lines with guest and invitation_id if essentry has invited them already"
        )
    told.append(
        "look at `essentry-sync plan` next: it sends the complete state of each as an update"
        if written
        else "nothing was written: give --yes"
    )
    return told


def read_lines(file: Path) -> list[dict[str, str]]:
    """The lines of a CSV file with a header, or the objects of a JSON list, with their number as
    `line`. Raises ConfigurationError.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot read {file} ({type(error).__name__}): name a CSV or JSON file in UTF-8"
        ) from None
    if file.suffix.lower() == ".json":
        try:
            rows = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(f"{file} is not valid JSON: {error}") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigurationError(
                f"{file} must be a list of objects with {', '.join(ADOPT_COLUMNS)}"
            )
        numbered = [
            (number, {str(k): v for k, v in row.items()}) for number, row in enumerate(rows, 1)
        ]
    else:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            numbered = [(reader.line_num, dict(row)) for row in reader]
        except csv.Error as error:
            raise ConfigurationError(
                f"{file}, line {reader.line_num}: not valid CSV ({error})"
            ) from None
    lines = []
    for number, row in numbered:
        wrong = [str(key) for key in row if key not in ADOPT_COLUMNS]
        if wrong:
            raise ConfigurationError(
                f"{file}, line {number}: unknown column {wrong[0]!r}; the columns are "
                f"{', '.join(ADOPT_COLUMNS)}"
            )
        plain = {
            key: "" if row.get(key) is None else str(row[key]).strip() for key in ADOPT_COLUMNS
        }
        empty = [key for key in REQUIRED if not plain[key]]
        if empty:
            raise ConfigurationError(f"{file}, line {number}: {empty[0]} is missing")
        lines.append(plain | {"line": str(number)})
    if not lines:
        raise ConfigurationError(f"{file} has no lines: its columns are {', '.join(ADOPT_COLUMNS)}")
    return lines
