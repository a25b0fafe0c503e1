"""A study: everything that was measured, as laws and questions look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scaling_exp.analysis.attempts import Attempts
from scaling_exp.analysis.intervals import Resamples
from scaling_exp.types import ModelFacts


@dataclass(frozen=True)
class Study:
    """`attempts` hold counts per problem, and are empty where only points were imported; `curves` is the tidy table of
    `curve_table`, which every kind of data has. Models are in order of pre-training compute."""

    models: Sequence[ModelFacts]
    attempts: Sequence[Attempts]
    curves: pd.DataFrame
    resamples: Resamples
    seed: int
