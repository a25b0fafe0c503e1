"""What a run would draw, cost and resolve, before it starts. Loads no engine and no model.

Lengths are those of finished draws of the same model where the pool has any, never more than strategies allow a whole
forest (`Bound.num_tokens`); time comes from the speed of earlier runs in the store, with the same scorer, and is not
given where there was none. What differences it would resolve follows from the variance of the draws in the pool;
without any, from a stated worst case.

Axes: P problems, S draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from itertools import combinations
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scaling_exp.analysis.cost import decode_flops, forward_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray, IntArray, Votes, plurality
from scaling_exp.analysis.ledger import seconds_per_output_token
from scaling_exp.analysis.pricing import Tariff
from scaling_exp.analysis.significance import WORST_CASE, Criterion, Spread, of_values, paired
from scaling_exp.experiment import (
    Experiment,
    accelerators_per_replica,
    check_limits,
    spending_after,
    survey_pool,
)
from scaling_exp.generation import Bound, Strategy
from scaling_exp.grading import Grading
from scaling_exp.spending import Spent
from scaling_exp.spending import dollars as as_dollars
from scaling_exp.state import State
from scaling_exp.store import Store
from scaling_exp.survey import Survey
from scaling_exp.tables import Grades
from scaling_exp.tasks import Task

PROBLEMS_TO_MEASURE = 256
PROBLEMS_TO_TRUST = 20
"""Fewer say too little of a variance; then the worst case is shown."""
POWER = 0.8
POINTS = (5, 2, 1)
"""Differences, per cent, for which the problems needed are shown."""


def plan(experiment: Experiment) -> str:
    """What it would resolve, by strategy, and what it would draw, with one row a model and a total. Raises UserError
    as `run` would."""
    check_limits(experiment)
    experiment.pool_store.take()
    surveys = survey_pool(experiment)
    text = StringIO()
    console = Console(width=110, file=text, markup=False)  # names of models may hold brackets
    if len(surveys) > 1:
        console.print(resolution(experiment, surveys))
    console.print(costs(experiment, surveys))
    for line in (
        *taken_for_granted(experiment, surveys),
        *paid_by_token(experiment, surveys),
        *against_limits(experiment, surveys),
    ):
        console.print(line, highlight=False)
    return text.getvalue()


def costs(experiment: Experiment, surveys: Sequence[Survey]) -> Table:
    """One row a model, one for the scorer, and a total."""
    speeds = known_speeds(experiment.pool_store.root, _scorer_name(experiment))
    table = Table(title=f"{experiment.run_id}: what `run` would draw", title_justify="left")
    for column in ("model", "in the pool", "to draw, at most", "output tokens", "FLOPs", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    totals = [0, 0, 0.0, 0.0]
    for mine in surveys:
        num_known, num_missing = int(mine.num_known_P.sum()), int(mine.num_missing_P.sum())
        expected = Expected.of(mine, experiment.strategies)
        speed = speeds.get(mine.model.name)
        seconds = expected.output_tokens / speed if speed else None
        for index, amount in enumerate(
            (num_known, num_missing, expected.output_tokens, expected.flops)
        ):
            totals[index] += amount
        table.add_row(
            mine.model.name,
            f"{num_known:,}",
            f"{num_missing:,}",
            f"{'' if expected.is_measured else '<= '}{expected.output_tokens:,.0f}",
            _flops(expected.flops),
            "not known yet" if seconds is None else f"{seconds:,.0f}",
        )
    if (scores := scores_of(experiment, surveys)).num_scores:
        table.add_row(
            _scorer_name(experiment),
            "",
            f"{scores.num_scores:,} scores",
            f"<= {scores.num_tokens:,} read",
            _flops(scores.flops),
            "in theirs" if speeds else "not known yet",
        )
        totals[3] += scores.flops
    table.add_section()
    table.add_row(
        "all", f"{totals[0]:,}", f"{totals[1]:,}", f"{totals[2]:,.0f}", _flops(totals[3]), ""
    )
    return table


def taken_for_granted(experiment: Experiment, surveys: Sequence[Survey]) -> Iterator[str]:
    """What the numbers rest on that nothing tells before it is drawn."""
    lacking = [
        experiment.strategies[name].bound
        for name in experiment.strategies
        if any(each.lacks_P[name].any() for each in surveys)
    ]
    if any(each.is_scored and each.num_below for each in lacking):
        yield (
            "Of a search the draws are the most that it can ask for; a step is taken to have its share of the longest"
            " answer."
        )
    scorer = experiment.scorer
    if scorer is not None and scorer.model is not None and any(each.is_scored for each in lacking):
        yield (
            f"What {scorer.name} reads counts once for every answer, as in the report; without room in its prefix cache"
            " it is read again for every step."
        )
    if experiment.limits.flops is not None and lacking:
        yield "limits.flops is compared with what engines compute that cache nothing, a score being one reading."


@dataclass(frozen=True)
class Expected:
    """What the missing draws of a model would take: as long as those that are known, or as strategies allow.

    `flops` are those that the report charges, every token read once; `most_flops` those of an engine that caches
    nothing, which are spent at most.
    """

    output_tokens: float
    flops: float
    most_flops: float
    is_measured: bool

    @classmethod
    def of(cls, mine: Survey, strategies: Mapping[str, Strategy]) -> Expected:
        lacking = [strategies[name] for name, lacks_P in mine.lacks_P.items() if lacks_P.any()]
        is_deep = any(each.bound.num_below for each in lacking)
        longest = max((each.max_new_tokens for each in lacking), default=1)
        mean = mean_length(mine)
        tokens_P = mine.num_tokens_P.astype(np.float64)
        if mean is not None:
            tokens_P = np.minimum(tokens_P, mine.num_missing_P * mean)
            longest = longest if is_deep else max(1, round(mean))
        shape, at_P = mine.model.facts.architecture, mine.problems_to_draw
        prompt_P = np.array([len(mine.prompted.prompts[at]) for at in at_P])
        written_P = tokens_P[at_P] / longest * decode_flops(shape, prompt_P, longest)
        # What goes on reads half of an answer again, on average over its steps.
        again_P = prefill_flops(shape, prompt_P + is_deep * longest // 2)
        return cls(
            float(tokens_P.sum()),
            float((prefill_flops(shape, prompt_P) + written_P).sum()),
            float((mine.num_missing_P[at_P] * again_P + written_P).sum()),
            mean is not None,
        )


@dataclass(frozen=True)
class Scored:
    """What a scorer would be asked and read, at most; FLOPs as of `Expected`, a score being one reading."""

    num_scores: int = 0
    num_tokens: int = 0
    flops: float = 0.0
    most_flops: float = 0.0


def scores_of(experiment: Experiment, surveys: Sequence[Survey]) -> Scored:
    """Scores that are missing; an answer is taken to have as many tokens for the scorer as for its model."""
    scorer, strategies = experiment.scorer, experiment.strategies
    if scorer is None:
        return Scored()
    beside_P = np.array(scorer.num_beside(surveys[0].prompted.problems))
    num_scores, num_tokens, flops, most_flops = 0, 0, 0.0, 0.0
    for name, strategy in strategies.items():
        bound, longest = strategy.bound, strategy.max_new_tokens
        for mine in surveys if bound.is_scored else ():
            asked_P = beside_P[mine.lacks_P[name]]
            num_scores += len(asked_P) * bound.num_draws
            if scorer.model is None:
                continue
            num_tokens += int(asked_P.sum()) + len(asked_P) * bound.most_tokens
            shape = scorer.facts.architecture
            answers_P = forward_flops(shape, asked_P + 1, asked_P + longest)
            flops_P = prefill_flops(shape, asked_P) + bound.most_tokens / longest * answers_P
            flops += float(flops_P.sum())
            most_flops += bound.num_draws * float(prefill_flops(shape, asked_P + longest).sum())
    return Scored(num_scores, num_tokens, flops, most_flops)


def _scorer_name(experiment: Experiment) -> str:
    return experiment.scorer.name if experiment.scorer else ""


def _flops(amount: float) -> str:
    return "not known" if np.isnan(amount) else f"{amount:.2e}"


def against_limits(experiment: Experiment, surveys: Sequence[Survey]) -> list[str]:
    """Of each limit that is set, whether the run would reach it."""
    limits = experiment.limits
    state = State.read(experiment.folder)
    spent = spending_after(experiment, state.spent if state else Spent()).earlier
    flops, dollars, seconds = (
        _sum(each) for each in zip(*_expected(experiment, surveys), strict=True)
    )
    wanted = (
        ("limits.dollars", limits.dollars, spent.dollars, dollars),
        ("limits.flops", limits.flops, spent.flops, flops),
        ("limits.wall", limits.wall_seconds, spent.wall_seconds, seconds),
    )
    return [
        f"{key}={limits.told(key)} {_compared(limit, so_far or 0.0, more)}"
        for key, limit, so_far, more in wanted
        if limit is not None
    ]


def _compared(limit: float, so_far: float, more: float | None) -> str:
    if more is None:
        return "cannot be compared: no earlier run in the store tells how fast every model draws"
    parts = (
        f"{so_far / limit:.0%} are spent, and the draws would take {more / limit:.0%} more, at most"
    )
    if so_far + more < limit:
        return f"is enough: {parts}"
    return f"would be reached, and the run would stop before its end: {parts}"


def _expected(
    experiment: Experiment, surveys: Sequence[Survey]
) -> Iterator[tuple[float | None, float | None, float | None]]:
    """FLOPs, dollars and seconds of every model's draws, at most; None where neither a price nor an earlier run tells.
    Those of the scorer are FLOPs: it works in the same seconds."""
    pricing, store = experiment.analysis.pricing, experiment.pool_store
    scorer = _scorer_name(experiment)
    speeds = known_speeds(store.root, scorer)
    seconds_per_token = known_seconds_per_token(store, accelerators_per_replica(experiment), scorer)
    for mine in surveys:
        facts, expected = mine.model.facts, Expected.of(mine, experiment.strategies)
        dollars, rate = None, pricing.dollars_per_second
        if (tariff := pricing.tariff(facts.name, facts.hosted_as)) is not None:
            dollars = token_dollars(tariff, mine, expected.output_tokens)
        elif rate is not None and facts.name in seconds_per_token:
            dollars = rate * expected.output_tokens * seconds_per_token[facts.name]
        speed = speeds.get(facts.name)
        yield expected.most_flops, dollars, expected.output_tokens / speed if speed else None
    yield scores_of(experiment, surveys).most_flops, 0.0, 0.0


def paid_by_token(experiment: Experiment, surveys: Sequence[Survey]) -> Iterator[str]:
    """Of each hosted or otherwise priced model, the price that is taken and what its draws would cost."""
    pricing = experiment.analysis.pricing
    for mine in surveys:
        facts = mine.model.facts
        tariff = pricing.tariff(facts.name, facts.hosted_as)
        if tariff is not None:
            expected = Expected.of(mine, experiment.strategies)
            most = token_dollars(tariff, mine, expected.output_tokens)
            yield (
                f"{facts.name}: {as_dollars(most)}{'' if expected.is_measured else ' at most'}, at {tariff.input:g} and"
                f" {tariff.output:g} dollars per million tokens read and written ({tariff})"
            )
        elif facts.hosted_as:
            yield (
                f"{facts.name}: no price of {facts.hosted_as} on {pricing.date} is known; give one in"
                " analysis.pricing.tariffs or price_list"
            )


def token_dollars(tariff: Tariff, mine: Survey, output_tokens: float) -> float:
    """What the missing draws cost if they write so many tokens and nothing of a prompt is cached. Of a model whose
    tokenizer is not known every byte of a prompt is taken to be a token, which it is at most."""
    read = sum(
        int(num) * len(prompt)
        for num, prompt in zip(mine.num_missing_P, mine.prompted.prompts, strict=True)
    )
    return tariff.dollars(input=read, output=output_tokens)


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [each for each in parts if each is not None]
    return sum(known) if len(known) == len(parts) else None


def resolution(experiment: Experiment, surveys: Sequence[Survey]) -> Table:
    """The smallest difference between two models that every reading of the strategies would resolve, and the problems
    that smaller ones need; of all pairs of models the one that varies most."""
    num_problems = len(surveys[0].prompted.roots)
    criterion = Criterion(experiment.analysis.confidence, POWER)
    title = (
        f"What it would resolve: two models on the same {num_problems:,} problems, "
        f"{criterion.confidence:.0%} confidence, {POWER:.0%} power"
    )
    table = Table(title=title, title_justify="left")
    problems = f"problems for {' / '.join(map(str, POINTS))} points"
    for column in (
        "accuracy of",
        "smallest difference",
        "endless samples",
        problems,
        "variance of",
    ):
        table.add_column(column, justify="left" if column == "accuracy of" else "right")
    for reading in readings(experiment, surveys):
        spread, num_samples = reading.spread, reading.num_samples
        now = criterion.smallest_difference(spread, num_problems, num_samples)
        needed = [criterion.problems_needed(spread, each / 100, num_samples) for each in POINTS]
        at_best = criterion.smallest_difference(Spread(spread.between, 0.0), num_problems, 1)
        table.add_row(
            reading.name,
            f"{100 * now:.1f} points",
            f"{100 * at_best:.1f}" if spread.within else "-",
            " / ".join(f"{each:,}" for each in needed),
            reading.source,
        )
    return table


@dataclass(frozen=True)
class Reading:
    """A number that a run gives for every model: how its difference between two varies, and from what that is known."""

    name: str
    spread: Spread
    num_samples: int
    source: str


def readings(experiment: Experiment, surveys: Sequence[Survey]) -> list[Reading]:
    """Of every strategy that fixes its draws: one sample's accuracy, and where it draws several, that of their vote.

    A vote that stops early elects what the full one does, and is not listed.
    """
    bounds = {name: each.bound for name, each in experiment.strategies.items()}
    with Grading(experiment.task.grader) as grading:
        grades = Grades(grading)
        drawn = {
            name: known_draws(surveys, bound, experiment.task, grades)
            for name, bound in bounds.items()
            if bound.is_exact
        }
    found = []
    for name, graded in drawn.items():
        bound = bounds[name]
        source = f"{len(graded[0].elected_P)} drawn problems" if graded else "worst case"
        counts = [(each.num_correct_P, each.num_samples_P) for each in graded]
        one = _widest([paired(a, b) for a, b in combinations(counts, 2)], bound.num_samples)
        if bound.num_samples == 1:
            found.append(Reading(name, one, 1, source))
            continue
        elected = [each.elected_P for each in graded]
        vote = _widest([of_values(a, b) for a, b in combinations(elected, 2)], 1)
        of_one, of_vote = (
            f"{name}, mean of {bound.num_samples}",
            f"{name}, vote of {bound.num_samples}",
        )
        found.append(Reading(of_one, one, bound.num_samples, source))
        found.append(Reading(of_vote, vote, 1, source))
    return found


def _widest(spreads: Sequence[Spread], num_samples: int) -> Spread:
    return max(spreads, key=lambda each: each.standard_error(1, num_samples), default=WORST_CASE)


@dataclass(frozen=True)
class Graded:
    """Known draws of one model, by problem: how many, how many right, and what their vote elects."""

    num_samples_P: IntArray
    num_correct_P: IntArray
    elected_P: FloatArray

    def only(self, is_kept_P: NDArray[np.bool_]) -> Graded:
        """Some of the problems."""
        return Graded(*(each[is_kept_P] for each in vars(self).values()))


def known_draws(
    surveys: Sequence[Survey], bound: Bound, task: Task, grades: Grades
) -> list[Graded]:
    """What the pool holds of the draws in a bound, of all models that have any, on problems that they have in common.

    Empty where fewer than two models, or too few problems, have any.
    """
    drawn = [each for each in surveys if each.num_known_P.any()]
    if len(drawn) < 2:
        return []
    common = np.flatnonzero(np.all([each.num_known_P > 0 for each in drawn], axis=0))
    some = common[:: len(common) // PROBLEMS_TO_MEASURE + 1].tolist()
    graded = [_graded(each, bound, task, grades, some) for each in drawn]
    is_kept_P = np.all([each.num_samples_P > 0 for each in graded], axis=0)
    if is_kept_P.sum() < PROBLEMS_TO_TRUST:
        return []
    return [each.only(is_kept_P) for each in graded]


def _graded(mine: Survey, bound: Bound, task: Task, grades: Grades, some: Sequence[int]) -> Graded:
    """Known draws of some problems; of equal ones the first counts."""
    prompted = mine.prompted
    read = cache(lambda tokens: task.read(mine.model.decode(tokens)))
    stream_P = prompted.streams(bound.sampling)
    position = {int(stream_P[at]): index for index, at in enumerate(some)}
    roots = [prompted.roots[at] for at in some]
    rows = mine.pool.rows(roots, ("root", "stream", "sample", "tokens"))
    drawn: dict[tuple[int, int], str | None] = {}
    columns = (rows[name].to_pylist() for name in ("stream", "sample", "tokens"))
    for stream, sample, tokens in zip(*columns, strict=True):
        if stream in position and sample < bound.num_samples:
            drawn.setdefault((position[stream], sample), read(tuple(tokens)))
    given = grades.of(
        [(prompted.problems[some[index]], answer) for (index, _), answer in drawn.items()]
    )
    codes = {answer: code for code, answer in enumerate(dict.fromkeys(drawn.values()))}
    votes = Votes.of(
        len(some),
        np.array([index for index, _ in drawn], np.int64),
        np.array([-1 if each is None else codes[each] for each in drawn.values()], np.int64),
        np.array([each.is_correct for each in given], bool),
    )
    return Graded(votes.num_samples_P, votes.num_correct_P, plurality(votes))


def mean_length(surveyed: Survey) -> float | None:
    """Mean output tokens of the draws that are known of some of the problems; None when none is."""
    known = np.flatnonzero(surveyed.num_known_P)
    some = known[:: len(known) // PROBLEMS_TO_MEASURE + 1]
    columns = ("root", "tokens", "num_billed_output_tokens")
    rows = surveyed.pool.rows([surveyed.prompted.roots[at] for at in some], columns)
    here = np.diff(rows["tokens"].combine_chunks().offsets.to_numpy())
    billed = rows["num_billed_output_tokens"].to_numpy()  # NaN where no server counted
    lengths = np.where(np.isnan(billed.astype(np.float64)), here, billed)
    return float(lengths.mean()) if len(lengths) else None


def known_seconds_per_token(store: Store, accelerators: int, scorer: str = "") -> dict[str, float]:
    """Accelerator seconds of an output token of each model, in the latest run that drew from it; see `known_speeds`."""
    seconds: dict[str, float] = {}
    runs = [each for each in store.runs() if each.has_table("engines")]
    for run in sorted(runs, key=lambda each: (each.path / "engines.parquet").stat().st_mtime):
        shares = _shares_of_models(run.read_manifest(), scorer)
        measured = seconds_per_output_token(run.read_table("engines").to_pandas(), accelerators)
        seconds |= {name: each * shares[name] for name, each in measured.items() if name in shares}
    return seconds


def known_speeds(store: FilePath, scorer: str = "") -> dict[str, float]:
    """Output tokens a second of each model, in the latest run that drew from it: beside that scorer, if one is named,
    with the time that it took; else by itself, without the time that any took."""
    speeds: dict[str, float] = {}
    for manifest in sorted(store.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime):
        recorded = json.loads(manifest.read_text())
        shares = _shares_of_models(recorded, scorer)
        for name, record in recorded.get("generation", {}).items():
            if record["tokens_per_second"] and name in shares:
                speeds[name] = record["tokens_per_second"] / shares[name]
    return speeds


def _shares_of_models(manifest: Mapping[str, Any], scorer: str) -> dict[str, float]:
    """Of the time that a run drew from each model, what is to be counted; nothing of runs with another scorer than the
    one that is named."""
    had = manifest.get("scorer") or {}
    if scorer and had.get("name") != scorer:
        return {}
    return {
        name: 1.0 if scorer else 1.0 - (record.get("scorer_share") or 0.0)
        for name, record in manifest.get("generation", {}).items()
    }
