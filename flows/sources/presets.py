"""The SELECTs that are shipped for known systems, and which of them fits the tables that a database
shows.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.sources.transaction import brief
from schemas.config import Config
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError, SourceError

_IDENTIFIER = re.compile(r"[A-Za-z0-9_]{0,64}")
_COLUMNS = {
    "mysql": (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
        "COALESCE(:place, DATABASE())"
    ),
    "postgresql": (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = "
        "CAST(:place AS text) OR (CAST(:place AS text) IS NULL AND table_schema = ANY "
        "(current_schemas(false)))"
    ),
    "sqlite": (
        "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE :place "
        "IS NULL OR :place <> ''"
    ),
}
_COLUMNS["mariadb"] = _COLUMNS["mysql"]

Columns = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Fit:
    """What of a preset fits a database: the versions by name, the file of each SELECT, and the
    SELECT of the version, where it may be read.
    """

    title: str
    files: Mapping[str, Path]
    rename: Mapping[str, str]
    version_sql: str | None = None

    def read(self, part: str) -> str:
        """The text of a SELECT, with the database's own names of the tables. Raises
        ConfigurationError.
        """
        try:
            text = self.files[part].read_text(encoding="utf-8").strip().rstrip(";")
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {self.files[part]}: {error.strerror}: reinstall essentry-sync"
            ) from None
        return _rename(text, self.rename)


def _rename(sql: str, names: Mapping[str, str]) -> str:
    for shipped, own in names.items():
        sql = re.sub(rf"\b{re.escape(shipped)}(?=\w)", own, sql)
    return sql


def preset_folder(name: str) -> Path:
    """The shipped preset, in a checkout or in an installed package."""
    flows = Path(__file__).resolve().parents[1]
    for base in (flows.parent / "data" / "sources", flows / "_data" / "sources"):
        if (base / name).is_dir():
            return base / name
    raise ConfigurationError(
        f"the preset {name!r} is not part of this installation: reinstall essentry-sync"
    )


@cache
def read_preset(name: str) -> dict[str, Any]:
    """What `preset.toml` says. Raises ConfigurationError for a preset that is not shipped."""
    return tomllib.loads((preset_folder(name) / "preset.toml").read_text(encoding="utf-8"))


def complete_source(config: SourceConfig) -> SourceConfig:
    """The source's settings with what its preset knows filled in (`times`, `unescape`,
    parameters).
    """
    if config.preset is None:
        return config
    preset = read_preset(config.preset)
    known = {name: _default(entry, config) for name, entry in preset.get("params", {}).items()}
    names = {name: entry.get("default") for name, entry in preset.get("identifiers", {}).items()}
    unknown = set(config.params) - set(known) - set(names)
    if unknown:
        raise ConfigurationError(
            f"preset {config.preset} has no parameter {sorted(unknown)[0]!r}: "
            f"it has {', '.join([*sorted(known), *sorted(names)]) or 'none'}"
        )
    for name in names:
        if not _IDENTIFIER.fullmatch(str(config.params.get(name) or "")):
            raise ConfigurationError(
                f"params.{name} {config.params[name]!r} is no part of a table's name: use letters, "
                "digits and _"
            )
    return config.model_copy(
        update={
            "times": config.times or preset["times"],
            "unescape": config.unescape or preset.get("unescape"),
            "params": {**known, **names, **config.params},
        }
    )


def _default(entry: Mapping[str, Any], config: SourceConfig) -> Any:
    """A parameter's value when it is not set; some depend on whether the source's settings tell
    employees by their domains.
    """
    return entry.get(
        "default_with_domains"
        if config.internal_domains and "default_with_domains" in entry
        else "default"
    )


def complete_config(config: Config) -> Config:
    """The configuration with every source completed from its preset."""
    return config.model_copy(
        update={"sources": {name: complete_source(entry) for name, entry in config.sources.items()}}
    )


def find_fit(
    name: str, preset: str, connection: sa.Connection, *, params: Mapping[str, Any]
) -> Fit:
    """Which SELECTs of a preset fit the tables that this database shows.

    Raises SourceError, with what is missing and the remedy, for a database of no version that the
    preset knows.
    """
    about = read_preset(preset)
    identifiers = about.get("identifiers", {})
    given = {
        key: str(params.get(key) if params.get(key) is not None else entry.get("default", ""))
        for key, entry in identifiers.items()
    }
    rename = {}
    if "table_prefix" in given:
        shipped = identifiers["table_prefix"]["default"]
        schema = given.get("table_schema") or ""
        own = f"{schema}.{given['table_prefix']}" if schema else given["table_prefix"]
        if own != shipped:
            rename[shipped] = own
    backend = connection.dialect.name
    folder = preset_folder(preset)
    variants = about["variants"]
    shown = (
        _read_columns(name, connection, given.get("table_schema") or None)
        if backend in _COLUMNS
        else None
    )
    lacks: dict[str, list[str]] = {}
    for variant in variants:
        wanted = [
            _renamed(column, about, given)
            for column in (*about.get("needs", ()), *variant.get("has", ()))
        ]
        unwanted = [_renamed(column, about, given) for column in variant.get("lacks", ())]
        missing = [] if shown is None else [column for column in wanted if not _has(shown, column)]
        if not missing and (shown is None or not any(_has(shown, column) for column in unwanted)):
            parts = {
                part: variant.get(part, f"{part}.sql")
                for part in ("events", "guests", "sites", "rooms")
            }
            files = {part: _of_dialect(folder / file, backend) for part, file in parts.items()}
            return Fit(variant["title"], files, rename, _version_sql(about, given, shown, rename))
        lacks[variant["title"]] = missing
    fewest = min(lacks.values(), key=lambda columns: (not columns, len(columns)))
    table = fewest[0].partition(".")[0] if fewest else ""
    if table and shown is not None and table.lower() not in shown:
        what = (
            f", {folder / 'sites.sql'}: no such table: {table}: is this a database of {preset}? It"
        )
    else:
        what = f": this is no database that the preset {preset} knows: it"
    what += (
        f" lacks {', '.join(fewest[:4])}{' and more' if len(fewest) > 4 else ''}"
        if fewest
        else " has columns of several versions"
    )
    prefixed = "set params.table_prefix to its prefix, " if "table_prefix" in given else ""
    raise SourceError(
        f"source {name}{what}, or the account may not see it. The preset knows "
        f"{'; '.join(lacks)}: check the URL, {prefixed}grant SELECT, or copy the preset's "
        "SELECTs, edit them and name them with events_sql and guests_sql"
    )


def _version_sql(
    about: Mapping[str, Any],
    given: Mapping[str, str],
    shown: Columns | None,
    rename: Mapping[str, str],
) -> str | None:
    """The SELECT of the system's own version that this account may read; None where it may read
    none.
    """
    for read in about["version"]["reads"]:
        if shown is not None and all(
            _has(shown, _renamed(column, about, given)) for column in read["has"]
        ):
            return _rename(read["sql"], rename)
    return None


def _of_dialect(file: Path, backend: str) -> Path:
    """A preset may have a variant for a dialect (`events.<dialect>.sql`)."""
    variant = file.with_suffix(f".{'mysql' if backend == 'mariadb' else backend}.sql")
    return variant if variant.exists() else file


def _renamed(column: str, about: Mapping[str, Any], given: Mapping[str, str]) -> str:
    shipped = about.get("identifiers", {}).get("table_prefix", {}).get("default", "")
    return given["table_prefix"] + column.removeprefix(shipped) if shipped else column


def _has(shown: Columns, column: str) -> bool:
    table, _, name = column.lower().partition(".")
    return table in shown and (not name or name in shown[table])


def _read_columns(
    name: str, connection: sa.Connection, schema: str | None
) -> dict[str, frozenset[str]]:
    """The columns that the account may see, by table, in lower case."""
    try:
        rows = connection.execute(
            sa.text(_COLUMNS[connection.dialect.name]), {"place": schema}
        ).all()
    except SQLAlchemyError as error:
        raise SourceError(
            f"source {name}: the list of tables cannot be read: {brief(error)}"
        ) from None
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(_plain(table).lower(), set()).add(_plain(column).lower())
    return {table: frozenset(columns) for table, columns in found.items()}


def _plain(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
