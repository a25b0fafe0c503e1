"""Which samples the page carries, and their compact form: a seeded choice of problems, every model,
bounded in bytes.

Votes are counted over all samples of a problem; only the texts are thinned when they would not fit.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from scaling_exp.report.wording import is_missing

MAX_PROBLEMS = 60
MAX_BYTES = 2_500_000
MAX_TEXT_CHARACTERS = 20_000
TEXTS_PER_DRAW = (10**9, 64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class BrowsedDraw:
    """What one model drew for one problem under one strategy.

    `votes` holds [answer or None, count, is_correct]; `samples` holds [index, answer or None,
    is_correct, truncated, output tokens, index into the texts], possibly fewer than `num_samples`.
    """

    model: int
    strategy: str
    num_samples: int
    num_right: int
    num_truncated: int
    votes: list[list[object]]
    samples: list[list[object]]


@dataclass(frozen=True)
class BrowsedProblem:
    """One problem with everything drawn for it, smallest model first."""

    name: str
    level: str
    prompt: str
    answer: str
    draws: list[BrowsedDraw]


@dataclass(frozen=True)
class Embedded:
    """What the page carries, and of how much: texts are shared between draws by index."""

    problems: list[BrowsedProblem]
    texts: list[str]
    num_problems: int
    num_samples: int
    num_samples_shown: int


def choose_problems(problems: pd.DataFrame, num_problems: int, seed: int) -> list[str]:
    """Names of at most `num_problems` problems, spread evenly over the levels, the same for the
    same seed."""
    shuffled = problems.sort_values("problem").sample(
        frac=1.0, random_state=np.random.default_rng(seed)
    )
    shuffled = shuffled.assign(turn=shuffled.groupby("level").cumcount())
    chosen = shuffled.sort_values(["turn", "level"], kind="stable").head(num_problems)
    return list(chosen.sort_values(["level", "problem"])["problem"])


def embedded_samples(
    samples: pd.DataFrame, problems: pd.DataFrame, models: list[str], seed: int = 0
) -> Embedded:
    """The browser's data, at most `MAX_BYTES` of JSON: texts per draw are thinned first, then
    problems dropped."""
    num_problems = min(MAX_PROBLEMS, len(problems))
    while True:
        chosen = choose_problems(problems, num_problems, seed)
        for num_texts in TEXTS_PER_DRAW:
            embedded = _embed(samples, problems, models, chosen, num_texts)
            is_least = num_problems <= 1 and num_texts == TEXTS_PER_DRAW[-1]
            if is_least or len(json.dumps(asdict(embedded))) <= MAX_BYTES:
                return embedded
        num_problems //= 2


def _embed(
    samples: pd.DataFrame,
    problems: pd.DataFrame,
    models: list[str],
    chosen: list[str],
    num_texts: int,
) -> Embedded:
    texts: dict[str, int] = {}
    facts = {str(fact["problem"]): fact for fact in problems.to_dict("records")}
    rows = samples.loc[samples["problem"].isin(chosen)]
    by_problem = {str(name): group for name, group in rows.groupby("problem")}
    shown = [
        BrowsedProblem(
            name=name,
            level=str(facts[name]["level"]),
            prompt=str(facts[name]["prompt"]),
            answer=str(facts[name]["answer"]),
            draws=_draws(by_problem.get(name, rows.head(0)), models, num_texts, texts),
        )
        for name in chosen
    ]
    return Embedded(
        problems=shown,
        texts=list(texts),
        num_problems=len(problems),
        num_samples=len(samples),
        num_samples_shown=sum(len(draw.samples) for one in shown for draw in one.draws),
    )


def _draws(
    rows: pd.DataFrame, models: list[str], num_texts: int, texts: dict[str, int]
) -> list[BrowsedDraw]:
    draws = [
        _draw(models.index(str(group["model"].iloc[0])), group, num_texts, texts)
        for _, group in rows.groupby(["model", "strategy"])
    ]
    return sorted(draws, key=lambda draw: (draw.model, draw.strategy))


def _draw(model: int, rows: pd.DataFrame, num_texts: int, texts: dict[str, int]) -> BrowsedDraw:
    rows = rows.sort_values("sample")
    return BrowsedDraw(
        model=model,
        strategy=str(rows["strategy"].iloc[0]),
        num_samples=len(rows),
        num_right=int(np.count_nonzero(rows["is_correct"])),
        num_truncated=int(np.count_nonzero(rows["truncated"])),
        votes=_votes(rows),
        samples=[
            [
                int(row["sample"]),
                None if is_missing(row["answer"]) else str(row["answer"]),
                bool(row["is_correct"]),
                bool(row["truncated"]),
                int(row["num_output_tokens"]),
                texts.setdefault(_bounded(str(row["text"])), len(texts)),
            ]
            for row in rows.head(num_texts).to_dict("records")
        ],
    )


def _votes(rows: pd.DataFrame) -> list[list[object]]:
    """[answer or None, count, is_correct], the most votes first, abstentions (unparsable) last."""
    pairs = list(zip(rows["answer"], rows["is_correct"], strict=True))
    counts = Counter(str(answer) for answer, _ in pairs if not is_missing(answer))
    right = {str(answer) for answer, is_correct in pairs if is_correct}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    votes: list[list[object]] = [[answer, count, answer in right] for answer, count in ordered]
    num_unparsable = len(rows) - counts.total()
    return votes + ([[None, num_unparsable, False]] if num_unparsable else [])


def _bounded(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return text[:MAX_TEXT_CHARACTERS] + f"\n[cut here by the report: {len(text):,} characters]"
