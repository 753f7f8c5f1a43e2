"""What a source's URL and SELECTs lead to, as digests: another database or another SELECT decides
who is invited as a setting does (S24).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from flows.connections.urls import read_url
from flows.sources.presets import preset_folder
from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError
from transforms.guards.policy import digest_select, digest_url


def find_contents(config: Config) -> Config:
    """The configuration whose sources know what they lead to (`SourceConfig.found`)."""
    sources = {
        name: entry.with_found(_find(name, entry, config.root))
        for name, entry in config.sources.items()
    }
    return config.model_copy(update={"sources": sources})


def _find(name: str, source: SourceConfig, root: Path) -> dict[str, str]:
    """Digests of `url`, `events_sql` and `guests_sql`. What cannot be read is left out: the reading
    of the source tells it.
    """
    found: dict[str, str] = {}
    with suppress(ConfigurationError):
        found["url"] = digest_url(read_url(name, source))
    for part, given in (("events", source.events_sql), ("guests", source.guests_sql)):
        with suppress(OSError, UnicodeDecodeError, ConfigurationError):
            # of a preset every variant of the SELECT
            files = (
                sorted(preset_folder(str(source.preset)).glob(f"{part}*.sql"))
                if given is None
                else [root / given]
            )
            found[f"{part}_sql"] = digest_select(
                "\n;\n".join(file.read_text(encoding="utf-8") for file in files)
            )
    return found
