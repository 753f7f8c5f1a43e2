"""The configuration as its file and the environment say, checked, and the secrets that it names."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_settings import (
    SettingsError,
)

from schemas.config import PREFIX, Config
from schemas.config_source import SourceConfig
from schemas.config_values import (
    Section,
)
from schemas.errors import ConfigurationError

OTHER_VARIABLES = ("CONFIG", "DEBUG", "REQUIRE_DATABASES", "REQUIRE_BROWSER")
"""What may follow PREFIX in the environment and is no setting: of the command line, and of the
project's own tests.
"""
_OF_KUBERNETES = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$")
"""What Kubernetes puts into a container beside a Service that is named essentry-sync."""


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises ConfigurationError, naming the key and the remedy, for a missing file, broken TOML,
    unknown keys and wrong values.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"no configuration at {path}: write one with `essentry-sync init`, "
            "or name yours with --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    if inner := {"root", "file"} & set(values):
        raise ConfigurationError(
            f"{path}: unknown key {min(inner)}: remove it; paths start from the folder of this file"
        )
    try:
        config = Config(**values, root=path.resolve().parent, file=path.resolve())
    except ValidationError as error:
        raise ConfigurationError(
            f"{path}: " + "; ".join(_explain(item) for item in error.errors())
        ) from None
    except SettingsError as error:
        raise ConfigurationError(
            f"the environment: {error}: lists and tables are written as JSON, for example '[\"1\"]'"
        ) from None
    check_environment(config, os.environ)
    return config


def check_environment(config: Config, names: Iterable[str]) -> None:
    """Raise ConfigurationError for a variable of ours that sets nothing: a mistyped kill switch
    must not look like one.

    names: of the environment. A name that the configuration itself gives (`token_env`, `url_env` …)
    is no setting, and fine.
    """
    secrets = {config.essentry.token_env, config.essentry.agent_token_env, config.state.url_env}
    secrets.add(config.checkins.url_env)
    secrets |= {entry.url_env for entry in config.sources.values()}
    known = [PREFIX + name for name in (*_list_settings(Config), *OTHER_VARIABLES)]
    of_sources = [
        f"{PREFIX}SOURCES__{source.upper()}__{name}"
        for source in config.sources
        for name in _list_settings(SourceConfig)
    ]
    for name in sorted(names):
        rest = name[len(PREFIX) :]
        if name in secrets or name[: len(PREFIX)].upper() != PREFIX or _OF_KUBERNETES.match(rest):
            continue
        if rest in OTHER_VARIABLES or _sets_something(Config, rest.lower().split("__")):
            continue
        # the table left out
        of_that_name = [full for full in known if full.endswith(f"__{rest.upper()}")]
        near = of_that_name or get_close_matches(name.upper(), known + of_sources, n=1, cutoff=0.5)
        hint = (
            f"do you mean {near[0]}?"
            if near
            else f"settings are {PREFIX}<SECTION>__<KEY>, as {PREFIX}PILOT__PAUSED."
        )
        raise ConfigurationError(
            f"the environment variable {name} is no setting: {hint} Correct its name, or unset it"
        )


def _sets_something(kind: Any, parts: Sequence[str]) -> bool:
    """Whether the rest of a variable's name, cut at its double underscores, leads to a value of
    this type.
    """
    if not parts:
        return True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        entry = kind.model_fields.get(parts[0])
        return (
            entry is not None
            and not (kind is Config and parts[0] in ("root", "file"))
            and _sets_something(entry.annotation, parts[1:])
        )
    if get_origin(kind) is dict:
        return _sets_something(get_args(kind)[1], parts[1:])
    return get_origin(kind) is not Literal and any(
        _sets_something(inner, parts) for inner in get_args(kind) if inner is not kind
    )


def _list_settings(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a table as the environment names them, those of its tables with them."""
    for name, entry in model.model_fields.items():
        if model is not Config or name not in ("root", "file"):
            yield name.upper()
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, Section):
            yield from (f"{name.upper()}__{inner}" for inner in _list_settings(entry.annotation))


def reload_config(config: Config) -> Config:
    """The configuration as its file and the environment say now; one that was not read from a file
    as it is.
    """
    if config.file is None:
        return config
    again = load_config(config.file)
    again.spell_by(config.spell)
    return again


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "the file"
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}: remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key} is missing"
    message = item["msg"].removeprefix("Value error, ")
    secret = any(word in key for word in ("url", "token"))
    shown = (
        "" if secret or isinstance(item.get("input"), dict) else f" (it is {item.get('input')!r})"
    )
    return f"{key}: {message}{shown}"


def read_secret(variable: str, *, purpose: str) -> str:
    """The value of an environment variable; raises ConfigurationError naming the variable when it
    is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(
            f"the environment variable {variable} is not set: it must hold {purpose}"
        )
    return value
