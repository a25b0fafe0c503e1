"""A run's tables, made by replaying its strategies over the pool: a function of the pool and of nothing else.

Problems are replayed a few hundred at a time and rows are streamed to disk, so a run of any size fits in memory. Each
distinct completion is decoded, read and graded once a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scaling_exp.generation import Forest, Score, Strategy, Stream, grow, path_name
from scaling_exp.grading import NO_ANSWER, Grading
from scaling_exp.planting import Ground, without_collector
from scaling_exp.store import (
    KNOWN_COLUMNS,
    Pool,
    RunFolder,
    StoreError,
    completions,
    stream_of,
    values_of,
)
from scaling_exp.survey import Prompted, Scores
from scaling_exp.tasks import Task
from scaling_exp.types import Completion, Grade, Path, Problem, Tokens

TOKENS_PER_CHUNK = 1 << 20
"""At most so many new tokens are in memory at a time."""

GRADES = pa.schema(
    [
        *((name, pa.string()) for name in ("problem", "answer")),
        ("is_correct", pa.bool_()),
        *((name, pa.string()) for name in ("outcome", "detail", "grader")),
    ]
)
PROBLEMS = pa.schema(
    [(name, pa.string()) for name in ("problem", "level", "prompt", "answer", "extra")]
)
TRACES = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "strategy", "problem", "path")),
        ("is_accepted", pa.bool_()),
        ("num_prefix_tokens", pa.int32()),
        ("num_forced_tokens", pa.int32()),
        ("num_output_tokens", pa.int32()),
        ("score", pa.float64()),
        ("num_scored_tokens", pa.int32()),
        ("key", pa.string()),
    ]
)
STEP_SCORES = pa.list_(pa.float64())
SAMPLES = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "strategy", "problem", "level")),
        ("sample", pa.int32()),
        ("answer", pa.string()),
        ("is_correct", pa.bool_()),
        ("outcome", pa.string()),
        ("truncated", pa.bool_()),
        ("score", pa.float64()),
        ("num_scored_tokens", pa.int32()),
        ("step_scores", STEP_SCORES),
        ("token_scores", STEP_SCORES),
        *(
            (f"num_{name}_tokens", pa.int32())
            for name in ("prompt", "cached", "output", "reasoning")
        ),
        ("text", pa.string()),
        ("seed", pa.int64()),
        ("key", pa.string()),
    ]
)
ENGINES = pa.schema(
    [
        ("replica", pa.int32()),
        ("model", pa.string()),
        ("role", pa.string()),
        ("num_draws", pa.int64()),
        ("output_tokens", pa.int64()),
        ("prompt_tokens", pa.int64()),
        *((f"{name}_seconds", pa.float64()) for name in ("start", "load", "wall", "busy", "drain")),
        ("num_slots", pa.int32()),
        *((f"{name}occupancy", pa.float64()) for name in ("", "full_")),
        ("prefix_cache_hit_rate", pa.float64()),
        ("preemptions", pa.int64()),
        ("queue_wait_seconds", pa.float64()),
    ]
)
"""One row for every time that a replica held a model (role "generator"), and one for the scorer that it held beside it
("scorer"): their `wall_seconds` are the same seconds, and draws of a scorer are scores, without output tokens."""
REPLAYED = (*KNOWN_COLUMNS, "seed", "key")


def write_tables(
    folder: RunFolder,
    prompted: Sequence[tuple[Prompted, Pool]],
    strategies: Mapping[str, Strategy],
    task: Task,
    scores: Scores | None = None,
) -> None:
    """Traces, grades, problems and the tidy samples of a run whose draws are all there; one pool a model.

    Raises StoreError when a draw is not there.
    """
    problems = prompted[0][0].problems
    with ExitStack() as files, Grading(task.grader) as grading:
        schemas = {"traces": TRACES, "samples": SAMPLES, "grades": GRADES, "problems": PROBLEMS}
        write = {
            name: files.enter_context(_streaming(folder, name, schema))
            for name, schema in schemas.items()
        }
        write["problems"].write_table(_problem_table(problems))
        num_problems = _problems_per_chunk(strategies)
        for first in range(0, len(problems), num_problems):
            grades = Grades(grading)
            for every, pool in prompted:
                some = every.slice(first, first + num_problems)
                with without_collector():
                    replayed = replay(some, pool, strategies, task, scores)
                    write["traces"].write_table(replayed.traces())
                    write["samples"].write_table(replayed.samples(grades))
                    del replayed
            write["grades"].write_table(grades.table())


def _problems_per_chunk(strategies: Mapping[str, Strategy]) -> int:
    """A function of the experiment alone, so that equal runs write equal tables."""
    most = sum(each.bound.num_draws * each.max_new_tokens for each in strategies.values())
    return max(1, TOKENS_PER_CHUNK // max(1, most))


@dataclass(eq=False)
class Grades:
    """Grades of answers to problems; every distinct one is graded once."""

    grading: Grading
    _known: dict[tuple[str, str], Grade] = field(default_factory=dict)

    def of(self, answers: Sequence[tuple[Problem, str | None]]) -> list[Grade]:
        """In the same order; None is no answer."""
        new = {
            (problem.name, answer): problem
            for problem, answer in answers
            if answer is not None and (problem.name, answer) not in self._known
        }
        asked = [(problem, answer) for (_, answer), problem in new.items()]
        self._known.update(zip(new, self.grading.grade(asked), strict=True))
        return [
            NO_ANSWER if answer is None else self._known[problem.name, answer]
            for problem, answer in answers
        ]

    def table(self) -> pa.Table:
        """One row per distinct answer to a problem."""
        grades = list(self._known.values())
        columns = [
            [problem for problem, _ in self._known],
            [answer for _, answer in self._known],
            [each.is_correct for each in grades],
            [each.outcome for each in grades],
            [each.detail for each in grades],
            [self.grading.grader.version] * len(grades),
        ]
        return pa.table(columns, GRADES)


@dataclass(eq=False)
class Located:
    """A source that answers from a table of draws and remembers which row each node came from."""

    fingerprint: str
    rows: Mapping[int, Mapping[int, int]]
    """By stream, then by sample."""
    completions: Sequence[Completion]
    row_of: dict[Path, int] = field(default_factory=dict)

    async def __call__(self, stream: Stream, samples: Sequence[int]) -> Sequence[Completion]:
        in_stream = self.rows.get(stream_of(self.fingerprint, stream), {})
        for sample in samples:
            if sample not in in_stream:
                lacking = path_name((*stream.parent, sample))
                raise StoreError(
                    f"the pool lacks sample {lacking} of {stream.root}; run the same command again"
                )
        rows = [in_stream[sample] for sample in samples]
        self.row_of.update(
            ((*stream.parent, at), row) for at, row in zip(samples, rows, strict=True)
        )
        return [self.completions[row] for row in rows]


@dataclass(frozen=True)
class Grown:
    """One strategy's forest of one problem, and the row of every node's draw."""

    strategy: str
    problem: Problem
    forest: Forest
    row_of: Mapping[Path, int]


@dataclass(frozen=True)
class Replayed:
    """The forests of a chunk of problems, the table of their draws, and how the model's tokens read."""

    model: str
    draws: pa.Table
    grown: Sequence[Grown]
    text: Callable[[Tokens], str]

    def traces(self) -> pa.Table:
        """One row per node of every forest."""
        nodes = [(each, list(each.forest.nodes.values())) for each in self.grown]
        rows = [each.row_of[node.path] for each, mine in nodes for node in mine]
        accepted = [set(each.forest.accepted) for each in self.grown]
        columns = [
            *self._names([len(mine) for _, mine in nodes], with_level=False),
            pa.array([path_name(node.path) for _, mine in nodes for node in mine]),
            [
                node.path in leaves
                for (_, mine), leaves in zip(nodes, accepted, strict=True)
                for node in mine
            ],
            [len(node.prefix) for _, mine in nodes for node in mine],
            [len(node.forced) for _, mine in nodes for node in mine],
            [node.completion.num_output_tokens for _, mine in nodes for node in mine],
            *_scores([each.forest.scores.get(node.path) for each, mine in nodes for node in mine]),
            self.draws["key"].take(rows),
        ]
        return pa.table(columns, TRACES)

    def samples(self, grades: Grades) -> pa.Table:
        """One row per accepted leaf."""
        leaves = [(each, path) for each in self.grown for path in each.forest.accepted]
        rows = [each.row_of[path] for each, path in leaves]
        generated = [each.forest.generated(path) for each, path in leaves]
        answers = [
            each.forest.read(tokens) for (each, _), tokens in zip(leaves, generated, strict=True)
        ]
        given = grades.of(
            [(each.problem, answer) for (each, _), answer in zip(leaves, answers, strict=True)]
        )
        counts = [len(each.forest.accepted) for each in self.grown]
        scored = [each.forest.scores.get(path) for each, path in leaves]
        prompt_tokens = np.repeat([len(each.forest.prompt) for each in self.grown], counts)
        columns = [
            *self._names(counts, with_level=True),
            [number for count in counts for number in range(count)],
            answers,
            [each.is_correct for each in given],
            [each.outcome for each in given],
            _equals(self.draws["finish_reason"].take(rows), "length"),
            *_scores(scored),
            pa.array([each.steps if each else None for each in scored], STEP_SCORES),
            pa.array(
                [scores for each in self.grown for scores in _all_token_scores(each.forest)],
                STEP_SCORES,
            ),
            self._counted("prompt", rows, prompt_tokens.tolist()),
            self.draws["num_cached_tokens"].take(rows),
            self._counted("output", rows, [len(tokens) for tokens in generated]),
            self.draws["num_reasoning_tokens"].take(rows),
            [self.text(tokens) for tokens in generated],
            self.draws["seed"].take(rows),
            self.draws["key"].take(rows),
        ]
        return pa.table(columns, SAMPLES)

    def _counted(self, what: str, rows: Sequence[int], here: Sequence[int]) -> pa.ChunkedArray:
        """Tokens as the server of each row's draw counted them, as they are counted `here` where none did."""
        billed = self.draws[f"num_billed_{what}_tokens"].take(rows)
        return pc.call_function("coalesce", [billed, pa.array(here, pa.int32())])

    def _names(self, counts: Sequence[int], *, with_level: bool) -> list[pa.Array]:
        """The columns that are the same for all rows of a forest."""
        columns = [
            [self.model] * len(self.grown),
            [each.strategy for each in self.grown],
            [each.problem.name for each in self.grown],
            [each.problem.level for each in self.grown],
        ]
        at = pa.array(np.repeat(np.arange(len(counts)), counts))
        return [pa.array(each, pa.string()).take(at) for each in columns[: 4 if with_level else 3]]


