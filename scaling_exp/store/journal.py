"""The journal: draws as they come, each batch safe against `kill -9` once `append` returns.

An Arrow stream on disk, to which batches are appended as they came from a worker. When it has grown it is sealed into a
Parquet part by a thread, while draws go on into the next one; so a crash leaves little to turn into a part.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from uuid import uuid4

import pyarrow as pa

from scaling_exp.store.draws import DRAWS
from scaling_exp.store.files import StoreError, writing
from scaling_exp.store.parts import rows_of, seal

SEAL_BYTES = 64 << 20


@dataclass(eq=False)
class Journal:
    """Appends encoded draws to a run's `draws` folder; use it as a context, which leaves sealed parts behind.

    `surveyed` are the parts whose draws this run knows of. Draws that another run has sealed since are dropped when
    this one is sealed: the pool holds a draw once.
    """

    folder: FilePath
    surveyed: frozenset[FilePath]
    seal_bytes: int = SEAL_BYTES
    num_draws: int = 0
    _open: list[_JournalFile] = field(default_factory=list)
    _sealing: list[Future[int]] = field(default_factory=list)

    def __enter__(self) -> Journal:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._file = self._next()
        return self

    def append(self, batch: bytes, num_draws: int) -> None:
        """Write the draws of one `encode`. Raises StoreError when they, or an earlier part, cannot be written."""
        self._raise_what_sealing_raised()
        self._file.write(batch)
        self.num_draws += num_draws
        if self._file.num_bytes >= self.seal_bytes:
            self._seal_later(self._file)
            self._file = self._next()

    def rows(self, roots: Collection[str]) -> Iterator[pa.Table]:
        """Draws of some roots that this run has appended and not yet sealed."""
        for file in list(self._open):
            with suppress(FileNotFoundError):  # sealed meanwhile: its draws are in a part now
                yield rows_of(pa.Table.from_batches(whole_batches(file.path), DRAWS), roots)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._seal_later(self._file)
        self._sealer.shutdown()
        for file in list(self._open):  # those that could not be sealed: the next run will
            file.close()
        if kind is None:
            self._raise_what_sealing_raised()

    def _next(self) -> _JournalFile:
        file = _JournalFile(self.folder / f"{uuid4().hex}.journal")
        self._open.append(file)
        return file

    def _seal_later(self, file: _JournalFile) -> None:
        self._sealing.append(self._sealer.submit(self._seal, file))

    def _seal(self, file: _JournalFile) -> int:
        num_draws = seal(file.path, list(whole_batches(file.path)), self.surveyed)
        self._open.remove(file)
        file.close()
        self.surveyed |= {file.path.with_suffix(".parquet")}
        return num_draws

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
        self.write(DRAWS.serialize().to_pybytes())

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
