"""`bench store`: what a draw costs besides drawing it, and what a pool of millions costs a run that starts.

The pool is synthetic and made by whole columns; everything else is the code that a run executes. Each step runs in a
process of its own, so that its peak memory is its own. The yardstick is what one would do without places: a dictionary
of completions by key, and a hash for every draw that is looked up.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path as FilePath

import numpy as np
import pyarrow as pa

from scaling_exp.bench.result import Result, Row, Setup
from scaling_exp.experiment import jobs_of, with_known
from scaling_exp.generation import Forest, Strategy
from scaling_exp.grading import Exact
from scaling_exp.models import Model
from scaling_exp.store import (
    DRAWS,
    Draw,
    Pooled,
    Store,
    draw_key,
    encode,
    sampling_json,
)
from scaling_exp.store.journal import SEAL_BYTES
from scaling_exp.store.parts import token_lists, write_part
from scaling_exp.strategies import AdaptiveVoting, ParallelSampling
from scaling_exp.survey import Prompted, Survey, survey
from scaling_exp.tables import write_tables
from scaling_exp.types import Completion, Problem, Sampling, Tokens

SAMPLING = Sampling(max_tokens=24)
NUM_WORDS = 40
PROMPT_TOKENS = 12
PROBLEMS_PER_PART = 4096
DRAWS_PER_REPORT = 1024
PROBLEMS_HANDED_OUT = 16


@dataclass(frozen=True)
class StoreBench:
    """A pool of `num_draws`, `num_samples` to a problem; costs per draw are measured on `num_replayed` of them."""

    num_draws: int
    num_samples: int
    num_replayed: int

    def __post_init__(self) -> None:
        if not 2 <= self.num_samples <= self.num_replayed <= self.num_draws:
            raise ValueError(
                "bench.num_samples must be 2 or more, bench.num_replayed no less, and bench.num_draws no less than that"
            )

    def run(self, setup: Setup) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            made = Made(FilePath(folder), setup.models[0], self.num_draws, self.num_samples)
            started = time.perf_counter()
            make_pool(made)
            seconds = time.perf_counter() - started
            few = Made(FilePath(folder), setup.models[0], self.num_replayed, self.num_samples)
            rows = [*_rows_per_draw(few), *_rows_of_pool(made)]
        note = f"Made the pool of {made.num_draws:,} draws in {seconds:.0f} s. {_summary(rows)}"
        return Result("What the store costs", tuple(rows), (note,))


@dataclass(frozen=True)
class Made:
    """A synthetic pool: where it is, and what a run that wants it knows."""

    folder: FilePath
    model: Model
    num_draws_wanted: int
    num_samples: int

    @property
    def num_problems(self) -> int:
        return self.num_draws_wanted // self.num_samples

    @property
    def num_draws(self) -> int:
        return self.num_problems * self.num_samples

    @property
    def store(self) -> Store:
        return Store(self.folder)

    @property
    def scratch(self) -> Store:
        """Another one, whose parts are not the pool's."""
        return Store(self.folder / "scratch")

    def prompted(self) -> Prompted:
        """Problems whose prompts are a few tokens each."""
        problems = [Problem(f"p{at:09d}", "", "1", "all") for at in range(self.num_problems)]
        rng = np.random.default_rng(0)
        prompts = rng.integers(1, NUM_WORDS, (self.num_problems, PROMPT_TOKENS)).tolist()
        roots = [f"0/{self.model.name}/{problem.name}" for problem in problems]
        return Prompted(self.model, problems, list(map(tuple, prompts)), roots)

    def strategies(self, num_samples: int) -> dict[str, Strategy]:
        return {
            "sampling": ParallelSampling(num_samples, SAMPLING),
            "adaptive": AdaptiveVoting(num_samples, SAMPLING),
        }

    def surveyed(self, num_samples: int) -> Survey:
        pool = self.store.pool(self.model.fingerprint)
        return survey(self.prompted(), pool, self.strategies(num_samples), FirstWord())


@dataclass(frozen=True)
class FirstWord:
    """A task whose answer is the first word of the text."""

    def problems(self) -> Sequence[Problem]:
        return ()

    def read(self, text: str) -> str | None:
        return text.split(" ", 1)[0] or None

    @property
    def grader(self) -> Exact:
        return Exact()


def make_pool(made: Made) -> None:
    """Write the parts of the pool."""
    prompted = made.prompted()
    draws = made.store.run("made").path / "draws"
    draws.mkdir(parents=True)
    for first in range(0, made.num_problems, PROBLEMS_PER_PART):
        some = prompted.slice(first, first + PROBLEMS_PER_PART)
        write_part(draws / f"{first:09d}.parquet", _synthetic(some, made.num_samples))


