"""What one run does, top to bottom: survey the pool, draw what is missing, grade, analyse, show.

A run's numbers are a function of the pool. Strategies are replayed over it before and after drawing: before, to learn
what is missing; after, to make the tables. So a run that was killed and run again ends with the numbers of one that was
not.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa

from scaling_exp.analysis import Analysis, AnalysisSettings
from scaling_exp.cluster import Cluster, Dispatch, Job, Work, each_in_a_task
from scaling_exp.display import Display
from scaling_exp.engines import EngineConfig
from scaling_exp.environment import describe_environment
from scaling_exp.generation import Forest, Node, Strategy
from scaling_exp.models import Model
from scaling_exp.pretraining import (
    MANIFEST,
    Checkpoint,
    Recipe,
    read_manifest,
    train_size,
    write_manifest,
)
from scaling_exp.report import redraw
from scaling_exp.store import Known, Replay, RunFolder, Store, draw_key
from scaling_exp.tasks import Task
from scaling_exp.tracking import Tracking
from scaling_exp.types import Path, Problem, Tokens, UserError


@dataclass(frozen=True)
class Experiment:
    """Everything that one run needs. `config` is what it was made from, for the manifest."""

    name: str
    seed: int
    store: str
    models: tuple[Model, ...]
    task: Task
    strategies: Mapping[str, Strategy]
    engine: EngineConfig
    cluster: Cluster
    analysis: AnalysisSettings
    tracking: Tracking
    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"name is {self.name!r}; use letters, digits, '.', '_' and '-'")

    @property
    def run_id(self) -> str:
        """Name and a hash of all that decides what is drawn: the same experiment finds its folder again."""
        weights = [(model.name, model.fingerprint) for model in self.models]
        drawn = (self.seed, weights, self.task, dict(self.strategies))
        return f"{self.name}-{sha256(repr(drawn).encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> RunFolder:
        return Store(FilePath(self.store)).run(self.run_id)


@dataclass(frozen=True)
class Traced:
    """Every strategy's forest of one problem for one model, as far as the pool knows it."""

    model: Model
    problem: Problem
    prompt: Tokens
    root: str
    known: Known
    forests: Mapping[str, Forest]
    missing: Mapping[str, frozenset[str]]
    """Per strategy, the keys of draws that it misses. Of a strategy that adapts, an upper bound."""

    @property
    def all_missing(self) -> frozenset[str]:
        return frozenset().union(*self.missing.values())


def survey(experiment: Experiment) -> list[Traced]:
    """Replay every strategy on every problem of every model over the pool.

    Raises UserError when a model cannot take the prompts or what strategies want to add to them.
    """
    store = Store(FilePath(experiment.store))
    problems = experiment.task.problems()
    traced: list[Traced] = []
    for model in experiment.models:
        prompts = model.encode([problem.prompt for problem in problems])
        _check_lengths(model, prompts, experiment.strategies)
        pool = store.pool(model.fingerprint)
        traced += asyncio.run(_replay(experiment, model, problems, prompts, pool))
    return traced


async def _replay(
    experiment: Experiment,
    model: Model,
    problems: Sequence[Problem],
    prompt_tokens: Sequence[Tokens],
    pool: Mapping[str, Known],
) -> list[Traced]:
    traced = []
    for problem, prompt in zip(problems, prompt_tokens, strict=True):
        root = f"{experiment.seed}/{model.name}/{problem.name}"
        known = pool.get(root, {})
        forests, missing = {}, {}
        for name, strategy in experiment.strategies.items():
            replay = Replay(model.fingerprint, known)
            forest = Forest(prompt, replay, root, lambda t: experiment.task.read(model.decode(t)))
            await strategy(forest)
            forests[name] = forest
            missing[name] = frozenset(replay.missing)
        traced.append(Traced(model, problem, prompt, root, known, forests, missing))
    return traced


def _check_lengths(
    model: Model, prompts: Sequence[Tokens], strategies: Mapping[str, Strategy]
) -> None:
    longest = max(map(len, prompts))
    for name, strategy in strategies.items():
        needed = longest + strategy.max_new_tokens
        if needed > model.max_tokens:
            raise UserError(
                f"strategies.{name}: a prompt of {longest} tokens and {needed - longest} more do not fit the"
                f" {model.max_tokens} tokens of model {model.name}; lower max_tokens"
            )


