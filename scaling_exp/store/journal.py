"""The journal: draws as they come, each batch safe against `kill -9` once `append` returns.

An Arrow stream on disk, to which batches are appended as they came from a worker. When it has grown it is sealed into a
Parquet part by a thread, while draws go on into the next one; so a crash leaves little to turn into a part. The part of
a store that is elsewhere is sent there, and the journal is kept until it is.
"""

from __future__ import annotations

import fcntl
import os
import sys
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from threading import Lock
from uuid import uuid4

import pyarrow as pa

from scaling_exp.store.draws import DRAWS
from scaling_exp.store.elsewhere import HERE, Elsewhere, every
from scaling_exp.store.files import StoreError, Unreachable, writing
from scaling_exp.store.parts import rows_of, seal, settle

SEAL_BYTES = 64 << 20
HEAD = DRAWS.serialize().to_pybytes()
"""What a journal begins with."""


@dataclass(eq=False)
class Journal:
    """Appends encoded draws to a run's `draws` folder; use it as a context, which leaves sealed parts behind.

    `surveyed` are the parts whose draws this run knows of. Draws that another run has sealed since are dropped when
    this one is sealed: the pool holds a draw once.
    """

    folder: FilePath
    surveyed: frozenset[FilePath]
    elsewhere: Elsewhere = HERE
    seal_bytes: int = SEAL_BYTES
    num_draws: int = 0
    _open: list[_JournalFile] = field(default_factory=list)
    _unsettled: list[_JournalFile] = field(default_factory=list)
    """Sealed, and not yet where the store is."""
    _sealing: list[Future[None]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    """Held while a file is chosen and written."""
    _running: ExitStack = field(default_factory=ExitStack)
    _refusal: str = ""
    """Why something could not be sent."""

    def __enter__(self) -> Journal:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._file = self._next()
        if self.elsewhere is not HERE:
            print(
                f"draws are kept in {self.folder} and sent every {self.elsewhere.seal_seconds:g} s; what is not sent"
                " is lost if this machine is",
                file=sys.stderr,
            )
        self._running.enter_context(every(self.elsewhere.seal_seconds, self._seal_what_there_is))
        return self

    def append(self, batch: bytes, num_draws: int) -> None:
        """Write the draws of one `encode`. Raises StoreError when they, or an earlier part, cannot be written."""
        with self._lock:
            self._raise_what_sealing_raised()
            self._file.write(batch)
            self.num_draws += num_draws
            if self._file.num_bytes >= self.seal_bytes:
                self._go_on_in_another()

    def rows(self, roots: Collection[str]) -> Iterator[pa.Table]:
        """Draws of some roots that this run has appended and not yet sealed."""
        for file in list(self._open):
            with suppress(FileNotFoundError):  # sealed meanwhile: its draws are in a part now
                yield rows_of(pa.Table.from_batches(whole_batches(file.path), DRAWS), roots)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._running.close()
        self._seal_later(self._file)
        self._sealer.shutdown()
        for file in [
            *self._open,
            *self._unsettled,
        ]:  # the next run on this machine will seal or send them
            file.close()
        if kind is None:
            self._raise_what_sealing_raised()
            if self._unsettled:
                raise Unreachable(
                    f"{self._refusal}; what was drawn is in {self.folder} of this machine, and is sent when the same"
                    " command runs here again"
                )

    def _next(self) -> _JournalFile:
        file = _JournalFile(self.folder / f"{uuid4().hex}.journal")
        self._open.append(file)
        return file

    def _seal_what_there_is(self) -> None:
        with self._lock, suppress(StoreError):  # a full disk is told where draws are written
            if self._file.num_bytes > len(HEAD):
                self._go_on_in_another()

    def _go_on_in_another(self) -> None:
        full, self._file = self._file, self._next()
        self._seal_later(full)

    def _seal_later(self, file: _JournalFile) -> None:
        self._sealing.append(self._sealer.submit(self._seal, file))

    def _seal(self, file: _JournalFile) -> None:
        seal(file.path, list(whole_batches(file.path)), self.surveyed, self.elsewhere)
        self._open.remove(file)
        self._unsettled.append(file)
        self.surveyed |= {file.path.with_suffix(".parquet")}
        self._settle()

    def _settle(self) -> None:
        """A place that cannot be reached for a while costs a warning: the next part brings the earlier ones along."""
        try:
            for file in list(self._unsettled):
                settle(file.path, self.elsewhere)
                self._unsettled.remove(file)
                file.close()
        except Unreachable as error:
            if not self._refusal:
                warnings.warn(f"{error}; draws are kept here until they can be sent", stacklevel=2)
            self._refusal = str(error)

    def _raise_what_sealing_raised(self) -> None:
        done = [each for each in self._sealing if each.done()]
        self._sealing = [each for each in self._sealing if not each.done()]
        for each in done:
            each.result()


class _JournalFile:
    """One stream on disk, locked as long as its writer lives. Raises StoreError when it cannot be written."""

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self.num_bytes = 0
        # Locked before it has its name: nobody can take it for the journal of a writer that died.
        unnamed = path.with_suffix(".unnamed")
        with writing(path):
            self._descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.rename(unnamed, path)
        self.write(HEAD)

    def write(self, message: bytes) -> None:
        """Append all of it or nothing."""
        try:
            with writing(self.path):
                self._write_all(memoryview(message))
        except StoreError:
            os.ftruncate(self._descriptor, self.num_bytes)
            raise
        self.num_bytes += len(message)

    def _write_all(self, left: memoryview) -> None:
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._descriptor)


def whole_batches(journal: FilePath) -> Iterator[pa.RecordBatch]:
    """Batches up to the first that was cut short by a crash. Raises FileNotFoundError."""
    with open(journal, "rb") as file, suppress(pa.ArrowInvalid, OSError, StopIteration):
        reader = pa.ipc.open_stream(file)
        while True:
            yield reader.read_next_batch()
