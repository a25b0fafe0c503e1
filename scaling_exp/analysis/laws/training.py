"""What the laws of pre-training say of a study: accuracy against compute, loss, loss to accuracy, and the joint law.

Models whose N or D does not tell what they took (distilled, pruned) are left out, and named.

Axes: M models or points, V variables, R rows of the bootstrap, X places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.answers import Plot, Series
from scaling_exp.analysis.estimators import BoolArray, FloatArray
from scaling_exp.analysis.laws.accuracy import ACCURACY_LAWS, fit_accuracy
from scaling_exp.analysis.laws.coverage import is_beyond_quarter
from scaling_exp.analysis.laws.downstream import DOWNSTREAM, fit_downstream
from scaling_exp.analysis.laws.findings import Findings, line, lines, points, spread_out
from scaling_exp.analysis.laws.fit import (
    MAX_EXTRAPOLATION,
    NUM_ROWS,
    Backtest,
    Band,
    Fit,
    Observations,
    SearchedLaw,
    resampled,
    reweighted,
)
from scaling_exp.analysis.laws.joint import (
    JOINT,
    JOINT_COMPUTE,
    fit_joint,
    fit_joint_compute,
    log_loss_at_k,
)
from scaling_exp.analysis.laws.loss import (
    COMPUTE_ONLY,
    GADRE,
    HOFFMANN,
    fit_compute_loss,
    fit_loss,
)
from scaling_exp.analysis.laws.readings import Reading, Readings
from scaling_exp.types import ModelFacts

MIN_MODELS = 4
MAX_GROUPS = 4
MAX_SHOWN = 5
NUM_JOINT_KS = 8


@dataclass(frozen=True)
class Sureness:
    """How intervals are made, and which models are kept from a fit to judge it: the share at the top of the compute."""

    confidence: float
    seed: int
    held_out_share: float

    def is_held_out(self, pretraining_flops_M: FloatArray) -> BoolArray:
        """At least one model; all that are tied with the smallest of them."""
        num_held_out = max(1, round(self.held_out_share * len(pretraining_flops_M)))
        return pretraining_flops_M >= np.sort(pretraining_flops_M)[-num_held_out]


def usable(models: Sequence[ModelFacts], findings: Findings) -> list[ModelFacts]:
    """Without those whose 6ND understates what they took."""
    left_out = [m.name for m in models if m.is_distilled]
    if left_out:
        named = ", ".join(left_out[:3]) + (" and others" if len(left_out) > 3 else "")
        findings.refuse(f"Laws of pre-training leave out distilled or pruned models: {named}")
    return [m for m in models if not m.is_distilled]


def groups(models: Sequence[ModelFacts]) -> dict[str, list[ModelFacts]]:
    """All models together and, where there are several, the largest families of at least `MIN_MODELS`."""
    families: dict[str, list[ModelFacts]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    large = [(name, own) for name, own in families.items() if name and len(own) >= MIN_MODELS]
    large.sort(key=lambda item: -len(item[1]))
    together = {"all models": list(models)}
    return together | (dict(large[:MAX_GROUPS]) if len(families) > 1 else {})


def _flops(models: Sequence[ModelFacts]) -> FloatArray:
    return np.array([m.pretraining_flops for m in models])


def _verdict(subject: str, ranked: Sequence[Backtest], unit: str, factor: float) -> str:
    best = ranked[0]
    others = ", ".join(f"{b.law} {factor * b.error_held_out:.3g}" for b in ranked[1:])
    return (
        f"{subject}: fitted to {best.num_fitted} points, {best.law} foretells the {best.num_held_out} held out"
        f" ({best.held_out}) best, {factor * best.error_held_out:.3g} {unit} off"
        + (f" ({others})." if others else ".")
    )


# ---- accuracy against compute --------------------------------------------------------------------


def accuracy(
    readings: Sequence[Reading],
    models: Sequence[ModelFacts],
    sure: Sureness,
    findings: Findings,
) -> None:
    """One sample's accuracy against 6ND: all models, and each large family."""
    of_model = {r.facts.name: r.at(1) for r in readings if r.ks_K[0] == 1}
    known = [m for m in models if m.name in of_model]
    series: list[Series] = []
    for group, own in groups(known).items():
        flops_M = _flops(own)
        accuracy_RM = np.stack([of_model[m.name] for m in own], axis=1) if own else np.empty((1, 0))
        fits = _accuracy_fits(group, own, accuracy_RM, sure, findings)
        is_apart_M = sure.is_held_out(flops_M) if len(own) else np.zeros(0, bool)
        laws = [(law, flops_M[None]) for law in ACCURACY_LAWS]
        ranked = (
            findings.judge("accuracy", group, laws, accuracy_RM[0], is_apart_M, "the most compute")
            if fits
            else []
        )
        if ranked:
            subject = f"Accuracy of one sample against compute, {group}"
            findings.sentences.append(_verdict(subject, ranked, "points", 100))
        best = [f for b in ranked for f in fits if f.law.name == b.law] or fits
        if best:
            series += points(group, flops_M, accuracy_RM[0], is_apart_M, None)
            series += lines(best[0], f"{group}, {best[0].law.name}", None)
    if series:
        findings.plots.append(
            Plot(
                name="laws_accuracy",
                title="Accuracy against pre-training compute",
                caption="One sample per problem. The law is the one that foretold the models held out (the most"
                " compute) best; its band holds other problems and other models.",
                x_label="pre-training compute 6ND (FLOPs)",
                y_label="accuracy of one sample",
                series=series,
                is_log_x=True,
            )
        )