def replay(
    prompted: Prompted,
    pool: Pool,
    strategies: Mapping[str, Strategy],
    task: Task,
    scores: Scores | None = None,
) -> Replayed:
    """Grow every strategy's forest of some problems from the draws in the pool."""
    model = prompted.model
    draws = pool.rows(prompted.roots, REPLAYED)
    located = _located(pool.fingerprint, draws)
    said = scores and _located(scores.pool.fingerprint, scores.pool.rows(prompted.roots))
    ground = Ground.of(model, task, scores and scores.kind).remembering()
    grown = []
    for problem, prompt, root in zip(
        prompted.problems, prompted.prompts, prompted.roots, strict=True
    ):
        scorer = ground.scorer_of(root, problem, said and said(root))
        for name in strategies:
            source = located(root)
            forest = ground.forest(prompt, root, source, scorer)
            grown.append(Grown(name, problem, forest, source.row_of))
    grow((strategies[each.strategy], each.forest) for each in grown)
    return Replayed(model.name, draws, grown, ground.text)


def _located(fingerprint: str, draws: pa.Table) -> Callable[[str], Located]:
    """The source of any root in a table of draws."""
    rows, said = _rows_by_root(draws), completions(draws)
    return lambda root: Located(fingerprint, rows.get(root, {}), said)


