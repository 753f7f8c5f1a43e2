"""Rooms and sites as a source's database names them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.sources.presets import preset_folder
from flows.sources.text import to_text
from flows.sources.transaction import brief, open_snapshot
from schemas.errors import SourceError


@dataclass(frozen=True)
class Places:
    """Sites and rooms of a source as text.

    `sites`: site_key, site_name, timezone (missing where the system has none). `rooms`: room_key, room_name, site_key.
    """

    sites: pd.DataFrame
    rooms: pd.DataFrame


def read_places(name: str, preset: str, url: sa.URL) -> Places:
    """Read the sites and rooms of a source. Raises SourceError when the tables cannot be read."""
    frames = []
    with open_snapshot(name, url) as connection:
        for part, columns in (("sites", ["site_key", "site_name", "timezone"]), ("rooms", ["room_key", "room_name", "site_key"])):
            file = preset_folder(preset) / f"{part}.sql"
            try:
                rows = connection.execute(sa.text(file.read_text(encoding="utf-8").strip().rstrip(";"))).mappings().all()
            except SQLAlchemyError as error:
                raise SourceError(f"source {name}, {file}: {brief(error)}: is this a database of {preset}?") from None
            values = [{column: to_text(row.get(column)) for column in columns} for row in rows]
            frames.append(pd.DataFrame(values, columns=columns, dtype="str"))
    return Places(*frames)
