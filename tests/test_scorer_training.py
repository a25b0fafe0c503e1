"""The scorer: a recipe gives the same weights again, held-out problems stay out, the shipped one is what is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from scaling_exp import ladders
from scaling_exp.config import conf_folder, register_resolvers, scorer_pretraining_from
from scaling_exp.pretraining import Recipe, Size, read_manifest, train_size, write_manifest
from scaling_exp.pretraining.calibration import auc, auc_within, choices, quality, reliability
from scaling_exp.pretraining.scorer import ScorerRecipe, read_scorer_manifest, train_scorer
from scaling_exp.schema import ConfigError
from scaling_exp.tasks.arithmetic import Level, SumsAndProducts, is_held_out
from scaling_exp.types import UserError

SHIPPED = ladders.SHIPPED / "arithmetic_scorer"
LADDER = ladders.SHIPPED / "arithmetic"
CORPUS = SumsAndProducts(4, 0, 11, {"easy": Level(3, 1.0), "hard": Level(4, 0.5)})
TINY_LADDER = Recipe(
    name="tiny",
    seed=5,
    sizes={"1K": Size(8, 0.02)},
    corpus=CORPUS,
    tokens=60_000,
    checkpoints=(1.0,),
    num_layers=1,
    head_dim=8,
    intermediate_ratio=2,
    batch_rows=32,
    warmup_share=0.1,
    decay_share=0.3,
    held_out_rows=50,
)
TINY = ScorerRecipe(
    name="tiny",
    seed=3,
    ladder=TINY_LADDER.hash,
    corpus=CORPUS,
    good="1",
    bad="0",
    step_end="[+*,.]",
    base="1K",
    extra_layers=1,
    generators=("1K",),
    num_draws=96,
    max_tokens=32,
    epochs=2,
    batch_rows=32,
    learning_rate=0.01,
    warmup_share=0.1,
    decay_share=0.3,
    language_weight=0.5,
    judged=("1K",),
    num_samples=4,
)


def shipped_recipe() -> ScorerRecipe:
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("pretrain", ["+scorer=arithmetic", "output=scorers/x"])
        return scorer_pretraining_from(node).recipe


def test_auc_is_the_share_of_pairs_in_order():
    score, right = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert auc(score, right) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(score, np.ones(4, bool)))
    problems = np.array([0, 0, 1, 1])
    assert auc_within(score, right, problems) == 1.0
    assert np.isnan(auc_within(score, right, np.arange(4)))


def test_scores_that_mean_what_they_say_have_no_calibration_error():
    rng = np.random.default_rng(0)
    score = rng.random(100_000)
    right = rng.random(100_000) < score
    found = quality("x", score, right, np.zeros(100_000, int))
    assert found.calibration_error < 0.01
    assert found.brier == pytest.approx(1 / 6, abs=0.005)
    assert quality("x", score**2, right, np.zeros(100_000, int)).calibration_error > 0.1
    assert sum(each.num_scores for each in reliability(score, right)) == 100_000


def test_each_way_to_choose_an_answer():
    right = np.array([False, True, False, False])
    last, least = np.array([0.5, 0.9, 0.6, 0.0]), np.array([0.4, 0.1, 0.4, 0.0])
    first, majority, best, best_min, vote, vote_min, oracle = choices(
        ["a", "b", "a", None], right, last, least
    )
    assert (first, majority, oracle) == (0.25, 0.0, 1.0)
    assert (best, best_min) == (1.0, 0.0)
    assert (vote, vote_min) == (0.0, 0.0)
    assert choices([None, None], np.zeros(2, bool), last[:2], least[:2]) == [0.0] * 7


@pytest.fixture(scope="module")
def scorers(tmp_path_factory) -> tuple[Path, Path]:
    """Two trainings by one recipe."""
    folder = tmp_path_factory.mktemp("scorers")
    ladder = folder / "ladder"
    ladder.mkdir()
    write_manifest(ladder, TINY_LADDER, train_size(TINY_LADDER, "1K", ladder))
    for name in ("first", "second"):
        (folder / name).mkdir()
        train_scorer(TINY, ladder, folder / name)
    return folder / "first", folder / "second"


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_scorer(scorers):
    first, second = (read_scorer_manifest(folder) for folder in scorers)
    assert first["hash"] == TINY.hash
    for manifest in (first, second):
        manifest["scorer"].pop("train_seconds")
    assert first == second


@pytest.mark.slow
def test_what_was_trained_is_what_is_recorded(scorers):
    from safetensors.numpy import load_file

    made = read_scorer_manifest(scorers[0])["scorer"]
    weights = load_file(scorers[0] / "model.safetensors")
    assert sum(each.size for each in weights.values()) == made["num_parameters"]
    assert made["training_flops"] == pytest.approx(6 * made["num_parameters"] * made["tokens"])
    assert made["steps"] == 12  # two levels, two epochs, three batches
    assert {each["scores"] for each in made["qualities"]} >= {"every step", "whole answers of 1K"}
    assert [each["num_samples"] for each in made["selections"]] == [4]


def test_it_learns_from_no_held_out_problem_and_is_judged_on_such_only():
    from scaling_exp.pretraining import manifest_checkpoints
    from scaling_exp.pretraining.train_scorer import held_out_draws, training_draws

    recipe = replace(shipped_recipe(), num_draws=200, num_samples=2)
    recipe = replace(recipe, corpus=replace(recipe.corpus, num_problems=30))
    size = next(each for each in manifest_checkpoints(LADDER) if each.name == "29K-4.0M")
    for draws in training_draws(recipe, LADDER, size):
        assert not is_held_out(draws.ids_RT[:, : draws.prompt_tokens - 1]).any()
    for draws in held_out_draws(recipe, LADDER, size):
        assert is_held_out(draws.ids_RT[:, : draws.prompt_tokens - 1]).all()


def test_a_batch_asks_for_outcomes_after_the_prompt_and_for_words_of_right_solutions_only():
    from scaling_exp.pretraining.train_scorer import IGNORED, PADDING, inputs

    ids = np.array([[5, 6, 9, 7, 8, PADDING], [5, 6, 9, 7, 8, 3]])
    outcome, following = inputs(ids, 3, np.array([True, False]))["labels"].numpy()
    assert outcome.tolist() == [[IGNORED] * 3 + [1, 1, IGNORED], [IGNORED] * 3 + [0, 0, 0]]
    assert following.tolist() == [[IGNORED] * 2 + [7, 8] + [IGNORED] * 2, [IGNORED] * 6]


def test_a_folder_without_a_scorer_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no scorer"):
        read_scorer_manifest(tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scorer.good=yes", "good is 'yes'"),
        ("scorer.step_end=x", "step_end is 'x'"),
        ("~scorer.recipe", "scorer has no recipe"),
        ("+scorer.recipe.width=3", "width"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(override, message):
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("pretrain", ["+scorer=arithmetic", "output=x", override])
        with pytest.raises(ConfigError, match=re.escape(message)):
            scorer_pretraining_from(node)


def test_the_shipped_scorer_is_what_its_configuration_makes():
    manifest, recipe = read_scorer_manifest(SHIPPED), shipped_recipe()
    assert manifest["hash"] == recipe.hash
    assert manifest["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    assert recipe.ladder == read_manifest(LADDER)["hash"]


def test_the_shipped_scorer_is_whole_and_of_no_one_machine():
    from safetensors.numpy import load_file

    from scaling_exp.pretraining.train_scorer import weights_hash

    made = read_scorer_manifest(SHIPPED)["scorer"]
    weights = load_file(SHIPPED / "model.safetensors")
    assert sum(each.size for each in weights.values()) == made["num_parameters"]
    assert weights_hash(SHIPPED) == made["weights"]
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 2e6
    for file in SHIPPED.glob("*.json"):
        assert not re.search(r"/(?:tmp|home|root|work)\b", file.read_text()), file


def test_the_shipped_scorer_tells_right_from_wrong_on_fresh_draws():
    from transformers import LlamaForCausalLM

    from scaling_exp.pretraining import manifest_checkpoints
    from scaling_exp.pretraining.train_scorer import held_out_draws, judge

    recipe = replace(shipped_recipe(), seed=77, num_samples=8, judged=("29K", "112K"))
    recipe = replace(recipe, corpus=replace(recipe.corpus, num_problems=90, seed=9))
    last = {each.size: each for each in manifest_checkpoints(LADDER)}
    draws = [each for size in recipe.judged for each in held_out_draws(recipe, LADDER, last[size])]
    model = LlamaForCausalLM.from_pretrained(SHIPPED)
    found = {each.scores: each for each in judge(recipe, model, draws)[0]}
    said = read_scorer_manifest(SHIPPED)["scorer"]["qualities"]
    told = {each["scores"]: each for each in said}
    for scores in ("whole answers of 29K", "whole answers of 112K"):
        assert found[scores].auc > told[scores]["auc"] - 0.05
        assert found[scores].brier < told[scores]["brier"] + 0.05
