"""The question about laws, asked of studies whose law is known: own samples, counts, and points."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.attempts import Attempts, fold_counts
from scaling_exp.analysis.curves import curve_table
from scaling_exp.analysis.intervals import resample_nothing, resample_problems
from scaling_exp.analysis.laws.question import Laws
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.analysis.study import Study
from scaling_exp.types import Architecture, ModelFacts

NUM_PROBLEMS = 200
NUM_SAMPLES = 64


def ladder(sizes: Sequence[int], tokens: Sequence[int]) -> list[ModelFacts]:
    models = []
    for size in sizes:
        for count in tokens:
            loss = 0.2 + 40 / size**0.5 + 300 / count**0.45
            name = f"{size}-{count}"
            shape = Architecture.of_size(size, size)
            models.append(ModelFacts(name, shape, count, pretraining_loss=loss, family="ladder"))
    return sorted(models, key=lambda m: m.pretraining_flops)


def counts(models: Sequence[ModelFacts]) -> pd.DataFrame:
    """Chances from a beta distribution whose mean falls exponentially with the loss."""
    rng = np.random.default_rng(0)
    difficulty_P = rng.uniform(size=NUM_PROBLEMS)
    rows = []
    for model in models:
        mean = 0.9 - 0.85 * (1 - np.exp(-1.2 * (model.pretraining_loss or 0)))
        chance_P = np.clip(mean * 2 * difficulty_P**2, 0, 0.98)
        correct_P = rng.binomial(NUM_SAMPLES, chance_P)
        for problem, correct in enumerate(correct_P.tolist()):
            rows.append((model.name, "sampling", f"p{problem:03}", "all", NUM_SAMPLES, correct))
    columns = ["model", "strategy", "problem", "level", "num_samples", "num_correct"]
    return pd.DataFrame(rows, columns=columns)


def study_of(models: Sequence[ModelFacts], attempts: Sequence[Attempts]) -> Study:
    resamples = resample_problems(NUM_PROBLEMS, 400, 0.95, seed=0)
    return Study(models, attempts, curve_table(attempts, resamples, 0), resamples, seed=0)


@pytest.fixture(scope="module")
def five() -> Study:
    models = ladder([4_000, 10_000, 30_000, 110_000, 430_000], [4_000_000])
    return study_of(models, fold_counts(counts(models), models, Pricing()))


@pytest.fixture(scope="module")
def fifteen() -> Study:
    sizes, tokens = (
        [4_000, 10_000, 30_000, 110_000, 430_000],
        [1_000_000, 2_000_000, 4_000_000],
    )
    models = ladder(sizes, tokens)
    return study_of(models, fold_counts(counts(models), models, Pricing()))


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    return {}


@pytest.fixture(scope="module")
def answers(five: Study, fifteen: Study, seconds: dict[str, float]) -> dict[str, Answer]:
    answers = {}
    for name, study in {"five": five, "fifteen": fifteen}.items():
        start = time.process_time()
        answers[name] = Laws()(study)
        seconds[name] = time.process_time() - start
    return answers


def judged(answer: Answer, what: str) -> pd.DataFrame:
    table = answer.tables["held_out"]
    return table.loc[(table["what"] == what).to_numpy(bool)]


def test_the_first_sentence_names_the_winners_and_how_far_to_trust_them(answers):
    for answer in answers.values():
        assert "came closest to points they had not seen" in answer.sentences[0]
        assert "10 times" in answer.sentences[0]


def test_a_ladder_of_sizes_and_tokens_allows_every_law(answers):
    laws = set(answers["fifteen"].tables["parameters"]["law"])
    assert {"Hoffmann's law", "Gadre's law", "the compute law", "the joint law"} <= laws
    names = {plot.name for plot in answers["fifteen"].plots}
    expected = {"coverage", "accuracy", "loss", "downstream", "joint"}
    assert {f"laws_{name}" for name in expected} <= names


def test_the_true_law_of_loss_foretells_the_largest_runs_best(answers):
    ranked = judged(answers["fifteen"], "loss")
    assert ranked.iloc[0]["law"] == "Hoffmann's law"
    assert ranked.iloc[0]["error_held_out"] < 0.01
    assert ranked.iloc[-1]["error_held_out"] > 0.05


def test_sizes_at_one_number_of_tokens_leave_laws_of_tokens_out_and_say_so(answers):
    answer = answers["five"]
    assert set(judged(answer, "loss")["law"]) == {"the compute law"}
    refused = " ".join(answer.tables["not_fitted"]["refusal"])
    assert "Hoffmann's law needs three different values of D" in refused
    assert any("a weak test" in sentence for sentence in answer.sentences)


def test_every_fit_says_how_well_it_is_pinned_down(answers):
    table = answers["fifteen"].tables["parameters"]
    assert set(table["identified"]) <= {"yes", "weakly", "at a bound"}
    assert set(table["num_resamples"]) == {200, 100}
    spread = table["high"] >= table["low"]
    assert spread.all()


def test_what_lies_beyond_the_data_is_drawn_apart(answers):
    for plot in answers["fifteen"].plots:
        fitted = [s for s in plot.series if s.style == "fitted"]
        beyond = [s for s in plot.series if s.style == "extrapolated"]
        held_out = [s for s in plot.series if s.style == "held_out"]
        assert len(fitted) == len(beyond) > 0
        assert held_out
        for series in plot.series:
            assert len(series.x) == len(series.y) > 0
            assert np.isfinite(series.y).all()
        names = [s.name for s in plot.series]
        assert len(names) == len(set(names))


def test_numbers_are_ready_for_json(answers):
    for answer in answers.values():
        json.dumps(answer.numbers, allow_nan=False)


def test_answers_are_the_same_every_time(five, answers):
    assert Laws()(five).numbers == answers["five"].numbers


def test_five_models_are_answered_in_three_seconds_and_fifteen_in_eight(answers, seconds):
    assert len(answers) == len(seconds) == 2
    assert seconds["five"] < 3
    assert seconds["fifteen"] < 8


def points_study(models: Sequence[ModelFacts], ks: Sequence[int], has_error: bool) -> Study:
    rows = []
    for model in models:
        loss = model.pretraining_loss or 0.0
        for k in ks:
            accuracy = float(np.exp(-2.0 * loss * k**-0.35))
            error = 0.01 if has_error else np.nan
            bounds = (accuracy - 1.96 * error, accuracy + 1.96 * error)
            rows.append((model.name, "published", "oracle", "all", k, accuracy, *bounds))
    columns = ["model", "strategy", "selector", "level", "k", "accuracy"]
    curves = pd.DataFrame(rows, columns=[*columns, "accuracy_low", "accuracy_high"])
    return Study(models, [], curves, resample_nothing(400, 0.95), seed=0)


def test_points_alone_allow_the_power_law_and_say_why_no_other():
    models = ladder([10**6, 10**7, 10**8, 10**9, 10**10], [10**9])
    answer = Laws()(points_study(models, [1, 2, 4, 8, 16, 32, 64], has_error=True))
    assert set(judged(answer, "coverage")["law"]) == {"power law"}
    assert any("without counts per problem" in sentence for sentence in answer.sentences)
    parameters = answer.tables["parameters"]
    power = parameters.loc[(parameters["law"] == "power law").to_numpy(bool)]
    b = power.loc[(power["parameter"] == "b").to_numpy(bool)]
    assert b["value"].to_numpy() == pytest.approx(0.35, rel=1e-3)
    assert (b["low"] < b["high"]).all()


def test_points_without_an_error_still_resample_the_models():
    models = ladder([10**6, 10**7, 10**8, 10**9, 10**10], [10**9])
    answer = Laws()(points_study(models, [1], has_error=False))
    parameters = answer.tables["parameters"]
    accuracy = parameters.loc[(parameters["what"] == "accuracy").to_numpy(bool)]
    assert len(accuracy)
    assert "coverage" in " ".join(answer.tables["not_fitted"]["refusal"])


def test_too_few_models_and_samples_are_said_in_the_first_sentence():
    models = ladder([10**6, 10**7], [10**9])
    answer = Laws()(points_study(models, [1], has_error=True))
    assert answer.sentences[0].startswith("The data cannot tell which law holds")
    assert not answer.plots


def test_a_distilled_model_is_left_out_of_the_laws_of_pre_training():
    models = ladder([10**6, 10**7, 10**8, 10**9, 10**10], [10**9])
    distilled = ModelFacts(
        "distilled",
        Architecture.of_size(10**8, 10**8),
        10**9,
        pretraining_loss=0.3,
        family="ladder",
        is_distilled=True,
    )
    study = points_study([*models, distilled], [1, 4, 16], has_error=True)
    answer = Laws()(study)
    assert any("distilled" in refusal for refusal in answer.tables["not_fitted"]["refusal"])
    parameters = answer.tables["parameters"]
    accuracy = parameters.loc[(parameters["what"] == "accuracy").to_numpy(bool)]
    assert set(accuracy["num_points"]) == {5}


def test_models_that_read_their_data_again_are_left_out_of_the_law_of_n_and_d():
    models = ladder([10**6, 10**7, 10**8, 10**9, 10**10], [10**9])
    repeated = replace(models[0], name="repeated", unique_tokens=10**8)
    answer = Laws()(points_study([*models, repeated], [1, 4, 16], has_error=True))
    parameters = answer.tables["parameters"]
    num_points = dict(zip(parameters["what"], parameters["num_points"], strict=True))
    assert num_points["loss"] == 5
    assert num_points["accuracy"] == 6
    assert any("more than once" in each for each in answer.tables["not_fitted"]["refusal"])


def test_held_out_share_is_checked():
    with pytest.raises(ValueError, match=r"held_out_share is 0.9"):
        Laws(held_out_share=0.9)
