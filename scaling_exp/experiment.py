"""What one run does, top to bottom: survey the pool, draw what is missing, make the tables, analyse, show.

A run's numbers are a function of the pool. Before drawing, strategies are compared with it, to learn what is missing;
after, they are replayed over it, to make the tables. So a run that was killed and run again ends with the numbers of
one that was not.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa

from scaling_exp.analysis import Analysis, AnalysisSettings
from scaling_exp.analysis import record as record_settings
from scaling_exp.cluster import Cluster, each_in_a_task
from scaling_exp.dispatch import UNKNOWN, Dispatch, Event, Fault, Job, SetAside
from scaling_exp.display import Display
from scaling_exp.engines import EngineConfig
from scaling_exp.environment import describe_environment
from scaling_exp.generation import Strategy
from scaling_exp.models import Model
from scaling_exp.pretraining import (
    MANIFEST,
    Checkpoint,
    Recipe,
    read_manifest,
    train_size,
)
from scaling_exp.pretraining import (
    write_manifest as write_ladder,
)
from scaling_exp.pretraining.scorer import (
    SCORER_MANIFEST,
    Scorer,
    ScorerRecipe,
    read_scorer_manifest,
    train_scorer,
)
from scaling_exp.prometheus import Exposed
from scaling_exp.recorder import Recorder
from scaling_exp.report import redraw
from scaling_exp.scorers import ScorerModel
from scaling_exp.spending import Limits, Spending, Spent
from scaling_exp.store import Journal, Pool, RunFolder, Store, known_by_root
from scaling_exp.store.files import writing
from scaling_exp.survey import Prompted, Scores, Survey, check_scorer, survey
from scaling_exp.tables import ENGINES, write_tables
from scaling_exp.tasks import Task
from scaling_exp.tracking import Tracker
from scaling_exp.tracking.view import View
from scaling_exp.types import ModelFacts, UserError
from scaling_exp.worker import Work


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
    tracking: Tracker
    config: Mapping[str, Any]
    scorer: ScorerModel | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(
                f"name is {self.name!r}; use letters, digits, '_' and, but for the first, '.' and '-'"
            )
        if self.scorer and self.scorer.name in {model.name for model in self.models}:
            raise ValueError(
                f"scorer.name is {self.scorer.name!r}, which is a model's; give it one of its own"
            )

    @property
    def run_id(self) -> str:
        """Name and a hash of all that decides what is drawn: the same experiment finds its folder again."""
        weights = [(model.name, model.fingerprint) for model in self.models]
        drawn: tuple[object, ...] = (self.seed, weights, self.task, dict(self.strategies))
        if self.scorer is not None:
            drawn = (*drawn, self.scorer.identity)
        return f"{self.name}-{sha256(repr(drawn).encode()).hexdigest()[:8]}"

    @property
    def pool_store(self) -> Store:
        return Store.at(self.store)

    @property
    def folder(self) -> RunFolder:
        return self.pool_store.run(self.run_id)

    def scores(self) -> Scores | None:
        """The scorer and what the pool holds of it by now."""
        if self.scorer is None:
            return None
        return Scores(self.scorer, self.pool_store.pool(self.scorer.fingerprint))


@dataclass(frozen=True)
class Finished:
    """What a run showed, and the jobs that it had to do without."""

    analysis: Analysis
    page: FilePath
    set_aside: Sequence[SetAside]


def run(
    experiment: Experiment, command: str, after_drawing: Callable[[], None] | None = None
) -> Finished:
    """Draw what is missing, then analyse; `after_drawing` is called when engines are needed no more.

    A problem of which a job was set aside is left out for every model. Raises UserError for what a user can mend,
    LimitReached when one of the limits is, JobFailed when a job has a bug.
    """
    folder, store = experiment.folder, experiment.pool_store
    set_aside: Sequence[SetAside] = ()
    check_limits(experiment)
    recorder = Recorder(folder, experiment.run_id, command, experiment.limits)
    view = View(experiment.tracking, folder, experiment.config)
    with folder.locked(), view, recorder:
        store.recover()
        seen = store.parts()
        surveys = survey_pool(experiment)
        jobs = [job for each in surveys for job in jobs_of(each)]
        write_manifest(experiment, command)
        if jobs:
            generated = generate(experiment, surveys, jobs, seen, view, recorder)
            set_aside = generated.set_aside
            write_manifest(experiment, command, generated)
            if after_drawing:
                after_drawing()
        recorder.enter("tables")
        write_tables(
            folder,
            _answered(surveys, set_aside),
            experiment.strategies,
            experiment.task,
            experiment.scores(),
        )
        analysis, page = redraw(folder)
        view.show(analysis)
    return Finished(analysis, page, set_aside)


def survey_pool(experiment: Experiment) -> list[Survey]:
    """What the pool holds and lacks for every model.

    Raises UserError when a model cannot take the prompts or what strategies want to add to them, or the scorer what is
    to be scored.
    """
    problems, strategies = experiment.task.problems(), experiment.strategies
    surveys, scores = [], experiment.scores()
    if experiment.scorer is not None:
        check_scorer(experiment.scorer, problems, experiment.models, strategies)
    for model in experiment.models:
        prompted = Prompted.of(model, problems, experiment.seed, strategies)
        pool = experiment.pool_store.pool(model.fingerprint)
        surveys.append(survey(prompted, pool, strategies, experiment.task, scores))
    return surveys


def jobs_of(surveyed: Survey) -> list[Job]:
    """A job for every problem of which draws are missing, in the order in which the pool is read."""
    prompted = surveyed.prompted
    return [
        Job(
            model=surveyed.model.name,
            problem=prompted.problems[at].name,
            root=prompted.roots[at],
            prompt=prompted.prompts[at],
            strategies=surveyed.strategies_to_draw(at),
            num_draws=max(1, int(surveyed.num_missing_P[at])),
            num_known=int(surveyed.num_known_P[at]) or int(surveyed.has_scorer),
            asked=prompted.problems[at] if surveyed.has_scorer else None,
        )
        for at in surveyed.problems_to_draw
    ]


@dataclass(frozen=True)
class Generated:
    """What drawing took, for the manifest, and what could not be drawn."""

    record: Mapping[str, Any]
    set_aside: Sequence[SetAside]


def generate(
    experiment: Experiment,
    surveys: Sequence[Survey],
    jobs: Sequence[Job],
    seen: frozenset[FilePath],
    view: View,
    recorder: Recorder,
) -> Generated:
    """Draw everything that is missing; `seen` are the parts that the surveys read."""
    largest_first = sorted(experiment.models, key=lambda each: each.facts.order, reverse=True)
    models = {model.name: model for model in largest_first}
    pools = {each.model.name: each.pool for each in surveys}
    scores = experiment.scores()
    work = Work(experiment.engine, experiment.strategies, experiment.task, experiment.scorer)
    spending = spending_of(experiment, recorder)
    started = time.perf_counter()
    experiment.cluster.connect()
    experiment.cluster.check(experiment.engine)
    scorer = experiment.scorer.model if experiment.scorer else None
    experiment.cluster.check_memory(experiment.engine, experiment.models, scorer)
    _tell_of_others(experiment.pool_store)
    with experiment.folder.journal(seen) as journal, Display(_expected(jobs)) as display:
        exposed = Exposed(experiment.run_id, display, spending)
        dispatch = Dispatch(
            models=models,
            replicas=partial(experiment.cluster.replicas, work),
            with_known=partial(with_known, pools, scores and scores.pool, journal),
            on_draws=partial(_keep, journal, spending),
            on_event=partial(_take_in, display, view, recorder, exposed),
            on_fault=partial(_note, recorder, exposed),
        )
        recorder.follow(display, spending)
        set_aside = asyncio.run(recorder.watching(dispatch.run(jobs)))
        exposed.tell()
    engines = pa.Table.from_pylist(display.engine_rows(), ENGINES)
    experiment.folder.write_table("engines", engines)
    record = {
        "generation": {name: tally.summary() for name, tally in display.tallies.items()},
        "scoring": {display.scorer.name: display.scorer.summary()} if display.scorer else {},
        "session": {
            "wall_seconds": round(time.perf_counter() - started, 2),
            "seconds_to_first_draw": display.first_draw_seconds,
            "share_without_tokens": display.share_without_tokens,
        },
    }
    return Generated(record, set_aside)


def check_limits(experiment: Experiment) -> None:
    """Raise UserError for a limit that could never be told to be reached."""
    experiment.limits.check(_all_facts(experiment), experiment.analysis.pricing)


def _all_facts(experiment: Experiment) -> list[ModelFacts]:
    """Of every model that draws are made of."""
    scorer = experiment.scorer
    scorers = [scorer.facts] if scorer and scorer.model else []
    return [*(each.facts for each in experiment.models), *scorers]


def spending_of(experiment: Experiment, recorder: Recorder) -> Spending:
    """Nothing yet in this session. Raises UserError when earlier ones left nothing to spend, or it cannot be told."""
    spending = spending_after(experiment, recorder.before)
    spending.check(experiment.limits)
    recorder.check(spending.earlier)
    return spending


def spending_after(experiment: Experiment, before: Spent) -> Spending:
    """Nothing yet in this session, and `before` in earlier ones."""
    return Spending(
        {each.name: each for each in _all_facts(experiment)},
        experiment.analysis.pricing,
        accelerators_per_replica(experiment),
        before=before,
    )


def accelerators_per_replica(experiment: Experiment) -> int:
    """GPUs; without any, what an engine runs on counts as one."""
    num_gpus = sum(bundle.get("GPU", 0.0) for bundle in experiment.engine.bundles)
    return max(1, round(num_gpus))


def _keep(journal: Journal, spending: Spending, draws: bytes, num_draws: int) -> None:
    journal.append(draws, num_draws)
    spending.add(draws)


def _take_in(
    display: Display, view: View, recorder: Recorder, exposed: Exposed, event: Event
) -> None:
    display.update(event)
    recorder.take_in(event)
    view.look(display.seconds, display.drawn)
    exposed.look()


def _note(recorder: Recorder, exposed: Exposed, fault: Fault) -> None:
    recorder.note(fault)
    exposed.note(fault)


def with_known(
    pools: Mapping[str, Pool], scores: Pool | None, journal: Journal, jobs: Sequence[Job]
) -> list[Job]:
    """Jobs with what is known of them. One that was open in a replica that died knows what came back from it."""
    tables: list[pa.Table] = []
    for name, pool in pools.items():
        mine = [job for job in jobs if job.model == name]
        roots = [job.root for job in mine]
        if any(job.num_known == UNKNOWN for job in mine):
            # In this order: what is sealed between the two is found twice, not missed.
            tables += list(journal.rows(roots))
            pool.refresh()
            if scores:
                scores.refresh()
        if mine:
            tables += [each.rows(roots) for each in (pool, scores) if each]
    known = known_by_root(tables)
    return [replace(job, known=known.get(job.root, {})) for job in jobs]


def _tell_of_others(store: Store) -> None:
    if others := store.drawing():
        print(
            f"another run draws from the same pool now ({', '.join(others)}); what both draw is kept once",
            file=sys.stderr,
        )


def _expected(jobs: Sequence[Job]) -> dict[str, tuple[int, int]]:
    """Problems and draws that each model is expected to need."""
    expected: dict[str, tuple[int, int]] = {}
    for job in jobs:
        problems, draws = expected.get(job.model, (0, 0))
        expected[job.model] = (problems + 1, draws + job.num_draws)
    return expected


def _answered(
    surveys: Sequence[Survey], set_aside: Sequence[SetAside]
) -> list[tuple[Prompted, Pool]]:
    """The problems of which every model has all draws, with the pool as it is by now.

    Raises UserError when there is none.
    """
    left_out = {each.problem for each in set_aside}
    answered = []
    for each in surveys:
        each.pool.refresh()
        answered.append((each.prompted.without(left_out), each.pool))
    if not answered[0][0].problems:
        raise UserError(f"every problem was set aside; the first because: {set_aside[0].reason}")
    return answered


def write_manifest(
    experiment: Experiment, command: str, generated: Generated | None = None
) -> None:
    """Record what the run is and what it ran on; of a run that draws nothing, the last generation stays."""
    folder = experiment.folder
    before = folder.read_manifest() if folder.manifest.is_file() else {}
    record = generated.record if generated else before
    set_aside = generated.set_aside if generated else ()
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
            "grader": experiment.task.grader.version,
        },
        "analysis": record_settings(experiment.analysis),
        "scorer": experiment.scorer and _scorer_record(experiment.scorer),
        "adaptive": [
            name for name, each in experiment.strategies.items() if not each.bound.is_exact
        ],
        "deep": [name for name, each in experiment.strategies.items() if each.bound.num_below],
        "most_samples": {
            name: each.bound.num_samples for name, each in experiment.strategies.items()
        },
        "generation": record.get("generation", {}),
        "scoring": record.get("scoring", {}),
        "session": record.get("session", {}),
        "set_aside": [asdict(each) for each in set_aside],
        **describe_environment(),
    }
    folder.write_json("manifest", manifest)


def _model_record(model: Model | ScorerModel) -> dict[str, Any]:
    return {
        **asdict(model.facts),
        "pretraining_flops": model.facts.pretraining_flops,
        "fingerprint": model.fingerprint,
    }


def _scorer_record(scorer: ScorerModel) -> dict[str, Any]:
    return {**_model_record(scorer), "caveat": scorer.caveat}


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
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    pretraining.cluster.connect()
    largest_first = sorted(recipe.sizes, key=lambda name: -recipe.sizes[name].hidden_size)
    arguments = [(recipe, name, output) for name in largest_first]
    checkpoints: list[Checkpoint] = []
    for finished in each_in_a_task(train_size, arguments):
        checkpoints += finished
        yield from finished
    write_ladder(output, recipe, checkpoints)


@dataclass(frozen=True)
class ScorerPretraining:
    """A scorer to train from what the ladder in a folder draws, and the folder to write."""

    recipe: ScorerRecipe
    ladder: FilePath
    output: FilePath
    cluster: Cluster


def pretrain_scorer(pretraining: ScorerPretraining) -> Scorer:
    """Draw, train and judge in one Ray task.

    Raises UserError when the folder holds another scorer already.
    """
    recipe, output = pretraining.recipe, pretraining.output.resolve()
    if (output / SCORER_MANIFEST).is_file() and (
        read_scorer_manifest(output)["hash"] != recipe.hash
    ):
        raise UserError(
            f"output {pretraining.output} holds a scorer of another recipe; choose another folder"
        )
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    pretraining.cluster.connect()
    (scorer,) = each_in_a_task(train_scorer, [(recipe, pretraining.ladder.resolve(), output)])
    return scorer
