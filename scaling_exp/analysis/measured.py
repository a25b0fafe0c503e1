"""What was measured: a table with a row per sample, or counts per problem, or points per model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from scaling_exp.analysis.attempts import Attempts, fold, fold_counts
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.types import ModelFacts


@dataclass(frozen=True)
class Measured:
    """One of the tables holds rows, the others are empty. `adaptive` names the strategies that decide themselves how
    much to draw. Columns: `attempts.SAMPLE_COLUMNS`, `attempts.COUNT_COLUMNS`, `points.POINT_COLUMNS`."""

    models: Sequence[ModelFacts]
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)
    points: pd.DataFrame = field(default_factory=pd.DataFrame)
    adaptive: Collection[str] = ()
    scorer: ModelFacts | None = None
    forests: pd.DataFrame | None = None
    """What whole forests took, where samples do not tell it (`forests.forest_costs`)."""
    most_samples: Mapping[str, int] = field(default_factory=dict)
    """By strategy, how many of the samples that continue a prompt it may ask for, where that is known. Strategies draw
    sample i of a problem from one stream of random numbers, so these are what they may have in common."""
    seconds_per_output_token: Mapping[str, float] = field(default_factory=dict)
    """Accelerator seconds by model, where they were measured."""

    @property
    def has_points(self) -> bool:
        """Whether there are points only, of which no problem is known."""
        return not self.points.empty

    def attempts(self, pricing: Pricing, confidence_window: int) -> list[Attempts]:
        """What every model drew under every strategy. Raises ValueError for an incomplete table."""
        if not self.counts.empty:
            return fold_counts(self.counts, self.models, pricing)
        seconds = self.seconds_per_output_token
        return fold(
            self.samples,
            self.models,
            pricing,
            self.adaptive,
            seconds,
            self.scorer,
            self.forests,
            confidence_window,
        )
