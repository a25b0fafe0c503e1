"""What a study says of votes: how fast maj@k runs into its limit, per model.

Axes: K numbers of samples, R rows of the bootstrap (row 0: the data), P problems, A answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.answers import Plot
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.estimators import FloatArray, Votes, maj_at_k, vote_limit
from scaling_exp.analysis.laws.accuracy import SEARCHED_VOTING, fit_votes
from scaling_exp.analysis.laws.coverage import HELD_OUT_FACTOR
from scaling_exp.analysis.laws.fit import (
    Backtest,
    Fit,
    Observations,
    fit_law,
    observed,
    rank,
    unresampled,
)
from scaling_exp.analysis.laws.parts.findings import (
    MAX_SHOWN,
    Findings,
    lines,
    mean_error,
    points,
    spread_out,
)
from scaling_exp.analysis.laws.parts.readings import Reading, Readings


def votes(readings: Readings, seed: int, findings: Findings) -> None:
    """Two laws per model, with the limit computed and with it searched for; ranked from a quarter of the votes."""
    fits: dict[str, list[Fit]] = {}
    tested: list[list[Backtest]] = []
    for reading in readings.voting:
        if reading.ks_K[0] != 1 or len(reading.ks_K) < 4:
            continue
        model = reading.facts.name
        fits[model] = _fits(reading, readings, findings)
        ranked = _tests(reading, seed, findings)
        tested += [findings.note("votes", model, ranked)] if ranked else []
    if tested:
        findings.sentences.append(_verdict(tested))
    findings.plots += _plots(readings.voting, fits)


def _fits(reading: Reading, readings: Readings, findings: Findings) -> list[Fit]:
    model, ks_K = reading.facts.name, reading.ks_K
    fits = []
    for attempts in reading.attempts:
        if attempts.votes is not None:
            limit_R = readings.weights_RP @ vote_limit(attempts.votes)
            fits += findings.fit(
                "votes",
                model,
                lambda limit_R=limit_R: fit_votes(
                    ks_K, reading.accuracy_RK, limit_R, readings.tail
                ),
            )
    observations = observed(reading.accuracy_RK, readings.tail)
    return fits + findings.fit(
        "votes", model, lambda: fit_law(SEARCHED_VOTING, ks_K[None], observations)
    )


@dataclass(frozen=True)
class _Half:
    """What a back-test may see: maj@k up to `ks_K[-1]`, and the limit that its votes compute, at most one."""

    ks_K: FloatArray
    observations: Observations
    limits: tuple[float, ...]


def _tests(reading: Reading, seed: int, findings: Findings) -> list[Backtest]:
    """Of own votes, a quarter of every problem's; of a curve, its points up to a quarter of the largest k."""
    kept = _kept(reading, seed)
    is_apart_K = reading.ks_K > kept.ks_K[-1]
    x_VM, y_M = reading.ks_K[None, is_apart_K], reading.accuracy_RK[0, is_apart_K]
    try:
        fits = [fit_law(SEARCHED_VOTING, kept.ks_K[None], kept.observations)]
        for limit in kept.limits:
            accuracy_RK = kept.observations.y_RM
            fits.append(fit_votes(kept.ks_K, accuracy_RK, np.array([limit]), tail=0.5))
    except ValueError as refusal:
        findings.refuse(f"Held-out votes of {reading.facts.name}: {refusal}")
        return []
    held_out = f"k from {x_VM[0, 0]:.0f} to {x_VM[0, -1]:.0f}, from a quarter of the votes"
    numbers = (len(kept.ks_K), len(y_M))
    return rank(
        [Backtest(f.law.name, held_out, *numbers, f.error_at(x_VM, y_M), f.error) for f in fits]
    )


def _kept(reading: Reading, seed: int) -> _Half:
    for attempts in reading.attempts:
        if attempts.votes is not None:
            quarter = _quarter(attempts.votes, attempts, seed)
            ks_K = reading.ks_K[reading.ks_K <= quarter.num_samples_P.min()]
            accuracy_K = maj_at_k(quarter, ks_K.astype(int).tolist()).values_PK.mean(axis=0)
            limit = float(vote_limit(quarter).mean())
            return _Half(ks_K, unresampled(accuracy_K), (limit,))
    is_kept_K = reading.ks_K <= reading.ks_K[-1] / HELD_OUT_FACTOR
    return _Half(reading.ks_K[is_kept_K], unresampled(reading.accuracy_RK[0, is_kept_K]), ())


def _quarter(votes: Votes, attempts: Attempts, seed: int) -> Votes:
    """A quarter of every problem's samples, drawn without replacement."""
    num_kept_P = attempts.num_samples_P // HELD_OUT_FACTOR
    return votes.some(num_kept_P, np.random.default_rng(seed))


def _verdict(tested: Sequence[Sequence[Backtest]]) -> str:
    errors = mean_error(tested)
    listed = ", ".join(f"{law} {100 * error:.1f}" for law, error in errors.items())
    best = next(iter(errors))
    return (
        f"Votes: from a quarter of them, {best} come closest to maj@k of all (points off, root mean square over"
        f" {len(tested)} models: {listed}). Where a computed limit is far off, the votes were too few to tell which"
        " answer is the most frequent: it is then a lower bound."
    )


def _plots(shown: Sequence[Reading], fits: dict[str, list[Fit]]) -> list[Plot]:
    series = []
    for reading in spread_out([r for r in shown if fits.get(r.facts.name)], MAX_SHOWN):
        model = reading.facts.name
        nothing_K = np.zeros(len(reading.ks_K), bool)
        series += points(model, reading.ks_K, reading.accuracy_RK[0], nothing_K, model)
        best = fits[model][0]
        series += lines(best, f"{model}, {best.law.name}", model)
    if not series:
        return []
    return [
        Plot(
            name="laws_votes",
            title="Votes run into their limit",
            caption="A computed limit is the share of problems whose most frequent answer is right; the law says only"
            " how fast it is approached.",
            x_label="samples per problem k",
            y_label="maj@k",
            series=series,
            is_log_x=True,
        )
    ]
