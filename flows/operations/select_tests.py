"""Tests of a source's SELECTs: a test's rows go the way of a night up to what essentry should hold.
No state, no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flows.parts.work import list_keyless, validate_frames
from flows.sources.fixtures import read_fixtures
from flows.sources.presets import complete_config
from schemas.config import Config
from schemas.errors import ConfigurationError, SourceError
from schemas.frames import empty_frame
from schemas.select_test import load_select_test
from transforms.desired.build import build_desired
from transforms.naming.naming import name_by
from transforms.operations.expected import Difference, compare_expected


@dataclass(frozen=True)
class Tested:
    """One test: its file, how many events it expects, and what is not as expected."""

    file: Path
    events: int
    differences: list[Difference]


def find_tests(paths: Sequence[Path]) -> list[Path]:
    """The files; of a folder every .toml in it. Raises ConfigurationError when there is none."""
    files = [
        file
        for path in paths
        for file in (sorted(path.glob("*.toml")) if path.is_dir() else [path])
    ]
    if not files:
        raise ConfigurationError(
            f"there is no test: {', '.join(map(str, paths))} has no .toml file"
        )
    return files


def run_select_test(config: Config, file: Path, *, url: str | None = None) -> Tested:
    """Run one test. Raises ConfigurationError for a wrong file or a SELECT that its database
    refuses.

    url: a database to use instead of the source's.
    """
    test = load_select_test(file)
    config = complete_config(config)
    entry = config.sources.get(test.source)
    if entry is None:
        raise ConfigurationError(
            f"{file}: there is no source {test.source!r}: the sources are "
            f"{', '.join(config.sources)}"
        )
    try:
        rows = read_fixtures(test.source, entry, test, root=config.root, url=url)
    except SourceError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    as_of = pd.Timestamp(test.as_of).tz_convert("UTC").as_unit("us")
    alone = config.model_copy(update={"sources": {test.source: entry}})
    validated = validate_frames({test.source: rows}, alone, as_of=as_of)
    numbers = {
        name: {text: n for n, text in enumerate(sorted(texts), 1)}
        for name, texts in list_keyless(validated, alone).items()
    }
    naming = name_by(alone)
    confirmed = empty_frame(["source_id", "members_json"])
    desired = build_desired(
        validated, numbers, alone, confirmed=confirmed, as_of=as_of, naming=naming
    )
    keys = pd.Series([event.key for event in test.events], dtype="str")
    ids = dict(zip(keys, naming.name_events(naming.prefix_of(test.source), keys), strict=True))
    rejects = pd.concat([validated[0].rejects, desired.rejects], ignore_index=True)
    set_aside = test.rejected_guests, validated[0].rejected_guests
    return Tested(
        file,
        len(test.events),
        compare_expected(test.events, desired, rejects, ids=ids, rejected_guests=set_aside),
    )
