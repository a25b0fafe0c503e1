"""Laws on runs and models that others published; skipped where the public data are not at hand.

`chinchilla/svg_extracted_data.csv` (columns Model Size, Training FLOP, loss) are the runs that Besiroglu et al. 2024
(arXiv 2404.10102) read off Hoffmann's figure 4. They carry no licence, so they are not among the data that ship with
anything: whoever has them puts them there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis.intervals import resample_nothing
from scaling_exp.analysis.laws import (
    COVERAGE_LAWS,
    GADRE,
    HOFFMANN,
    Counts,
    Fit,
    fit_accuracy,
    fit_downstream,
    fit_loss,
    hold_out,
    resampled,
    unresampled,
)
from scaling_exp.analysis.laws.loss import ABSOLUTE_DELTA
from scaling_exp.analysis.laws.question import Laws
from scaling_exp.analysis.study import Study
from scaling_exp.types import Architecture, ModelFacts

PublicData = Callable[[str], Path]

# ---- Gadre et al. 2024 (arXiv 2403.08540), RedPajama ----------------------------------------------

SMALL = ("d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8")


@pytest.fixture
def redpajama(public_data: PublicData) -> pd.DataFrame:
    table = pd.read_csv(public_data("gadre_overtraining/derived_flat_104_models.csv"))
    return table.loc[(table["dataset"] == "rpj").to_numpy(bool)]


def of(table: pd.DataFrame, model: str, multiplier: float) -> pd.DataFrame:
    """One run: `multiplier` times 20 tokens a parameter."""
    is_it = (table["model"] == model) & (table["chinchilla_multiplier"] == multiplier)
    return table.loc[is_it.to_numpy(bool)]


def ladder(table: pd.DataFrame) -> pd.DataFrame:
    """The five runs that the paper's loss law is fitted to: four sizes at M = 20, the smallest at M = 320 too."""
    runs = [of(table, model, 1.0) for model in SMALL]
    return pd.concat([*runs, of(table, SMALL[0], 16.0)])


def loss_fit(table: pd.DataFrame) -> Fit:
    runs = ladder(table)
    sizes_M, tokens_M = (runs[name].to_numpy(np.float64) for name in ("N", "D"))
    return fit_loss(sizes_M, tokens_M, unresampled(runs["loss_c4_val"].to_numpy()), GADRE)


def error_fit(table: pd.DataFrame) -> Fit:
    """Six models: the ladder and 1.4B at M = 20."""
    runs = pd.concat([ladder(table), of(table, "open_lm_1b", 1.0)])
    errors = unresampled(runs["err_avg_subset17"].to_numpy())
    return fit_downstream(runs["loss_c4_val"].to_numpy(), errors)


def value(fit: Fit, *x: float) -> float:
    """Beyond the range that may be extrapolated to, as the paper does."""
    places = [np.array([each]) for each in x]
    return float(fit.law.function(fit.parameters_RQ[:1], *places)[0, 0])


def relative_error(predicted: float, measured: float) -> float:
    return abs(predicted - measured) / measured


def test_gadres_loss_law_comes_out(redpajama):
    found = [loss_fit(redpajama).parameters[name].value for name in ("a", "c", "b", "E")]
    assert found == pytest.approx([166.211, 366.687, -0.272851, 1.836648], rel=1e-5)


def test_gadres_error_law_comes_out(redpajama):
    found = [error_fit(redpajama).parameters[name].value for name in ("k", "gamma", "eps")]
    assert found == pytest.approx([2.2065, 0.71459, 0.85699], rel=1e-4)


@pytest.mark.parametrize(
    ("model", "multiplier", "loss_error", "task_error"),
    [("open_lm_1b", 32.0, 0.007103, 0.036365), ("open_lm_7b", 1.0, 0.007320, 0.000464)],
)
def test_gadres_predictions_miss_by_what_the_paper_says(
    redpajama, model, multiplier, loss_error, task_error
):
    target = of(redpajama, model, multiplier).iloc[0]
    loss = value(loss_fit(redpajama), target["N"], target["D"])
    error = value(error_fit(redpajama), loss)
    assert relative_error(loss, target["loss_c4_val"]) == pytest.approx(loss_error, abs=1e-6)
    assert relative_error(error, target["err_avg_subset17"]) == pytest.approx(task_error, abs=1e-6)


