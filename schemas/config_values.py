"""What the tables of the configuration are made of: bounds, kinds of values, the table itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_DAYS = 36_500
MOST_LISTED = 40_000
MOST_SECONDS = 10_000_000
"""A hundred years and some months: what is longer is a slip of the keyboard, and leaves the
calendar of databases.
"""


def is_loopback(url: str) -> bool:
    """True for a URL whose host is this machine."""
    return (urlsplit(url).hostname or "") in LOOPBACK_HOSTS


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; use an IANA name such as Europe/Berlin")
    ZoneInfo(name)
    return name


def dashboard_id(kind: str) -> Any:
    """Accept a number or the dashboard address it stands in
    (…/settings/locations/123/entrances/456).
    """

    def read(value: object) -> object:
        if isinstance(value, str) and (found := re.search(rf"/{kind}/(\d+)", value)):
            return int(found.group(1))
        return value

    return read


@dataclass(frozen=True)
class Unit:
    """What a number counts, where the last word of its key does not say it. The documentation shows
    it; nothing is computed by it.
    """

    name: str


Events = Annotated[int, Unit("events")]
People = Annotated[int, Unit("people")]
Zone = Annotated[str, AfterValidator(_known_zone)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
DashboardId = Annotated[int, Field(ge=0, lt=2**63)]
GuardName = Annotated[
    str,
    Field(pattern=r"^\w[\w \-]{0,59}$", description="words, as reports and `approve` tell them"),
]
Title = Annotated[str, Field(min_length=1, max_length=255)]


class Section(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
