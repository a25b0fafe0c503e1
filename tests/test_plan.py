"""What a plan says that a run would resolve: from the variance of the draws in the pool, else from a worst case."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from test_experiment import FirstTerm, experiment, no_report, scored  # noqa: F401 - a fixture, used by name

from scaling_exp.analysis.ledger import ledger
from scaling_exp.analysis.pricing import Pricing, Tariff
from scaling_exp.analysis.significance import WORST_CASE, Criterion, paired
from scaling_exp.experiment import run, survey_pool
from scaling_exp.grading import Exact
from scaling_exp.plan import (
    known_speeds,
    paid_by_token,
    plan,
    readings,
    scores_of,
    token_dollars,
)
from scaling_exp.spending import dollars
from scaling_exp.state import State
from scaling_exp.tasks.arithmetic import Level
from scaling_exp.types import Grade


class Third(Exact):
    def quick(self, problem, answer):
        return Grade.of(sum(map(ord, problem.name + answer)) % 3 == 0)


class Lottery(FirstTerm):
    """Every problem has a digit; answers whose text has it are right."""

    @property
    def grader(self):
        return Third()


def lottery(store, num_samples=8, num_problems=30):
    return experiment(
        store, num_samples=num_samples, task=Lottery(num_problems, 1, 67, {"easy": Level(3, 1.8)})
    )


def found(made):
    return {each.name: each for each in readings(made, survey_pool(made))}


def test_without_draws_the_worst_case_is_shown_and_named(tmp_path):
    made = lottery(tmp_path)
    assert {each.spread for each in found(made).values()} == {WORST_CASE}
    said = plan(made)
    worst = 100 * Criterion().smallest_difference(WORST_CASE, 30, 1)
    assert said.count("worst case") == 3
    assert f"{worst:.1f} points" in said
    assert "on the same 30 problems, 95% confidence, 80% power" in said


def test_a_model_is_called_what_it_is_called(tmp_path):
    """To rich, brackets are markup: it drops those that it knows and raises for those that close nothing."""
    made = lottery(tmp_path)
    (model, *_) = made.models
    named = [replace(model, name=name) for name in ("small[awq]", "[/small]")]
    said = plan(replace(made, models=tuple(named)))
    assert "small[awq]" in said
    assert "[/small]" in said


def test_the_variance_is_that_of_the_draws_in_the_pool(tmp_path):
    made = lottery(tmp_path)
    run(made, "command")
    samples = made.folder.read_table("samples").to_pandas()
    drawn = samples[samples["strategy"] == "sampling"]
    counts = []
    for _, rows in drawn.groupby("model"):
        by_problem = rows.groupby("problem")["is_correct"]
        counts.append((by_problem.sum().to_numpy(), by_problem.count().to_numpy()))
    assert len(counts) == 2
    expected = max(
        (paired(a, b) for a, b in combinations(counts, 2)), key=lambda s: s.standard_error(1, 8)
    )
    read = found(made)
    assert list(read) == ["greedy", "sampling, mean of 8", "sampling, vote of 8"]
    one = read["sampling, mean of 8"]
    assert one.spread.between == pytest.approx(expected.between)
    assert one.spread.within == pytest.approx(expected.within)
    assert one.source == "30 drawn problems"
    greedy = samples[samples["strategy"] == "greedy"].pivot(
        index="problem", columns="model", values="is_correct"
    )
    difference = np.diff(greedy.to_numpy(float), axis=1)
    assert read["greedy"].spread.between == pytest.approx(difference.var(ddof=1))
    said = plan(made)
    now = Criterion().smallest_difference(one.spread, 30, 8)
    assert f"{100 * now:.1f} points" in said


def test_draws_of_a_smaller_run_are_enough_to_plan_a_larger_one(tmp_path):
    run(lottery(tmp_path), "command")
    before = found(lottery(tmp_path))["sampling, mean of 8"]
    more = found(lottery(tmp_path, num_samples=200))["sampling, mean of 200"]
    assert more.spread == before.spread
    assert more.num_samples == 200


def test_a_few_problems_are_not_trusted(tmp_path):
    made = lottery(tmp_path, num_problems=8)
    run(made, "command")
    assert {each.source for each in found(made).values()} == {"worst case"}


def test_what_is_paid_by_the_token_is_told_with_its_price(tmp_path):
    made = lottery(tmp_path)
    name = made.models[0].name
    tariff = Tariff(2.0, 8.0, 0.5, "lab/m", "2026-06")
    priced = replace(made.analysis, pricing=Pricing(tariffs={name: tariff}))
    made = replace(made, analysis=priced)
    (mine, _) = surveys = survey_pool(made)
    num_draws = int(mine.num_missing_P.sum())
    read = sum(
        num * len(prompt)
        for num, prompt in zip(mine.num_missing_P, mine.prompted.prompts, strict=True)
    )
    longest = max(each.max_new_tokens for each in made.strategies.values())
    most = (read * 2 + num_draws * longest * 8) / 1e6
    assert token_dollars(tariff, mine, num_draws * longest) == pytest.approx(most)
    (line,) = paid_by_token(made, surveys)
    assert line.startswith(
        f"{name}: {dollars(most)} at most, at 2 and 8 dollars per million tokens"
    )
    assert line.endswith("(lab/m of 2026-06)")
    assert line[:40] in plan(made)


def test_what_a_scorer_would_read_is_counted_and_what_it_read_is_less(tmp_path):
    made = scored(tmp_path)
    most = scores_of(made, survey_pool(made))
    assert most.num_scores == 2 * 6 * (4 + 4 * 4)
    said = plan(made)
    assert f"{most.num_scores:,} scores" in said
    assert f"<= {most.num_tokens:,} read" in said
    assert "What scorer reads counts once for every answer" in said
    run(made, "command")
    manifest = made.folder.read_manifest()
    assert 0 < manifest["scoring"]["scorer"]["num_draws"] <= most.num_scores
    traces = made.folder.read_table("traces").to_pandas()
    samples = made.folder.read_table("samples").to_pandas()
    models, scorer = [each.facts for each in made.models], made.scorer.facts.architecture
    spent = ledger(traces, samples, models, scorer)
    assert 0 < spent["scorer"].sum() <= most.flops
    # The simulated engine caches nothing.
    assert most.flops < State.read(made.folder).scorer.flops <= most.most_flops
    assert "scores" not in plan(made)


def test_a_search_is_not_planned_as_if_every_step_were_a_whole_answer(tmp_path):
    made = scored(tmp_path)
    (mine, _) = survey_pool(made)
    best_of, beam = (each.bound for each in made.strategies.values())
    assert (best_of.num_draws, beam.num_draws) == (4, 16)
    # Four samples of 8 tokens, and four answers of as many in at most four steps.
    assert mine.num_tokens_P.tolist() == [4 * 8 + 4 * 8] * 6
    run(made, "command")
    written = made.folder.read_table("traces").to_pandas().groupby(["model", "problem"])
    assert (written["num_output_tokens"].sum() <= 64).mean() > 0.9


def test_speeds_are_those_of_runs_with_the_same_scorer(tmp_path):
    def keep(name, scorer, share):
        record = {"tokens_per_second": 900, "scorer_share": share}
        (tmp_path / name).mkdir()
        had = scorer and {"name": scorer}
        manifest = {"scorer": had, "generation": {"small": record}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))

    keep("searched", "judge", 0.25)
    assert known_speeds(tmp_path, "judge") == {"small": 900}
    assert known_speeds(tmp_path, "another") == {}
    assert known_speeds(tmp_path) == {"small": 1200}
