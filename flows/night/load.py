"""Send a plan's changes in batches and keep the ledger true: written before the request, and again
with its answer.

Batches, concurrency and order live here; what an answer means is `flows.essentry.client`'s, what is
stored is the ledger's.

For each batch: its rows become `sending`, which is committed before the request leaves; then the
request with its retries; then all its outcomes in one transaction. So whenever the process dies,
every event that may have reached essentry is known by name.

A commit waits for the disk. So what several batches have to write while one commit is under way
goes into the next, all of it or nothing; each batch goes on only after the commit that holds its
own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from flows.essentry.answers import REFUSED_AFTER_LOSS, tell_giving_up
from flows.essentry.client import EssentryClient
from flows.essentry.items import Item
from flows.night.batches import SENT_ACTIONS, Change, build_batches
from flows.night.ledger_writer import Ledger, _tell, _Write
from schemas.config_essentry import EssentryConfig
from schemas.errors import EssentryError, SyncError
from schemas.ledger import Outcome

GRACE_SECONDS = 5.0
"""After an interrupt, requests under way have so long to be answered; then their events are
unknown.
"""
SPARE_BATCHES = 2
"""So many more batches are at work than requests may be under way: they are read and recorded
meanwhile.
"""


@dataclass(frozen=True, slots=True)
class Proven:
    """Which deletes may be sent (seqs), and of others the code and the reason, where more is known
    than that nothing proves them.
    """

    seqs: Collection[int]
    doubts: Mapping[int, tuple[str, str]] = field(default_factory=dict)


ConfirmDelete = Callable[[Sequence[Item]], Collection[int] | Proven]
Progress = Callable[[int, int | None, Sequence[Outcome]], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of the changes. `error`: why sending stopped early, or that essentry was not
    reached; else None.
    """

    counts: dict[str, int]
    requests: int
    retries: int
    error: EssentryError | None
    stopped: bool

    @property
    def complete(self) -> bool:
        """True when every change was sent and confirmed."""
        return self.error is None and not self.stopped and set(self.counts) <= {"confirmed"}


def send_changes(
    changes: Iterable[Change],
    *,
    client: EssentryClient,
    ledger: Ledger,
    plan_id: str,
    run_id: str,
    clock: Callable[[], datetime],
    config: EssentryConfig,
    total: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    confirm_delete: ConfirmDelete | None = None,
) -> LoadResult:
    """`send_changes_async` in an event loop of its own; opens and closes the client.

    Ctrl-C raises KeyboardInterrupt after the requests under way are answered or recorded as
    unknown.
    """

    async def run() -> LoadResult:
        async with client:
            return await send_changes_async(
                changes,
                client=client,
                ledger=ledger,
                plan_id=plan_id,
                run_id=run_id,
                clock=clock,
                config=config,
                total=total,
                progress=progress,
                stop=stop,
                confirm_delete=confirm_delete,
            )

    return asyncio.run(run())


async def send_changes_async(
    changes: Iterable[Change],
    *,
    client: EssentryClient,
    ledger: Ledger,
    plan_id: str,
    run_id: str,
    clock: Callable[[], datetime],
    config: EssentryConfig,
    total: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    confirm_delete: ConfirmDelete | None = None,
) -> LoadResult:
    """Send changes through an open client, at most `config.concurrency` requests at once.

    `changes` are pages of the ledger (columns seq, source_id, action, body, ignore_missing, and
    state, of which only `planned` is sent) or iterables of `Item`; a source id occurs once. They
    are read in a thread of their own, at most `concurrency + SPARE_BATCHES` batches ahead. `expire`
    is confirmed without a request. Events keep their order within each kind of batch (see
    `build_batches`); requests overlap.

    `progress(done, total, outcomes)` is called for each batch after its outcomes are committed.
    `stop()` true: no further batch is begun; it is asked before each write that begins some.
    Ledger, `progress` and `stop` all run in one thread. `confirm_delete(items)` gets the deletes of
    a batch just before it is sent, in another thread, and returns the seqs that may be sent, or
    `Proven`; the others are held, as all are when it raises a SyncError.

    Sending stops early when the client has failed for good, and when `concurrency` (at least 2)
    batches in a row had no answer: what was not begun stays planned. Raises what the ledger or the
    pages raise, after the requests under way are recorded.
    """
    load = _Load(
        client, ledger, plan_id, run_id, clock, config, total, progress, stop, confirm_delete
    )
    return await load.run(changes)


