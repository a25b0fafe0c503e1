"""The folders: a store of runs that share one pool of draws, and the files of one run."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from scaling_exp.store import mirror
from scaling_exp.store.elsewhere import HERE, Elsewhere
from scaling_exp.store.files import StoreError, locked_if_free, replacing, writing
from scaling_exp.store.journal import Journal, whole_batches
from scaling_exp.store.objects import Address
from scaling_exp.store.parts import Pool, seal, sealed_parts, sealing, set_aside_torn, settle


def folder_of(where: str) -> FilePath:
    """The folder of this machine in which a store is, or is mirrored. Raises StoreError for a URL that cannot be."""
    if where.startswith("file://"):
        return FilePath(unquote(urlsplit(where).path))
    return FilePath(where) if _is_folder(where) else mirror.folder_of(Address.of(where))


def _is_folder(where: str) -> bool:
    return "://" not in where or where.startswith("file://")


@dataclass(frozen=True)
class Store:
    """A folder of runs that share one pool of draws. Of a store that is elsewhere it is the copy on this machine."""

    root: FilePath
    elsewhere: Elsewhere = HERE

    @classmethod
    def at(cls, where: str) -> Store:
        """The store in a folder, or at `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `file://FOLDER`.

        Raises StoreError for another URL.
        """
        if _is_folder(where):
            return cls(folder_of(where))
        copy = mirror.Mirror.of(where)
        return cls(copy.root, copy)

    @property
    def url(self) -> str:
        """Where it really is."""
        return self.elsewhere.url(self.root)

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run, which need not be there yet."""
        return RunFolder(self.root / run_id, self.elsewhere)

    def pool(self, fingerprint: str) -> Pool:
        """The sealed draws of one model."""
        return Pool(self.root, fingerprint)

    def parts(self) -> frozenset[FilePath]:
        """All that is sealed by now."""
        return frozenset(sealed_parts(self.root))

    def recover(self) -> int:
        """Bring what others drew, and mend what crashes left: torn parts are set aside, and journals whose writers died
        become parts.

        The number of draws found in journals. Raises StoreError when there is no room to write them.
        """
        if not self.root.is_dir():
            return 0
        with sealing(self.root):
            self.elsewhere.take_parts()
            set_aside_torn(self.root)
            for leftover in self.root.glob("*/draws/.*.parquet.*"):
                leftover.unlink()
        journals = sorted(self.root.glob("*/draws/*.journal"))
        num_draws = sum(_recovered(each, self.elsewhere) for each in journals)
        if num_draws and self.elsewhere is not HERE:
            print(f"sent {num_draws:,} draws that a driver left in {self.root}", file=sys.stderr)
        return num_draws

    def take(self) -> None:
        """Bring the draws that other machines have sealed, and what their runs say of themselves."""
        if self.elsewhere is not HERE:
            with sealing(self.root):
                self.elsewhere.take_parts()
            self.elsewhere.take_runs()

    def runs(self) -> list[RunFolder]:
        """Every run of the store, by name, with what it says of itself."""
        self.elsewhere.take_runs()
        files = (
            file for name in ("manifest", "state") for file in self.root.glob(f"*/{name}.json")
        )
        return [self.run(each) for each in sorted({file.parent.name for file in files})]

    def drawing(self) -> list[str]:
        """Runs that another process is drawing for at this moment, or that another machine works on."""
        journals = sorted(self.root.glob("*/draws/*.journal"))
        here = {each.parent.parent.name for each in journals if _has_writer(each)}
        return sorted(here | self.elsewhere.at_work())


def _recovered(journal: FilePath, elsewhere: Elsewhere) -> int:
    with locked_if_free(journal) as is_ours:
        if not is_ours:
            return 0
        num_draws = seal(journal, list(whole_batches(journal)), frozenset(), elsewhere)
        settle(journal, elsewhere)
    return num_draws