def _synthetic(prompted: Prompted, num_samples: int) -> pa.Table:
    """Samples of some problems with random tokens and random keys and seeds."""
    num_problems = len(prompted.roots)
    num_rows = num_problems * num_samples
    rng = np.random.default_rng(len(prompted.roots[0]))
    lengths = rng.integers(8, SAMPLING.max_tokens, num_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = rng.integers(1, NUM_WORDS, offsets[-1]).astype(np.int32)
    samples = np.tile(np.arange(num_samples, dtype=np.int32), num_problems)
    of_problem = pa.array(np.repeat(np.arange(num_problems), num_samples))
    hexadecimal = rng.bytes(16 * num_rows).hex().encode()
    key_ends = np.arange(0, 32 * num_rows + 1, 32, np.int32)
    keys = pa.StringArray.from_buffers(num_rows, pa.py_buffer(key_ends), pa.py_buffer(hexadecimal))
    columns = {
        "key": keys,
        "model": _same(prompted.model.name, num_rows),
        "fingerprint": _same(prompted.model.fingerprint, num_rows),
        "root": pa.array(prompted.roots).take(of_problem),
        "path": pa.array(samples).cast(pa.string()),
        "stream": pa.array(np.repeat(prompted.streams(SAMPLING), num_samples)),
        "sample": pa.array(samples),
        "prefix": pa.array(prompted.prompts, pa.list_(pa.int32())).take(of_problem),
        "sampling": _same(sampling_json(SAMPLING), num_rows),
        "seed": pa.array(rng.integers(0, 1 << 62, num_rows)),
        "tokens": pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens)),
        "finish_reason": _same("stop", num_rows),
        "num_cached_tokens": pa.array(np.zeros(num_rows, np.int32)),
    }
    unused = {
        each.name: pa.nulls(num_rows, each.type) for each in DRAWS if each.name not in columns
    }
    return pa.table({**columns, **unused}, DRAWS)


def _same(value: str, num_rows: int) -> pa.Array:
    return pa.array([value]).take(pa.array(np.zeros(num_rows, np.int32)))


# Steps: each is called in a process of its own