@dataclass(slots=True)
class _Load:
    """One load: workers that each take a batch, mark, send and record it."""

    client: EssentryClient
    ledger: Ledger
    plan_id: str
    run_id: str
    clock: Callable[[], datetime]
    config: EssentryConfig
    total: int | None
    progress: Progress | None
    stop: Callable[[], bool] | None
    confirm_delete: ConfirmDelete | None
    counts: Counter[str] = field(default_factory=Counter)
    done: int = 0
    answered: int = 0
    unanswered_in_a_row: int = 0
    last_codes: deque[str | None] = field(default_factory=lambda: deque(maxlen=4))
    stopped: bool = False
    error: EssentryError | None = None
    broken: BaseException | None = None
    slots: asyncio.Semaphore = field(init=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: deque[_Write] = field(default_factory=deque)
    ledger_thread: ThreadPoolExecutor = field(init=False)
    page_thread: ThreadPoolExecutor = field(init=False)
    source_thread: ThreadPoolExecutor = field(init=False)

    async def run(self, changes: Iterable[Change]) -> LoadResult:
        config = self.config
        requests, retries = self.client.requests, self.client.retries
        batches = build_batches(
            changes,
            batch_events=config.batch_events,
            batch_bytes=config.batch_bytes,
            envelope_bytes=self.client.envelope_bytes,
        )
        self.slots = asyncio.Semaphore(config.concurrency)
        with (
            ThreadPoolExecutor(1, "ledger") as self.ledger_thread,
            ThreadPoolExecutor(1, "pages") as self.page_thread,
            ThreadPoolExecutor(1, "confirm-delete") as self.source_thread,
        ):
            workers = [
                asyncio.create_task(self._work(batches))
                for _ in range(config.concurrency + SPARE_BATCHES)
            ]
            try:
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                await self._wind_up(workers)
                raise
        if self.broken is not None:
            raise self.broken
        self.error = self.client.failure or self.error
        if self.error is None and (
            self.counts["planned"] or (self.unanswered_in_a_row and not self.answered)
        ):
            self.error = self._no_answer()
        return LoadResult(
            counts=dict(self.counts),
            requests=self.client.requests - requests,
            retries=self.client.retries - retries,
            error=self.error,
            stopped=self.stopped,
        )

    async def _wind_up(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """After an interrupt: no new request, a short wait for answers, then unknown."""
        self.stopped = True
        self.client.halt()
        _, late = await asyncio.wait(workers, timeout=GRACE_SECONDS)
        for worker in late:
            worker.cancel()
        if late:
            await asyncio.wait(late)

    async def _work(self, batches: Iterator[list[Item]]) -> None:
        """Batch after batch until there is none. The first error is kept; it ends the others after
        what they have begun.
        """
        try:
            while (batch := await self._next_batch(batches)) is not None:
                await self._send(batch)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.broken = self.broken or error
            self.client.halt()

    async def _next_batch(self, batches: Iterator[list[Item]]) -> list[Item] | None:
        async with self.turn:
            return (
                None
                if self._over()
                else await self._in_thread(self.page_thread, lambda: next(batches, None))
            )

    def _over(self) -> bool:
        return bool(self.stopped or self.broken or self.error or self.client.failure)

    async def _send(self, batch: list[Item]) -> None:
        if batch[0].action not in SENT_ACTIONS:
            await self._write(
                outcomes=[
                    Outcome(item.seq, item.source_id, "confirmed", None, None) for item in batch
                ],
                begins=True,
            )
            return
        async with self.slots:
            if self._over():
                return  # not marked, not sent: still planned
            if held := await self._hold_deletes(batch):
                left_out = {outcome.seq for outcome in held}
                batch = [item for item in batch if item.seq not in left_out]
                await self._write(outcomes=held)
                if not batch:
                    return
            outcomes = await self._put(batch)
        if outcomes is not None:
            self._watch(outcomes)
            await self._write(outcomes=outcomes)

    async def _put(self, batch: list[Item]) -> list[Outcome] | None:
        """Mark, then send; None: stopped before. Cut off in between, the batch is planned again;
        cut off later, it is unknown.
        """
        marking = self._ask_to_write(sending=[item.seq for item in batch], begins=True)
        sent = False
        try:
            if not await self._until_written(marking):
                return None
            sent = True
            return await self.client.put_events(batch)
        except BaseException:
            if sent:
                words = "the run was stopped before the answer came"
                await self._write(
                    outcomes=[
                        Outcome(i.seq, i.source_id, "unknown", "INTERRUPTED", words) for i in batch
                    ]
                )
            elif marking.written.exception() is None and marking.written.result():
                await self._write(
                    outcomes=[
                        Outcome(i.seq, i.source_id, "planned", "INTERRUPTED", None) for i in batch
                    ]
                )
            raise

    async def _hold_deletes(self, batch: Sequence[Item]) -> list[Outcome]:
        """Outcomes of the deletes that may not be sent: no proof, no delete."""
        deletes = [item for item in batch if item.action == "delete"]
        if self.confirm_delete is None or not deletes:
            return []
        confirm, why = (
            self.confirm_delete,
            ("NOT_CONFIRMED", "not shown to be absent from its source just before sending"),
        )
        try:
            found = await self._in_thread(self.source_thread, lambda: confirm(deletes))
        except SyncError as error:
            found, why = (), ("LOOK_FAILED", f"the source could not be asked again: {error}")
        proven = found if isinstance(found, Proven) else Proven(found)
        sure = set(proven.seqs)
        return [
            Outcome(i.seq, i.source_id, "held", *proven.doubts.get(i.seq, why))
            for i in deletes
            if i.seq not in sure
        ]

    # The ledger: what waits is written by its thread, as much at once as waits.

    async def _write(self, *, outcomes: Sequence[Outcome], begins: bool = False) -> None:
        await self._until_written(self._ask_to_write(outcomes=outcomes, begins=begins))

    def _ask_to_write(
        self, *, sending: Sequence[int] = (), outcomes: Sequence[Outcome] = (), begins: bool = False
    ) -> _Write:
        loop = asyncio.get_running_loop()
        write = _Write(sending, outcomes, begins, loop.create_future())
        self.waiting.append(write)
        self.ledger_thread.submit(self._write_waiting, loop)
        return write

    async def _until_written(self, write: _Write) -> bool:
        """Wait for the commit, even when this task is cancelled: whether it was written is always
        known. Raises what the write raised.
        """
        cancelled: asyncio.CancelledError | None = None
        while not write.written.done():
            try:
                await asyncio.wait([write.written])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            write.written.exception()
            raise cancelled
        return write.written.result()

    def _write_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the ledger's thread: all writes that wait, in one transaction; its failure is every
        one's. What `stop` raises is theirs that begin.
        """
        writes: list[_Write] = []
        while self.waiting:
            writes.append(self.waiting.popleft())
        refusal: bool | BaseException = False
        try:
            if self.stop is not None and any(write.begins for write in writes) and self.stop():
                self.stopped = True
        except BaseException as error:
            refusal = error
        begins = not self.stopped and refusal is False
        written = [write for write in writes if begins or not write.begins]
        results = [(write, refusal) for write in writes if write.begins and not begins]
        try:
            if written:
                sending = [seq for write in written for seq in write.sending]
                outcomes = [outcome for write in written for outcome in write.outcomes]
                self.ledger.write_down(
                    self.plan_id, sending, outcomes, run_id=self.run_id, now=self.clock()
                )
        except BaseException as error:
            results += [(write, error) for write in written]
        else:
            results += [(write, self._count(write)) for write in written]
        if results:
            loop.call_soon_threadsafe(_tell, results)

    def _count(self, write: _Write) -> bool | BaseException:
        """After its commit; what `progress` raises ends the load, and takes nothing back."""
        self.counts.update(outcome.state for outcome in write.outcomes)
        self.done += sum(outcome.state != "planned" for outcome in write.outcomes)
        try:
            if self.progress is not None and write.outcomes:
                self.progress(self.done, self.total, write.outcomes)
        except BaseException as error:
            return error
        return True

    def _watch(self, outcomes: Sequence[Outcome]) -> None:
        """Give up when nothing is answered any more; one batch without an answer may be that
        batch's own fault.
        """
        if any(
            outcome.state in ("confirmed", "rejected") or outcome.code == REFUSED_AFTER_LOSS
            for outcome in outcomes
        ):
            self.answered += 1
            self.unanswered_in_a_row = 0
            self.last_codes.clear()
            return
        self.unanswered_in_a_row += 1
        self.last_codes.append(outcomes[-1].code)
        if self.unanswered_in_a_row >= max(2, self.config.concurrency):
            self.error = self.error or self._no_answer()

    def _no_answer(self) -> EssentryError:
        why = tell_giving_up(self.last_codes)
        return EssentryError(
            "essentry gave no usable answer at "
            f"{self.config.base_url}{f' ({why})' if why else ''}: what was not sent stays "
            "planned; check the network and essentry's state, then apply the plan again or wait "
            "for the next run"
        )

    async def _in_thread(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        """Run work in its thread. Once begun it is waited for even when this task is cancelled: a
        write is never left open.
        """
        running = asyncio.get_running_loop().run_in_executor(thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await running
            raise
