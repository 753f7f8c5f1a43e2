"""The version that a system writes into its own database, and whether its preset knows it."""

from __future__ import annotations

import re
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.sources.presets import Fit, read_preset
from flows.sources.text import to_text

_VERSION = re.compile(r"(?:saas~)?(\d{1,4}(?:\.\d{1,4})*)[A-Za-z0-9.~+-]{0,20}")


class Version(NamedTuple):
    """A version as the system writes it, with the release where the number alone says little, and
    whether the preset knows it.
    """

    text: str
    known: bool


def read_version(preset: str, fit: Fit, connection: sa.Connection) -> Version | None:
    """The version that the database names; None where it names none, or this account may not read
    it.

    Read it last: on PostgreSQL a SELECT that fails ends the transaction.
    """
    if fit.version_sql is None:
        return None
    try:
        said = to_text(connection.execute(sa.text(fit.version_sql)).scalar())
    except SQLAlchemyError:
        return None
    found = _VERSION.fullmatch((said or "").strip())
    if found is None:
        return None
    about = read_preset(preset)["version"]
    number = _numbers(found[1])
    oldest, newest = _numbers(about["oldest"]), _numbers(about["newest"])
    release = about.get("releases", {}).get(found[1])
    known = number[: len(oldest)] >= oldest and number[: len(newest)] <= newest
    return Version(f"{found[0]} ({release})" if release else found[0], known)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def describe_unread(preset: str, fit: Fit) -> str:
    """Why no version was read, for a person."""
    if fit.version_sql is not None:
        return "the database does not say its version"
    tables = sorted(
        {read["has"][0].partition(".")[0] for read in read_preset(preset)["version"]["reads"]}
    )
    return f"without SELECT on {', '.join(tables)} its version is not known"


def describe_unknown(preset: str, version: Version) -> str:
    """What to do about a version that the preset does not know."""
    about = read_preset(preset)
    settings = [
        f'times = "{about["times"]}"',
        *([f'unescape = "{about["unescape"]}"'] if "unescape" in about else []),
    ]
    return (
        f"the database says {about['title']} {version.text}, which the preset does not know "
        f"({about['versions']}): install an essentry-sync that does, or copy the preset's "
        "SELECTs, compare them with the tables of that version, and name them with events_sql "
        f"and guests_sql in place of preset, with {' and '.join(settings)}"
    )
