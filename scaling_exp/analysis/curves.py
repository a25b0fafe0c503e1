"""Curves: accuracy and cost of every model, strategy and number of samples, with intervals.

Whether a difference between two curves is worth its price is for tradeoff.py.

Axes: P problems, K numbers of samples, R rows of the bootstrap (row 0: the data as they are).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.estimators import FloatArray, maj_at_k, pass_at_k, plurality
from scaling_exp.analysis.intervals import Resamples, resample_problems
from scaling_exp.analysis.tradeoff import Curve, matching_ks

Selector = Literal["voting", "oracle"]
ALL_LEVELS = "all"


def shown_ks(num_samples: int) -> list[int]:
    """1, 2, 4, ... and the number of samples itself."""
    return sorted({2**i for i in range(num_samples.bit_length())} | {num_samples})


def accuracy_table(attempts: Attempts, selector: Selector, ks: Sequence[int]) -> FloatArray:
    """Expected accuracy per problem and k, shape (P, K), of an exchangeable strategy."""
    if selector == "voting":
        return maj_at_k(attempts.counts, ks)
    return pass_at_k(attempts.num_correct_P, int(attempts.num_samples_P[0]), ks)


def matching_curve(attempts: Attempts, selector: Selector, resamples: Resamples) -> Curve:
    """The finely spaced curve on which matches are looked for."""
    ks = matching_ks(int(attempts.num_samples_P[0]))
    return Curve(
        facts=attempts.facts,
        ks_K=np.array(ks),
        accuracy_RK=resamples.means(accuracy_table(attempts, selector, ks)),
        prefill_R=resamples.means(attempts.prefill_flops_P),
        sample_R=resamples.means(attempts.sample_flops_P),
    )


def curve_table(attempts: Sequence[Attempts], resamples: Resamples, seed: int) -> pd.DataFrame:
    """All points, over all problems (level "all") and per level, which is resampled by itself and
    so never empty.

    Columns: model, strategy, selector ("single", "voting", "oracle"), level, k (mean samples per
    problem), accuracy, inference_flops and output_tokens (means per query; the first two with _low
    and _high), pretraining_flops, num_parameters, num_problems.
    """
    levels = np.array(attempts[0].levels)
    groups = [(ALL_LEVELS, np.ones(len(levels), bool), resamples)]
    for level in sorted(set(attempts[0].levels)):
        of_level = levels == level
        num_resamples = len(resamples.weights_RP) - 1
        own = resample_problems(int(of_level.sum()), num_resamples, resamples.confidence, seed)
        groups.append((level, of_level, own))
    rows = []
    for one in attempts:
        for selector, accuracy_PK, samples_PK in _points(one):
            for level, is_in_P, of_group in groups:
                part = (accuracy_PK[is_in_P], samples_PK[is_in_P])
                columns = _point_columns(one, is_in_P, *part, of_group)
                rows += _rows(one, selector, level, int(is_in_P.sum()), columns)
    return pd.DataFrame(rows)


def _points(one: Attempts) -> list[tuple[str, FloatArray, FloatArray]]:
    """What one strategy measures: (selector, accuracy per problem and k, samples drawn per problem
    and k)."""
    if one.kind == "exchangeable":
        ks = shown_ks(int(one.num_samples_P[0]))
        samples_PK = np.broadcast_to(np.array(ks, np.float64), (len(one.counts), len(ks)))
        selectors: tuple[Selector, ...] = ("voting", "oracle")
        return [(s, accuracy_table(one, s, ks), samples_PK) for s in selectors]
    samples_PK = one.num_samples_P[:, None].astype(np.float64)
    elected_PK = np.array([[plurality(counts)] for counts in one.counts])
    selector = "single" if one.kind == "single" else "voting"
    return [(selector, elected_PK, samples_PK)]


def _point_columns(
    one: Attempts,
    is_in_P: NDArray[np.bool_],
    accuracy_PK: FloatArray,
    samples_PK: FloatArray,
    resamples: Resamples,
) -> dict[str, FloatArray]:
    accuracy_RK = resamples.means(accuracy_PK)
    per_sample_P1 = one.sample_flops_P[is_in_P, None]
    flops_RK = resamples.means(one.prefill_flops_P[is_in_P, None] + samples_PK * per_sample_P1)
    tokens_PK = samples_PK * one.output_tokens_P[is_in_P, None]
    accuracy_low, accuracy_high = resamples.interval(accuracy_RK)
    flops_low, flops_high = resamples.interval(flops_RK)
    return {
        "k": samples_PK.mean(axis=0),
        "accuracy": accuracy_RK[0],
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "inference_flops": flops_RK[0],
        "inference_flops_low": flops_low,
        "inference_flops_high": flops_high,
        "output_tokens": tokens_PK.mean(axis=0),
    }


def _rows(
    one: Attempts,
    selector: str,
    level: str,
    num_problems: int,
    columns: dict[str, FloatArray],
) -> list[dict[str, str | float]]:
    identity = {"model": one.facts.name, "strategy": one.strategy, "selector": selector}
    model = {
        "pretraining_flops": one.facts.pretraining_flops,
        "num_parameters": one.facts.architecture.num_parameters,
        "num_problems": num_problems,
    }
    return [
        identity
        | {"level": level}
        | {name: float(values[i]) for name, values in columns.items()}
        | model
        for i in range(len(columns["k"]))
    ]


def ladder_table(
    attempts: Sequence[Attempts], reference: str | None, curves: pd.DataFrame
) -> pd.DataFrame:
    """One row per model, in order of pre-training compute; maj@K and pass@K at the reference
    strategy's largest K."""
    singles = {
        a.facts.name: a for a in attempts if a.strategy.startswith("greedy") and a.kind == "single"
    }
    rows = []
    for facts in dict.fromkeys(a.facts for a in attempts):
        own = [a for a in attempts if a.facts == facts]
        shown = [a for a in own if a.strategy == reference] or own
        weights = [float(a.num_samples_P.sum()) for a in shown]
        greedy = singles.get(facts.name)
        rows.append(
            {
                "model": facts.name,
                "num_parameters": facts.architecture.num_parameters,
                "pretraining_tokens": facts.pretraining_tokens,
                "pretraining_flops": facts.pretraining_flops,
                "greedy": np.nan if greedy is None else float(greedy.num_correct_P.mean()),
                **_reference_scores(facts.name, reference, curves),
                "truncated_share": np.average([a.truncated_share for a in shown], weights=weights),
                "unparsable_share": np.average(
                    [a.unparsable_share for a in shown], weights=weights
                ),
            }
        )
    return pd.DataFrame(rows)


