"""Where the parts of a divided night lie between its stages: in memory, or in a folder. No rules.

A folder holds people's names and addresses while the night runs: it is readable by its owner alone,
and what a killed run left in it goes with the next run.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from uuid import uuid4

import pyarrow as pa

from schemas.errors import ConfigurationError, StateError

T = TypeVar("T")
Content = TypeVar("Content", covariant=True)
_MARK = "essentry-sync-night-"


class Place(Protocol[Content]):
    """Something that was put on a shelf. It can travel to another process, which must reach the
    folder, too.
    """

    def look(self) -> Content:
        """The content; it stays."""

    def take(self) -> Content:
        """The content; it is gone from the shelf, and the memory or file is free again."""


@dataclass
class _InMemory(Generic[T]):
    content: T | None

    def look(self) -> T:
        return self.content  # type: ignore[return-value]

    def take(self) -> T:
        content, self.content = self.content, None
        return content  # type: ignore[return-value]


@dataclass
class _InFile(Generic[T]):
    path: Path

    def look(self) -> T:
        with explain_failure(self.path), pa.input_stream(str(self.path), compression="lz4") as file:
            return pickle.load(file)  # noqa: S301  our own file, in a folder that is nobody else's

    def take(self) -> T:
        content = self.look()
        self.path.unlink()
        return content


@dataclass(frozen=True)
class Shelf:
    """`folder`: where the parts lie, or None for memory."""

    folder: Path | None = None

    def put(self, content: T) -> Place[T]:
        """Lay something down."""
        if self.folder is None:
            return _InMemory(content)
        path = self.new_path()
        with explain_failure(path), pa.output_stream(str(path), compression="lz4") as file:
            pickle.dump(content, file, protocol=5)
        return _InFile(path)

    def write_pages(self, pages: Iterable[T]) -> Callable[[], Iterator[T]]:
        """Write one after the other into a file, and give a way to read them again, once and one at
        a time.
        """
        path = self.new_path()
        with explain_failure(path), pa.output_stream(str(path), compression="lz4") as file:
            for page in pages:
                pickle.dump(page, file, protocol=5)

        def read() -> Iterator[T]:
            with (
                explain_failure(path),
                pa.input_stream(str(path), compression="lz4") as file,
                suppress(EOFError),
            ):
                while True:
                    yield pickle.load(file)  # noqa: S301  our own file, in a folder that is nobody else's
            path.unlink(missing_ok=True)

        return read

    def new_path(self) -> Path:
        """A file that is not there yet."""
        if self.folder is None:
            raise RuntimeError("a shelf in memory has no files")
        return self.folder / uuid4().hex


def release_memory() -> None:
    """Give back to the machine what a stage had and the next may not need: Arrow's memory, and
    where it can be asked (glibc) everybody else's.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def open_shelf(folder: Path | None) -> Iterator[Shelf]:
    """A shelf for one night: in a new folder inside of `folder`, which is removed at the end, or in
    memory.

    Raises ConfigurationError when the folder cannot be used. What nobody holds a lock on any more
    is a killed run's, and is removed.
    """
    if folder is None:
        yield Shelf()
        return
    name = uuid4().hex
    draft, mine = folder / f".{name}", folder / f"{_MARK}{name}"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for old in folder.glob(f"{_MARK}*"):
                with suppress(OSError), _lock(old):
                    shutil.rmtree(old, ignore_errors=True)
            draft.mkdir(mode=0o700)
            stack.enter_context(_lock(draft))
            draft.rename(mine)  # held before another night can see it
        except OSError as error:
            raise ConfigurationError(
                f"scale.folder: {folder} cannot be used ({error.strerror}): "
                "name a folder that this user may write to"
            ) from None
        try:
            yield Shelf(mine)
        finally:
            with suppress(OSError):
                shutil.rmtree(mine)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a folder as long as this process lives. Raises OSError when another one holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """A failure of the disk under a file of the shelf as a StateError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StateError(
            f"scale.folder: {path.parent} cannot be used ({reason}): make room, "
            "or name another folder; nothing was sent"
        ) from None
