"""The URL of a database: from a Prefect block, the environment or the configuration's own text."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError


def source_url(name: str, config: SourceConfig, *, root: Path) -> sa.URL:
    """The database URL of a source; relative SQLite paths start at the configuration's folder."""
    return parse_url(read_url(name, config), key=f"sources.{name}.url", root=root)


def read_url(name: str, config: SourceConfig) -> str:
    """The text of a source's database URL. Raises ConfigurationError when its variable or block
    cannot be read.
    """
    text = config.url
    if config.url_env:
        text = os.environ.get(config.url_env, "").strip()
        if not text:
            raise ConfigurationError(
                f"sources.{name}: the environment variable {config.url_env} is not set: "
                "it must hold the database URL"
            )
    if config.url_block:
        from flows.connections.secrets import read_block

        text = read_block(config.url_block)
    return str(text)


def parse_url(text: str, *, key: str, root: Path) -> sa.URL:
    """A SQLAlchemy URL; raises ConfigurationError that names the key and never shows the text."""
    try:
        url = sa.make_url(text)
        if url.drivername not in _OURS:
            url.get_dialect().import_dbapi()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        package = (
            _find_package(text) if isinstance(error, (NoSuchModuleError, ImportError)) else None
        )
        if package is not None:
            raise ConfigurationError(
                f"{key}: the driver of this database is not installed: "
                f"add the package {package} here"
            ) from None
        raise ConfigurationError(
            f"{key} is no usable database URL: write sqlite:///file, "
            "postgresql+psycopg://user@host/name or mysql+pymysql://user@host/name"
        ) from None
    check_host(url, key=key)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername in ("mysql", "mariadb"):
        url = url.set(drivername=f"{url.drivername}+pymysql")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        url = url.set(database=str((root / url.database).resolve()))
    if url.get_backend_name() == "duckdb":
        if url.database and url.database != ":memory:":
            url = url.set(database=str((root / url.database).resolve()))
        url = url.update_query_dict({"file_search_path": str(root.resolve())})
    return url


def check_host(url: sa.URL, *, key: str) -> None:
    """Refuse a URL whose host would hold the end of its password. Raises ConfigurationError that
    shows neither.
    """
    if url.host and "@" in url.host:
        raise ConfigurationError(
            f'{key}: the password holds an "@", which ends it there: write %40 in its place'
        )


SECRET_QUERY = ("password", "passwd", "sslpassword", "passfile")
"""What of a URL's query is a secret."""


def list_secrets(url: sa.URL) -> list[str]:
    """The texts of a URL that no message may hold."""
    return [
        str(value)
        for value in (url.password, *(v for k, v in url.query.items() if k.lower() in SECRET_QUERY))
        if value
    ]


def show_url(url: sa.URL) -> str:
    """Where a database is, for messages: a password can stand in the query of a URL, too."""
    return url.set(query={}).render_as_string(hide_password=True)


_OURS = ("postgresql", "postgres", "mysql", "mariadb")
"""Names without a driver, which get one that is installed with this one."""
_PACKAGES = {
    "duckdb": "essentry-sync[files]",
    "mssql": "pyodbc",
    "mssql+pymssql": "pymssql",
    "oracle": "oracledb",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "db2": "ibm-db-sa",
    "ibm_db_sa": "ibm-db-sa",
    "hana": "sqlalchemy-hana",
    "databricks": "databricks-sqlalchemy",
    "trino": "trino",
    "teradatasql": "teradatasqlalchemy",
}
"""The package with the driver of a database that is not installed with this one."""


def _find_package(text: str) -> str | None:
    """What to install for a URL whose driver is missing."""
    driver = text.partition("://")[0]
    return _PACKAGES.get(driver) or _PACKAGES.get(driver.partition("+")[0])