def _accuracy_fits(
    group: str,
    own: Sequence[ModelFacts],
    accuracy_RM: FloatArray,
    sure: Sureness,
    findings: Findings,
) -> list[Fit]:
    flops_M = _flops(own)
    if len(np.unique(flops_M)) < 3:
        findings.refuse(
            f"accuracy of {group}: {len(np.unique(flops_M))} different computes; a law needs at least 3"
        )
        return []
    names = [m.name for m in own]
    observations = reweighted(accuracy_RM, names, sure.confidence, sure.seed)
    fits = []
    for law in ACCURACY_LAWS:
        fits += findings.fit(
            "accuracy", group, lambda law=law: fit_accuracy(flops_M, observations, law)
        )
    return fits


# ---- loss ----------------------------------------------------------------------------------------


def loss(models: Sequence[ModelFacts], sure: Sureness, findings: Findings) -> None:
    """The loss laws that the runs allow, of all models of one family (losses of two corpora do not compare)."""
    known = _of_one_family([m for m in models if m.pretraining_loss is not None])
    if len(known) < MIN_MODELS:
        findings.refuse(
            f"loss: {len(known)} models of one family with a known pre-training loss; a law needs at least {MIN_MODELS}"
        )
        return
    of = known[0].family or "all models"
    sizes_M = np.array([float(m.architecture.num_parameters) for m in known])
    tokens_M = np.array([float(m.pretraining_tokens) for m in known])
    loss_M = np.array([m.pretraining_loss or np.nan for m in known])
    flops_M = _flops(known)
    observations = resampled(loss_M, sure.confidence, sure.seed)
    both = np.array([sizes_M, tokens_M])
    fits = []
    for law in (HOFFMANN, GADRE):
        fits += findings.fit(
            "loss", of, lambda law=law: fit_loss(sizes_M, tokens_M, observations, law)
        )
    fits += findings.fit("loss", of, lambda: fit_compute_loss(flops_M, observations))
    laws: list[tuple[SearchedLaw, FloatArray]] = [(COMPUTE_ONLY, flops_M[None])]
    if any(fit.law is not COMPUTE_ONLY for fit in fits):
        laws += [(HOFFMANN, both), (GADRE, both)]
    is_apart_M = sure.is_held_out(flops_M)
    ranked = findings.judge("loss", of, laws, loss_M, is_apart_M, "the most compute")
    if ranked:
        findings.sentences.append(_verdict(f"Pre-training loss, {of}", ranked, "nats", 1))
    best = [f for b in ranked for f in fits if f.law.name == b.law] or fits
    if best:
        findings.plots.append(_loss_plot(best[0], known, is_apart_M))


def _of_one_family(models: Sequence[ModelFacts]) -> list[ModelFacts]:
    """The largest family."""
    families = [m.family for m in models]
    largest = max(families, key=families.count, default="")
    return [m for m in models if m.family == largest]


def _loss_plot(fit: Fit, known: Sequence[ModelFacts], is_apart_M: BoolArray) -> Plot:
    series: list[Series] = []
    sizes_M = np.array([m.architecture.num_parameters for m in known])
    flops_M = _flops(known)
    loss_M = np.array([m.pretraining_loss or np.nan for m in known])
    for size in spread_out(np.unique(sizes_M).tolist(), MAX_SHOWN):
        own = sizes_M == size
        name = f"N = {size:.3g}"
        series += points(name, flops_M[own], loss_M[own], is_apart_M[own], None)
        if len(fit.x_VM) == 2:
            series += _loss_lines(fit, float(size), name)
    if len(fit.x_VM) == 1:
        series += lines(fit, fit.law.name, None)
    return Plot(
        name="laws_loss",
        title="Pre-training loss, and the law that foretold it best",
        caption="Models held out have the most compute. Beyond the data the line is an extrapolation in tokens.",
        x_label="pre-training compute 6ND (FLOPs)",
        y_label="loss (nats a token)",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )


