"""What one run does, top to bottom: survey the pool, draw what is missing, grade, analyse, show.

A run's numbers are a function of the pool. Strategies are replayed over it before and after drawing: before, to learn
what is missing; after, to make the tables. So a run that was killed and run again ends with the numbers of one that was
not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any

import pandas as pd
import pyarrow as pa

from scaling_exp.analysis import Analysis, AnalysisSettings, analyse
from scaling_exp.engines import EngineConfig
from scaling_exp.generation import Forest, Strategy
from scaling_exp.models import Model
from scaling_exp.report import write_report
from scaling_exp.store import NOT_DRAWN, Known, Replay, RunFolder, Store
from scaling_exp.tasks import Task
from scaling_exp.types import Architecture, ModelFacts, Problem, Tokens


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's numbers."""

    name: str
    seed: int
    models: tuple[Model, ...]
    task: Task
    strategies: Mapping[str, Strategy]
    engine: EngineConfig
    analysis: AnalysisSettings

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("the experiment has no models; choose a ladder, e.g. +ladder=arithmetic")
        if not self.strategies:
            raise ValueError("the experiment has no strategies; add one, e.g. +strategy@strategies.greedy=greedy")

    @property
    def id(self) -> str:
        """Name and a hash of what is drawn: the same experiment finds its folder again."""
        drawn = (self.seed, [m.fingerprint for m in self.models], self.task, dict(self.strategies))
        return f"{self.name}-{sha256(repr(drawn).encode()).hexdigest()[:8]}"


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


def survey(experiment: Experiment, store: Store) -> list[Traced]:
    """Replay every strategy on every problem of every model over the pool."""
    problems = experiment.task.problems()
    prompts = [problem.prompt for problem in problems]
    traced: list[Traced] = []
    for model in experiment.models:
        pool = store.pool(model.fingerprint)
        prompt_tokens = model.encode(prompts)
        _check_lengths(model, prompt_tokens, experiment.strategies)
        traced += asyncio.run(_replay(experiment, model, problems, prompt_tokens, pool))
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
        needed = longest + getattr(strategy, "max_tokens", 0)
        if needed > model.max_tokens:
            raise ValueError(
                f"strategies.{name}: a prompt of {longest} tokens and {needed - longest} more do not fit the"
                f" {model.max_tokens} tokens of model {model.name}; lower max_tokens"
            )


def samples_table(traced: Iterable[Traced], task: Task) -> pd.DataFrame:
    """The tidy table that analysis reads: one row per accepted leaf, graded."""
    grades: dict[tuple[str, str], bool] = {}
    rows = []
    for each in traced:
        for strategy, forest in each.forests.items():
            for path in forest.accepted:
                node = forest.nodes[path]
                tokens = forest.generated(path)
                text = each.model.decode(tokens)
                answer = task.read(text)
                if answer is not None and (each.problem.name, answer) not in grades:
                    grades[each.problem.name, answer] = task.grade(each.problem, answer)
                rows.append(
                    {
                        "model": each.model.name,
                        "strategy": strategy,
                        "problem": each.problem.name,
                        "level": each.problem.level,
                        "sample": path[0],
                        "answer": answer,
                        "is_correct": answer is not None and grades[each.problem.name, answer],
                        "truncated": node.completion.finish_reason == "length",
                        "num_prompt_tokens": len(each.prompt),
                        "num_cached_tokens": node.completion.num_cached_tokens,
                        "num_output_tokens": len(tokens),
                        "text": text,
                        "seed": node.seed,
                        "key": "",
                    }
                )
    return pd.DataFrame(rows)