def _has_writer(journal: FilePath) -> bool:
    with locked_if_free(journal) as is_free:
        return not is_free and journal.exists()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Of a store that is elsewhere they are the copies on this machine."""

    path: FilePath
    elsewhere: Elsewhere = HERE

    @classmethod
    def at(cls, where: str) -> RunFolder:
        """The run at a path, or at a URL, from where its files are brought without its draws. Raises StoreError."""
        if _is_folder(where):
            return cls(folder_of(where))
        url, question, options = where.partition("?")
        store, _, name = url.rstrip("/").rpartition("/")
        return Store.at(f"{store}{question}{options}").run(name).take()

    def take(self) -> RunFolder:
        """The same, with its files brought here."""
        self.elsewhere.take_run(self.path)
        return self

    def sending(self) -> AbstractContextManager[None]:
        """What is changed of the run's files in the block is sent at its end to where the run really is.

        Raises StoreError if it cannot be, or if the run is being worked on.
        """
        return self.elsewhere.sending(self.path)

    def url(self, file: FilePath) -> str:
        """Where a file of the run really is."""
        return self.elsewhere.url(file)

    @property
    def manifest(self) -> FilePath:
        return self.path / "manifest.json"

    def read_manifest(self) -> dict:
        """Raises StoreError when there is none, or none that can be read."""
        if not self.manifest.is_file():
            raise StoreError(
                f"{self.url(self.path)} is not a run: it has no manifest.json; give the folder that `run` printed"
            )
        try:
            return json.loads(self.manifest.read_text())
        except ValueError as error:
            raise StoreError(
                f"{self.url(self.manifest)} is damaged ({error}); the command that made the run makes it again once it"
                " is moved away"
            ) from None

    def write_json(self, name: str, content: Mapping) -> None:
        """Write `name`.json."""
        with self.replacing(f"{name}.json") as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")

    def read_text(self, name: str) -> str | None:
        """The file `name`; None where there is none."""
        file = self.path / name
        return file.read_text() if file.is_file() else None

    def append_line(self, name: str, line: str) -> None:
        """Append one line to the file `name`. Raises StoreError."""
        with writing(self.path / name), (self.path / name).open("a") as file:
            file.write(f"{line}\n")

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write `name`.parquet so that a reader sees the old table or the new one, never half of it."""
        with self.replacing(f"{name}.parquet") as partial:
            pq.write_table(table, partial, compression="zstd")

    @contextmanager
    def replacing(self, name: str) -> Iterator[FilePath]:
        """A temporary path that becomes the file `name` when the block ends well. Raises StoreError."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / name) as partial:
            yield partial

    def has_table(self, name: str) -> bool:
        return self._table(name).is_file()

    def column_names(self, name: str) -> list[str]:
        """Raises StoreError when the run has not got that far."""
        return pq.read_schema(self._existing(name)).names

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All columns, or those named. Raises StoreError when the run has not got that far."""
        return pq.read_table(
            self._existing(name), columns=None if columns is None else list(columns)
        )

    def _existing(self, name: str) -> FilePath:
        file = self._table(name)
        if not file.is_file():
            raise StoreError(
                f"{self.url(file)} is missing: the run has not finished; run it again to go on"
            )
        return file

    def _table(self, name: str) -> FilePath:
        return self.path / f"{name}.parquet"

    @property
    def is_locked(self) -> bool:
        """Whether a process works on it at this moment, on whatever machine."""
        lock = self.path / ".lock"
        with locked_if_free(lock) as is_free:
            is_held_here = not is_free and lock.exists()
        return is_held_here or self.elsewhere.is_held(self.path.name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone. Raises StoreError when another one works on it."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "w")  # noqa: SIM115 - closed below
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{self.path} is being written by another process") from None
            with self.elsewhere.held(self.path):
                yield

    def journal(self, surveyed: frozenset[FilePath]) -> Journal:
        """A writer of draws by one who knows what the parts `surveyed` hold; use it as a context."""
        return Journal(self.path / "draws", surveyed, self.elsewhere)