def _loss_lines(fit: Fit, size: float, name: str) -> list[Series]:
    low, high = float(fit.x_VM[1].min()), float(fit.x_VM[1].max())
    drawn = []
    for first, last in ((low, high), (high, high * MAX_EXTRAPOLATION)):
        tokens_X = np.geomspace(first, last, 30)
        is_beyond = first == high
        band = fit.extrapolate(np.full(30, size), tokens_X)
        label = f"{name}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
        drawn.append(line(label, 6 * size * tokens_X, band, is_beyond, None))
    return drawn


# ---- loss to accuracy ----------------------------------------------------------------------------


def downstream(
    readings: Sequence[Reading],
    models: Sequence[ModelFacts],
    sure: Sureness,
    findings: Findings,
) -> None:
    """The error of one sample against pre-training loss, within one family."""
    of_model = {r.facts.name: r.at(1) for r in readings if r.ks_K[0] == 1}
    with_loss = [m for m in models if m.pretraining_loss is not None and m.name in of_model]
    known = _of_one_family(with_loss)
    if len(known) < MIN_MODELS:
        findings.refuse(
            f"loss to accuracy: {len(known)} models of one family with a known loss; a law needs at least {MIN_MODELS}"
        )
        return
    of = known[0].family or "all models"
    loss_M = np.array([m.pretraining_loss or np.nan for m in known])
    error_RM = 1 - np.stack([of_model[m.name] for m in known], axis=1)
    observations = reweighted(error_RM, [m.name for m in known], sure.confidence, sure.seed)
    fits = findings.fit("error", of, lambda: fit_downstream(loss_M, observations))
    is_apart_M = sure.is_held_out(_flops(known))
    laws = [(DOWNSTREAM, loss_M[None])]
    ranked = findings.judge("error", of, laws, error_RM[0], is_apart_M, "the most compute")
    if ranked:
        subject = f"Error of one sample from loss, {of}"
        findings.sentences.append(_verdict(subject, ranked, "points", 100))
    for fit in fits:
        findings.plots.append(_downstream_plot(fit, of, is_apart_M))


def _downstream_plot(fit: Fit, of: str, is_apart_M: BoolArray) -> Plot:
    order = np.argsort(fit.x_VM[0])
    loss_M, error_M = fit.x_VM[0][order], fit.y_M[order]
    lowest, highest = float(loss_M[0]), float(loss_M[-1])
    reach = MAX_EXTRAPOLATION ** fit.law.variables[0].stretch
    series = points(of, loss_M, 1 - error_M, is_apart_M[order], None)
    for low, high, is_beyond in ((lowest, highest, False), (lowest / reach, lowest, True)):
        loss_X = np.linspace(low, high, 40)
        error = fit.extrapolate(loss_X)
        flipped = Band(1 - error.value, 1 - error.high, 1 - error.low)
        label = f"{of}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
        series.append(line(label, loss_X, flipped, is_beyond, None))
    return Plot(
        name="laws_downstream",
        title="From pre-training loss to accuracy",
        caption="One sample per problem. To the left of the data the line is an extrapolation to lower losses.",
        x_label="pre-training loss (nats a token)",
        y_label="accuracy of one sample",
        series=series,
    )


# ---- the joint law -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """-log pass@k of every model at every k, as points; `flops` and the names tell which model a point is of."""

    sizes_M: FloatArray
    tokens_M: FloatArray
    ks_M: FloatArray
    names: tuple[str, ...]
    loss_RM: FloatArray

    @property
    def flops_M(self) -> FloatArray:
        return 6 * self.sizes_M * self.tokens_M


def joint(
    readings: Readings, models: Sequence[ModelFacts], sure: Sureness, findings: Findings
) -> None:
    """The joint law, judged by larger k and by models of more compute."""
    names = {m.name for m in models}
    own = [r for r in readings.coverage if r.facts.name in names and len(r.ks_K) >= 3]
    if len(own) < MIN_MODELS:
        findings.refuse(
            f"the joint law: {len(own)} models with coverage at three k or more; it needs at least {MIN_MODELS}"
        )
        return
    grid = _joint_grid(own, readings)
    observations = reweighted(grid.loss_RM, grid.names, sure.confidence, sure.seed)
    fits, law, x_VM = _joint_fit(grid, observations, findings)
    ranked = []
    for is_apart_M, what in (
        (is_beyond_quarter(grid.ks_M), "larger k"),
        (sure.is_held_out(grid.flops_M), "models of more compute"),
    ):
        if fits and is_apart_M.any() and not is_apart_M.all():
            ranked += findings.judge(
                "-log pass@k", "all models", [(law, x_VM)], grid.loss_RM[0], is_apart_M, what
            )
    if ranked:
        errors = " and ".join(f"{b.error_held_out:.2g} on {b.held_out}" for b in ranked)
        spread = float(np.std(grid.loss_RM[0]))
        findings.sentences.append(
            f"The joint law of pre-training and sampling misses -log pass@k by {errors} (root mean square; the points"
            f" themselves spread by {spread:.2g})."
        )
    for fit in fits:
        findings.plots.append(_joint_plot(fit, grid))


