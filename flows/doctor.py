"""Examine a configuration without sending anything: connections, SELECTs, mappings, tokens, clock, state store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from flows.client import EssentryClient
from flows.extract import complete_source, read_source
from flows.nightly import open_state
from flows.secrets import read_tokens
from schemas.config import Config
from schemas.errors import SyncError
from transforms.people import mask_address
from transforms.validate import validate_source


def examine(config: Config) -> Iterator[tuple[bool, str]]:
    """Lines of (fine, what was found and the remedy)."""
    for name, entry in config.sources.items():
        try:
            complete = complete_source(entry)
            read = read_source(name, complete, root=config.root)
            valid = validate_source(name, read.events, read.guests, complete)
        except SyncError as error:
            yield False, str(error)
            continue
        yield True, f"source {name}: {len(read.events):,} events, {len(read.guests):,} guests"
        for row in valid.events.head(5).itertuples():
            start = row.starts_at.strftime("%Y-%m-%d %H:%M") if row.starts_at == row.starts_at else "?"
            yield True, f"source {name}: sample {row.source_event_id}, {start} UTC, host {mask_address(str(row.host_email))}"
        for (check, remedy), rows in valid.rejects.groupby(["check", "remedy"]):
            yield False, f"source {name}: {len(rows):,} rows would be quarantined ({check}): {remedy}"
    try:
        with open_state(config) as state:
            yield True, f"state store: at its newest form, {len(state.runs()):,} runs"
    except SyncError as error:
        yield False, str(error)
    try:
        token, agent_token = read_tokens(config)
        places = [site.location_id for entry in config.sources.values() for site in entry.sites.values()]

        async def ping() -> None:
            async with EssentryClient(config.essentry, token=token, agent_token=agent_token) as client:
                await client.ping(places[0] if places else None)

        asyncio.run(ping())
        yield True, f"essentry: {config.essentry.base_url} answers and knows the token"
    except SyncError as error:
        yield False, str(error)