@dataclass(frozen=True)
class Cost:
    """What a step took; `cpu_seconds` are those of all its threads."""

    num_draws: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measured(step: Callable[[Made], Iterator[None]], made: Made) -> Cost:
    """Run a step in a fresh process. It is timed from its first `yield` to its second, or to its end."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once for all steps
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(_measure, step, made).result()


def _measure(step: Callable[[Made], Iterator[None]], made: Made) -> Cost:
    running = step(made)
    next(running)
    started, cpu = time.perf_counter(), time.process_time()
    next(running, None)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    cost = Cost(made.num_draws, seconds, cpu, peak_bytes())
    list(running)
    return cost


def peak_bytes() -> int:
    """Most memory that this process has had. (`ru_maxrss` would count the parent's, up to the exec.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", FilePath("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


def draw_in_worker(made: Made) -> Iterator[None]:
    """Forest, pool, seeds and a task a draw, over an engine that answers at once."""
    prompted, draws = made.prompted(), _Draws()
    yield
    asyncio.run(_draw_all(prompted, made.num_samples, draws))


def encode_in_worker(made: Made) -> Iterator[None]:
    """From finished draws to the message that travels."""
    draws = _Draws()
    asyncio.run(_draw_all(made.prompted(), made.num_samples, draws))
    encode(draws.made[:1])  # what is loaded at the first call
    yield
    list(_encoded(draws.made))


def append_to_journal(made: Made) -> Iterator[None]:
    """All that the driver's loop does with a draw."""
    draws = _Draws()
    asyncio.run(_draw_all(made.prompted(), made.num_samples, draws))
    batches = list(_encoded(draws.made))
    with made.scratch.run("appended").journal(frozenset()) as journal:
        journal.seal_bytes = 1 << 62
        yield
        for batch, num_draws in batches:
            journal.append(batch, num_draws)
        yield


def seal_journal(made: Made) -> Iterator[None]:
    """From journal to part, which a thread does while drawing goes on."""
    draws = _Draws()
    asyncio.run(_draw_all(made.prompted(), made.num_samples, draws))
    with made.scratch.run("sealed").journal(made.scratch.parts()) as journal:
        journal.seal_bytes = 1 << 62
        for batch, num_draws in _encoded(draws.made):
            journal.append(batch, num_draws)
        yield


def make_tables(made: Made) -> Iterator[None]:
    """Replay of two strategies: decode, read, grade, and the rows of samples and traces."""
    prompted, pool = made.prompted(), made.store.pool(made.model.fingerprint)
    yield
    folder = made.scratch.run("tables")
    write_tables(folder, [(prompted, pool)], made.strategies(made.num_samples), FirstWord())


def look_up(made: Made) -> Iterator[None]:
    """Footers and index of the whole pool."""
    yield
    assert made.store.pool(made.model.fingerprint).index().num_draws >= made.num_draws


def plan_top_up(made: Made) -> Iterator[None]:
    """What twice the samples would draw, from the problems' names on."""
    yield
    surveyed = made.surveyed(2 * made.num_samples)
    assert int(surveyed.num_missing_P.sum()) == made.num_draws


def start_again(made: Made) -> Iterator[None]:
    """What a run does before its first job is handed out, after a crash that left a full journal behind."""
    run = made.store.run("crashed")
    _leave_a_journal(made, run.path / "draws" / "left.journal")
    yield
    made.store.recover()
    surveyed = made.surveyed(2 * made.num_samples)
    jobs = jobs_of(surveyed)[:PROBLEMS_HANDED_OUT]
    with run.journal(made.store.parts()) as journal:
        known = with_known({made.model.name: surveyed.pool}, None, journal, jobs)
    assert all(job.known for job in known)


def look_up_by_key(made: Made) -> Iterator[None]:
    """The yardstick: every completion in a dictionary by its key, a hash for every draw that a plan asks for."""
    prompted = made.prompted()
    yield
    rows = made.store.pool(made.model.fingerprint).rows(
        prompted.roots, ("root", "key", "tokens", "finish_reason", "num_cached_tokens")
    )
    names = (rows[name].to_pylist() for name in ("key", "finish_reason", "num_cached_tokens"))
    known = {
        key: Completion(tokens, reason, num_cached)
        for tokens, (key, reason, num_cached) in zip(
            token_lists(rows), zip(*names, strict=True), strict=True
        )
    }
    num_missing = 0
    for prompt in prompted.prompts:
        for sample in range(2 * made.num_samples):
            key = draw_key(made.model.fingerprint, prompt, SAMPLING, sample)
            num_missing += key not in known
    assert num_missing


def _leave_a_journal(made: Made, file: FilePath) -> None:
    """A journal of nearly the size that is sealed, of draws that the pool has not."""
    extra = Made(made.folder, made.model, made.num_samples * 4096, made.num_samples)
    prompted = extra.prompted()
    table = _synthetic(prompted, made.num_samples)
    table = table.set_column(6, "sample", pa.array(table["sample"].to_numpy() + made.num_samples))
    file.parent.mkdir(parents=True)
    with open(file, "wb") as stream, pa.ipc.new_stream(stream, DRAWS) as writer:
        for batch in table.to_batches(DRAWS_PER_REPORT):
            if stream.tell() < SEAL_BYTES:
                writer.write_batch(batch)


class _Draws:
    """An engine that answers at once, and a record of what it drew."""

    def __init__(self) -> None:
        self.made: list[Draw] = []

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        return Completion((prefix[: seed % 8] + prefix)[: sampling.max_tokens], "stop")


async def _draw_all(prompted: Prompted, num_samples: int, draws: _Draws) -> None:
    strategy = ParallelSampling(num_samples, SAMPLING)
    model = prompted.model
    for prompt, root in zip(prompted.prompts, prompted.roots, strict=True):
        source = Pooled(model.name, model.fingerprint, {}, draws, draws.made.append)
        await strategy(Forest(prompt, source, root, model.decode))


def _encoded(draws: Sequence[Draw]) -> Iterator[tuple[bytes, int]]:
    for first in range(0, len(draws), DRAWS_PER_REPORT):
        batch = draws[first : first + DRAWS_PER_REPORT]
        yield encode(batch), len(batch)


# The table


WORKER = {
    "worker: forest, pool, seed, task": draw_in_worker,
    "worker: encode": encode_in_worker,
}
DRIVER = {
    "driver: append": append_to_journal,
    "driver: seal": seal_journal,
    "driver: replay and tables": make_tables,
}
POOL = {
    "start: index": look_up,
    "start: plan a top-up": plan_top_up,
    "start: resume after a crash": start_again,
}
BY_KEY = "yardstick: look up by key"


def _rows_per_draw(made: Made) -> list[Row]:
    steps = {**WORKER, **DRIVER, BY_KEY: look_up_by_key}
    return [_row(name, measured(step, made)) for name, step in steps.items()]


def _rows_of_pool(made: Made) -> list[Row]:
    return [_row(name, measured(step, made)) for name, step in POOL.items()]


def _row(name: str, cost: Cost) -> Row:
    return {
        "step": name,
        "draws": cost.num_draws,
        "CPU us a draw": 1e6 * cost.cpu_seconds / cost.num_draws,
        "seconds": cost.seconds,
        "peak MB": cost.peak_bytes / 1e6,
    }


def _summary(rows: Sequence[Row]) -> str:
    per_draw = {str(row["step"]): float(row["CPU us a draw"] or 0) for row in rows}
    driver = sum(per_draw[name] for name in (*DRIVER, "start: plan a top-up"))
    worker = sum(per_draw[name] for name in WORKER)
    return (
        f"In all a draw costs the driver {driver:.1f} us of CPU, planning and tables included,"
        f" a worker {worker:.1f}."
    )
