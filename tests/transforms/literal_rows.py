"""Raw rows as a SELECT returns them, for tests of validation and build."""

from __future__ import annotations

from typing import Any

import pandas as pd

from schemas.config import Config
from schemas.config_source import SourceConfig
from transforms.desired.build import Desired, build_desired
from transforms.desired.guests import list_guest_keys
from transforms.validate.source import Validated, validate_source

AS_OF = pd.Timestamp("2026-03-02T03:00:00Z")


def source_config(**columns: Any) -> SourceConfig:
    """A source with UTC times, one site `hq` and one room `r1`."""
    plain = {
        "url": "sqlite://",
        "events_sql": "e.sql",
        "guests_sql": "g.sql",
        "times": "utc",
        "internal_domains": ["corp.example"],
    }
    plain |= {
        "sites": {"hq": {"location_id": 1}},
        "rooms": {"r1": {"location_id": 5, "entrance_id": 6}},
    }
    return SourceConfig(**(plain | columns))


def event(key: str | None = "1", **columns: str | None) -> dict:
    """A good row of an events SELECT."""
    plain: dict = {
        "source_event_id": key,
        "name": "Visit",
        "starts_at": "2026-03-10 09:00:00",
        "ends_at": "2026-03-10 10:00:00",
    }
    return plain | {"site_key": "hq", "host_email": "host@corp.example"} | columns


def guest(key: str | None = "1", guest_id: str | None = "g1", **columns: str | None) -> dict:
    """A good row of a guests SELECT."""
    return {
        "source_event_id": key,
        "guest_id": guest_id,
        "email": f"{guest_id}@guest.example",
        "last_name": "Guest",
    } | columns


def raw(rows: list[dict], columns: tuple[str, ...] = ("source_event_id",)) -> pd.DataFrame:
    """Rows as text, as extraction leaves them."""
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))
    return frame.astype("str")


def validate(
    events: list[dict], guests: list[dict] | None = None, *, source: str = "hr", **settings: Any
) -> Validated:
    """Validate the rows of one source."""
    return validate_source(source, raw(events), raw(guests or []), source_config(**settings))


def build(
    *sources: Validated,
    confirmed: dict[str, str | None] | None = None,
    settings: dict | None = None,
    as_of: pd.Timestamp = AS_OF,
    **sections: Any,
) -> Desired:
    """Build from validated sources; keyless guests are numbered in the order of their texts.
    confirmed: source_id → members_json.
    """
    config = Config(
        sources={v.source: source_config(**(settings or {})) for v in sources}, **sections
    )
    shared = config.essentry.invitation_ids == "shared"
    numbers = {
        v.source: {
            t: n for n, t in enumerate(sorted(set(list_guest_keys(v, shared=shared).dropna())), 1)
        }
        for v in sources
    }
    table = pd.DataFrame(
        list((confirmed or {}).items()), columns=["source_id", "members_json"]
    ).astype("str")
    return build_desired(list(sources), numbers, config, confirmed=table, as_of=as_of)


def fates(desired: Desired) -> dict[str, str]:
    """own_id → disposition."""
    return dict(desired.dispositions[["own_id", "disposition"]].itertuples(index=False, name=None))


def invited(desired: Desired) -> list[tuple[str, str]]:
    """(event, invitation) pairs."""
    return list(
        desired.invitations[["source_id", "invitation_id"]].itertuples(index=False, name=None)
    )
