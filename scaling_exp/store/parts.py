"""Parts: sealed Parquet files of draws, and reading no more of them than a question needs.

A part is sorted by (fingerprint, root, stream, sample) and has small row groups, so that their statistics say which of
them hold the draws of a few roots. All parts of a store are one pool; a draw that is there twice counts once.

Axes: D draws, S streams, Q queries.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path as FilePath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scaling_exp.store.draws import BILLED, DRAWS, SCORES, Known
from scaling_exp.store.elsewhere import HERE, Elsewhere
from scaling_exp.store.files import StoreError, Unreachable, locked, replacing
from scaling_exp.types import Billed, Completion, Tokens

ROWS_PER_GROUP = 8192
"""Few enough that a handful of roots costs milliseconds, enough that ten million draws have a small footer."""
ORDER = ("fingerprint", "root", "stream", "sample")
NUM_FIRST_COLUMNS = DRAWS.names.index(BILLED[0])
"""Columns of the oldest parts that are read; those after them were added one by one."""
SAID = ("tokens", "finish_reason", "num_cached_tokens", *BILLED, SCORES)
"""What a completion is made of."""
KNOWN_COLUMNS = ("root", "stream", "sample", *SAID)
NAMES = ("model", "fingerprint", "root", "sampling", "finish_reason")
"""Columns of few distinct values, kept as dictionaries on disk and in memory."""
Ints = npt.NDArray[np.int64]


def sealed_parts(store: FilePath) -> list[FilePath]:
    """Every part of every run, in an order that decides which of two equal draws counts."""
    return sorted(store.glob("*/draws/*.parquet"))


def sealing(store: FilePath):
    """The lock under which parts come to be: one process of all that share the store at a time."""
    return locked(store / ".sealing")


def seal(
    journal: FilePath,
    batches: Sequence[pa.RecordBatch],
    surveyed: frozenset[FilePath],
    elsewhere: Elsewhere = HERE,
) -> int:
    """Write a journal's draws as the part of the same name; the number of draws it held. `settle` comes next.

    Draws that parts other than `surveyed` hold already are left out. Whatever step a crash comes after, the next
    `seal` of the same journal neither loses nor doubles a draw. Raises StoreError when the part cannot be written.
    """
    table = pa.Table.from_batches(batches, DRAWS)
    part = journal.with_suffix(".parquet")
    store = journal.parent.parent.parent
    with sealing(store):
        if table.num_rows and not part.exists():
            with suppress(Unreachable):  # then `settle` cannot reach it either, and tells so
                elsewhere.take_parts()
            others = [each for each in sealed_parts(store) if each not in surveyed]
            write_part(part, _unless_held(table, others))
    return table.num_rows


def settle(journal: FilePath, elsewhere: Elsewhere = HERE) -> None:
    """Bring the part of a sealed journal where the store really is, and remove the journal. Raises Unreachable."""
    elsewhere.send_part(journal.with_suffix(".parquet"))
    journal.unlink()


def write_part(part: FilePath, table: pa.Table) -> None:
    """Write a table of draws, sorted; nothing for an empty one."""
    if not table.num_rows:
        return
    ordered = table.sort_by([(name, "ascending") for name in ORDER])
    with replacing(part) as partial:
        pq.write_table(
            ordered,
            partial,
            compression="zstd",
            row_group_size=ROWS_PER_GROUP,
            use_dictionary=[*NAMES, "stream"],  # pyright: ignore[reportArgumentType]
        )


def _unless_held(table: pa.Table, parts: Sequence[FilePath]) -> pa.Table:
    """The rows of which no part has the draw, each draw once."""
    held = Index.of(_places(parts))
    stream_D, sample_D = _numpy(table, "stream"), _numpy(table, "sample")
    own = Index.of([(stream_D, sample_D)])
    place_D = own.places(stream_D, sample_D)
    _, first = np.unique(place_D, return_index=True)
    is_new_D = np.zeros(table.num_rows, bool)
    is_new_D[first] = True
    is_new_D &= held.count(stream_D, sample_D, sample_D + 1) == 0
    return table.filter(pa.array(is_new_D))


def set_aside_torn(store: FilePath) -> list[FilePath]:
    """Rename parts whose end is missing, warn of each, and return their new names. What they held is drawn again."""
    aside = []
    for part in sealed_parts(store):
        if not _is_whole(part):
            torn = part.with_suffix(".torn")
            part.rename(torn)
            warnings.warn(
                f"{part} is torn; set aside as {torn.name}, its draws will be drawn again",
                stacklevel=2,
            )
            aside.append(torn)
    return aside


def _is_whole(part: FilePath) -> bool:
    """Whether a Parquet file ends as it should: its footer's length, then its magic number."""
    with open(part, "rb") as file:
        size = file.seek(0, 2)
        if size < 12:
            return False
        file.seek(size - 8)
        tail = file.read(8)
    return tail[4:] == b"PAR1" and int.from_bytes(tail[:4], "little") <= size - 12


