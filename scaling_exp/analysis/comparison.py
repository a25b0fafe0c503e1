"""Comparison: runs side by side, and models and strategies of one run; differences on common
problems, and what differed in their configuration.

Every difference is paired: taken problem by problem, so that what makes a problem hard for both
cancels (Miller 2024, arXiv 2411.00640, section 4). Problems are matched by name; that equal names
mean the same problem is for the task to see to. It draws nothing, and does not know why runs
differ.

Axes: P common problems, K numbers of samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.curves import accuracy_table, selectors, shown_ks
from scaling_exp.analysis.estimators import FloatArray, plurality
from scaling_exp.analysis.intervals import resample_problems

FINAL = "final"
"""What a user gets of a strategy: its single answer, or the vote over all that it drew."""
NOT_SET_BY_USER = ("run_id", "created", "command", "generation", "session", "set_aside")
"""Keys of a manifest that say what happened, not what was asked for."""
DIFFERENCES = (
    *("run_a", "model_a", "strategy_a", "run_b", "model_b", "strategy_b", "selector", "k"),
    *("num_problems", "accuracy_a", "accuracy_b", "difference", "difference_low"),
    *("difference_high", "p_value", "p_adjusted"),
)
ENDS = ("", "_low", "_high")
LEADERS = 5
"""Differences that are put into words."""


@dataclass(frozen=True)
class Run:
    """A run as the comparison sees it. `manifest` is its manifest.json."""

    name: str
    manifest: Mapping[str, object]
    attempts: Sequence[Attempts]


@dataclass(frozen=True)
class Certainty:
    """How differences are judged: level of the intervals, resamples behind them, and their seed."""

    confidence: float
    num_resamples: int
    seed: int


@dataclass(frozen=True)
class Comparison:
    """`runs`: one row a run (run, num_models, num_strategies, num_problems). `differences`: columns
    as in `DIFFERENCES`, b less a. `configuration`: a row for every key that differs, a column for
    every run, values as JSON, empty where a run lacks the key."""

    sentences: Sequence[str]
    runs: pd.DataFrame
    differences: pd.DataFrame
    configuration: pd.DataFrame


def compare(runs: Sequence[Run], certainty: Certainty) -> Comparison:
    """Runs against each other, in the order given.

    What two runs share is compared like with like: the same model, if they have one in common, and
    the same strategy, if they have one in common; else all with all. Raises ValueError for fewer
    than two runs, or two of one name.
    """
    names = [run.name for run in runs]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"give two or more runs with different names; these are {names}")
    rows = [
        {"run_a": first.name, "run_b": second.name, **row}
        for first, second in combinations(runs, 2)
        for a, b in _alike(first.attempts, second.attempts)
        for row in _paired_rows(a, b, certainty)
    ]
    differences = _table(rows)
    configuration = configuration_differences({run.name: run.manifest for run in runs})
    return Comparison(
        sentences=(
            *(_common_problems(*pair) for pair in combinations(runs, 2)),
            *sentences_of(differences, certainty.confidence),
            _configuration_sentence(configuration),
        ),
        runs=_run_table(runs),
        differences=differences,
        configuration=configuration,
    )


def differences_within(attempts: Sequence[Attempts], certainty: Certainty) -> pd.DataFrame:
    """Models under one strategy, and strategies of one model, of a single run; columns as in
    `DIFFERENCES`, the runs left empty. Later models (more pre-training) less earlier ones."""
    rows = [
        {"run_a": "", "run_b": "", **row}
        for a, b in combinations(attempts, 2)
        if (a.facts.name == b.facts.name) != (a.strategy == b.strategy)
        for row in _paired_rows(a, b, certainty)
    ]
    return _table(rows)


def _alike(
    first: Sequence[Attempts], second: Sequence[Attempts]
) -> Iterator[tuple[Attempts, Attempts]]:
    share_model = bool({a.facts.name for a in first} & {b.facts.name for b in second})
    share_strategy = bool({a.strategy for a in first} & {b.strategy for b in second})
    for a in first:
        for b in second:
            is_same_model = a.facts.name == b.facts.name or not share_model
            if is_same_model and (a.strategy == b.strategy or not share_strategy):
                yield a, b


def _paired_rows(
    a: Attempts, b: Attempts, certainty: Certainty
) -> Iterator[dict[str, str | float]]:
    """Every selector and k that both have, on the problems that both have; none without one."""
    at = {problem: index for index, problem in enumerate(b.problems)}
    common = [problem for problem in a.problems if problem in at]
    if not common:
        return
    rows_a = np.flatnonzero([problem in at for problem in a.problems])
    rows_b = np.array([at[problem] for problem in common])
    clusters = None if a.clusters is None else [a.clusters[row] for row in rows_a]
    resamples = resample_problems(
        len(common), certainty.num_resamples, certainty.confidence, certainty.seed, clusters
    )
    names = {"model_a": a.facts.name, "strategy_a": a.strategy}
    names |= {"model_b": b.facts.name, "strategy_b": b.strategy}
    for selector, ks, values_a_PK, values_b_PK in _readings(a, b):
        a_PK, b_PK = values_a_PK[rows_a], values_b_PK[rows_b]
        low_K, high_K = resamples.interval(resamples.means(b_PK - a_PK))
        p_value_K = paired_p_value(b_PK - a_PK)
        for column, k in enumerate(ks):
            accuracy_a, accuracy_b = a_PK[:, column].mean(), b_PK[:, column].mean()
            yield names | {
                "selector": selector,
                "k": k,
                "num_problems": len(common),
                "accuracy_a": float(accuracy_a),
                "accuracy_b": float(accuracy_b),
                "difference": float(accuracy_b - accuracy_a),
                "difference_low": float(low_K[column]),
                "difference_high": float(high_K[column]),
                "p_value": float(p_value_K[column]),
            }


def _readings(
    a: Attempts, b: Attempts
) -> Iterator[tuple[str, Sequence[float], FloatArray, FloatArray]]:
    """(selector, ks, values of a, values of b): at equal k where any k can be read of both, else
    the final answers, for which k is NaN."""
    if a.kind == b.kind == "exchangeable":
        ks = shown_ks(min(a.max_k, b.max_k))
        for selector in selectors(a):
            if selector in selectors(b):
                yield selector, ks, accuracy_table(a, selector, ks), accuracy_table(b, selector, ks)
    elif all(each.votes or each.kind == "single" for each in (a, b)):
        yield FINAL, [np.nan], final_answers(a)[:, None], final_answers(b)[:, None]


def final_answers(attempts: Attempts) -> FloatArray:
    """Accuracy of what a user gets, per problem: the single answer, or the vote over all samples
    (in expectation over ties)."""
    if attempts.kind == "single" or attempts.votes is None:
        return np.asarray(attempts.num_correct_P / attempts.num_samples_P, np.float64)
    return plurality(attempts.votes)


def paired_p_value(difference_PK: FloatArray) -> FloatArray:
    """Two-sided p-values, shape (K,), of the mean difference being zero: Student's t with P - 1
    degrees of freedom.

    Where all problems differ by the same amount, that of a sign test; NaN for a single problem.
    """
    num_problems = len(difference_PK)
    mean_K = difference_PK.mean(axis=0)
    if num_problems < 2:
        return np.full(len(mean_K), np.nan)
    error_K = difference_PK.std(axis=0, ddof=1) / np.sqrt(num_problems)
    is_spread_K = error_K > 1e-12
    t_K = np.abs(mean_K) / np.where(is_spread_K, error_K, 1.0)
    alike_K = np.where(np.abs(mean_K) > 1e-12, 0.5 ** (num_problems - 1), 1.0)
    return np.where(is_spread_K, 2 * student.sf(t_K, num_problems - 1), alike_K)


def holm(p_values: FloatArray) -> FloatArray:
    """p-values adjusted for being many (Holm 1979): rejecting those below alpha errs anywhere with
    probability alpha at most, however they depend on each other. NaN stays NaN and is not
    counted."""
    order = np.argsort(p_values, kind="stable")
    num_known = int((~np.isnan(p_values)).sum())
    factors = np.maximum(num_known - np.arange(len(p_values)), 1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def _table(rows: Sequence[Mapping[str, str | float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=pd.Index([*DIFFERENCES]))
    table["p_adjusted"] = holm(table["p_value"].to_numpy(np.float64))
    return table


def sentences_of(differences: pd.DataFrame, confidence: float) -> tuple[str, ...]:
    """How many differences can be told from zero, and the largest of those that a user could
    have."""
    if differences.empty:
        return ()
    adjusted = differences["p_adjusted"].to_numpy(np.float64)
    told = differences.loc[adjusted < 1 - confidence]
    counted = (
        f"Of {len(differences)} paired differences, {len(told)} can be told from zero at "
        f"{confidence:.0%} confidence, corrected for being that many (Holm)."
    )
    told = told.loc[(told["selector"] != "oracle").to_numpy(bool)]
    largest = told.loc[told["difference"].abs().sort_values(ascending=False).index[:LEADERS]]
    return counted, *(_sentence(row) for row in largest.to_dict("records"))


def _sentence(row: Mapping[str, object]) -> str:
    sides = [
        " of ".join(str(row[f"{part}_{side}"]) for part in ("strategy", "model"))
        + (f" in {row[f'run_{side}']}" if row[f"run_{side}"] else "")
        for side in ("b", "a")
    ]
    sign = 1 if float(str(row["difference"])) > 0 else -1
    points = 100 * sign * np.array([float(str(row[f"difference{end}"])) for end in ENDS])
    reading = "" if row["selector"] == FINAL else f"; {row['selector']}, k = {row['k']:.0f}"
    return (
        f"{sides[0]} is {points[0]:.1f} points {'better' if sign > 0 else 'worse'} than {sides[1]} "
        f"({min(points[1:]):.1f} to {max(points[1:]):.1f}{reading})."
    )


def _common_problems(first: Run, second: Run) -> str:
    mine, theirs = ({p for each in run.attempts for p in each.problems} for run in (first, second))
    common = len(mine & theirs)
    pair = f"{first.name} ({len(mine)} problems) and {second.name} ({len(theirs)})"
    if not common:
        return f"{pair} have no problem in common: nothing can be paired."
    return f"{pair} have {common} problems in common; differences are taken on these."


def _run_table(runs: Sequence[Run]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": run.name,
            "num_models": len({each.facts.name for each in run.attempts}),
            "num_strategies": len({each.strategy for each in run.attempts}),
            "num_problems": len({p for each in run.attempts for p in each.problems}),
        }
        for run in runs
    )


def configuration_differences(manifests: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    """Every key of the manifests that says what was asked for, or what it ran on, and is not the
    same in all: dotted, with one column a run."""
    flat = {
        name: flatten({k: v for k, v in manifest.items() if k not in NOT_SET_BY_USER})
        for name, manifest in manifests.items()
    }
    keys = dict.fromkeys(key for each in flat.values() for key in each)
    rows = [
        {"key": key, **{name: each.get(key, "") for name, each in flat.items()}}
        for key in keys
        if len({each.get(key) for each in flat.values()}) > 1
    ]
    return pd.DataFrame(rows, columns=pd.Index(["key", *flat]))


def flatten(node: object, prefix: str = "") -> dict[str, str]:
    """Dotted keys to values as JSON. Items of a list are named by their `name` where they all have
    one; any other list is a value."""
    if isinstance(node, list) and node and all(isinstance(x, dict) and "name" in x for x in node):
        node = {str(each["name"]): each for each in node}
    if not isinstance(node, Mapping) or not node:
        return {prefix: json.dumps(node)}
    flat: dict[str, str] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _configuration_sentence(configuration: pd.DataFrame) -> str:
    if configuration.empty:
        return "Their configurations do not differ."
    keys = [str(key) for key in configuration["key"]]
    shown = ", ".join(keys[:LEADERS])
    more = f" and {len(keys) - LEADERS} more" if len(keys) > LEADERS else ""
    return f"Their configurations differ in {shown}{more}."
