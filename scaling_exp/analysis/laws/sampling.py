"""What the laws of samples say of a study: coverage, votes, and their joint law with pre-training.

Axes: P problems, K numbers of samples, R rows of the bootstrap, M points, S splits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scaling_exp.analysis.answers import Plot
from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.estimators import Votes, maj_at_k, vote_limit
from scaling_exp.analysis.laws.accuracy import fit_votes
from scaling_exp.analysis.laws.coverage import (
    BETA_BINOMIAL,
    COVERAGE_LAWS,
    HELD_OUT_FACTOR,
    POWER,
    SCALED_BETA,
    Counts,
    HeldOut,
    fit_beta,
    fit_power,
    hold_out,
    is_beyond_quarter,
)
from scaling_exp.analysis.laws.findings import Findings, lines, points, spread_out
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, Backtest, Fit, rank
from scaling_exp.analysis.laws.readings import Reading, Readings

MAX_MODELS_SHOWN = 5


def coverage(readings: Readings, seed: int, findings: Findings) -> None:
    """The three laws per model, ranked by samples they have not seen."""
    fits: dict[str, list[Fit]] = {}
    tested: dict[str, list[Backtest]] = {}
    for reading in readings.coverage:
        model = reading.facts.name
        fits[model] = _coverage_fits(reading, readings, findings)
        tested[model] = findings.note("coverage", model, _coverage_tests(reading, seed, findings))
    judged = {model: ranked for model, ranked in tested.items() if ranked}
    if judged:
        findings.sentences.append(_coverage_verdict(judged))
    findings.sentences += _disagreement(fits)
    findings.plots += _coverage_plots(readings.coverage, fits, judged)


def _coverage_fits(reading: Reading, readings: Readings, findings: Findings) -> list[Fit]:
    model = reading.facts.name
    tail = readings.tail
    fits = findings.fit(
        "coverage", model, lambda: fit_power(reading.ks_K, reading.accuracy_RK, tail)
    )
    for attempts in reading.attempts:
        for law in (BETA_BINOMIAL, SCALED_BETA):
            fits += findings.fit(
                "coverage",
                model,
                lambda law=law, a=attempts: fit_beta(_counts(a), readings.weights_RP, tail, law),
            )
    return fits


def _counts(attempts: Attempts) -> Counts:
    return Counts(attempts.num_correct_P, attempts.num_samples_P)


def _coverage_tests(reading: Reading, seed: int, findings: Findings) -> list[Backtest]:
    try:
        if reading.attempts:
            return _tests_of(reading, hold_out(_counts(reading.attempts[0]), seed))
        return _tests_of_points(reading)
    except ValueError as refusal:
        findings.refuse(f"Held-out coverage of {reading.facts.name}: {refusal}")
        return []


def _tests_of(reading: Reading, held: HeldOut) -> list[Backtest]:
    """Errors are root mean squares over the splits and the k beyond a quarter."""
    num_problems = len(reading.attempts[0].num_correct_P)
    return rank(
        [
            Backtest(
                law=law.name,
                held_out=f"k from {held.ks_K[0]} to {held.ks_K[-1]}, from a quarter of the samples",
                num_fitted=num_problems,
                num_held_out=len(held.ks_K),
                error_held_out=float(np.sqrt((held.errors(law) ** 2).mean())),
                error_fitted=float(np.sqrt((held.fitted_errors(law) ** 2).mean())),
            )
            for law in COVERAGE_LAWS
        ]
    )


def _tests_of_points(reading: Reading) -> list[Backtest]:
    """Where only the curve is known, the power law alone can be fitted, and is judged by the larger k."""
    is_apart_K = is_beyond_quarter(reading.ks_K)
    kept = ~is_apart_K
    fit = fit_power(reading.ks_K[kept], reading.accuracy_RK[:1, kept], tail=0.5)
    apart = (reading.ks_K[None, is_apart_K], reading.accuracy_RK[0, is_apart_K])
    held_out = f"k beyond {reading.ks_K.max() / HELD_OUT_FACTOR:g}"
    numbers = (int(kept.sum()), int(is_apart_K.sum()), fit.error_at(*apart), fit.error)
    return [Backtest(POWER.name, held_out, *numbers)]


def _coverage_verdict(judged: dict[str, list[Backtest]]) -> str:
    errors: defaultdict[str, list[float]] = defaultdict(list)
    for ranked in judged.values():
        for each in ranked:
            errors[each.law].append(each.error_held_out)
    mean = {law: float(np.sqrt(np.mean(np.square(e)))) for law, e in errors.items()}
    order = sorted(mean, key=lambda law: mean[law])
    listed = ", ".join(f"{law} {100 * mean[law]:.1f}" for law in order)
    if len(order) == 1:
        return (
            f"Coverage: fitted to k up to a quarter of the largest, the {order[0]} misses the rest by"
            f" {100 * mean[order[0]]:.1f} points (root mean square over {len(judged)} models); without counts per"
            " problem no other law can be tried."
        )
    wins = Counter(ranked[0].law for ranked in judged.values())
    return (
        f"Coverage: from a quarter of the samples the {order[0]} foretells the rest best (points off, root mean square"
        f" over {len(judged)} models: {listed}); it comes first for {wins[order[0]]} of {len(judged)} models."
    )


def _disagreement(fits: dict[str, list[Fit]]) -> list[str]:
    """Where the laws part: the model on which they differ most at the farthest k that may be asked."""
    widest: tuple[float, str] = (0.0, "")
    for model, of_model in fits.items():
        if len(of_model) < 2:
            continue
        k = float(of_model[0].x_VM[0].max() * MAX_EXTRAPOLATION)
        values = [float(fit.extrapolate(np.array([k])).value[0]) for fit in of_model]
        gap = max(values) - min(values)
        if gap > widest[0]:
            text = f"{model}: {min(values):.1%} to {max(values):.1%} at k = {k:.0f}"
            widest = (gap, text)
    if not widest[1]:
        return []
    return [
        f"Extrapolated to {MAX_EXTRAPOLATION:g} times the samples, the laws of coverage differ by up to"
        f" {100 * widest[0]:.1f} points ({widest[1]}): that spread, not one law's interval, is how sure they are."
    ]


def _coverage_plots(
    shown: Sequence[Reading], fits: dict[str, list[Fit]], judged: dict[str, list[Backtest]]
) -> list[Plot]:
    series = []
    for reading in spread_out([r for r in shown if fits[r.facts.name]], MAX_MODELS_SHOWN):
        model = reading.facts.name
        of_law = {fit.law.name: fit for fit in fits[model]}
        best = next((b.law for b in judged.get(model, []) if b.law in of_law), min(of_law))
        is_apart_K = is_beyond_quarter(reading.ks_K)
        series += points(model, reading.ks_K, reading.accuracy_RK[0], is_apart_K, model)
        series += lines(of_law[best], f"{model}, {best}", model)
    if not series:
        return []
    return [
        Plot(
            name="laws_coverage",
            title="Coverage, and the law that foretold it best",
            caption="Points held out are beyond a quarter of the samples: each model's law was chosen by them, then"
            " fitted to all. The band holds what the parameters leave open; beyond the data the line is an"
            " extrapolation.",
            x_label="samples per problem k",
            y_label="pass@k",
            series=series,
            is_log_x=True,
        )
    ]


def votes(readings: Readings, seed: int, findings: Findings) -> None:
    """Saturating votes per model; the limit is computed from the votes, and tested from a quarter of them."""
    fits: dict[str, Fit] = {}
    misses = []
    for reading in readings.voting:
        for attempts in reading.attempts:
            if attempts.votes is None or reading.ks_K[0] != 1:
                continue
            limit_R = readings.weights_RP @ vote_limit(attempts.votes)
            for fit in findings.fit(
                "votes",
                reading.facts.name,
                lambda r=reading, limit_R=limit_R: fit_votes(
                    r.ks_K.astype(int).tolist(), r.accuracy_RK, limit_R, readings.tail
                ),
            ):
                fits[reading.facts.name] = fit
            if attempts.max_k >= 4 * HELD_OUT_FACTOR:
                test = _votes_test(attempts.votes, attempts, reading, seed)
                findings.note("votes", reading.facts.name, [test])
                misses.append(test.error_held_out)
    if misses:
        findings.sentences.append(
            f"Votes saturate: with the limit computed from a quarter of the votes, maj@k up to all of them is foretold"
            f" within {100 * float(np.sqrt(np.mean(np.square(misses)))):.1f} points (root mean square over"
            f" {len(misses)} models); no more than the limit can be voted for."
        )
    findings.plots += _votes_plots(readings.voting, fits)


def _votes_test(votes: Votes, attempts: Attempts, reading: Reading, seed: int) -> Backtest:
    quarter = _quarter(votes, attempts, seed)
    max_kept = int(quarter.num_samples_P.min())
    ks_K = reading.ks_K[reading.ks_K <= max_kept].astype(int).tolist()
    accuracy_RK = maj_at_k(quarter, ks_K).values_PK.mean(axis=0)[None]
    limit_R = np.array([vote_limit(quarter).mean()])
    fit = fit_votes(ks_K, accuracy_RK, limit_R, tail=0.5)
    is_apart_K = reading.ks_K > max_kept
    apart = (reading.ks_K[None, is_apart_K], reading.accuracy_RK[0, is_apart_K])
    held_out = f"k beyond {max_kept}, from a quarter of the votes"
    return Backtest(
        fit.law.name, held_out, len(ks_K), int(is_apart_K.sum()), fit.error_at(*apart), fit.error
    )


def _quarter(votes: Votes, attempts: Attempts, seed: int) -> Votes:
    """A quarter of every problem's samples, drawn without replacement."""
    rng = np.random.default_rng(seed)
    starts = np.searchsorted(votes.problem_A, np.arange(votes.num_problems + 1))
    kept_A = np.zeros_like(votes.votes_A)
    abstaining_P = np.zeros_like(votes.num_abstaining_P)
    for p, (first, last) in enumerate(pairwise(starts.tolist())):
        pool = np.append(votes.votes_A[first:last], votes.num_abstaining_P[p])
        num_kept = int(attempts.num_samples_P[p]) // HELD_OUT_FACTOR
        drawn = rng.multivariate_hypergeometric(pool, num_kept)
        kept_A[first:last], abstaining_P[p] = drawn[:-1], drawn[-1]
    some_A = kept_A > 0
    return Votes(
        num_problems=votes.num_problems,
        problem_A=votes.problem_A[some_A],
        votes_A=kept_A[some_A],
        is_right_A=votes.is_right_A[some_A],
        num_abstaining_P=abstaining_P,
    )


def _votes_plots(shown: Sequence[Reading], fits: dict[str, Fit]) -> list[Plot]:
    series = []
    for reading in spread_out([r for r in shown if r.facts.name in fits], MAX_MODELS_SHOWN):
        model = reading.facts.name
        nothing_K = np.zeros(len(reading.ks_K), bool)
        series += points(model, reading.ks_K, reading.accuracy_RK[0], nothing_K, model)
        series += lines(fits[model], f"{model}, saturating", model)
    if not series:
        return []
    return [
        Plot(
            name="laws_votes",
            title="Votes run into their limit",
            caption="The limit is the share of problems whose most frequent answer is right: it is computed, and the"
            " law says only how fast it is approached.",
            x_label="samples per problem k",
            y_label="maj@k",
            series=series,
            is_log_x=True,
        )
    ]
