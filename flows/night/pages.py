"""The changes of a plan page by page, as they are stored and sent, and the digest that seals them.

A first load may hold a million payloads: they are built when their page is stored, and read when it
is sent, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flows.parts.shelf import Shelf
from flows.state.store import State
from transforms.arrow.columns import TEXT, Positions, find_positions, to_arrow, to_mask, to_series
from transforms.arrow.instants import format_instants
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import Payloads
from transforms.diff.changes import CHANGE_COLUMNS

PAGE_ROWS = 10_000
"""Rows of a page. Part of the digest: another size makes plans that wait stale."""
SENT_ROWS = 5_000
"""Rows that wait in memory to be sent."""
SEALED = [
    "seq",
    "source_id",
    "action",
    "reason",
    "base_fingerprint",
    "fingerprint",
    "ignore_missing",
    "body",
]


class PlanDigest:
    """What is sent, on the ground of what, in which order: a SHA-256 over the pages of a plan."""

    def __init__(self) -> None:
        self._sha = sha256()

    def add(self, page: pd.DataFrame) -> None:
        """Take in the next PAGE_ROWS changes; columns SEALED, `body` being what is sent."""
        for column in SEALED:
            texts = to_arrow(page[column])
            # missing is not empty, and no two columns run together
            lengths = pc.fill_null(pc.binary_length(texts).cast(pa.int64()), -1)
            self._sha.update(np.ascontiguousarray(lengths).tobytes())
            whole = pa.concat_arrays([pc.fill_null(texts, "")])
            content = whole.buffers()[2]
            self._sha.update(
                b""
                if content is None
                else memoryview(content)[: int(np.asarray(lengths).clip(0).sum())]
            )

    def hexdigest(self) -> str:
        """The digest of the pages so far."""
        return self._sha.hexdigest()


class Pages(Protocol):
    """Changes with their texts and payloads, page after page. It is asked once."""

    def __call__(self) -> Iterator[pd.DataFrame]: ...


def shelve_pages(
    shelf: Shelf, changes: pd.DataFrame, payloads: Payloads | None, *, send_updated_at: bool = False
) -> Pages:
    """The pages of a part's changes: built when they are asked for, or built now and kept in a file
    when the shelf has a folder.
    """
    build = partial(build_pages, changes, payloads, send_updated_at=send_updated_at)
    return build if shelf.folder is None else shelf.write_pages(build())


def build_pages(
    changes: pd.DataFrame, payloads: Payloads | None, *, send_updated_at: bool = False
) -> Iterator[pd.DataFrame]:
    """The changes of a diff in pages of PAGE_ROWS, creates with their payload. payloads: of the
    events that are created.
    """
    changes = changes.reindex(columns=CHANGE_COLUMNS)
    place = (
        find_positions(changes["source_id"], payloads.events["source_id"])
        if payloads
        else np.empty(0, dtype=np.int64)
    )
    for start in range(0, len(changes), PAGE_ROWS):
        page = changes.iloc[start : start + PAGE_ROWS].reset_index(drop=True)
        create = pa.array(page["action"] == "create")
        if payloads is None or not pc.any(create).as_py():
            yield page
            continue
        rows = place[start : start + PAGE_ROWS][to_mask(create)]
        texts = payloads.build(rows)
        page = page.assign(
            after=to_series(
                pc.replace_with_mask(to_arrow(page["after"]), create, texts), page.index
            )
        )
        if send_updated_at:
            bodies = _with_updated_at(texts, payloads.events["updated_at"].iloc[rows])
            page = page.assign(
                body=to_series(
                    pc.replace_with_mask(to_arrow(page["body"]), create, bodies), page.index
                )
            )
        yield page


def merge_pages(runs: Sequence[Pages], order: Positions) -> Iterator[pd.DataFrame]:
    """The changes of all parts in pages of PAGE_ROWS, numbered from 1. order: the run from which
    each change comes.
    """
    readers = [_Reader(pages()) for pages in runs]
    for start in range(0, len(order), PAGE_ROWS):
        turns = order[start : start + PAGE_ROWS]
        counts = np.bincount(turns, minlength=len(readers))
        taken = [
            reader.take(int(count)) for reader, count in zip(readers, counts, strict=True) if count
        ]
        places = np.empty(len(turns), dtype=np.int64)
        places[np.argsort(turns, kind="stable")] = np.arange(len(turns))
        page = (
            pick_rows(pd.concat(taken, ignore_index=True), places) if len(taken) > 1 else taken[0]
        )
        yield page.assign(seq=np.arange(start + 1, start + len(page) + 1))
    if not all(reader.is_done() for reader in readers):
        raise RuntimeError("a run of changes has more rows than the plan")


class _Reader:
    """Rows of a run in their order, as many at a time as are asked for."""

    def __init__(self, pages: Iterator[pd.DataFrame]) -> None:
        self._pages, self._rest = pages, pd.DataFrame()

    def is_done(self) -> bool:
        """Whether every row was taken; the end of the run is read."""
        return self._rest.empty and next(self._pages, None) is None

    def take(self, count: int) -> pd.DataFrame:
        """The next rows."""
        found = []
        while count:
            if self._rest.empty:
                self._rest = next(self._pages)
            found.append(self._rest.iloc[:count])
            self._rest = self._rest.iloc[count:]
            count -= len(found[-1])
        return (
            pd.concat(found, ignore_index=True)
            if len(found) > 1
            else found[0].reset_index(drop=True)
        )


def _with_updated_at(texts: pa.Array, updated_at: pd.Series) -> pa.Array:
    """Payloads with `updatedAt` as their last member, where there is one."""
    stamps = to_arrow(format_instants(updated_at))
    opened = pc.binary_slice(texts.cast(pa.large_binary()), 0, -1).cast(TEXT)
    stamped = pc.binary_join_element_wise(opened, stamps, pa.scalar(',"updatedAt":"', TEXT))
    closed = pc.binary_join_element_wise(stamped, pa.scalar("}", TEXT), pa.scalar('"', TEXT))
    return pc.if_else(pc.is_null(stamps), texts, closed)


def seal(digest: PlanDigest, page: pd.DataFrame) -> pd.DataFrame:
    """Take a page into the digest, and give it on."""
    digest.add(
        page.assign(body=page["body"].fillna(page["after"].where(page["action"] == "create")))
    )
    return page


def digest_stored(state: State, plan_id: str, changes: int) -> str:
    """The digest of a plan as the state store holds it."""
    digest = PlanDigest()
    for first in range(1, changes + 1, PAGE_ROWS):
        digest.add(state.read_page(plan_id, first, first + PAGE_ROWS - 1))
    return digest.hexdigest()


def read_pages(
    state: State, plan_id: str, seqs: pd.Series, tries: pd.Series
) -> Iterator[pd.DataFrame]:
    """The changes of a stored plan with these numbers, ascending, in the pages that `send_changes`
    takes.

    tries: how often each had no answer; what had none goes last and in smaller requests.
    """
    for count in sorted(tries.unique()):
        group = seqs[tries == count]
        for start in range(0, len(group), SENT_ROWS):
            some = group.iloc[start : start + SENT_ROWS]
            page = state.read_page(plan_id, int(some.iloc[0]), int(some.iloc[-1]))
            yield page[page["seq"].isin(some)].assign(tries=int(count))