def _reference_scores(model: str, reference: str | None, curves: pd.DataFrame) -> dict[str, float]:
    if reference is None:
        return {"pass@1": np.nan}
    is_own = (curves["strategy"] == reference) & (curves["level"] == ALL_LEVELS)
    own = curves.loc[(is_own & (curves["model"] == model)).to_numpy(bool)]
    columns = (own[column].tolist() for column in ("selector", "k", "accuracy"))
    accuracy = {(selector, k): value for selector, k, value in zip(*columns, strict=True)}
    last = max((k for _, k in accuracy), default=np.nan)
    return {
        "pass@1": accuracy.get(("oracle", 1.0), np.nan),
        f"maj@{last:.0f}": accuracy.get(("voting", last), np.nan),
        f"pass@{last:.0f}": accuracy.get(("oracle", last), np.nan),
    }


def reference_strategy(attempts: Sequence[Attempts]) -> str | None:
    """The exchangeable strategy that the trade is read from: held by most models, then most
    samples, then by name."""
    candidates = [a for a in attempts if a.kind == "exchangeable"]
    if not candidates:
        return None
    holders = Counter(a.strategy for a in candidates)
    num_samples = {a.strategy: int(a.num_samples_P[0]) for a in candidates}
    return min(num_samples, key=lambda s: (-holders[s], -num_samples[s], s))
