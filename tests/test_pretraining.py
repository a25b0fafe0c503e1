"""The ladder: the same recipe gives the same models, and the one that ships is what its configuration says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from scaling_exp import ladders
from scaling_exp.config import conf_folder, pretraining_from, register_resolvers
from scaling_exp.pretraining import (
    Checkpoint,
    Corpus,
    Recipe,
    Size,
    manifest_checkpoints,
    read_manifest,
    train_size,
    write_manifest,
)
from scaling_exp.tasks.arithmetic import Level, SumsAndProducts
from scaling_exp.types import UserError

SHIPPED = ladders.SHIPPED / "arithmetic"
CAPPED = ladders.SHIPPED / "arithmetic_capped"
FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
TINY = Recipe(
    name="tiny",
    seed=5,
    sizes={"small": Size(8, 0.01), "large": Size(16, 0.01)},
    corpus=SumsAndProducts(1, 0, 11, {"easy": Level(3, 1.0), "hard": Level(4, 0.5)}),
    tokens=120_000,
    checkpoints=(0.3, 1.0),
    num_layers=1,
    head_dim=8,
    intermediate_ratio=2,
    batch_rows=32,
    warmup_share=0.1,
    decay_share=0.3,
    held_out_rows=200,
)


def train_ladder(recipe: Recipe, folder: Path) -> dict[str, Checkpoint]:
    folder.mkdir()
    made = [checkpoint for size in recipe.sizes for checkpoint in train_size(recipe, size, folder)]
    write_manifest(folder, recipe, made)
    return {checkpoint.name: checkpoint for checkpoint in made}


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    """The same recipe trained twice, in two folders."""
    folders = [tmp_path_factory.mktemp("ladders") / name for name in ("first", "second")]
    return [(folder, train_ladder(TINY, folder)) for folder in folders]


def shipped_recipe(ladder: str = "arithmetic") -> Recipe:
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("pretrain", [f"+ladder={ladder}", "output=unused"])
    return pretraining_from(node).recipe


def solution_loss(folder: Path, corpus: Corpus, level: str, rows: np.ndarray) -> float:
    """Mean nats a solution token, prompts left out: written anew, from stored weights."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.from_numpy(rows)
    with torch.no_grad():
        scores = model(input_ids=ids).logits.log_softmax(-1)
    cut = corpus.prompt_tokens(level)
    return float(-scores[:, cut - 1 : -1].gather(-1, ids[:, cut:, None]).mean())


@pytest.mark.slow
def test_training_twice_gives_the_same_ladder(ladders):
    (first, made), (second, again) = ladders
    assert read_manifest(first)["hash"] == read_manifest(second)["hash"] == TINY.hash
    assert list(made) == list(again)
    assert len(made) == 4, made
    for name, checkpoint in made.items():
        assert again[name].held_out_loss == pytest.approx(checkpoint.held_out_loss, abs=1e-3)


@pytest.mark.slow
def test_what_was_trained_is_what_is_recorded(ladders):
    from safetensors.numpy import load_file

    folder, made = ladders[0]
    recorded = manifest_checkpoints(folder)
    assert {checkpoint.name: checkpoint for checkpoint in recorded} == made
    assert [each.size for each in recorded] == ["small", "small", "large", "large"]
    tokens = [share * TINY.tokens for share in TINY.checkpoints]
    assert [each.tokens for each in recorded] == pytest.approx(2 * tokens, rel=0.02)
    for checkpoint in recorded:
        assert {file.name for file in (folder / checkpoint.name).iterdir()} == FILES
        weights = load_file(folder / checkpoint.name / "model.safetensors")
        assert sum(each.size for each in weights.values()) == checkpoint.num_parameters
        assert 0 < checkpoint.held_out_loss < np.log(18)  # 17 words and the unknown one


@pytest.mark.slow
def test_stored_weights_have_the_recorded_loss_and_tokens_are_words(ladders):
    from transformers import AutoTokenizer

    folder, made = ladders[0]
    corpus = TINY.corpus
    for checkpoint in made.values():
        total, num_tokens = 0.0, 0
        for level in corpus.levels:
            rows = corpus.rows(level, 2000, np.random.default_rng(1), held_out=True)
            count = corpus.row_tokens(level) - corpus.prompt_tokens(level)
            total += solution_loss(folder / checkpoint.name, corpus, level, rows) * count
            num_tokens += count
        # Other rows of the same distribution, so near and not equal.
        assert total / num_tokens == pytest.approx(checkpoint.held_out_loss, rel=0.05)
        tokenizer = AutoTokenizer.from_pretrained(folder / checkpoint.name)
        words = corpus.vocabulary()
        assert tokenizer(" ".join(words))["input_ids"] == list(range(len(words)))