def _joint_grid(own: Sequence[Reading], readings: Readings) -> _Grid:
    """Points of a curve that only means are known of lose those where coverage is 0 or 1."""
    columns: list[tuple[ModelFacts, float, FloatArray]] = []
    for reading in own:
        ks_K = _spaced(reading.ks_K)
        if reading.attempts:
            a = reading.attempts[0]
            loss_PK = log_loss_at_k(a.num_correct_P, a.num_samples_P, ks_K.astype(int).tolist())
            loss_RK = readings.weights_RP @ loss_PK
        else:
            accuracy_RK = np.stack([reading.at(k) for k in ks_K], axis=1)
            loss_RK = -np.log(np.clip(accuracy_RK, 1e-6, 1 - 1e-6))
            inner_K = (accuracy_RK[0] > 0) & (accuracy_RK[0] < 1)
            ks_K, loss_RK = ks_K[inner_K], loss_RK[:, inner_K]
        columns += [(reading.facts, k, loss_RK[:, i]) for i, k in enumerate(ks_K.tolist())]
    return _Grid(
        sizes_M=np.array([float(f.architecture.num_parameters) for f, _, _ in columns]),
        tokens_M=np.array([float(f.pretraining_tokens) for f, _, _ in columns]),
        ks_M=np.array([k for _, k, _ in columns]),
        names=tuple(f.name for f, _, _ in columns),
        loss_RM=np.stack([loss_R for _, _, loss_R in columns], axis=1)[: NUM_ROWS + 1],
    )


def _spaced(ks_K: FloatArray) -> FloatArray:
    """At most `NUM_JOINT_KS` of the k, evenly spaced in logs."""
    targets = np.geomspace(ks_K.min(), ks_K.max(), NUM_JOINT_KS)
    nearest = np.abs(np.log(ks_K)[:, None] - np.log(targets)).argmin(axis=0)
    return ks_K[np.unique(nearest)]


def _joint_fit(
    grid: _Grid, observations: Observations, findings: Findings
) -> tuple[list[Fit], SearchedLaw, FloatArray]:
    """In N and D where both vary, else in compute."""
    if min(len(np.unique(grid.sizes_M)), len(np.unique(grid.tokens_M))) >= 3:
        places = (grid.sizes_M, grid.tokens_M, grid.ks_M)
        fits = findings.fit("-log pass@k", "all models", lambda: fit_joint(*places, observations))
        return fits, JOINT, np.array(places)
    fits = findings.fit(
        "-log pass@k",
        "all models",
        lambda: fit_joint_compute(grid.flops_M, grid.ks_M, observations),
    )
    return fits, JOINT_COMPUTE, np.array([grid.flops_M, grid.ks_M])


def _joint_plot(fit: Fit, grid: _Grid) -> Plot:
    series: list[Series] = []
    for model in spread_out(list(dict.fromkeys(grid.names)), MAX_SHOWN):
        own = np.array([name == model for name in grid.names])
        at = [x_M[own][0] for x_M in fit.x_VM[:-1]]
        ks_K = grid.ks_M[own]
        apart_K = is_beyond_quarter(ks_K)
        series += points(model, ks_K, grid.loss_RM[0, own], apart_K, model)
        for first, last, is_beyond in (
            (ks_K.min(), ks_K.max(), False),
            (ks_K.max(), ks_K.max() * MAX_EXTRAPOLATION, True),
        ):
            ks_X = np.geomspace(first, last, 30)
            band = fit.extrapolate(*(np.full(30, x) for x in at), ks_X)
            label = f"{model}, {fit.law.name}" + (", extrapolated" if is_beyond else "")
            series.append(line(label, ks_X, band, is_beyond, model))
    return Plot(
        name="laws_joint",
        title="One law for pre-training and sampling",
        caption="It adds a term of the samples to one of the model, so its lines cannot cross: where the measured"
        " ones do, it is wrong.",
        x_label="samples per problem k",
        y_label="mean of -log pass@k",
        series=series,
        is_log_x=True,
        is_log_y=True,
    )
