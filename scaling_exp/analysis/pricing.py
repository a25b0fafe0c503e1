"""Prices: what an accelerator does in a second, and what its hours or a hosted model's tokens cost.

Peaks, rents and tariffs are lists beside this file. A row names the vendor's page, the public copy or transcription in
which it was read, and the date of that; peaks are dense. It knows no model's shapes: what a query needs is for cost.py.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

BYTES_PER_NUMBER: Mapping[str, float] = {"bfloat16": 2.0, "float8": 1.0, "float4": 0.5}
SECONDS_PER_HOUR = 3600.0
TOKENS_PER_PRICE = 1e6

Dtype = Literal["bfloat16", "float8", "float4"]


@dataclass(frozen=True)
class Accelerator:
    """Peak of dense arithmetic in one dtype, FLOP/s, and of memory, bytes/s."""

    peak_flops: float
    bandwidth: float

    @property
    def intensity(self) -> float:
        """I, FLOPs a byte: what can be computed while one byte is read."""
        return self.peak_flops / self.bandwidth


@dataclass(frozen=True)
class Tariff:
    """Dollars per million tokens of a hosted model; None where a cached prompt is no cheaper."""

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        if min(self.input, self.output, self.cached_input or 0.0) < 0:
            raise ValueError(f"a tariff is {self}; a price must be 0 or more")

    def dollars(self, *, input: float = 0, cached_input: float = 0, output: float = 0) -> float:  # noqa: A002
        """What so many tokens cost."""
        cached = self.input if self.cached_input is None else self.cached_input
        paid = input * self.input + cached_input * cached + output * self.output
        return paid / TOKENS_PER_PRICE


@dataclass(frozen=True)
class Pricing:
    """On what queries run and what is paid: the configuration's `analysis.pricing`.

    A model named in `tariffs` or `listed_tariffs` is paid by the token, and so is a hosted one that tariffs.csv has;
    any other by the hour of its accelerators, where `dollars_per_hour` or `rent` says what one costs.
    """

    accelerator: str | None = None
    """A name of accelerators.csv; without one neither effective FLOPs nor roofline seconds are known."""
    dtype: Dtype = "bfloat16"
    """Of plain weights and their arithmetic, and of all keys and values; quantised weights have their own."""
    batch_size: int = 32
    """Sequences that run together: they share every reading of the weights, in prefill as in decode."""
    hours: Literal["roofline", "measured"] = "roofline"
    """Which seconds are paid for: the least that the accelerator needs, or those that the run took."""
    dollars_per_hour: float | None = None
    """Of one accelerator."""
    rent: str | None = None
    """A name of rents.csv, instead of `dollars_per_hour`."""
    tariffs: Mapping[str, Tariff] = field(default_factory=dict)
    """Prices of hosted models, by the models' names in the run."""
    listed_tariffs: Mapping[str, str] = field(default_factory=dict)
    """The same as names of tariffs.csv."""
    prompt_is_billed_once: bool = False
    """One request draws all samples of a hosted model; else each is a request, after the first at the cached price."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(
                f"analysis.pricing.batch_size is {self.batch_size}; it must be at least 1"
            )
        if self.dollars_per_hour is not None and self.rent is not None:
            raise ValueError("analysis.pricing has dollars_per_hour and rent; give one of them")
        if self.dollars_per_hour is not None and self.dollars_per_hour < 0:
            raise ValueError(
                f"analysis.pricing.dollars_per_hour is {self.dollars_per_hour}; it must be 0 or more"
            )
        if twice := sorted(set(self.tariffs) & set(self.listed_tariffs)):
            raise ValueError(f"analysis.pricing has two tariffs for {', '.join(twice)}; give one")
        self._check_names()

    def _check_names(self) -> None:
        if self.rent is not None:
            rented = _row("rents", "analysis.pricing.rent", self.rent)["accelerator"]
            if self.accelerator is not None and self.accelerator != rented:
                raise ValueError(
                    f"analysis.pricing.rent is of a {rented} and analysis.pricing.accelerator is"
                    f" {self.accelerator}; name the same"
                )
        for model, name in self.listed_tariffs.items():
            _row("tariffs", f"analysis.pricing.listed_tariffs.{model}", name)
        if (name := self._accelerator_name) is not None:
            accelerator(name, self.dtype)  # raises for one that is not listed or lacks the dtype

    @property
    def bytes_per_number(self) -> float:
        return BYTES_PER_NUMBER[self.dtype]

    @property
    def _accelerator_name(self) -> str | None:
        if self.accelerator is not None or self.rent is None:
            return self.accelerator
        return _row("rents", "analysis.pricing.rent", self.rent)["accelerator"]

    def roofline(self, arithmetic: Dtype) -> Accelerator | None:
        """The accelerator named, or the one that is rented, in that arithmetic; None where neither is.

        One that lacks it unpacks weights of that dtype and multiplies them in bfloat16, as vLLM does.
        """
        name = self._accelerator_name
        if name is None:
            return None
        return accelerator(name, arithmetic if _computes_in(name, arithmetic) else "bfloat16")

    @property
    def dollars_per_second(self) -> float | None:
        """Of one accelerator; None where no price is given."""
        hourly = self.dollars_per_hour
        if self.rent is not None:
            hourly = float(_row("rents", "analysis.pricing.rent", self.rent)["dollars_per_hour"])
        return None if hourly is None else hourly / SECONDS_PER_HOUR

    def tariff(self, model: str, hosted_as: str = "") -> Tariff | None:
        """The price of a model's tokens; None where it is not paid by the token, or the price is not known.

        Without one of its own a hosted model has that of its name (`provider/model`) in tariffs.csv.
        """
        if model in self.tariffs:
            return self.tariffs[model]
        listed = self.listed_tariffs.get(
            model, hosted_as if hosted_as in price_list("tariffs") else ""
        )
        return tariff(listed) if listed else None


def accelerator(name: str, dtype: Dtype) -> Accelerator:
    """An accelerator of accelerators.csv.

    Raises ValueError when there is none of that name, or it has no arithmetic in that dtype.
    """
    row = _row("accelerators", "analysis.pricing.accelerator", name)
    if not _computes_in(name, dtype):
        raise ValueError(
            f"analysis.pricing.dtype is {dtype}, in which {name} does not compute; use bfloat16"
        )
    return Accelerator(
        float(row[f"{dtype}_teraflops"]) * 1e12, float(row["gigabytes_per_second"]) * 1e9
    )


def _computes_in(name: str, dtype: Dtype) -> bool:
    return bool(_row("accelerators", "analysis.pricing.accelerator", name)[f"{dtype}_teraflops"])


def tariff(name: str) -> Tariff:
    """A tariff of tariffs.csv. Raises ValueError when there is none of that name."""
    row = _row("tariffs", "tariff", name)
    cached = float(row["cached_input"]) if row["cached_input"] else None
    return Tariff(float(row["input"]), float(row["output"]), cached)


@cache
def price_list(name: Literal["accelerators", "rents", "tariffs"]) -> Mapping[str, dict[str, str]]:
    """A list beside this file, by the names in its first column: its rows as they are written."""
    with open(Path(__file__).with_name(f"{name}.csv"), newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def _row(
    name: Literal["accelerators", "rents", "tariffs"], key: str, wanted: str
) -> dict[str, str]:
    rows = price_list(name)
    if wanted not in rows:
        raise ValueError(f"{key} is {wanted}; {name}.csv has {', '.join(rows)}")
    return rows[wanted]