@pytest.mark.slow
def test_training_learns(ladders):
    _, made = ladders[0]
    for size in TINY.sizes:
        early, late = sorted(
            (each for each in made.values() if each.size == size), key=lambda each: each.tokens
        )
        assert late.held_out_loss < early.held_out_loss


def test_only_solutions_carry_loss():
    from scaling_exp.pretraining.train import IGNORED, inputs

    for level in TINY.corpus.levels:
        rows = TINY.corpus.rows(level, 4, np.random.default_rng(0), held_out=False)
        cut = TINY.corpus.prompt_tokens(level)
        labels = inputs(rows, cut)["labels"].numpy()
        assert (labels[:, :cut] == IGNORED).all()
        assert (labels[:, cut:] == rows[:, cut:]).all()


def test_any_change_of_a_recipe_changes_its_hash():
    others = [
        replace(TINY, seed=6),
        replace(TINY, tokens=120_001),
        replace(TINY, sizes={**TINY.sizes, "large": Size(16, 0.02)}),
        replace(TINY, corpus=SumsAndProducts(1, 0, 13, dict(TINY.corpus.levels))),
    ]
    assert len({TINY.hash, *(each.hash for each in others)}) == 5
    assert replace(TINY).hash == TINY.hash


def test_a_field_at_its_default_renames_no_ladder():
    assert "caps" not in TINY.to_dict()
    assert replace(TINY, caps=()).hash == TINY.hash
    assert replace(TINY, caps=(500,)).hash != TINY.hash
    assert replace(TINY, own_schedules=True).hash != TINY.hash
    assert shipped_recipe().hash == "51ebf905f38914b3"


@pytest.mark.parametrize("caps", [(0,), (200, 100), (100, 100)])
def test_caps_must_be_positive_and_rise(caps):
    with pytest.raises(ValueError, match="caps is"):
        replace(TINY, caps=caps)


def batches(recipe: Recipe, rounds_per_epoch: int | None, num_rounds: int) -> list[np.ndarray]:
    from scaling_exp.pretraining.train import Batches

    num_batches = num_rounds * len(recipe.corpus.levels)
    rows = Batches(recipe, rounds_per_epoch).rows()
    return [ids for _, ids in islice(rows, num_batches)]


def test_a_capped_corpus_begins_as_the_endless_one_and_then_repeats_in_a_new_order():
    endless, capped = batches(TINY, None, 3), batches(TINY, 3, 9)
    for ours, theirs in zip(capped[:6], endless, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    def rows(epoch: list[np.ndarray]) -> list[list[int]]:
        return sorted(row for each in epoch for row in each.tolist())

    first, second, third = capped[:6], capped[6:12], capped[12:]
    assert rows(first) == rows(second) == rows(third)
    assert [each.tolist() for each in second] != [each.tolist() for each in first]
    assert [each.tolist() for each in third] != [each.tolist() for each in second]


def test_a_cap_is_an_arm_beside_the_endless_corpus_and_only_where_it_binds():
    from scaling_exp.pretraining.train import Run, Schedule, runs_of

    recipe = replace(TINY, caps=(6_000, 60_000), own_schedules=True)
    assert runs_of(TINY) == [Run(TINY.tokens, TINY.checkpoints, None)]
    assert [(run.tokens, run.unique_tokens) for run in runs_of(recipe)] == [
        (36_000, None),
        (36_000, 6_000),
        (120_000, None),
        (120_000, 6_000),
        (120_000, 60_000),
    ]
    assert all(run.checkpoints == (1.0,) for run in runs_of(recipe))
    for run in runs_of(recipe):
        schedule = Schedule.of(recipe, run)
        unique = schedule.unique_tokens_after(schedule.num_steps)
        assert unique == (run.unique_tokens and pytest.approx(run.unique_tokens, rel=0.2))


@pytest.mark.parametrize("checkpoints", [(0.5,), (1.0, 0.5), (0.0, 1.0), (0.5, 0.5, 1.0)])
def test_checkpoints_must_rise_and_end_at_the_last_token(checkpoints):
    with pytest.raises(ValueError, match="checkpoints is"):
        replace(TINY, checkpoints=checkpoints)


def test_a_folder_without_a_ladder_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no ladder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"checkpoints": [}', "is no JSON"),
        ("[]", "lacks one of hash, recipe, checkpoints"),
        ('{"hash": "", "checkpoints": []}', "lacks one of hash, recipe, checkpoints"),
        ('{"hash": "", "recipe": {}, "checkpoints": []}', "names no checkpoints"),
        ('{"hash": "", "recipe": {}, "checkpoints": [{"name": "4K"}]}', "describes a checkpoint"),
    ],
)
def test_a_ladder_that_cannot_be_read_says_what_is_wrong(tmp_path, content, told):
    (tmp_path / "ladder.json").write_text(content)
    with pytest.raises(UserError, match=told):
        manifest_checkpoints(tmp_path)


