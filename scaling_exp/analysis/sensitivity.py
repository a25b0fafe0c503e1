"""Sensitivity: what a match would look like if one assumption behind it were another, and whether the choice flips.

It changes one assumption at a time and draws nothing again: what a longer prompt or another baseline would do to the
accuracies themselves is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.analysis.estimators import FloatArray
from scaling_exp.analysis.intervals import Resamples
from scaling_exp.analysis.tradeoff import Curve, Match, match, match_target
from scaling_exp.types import ModelFacts

LONGER = 10
"""How much longer prompts and answers are taken to be."""
DEARER = 2
"""How much more than 6ND the smaller model's pre-training may have taken."""


@dataclass(frozen=True)
class Scenario:
    """One assumption changed, and the match under it. `flips_at` are the priced lifetimes (numbers of queries) at which
    the cheaper model is another one than in the base case."""

    assumption: str
    change: str
    match: Match
    flips_at: tuple[float, ...]


def scenarios(
    smaller: Curve,
    larger: Curve,
    greedy_R: FloatArray | None,
    queries: Sequence[float],
    resamples: Resamples,
) -> list[Scenario]:
    """The base case is the match at one sample of the larger model; `greedy_R` is the accuracy of its greedy answer.
    Nothing where the compute of inference is not known."""
    base = match(smaller, larger, resamples)
    if np.isnan(base.inference_ratio.low):
        return []
    return [
        Scenario(assumption, change, changed, _flips(base, changed, queries))
        for assumption, change, changed in _changes(smaller, larger, greedy_R, resamples)
    ]


def _changes(
    smaller: Curve, larger: Curve, greedy_R: FloatArray | None, resamples: Resamples
) -> Iterator[tuple[str, str, Match]]:
    if greedy_R is not None:
        yield (
            "the larger model's answer is one sample",
            "the larger model's answer is greedy, at the same cost",
            match_target(smaller, larger, greedy_R, resamples),
        )
    yield (
        "picking an answer costs nothing",
        "a verifier of the smaller model's size reads every sample",
        match(_verified(smaller), larger, resamples),
    )
    for assumption, prompt_factor, output_factor in (
        ("prompts", LONGER, 1),
        ("answers", 1, LONGER),
    ):
        small, large = (_longer(curve, prompt_factor, output_factor) for curve in (smaller, larger))
        changed = match(small, large, resamples)
        yield f"{assumption} are this long", f"{assumption} are {LONGER} times as long", changed
    yield (
        "N is the total number of parameters",
        "N leaves embeddings out, in pre-training",
        match(_without_embeddings(smaller), _without_embeddings(larger), resamples),
    )
    yield (
        "the smaller model's pre-training took 6ND",
        f"it took {DEARER} times that: pruned, distilled, or searched for",
        match(replace(smaller, facts=_dearer(smaller.facts)), larger, resamples),
    )


def _verified(curve: Curve) -> Curve:
    """Each sample is read once more, as a prompt of its own, by a model of the same size."""
    tokens = curve.prompt_tokens + curve.output_tokens
    return replace(curve, sample_R=curve.sample_R + prefill_flops(curve.facts.architecture, tokens))


def _longer(curve: Curve, prompt_factor: float, output_factor: float) -> Curve:
    """Costs as on a mean prompt and a mean answer that are so many times longer."""
    shape, prompt, output = curve.facts.architecture, curve.prompt_tokens, curve.output_tokens
    read, written = prefill_flops(shape, prompt), decode_flops(shape, prompt, output)
    longer = decode_flops(shape, prompt * prompt_factor, output * output_factor)
    return replace(
        curve,
        prefill_R=curve.prefill_R * _ratio(prefill_flops(shape, prompt * prompt_factor), read),
        sample_R=curve.sample_R * _ratio(longer, written),
        prompt_tokens=prompt * prompt_factor,
        output_tokens=output * output_factor,
    )


def _ratio(longer: FloatArray, now: FloatArray) -> float:
    """1 where there is nothing to be longer, such as a prompt that nobody counted."""
    return float(longer / now) if now > 0 else 1.0


def _without_embeddings(curve: Curve) -> Curve:
    shape = curve.facts.architecture
    counted = replace(shape, num_parameters=shape.num_non_embedding_parameters)
    return replace(curve, facts=replace(curve.facts, architecture=counted))


def _dearer(facts: ModelFacts) -> ModelFacts:
    return replace(facts, pretraining_tokens=DEARER * facts.pretraining_tokens)


def _flips(base: Match, changed: Match, queries: Sequence[float]) -> tuple[float, ...]:
    """Lifetimes at which one of the two says that the smaller is cheaper, and the other does not."""
    if np.isnan(base.crossover_queries.low) or np.isnan(changed.crossover_queries.low):
        return ()
    before, after = float(base.crossover_R[0]), float(changed.crossover_R[0])
    return tuple(number for number in queries if (before > number) != (after > number))
