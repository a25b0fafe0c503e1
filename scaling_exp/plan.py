"""What a run would draw, cost and resolve, before it starts. Loads no engine and no model.

Lengths are those of finished draws of the same model where the pool has any, else the strategy's longest; time comes
from the speed of earlier runs in the store, and is not given where there was none. What differences it would resolve
follows from the variance of the draws in the pool; without any, from a stated worst case.

Axes: P problems, S draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO
from itertools import combinations
from pathlib import Path as FilePath

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray, IntArray, Votes, plurality
from scaling_exp.analysis.ledger import seconds_per_output_token
from scaling_exp.analysis.pricing import Tariff
from scaling_exp.analysis.significance import WORST_CASE, Criterion, Spread, of_values, paired
from scaling_exp.experiment import Experiment, accelerators_per_replica, check_limits, survey_pool
from scaling_exp.generation import Bound
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
    console = Console(width=110, file=text)
    if len(surveys) > 1:
        console.print(resolution(experiment, surveys))
    console.print(costs(experiment, surveys))
    scorer = experiment.scorer
    if scorer and scorer.model and any(each.problems_to_draw for each in surveys):
        console.print(f"What {scorer.name} reads to score answers is not counted and comes on top.")
    for line in (*paid_by_token(experiment, surveys), *against_limits(experiment, surveys)):
        console.print(line, highlight=False)
    return text.getvalue()


def costs(experiment: Experiment, surveys: Sequence[Survey]) -> Table:
    """One row a model and a total."""
    speeds = known_speeds(experiment.pool_store.root)
    table = Table(title=f"{experiment.run_id}: what `run` would draw", title_justify="left")
    for column in ("model", "in the pool", "to draw, at most", "output tokens", "FLOPs", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    totals = [0, 0, 0.0, 0.0]
    for mine in surveys:
        num_known, num_missing = int(mine.num_known_P.sum()), int(mine.num_missing_P.sum())
        measured = mean_length(mine)
        length = measured or max(each.max_new_tokens for each in experiment.strategies.values())
        tokens = num_missing * length
        flops = expected_flops(mine, length)
        speed = speeds.get(mine.model.name)
        seconds = tokens / speed if speed else None
        for index, amount in enumerate((num_known, num_missing, tokens, flops)):
            totals[index] += amount
        table.add_row(
            mine.model.name,
            f"{num_known:,}",
            f"{num_missing:,}",
            f"{'' if measured else '<= '}{tokens:,.0f}",
            _flops(flops),
            "not known yet" if seconds is None else f"{seconds:,.0f}",
        )
    table.add_section()
    table.add_row(
        "all", f"{totals[0]:,}", f"{totals[1]:,}", f"{totals[2]:,.0f}", _flops(totals[3]), ""
    )
    return table


def _flops(amount: float) -> str:
    return "not known" if np.isnan(amount) else f"{amount:.2e}"


def against_limits(experiment: Experiment, surveys: Sequence[Survey]) -> list[str]:
    """Of each limit that is set, whether the run would reach it."""
    limits = experiment.limits
    state = State.read(experiment.folder)
    spent = state.spent if state else Spent()
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
    """FLOPs, dollars and seconds of every model's draws; None where neither a price nor an earlier run tells."""
    pricing, store = experiment.analysis.pricing, experiment.pool_store
    speeds = known_speeds(store.root)
    seconds_per_token = known_seconds_per_token(store, accelerators_per_replica(experiment))
    for mine in surveys:
        facts, length = mine.model.facts, expected_length(experiment, mine)
        tokens = int(mine.num_missing_P.sum()) * length
        dollars, rate = None, pricing.dollars_per_second
        if (tariff := pricing.tariff(facts.name, facts.hosted_as)) is not None:
            dollars = token_dollars(tariff, mine, length)
        elif rate is not None and facts.name in seconds_per_token:
            dollars = rate * tokens * seconds_per_token[facts.name]
        speed = speeds.get(facts.name)
        yield expected_flops(mine, length), dollars, tokens / speed if speed else None


def paid_by_token(experiment: Experiment, surveys: Sequence[Survey]) -> Iterator[str]:
    """Of each hosted or otherwise priced model, the price that is taken and what its draws would cost."""
    pricing = experiment.analysis.pricing
    for mine in surveys:
        facts = mine.model.facts
        tariff = pricing.tariff(facts.name, facts.hosted_as)
        if tariff is not None:
            length = mean_length(mine)
            most = token_dollars(tariff, mine, length or expected_length(experiment, mine))
            yield (
                f"{facts.name}: {as_dollars(most)}{'' if length else ' at most'}, at {tariff.input:g} and"
                f" {tariff.output:g} dollars per million tokens read and written ({tariff})"
            )
        elif facts.hosted_as:
            yield (
                f"{facts.name}: no price of {facts.hosted_as} on {pricing.date} is known; give one in"
                " analysis.pricing.tariffs or price_list"
            )


def token_dollars(tariff: Tariff, mine: Survey, output_tokens: float) -> float:
    """What the missing draws cost if each has so many tokens and nothing of a prompt is cached. Of a model whose
    tokenizer is not known every byte of a prompt is taken to be a token, which it is at most."""
    read = sum(
        int(num) * len(prompt)
        for num, prompt in zip(mine.num_missing_P, mine.prompted.prompts, strict=True)
    )
    return tariff.dollars(input=read, output=int(mine.num_missing_P.sum()) * output_tokens)


def expected_length(experiment: Experiment, mine: Survey) -> float:
    """Output tokens of a draw: the mean of what is known, else the longest that a strategy allows."""
    longest = max(each.max_new_tokens for each in experiment.strategies.values())
    return mean_length(mine) or longest


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


def expected_flops(surveyed: Survey, length: float) -> float:
    """Prefill of every prompt that has something to draw, and decoding of what is missing."""
    architecture = surveyed.model.facts.architecture
    total = 0.0
    for at in surveyed.problems_to_draw:
        num_prompt = len(surveyed.prompted.prompts[at])
        total += float(prefill_flops(architecture, num_prompt))
        one = float(decode_flops(architecture, num_prompt, round(length)))
        total += int(surveyed.num_missing_P[at]) * one
    return total


def known_seconds_per_token(store: Store, accelerators: int) -> dict[str, float]:
    """Accelerator seconds of an output token of each model, in the latest run that drew from it."""
    seconds: dict[str, float] = {}
    runs = [each for each in store.runs() if each.has_table("engines")]
    for run in sorted(runs, key=lambda each: (each.path / "engines.parquet").stat().st_mtime):
        seconds |= seconds_per_output_token(run.read_table("engines").to_pandas(), accelerators)
    return seconds


def known_speeds(store: FilePath) -> dict[str, float]:
    """Output tokens a second of each model in the latest run that drew from it."""
    speeds: dict[str, float] = {}
    for manifest in sorted(store.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime):
        generation = json.loads(manifest.read_text()).get("generation", {})
        for name, record in generation.items():
            if record["tokens_per_second"]:
                speeds[name] = record["tokens_per_second"]
    return speeds
