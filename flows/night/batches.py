"""A plan's changes as requests: how they are grouped, and how large a batch is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import pandas as pd

from flows.essentry.items import Item

SHRINK = 10
"""So much smaller is a batch of events that had no answer the last time."""

SENT_ACTIONS = frozenset({"create", "update", "delete"})

Change: TypeAlias = pd.DataFrame | Iterable[Item]


def build_batches(
    changes: Iterable[Change], *, batch_events: int, batch_bytes: int, envelope_bytes: int
) -> Iterator[list[Item]]:
    """Cut changes into requests by number and bytes. An event too large for any batch goes alone.

    ignoreMissingInvitations holds for a whole request, so items with and without it fill a batch
    each, side by side, and the order is kept within each. Changes that need no request (`expire`)
    make batches of their own.

    So do events that had no answer before, a tenth as large with each try, down to one event a
    request: an event that essentry cannot answer does not keep the others of its batch from their
    guests for long.
    """
    open_batches: dict[tuple[bool, bool, int], list[Item]] = {}
    sizes: dict[tuple[bool, bool, int], int] = {}
    for page in changes:
        for item in read_page(page) if isinstance(page, pd.DataFrame) else page:
            most = max(1, batch_events // SHRINK**item.tries)
            kind = (item.action in SENT_ACTIONS, item.ignore_missing, most)
            size = len(item.body) + 1
            batch = open_batches.get(kind)
            if batch is not None and (len(batch) >= most or sizes[kind] + size > batch_bytes):
                yield open_batches.pop(kind)
                batch = None
            if batch is None:
                batch = open_batches[kind] = []
                sizes[kind] = envelope_bytes
            batch.append(item)
            sizes[kind] += size
    yield from open_batches.values()


def read_page(page: pd.DataFrame) -> Iterator[Item]:
    """Items of a page of the ledger, those still planned.

    A column `tries` is handed on where there is one. A loop over rows: each row becomes one object,
    there is nothing to vectorise.
    """
    if "state" in page.columns:
        page = page[page["state"] == "planned"]
    columns = [
        page[name].tolist() for name in ("seq", "source_id", "action", "body", "ignore_missing")
    ]
    tries = page["tries"].tolist() if "tries" in page.columns else [0] * len(page)
    for seq, source_id, action, body, ignore_missing, failed in zip(*columns, tries, strict=True):
        if action in SENT_ACTIONS:
            content = body.encode() if isinstance(body, str) else bytes(body)
        elif action == "expire":
            content = b""
        else:
            raise ValueError(f"change {seq} has the action {action!r}, which cannot be sent")
        yield Item(int(seq), source_id, content, action, bool(ignore_missing), failed)
