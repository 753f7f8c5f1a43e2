"""Tokens and database URLs from the environment or Prefect blocks. They are held in memory alone and never shown."""

from __future__ import annotations

from hashlib import sha256

from schemas.config import Config, read_secret
from schemas.errors import ConfigurationError


def read_tokens(config: Config) -> tuple[str, str]:
    """The integration token and the agent token. Raises ConfigurationError naming the variable or block."""
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
    return read_secret(settings.agent_token_env, purpose="the agent token of the integration, a UUID")


def read_block(name: str) -> str:
    """The value of a Prefect Secret block, or the URL of a SQLAlchemy Connector block."""
    from prefect.blocks.system import Secret

    try:
        return str(Secret.load(name).get())  # type: ignore[union-attr]
    except ValueError:
        raise ConfigurationError(f"there is no Prefect Secret block named {name!r}: create it, or use an environment variable") from None


def hash_token(agent_token: str) -> str:
    """What the state store keeps of the agent token."""
    return sha256(agent_token.encode()).hexdigest()