def run(experiment: Experiment, command: str) -> tuple[Analysis, FilePath]:
    """Draw what is missing, then analyse; the analysis and the path of the page.

    Raises UserError for what a user can mend, before any model is loaded; JobFailed when a job failed.
    """
    folder = experiment.folder
    with folder.locked():
        Store(FilePath(experiment.store)).recover()
        traced = survey(experiment)
        _write_manifest(experiment, command, {})
        has_drawn = any(each.all_missing for each in traced)
        if has_drawn:
            generation = generate(experiment, traced)
            _write_manifest(experiment, command, generation)
            traced = survey(experiment)
        write_tables(folder, traced, experiment.task)
        analysis, page = redraw(folder)
    if has_drawn or not (folder.path / "wandb").is_dir():
        experiment.tracking.log(folder.path, analysis, experiment.config)
    return analysis, page


def _write_manifest(experiment: Experiment, command: str, generation: Mapping[str, Any]) -> None:
    """Record what the run is and what it ran on; of a run that draws nothing, the last generation stays."""
    folder = experiment.folder
    before = folder.read_manifest() if folder.manifest.is_file() else {}
    problems = experiment.task.problems()
    manifest = {
        "run_id": experiment.run_id,
        "created": before.get("created", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
        "command": command,
        "config": dict(experiment.config),
        "models": [_model_record(model) for model in experiment.models],
        "task": {
            "kind": type(experiment.task).__name__,
            "num_problems": len(problems),
            "fingerprint": sha256(repr(problems).encode()).hexdigest()[:16],
        },
        "analysis": asdict(experiment.analysis),
        **{
            part: generation.get(part) or before.get(part, {}) for part in ("generation", "session")
        },
        **describe_environment(),
    }
    folder.write_json("manifest", manifest)


def _model_record(model: Model) -> dict[str, Any]:
    return {
        **asdict(model.facts),
        "pretraining_flops": model.facts.pretraining_flops,
        "fingerprint": model.fingerprint,
    }


def generate(experiment: Experiment, traced: Sequence[Traced]) -> dict[str, Any]:
    """Draw everything that is missing; per model, what that took."""
    jobs = [_job(each) for each in traced if each.all_missing]
    models = {model.name: model for model in experiment.models}
    work = Work(experiment.engine, experiment.strategies, experiment.task)
    started = time.perf_counter()
    experiment.cluster.connect()
    with experiment.folder.journal() as journal, Display(_expected(jobs)) as display:
        dispatch = Dispatch(experiment.cluster, work, models, journal.append, display.update)
        counters = asyncio.run(dispatch.run(jobs))
    return {
        "generation": {name: display.tallies[name].summary(counters[name]) for name in counters},
        "session": {
            "wall_seconds": round(time.perf_counter() - started, 2),
            "seconds_to_first_draw": display.first_draw_seconds,
        },
    }


def _job(traced: Traced) -> Job:
    return Job(
        model=traced.model.name,
        problem=traced.problem.name,
        root=traced.root,
        prompt=traced.prompt,
        strategies=tuple(name for name, missing in traced.missing.items() if missing),
        known=traced.known,
        num_draws=len(traced.all_missing),
    )


def _expected(jobs: Sequence[Job]) -> dict[str, tuple[int, int]]:
    """Problems and draws that each model is expected to need."""
    expected: dict[str, tuple[int, int]] = {}
    for job in jobs:
        problems, draws = expected.get(job.model, (0, 0))
        expected[job.model] = (problems + 1, draws + job.num_draws)
    return expected


def write_tables(folder: RunFolder, traced: Sequence[Traced], task: Task) -> None:
    """Traces, grades, problems and the tidy samples of a run whose draws are all there."""
    grades = grade(traced, task)
    samples, traces = [], []
    for each in traced:
        for strategy, forest in each.forests.items():
            accepted = set(forest.accepted)
            for path, node in forest.nodes.items():
                traces.append(_trace_row(each, strategy, node, path in accepted))
            samples += [
                _sample_row(each, strategy, forest, path, grades) for path in forest.accepted
            ]
    problems = {each.problem.name: each.problem for each in traced}
    folder.write_table("traces", pa.Table.from_pylist(traces))
    folder.write_table("grades", pa.Table.from_pylist(_grade_rows(grades), GRADES))
    folder.write_table("problems", pa.Table.from_pylist(_problem_rows(problems.values())))
    folder.write_table("samples", pa.Table.from_pylist(samples, SAMPLES))


GRADES = pa.schema([("problem", pa.string()), ("answer", pa.string()), ("is_correct", pa.bool_())])
SAMPLES = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "strategy", "problem", "level")),
        ("sample", pa.int32()),
        ("answer", pa.string()),
        ("is_correct", pa.bool_()),
        ("truncated", pa.bool_()),
        *((f"num_{name}_tokens", pa.int32()) for name in ("prompt", "cached", "output")),
        ("text", pa.string()),
        ("seed", pa.int64()),
        ("key", pa.string()),
    ]
)

