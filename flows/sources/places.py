"""Rooms and sites as a source's database names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.sources.presets import find_fit
from flows.sources.text import to_text
from flows.sources.transaction import brief, open_snapshot
from flows.sources.versions import Version, describe_unread, read_version
from schemas.errors import SourceError
from transforms.validate.people import clean_text


@dataclass(frozen=True)
class Places:
    """Sites and rooms of a source as text, their keys spelled as those of events are.

    `versions`: of the system, as its tables show them. `version`: as the database itself says, None
    where it does not, and `unread` why. `sites`: site_key, site_name, timezone (missing where the
    system has none). `rooms`: room_key, room_name, site_key.
    """

    sites: pd.DataFrame
    rooms: pd.DataFrame
    versions: str = ""
    version: Version | None = None
    unread: str = ""


def read_places(
    name: str, preset: str, url: sa.URL, *, params: Mapping[str, Any] | None = None
) -> Places:
    """Read the sites and rooms of a source. Raises SourceError when the tables cannot be read, or
    are of no version that is known.
    """
    frames = []
    with open_snapshot(name, url) as connection:
        fit = find_fit(name, preset, connection, params=params or {})
        for part, columns in (
            ("sites", ["site_key", "site_name", "timezone"]),
            ("rooms", ["room_key", "room_name", "site_key"]),
        ):
            try:
                rows = connection.execute(sa.text(fit.read(part))).mappings().all()
            except SQLAlchemyError as error:
                raise SourceError(
                    f"source {name}, {fit.files[part]}: {brief(error)}: "
                    f"is this a database of {preset}?"
                ) from None
            values = [{column: to_text(row.get(column)) for column in columns} for row in rows]
            frame = pd.DataFrame(values, columns=columns, dtype="str")
            frames.append(
                frame.assign(
                    **{key: clean_text(frame[key]) for key in columns if key.endswith("_key")}
                )
            )
        version = read_version(preset, fit, connection)
    return Places(
        frames[0], frames[1], fit.title, version, "" if version else describe_unread(preset, fit)
    )
