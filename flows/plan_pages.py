"""The changes of a plan page by page, as they are stored and sent, and the digest that seals them.

A first load may hold a million payloads: they are built when their page is stored, and read when it is sent, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flows.state import State
from transforms.columns import TEXT, find_positions, to_arrow, to_mask, to_series
from transforms.diff import CHANGE_COLUMNS
from transforms.payload import Payloads
from transforms.times import format_instants

PAGE_ROWS = 10_000
"""Rows of a page. Part of the digest: another size makes plans that wait stale."""
SENT_ROWS = 5_000
"""Rows that wait in memory to be sent."""
SEALED = ["seq", "source_id", "action", "reason", "base_fingerprint", "fingerprint", "ignore_missing", "body"]


class PlanDigest:
    """What is sent, on the ground of what, in which order: a SHA-256 over the pages of a plan."""

    def __init__(self) -> None:
        self._sha = sha256()

    def add(self, page: pd.DataFrame) -> None:
        """Take in the next PAGE_ROWS changes; columns SEALED, `body` being what is sent."""
        for column in SEALED:
            texts = to_arrow(page[column])
            lengths = pc.fill_null(pc.binary_length(texts).cast(pa.int64()), -1)  # missing is not empty, and no two columns run together
            self._sha.update(np.ascontiguousarray(lengths).tobytes())
            whole = pa.concat_arrays([pc.fill_null(texts, "")])
            content = whole.buffers()[2]
            self._sha.update(b"" if content is None else memoryview(content)[: int(np.asarray(lengths).clip(0).sum())])

    def hexdigest(self) -> str:
        """The digest of the pages so far."""
        return self._sha.hexdigest()


def iterate_pages(changes: pd.DataFrame, payloads: Payloads, *, send_updated_at: bool = False) -> Iterator[pd.DataFrame]:
    """The changes of a diff in pages of PAGE_ROWS, numbered from 1, creates with their payload."""
    changes = changes.reindex(columns=CHANGE_COLUMNS)
    place = find_positions(changes["source_id"], payloads.events["source_id"])
    for start in range(0, len(changes), PAGE_ROWS):
        page = changes.iloc[start : start + PAGE_ROWS].reset_index(drop=True)
        page = page.assign(seq=np.arange(start + 1, start + len(page) + 1))
        create = pa.array(page["action"] == "create")
        if not pc.any(create).as_py():
            yield page
            continue
        rows = place[start : start + PAGE_ROWS][to_mask(create)]
        texts = payloads.build(rows)
        page = page.assign(after=to_series(pc.replace_with_mask(to_arrow(page["after"]), create, texts), page.index))
        if send_updated_at:
            bodies = _with_updated_at(texts, payloads.events["updated_at"].iloc[rows])
            page = page.assign(body=to_series(pc.replace_with_mask(to_arrow(page["body"]), create, bodies), page.index))
        yield page


def _with_updated_at(texts: pa.Array, updated_at: pd.Series) -> pa.Array:
    """Payloads with `updatedAt` as their last member, where there is one."""
    stamps = to_arrow(format_instants(updated_at))
    opened = pc.binary_slice(texts.cast(pa.large_binary()), 0, -1).cast(TEXT)
    stamped = pc.binary_join_element_wise(opened, stamps, pa.scalar(',"updatedAt":"', TEXT))
    closed = pc.binary_join_element_wise(stamped, pa.scalar("}", TEXT), pa.scalar('"', TEXT))
    return pc.if_else(pc.is_null(stamps), texts, closed)


def seal(digest: PlanDigest, page: pd.DataFrame) -> pd.DataFrame:
    """Take a page into the digest, and give it on."""
    digest.add(page.assign(body=page["body"].fillna(page["after"].where(page["action"] == "create"))))
    return page


def digest_stored(state: State, plan_id: str, changes: int) -> str:
    """The digest of a plan as the state store holds it."""
    digest = PlanDigest()
    for first in range(1, changes + 1, PAGE_ROWS):
        digest.add(state.read_page(plan_id, first, first + PAGE_ROWS - 1))
    return digest.hexdigest()


def read_pages(state: State, plan_id: str, seqs: pd.Series, tries: pd.Series) -> Iterator[pd.DataFrame]:
    """The changes of a stored plan with these numbers, ascending, in the pages that `send_changes` takes.

    tries: how often each had no answer; what had none goes last and in smaller requests.
    """
    for count in sorted(tries.unique()):
        group = seqs[tries == count]
        for start in range(0, len(group), SENT_ROWS):
            some = group.iloc[start : start + SENT_ROWS]
            page = state.read_page(plan_id, int(some.iloc[0]), int(some.iloc[-1]))
            yield page[page["seq"].isin(some)].assign(tries=int(count))
