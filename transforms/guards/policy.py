"""The settings that decide who is invited to what, as a digest that the state store remembers (S14). Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson

from schemas.config import Config, SourceConfig

_OF_A_SOURCE = {
    "preset", "guests", "internal_domains", "events_without_guests", "pending", "untitled", "private_title", "sites", "rooms",
    "custom_fields", "times", "timezone",
}  # fmt: skip
_SET_LATER = {"exclude_guests", "internal_subdomains"}


def digest_policy(config: Config) -> tuple[str, str]:
    """Digest and JSON of the settings that decide who is invited to what."""
    policy = {
        "guest_list": config.essentry.guest_list,
        "window": config.window.days_ahead,
        # by what their ids begin with: a renamed source invites nobody else
        "sources": {e.id_prefix or name: _settings_of(e) for name, e in config.sources.items()},
    }
    text = orjson.dumps(policy, option=orjson.OPT_SORT_KEYS).decode()
    return sha256(text.encode()).hexdigest(), text


def _settings_of(source: SourceConfig) -> dict[str, Any]:
    """The settings of a source; later ones only where they are set, so that an update of essentry-sync alone is no change of policy."""
    settings = source.model_dump(mode="json", include=_OF_A_SOURCE)
    return settings | {key: value for key, value in source.model_dump(mode="json", include=_SET_LATER).items() if value}


def list_policy_changes(before: str | None, after: str) -> tuple[str, ...]:
    """Which settings differ between two policies, `sources.hr.guests: external → all`; empty when the older one was not kept."""
    if not before:
        return ()
    old, new = _flatten(orjson.loads(before)), _flatten(orjson.loads(after))
    keys = [key for key in sorted({**old, **new}) if old.get(key) != new.get(key)]
    return tuple(f"{key}: {_shown(old.get(key))} → {_shown(new.get(key))}" for key in keys)


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, item in value.items() for k, v in _flatten(item, f"{path}.{name}" if path else name).items()}
    return {path: value}


def _shown(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
