"""Attempts: the samples table, folded into what the estimators need per model and strategy.

It checks its input and says what is wrong with it; it draws no conclusion.

Axes: P problems (sorted by name, the same for every model), S rows of the samples table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray, IntArray, VoteCounts
from scaling_exp.types import ModelFacts

Kind = Literal["single", "exchangeable", "adaptive"]
"""One sample per problem; the same number n > 1 for all problems; numbers that depend on what was
drawn."""

COLUMNS = (
    "model",
    "strategy",
    "problem",
    "level",
    "sample",
    "answer",
    "is_correct",
    "truncated",
    "num_prompt_tokens",
    "num_output_tokens",
)
KEY = ["model", "strategy", "problem"]


@dataclass(frozen=True)
class Attempts:
    """Everything one model drew under one strategy; `counts` and the arrays have one entry per
    problem.

    `sample_flops_P` and `output_tokens_P` are means over the samples of a problem.
    """

    facts: ModelFacts
    strategy: str
    kind: Kind
    levels: tuple[str, ...]
    counts: tuple[VoteCounts, ...]
    num_samples_P: IntArray
    prefill_flops_P: FloatArray
    sample_flops_P: FloatArray
    output_tokens_P: FloatArray
    truncated_share: float
    unparsable_share: float

    @property
    def num_correct_P(self) -> IntArray:
        return np.array([c.num_correct for c in self.counts])


def fold(samples: pd.DataFrame, models: Sequence[ModelFacts]) -> list[Attempts]:
    """One `Attempts` per (model, strategy), models in order of pre-training compute.

    An answer's class is its text; several right ones compete, as they would in a user's vote.
    Raises ValueError for missing columns or values, a model without facts, facts without samples, a
    problem missing somewhere, and a sample that occurs twice.
    """
    _check_table(samples)
    facts = _check_models({str(name) for name in samples["model"].tolist()}, models)
    groups = _groups(samples)
    _check_problems(groups)
    kinds = _kinds(groups)
    order = sorted(groups, key=lambda g: (facts[g[0]].pretraining_flops, *g))
    return [_fold_one(groups[g], facts[g[0]], g[1], kinds[g[1]]) for g in order]


def _check_table(samples: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in samples.columns]
    if missing:
        raise ValueError(f"the samples table lacks the columns {', '.join(missing)}")
    if samples.empty:
        raise ValueError("the samples table is empty; run the experiment first")
    for column in COLUMNS:
        if column != "answer" and samples[column].isna().to_numpy().any():
            raise ValueError(f"the samples table has missing values in {column}")


def _check_models(drawn: set[str], models: Sequence[ModelFacts]) -> dict[str, ModelFacts]:
    facts = {model.name: model for model in models}
    if len(facts) != len(models):
        raise ValueError("two models have the same name; give each its own")
    if drawn - set(facts):
        unknown = _names(drawn - set(facts))
        raise ValueError(f"no facts for the models {unknown}; the cost of their samples is unknown")
    if set(facts) - drawn:
        absent = _names(set(facts) - drawn)
        raise ValueError(f"no samples of the models {absent}; finish the run or leave them out")
    return facts


def _names(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class _Problem:
    """The rows of one problem under one model and strategy, as plain columns in order of the
    samples."""

    level: str
    sample_S: IntArray
    answers: list[str | None]
    is_correct_S: NDArray[np.bool_]
    is_truncated_S: NDArray[np.bool_]
    prompt_tokens_S: IntArray
    output_tokens_S: IntArray

    def counts(self) -> VoteCounts:
        pairs = zip(self.answers, self.is_correct_S.tolist(), strict=True)
        votes = Counter((answer, right) for answer, right in pairs if answer is not None)
        return VoteCounts(
            correct=_descending(count for (_, right), count in votes.items() if right),
            wrong=_descending(count for (_, right), count in votes.items() if not right),
            num_abstaining=len(self.answers) - votes.total(),
        )


def _descending(counts: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(counts, reverse=True))


_Groups = dict[tuple[str, str], dict[str, _Problem]]
"""(model, strategy) -> problem -> its rows; problems in sorted order."""


def _groups(samples: pd.DataFrame) -> _Groups:
    names = {column: samples[column].astype(str).tolist() for column in KEY}
    columns = _columns(samples)
    groups: _Groups = {}
    for rows in _rows_of_problems(samples):
        first = int(rows[0])
        model, strategy, problem = (names[column][first] for column in KEY)
        groups.setdefault((model, strategy), {})[problem] = _problem(columns, rows, problem)
    return groups


def _rows_of_problems(samples: pd.DataFrame) -> list[IntArray]:
    """Row numbers of each (model, strategy, problem), sorted, each in order of its samples."""
    sample_S = samples["sample"].to_numpy(np.int64)
    codes = [pd.factorize(samples[column].astype(str), sort=True)[0] for column in KEY]
    order_S = np.lexsort((sample_S, *codes[::-1]))
    sorted_SK = np.stack(codes, axis=1)[order_S]
    starts = np.flatnonzero((np.diff(sorted_SK, axis=0) != 0).any(axis=1)) + 1
    return np.split(order_S, starts)


def _columns(samples: pd.DataFrame) -> dict[str, np.ndarray]:
    """What `_problem` reads, as arrays: a row of a frame costs a hundred times more to look up."""
    numbers = ("sample", "num_prompt_tokens", "num_output_tokens")
    flags = ("is_correct", "truncated")
    return {
        "level": samples["level"].astype(str).to_numpy(object),
        "answer": samples["answer"].to_numpy(object),
        "is_missing": samples["answer"].isna().to_numpy(bool),
        **{name: samples[name].to_numpy(np.int64) for name in numbers},
        **{name: samples[name].to_numpy(bool) for name in flags},
    }


def _problem(columns: dict[str, np.ndarray], rows: IntArray, name: str) -> _Problem:
    levels = columns["level"][rows].tolist()
    if len(set(levels)) > 1:
        raise ValueError(f"problem {name} has two levels")
    is_missing = columns["is_missing"][rows].tolist()
    answers = zip(columns["answer"][rows].tolist(), is_missing, strict=True)
    problem = _Problem(
        level=levels[0],
        sample_S=columns["sample"][rows],
        answers=[None if missing else str(answer) for answer, missing in answers],
        is_correct_S=columns["is_correct"][rows],
        is_truncated_S=columns["truncated"][rows],
        prompt_tokens_S=columns["num_prompt_tokens"][rows],
        output_tokens_S=columns["num_output_tokens"][rows],
    )
    if (problem.is_correct_S & np.array(is_missing)).any():
        raise ValueError(f"a sample of problem {name} has no answer but is marked correct")
    return problem


def _check_problems(groups: _Groups) -> None:
    levels = {name: problem.level for group in groups.values() for name, problem in group.items()}
    for (model, strategy), group in groups.items():
        where = f"model {model} under strategy {strategy}"
        absent = set(levels) - set(group)
        if absent:
            raise ValueError(
                f"{where} has no sample of the problems {_names(absent)}; "
                "all models must answer the same problems: finish the run"
            )
        for name, problem in group.items():
            if problem.level != levels[name]:
                raise ValueError(f"problem {name} has two levels")
            if (np.diff(problem.sample_S) == 0).any():
                raise ValueError(f"{where} has a sample of problem {name} twice")


def _kinds(groups: _Groups) -> dict[str, Kind]:
    """A strategy's kind is read off all models at once: adaptive voting may draw equally often by
    chance."""
    numbers: dict[str, set[int]] = {}
    for (_, strategy), group in groups.items():
        numbers.setdefault(strategy, set()).update(len(p.answers) for p in group.values())
    return {strategy: _kind(num_samples) for strategy, num_samples in numbers.items()}


def _kind(num_samples: set[int]) -> Kind:
    if len(num_samples) > 1:
        return "adaptive"
    return "single" if num_samples == {1} else "exchangeable"


def _fold_one(group: dict[str, _Problem], facts: ModelFacts, strategy: str, kind: Kind) -> Attempts:
    problems = list(group.values())
    shape = facts.architecture
    decode_P = [decode_flops(shape, p.prompt_tokens_S, p.output_tokens_S).mean() for p in problems]
    unparsable = [answer is None for p in problems for answer in p.answers]
    return Attempts(
        facts=facts,
        strategy=strategy,
        kind=kind,
        levels=tuple(p.level for p in problems),
        counts=tuple(p.counts() for p in problems),
        num_samples_P=np.array([len(p.answers) for p in problems]),
        prefill_flops_P=prefill_flops(shape, [int(p.prompt_tokens_S[0]) for p in problems]),
        sample_flops_P=np.array(decode_P),
        output_tokens_P=np.array([p.output_tokens_S.mean() for p in problems]),
        truncated_share=float(np.concatenate([p.is_truncated_S for p in problems]).mean()),
        unparsable_share=float(np.mean(unparsable)),
    )
