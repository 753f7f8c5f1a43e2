"""The SELECTs that are shipped for known systems."""

from __future__ import annotations

import tomllib
from pathlib import Path

from schemas.config import Config, SourceConfig
from schemas.errors import ConfigurationError


def preset_folder(name: str) -> Path:
    """The shipped preset, in a checkout or in an installed package."""
    flows = Path(__file__).resolve().parents[1]
    for base in (flows.parent / "data" / "sources", flows / "_data" / "sources"):
        if (base / name).is_dir():
            return base / name
    raise ConfigurationError(f"the preset {name!r} is not part of this installation: reinstall essentry-sync")


def complete_source(config: SourceConfig) -> SourceConfig:
    """The source's settings with what its preset knows filled in (`times`, parameters)."""
    if config.preset is None:
        return config
    preset = tomllib.loads((preset_folder(config.preset) / "preset.toml").read_text(encoding="utf-8"))
    known = {name: entry.get("default") for name, entry in preset.get("params", {}).items()}
    unknown = set(config.params) - set(known)
    if unknown:
        raise ConfigurationError(
            f"preset {config.preset} has no parameter {sorted(unknown)[0]!r}: it has {', '.join(sorted(known)) or 'none'}"
        )
    return config.model_copy(update={"times": config.times or preset["times"], "params": {**known, **config.params}})


def complete_config(config: Config) -> Config:
    """The configuration with every source completed from its preset."""
    return config.model_copy(update={"sources": {name: complete_source(entry) for name, entry in config.sources.items()}})
