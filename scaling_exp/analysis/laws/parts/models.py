"""Which models a law of pre-training is fitted to, and which are kept from it to judge it.

Axes: M models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling_exp.analysis.estimators import BoolArray, FloatArray
from scaling_exp.analysis.laws.parts.findings import Findings
from scaling_exp.types import ModelFacts

MIN_MODELS = 4
MAX_GROUPS = 4
ALL_MODELS = "all models"


@dataclass(frozen=True)
class Sureness:
    """How intervals are made, and the share of the models that is held out: those of most compute."""

    confidence: float
    seed: int
    held_out_share: float

    def is_held_out(self, flops_M: FloatArray) -> BoolArray:
        """At least one compute, with all models that have it."""
        computes = np.unique(flops_M)
        num_held_out = max(1, round(self.held_out_share * len(computes)))
        return np.asarray(flops_M >= computes[-num_held_out])


def usable(models: Sequence[ModelFacts], findings: Findings) -> list[ModelFacts]:
    """Without those whose 6ND understates what they took, which are named."""
    left_out = [m.name for m in models if m.is_distilled]
    if left_out:
        named = ", ".join(left_out[:3]) + (" and others" if len(left_out) > 3 else "")
        findings.refuse(f"laws of pre-training leave out distilled or pruned models: {named}")
    return [m for m in models if not m.is_distilled]


def reading_once(models: Sequence[ModelFacts], findings: Findings) -> list[ModelFacts]:
    """Without runs that read their data again: a token read twice is not two tokens to a law of D."""
    repeated = [m for m in models if m.unique_tokens is not None]
    if repeated:
        findings.refuse(
            f"laws of N and D leave out {len(repeated)} models that read their data more than once"
        )
    return [m for m in models if m.unique_tokens is None]


def groups(models: Sequence[ModelFacts]) -> dict[str, list[ModelFacts]]:
    """All models together and, where there are several, the largest families of at least `MIN_MODELS`."""
    families: dict[str, list[ModelFacts]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    large = [(name, own) for name, own in families.items() if name and len(own) >= MIN_MODELS]
    large.sort(key=lambda item: -len(item[1]))
    together = {ALL_MODELS: list(models)}
    return together | (dict(large[:MAX_GROUPS]) if len(families) > 1 else {})


def largest_family(models: Sequence[ModelFacts]) -> tuple[str, list[ModelFacts]]:
    """Losses of two families do not compare: the one with most models, and its name."""
    families = [m.family for m in models]
    largest = max(families, key=families.count, default="")
    return largest or ALL_MODELS, [m for m in models if m.family == largest]


def flops_of(models: Sequence[ModelFacts]) -> FloatArray:
    """6ND of each."""
    return np.array([m.pretraining_flops for m in models], np.float64)


def losses_of(models: Sequence[ModelFacts]) -> FloatArray:
    """Pre-training losses; NaN where one is not known."""
    return np.array([np.nan if m.pretraining_loss is None else m.pretraining_loss for m in models])