def test_the_shipped_ladder_is_what_its_configuration_makes():
    manifest, recipe = read_manifest(SHIPPED), shipped_recipe()
    assert manifest["hash"] == recipe.hash
    assert manifest["recipe"] == json.loads(json.dumps(recipe.to_dict()))


def test_the_shipped_ladder_spans_a_grid_of_parameters_and_tokens():
    recipe = shipped_recipe()
    checkpoints = manifest_checkpoints(SHIPPED)
    sizes = {each.size: each.num_parameters for each in checkpoints}
    assert list(sizes) == list(recipe.sizes)
    assert len(sizes) >= 5
    assert max(sizes.values()) >= 64 * min(sizes.values())
    grid = {size: [each.tokens for each in checkpoints if each.size == size] for size in sizes}
    assert len({tuple(tokens) for tokens in grid.values()}) == 1  # every size at the same D
    shares = [share * recipe.tokens for share in recipe.checkpoints]
    for tokens in grid.values():
        assert len(tokens) >= 3
        assert tokens == pytest.approx(shares, rel=2e-3)  # whole rounds of batches
    for each in checkpoints:
        assert each.pretraining_flops == 6 * each.num_parameters * each.tokens
        assert each.size == f"{each.num_parameters / 1e3:.0f}K"
        assert each.name == f"{each.size}-{each.tokens / 1e6:.1f}M"


def test_the_capped_ladder_is_what_its_configuration_makes():
    manifest, recipe = read_manifest(CAPPED), shipped_recipe("arithmetic_capped")
    assert manifest["hash"] == recipe.hash
    assert manifest["recipe"] == json.loads(json.dumps(recipe.to_dict()))
    checkpoints = manifest_checkpoints(CAPPED)
    assert {file.name for file in CAPPED.iterdir()} == {
        "ladder.json",
        *(each.name for each in checkpoints),
    }
    assert len(checkpoints) == len(recipe.sizes) * len(recipe.checkpoints) * 3
    assert sum(file.stat().st_size for file in CAPPED.rglob("*")) <= 2e6
    for each in checkpoints:
        corpus = "" if each.unique_tokens is None else f"-of-{each.unique_tokens / 1e6:.2f}M"
        assert each.name == f"{each.size}-{each.tokens / 1e6:.1f}M{corpus}"
        assert {file.name for file in (CAPPED / each.name).iterdir()} == FILES


def test_repeating_few_tokens_costs_the_largest_model_most():
    checkpoints = manifest_checkpoints(CAPPED)
    most = max(each.tokens for each in checkpoints)
    loss = {
        (each.size, each.unique_tokens): each.held_out_loss
        for each in checkpoints
        if each.tokens == most
    }
    few, more = sorted(unique for size, unique in loss if unique and size == "29K")
    assert loss["29K", few] > 1.4 * loss["29K", None]  # read 63 times
    assert loss["29K", None] < loss["29K", more] < 1.1 * loss["29K", None]  # 16 times
    for size in ("4K", "10K"):
        assert loss[size, few] < 1.06 * loss[size, None]


def test_more_pretraining_has_less_loss():
    checkpoints = manifest_checkpoints(SHIPPED)
    last = {each.size: each.held_out_loss for each in checkpoints}
    assert list(last.values()) == sorted(last.values(), reverse=True)
    for size in last:
        *early, final = (each.held_out_loss for each in checkpoints if each.size == size)
        assert final < min(early)


def test_the_shipped_files_are_whole_small_and_of_no_one_machine():
    from safetensors.numpy import load_file

    checkpoints = manifest_checkpoints(SHIPPED)
    assert {each.name for each in SHIPPED.iterdir()} == {
        "ladder.json",
        *(checkpoint.name for checkpoint in checkpoints),
    }
    for checkpoint in checkpoints:
        assert {file.name for file in (SHIPPED / checkpoint.name).iterdir()} == FILES
        weights = load_file(SHIPPED / checkpoint.name / "model.safetensors")
        assert sum(each.size for each in weights.values()) == checkpoint.num_parameters
        embedding = weights["model.embed_tokens.weight"].size
        assert checkpoint.num_parameters - embedding == checkpoint.num_non_embedding_parameters
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) <= 10e6
    for file in SHIPPED.rglob("*.json"):
        assert not re.search(r"/(?:tmp|home|root|work)\b", file.read_text()), file


def test_the_shipped_weights_have_the_recorded_loss():
    corpus = shipped_recipe().corpus
    for checkpoint in manifest_checkpoints(SHIPPED):
        total, num_tokens = 0.0, 0
        for level in corpus.levels:
            rows = corpus.rows(level, 300, np.random.default_rng(2), held_out=True)
            count = corpus.row_tokens(level) - corpus.prompt_tokens(level)
            total += solution_loss(SHIPPED / checkpoint.name, corpus, level, rows) * count
            num_tokens += count
        assert total / num_tokens == pytest.approx(checkpoint.held_out_loss, rel=0.1)
