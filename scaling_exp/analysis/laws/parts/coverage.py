"""What a study says of coverage: three laws per model, ranked by samples that they have not seen.

Axes: K numbers of samples, S splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from scaling_exp.analysis.answers import Plot
from scaling_exp.analysis.attempts import Attempts
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
from scaling_exp.analysis.laws.fit import MAX_EXTRAPOLATION, Backtest, Fit, rank
from scaling_exp.analysis.laws.parts.findings import (
    MAX_SHOWN,
    Findings,
    lines,
    mean_error,
    points,
    spread_out,
)
from scaling_exp.analysis.laws.parts.readings import Reading, Readings


def coverage(readings: Readings, seed: int, findings: Findings) -> None:
    """The three laws per model, ranked by samples they have not seen."""
    fits: dict[str, list[Fit]] = {}
    tested: dict[str, list[Backtest]] = {}
    for reading in readings.coverage:
        model = reading.facts.name
        fits[model] = _fits(reading, readings, findings)
        tested[model] = findings.note("coverage", model, _tests(reading, seed, findings))
    judged = {model: ranked for model, ranked in tested.items() if ranked}
    if judged:
        findings.sentences.append(_verdict(judged))
    findings.sentences += _disagreement(fits)
    findings.plots += _plots(readings.coverage, fits, judged)


def _fits(reading: Reading, readings: Readings, findings: Findings) -> list[Fit]:
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


def _tests(reading: Reading, seed: int, findings: Findings) -> list[Backtest]:
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


def _verdict(judged: Mapping[str, Sequence[Backtest]]) -> str:
    errors = mean_error(list(judged.values()))
    listed = ", ".join(f"{law} {100 * error:.1f}" for law, error in errors.items())
    best = next(iter(errors))
    if len(errors) == 1:
        return (
            f"Coverage: fitted to k up to a quarter of the largest, the {best} misses the rest by"
            f" {100 * errors[best]:.1f} points (root mean square over {len(judged)} models); without counts per"
            " problem no other law can be tried."
        )
    wins = Counter(ranked[0].law for ranked in judged.values())
    return (
        f"Coverage: from a quarter of the samples the {best} foretells the rest best (points off, root mean square"
        f" over {len(judged)} models: {listed}); it comes first for {wins[best]} of {len(judged)} models."
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


def _plots(
    shown: Sequence[Reading], fits: dict[str, list[Fit]], judged: dict[str, list[Backtest]]
) -> list[Plot]:
    series = []
    for reading in spread_out([r for r in shown if fits[r.facts.name]], MAX_SHOWN):
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
