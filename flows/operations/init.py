"""Write a first configuration for a preset: what the source itself tells is filled in, what only
the user knows says so.

Also the list of a preset source's sites and rooms, which `doctor` compares with the configuration.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flows.connections.urls import SECRET_QUERY, parse_url
from flows.sources.places import Places, read_places
from flows.sources.presets import preset_folder
from schemas.config_source import PRESETS
from schemas.errors import ConfigurationError

FILL_IN = "fill in"


@dataclass(frozen=True)
class Written:
    """What `write_config` did: the file, the number of sites and rooms, and what is left to do, a
    line each.
    """

    file: Path
    sites: int
    rooms: int
    remedies: list[str]


def write_config(preset: str, url: str, *, source: str | None = None, output: Path) -> Written:
    """Write the configuration for one source of a preset; relative SQLite paths start at its
    folder.

    Raises ConfigurationError for an unknown preset, a bad source name or URL, and a file that
    exists; SourceError when the database cannot be read. Nothing is written then. A password in
    `url` is not written anywhere.
    """
    if preset not in PRESETS:
        raise ConfigurationError(
            f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}, "
            "or write your own SELECTs"
        )
    name = source or preset
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ConfigurationError(
            f"source name {name!r}: use a-z, 0-9 and _, at most 32 characters, a letter first"
        )
    output = output.resolve()
    if output.exists():
        raise ConfigurationError(
            f"{output} exists: it is left as it is; name another file with --output"
        )
    parsed = parse_url(url, key="--url", root=output.parent)
    places = read_places(name, preset, parsed)
    variable = f"{name.upper()}_DATABASE_URL" if holds_secret(parsed) else None
    text = "\n".join(_lines(name, preset, url, variable, places)) + "\n"
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {output}: {error.strerror}") from None
    remedies = []
    if variable:
        remedies.append(
            "the URL holds a password and is not in the file: set the environment variable "
            f"{variable} to it, as in {variable}='{_masked(parsed)}'"
        )
    remedies.append(
        f"fill in what the file marks with {FILL_IN!r} and internal_domains, "
        f"then run `essentry-sync doctor --config {output}`"
    )
    return Written(output, len(places.sites), len(places.rooms), remedies)


def holds_secret(url: sa.URL) -> bool:
    """True for a URL that must not stand in a file."""
    return bool(url.password) or any(key.lower() in SECRET_QUERY for key in url.query)


def _masked(url: sa.URL) -> str:
    query = {
        key: "***" if key.lower() in SECRET_QUERY else value for key, value in url.query.items()
    }
    return url.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _lines(name: str, preset: str, url: str, variable: str | None, places: Places) -> Iterator[str]:
    about = tomllib.loads((preset_folder(preset) / "preset.toml").read_text(encoding="utf-8"))
    yield (
        f"# essentry-sync reads {about['title']} and keeps essentry in step with it. "
        "Paths start from this file's folder."
    )
    yield (
        f"# Replace every {FILL_IN!r}: until then essentry-sync names what is missing and does "
        "nothing."
    )
    yield (
        "# The tokens stand in the environment variables ESSENTRY_TOKEN and ESSENTRY_AGENT_TOKEN, "
        "never in this file."
    )
    yield ""
    yield "[essentry]"
    yield 'base_url = "https://app.essentry.com/api/v2"'
    yield ""
    yield f"[sources.{name}]"
    if variable:
        yield (
            f"url_env = {_quote(variable)}    # the environment variable that holds the database "
            "URL, for it has a password"
        )
    else:
        yield f"url = {_quote(url)}"
    yield f"preset = {_quote(preset)}"
    yield (
        'internal_domains = []    # your e-mail domains, as ["corp.example"]: '
        "people with such an address are no guests"
    )
    if about["times"] == "local":
        yield (
            f'timezone = "{FILL_IN}"    # zone of the wall-clock times, as "Europe/Berlin"; '
            "a site may have its own"
        )
    yield "# default_duration_minutes = 60    # length of an event without an end"
    yield '# private_title = "Private meeting"'
    params: dict[str, Any] = about.get("params", {})
    if params:
        yield ""
        yield f"[sources.{name}.params]"
        for key, entry in params.items():
            default = entry.get("default")
            shown = '""' if default is None else json.dumps(default)
            yield f"# {key} = {shown}    # {_comment(entry['description'])}"
    yield ""
    yield (
        f"# {about['site']} → essentry. Put the address of the entrance in essentry's dashboard "
        "between the quotes"
    )
    yield (
        "# (…/settings/locations/123/entrances/456), or numbers: { location_id = 123, "
        "entrance_id = 456 }."
    )
    yield "# A line taken out leaves its events in quarantine."
    yield f"[sources.{name}.sites]"
    for row in places.sites.itertuples():
        zone = f", zone {row.timezone}" if row.timezone == row.timezone and row.timezone else ""
        title = _comment(str(row.site_name)) if row.site_name == row.site_name else "without a name"
        called = "" if title == "without a name" else f", name = {_quote(title)}"
        yield (
            f"{_quote(str(row.site_key))} = {{ location_id = "
            f"{_quote(f'{FILL_IN}: {title}')}{called} }}    # {title}{zone}"
        )
    if places.sites.empty:
        yield f"# the source has no {_comment(about['site'])} yet"
    if len(places.rooms):
        yield ""
        yield (
            "# Rooms that have a location or an entrance of their own; they are tried first. "
            "The others have that of their site."
        )
        yield f"[sources.{name}.rooms]"
        for row in places.rooms.itertuples():
            title = (
                _comment(str(row.room_name)) if row.room_name == row.room_name else "without a name"
            )
            site = _comment(str(row.site_key)) if row.site_key == row.site_key else "none"
            yield (
                f'# {_quote(_comment(str(row.room_key)))} = {{ location_id = "" }}    # {title}, '
                f"site {site}"
            )
    yield ""
    yield "[report]"
    yield 'timezone = "UTC"    # zone of the times in reports'


def _quote(text: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _comment(text: str) -> str:
    """Text that stays in one comment line."""
    return re.sub(r"[\s\x00-\x1f\x7f\u2028\u2029]+", " ", text).strip()
