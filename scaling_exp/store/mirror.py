"""A store in a bucket, and its mirror: a folder of this machine that is a store like any other.

All reading and writing is done in the mirror. A part never changes, so one that is here is right; it is fetched once.
Journals and parts that are not sent yet are in the mirror alone: a journal is removed when its part is in the bucket,
so one that a killed driver left is sent when a run starts on this machine again. A run's other files are the same here
and there when their sizes and ages are; what is newer there is fetched, what was changed here is sent.
"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path as FilePath
from uuid import uuid4

from scaling_exp.store.elsewhere import every
from scaling_exp.store.files import StoreError, Unreachable, locked, locked_if_free, replacing
from scaling_exp.store.lease import BEAT_SECONDS, FOLDER, LEASE_SECONDS, Lease, leases
from scaling_exp.store.objects import Address, Objects, Stat, each_at_once
from scaling_exp.store.parts import sealed_parts

SPOOL = "SCALING_EXP_SPOOL"
"""Variable that names the folder of mirrors."""
ORIGIN = ".url"
"""File of a mirror that says of what."""
SEAL_SECONDS = 60.0
TOLD_BYTES = 64 << 20
"""To fetch more than this is told."""
PART = re.compile(r"[^/.][^/]*/draws/[^/.][^/]*\.parquet")
LEASED = re.compile(rf"([^/.][^/]*)/{re.escape(FOLDER)}/([^/]+)")
ABOUT_RUN = re.compile(r"[^/.][^/]*/(manifest\.json|state\.json|engines\.parquet)")


@dataclass(frozen=True)
class Mirror:
    """Where a store in a bucket is on this machine; an `Elsewhere`."""

    root: FilePath
    objects: Objects
    seal_seconds: float = SEAL_SECONDS

    @classmethod
    def of(cls, url: str) -> Mirror:
        """The mirror of a store's URL, made where there is none. Raises StoreError."""
        address = Address.of(url)
        root = folder_of(address)
        objects = Objects.at(address)
        root.mkdir(parents=True, exist_ok=True)
        if not (root / ORIGIN).exists():
            (root / ORIGIN).write_text(f"{address}\n")
        return cls(root, objects)

    # Parts

    def take_parts(self) -> None:
        # In this order: what is here without a journal was in the bucket before it is listed.
        sent = [each for each in sealed_parts(self.root) if not _journal(each).exists()]
        listed = {
            name: stat for name, stat in self.objects.listing().items() if PART.fullmatch(name)
        }
        for part in sent:
            if self._name(part) not in listed:
                part.rename(part.with_suffix(".gone"))
                warnings.warn(
                    f"{self.url(part)} is gone; what it held is in {part.with_suffix('.gone')}",
                    stacklevel=2,
                )
        here = {name: Stat.of(self.root / name) for name in listed}
        wanted = {
            name: stat
            for name, stat in listed.items()
            if (mine := here[name]) is None or mine.size != stat.size
        }
        num_bytes = sum(stat.size for stat in wanted.values())
        if num_bytes > TOLD_BYTES:
            print(
                f"fetching {len(wanted)} parts of {self.objects.address}, {num_bytes / 1e6:,.0f} MB",
                file=sys.stderr,
            )
        self._fetch(wanted)

    def send_part(self, part: FilePath) -> None:
        if part.exists():  # all of its draws may have been in others
            self.objects.put(part, self._name(part))

    # What runs say

    def take_runs(self) -> None:
        listed = self.objects.listing()
        about = {name: stat for name, stat in listed.items() if ABOUT_RUN.fullmatch(name)}
        by_run: dict[str, dict[str, Stat]] = {}
        for name, stat in about.items():
            by_run.setdefault(name.split("/")[0], {})[name] = stat
        each_at_once(self._take, by_run.items())

    def take_run(self, run: FilePath) -> None:
        self._take(run.name, self._read(run.name))

    def _read(self, run: str) -> dict[str, Stat]:
        """What a run has there, of the files that others read: those at its top."""
        listed = self.objects.listing(run)
        top = re.compile(rf"{re.escape(run)}/[^/.][^/]*")
        return {name: stat for name, stat in listed.items() if top.fullmatch(name)}

    def _take(self, run: str, listed: dict[str, Stat]) -> None:
        """Unless a process of this machine works on the run: then the newest is here."""
        newer = self._newer(listed)
        if not newer:
            return
        lock = self.root / run / ".lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        with locked_if_free(lock) as is_ours:
            if is_ours:
                self._fetch(newer)

    def _newer(self, listed: dict[str, Stat]) -> dict[str, Stat]:
        here = {name: Stat.of(self.root / name) for name in listed}
        return {
            name: stat
            for name, stat in listed.items()
            if (mine := here[name]) is None or mine.modified < stat.modified
        }

    @contextmanager
    def sending(self, run: FilePath) -> Iterator[None]:
        before = self._stats(run)
        yield
        if self.is_held(run.name):
            raise StoreError(
                f"{self.url(run)} is being worked on; what was made of it is in {run} alone"
            )
        self._send(
            run, [name for name, stat in self._stats(run).items() if stat != before.get(name)]
        )

    @contextmanager
    def held(self, run: FilePath) -> Iterator[None]:
        lease = Lease(self.objects, run.name, self._machine())
        with lease.taken():
            self._fetch(self._newer(self._read(run.name)))
            before = self._stats(run)
            with every(BEAT_SECONDS, partial(self._beat, lease, run, {})):
                try:
                    yield
                except BaseException:
                    with suppress(Unreachable):  # what happened first is what is told
                        self._send_at_last(run, before)
                    raise
                self._send_at_last(run, before)

    def _send_at_last(self, run: FilePath, before: Mapping[str, Stat]) -> None:
        """Send what changed, and what a driver that was killed could not send."""
        try:
            there = self.objects.listing(run.name)
            self._send(
                run,
                [
                    name
                    for name, stat in self._stats(run).items()
                    if stat != before.get(name)
                    or (sent := there.get(name)) is None
                    or sent.modified < stat.modified
                ],
            )
        except Unreachable as error:
            raise Unreachable(
                f"{error}; the run's files are in {run} of this machine, and are sent when the same command runs here"
                " again"
            ) from error

    def _stats(self, run: FilePath) -> dict[str, Stat]:
        """A run's files here, without draws."""
        found = ((self._name(file), Stat.of(file)) for file in _files_of(run))
        return {name: stat for name, stat in found if stat}

    def _send(self, run: FilePath, names: Sequence[str]) -> None:
        """Send files, and make them as old as the objects that they became."""
        if not names:
            return
        each_at_once(self.objects.put, ((self.root / name, name) for name in names))
        there = self.objects.listing(run.name)
        for name in names:
            here, sent = Stat.of(self.root / name), there.get(name)
            if here and sent and here.size == sent.size:
                os.utime(self.root / name, ns=(sent.modified, sent.modified))

    def _beat(self, lease: Lease, run: FilePath, sent: dict[FilePath, Stat]) -> None:
        """What is done for a held run every few seconds: its lease is put again, and what it says of itself."""
        with suppress(Unreachable, OSError):  # the next beat may do it; the end tells what was not
            lease.renew()
            for file in run.glob("[!.]*.json"):
                stat = Stat.of(file)
                if stat and sent.get(file) != stat:
                    self.objects.put(file, self._name(file))
                    sent[file] = stat

    def is_held(self, run: str) -> bool:
        oldest = 1e9 * (time.time() - LEASE_SECONDS)
        return any(stat.modified > oldest for stat in leases(self.objects, run).values())

    def at_work(self) -> set[str]:
        oldest = 1e9 * (time.time() - LEASE_SECONDS)
        mine = self._machine()
        found = ((LEASED.fullmatch(name), stat) for name, stat in self.objects.listing().items())
        return {
            lease[1]
            for lease, stat in found
            if lease and lease[2] != mine and stat.size and stat.modified > oldest
        }

    def url(self, file: FilePath) -> str:
        return f"{self.objects.address}/{self._name(file)}".removesuffix("/.")

    def _fetch(self, listed: dict[str, Stat]) -> None:
        wanted = ((name, stat, self.root / name) for name, stat in listed.items())
        each_at_once(self.objects.fetch, wanted)

    def _name(self, file: FilePath) -> str:
        return file.relative_to(self.root).as_posix()

    def _machine(self) -> str:
        """The name of this mirror among all, made at its first run."""
        file = self.root / ".machine"
        with locked(self.root / ".naming"):
            if not file.exists():
                with replacing(file) as new:
                    new.write_text(uuid4().hex[:12])
        return file.read_text()


