"""Attempts: a table of samples, or of counts, folded into what the estimators need per model and strategy.

It checks its input and says what is wrong with it; it draws no conclusion.

Axes: P problems (sorted by name, the same for every model), S samples (rows of the table, sorted by problem).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_exp.analysis.confidence import MEASURES, confidences
from scaling_exp.analysis.cost import (
    Pricing,
    QueryCost,
    TokenCounts,
    prefill_flops,
    query_costs,
    scoring_costs,
)
from scaling_exp.analysis.estimators import BoolArray, FloatArray, IntArray, Scores, Votes
from scaling_exp.analysis.forests import FOREST_COLUMNS
from scaling_exp.types import ModelFacts

Kind = Literal["single", "exchangeable", "adaptive"]
"""One sample per problem; samples of which any k are as good as any other; numbers that depend on what was drawn."""

KEY = ("model", "strategy", "problem")
SAMPLE_COLUMNS = (*KEY, "level", "sample", "is_correct")
COUNT_COLUMNS = (*KEY, "level", "num_samples", "num_correct")
TOKEN_COLUMNS = ("num_prompt_tokens", "num_output_tokens")
CLUSTER = "cluster"
"""What a problem shares with others (a passage, a template); a table need not have it."""
SCORED_TOKENS = "num_scored_tokens"
"""Tokens that a scorer read to score a sample, the question included; a table need not have it."""
STEP_SCORES = "step_scores"
TOKEN_SCORES = "token_scores"
OVER_STEPS: Mapping[str, Callable[[FloatArray], float]] = {
    "last": lambda steps: float(steps[-1]),
    "min": lambda steps: float(steps.min()),
    "product": lambda steps: float(steps.prod()),
    "mean": lambda steps: float(steps.mean()),
}
"""What may stand for the scores of an answer's steps (Lightman et al. 2023, arXiv 2305.20050, appendix F; Snell et al.
2024, arXiv 2408.03314, section 5.1)."""


@dataclass(frozen=True)
class Attempts:
    """Everything one model drew under one strategy; arrays have one entry per problem.

    `votes` is None where only right and wrong are known, `clusters` where every problem stands for itself; `scores` are
    by what stands for the scores of an answer's steps or for the confidence in it (`confidence.MEASURES`), and empty
    where samples have none. Tokens are means over the samples of a problem, and NaN where they were not recorded;
    `costs` then lacks what follows from them. `scoring` is what scores cost beside them, where they are not in `costs`.
    """

    facts: ModelFacts
    strategy: str
    kind: Kind
    problems: tuple[str, ...]
    levels: tuple[str, ...]
    clusters: tuple[str, ...] | None
    num_samples_P: IntArray
    num_correct_P: IntArray
    votes: Votes | None
    answer_S: IntArray
    """Codes of the answers of all samples by their numbers, as in `Scores`; of counts there are none."""
    is_right_S: BoolArray
    answers: Sequence[str]
    """Texts of the answers, by their codes; empty where there are none."""
    scores: Mapping[str, Scores]
    prompt_tokens_P: FloatArray
    output_tokens_P: FloatArray
    costs: Mapping[str, QueryCost]
    scoring: Mapping[str, QueryCost]
    truncated_share: float
    unparsable_share: float

    @property
    def max_k(self) -> int:
        """Most samples that every problem has: beyond it no estimator is defined for all of them."""
        return int(self.num_samples_P.min())


def fold(
    samples: pd.DataFrame,
    models: Sequence[ModelFacts],
    pricing: Pricing,
    adaptive: Collection[str] = (),
    seconds_per_output_token: Mapping[str, float] = MappingProxyType({}),
    scorer: ModelFacts | None = None,
    forests: pd.DataFrame | None = None,
    confidence_window: int = 2048,
) -> list[Attempts]:
    """One `Attempts` per (model, strategy) from a table with one row per sample, models by pre-training compute.

    Columns: `SAMPLE_COLUMNS`; where known also answer, outcome, score, truncated and `TOKEN_COLUMNS`. An answer's class
    is its text; several right ones compete, as they would in a user's vote. `adaptive` names the strategies that decide
    themselves how much to draw; `seconds_per_output_token` are accelerator seconds by model, where they were measured.
    `forests` is what whole forests took (`forests.forest_costs`), of the strategies of which samples do not tell it;
    `confidence_window` are the tokens of a window of `confidence.confidences`.
    Raises ValueError for missing columns or values, a model without facts, facts without samples, a problem missing
    somewhere, and a sample that occurs twice.
    """
    terms = _Terms(pricing, seconds_per_output_token, scorer, forests, confidence_window)
    table = _Table.of(samples, SAMPLE_COLUMNS, models, terms)
    sample_S = table.numbers("sample")
    kinds = _kinds(table, np.diff(np.append(table.starts, len(table.frame))), adaptive)
    is_repeated = np.diff(sample_S) == 0
    is_repeated[table.starts[1:] - 1] = False
    if is_repeated.any():
        where = table.name(int(np.flatnonzero(is_repeated)[0]))
        raise ValueError(f"{where} is drawn twice with the same sample number")
    return [_fold_samples(table.part(group), kinds) for group in table.groups]


def fold_counts(
    counts: pd.DataFrame, models: Sequence[ModelFacts], pricing: Pricing
) -> list[Attempts]:
    """As `fold`, from a table with one row per model, strategy and problem: `COUNT_COLUMNS`, and `TOKEN_COLUMNS`
    (means) where known. There are no answers, so there is nothing to vote with."""
    table = _Table.of(counts, COUNT_COLUMNS, models, _Terms(pricing))
    if len(table.starts) < len(table.frame):
        twice = np.setdiff1d(np.arange(len(table.frame)), table.starts)
        raise ValueError(f"{table.name(int(twice[0]))} is counted twice")
    num_samples, num_correct = table.numbers("num_samples"), table.numbers("num_correct")
    if (num_samples < 1).any() or (num_correct < 0).any() or (num_correct > num_samples).any():
        raise ValueError("a row has no sample, or more correct ones than samples")
    kinds = _kinds(table, num_samples, ())
    return [_fold_counts(table.part(group), kinds) for group in table.groups]


@dataclass(frozen=True)
class _Terms:
    """What is known beside a table of samples: the arguments of `fold` that have these names."""

    pricing: Pricing
    seconds_per_output_token: Mapping[str, float] = field(default_factory=dict)
    scorer: ModelFacts | None = None
    forests: pd.DataFrame | None = None
    confidence_window: int = 1

    def forests_of(self, model: str, strategy: str, problems: Sequence[str]) -> pd.DataFrame | None:
        """What the forests of a strategy took, by problem; None where samples tell it. Raises KeyError when a problem
        is lacking."""
        if self.forests is None:
            return None
        is_mine = (self.forests["model"] == model) & (self.forests["strategy"] == strategy)
        rows = self.forests.loc[is_mine.to_numpy(bool)]
        return None if rows.empty else rows.set_index("problem").loc[[*problems]]


@dataclass(frozen=True)
class _Table:
    """Rows sorted by model (pre-training compute), strategy, problem and sample. `starts` are the first rows of the
    problems, `groups` the slices of the (model, strategy)."""

    frame: pd.DataFrame
    models: dict[str, ModelFacts]
    problems: tuple[str, ...]
    levels: tuple[str, ...]
    clusters: tuple[str, ...] | None
    starts: IntArray
    groups: tuple[slice, ...]
    terms: _Terms

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        columns: Sequence[str],
        models: Sequence[ModelFacts],
        terms: _Terms,
    ) -> _Table:
        _check_columns(frame, columns)
        facts = _check_models({str(name) for name in frame["model"].unique()}, models)
        codes, names = zip(*(_codes(pd.Series(frame[column])) for column in KEY), strict=True)
        rank = {name: at for at, name in enumerate(sorted(facts, key=lambda n: facts[n].order))}
        model_S = np.array([rank[name] for name in names[0]])[codes[0]]
        sample_S = frame["sample"].to_numpy() if "sample" in frame else np.zeros(len(frame))
        order_S = np.lexsort((sample_S, codes[2], codes[1], model_S))
        keys_S = [each[order_S] for each in (model_S, codes[1], codes[2])]
        is_new_group = _changes(keys_S[:2])
        starts = np.flatnonzero(is_new_group | _changes(keys_S[2:]))
        frame = frame.take(order_S)
        bounds = [*np.flatnonzero(is_new_group).tolist(), len(frame)]
        table = cls(
            frame=frame,
            models=facts,
            problems=tuple(names[2]),
            levels=_of_problems(frame, "level", keys_S[2], names[2]),
            clusters=_of_problems(frame, CLUSTER, keys_S[2], names[2])
            if CLUSTER in frame
            else None,
            starts=starts,
            groups=tuple(slice(*pair) for pair in pairwise(bounds)),
            terms=terms,
        )
        table._check_problems(keys_S[2])
        return table

    def part(self, group: slice) -> _Part:
        is_mine = (self.starts >= group.start) & (self.starts < group.stop)
        rows = self.frame.iloc[group]
        return _Part(self, rows, self.starts[is_mine] - group.start)

    def numbers(self, column: str) -> IntArray:
        return self.frame[column].to_numpy(np.int64)

    def name(self, row: int) -> str:
        model, strategy, problem = (str(self.frame[column].iloc[row]) for column in KEY)
        return f"problem {problem} of model {model} under strategy {strategy}"

    def _check_problems(self, problem_S: IntArray) -> None:
        for group in self.groups:
            absent = np.setdiff1d(np.arange(len(self.problems)), problem_S[group])
            if len(absent):
                model, strategy = (str(self.frame[column].iloc[group.start]) for column in KEY[:2])
                raise ValueError(
                    f"model {model} under strategy {strategy} has no sample of the problems"
                    f" {_names({self.problems[at] for at in absent})}; all models must answer the same"
                    " problems: finish the run"
                )


@dataclass(frozen=True)
class _Part:
    """The rows of one (model, strategy); `starts_P` are the first rows of its problems."""

    table: _Table
    rows: pd.DataFrame
    starts_P: IntArray

    @property
    def facts(self) -> ModelFacts:
        return self.table.models[str(self.rows["model"].iloc[0])]

    @property
    def strategy(self) -> str:
        return str(self.rows["strategy"].iloc[0])

    def column(self, name: str) -> FloatArray:
        """A column as numbers; NaN throughout where the table has none."""
        if name not in self.rows:
            return np.full(len(self.rows), np.nan)
        return self.rows[name].to_numpy(np.float64)

    @property
    def seconds_per_output_token(self) -> float | None:
        return self.table.terms.seconds_per_output_token.get(self.facts.name)

    def costs(
        self, problem_S: IntArray, prompt_P: FloatArray, output_S: FloatArray
    ) -> Mapping[str, QueryCost]:
        """Of whole forests where samples do not tell it, else of the samples."""
        terms = self.table.terms
        forests = terms.forests_of(self.facts.name, self.strategy, self.table.problems)
        if forests is not None:
            return self._costs_of_forests(forests, prompt_P, np.bincount(problem_S))
        is_hosted = bool(self.facts.hosted_as)  # else it is our own cache, which no provider bills
        tokens = TokenCounts(
            prompt_P,
            problem_S,
            output_S,
            cached_S=self.column("num_cached_tokens") if is_hosted else None,
            seconds_per_output_token=self.seconds_per_output_token,
        )
        return query_costs(self.facts, tokens, terms.pricing)

    def scoring(
        self, problem_S: IntArray, prompt_P: FloatArray, output_S: FloatArray
    ) -> Mapping[str, QueryCost]:
        """Of what a scorer read beside what `costs` has: of a forest it is in there.

        What it read beside an answer is the same for all samples of a problem: the least that one has. Where a table
        does not tell what was read, it is taken to be prompt and output.
        """
        terms = self.table.terms
        forests = terms.forests_of(self.facts.name, self.strategy, self.table.problems)
        if terms.scorer is None or forests is not None:
            return {}
        if SCORED_TOKENS in self.rows:
            read_S = self.column(SCORED_TOKENS)
            beside_S = np.clip(read_S - output_S, 0.0, None)
            prompt_P = np.minimum.reduceat(beside_S, self.starts_P)
            output_S = read_S - prompt_P[problem_S]
        return scoring_costs(
            terms.scorer, TokenCounts(prompt_P, problem_S, output_S), terms.pricing
        )

    def _costs_of_forests(
        self, forests: pd.DataFrame, prompt_P: FloatArray, num_samples_P: IntArray
    ) -> Mapping[str, QueryCost]:
        """Costs of which all samples of a problem together are what its whole forest took.

        What a forest reads from memory is not known, so it has no cost that follows from it.
        """
        reading_P = prefill_flops(self.facts.architecture, prompt_P)
        total_P, written_P = (forests[name].to_numpy(np.float64) for name in FOREST_COLUMNS)
        tokens = QueryCost(np.zeros_like(written_P), written_P / num_samples_P)
        costs = {
            "inference_flops": QueryCost(reading_P, (total_P - reading_P) / num_samples_P),
            "output_tokens": tokens,
        }
        if self.seconds_per_output_token is not None:
            costs["accelerator_seconds"] = tokens * self.seconds_per_output_token
        return costs

    def sums(self, values_S: FloatArray) -> FloatArray:
        """Sums over the samples of each problem, (S,) to (P,)."""
        return np.add.reduceat(values_S, self.starts_P)


def _fold_samples(part: _Part, kinds: dict[str, Kind]) -> Attempts:
    num_samples_P = np.diff(np.append(part.starts_P, len(part.rows)))
    problem_S = np.repeat(np.arange(len(num_samples_P)), num_samples_P)
    is_right_S = part.rows["is_correct"].to_numpy(bool)
    answer_S, answers = _answers(part, is_right_S)
    votes = (
        Votes.of(len(num_samples_P), problem_S, answer_S, is_right_S)
        if "answer" in part.rows
        else None
    )
    scores = {
        name: Scores(problem_S, answer_S, is_right_S, score_S)
        for name, score_S in _scores(part).items()
    }
    prompt_S, output_S = (part.column(name) for name in TOKEN_COLUMNS)
    prompt_P = prompt_S[part.starts_P]
    counted = (problem_S, prompt_P, output_S)
    return Attempts(
        facts=part.facts,
        strategy=part.strategy,
        kind=kinds[part.strategy],
        problems=part.table.problems,
        levels=part.table.levels,
        clusters=part.table.clusters,
        num_samples_P=num_samples_P,
        num_correct_P=part.sums(is_right_S.astype(np.float64)).astype(np.int64),
        votes=votes,
        answer_S=answer_S,
        is_right_S=is_right_S,
        answers=answers,
        scores=scores,
        prompt_tokens_P=prompt_P,
        output_tokens_P=part.sums(output_S) / num_samples_P,
        costs=part.costs(*counted),
        scoring=part.scoring(*counted) if "last" in scores else {},
        truncated_share=float(part.column("truncated").mean()),
        unparsable_share=_unparsable_share(part, answer_S) if votes else float("nan"),
    )


def _scores(part: _Part) -> dict[str, FloatArray]:
    """Scores of the samples and confidences in them, by their names; without those that a sample lacks."""
    return {**_scores_of_steps(part), **_confidences(part)}


def _confidences(part: _Part) -> dict[str, FloatArray]:
    if TOKEN_SCORES not in part.rows or part.rows[TOKEN_SCORES].isna().to_numpy().any():
        return {}
    window = part.table.terms.confidence_window
    measured = [
        tuple(confidences(np.asarray(each, np.float64), window).values())
        for each in part.rows[TOKEN_SCORES]
    ]
    return dict(zip(MEASURES, np.array(measured).T, strict=True))


def _scores_of_steps(part: _Part) -> dict[str, FloatArray]:
    score_S = part.column("score")
    if np.isnan(score_S).any():
        return {}
    if STEP_SCORES not in part.rows:
        return {"last": score_S}
    steps = [np.asarray(each, np.float64) for each in part.rows[STEP_SCORES]]
    if all(len(each) == 1 for each in steps):
        return {"last": score_S}
    return {
        name: np.fromiter(map(over, steps), np.float64, len(steps))
        for name, over in OVER_STEPS.items()
    }


def _unparsable_share(part: _Part, answer_S: IntArray) -> float:
    """Samples without an answer, or with one that the grader could make nothing of."""
    if "outcome" in part.rows:
        return float(np.mean(part.rows["outcome"].to_numpy() == "unparsable"))
    return float(np.mean(answer_S < 0))


def _fold_counts(part: _Part, kinds: dict[str, Kind]) -> Attempts:
    prompt_P, output_P = (part.column(name) for name in TOKEN_COLUMNS)
    return Attempts(
        facts=part.facts,
        strategy=part.strategy,
        kind=kinds[part.strategy],
        problems=part.table.problems,
        levels=part.table.levels,
        clusters=part.table.clusters,
        num_samples_P=part.rows["num_samples"].to_numpy(np.int64),
        num_correct_P=part.rows["num_correct"].to_numpy(np.int64),
        votes=None,
        answer_S=np.zeros(0, np.int64),
        is_right_S=np.zeros(0, bool),
        answers=(),
        scores={},
        prompt_tokens_P=prompt_P,
        output_tokens_P=output_P,
        costs=part.costs(np.arange(len(prompt_P)), prompt_P, output_P),
        scoring={},
        truncated_share=float("nan"),
        unparsable_share=float("nan"),
    )


def _answers(part: _Part, is_right_S: NDArray[np.bool_]) -> tuple[IntArray, Sequence[str]]:
    """Codes of the answers, -1 for what is unparsable, and their texts. Without answers, right (1) and wrong (0)."""
    if "answer" not in part.rows:
        return is_right_S.astype(np.int64), ()
    answer_S, answers = pd.factorize(part.rows["answer"])
    if (is_right_S & (answer_S < 0)).any():
        raise ValueError(f"a sample of model {part.facts.name} has no answer but is marked correct")
    return answer_S, [str(each) for each in answers]


def _kinds(table: _Table, num_samples: IntArray, adaptive: Collection[str]) -> dict[str, Kind]:
    """A strategy's kind is read off all models at once. `num_samples` has a number for each of the table's `starts`."""
    most: dict[str, int] = {}
    strategies = table.frame["strategy"].iloc[table.starts].astype(str)
    for strategy, number in zip(strategies, num_samples.tolist(), strict=True):
        most[strategy] = max(most.get(strategy, 0), number)
    plain: dict[str, Kind] = {s: "single" if n == 1 else "exchangeable" for s, n in most.items()}
    return {s: "adaptive" if s in adaptive else kind for s, kind in plain.items()}


def _codes(column: pd.Series) -> tuple[IntArray, list[str]]:
    """Numbers of the names in a column, and the names, sorted."""
    codes, names = pd.factorize(column, sort=False)
    texts = [str(name) for name in names]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], [texts[at] for at in order]


def _changes(keys_S: Sequence[IntArray]) -> NDArray[np.bool_]:
    """Whether a row differs from the one before it; true for the first."""
    differs = np.zeros(len(keys_S[0]), bool)
    differs[0] = True
    for key_S in keys_S:
        differs[1:] |= np.diff(key_S) != 0
    return differs


def _of_problems(
    frame: pd.DataFrame, column: str, problem_S: IntArray, problems: Sequence[str]
) -> tuple[str, ...]:
    """What a column says of each problem, which must be one thing."""
    codes, names = _codes(pd.Series(frame[column]))
    first_P = np.zeros(len(problems), np.int64)
    first_P[problem_S] = codes
    if (differs := first_P[problem_S] != codes).any():
        raise ValueError(f"problem {problems[problem_S[differs][0]]} has two {column}s")
    return tuple(names[code] for code in first_P)


def _check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"the table lacks the columns {', '.join(missing)}")
    if frame.empty:
        raise ValueError("the table is empty; run the experiment first")
    for column in columns:
        if frame[column].isna().to_numpy().any():
            raise ValueError(f"the table has missing values in {column}")


def _check_models(drawn: set[str], models: Sequence[ModelFacts]) -> dict[str, ModelFacts]:
    facts = {model.name: model for model in models}
    if len(facts) != len(models):
        raise ValueError("two models have the same name; give each its own")
    if drawn - set(facts):
        unknown = _names(drawn - set(facts))
        raise ValueError(f"no facts for the models {unknown}; the cost of their samples is unknown")
    if set(facts) - drawn:
        absent = _names(set(facts) - drawn)
        raise ValueError(f"no samples of the models {absent}; finish the run or leave them out")
    return facts


def _names(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
