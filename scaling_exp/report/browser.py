"""Which samples the page carries, and their compact form: a seeded choice of problems, every model,
bounded in bytes.

Votes are counted over all samples of a problem; only the texts are thinned when they would not fit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

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
    problems dropped. Only what cannot be less, one problem with one text per draw, may exceed it.
    """
    num_problems = min(MAX_PROBLEMS, len(problems))
    complete = _browsed(samples, problems, models, choose_problems(problems, num_problems, seed))
    while True:
        chosen = choose_problems(problems, num_problems, seed)
        kept = [complete[name] for name in chosen]
        for num_texts in TEXTS_PER_DRAW:
            embedded = _embed(kept, num_texts, len(problems), len(samples))
            is_least = num_problems <= 1 and num_texts == TEXTS_PER_DRAW[-1]
            if is_least or len(json.dumps(embedded, default=vars)) <= MAX_BYTES:
                return embedded
        num_problems //= 2


def _embed(
    complete: list[BrowsedProblem], num_texts: int, num_problems: int, num_samples: int
) -> Embedded:
    """Keep the first `num_texts` samples of every draw and replace their texts by indices."""
    texts: dict[object, int] = {}

    def thinned(draw: BrowsedDraw) -> BrowsedDraw:
        kept = draw.samples[:num_texts]
        return replace(
            draw, samples=[[*facts, texts.setdefault(text, len(texts))] for *facts, text in kept]
        )

    shown = [replace(one, draws=[thinned(draw) for draw in one.draws]) for one in complete]
    return Embedded(
        problems=shown,
        texts=[str(text) for text in texts],
        num_problems=num_problems,
        num_samples=num_samples,
        num_samples_shown=sum(len(draw.samples) for one in shown for draw in one.draws),
    )


def _browsed(
    samples: pd.DataFrame, problems: pd.DataFrame, models: list[str], chosen: list[str]
) -> dict[str, BrowsedProblem]:
    """The chosen problems by name with all their samples, the texts still in place."""
    facts = {str(fact["problem"]): fact for fact in problems.to_dict("records")}
    draws: dict[str, list[BrowsedDraw]] = {name: [] for name in chosen}
    rows = samples.loc[samples["problem"].isin(chosen)].sort_values("sample", kind="stable")
    for _, group in rows.groupby(["model", "strategy", "problem"]):
        records = [{str(k): v for k, v in row.items()} for row in group.to_dict("records")]
        draws[str(records[0]["problem"])].append(_draw(models, records))
    return {
        name: BrowsedProblem(
            name=name,
            level=str(facts[name]["level"]),
            prompt=str(facts[name]["prompt"]),
            answer=str(facts[name]["answer"]),
            draws=sorted(draws[name], key=lambda draw: (draw.model, draw.strategy)),
        )
        for name in chosen
    }


def _draw(models: list[str], rows: Sequence[Mapping[str, object]]) -> BrowsedDraw:
    answers = [None if is_missing(row["answer"]) else str(row["answer"]) for row in rows]
    return BrowsedDraw(
        model=models.index(str(rows[0]["model"])),
        strategy=str(rows[0]["strategy"]),
        num_samples=len(rows),
        num_right=sum(bool(row["is_correct"]) for row in rows),
        num_truncated=sum(bool(row["truncated"]) for row in rows),
        votes=_votes(answers, {str(row["answer"]) for row in rows if row["is_correct"]}),
        samples=[
            [
                int(str(row["sample"])),
                answer,
                bool(row["is_correct"]),
                bool(row["truncated"]),
                int(str(row["num_output_tokens"])),
                _bounded(str(row["text"])),
            ]
            for answer, row in zip(answers, rows, strict=True)
        ],
    )


def _votes(answers: Sequence[str | None], right: Set[str]) -> list[list[object]]:
    """[answer or None, count, is_correct], most votes first, abstentions (unparsable) last."""
    counts = Counter(answer for answer in answers if answer is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    votes: list[list[object]] = [[answer, count, answer in right] for answer, count in ordered]
    num_unparsable = len(answers) - counts.total()
    return votes + ([[None, num_unparsable, False]] if num_unparsable else [])


def _bounded(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return text[:MAX_TEXT_CHARACTERS] + f"\n[cut here by the report: {len(text):,} characters]"
