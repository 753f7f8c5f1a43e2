"""Tokens and database URLs from the environment or Prefect blocks. They are held in memory alone
and never shown.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from flows.connections.urls import parse_url
from schemas.config import CheckInsConfig, Config, StateConfig
from schemas.errors import ConfigurationError
from schemas.load_config import read_secret

BLOCK_TYPES = ("secret", "sqlalchemy-connector")


def read_tokens(config: Config) -> tuple[str, str]:
    """The integration token and the agent token. Raises ConfigurationError naming the variable or
    block.
    """
    settings = config.essentry
    token = (
        read_block(settings.token_block)
        if settings.token_block
        else read_secret(settings.token_env, purpose="essentry's integration token")
    )
    return token, read_agent_token(config)


def read_agent_token(config: Config) -> str:
    """The agent token: which integration this is."""
    settings = config.essentry
    if settings.agent_token_block:
        return read_block(settings.agent_token_block)
    return read_secret(
        settings.agent_token_env, purpose="the agent token of the integration, a UUID"
    )


def own_url(
    settings: StateConfig | CheckInsConfig, *, key: str, purpose: str, root: Path
) -> sa.URL:
    """The URL of a database that is written to: from a block, the environment or the file. Raises
    ConfigurationError that names the key or the variable.
    """
    text = settings.url or ""
    if settings.url_block:
        text = read_block(settings.url_block)
    elif settings.url_env:
        text = read_secret(settings.url_env, purpose=purpose)
    return parse_url(text, key=key, root=root)


def read_block(name: str) -> str:
    """The text of a Prefect Secret block, or the URL of a SQLAlchemy Connector block; `TYPE/NAME`
    says which of two of one name.

    The Connector is read as data, so prefect-sqlalchemy need not be installed. Raises
    ConfigurationError.
    """
    from flows.engine.server import explain_settings, use_server

    with explain_settings():
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    kind, _, short = name.rpartition("/")
    try:
        with use_server(), get_client(sync_client=True) as client:
            for slug in (kind,) if kind else BLOCK_TYPES:
                with suppress(ObjectNotFound):
                    return _read_text(
                        client.read_block_document_by_name(short, block_type_slug=slug).data, name
                    )
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ConfigurationError(
            f"the block {name!r} cannot be read from the Prefect server ({type(error).__name__})"
        ) from None
    raise ConfigurationError(
        f"there is no Prefect Secret block named {name!r}, and no SQLAlchemy Connector: create it, "
        "or use an environment variable"
    )


def _read_text(data: dict[str, Any], name: str) -> str:
    if "value" in data:
        return str(data["value"])
    info: Any = data.get("connection_info")
    if isinstance(info, str):
        return info
    try:
        parts: dict[str, Any] = {
            key: info.get(key) for key in ("username", "password", "host", "port", "database")
        }
        # the driver is ours to choose: theirs may be asynchronous, or not installed
        url = sa.URL.create(
            str(info["driver"]).partition("+")[0], **parts, query=info.get("query") or {}
        )
    except (AttributeError, KeyError, TypeError, SQLAlchemyError):
        raise ConfigurationError(
            f"the block {name!r} holds neither a secret text nor a database connection"
        ) from None
    return url.render_as_string(hide_password=False)


def hash_token(agent_token: str) -> str:
    """What the state store keeps of the agent token."""
    return sha256(agent_token.encode()).hexdigest()