Grades = Mapping[tuple[str, str], bool]
"""Whether an answer to a problem is right, by the problem's name and the answer."""


def grade(traced: Sequence[Traced], task: Task) -> Grades:
    """Grade every distinct answer to every problem once."""
    answers = {
        (each.problem.name, answer): each.problem
        for each in traced
        for forest in each.forests.values()
        for path in forest.accepted
        if (answer := forest.answer(path)) is not None
    }
    return {key: task.grade(problem, key[1]) for key, problem in answers.items()}


def _sample_row(
    traced: Traced, strategy: str, forest: Forest, path: Path, grades: Grades
) -> dict[str, Any]:
    node, answer = forest.nodes[path], forest.answer(path)
    tokens = forest.generated(path)
    return {
        "model": traced.model.name,
        "strategy": strategy,
        "problem": traced.problem.name,
        "level": traced.problem.level,
        "sample": path[0],
        "answer": answer,
        "is_correct": answer is not None and grades[traced.problem.name, answer],
        "truncated": node.completion.finish_reason == "length",
        "num_prompt_tokens": len(traced.prompt),
        "num_cached_tokens": node.completion.num_cached_tokens,
        "num_output_tokens": len(tokens),
        "text": traced.model.decode(tokens),
        "seed": node.seed,
        "key": _key(traced, node),
    }


def _trace_row(traced: Traced, strategy: str, node: Node, is_accepted: bool) -> dict[str, Any]:
    return {
        "model": traced.model.name,
        "strategy": strategy,
        "problem": traced.problem.name,
        "path": ".".join(map(str, node.path)),
        "is_accepted": is_accepted,
        "num_forced_tokens": len(node.forced),
        "num_output_tokens": len(node.completion.tokens),
        "key": _key(traced, node),
    }


def _key(traced: Traced, node: Node) -> str:
    return draw_key(traced.model.fingerprint, node.prefix, node.sampling, node.seed)


def _grade_rows(grades: Grades) -> list[dict[str, Any]]:
    return [
        {"problem": problem, "answer": answer, "is_correct": is_correct}
        for (problem, answer), is_correct in grades.items()
    ]


def _problem_rows(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [
        {"problem": each.name, "level": each.level, "prompt": each.prompt, "answer": each.answer}
        for each in problems
    ]


@dataclass(frozen=True)
class Pretraining:
    """A ladder to train and the folder to write."""

    recipe: Recipe
    output: FilePath
    cluster: Cluster


def pretrain(pretraining: Pretraining) -> Iterator[Checkpoint]:
    """Train every size as a Ray task, the largest first; checkpoints as their size finishes, then the manifest.

    Raises UserError when the folder holds another ladder already.
    """
    recipe, output = pretraining.recipe, pretraining.output.resolve()
    if (output / MANIFEST).is_file() and read_manifest(output)["hash"] != recipe.hash:
        raise UserError(
            f"output {pretraining.output} holds a ladder of another recipe; choose another folder"
        )
    output.mkdir(parents=True, exist_ok=True)
    pretraining.cluster.connect()
    largest_first = sorted(recipe.sizes, key=lambda name: -recipe.sizes[name].hidden_size)
    arguments = [(recipe, name, output) for name in largest_first]
    checkpoints: list[Checkpoint] = []
    for finished in each_in_a_task(train_size, arguments):
        checkpoints += finished
        yield from finished
    write_manifest(output, recipe, checkpoints)
