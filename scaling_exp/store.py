"""What a run leaves on disk: the truth, of which every log, plot and dashboard is a view.

    ROOT/RUN/manifest.json       resolved configuration, versions, fingerprints
    ROOT/RUN/draws/*.parquet     every draw that this run paid for; the pool is the union over all runs of ROOT
    ROOT/RUN/traces.parquet      every node of every forest, and the draw it is
    ROOT/RUN/grades.parquet      every distinct answer to a problem, and whether it is right
    ROOT/RUN/samples.parquet     the tidy join of the three, with text: one row per accepted leaf

A draw is (model, prefix token ids, sampling, seed) and its key is a hash of these, so it is found again by whatever run
asks for it next. Between two Parquet parts draws go to a journal (an Arrow stream, flushed at every batch): after
`kill -9` the next run turns what it holds into a part. This module knows tables; it knows neither engines nor tasks.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import IO
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from scaling_exp.generation import Sampler
from scaling_exp.types import Completion, Sampling, Tokens, UserError

Known = dict[str, Completion]
"""Finished draws of one root by key."""

NOT_DRAWN = Completion((), "length")

DRAWS = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("fingerprint", pa.string()),
        ("root", pa.string()),
        ("prefix", pa.list_(pa.int32())),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("tokens", pa.list_(pa.int32())),
        ("finish_reason", pa.string()),
        ("num_cached_tokens", pa.int32()),
    ]
)


class StoreError(UserError):
    """The store cannot be used as it is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One request to an engine and what came back.

    `fingerprint` identifies the weights, `model` only names them; `root` is the name that the seed was hashed from.
    """

    model: str
    fingerprint: str
    root: str
    prefix: Tokens
    sampling: Sampling
    seed: int
    completion: Completion

    @property
    def key(self) -> str:
        return draw_key(self.fingerprint, self.prefix, self.sampling, self.seed)


def draw_key(fingerprint: str, prefix: Tokens, sampling: Sampling, seed: int) -> str:
    """Content address of a draw: 128 bits over everything that decides its distribution."""
    state = _hash_of_kind(fingerprint, sampling).copy()
    state.update(array("q", (seed, *prefix)).tobytes())
    return state.hexdigest()


@lru_cache(maxsize=4096)
def _hash_of_kind(fingerprint: str, sampling: Sampling) -> blake2b:
    return blake2b(f"{fingerprint} {sampling_json(sampling)} ".encode(), digest_size=16)


@lru_cache(maxsize=4096)
def sampling_json(sampling: Sampling) -> str:
    """Canonical text of a `Sampling`."""
    return json.dumps(asdict(sampling), sort_keys=True)


@dataclass(frozen=True)
class Store:
    """A folder of runs that share one pool of draws."""

    root: FilePath

    def run(self, run_id: str) -> RunFolder:
        """The folder of one run, which need not be there yet."""
        return RunFolder(self.root / run_id)

    def recover(self) -> int:
        """Turn journals whose writers died into parts; the number of draws found in them."""
        journals = sorted(self.root.glob("*/draws/*.journal"))
        return sum(_seal(journal) for journal in journals if not _is_locked(journal))

    def pool(self, fingerprint: str) -> dict[str, Known]:
        """Every finished draw of one model from every run: by root, then by key."""
        files = sorted(map(str, self.root.glob("*/draws/*.parquet")))
        if not files:
            return {}
        table = pads.dataset(files, schema=DRAWS).to_table(
            columns=["root", "key", "tokens", "finish_reason", "num_cached_tokens"],
            filter=pads.field("fingerprint") == fingerprint,
        )
        pool: dict[str, Known] = {}
        columns = (column.to_pylist() for column in table.columns)
        for root, key, tokens, finish_reason, num_cached_tokens in zip(*columns, strict=True):
            known = pool.setdefault(root, {})
            known[key] = Completion(tuple(tokens), finish_reason, num_cached_tokens)
        return pool


@dataclass(eq=False)
class Replay:
    """A sampler that only knows what is drawn already; what is not is noted in `missing` and comes back empty."""

    fingerprint: str
    known: Known
    missing: set[str] = field(default_factory=set)

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        key = draw_key(self.fingerprint, prefix, sampling, seed)
        if key not in self.known:
            self.missing.add(key)
        return self.known.get(key, NOT_DRAWN)


@dataclass(eq=False)
class Pooled:
    """A sampler that asks the pool before the engine, and never asks the engine twice for one draw."""

    model: str
    fingerprint: str
    root: str
    known: Known
    sampler: Sampler
    record: Callable[[Draw], None]
    _drawing: dict[str, asyncio.Task[Completion]] = field(default_factory=dict)

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        key = draw_key(self.fingerprint, prefix, sampling, seed)
        if key in self.known:
            return self.known[key]
        if key not in self._drawing:
            drawing = self._draw(key, prefix, sampling, seed)
            self._drawing[key] = asyncio.ensure_future(drawing)
        return await self._drawing[key]

    async def _draw(self, key: str, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        completion = await self.sampler(prefix, sampling, seed)
        self.known[key] = completion
        draw = Draw(self.model, self.fingerprint, self.root, prefix, sampling, seed, completion)
        self.record(draw)
        return completion


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: FilePath

    @property
    def manifest(self) -> FilePath:
        return self.path / "manifest.json"

    def read_manifest(self) -> dict:
        """Raises StoreError when there is none."""
        if not self.manifest.is_file():
            raise StoreError(
                f"{self.path} is not a run: it has no manifest.json; give the folder that `run` printed"
            )
        return json.loads(self.manifest.read_text())

    def write_json(self, name: str, content: Mapping) -> None:
        """Write `name`.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        with _replacing(self.path / f"{name}.json") as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write `name`.parquet so that a reader sees the old table or the new one, never half of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with _replacing(self.path / f"{name}.parquet") as partial:
            pq.write_table(table, partial, compression="zstd")

    def read_table(self, name: str) -> pa.Table:
        """Raises StoreError when the run has not got that far."""
        file = self.path / f"{name}.parquet"
        if not file.is_file():
            raise StoreError(f"{file} is missing: the run has not finished; run it again to go on")
        return pq.read_table(file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone. Raises StoreError when another one works on it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{self.path} is being written by another process") from None
            yield

    def journal(self) -> Journal:
        """A writer of draws; use it as a context."""
        return Journal(self.path / "draws" / f"{uuid4().hex}.journal")


@dataclass(eq=False)
class Journal:
    """Appends draws, each batch safe against `kill -9` once `append` returns; a Parquet part when it closes."""

    path: FilePath
    num_draws: int = 0
    _keys: set[str] = field(default_factory=set)

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = open(self.path, "wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._stream = pa.ipc.new_stream(self._file, DRAWS)
        self._file.flush()
        return self

    def append(self, draws: Iterable[Draw]) -> None:
        """Write new draws; one that this journal holds already (a job ran twice) is left out."""
        fresh = {draw.key: draw for draw in draws}
        fresh = {key: draw for key, draw in fresh.items() if key not in self._keys}
        if not fresh:
            return
        self._stream.write_batch(_batch(fresh))
        self._file.flush()
        self._keys |= fresh.keys()
        self.num_draws += len(fresh)

    def __exit__(self, *exception: object) -> None:
        self._stream.close()
        self._file.flush()
        _seal(self.path)
        self._file.close()


def _batch(draws: Mapping[str, Draw]) -> pa.RecordBatch:
    kept = draws.values()
    columns = [
        list(draws),
        [draw.model for draw in kept],
        [draw.fingerprint for draw in kept],
        [draw.root for draw in kept],
        [draw.prefix for draw in kept],
        [sampling_json(draw.sampling) for draw in kept],
        [draw.seed for draw in kept],
        [draw.completion.tokens for draw in kept],
        [draw.completion.finish_reason for draw in kept],
        [draw.completion.num_cached_tokens for draw in kept],
    ]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, DRAWS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=DRAWS)


def _seal(journal: FilePath) -> int:
    """Write the whole batches of a journal as the Parquet part of the same name, then remove it."""
    batches = list(_whole_batches(journal))
    table = pa.Table.from_batches(batches, DRAWS)
    if table.num_rows:
        with _replacing(journal.with_suffix(".parquet")) as partial:
            pq.write_table(table.sort_by("fingerprint"), partial, compression="zstd")
    journal.unlink()
    return table.num_rows


def _whole_batches(journal: FilePath) -> Iterable[pa.RecordBatch]:
    """Batches up to the first that was cut short by a crash."""
    with open(journal, "rb") as file, suppress(pa.ArrowInvalid, OSError, StopIteration):
        reader = pa.ipc.open_stream(file)
        while True:
            yield reader.read_next_batch()


def _is_locked(journal: FilePath) -> bool:
    with open(journal, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class _replacing:
    """A temporary path that replaces the target when the block ends without an exception."""

    def __init__(self, target: FilePath) -> None:
        self.target = target
        self.partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}")

    def __enter__(self) -> FilePath:
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            os.replace(self.partial, self.target)
        else:
            self.partial.unlink(missing_ok=True)