def _places(
    parts: Iterable[FilePath], fingerprint: str | None = None
) -> Iterator[tuple[Ints, Ints]]:
    """Streams_D and samples_D of each part, of one model if `fingerprint` is given."""
    for path in parts:
        part = Part.open(path)
        groups = part.groups_of(fingerprint) if fingerprint else list(range(len(part.roots)))
        if groups:
            table = _read(path, groups, ("stream", "sample"))
            yield _numpy(table, "stream"), _numpy(table, "sample")


@dataclass(frozen=True)
class Part:
    """One file and what its footer says of every row group: first and last root, first and last fingerprint."""

    path: FilePath
    roots: Sequence[tuple[str, str]]
    fingerprints: Sequence[tuple[str, str]]

    @classmethod
    def open(cls, path: FilePath) -> Part:
        """Raises StoreError for a file that is no part of this version's."""
        try:
            metadata = pq.read_metadata(path)
            names = metadata.schema.to_arrow_schema().names
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(f"{path} cannot be read ({error}); move it away") from error
        if len(names) < NUM_FIRST_COLUMNS or names != DRAWS.names[: len(names)]:
            raise StoreError(
                f"{path} was written by another version, with other columns; choose another store, or move it away"
            )
        return cls(path, _ranges(metadata, "root"), _ranges(metadata, "fingerprint"))

    def groups_of(self, fingerprint: str) -> list[int]:
        """Row groups that can hold draws of one model."""
        return [
            at for at, (low, high) in enumerate(self.fingerprints) if low <= fingerprint <= high
        ]

    def groups_with(self, fingerprint: str, roots: Sequence[str]) -> list[int]:
        """Row groups that can hold draws of sorted `roots`."""
        groups = self.groups_of(fingerprint)
        return [at for at in groups if _has_between(roots, *self.roots[at])]


