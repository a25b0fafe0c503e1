"""Samples, counts and points through the whole analysis; other assumptions; the questions asked by default."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis import Analysis, AnalysisSettings, Measured, analyse
from scaling_exp.analysis.intervals import resample_problems
from scaling_exp.analysis.questions.differences import Differences
from scaling_exp.analysis.questions.difficulty import Difficulty
from scaling_exp.analysis.questions.flops_matched import FlopsMatched
from scaling_exp.analysis.questions.next_unit import NextUnit
from scaling_exp.analysis.sensitivity import scenarios
from scaling_exp.analysis.tradeoff import Curve, flops_matched, match, snell_match
from scaling_exp.types import Architecture, ModelFacts

SETTINGS = AnalysisSettings(num_bootstrap=200, queries=(1.0, 1e6, 1e12))
NUM_PROBLEMS, NUM_SAMPLES = 60, 16
SIZES = (10_000, 30_000, 100_000)


def facts(size: float, tokens: float = 2e6) -> ModelFacts:
    return ModelFacts(f"m{size:g}", Architecture.of_size(size, size), tokens)


def samples(sizes: tuple[int, ...] = SIZES) -> pd.DataFrame:
    """Larger models are right more often; wrong answers scatter."""
    rng = np.random.default_rng(0)
    ease = rng.uniform(0, 0.5, NUM_PROBLEMS)
    parts = []
    for at, size in enumerate(sizes):
        for strategy, number in (("greedy", 1), ("sampling", NUM_SAMPLES)):
            is_correct = rng.random((NUM_PROBLEMS, number)) < (0.1 + 0.2 * at + ease)[:, None]
            wrong = rng.integers(1, 50, size=is_correct.shape).astype(str)
            problem, sample = np.divmod(np.arange(is_correct.size), number)
            parts.append(
                pd.DataFrame(
                    {
                        "model": facts(size).name,
                        "strategy": strategy,
                        "problem": [f"p{i:02d}" for i in problem],
                        "level": "all of them",
                        "sample": sample,
                        "answer": np.where(is_correct, "0", wrong).ravel(),
                        "is_correct": is_correct.ravel(),
                        "truncated": False,
                        "num_prompt_tokens": 20,
                        "num_output_tokens": 50,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    keys = ["model", "strategy", "problem", "level"]
    tokens = {name: (name, "mean") for name in ("num_prompt_tokens", "num_output_tokens")}
    right = {"num_samples": ("is_correct", "size"), "num_correct": ("is_correct", "sum")}
    return rows.groupby(keys).agg(**right, **tokens).reset_index()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return samples()


@pytest.fixture(scope="module")
def analysed(rows: pd.DataFrame) -> Analysis:
    questions = {"a": NextUnit(), "b": Difficulty(), "c": Differences(), "d": FlopsMatched()}
    settings = AnalysisSettings(200 / 201, 500, 0, (1.0, 1e6, 1e12), questions=questions)
    return analyse(Measured([facts(n) for n in SIZES], samples=rows), settings)


def test_counts_tell_what_samples_tell_but_for_votes(rows: pd.DataFrame) -> None:
    models = [facts(n) for n in SIZES]
    whole = analyse(Measured(models, samples=rows), SETTINGS)
    short = analyse(Measured(models, counts=counted(rows)), SETTINGS)
    selectors = set(short.curves["selector"])
    assert selectors == {"single", "oracle"}
    same = whole.curves[whole.curves["selector"].isin(selectors)].reset_index(drop=True)
    numbers = ["k", "accuracy", "accuracy_low", "accuracy_high", "inference_flops"]
    np.testing.assert_allclose(short.curves[numbers], same[numbers], rtol=1e-9)
    assert "only right and wrong are known" in short.sentences[0]
    json.dumps(short.verdict, allow_nan=False)


def test_without_tokens_a_match_has_no_price(rows: pd.DataFrame) -> None:
    bare = rows.drop(columns=["num_prompt_tokens", "num_output_tokens"])
    result = analyse(Measured([facts(n) for n in SIZES], samples=bare), SETTINGS)
    pair = result.verdict["selectors"]["voting"]["headline"]
    assert pair["k_match"]["value"] > 1
    assert pair["inference_ratio"]["value"] is None
    assert pair["crossover_queries"]["value"] is None
    assert "nobody counted the tokens" in result.sentences[0]
    assert result.verdict["sensitivity"] == []


def test_problems_with_different_numbers_of_samples_are_read_up_to_the_fewest(
    rows: pd.DataFrame,
) -> None:
    is_kept = (rows["problem"] != "p00") | (rows["sample"] < 5)
    result = analyse(Measured([facts(n) for n in SIZES], samples=rows[is_kept]), SETTINGS)
    assert result.curves.query("selector == 'voting'")["k"].max() == 5


def points() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("m10000", "single", 1, 0.3),
            ("m10000", "voting", 8, 0.6),
            ("m30000", "single", 1, 0.5),
            ("m30000", "voting", 8, 0.7),
            ("mnan", "single", 1, 0.9),
        ],
        columns=["model", "selector", "k", "accuracy"],
    ).assign(strategy="cot", level="all", num_problems=400, num_output_tokens=100)


def test_points_make_matches_and_intervals_from_their_numbers_of_problems() -> None:
    models = [facts(10_000), facts(30_000), facts(math.nan)]
    result = analyse(Measured(models, points=points()), SETTINGS)
    pair = result.verdict["selectors"]["voting"]["headline"]
    assert (pair["smaller"]["name"], pair["larger"]["name"]) == ("m10000", "m30000")
    # 0.3 at one sample and 0.6 at eight, linear in log k: 0.5 at 8^(2/3)
    assert pair["k_match"]["value"] == pytest.approx(4.0, rel=1e-6)
    assert pair["inference_ratio"]["value"] == pytest.approx(4 / 3, rel=0.02)
    one = result.curves.query("model == 'm30000' and k == 1").iloc[0]
    width = 2 * 1.96 * math.sqrt(0.5 * 0.5 / 400)
    assert one["accuracy_high"] - one["accuracy_low"] == pytest.approx(width, rel=0.3)
    unknown = result.curves.query("model == 'mnan'").iloc[0]
    assert math.isnan(unknown["pretraining_flops"])
    assert not any("mnan" in str(row) for row in result.exchange[["smaller", "larger"]].values)


def test_per_cent_are_not_taken_for_shares() -> None:
    wrong = points().assign(accuracy=lambda t: 100 * t["accuracy"])
    with pytest.raises(ValueError, match="give shares, not per cent"):
        analyse(Measured([facts(1e4), facts(3e4), facts(math.nan)], points=wrong), SETTINGS)


def test_at_two_flops_a_weight_the_matched_samples_are_those_of_snell() -> None:
    """Same data, no prompt, 2N a token: k = M + 3 (M - 1) / R."""
    resamples = resample_problems(20, 10, 0.5, 0)
    num_rows = resamples.num_rows

    def curve(size: float) -> Curve:
        ks = np.array([1, 1024])
        flat = np.full((num_rows, 2), 0.5)
        flops = np.full(num_rows, 2 * size * 100)
        return Curve(facts(size), ks, flat, np.zeros(num_rows), flops, 0.0, 100.0)

    table = flops_matched([curve(1e4), curve(14e4)], (0.16, 0.79, 22.0), resamples)
    assert table["k"].tolist() == pytest.approx([snell_match(14, r) for r in (0.16, 0.79, 22.0)])
    assert table["k"].round(2).tolist() == [257.75, 63.37, 15.77]


def test_each_assumption_moves_the_match_the_way_it_must() -> None:
    resamples = resample_problems(20, 10, 0.5, 0)
    rows = resamples.num_rows
    ks = np.array([1, 2, 4, 8, 16])
    rising = np.tile(np.linspace(0.2, 0.8, 5), (rows, 1))

    def curve(size: float, accuracy: np.ndarray) -> Curve:
        flops = np.full(rows, 2 * size * 49)
        return Curve(facts(size), ks, accuracy, flops / 5, flops, 10.0, 50.0)

    small, large = curve(1e4, rising), curve(1.5e4, rising + 0.2)
    found = scenarios(small, large, np.full(rows, 0.7), (1.0, 1e3, 1e6), resamples)
    star = {each.change: each.match.crossover_queries.value for each in found}
    greedy, verified, prompts, answers, embeddings, dearer = star.values()
    base = match(small, large, resamples).crossover_queries.value
    assert greedy < base  # more samples than for one sample of the larger
    assert verified < base
    assert answers < base / 5
    assert dearer == 0  # twice the pre-training of the smaller is more than that of the larger
    assert prompts > base  # a long prompt is read once, and weighs on the larger model most
    assert embeddings == base  # sizes of which nothing but N is known


def test_a_ladder_answers_the_questions_that_are_asked_by_default(analysed: Analysis) -> None:
    unit, difficulty, differences, matched = analysed.answers
    gains = unit.tables["next_unit"].set_index("selector")
    assert (gains["inference_gain"] > 0).all()
    table = difficulty.tables["difficulty"]
    by_bin = table.groupby("bin")["accuracy_1"].mean().to_numpy()
    assert (np.diff(by_bin) < 0).all()
    assert differences.sentences[0].startswith("Of ")
    assert set(matched.tables) == {"best_way", "voting", "oracle"}
    assert [answer.name for answer in analysed.answers] == ["a", "b", "c", "d"]
    for answer in analysed.answers:
        assert answer.sentences[0].endswith(".")
        assert all(len(s.x) == len(s.y) for plot in answer.plots for s in plot.series)


@pytest.mark.parametrize("question", [NextUnit(), Difficulty(), Differences(), FlopsMatched()])
def test_a_single_model_cannot_tell_and_says_why(rows: pd.DataFrame, question: object) -> None:
    one = rows[(rows["model"] == "m10000") & (rows["strategy"] == "sampling")]
    settings = AnalysisSettings(num_bootstrap=50, confidence=0.9, questions={"q": question})
    result = analyse(Measured([facts(10_000)], samples=one), settings)
    assert "The data cannot tell, because" in result.answers[0].sentences[0]
    assert any("By majority voting, m10000 goes from" in each for each in result.sentences)


def test_imported_counts_are_reported_reported_otherwise_and_compared(in_process, tmp_path):
    rng = np.random.default_rng(0)
    lines = {"one": [], "two": []}
    for name in lines:
        for model in ("EleutherAI/pythia-70m", "EleutherAI/pythia-410m"):
            for at in range(12):
                lines[name].append((model, f"q{at}", 64, int(rng.integers(0, 40))))
        frame = pd.DataFrame(
            lines[name], columns=["model", "problem", "num_samples", "num_correct"]
        )
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        done = in_process("import", tmp_path / f"{name}.csv", f"store={tmp_path}")
        assert done.returncode == 0, done.stderr
    folders = sorted(tmp_path.glob("*/manifest.json"))
    runs = [folder.parent for folder in folders]
    assert in_process("report", runs[0]).returncode == 0
    changed = in_process(
        "report", runs[1], "analysis.confidence=0.9", "+question@analysis.questions.extra=plateau"
    )
    assert "Has pre-training scaling broken down?" in changed.stdout, changed.stderr
    recorded = json.loads(folders[1].read_text())["analysis"]
    assert recorded["confidence"] == 0.9
    assert recorded["num_bootstrap"] == 1000
    assert {"extra", "laws"} <= recorded["questions"].keys()
    compared = in_process("compare", *runs, f"output={tmp_path / 'both'}")
    assert compared.returncode == 0, compared.stderr
    assert (tmp_path / "both" / "comparison.html").is_file()


def test_mistakes_of_report_and_compare_are_one_line(in_process, tmp_path):
    for arguments, said in [
        (("report",), "report wants a run's folder first"),
        (("report", tmp_path, "analysis.confdence=0.9"), "did you mean analysis.confidence?"),
        (("compare", tmp_path, tmp_path / "other"), "has no manifest.json"),
    ]:
        done = in_process(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_problems_that_share_a_cluster_tell_less(rows: pd.DataFrame) -> None:
    """Twelve problems five times over, said to be so: intervals are those of twelve."""
    twelve = rows[rows["problem"] < "p12"]
    copies = [twelve.assign(problem=twelve["problem"] + f"-{at}") for at in range(5)]
    repeated = pd.concat(copies, ignore_index=True)
    clustered = repeated.assign(cluster=repeated["problem"].str.slice(0, 3))
    models = [facts(n) for n in SIZES]

    def width(table: pd.DataFrame) -> float:
        curves = analyse(Measured(models, samples=table), SETTINGS).curves
        point = curves.query("model == 'm30000' and selector == 'oracle' and k == 1").iloc[0]
        return point["accuracy_high"] - point["accuracy_low"]

    assert width(clustered) == pytest.approx(width(twelve), rel=0.25)
    assert width(repeated) < 0.6 * width(clustered)
    with pytest.raises(ValueError, match="has two clusters"):
        width(clustered.assign(cluster=clustered["sample"].astype(str)))
