"""A study: everything that was measured, as laws and questions look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.intervals import Resamples
from scaling_exp.analysis.tradeoff import Curve
from scaling_exp.types import ModelFacts


@dataclass(frozen=True)
class Study:
    """`attempts` hold counts per problem, and are empty where only points were imported; `curves` is the tidy table of
    `curve_table`, which every kind of data has. `models` are those of known pre-training compute, in its order.
    `matching` holds, by selector, the finely spaced curve of every model under the strategy that the trade is read
    from."""

    models: Sequence[ModelFacts]
    attempts: Sequence[Attempts]
    curves: pd.DataFrame
    resamples: Resamples
    seed: int
    matching: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    unpriced: Sequence[ModelFacts] = ()
    """Models whose pre-training compute is not known: they have curves, and take part in no trade."""
    most_samples: Mapping[str, int] = field(default_factory=dict)
    """As in `Measured`."""

    def seed_of(self, facts: ModelFacts) -> int:
        """One for each model, so that what is drawn around its points is not what is drawn around another's."""
        return self.seed + [*self.models, *self.unpriced].index(facts)