def _read(part: FilePath, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Some columns of some row groups; null where the part is older than they are."""
    with pq.ParquetFile(part, read_dictionary=list(NAMES)) as file:
        table = file.read_row_groups(list(groups), columns=list(columns))
    for name in columns:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, DRAWS.field(name).type))
    return table.select(list(columns))


def _ranges(metadata: pq.FileMetaData, name: str) -> list[tuple[str, str]]:
    column = DRAWS.names.index(name)
    # A list column is one leaf, so leaves are numbered as the columns are.
    stats = [
        metadata.row_group(at).column(column).statistics for at in range(metadata.num_row_groups)
    ]
    return [(each.min, each.max) for each in stats]


def _has_between(ordered: Sequence[str], low: str, high: str) -> bool:
    at = bisect_left(ordered, low)
    return at < len(ordered) and ordered[at] <= high


def rows_of(table: pa.Table, roots: Collection[str]) -> pa.Table:
    """The rows of some roots."""
    wanted = pc.SetLookupOptions(pa.array(roots, pa.string()))
    return table.filter(pc.call_function("is_in", [table["root"]], wanted))


@dataclass(frozen=True)
class Index:
    """Which samples of which streams are drawn, in 8 bytes a draw: `rank(stream) << 32 | sample`, ascending."""

    stream_S: Ints
    place_D: Ints

    @classmethod
    def of(cls, places: Iterable[tuple[Ints, Ints]]) -> Index:
        """From streams_D and samples_D of each part."""
        runs = [(*_runs(stream_D), sample_D) for stream_D, sample_D in places]
        if not runs:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        streams, lengths, samples = (np.concatenate(each) for each in zip(*runs, strict=True))
        stream_S, rank = np.unique(streams, return_inverse=True)
        place_D = np.repeat(rank.astype(np.int64) << 32, lengths)
        place_D |= samples
        place_D.sort()
        is_double_D = place_D[1:] == place_D[:-1]
        if is_double_D.any():
            place_D = place_D[np.append(True, ~is_double_D)]
        return cls(stream_S, place_D)

    def places(self, stream_Q: Ints, sample_Q: Ints) -> Ints:
        """Place of (stream, sample), were it drawn; of a stream that is not there, one that nothing has."""
        if not len(self.stream_S):
            return np.full(len(stream_Q), -1)
        rank_Q = np.searchsorted(self.stream_S, stream_Q).clip(max=len(self.stream_S) - 1)
        place_Q = (rank_Q << 32) + sample_Q
        return np.where(self.stream_S[rank_Q] == stream_Q, place_Q, -1)

    def count(self, stream_Q: Ints, first_Q: Ints, last_Q: Ints) -> Ints:
        """How many samples `first` <= i < `last` of each stream are drawn."""
        low_Q, high_Q = self.places(stream_Q, first_Q), self.places(stream_Q, last_Q)
        return np.searchsorted(self.place_D, high_Q) - np.searchsorted(self.place_D, low_Q)

    @property
    def num_draws(self) -> int:
        return len(self.place_D)


def _runs(stream_D: Ints) -> tuple[Ints, Ints]:
    """Streams that stand next to each other in a column, and how many rows each run has."""
    starts = np.flatnonzero(np.diff(stream_D, prepend=stream_D[:1] - 1))
    return stream_D[starts], np.diff(starts, append=len(stream_D))


def _numpy(table: pa.Table, column: str) -> npt.NDArray:
    return table[column].to_numpy()


@dataclass(eq=False)
class Pool:
    """Every sealed draw of one model, in all runs of a store: an index of what there is, and reading some of it."""

    store: FilePath
    fingerprint: str
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Take in parts that were sealed since, and forget those that are gone."""
        opened = {part.path: part for part in self.parts}
        self.parts = [
            opened[path] if path in opened else Part.open(path) for path in sealed_parts(self.store)
        ]

    def index(self) -> Index:
        """What is drawn, without what it says."""
        return Index.of(_places((part.path for part in self.parts), self.fingerprint))

    def rows(self, roots: Collection[str], columns: Sequence[str] = KNOWN_COLUMNS) -> pa.Table:
        """Draws of some roots."""
        ordered = sorted(roots)
        tables = [
            rows_of(_group(part.path, at, tuple(columns)), ordered)
            for part in self.parts
            for at in part.groups_with(self.fingerprint, ordered)
        ]
        if not tables:
            return DRAWS.empty_table().select(list(columns))
        return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


@lru_cache(maxsize=16)
def _group(part: FilePath, group: int, columns: tuple[str, ...]) -> pa.Table:
    """A row group; jobs come in the order of their roots, so the next ones want the same."""
    return _read(part, [group], columns)


def completions(table: pa.Table) -> list[Completion]:
    """What each row of a table of draws says; rows that say the same share one object."""
    columns = (values_of(table[name]) for name in ("finish_reason", "num_cached_tokens"))
    made: dict[tuple, Completion] = {}
    rows = zip(token_lists(table), *columns, _billed(table), _scores(table), strict=True)
    return [made[row] if row in made else made.setdefault(row, Completion(*row)) for row in rows]


def values_of(column: pa.ChunkedArray) -> list:
    """A column without nulls, of numbers or of names, as Python's. (`to_pylist` is many times as slow.)"""
    if not pa.types.is_dictionary(column.type):
        return column.to_numpy().tolist()
    chunk = column.unify_dictionaries().combine_chunks()
    names = chunk.dictionary.to_pylist()
    return [names[at] for at in chunk.indices.to_numpy().tolist()]


def _billed(table: pa.Table) -> list[Billed | None]:
    """What a server charged for each row's draw; None for those that no server counted."""
    if table[BILLED[0]].null_count == table.num_rows:
        return [None] * table.num_rows
    rows = zip(*(table[name].to_pylist() for name in BILLED), strict=True)
    return [None if row[0] is None else Billed(*row) for row in rows]


def _scores(table: pa.Table) -> list[tuple[float, ...]]:
    """Numbers that were asked for; empty where none were."""
    column = table[SCORES]
    return _tuples(column) if column.null_count < table.num_rows else [()] * table.num_rows


def token_lists(table: pa.Table) -> list[Tokens]:
    """The `tokens` column as tuples."""
    return _tuples(table["tokens"])


def _tuples(column: pa.ChunkedArray) -> list[tuple]:
    """A column of lists as tuples, empty for null. (`to_pylist` makes an object of every offset: ten times as slow.)"""
    lists = column.combine_chunks()
    offsets = lists.offsets.to_numpy().tolist()
    values = lists.values.to_numpy().tolist()
    return [tuple(values[first:last]) for first, last in pairwise(offsets)]


def known_by_root(tables: Iterable[pa.Table]) -> dict[str, Known]:
    """Rows of draws as sources want them: by root, stream and sample. Of equal draws the first counts."""
    known: dict[str, Known] = {}
    for table in tables:
        names = (values_of(table[name]) for name in ("root", "stream", "sample"))
        for root, stream, sample, said in zip(*names, completions(table), strict=True):
            known.setdefault(root, {}).setdefault(stream, {}).setdefault(sample, said)
    return known