def _all_token_scores(forest: Forest) -> list[tuple[float, ...] | None]:
    """Those of every accepted answer."""
    if not any(node.stream.sampling.confidence for node in forest.nodes.values()):
        return [None] * len(forest.accepted)
    return [_token_scores(forest, leaf) for leaf in forest.accepted]


def _token_scores(forest: Forest, leaf: Path) -> tuple[float, ...] | None:
    """What was told of each token of an answer, where it was asked for."""
    nodes = [forest.nodes[leaf[:depth]] for depth in range(1, len(leaf) + 1)]
    # What came before an answer that began anew is no part of it.
    nodes = [node for node in nodes if node.num_before == nodes[-1].num_before]
    if not any(node.sampling.confidence for node in nodes):
        return None
    return tuple(chain.from_iterable(node.completion.scores for node in nodes))


def _scores(scored: Sequence[Score | None]) -> list[pa.Array]:
    """Columns `score` and `num_scored_tokens`, null where nothing was scored."""
    return [
        pa.array([each and each.last for each in scored], pa.float64()),
        pa.array([each and each.num_tokens for each in scored], pa.int32()),
    ]


def _rows_by_root(draws: pa.Table) -> dict[str, dict[int, dict[int, int]]]:
    """Row numbers by root, stream and sample. Of equal draws the first counts."""
    rows: dict[str, dict[int, dict[int, int]]] = {}
    names = (values_of(draws[name]) for name in ("root", "stream", "sample"))
    for row, (root, stream, sample) in enumerate(zip(*names, strict=True)):
        rows.setdefault(root, {}).setdefault(stream, {}).setdefault(sample, row)
    return rows


def _problem_table(problems: Sequence[Problem]) -> pa.Table:
    columns = [
        [each.name for each in problems],
        [each.level for each in problems],
        [each.prompt for each in problems],
        [each.answer for each in problems],
        [each.extra for each in problems],
    ]
    return pa.table(columns, PROBLEMS)


def _equals(column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
    return pc.call_function("equal", [column, pa.scalar(value)])


@contextmanager
def _streaming(folder: RunFolder, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of the run's table `name`, which takes its place when the block ends well."""
    with (
        folder.replacing(f"{name}.parquet") as partial,
        pq.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        yield writer
