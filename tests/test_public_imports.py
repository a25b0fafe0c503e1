"""Public data, read as conf/source says, must give the numbers that its authors published."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from scaling_exp.analysis.estimators import pass_at_k
from scaling_exp.config import conf_folder, import_from
from scaling_exp.imports import Imported, import_source

PublicData = Callable[[str], Path]


def load(path: Path, source: str, *overrides: str) -> Imported:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("import", [f"source={source}", *overrides])
    node.path = str(path)
    return import_source(import_from(node).source)


def frame(imported: Imported, name: str) -> pd.DataFrame:
    return imported.measured.tables[name].to_pandas()


def coverage(samples: pd.DataFrame, ks: list[int]) -> list[float]:
    by_problem = samples.groupby("problem")["is_correct"].agg(["sum", "size"])
    values_PK = pass_at_k(by_problem["sum"].to_numpy(), by_problem["size"].to_numpy(), np.array(ks))
    return values_PK.mean(axis=0).tolist()


def elected(samples: pd.DataFrame, weigh: Callable[[pd.DataFrame], list[float]]) -> float:
    """Share of problems whose heaviest answer is right; of equally heavy ones the first that was seen."""

    def is_right(mine: pd.DataFrame) -> bool:
        weights: Counter[str] = Counter()
        for answer, weight in zip(mine["answer"], weigh(mine), strict=True):
            weights[answer] += weight  # pyright: ignore[reportArgumentType]
        best = max(weights, key=lambda answer: weights[answer])
        return bool(mine.loc[mine["answer"] == best, "is_correct"].any())

    drawn = samples.dropna(subset=["answer"]).sort_values(["problem", "sample"])
    return float(np.mean([is_right(mine) for _, mine in drawn.groupby("problem")]))


@pytest.fixture(scope="module")
def game24(public_data: PublicData) -> Imported:
    name = "tot_game24/gpt-4_0.7_naive_cot_sample_100_start900_end1000.json"
    return load(public_data(name), "tot_game24")


def test_game_of_24_gives_the_published_accuracies(game24):
    samples = frame(game24, "samples")
    assert samples["is_correct"].mean() == pytest.approx(0.0403)
    assert coverage(samples, [1, 2, 5, 10, 20, 25, 50, 100]) == pytest.approx(
        [0.0403, 0.0728, 0.14292037, 0.21476924, 0.29548886, 0.32242512, 0.40684785, 0.49], abs=5e-9
    )
    assert elected(samples, lambda mine: [1.0] * len(mine)) == 0.09


def test_game_of_24_gives_the_published_tokens_and_dollars(game24):
    """The running total starts anew in the middle; a plain difference would lose 212,984 tokens there."""
    samples = frame(game24, "samples")
    output_P = samples.groupby("problem")["num_output_tokens"].sum()
    prompt_P = 5 * samples.groupby("problem")["num_prompt_tokens"].first()
    assert output_P.mean() == pytest.approx(6748.62)
    assert (prompt_P == 2185).all()
    dollars = (output_P * 0.06 + prompt_P * 0.03) / 1000
    assert dollars.mean() == pytest.approx(0.4705, abs=5e-5)
    assert sum("starts anew" in note for note in game24.notes) == 1


def test_game_of_24_shows_its_puzzles_and_says_that_nobody_knows_the_models_size(game24):
    problems = frame(game24, "problems")
    assert len(problems) == 100
    assert problems["prompt"].str.fullmatch(r"\d+ \d+ \d+ \d+").all()
    assert [each.is_known for each in game24.models] == [False]


@pytest.fixture(scope="module")
def qwen(public_data: PublicData) -> pd.DataFrame:
    return frame(load(public_data("qwen_math_rm/math_cot_100.jsonl"), "qwen_math_rm"), "samples")


def test_math_with_a_reward_model_gives_the_published_accuracies(qwen):
    assert coverage(qwen, list(range(1, 9))) == pytest.approx(
        [0.91, 0.932857, 0.944464, 0.951, 0.954821, 0.957143, 0.95875, 0.96], abs=5e-7
    )
    assert elected(qwen, lambda mine: [1.0] * len(mine)) == 0.93
    assert elected(qwen, lambda mine: mine["score"].tolist()) == 0.94


def test_math_with_a_reward_model_keeps_its_scores_and_levels(qwen):
    best = qwen.loc[qwen.groupby("problem")["score"].idxmax()]
    assert best["is_correct"].mean() == 0.94
    assert qwen.loc[qwen["problem"] == "2", "score"].tolist() == [
        *(4.59375, 4.53125, 4.59375, 4.59375, 4.625, 4.53125, 4.4375, 4.5625)
    ]
    assert set(qwen["level"]) == {f"Level {level}" for level in range(1, 6)}


def test_a_vote_of_five_beats_one_sample_of_base_models(public_data):
    imported = load(public_data("obs_scaling/base_llm_post_training_eval.csv"), "obs_scaling")
    points = frame(imported, "points").set_index(["model", "selector"])["accuracy"]
    assert points["meta-llama/Llama-2-70b-hf"].to_dict() == {"single": 0.454, "voting": 0.582}
    assert points["meta-llama/Meta-Llama-3.1-405B-FP8"].to_dict() == {
        "single": 0.806,
        "voting": 0.908,
    }
    assert len(points) == 188
    assert any("4 accuracies are missing" in note for note in imported.notes)
    known = {each.name: each for each in imported.models if each.is_known}
    llama = known["meta-llama/Llama-2-70b-hf"]
    assert llama.architecture is not None
    assert (llama.architecture.num_parameters, llama.pretraining_tokens) == (
        70_000_000_000,
        2_000_000_000_000,
    )


def test_benchmarks_of_base_models_have_the_compute_that_their_table_gives(public_data):
    path = public_data("obs_scaling/base_llm_benchmark_eval.csv")
    imported = load(path, "obs_scaling_benchmarks", "leave_out=[]")
    table = pd.read_csv(path).set_index("Model")["FLOPs (1E21)"].dropna() * 1e21
    known = {each.name: each.record() for each in imported.models if each.is_known}
    assert len(table) == 123
    for model, flops in table.items():
        assert known[model]["pretraining_flops"] == pytest.approx(flops, rel=1e-9), model
    assert any("cerebras/btlm-3b-8k-base is said to have seen" in note for note in imported.notes)
    assert not any("is said to" in note for note in load(path, "obs_scaling_benchmarks").notes)


def test_overtrained_models_have_the_losses_that_their_law_predicts(public_data):
    """Gadre et al., L = E + a N^b + c 6^(b/2) (M N)^b with the published parameters, at its two largest runs."""
    imported = load(public_data("gadre_overtraining/derived_flat_104_models.csv"), "gadre")
    assert len(imported.models) == 104
    assert all(each.is_known and each.pretraining_loss for each in imported.models)
    by_name = {each.name: each for each in imported.models}
    a, c, b, least = 166.211, 366.687, -0.272851, 1.836648
    for name, error in (("rpj-open_lm_1b-32.0", 0.007103), ("rpj-open_lm_7b-1.0", 0.007320)):
        model = by_name[name]
        assert model.architecture is not None
        assert model.pretraining_tokens is not None
        assert model.pretraining_loss is not None
        size = model.architecture.num_parameters
        law = least + a * size**b + c * 6 ** (b / 2) * float(model.pretraining_tokens) ** b
        assert abs(law - model.pretraining_loss) / model.pretraining_loss == pytest.approx(
            error, abs=2e-5
        )
    points = frame(imported, "points")
    assert points.groupby("level").size().to_dict() == {"17 tasks": 104, "all": 104}
    assert points["accuracy"].between(0, 1).all()
