"""Prices: what an accelerator does in a second, and what its hours or a hosted model's tokens cost.

Peaks, rents and tariffs are lists beside this file. A row names the vendor's page, the public copy or transcription in
which it was read, and the date of that; peaks are dense. A tariff holds from its date to that of the next of its name.
It knows no model's shapes: what a query needs is for cost.py.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
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
    """Dollars per million tokens of a hosted model; `cached_input` None where a cached prompt is no cheaper."""

    input: float
    output: float
    cached_input: float | None = None
    name: str = ""
    """In a list: `provider/model`, with `:batch` for prices of a batch."""
    date: str = ""
    """On which it was read, 2026-05 or 2026-05-31; empty where nobody says."""

    def __post_init__(self) -> None:
        for price in (self.input, self.output, self.cached_input or 0.0):
            if not 0 <= price < inf:
                raise ValueError(f"a tariff has a price of {price}; it must be 0 or more")
        _check_date("a tariff's date", self.date)

    def __str__(self) -> str:
        """Such as `openai/gpt-4o of 2026-05`."""
        return f"{self.name or 'own price'}{f' of {self.date}' if self.date else ''}"

    def dollars(self, *, input: float = 0, cached_input: float = 0, output: float = 0) -> float:  # noqa: A002
        """What so many tokens cost."""
        cached = self.input if self.cached_input is None else self.cached_input
        paid = input * self.input + cached_input * cached + output * self.output
        return paid / TOKENS_PER_PRICE


@dataclass(frozen=True)
class Pricing:
    """On what queries run and what is paid: the configuration's `analysis.pricing`.

    A model named in `tariffs` or `listed_tariffs` is paid by the token, and so is a hosted one that is in `prices` or
    tariffs.csv; any other by the hour of its accelerators, where `dollars_per_hour` or `rent` says what one costs.
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
    """The same as names in `prices` or tariffs.csv."""
    prices: tuple[Tariff, ...] = ()
    """A list of one's own, oldest first: its names go before those of tariffs.csv."""
    date: str | None = None
    """On which prices of tokens are looked up; None: the latest there are."""
    prompt_is_billed_once: bool = False
    """One request draws all samples of a hosted model; else each is a request with the whole prompt."""

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
        _check_date("analysis.pricing.date", self.date or "")
        for model, name in self.listed_tariffs.items():
            self._check_listed(f"analysis.pricing.listed_tariffs.{model}", name)
        if (name := self._accelerator_name) is not None:
            accelerator(name, self.dtype)  # raises for one that is not listed or lacks the dtype

    def _check_listed(self, key: str, name: str) -> None:
        if not (every := self.every_tariff(name)):
            names = dict.fromkeys((*(each.name for each in self.prices), *listed_tariffs()))
            raise ValueError(f"{key} is {name}; tariffs.csv has {', '.join(names)}")
        if self.listed(name) is None:
            raise ValueError(
                f"{key} is {name}, of which no price on {self.date} is known: the first is of {every[0].date}; set"
                " analysis.pricing.date, or give a price in analysis.pricing.tariffs"
            )

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

        Without one of its own a hosted model has that of its name (`provider/model`) in a list.
        """
        if model in self.tariffs:
            return self.tariffs[model]
        return self.listed(self.listed_tariffs.get(model, hosted_as))

    def every_tariff(self, name: str) -> tuple[Tariff, ...]:
        """All of that name, oldest first."""
        own = tuple(each for each in self.prices if each.name == name)
        return own or listed_tariffs().get(name, ())

    def listed(self, name: str) -> Tariff | None:
        """That of a name on the date; None where the lists have none so old."""
        in_force = [
            each for each in self.every_tariff(name) if not self.date or each.date <= self.date
        ]
        return in_force[-1] if in_force else None


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


@cache
def listed_tariffs() -> Mapping[str, tuple[Tariff, ...]]:
    """Those of tariffs.csv by their names, oldest first."""
    found: dict[str, tuple[Tariff, ...]] = {}
    for each in read_tariffs(Path(__file__).with_name("tariffs.csv")):
        found[each.name] = (*found.get(each.name, ()), each)
    return found


def read_tariffs(file: Path) -> tuple[Tariff, ...]:
    """Those of a CSV file with columns name, input and output, and perhaps cached_input and date; oldest first.

    Raises ValueError for what cannot be read, with the line.
    """
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            if lacking := {"name", "input", "output"} - set(rows.fieldnames or ()):
                raise ValueError(
                    f"{file} has no column {min(lacking)}; it needs name, input and output (dollars per million"
                    " tokens), and may have cached_input and date"
                )
            found = [_tariff_of(row, f"{file}, line {rows.line_num}") for row in rows]
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    return tuple(sorted(found, key=lambda each: each.date))


def _tariff_of(row: Mapping[str, str | None], where: str) -> Tariff:
    cached = row.get("cached_input")
    try:
        return Tariff(
            float(row["input"] or ""),
            float(row["output"] or ""),
            float(cached) if cached else None,
            name=row["name"] or "",
            date=row.get("date") or "",
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_date(key: str, date: str) -> None:
    if date and not re.fullmatch(r"\d{4}(-[01]\d(-[0-3]\d)?)?", date):
        raise ValueError(f"{key} is {date}; it must be a date like 2026-05-31")


@cache
def price_list(name: Literal["accelerators", "rents"]) -> Mapping[str, dict[str, str]]:
    """A list beside this file, by the names in its first column: its rows as they are written."""
    with open(Path(__file__).with_name(f"{name}.csv"), newline="", encoding="utf-8") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def _row(name: Literal["accelerators", "rents"], key: str, wanted: str) -> dict[str, str]:
    rows = price_list(name)
    if wanted not in rows:
        raise ValueError(f"{key} is {wanted}; {name}.csv has {', '.join(rows)}")
    return rows[wanted]
