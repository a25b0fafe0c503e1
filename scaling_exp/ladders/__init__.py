"""Ladders of models: trained here, families of open models and their checkpoints, or a user's own list.

The ladders that travel with the package lie in folders beside these modules.
"""

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Protocol

from scaling_exp.ladders.family import Family
from scaling_exp.ladders.hosted import Hosted, Service
from scaling_exp.ladders.listed import Listed, Weights
from scaling_exp.ladders.trained import Trained
from scaling_exp.models import Model


class Ladder(Protocol):
    """Models that an experiment compares."""

    def rungs(self) -> tuple[Model, ...]:
        """In the order of the configuration. Raises UserError for what is not known or not there."""
        ...


LADDERS: Mapping[str, type[Ladder]] = {
    "trained": Trained,
    "family": Family,
    "models": Listed,
    "hosted": Hosted,
}
SHIPPED = FilePath(__file__).parent

__all__ = [
    "LADDERS",
    "SHIPPED",
    "Family",
    "Hosted",
    "Ladder",
    "Listed",
    "Service",
    "Trained",
    "Weights",
]