def test_gadres_farthest_prediction_is_beyond_what_a_fit_may_be_asked(redpajama):
    with pytest.raises(ValueError, match="may be extrapolated to"):
        loss_fit(redpajama).extrapolate(np.array([6.9e9]), np.array([1.4e11]))


# ---- Besiroglu et al. 2024 (arXiv 2404.10102): Hoffmann's runs ------------------------------------


@pytest.fixture
def hoffmann_runs(public_data: PublicData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N, D and loss of the 240 runs: the five of highest loss are left out, as in the paper."""
    table = pd.read_csv(public_data("chinchilla/svg_extracted_data.csv"))
    table = table.sort_values("loss").iloc[:-5]
    sizes_M, flops_M = (
        table[name].to_numpy(np.float64) for name in ("Model Size", "Training FLOP")
    )
    return sizes_M, flops_M / 6 / sizes_M, table["loss"].to_numpy(np.float64)


def test_hubers_loss_gives_the_replications_exact_optimum(hoffmann_runs):
    sizes_M, tokens_M, loss_M = hoffmann_runs
    assert len(loss_M) == 240
    fit = fit_loss(sizes_M, tokens_M, unresampled(loss_M))
    found = [fit.parameters[name].value for name in ("A", "B", "E", "alpha", "beta")]
    assert found == pytest.approx([477.84, 2143.86, 1.81724, 0.34731, 0.36718], rel=3e-4)
    assert fit.objective <= 0.00101827403
    assert fit.objective == pytest.approx(0.00101827403, rel=1e-5)


def test_least_absolute_deviations_give_the_replications_headline(hoffmann_runs):
    sizes_M, tokens_M, loss_M = hoffmann_runs
    law = replace(HOFFMANN, delta=ABSOLUTE_DELTA)
    fit = fit_loss(sizes_M, tokens_M, unresampled(loss_M), law)
    found = [fit.parameters[name].value for name in ("A", "B", "E", "alpha", "beta")]
    assert found == pytest.approx([482.01, 2085.43, 1.8172, 0.3478, 0.3658], rel=5e-4)


def test_hoffmanns_published_exponents_are_outside_the_replications_interval(hoffmann_runs):
    sizes_M, tokens_M, loss_M = hoffmann_runs
    fit = fit_loss(sizes_M, tokens_M, resampled(loss_M, 0.95, seed=0, num_rows=100))
    beta, floor = fit.parameters["beta"], fit.parameters["E"]
    assert beta.low > 0.2849
    assert floor.low > 1.6934


# ---- Ruan et al. 2024 (arXiv 2405.10938): 148 base models -----------------------------------------

SIZE, TOKENS, FLOPS = "Model Size (B)", "Pretraining Data Size (T)", "FLOPs (1E21)"
VOTES = "gsm8k_cot_self_consistency_8_exact_match"


@pytest.fixture
def base_models(public_data: PublicData) -> pd.DataFrame:
    return pd.read_csv(public_data("obs_scaling/base_llm_benchmark_eval.csv"))


@pytest.fixture
def voted(public_data: PublicData) -> pd.DataFrame:
    table = pd.read_csv(public_data("obs_scaling/base_llm_post_training_eval.csv"))
    table = table[["Model", f"{VOTES},score-first", f"{VOTES},maj@5"]]
    return table.set_axis(["Model", "single", "five"], axis=1).dropna()


def test_compute_is_6nd_of_every_model_that_has_both(base_models):
    known = base_models.dropna(subset=[SIZE, TOKENS])
    assert len(known) == 123
    assert known[FLOPS].to_numpy() == pytest.approx(6 * (known[SIZE] * known[TOKENS]).to_numpy())


@pytest.mark.parametrize(
    ("model", "single", "five"),
    [
        ("meta-llama/Llama-2-70b-hf", 0.454, 0.582),
        ("meta-llama/Meta-Llama-3.1-405B-FP8", 0.806, 0.908),
    ],
)
def test_five_votes_lift_a_model_as_published(voted, model, single, five):
    row = voted.loc[(voted["Model"] == model).to_numpy(bool)].iloc[0]
    assert (row["single"], row["five"]) == pytest.approx((single, five), abs=5e-4)


def models_of(table: pd.DataFrame) -> list[ModelFacts]:
    models = [
        ModelFacts(
            name=str(row["Model"]),
            architecture=Architecture.of_size(int(row[SIZE] * 1e9), int(row[SIZE] * 1e9)),
            pretraining_tokens=int(row[TOKENS] * 1e12),
            family=str(row["Model Family"]),
        )
        for row in table.to_dict("records")
    ]
    return sorted(models, key=lambda model: model.pretraining_flops)


def study_of(table: pd.DataFrame) -> Study:
    """GSM8K accuracies of one sample and of five votes, over 1319 problems."""
    rows = []
    for row in table.to_dict("records"):
        for selector, k, accuracy in (("voting", 1, row["single"]), ("voting", 5, row["five"])):
            error = float(np.sqrt(max(accuracy * (1 - accuracy), 1e-6) / 1319))
            bounds = (accuracy - 1.96 * error, accuracy + 1.96 * error)
            rows.append((row["Model"], "self-consistency", selector, "all", k, accuracy, *bounds))
        single = (row["single"], row["single"], row["single"])
        rows.append((row["Model"], "self-consistency", "single", "all", 1, *single))
    columns = ["model", "strategy", "selector", "level", "k", "accuracy"]
    curves = pd.DataFrame(rows, columns=[*columns, "accuracy_low", "accuracy_high"])
    return Study(models_of(table), [], curves, resample_nothing(400, 0.95), seed=0)


def test_compute_within_a_family_foretells_accuracy_better_than_across_families(base_models, voted):
    known = voted.merge(base_models.dropna(subset=[SIZE, TOKENS]), on="Model")
    assert len(known) > 80
    answer = Laws()(study_of(known))
    ranked = answer.tables["held_out"]
    best = ranked.loc[((ranked["place"] == 1) & (ranked["what"] == "accuracy")).to_numpy(bool)]
    errors = dict(zip(best["of"], best["error_held_out"], strict=True))
    assert errors["all models"] > 0.1
    assert min(errors.values()) < errors["all models"]


def test_gsm8k_rises_with_compute_within_llama_2(base_models):
    known = base_models.dropna(subset=[SIZE, TOKENS])
    family = known.loc[known["Model Family"].isin(["Llama", "Llama-2"]).to_numpy(bool)]
    fit = fit_accuracy(
        family[FLOPS].to_numpy() * 1e21, resampled(family["GSM8K"].to_numpy(), 0.95, seed=0)
    )
    assert fit.parameters["slope"].low > 0
    assert fit.error < 0.08


# ---- Yao et al. 2023 (arXiv 2305.10601): GPT-4 on the game of 24 -----------------------------------


def test_a_quarter_of_gpt_4s_samples_foretells_its_coverage_at_a_hundred(public_data):
    name = "tot_game24/gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"
    problems = json.loads(public_data(name).read_text())
    correct_P = np.array([sum(each["r"] for each in problem["infos"]) for problem in problems])
    held = hold_out(Counts(correct_P, np.full(100, 100)), seed=0)
    assert held.measured_K[-1] == pytest.approx(0.49)
    for law in COVERAGE_LAWS:
        assert held.predicted_SK[law.name][:, -1].mean() == pytest.approx(0.49, abs=0.03)
        assert held.errors(law).mean() < 0.045
