"""Prices: what an accelerator can do in a second, and what it or a hosted model's tokens cost.

It knows no model's shapes: what a query needs is for cost.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenPrice:
    """Dollars per million tokens of a hosted model."""

    input: float
    output: float
    cached_input: float


@dataclass(frozen=True)
class Pricing:
    """On what a query runs and what is paid for it: the configuration's `analysis.pricing`."""

    accelerator: str | None = None
    """A name of accelerators.csv; None leaves out effective FLOPs and roofline seconds."""
    dtype: str = "bfloat16"
    """Of weights, keys and values, and of the arithmetic."""
    batch_size: int = 32
    """Sequences that are decoded together, which share one reading of the weights."""
    dollars_per_accelerator_hour: float | None = None
    token_prices: Mapping[str, TokenPrice] = field(default_factory=dict)
    """Of models that are paid by the token, by their names in the run."""