def folder_of(address: Address) -> FilePath:
    """Where the mirror of a store is: under `SCALING_EXP_SPOOL`, else in the user's cache."""
    name = sha256(f"{address} {address.endpoint}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.-]+", "-", address.base)
    if spool := os.environ.get(SPOOL):
        return FilePath(spool).expanduser().resolve() / f"{readable}-{name}"
    cache = FilePath(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "scaling_exp" / "stores" / f"{readable}-{name}"


def uri_of(file: FilePath, store: FilePath) -> str:
    """Where a file in a store's folder really is: the object, if the folder is a mirror."""
    origin = store / ORIGIN
    if origin.is_file():
        return f"{origin.read_text().strip()}/{file.relative_to(store).as_posix()}"
    return file.resolve().as_uri()


def _journal(part: FilePath) -> FilePath:
    return part.with_suffix(".journal")


def _files_of(run: FilePath) -> Iterator[FilePath]:
    """A run's own files: no draws, which are sent as they are sealed, and nothing hidden."""
    for folder, folders, files in os.walk(run):
        folders[:] = [
            each
            for each in folders
            if not each.startswith(".") and not (each == "draws" and folder == str(run))
        ]
        for each in files:
            file = FilePath(folder, each)
            if not each.startswith(".") and file.is_file() and not file.is_symlink():
                yield file
