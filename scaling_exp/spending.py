"""What a run spends as it draws, and the limits that stop it.

FLOPs are those of the draws that came back (analysis/cost.py), with what the prefix cache saved left out; dollars those
of the seconds for which accelerators are held, or of a hosted model's tokens as its server counted them. Both are sums
over all sessions of a run. What was in flight when a run was stopped is not among them, and may be billed.

Axes: S draws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.analysis.estimators import IntArray
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.schema import validate
from scaling_exp.store import DRAWS
from scaling_exp.types import ModelFacts, UserError

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
WALL = re.compile(r"(\d+(?:\.\d+)?h)?(\d+(?:\.\d+)?m)?(\d+(?:\.\d+)?s)?")


@dataclass(frozen=True)
class Spent:
    """Sums over all sessions of a run. None: no price is known, or not the size of a model."""

    wall_seconds: float = 0.0
    """In which it drew, engines starting included."""
    accelerator_seconds: float = 0.0
    """Of engines that were loaded or loading a model, times the accelerators of each."""
    flops: float | None = 0.0
    dollars: float | None = 0.0
    num_draws: int = 0
    num_output_tokens: int = 0

    def __str__(self) -> str:
        parts = [duration(self.wall_seconds), f"{self.num_output_tokens:,} output tokens"]
        parts += [] if self.flops is None else [f"{self.flops:.3g} FLOPs"]
        parts += [] if self.dollars is None else [dollars(self.dollars)]
        return ", ".join(parts)


@dataclass(frozen=True)
class Limits:
    """What all sessions of a run together may take; None: no limit."""

    dollars: float | None = None
    flops: float | None = None
    wall: str | None = None
    """Of drawing, such as 2h30m, 45m or 90s."""

    def __post_init__(self) -> None:
        for name in ("dollars", "flops"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"limits.{name} is {value}; it must be more than 0, or null")
        if self.wall is not None and (not self.wall or not WALL.fullmatch(self.wall)):
            raise ValueError(
                f"limits.wall is {self.wall!r}; give hours, minutes and seconds such as 2h30m, 45m or 90s"
            )

    @property
    def wall_seconds(self) -> float | None:
        if self.wall is None:
            return None
        parts = re.findall(r"([\d.]+)([hms])", self.wall)
        return sum(float(number) * UNITS[unit] for number, unit in parts)

    def reached(self, spent: Spent) -> str:
        """The key of a limit that is reached; empty when none is."""
        for name, limit, so_far in (
            ("dollars", self.dollars, spent.dollars),
            ("flops", self.flops, spent.flops),
            ("wall", self.wall_seconds, spent.wall_seconds),
        ):
            if limit is not None and so_far is not None and so_far >= limit:
                return f"limits.{name}"
        return ""

    def told(self, key: str) -> str:
        """The limit of a key such as limits.flops, as it is given."""
        value = getattr(self, key.removeprefix("limits."))
        return value if isinstance(value, str) else f"{value:g}"

    def check(self, models: Sequence[ModelFacts], pricing: Pricing) -> None:
        """Raise UserError when a limit could never be told to be reached: without a price, or a model's size."""
        for facts in models:
            if self.dollars is not None and not _is_priced(facts, pricing):
                raise UserError(
                    f"limits.dollars is {self.dollars:g}, and nothing says what {facts.name} costs: set"
                    " analysis.pricing.rent (a name of rents.csv), analysis.pricing.dollars_per_hour, or for a hosted"
                    " model analysis.pricing.tariffs or listed_tariffs"
                )
            if self.flops is not None and math.isnan(facts.architecture.num_active_parameters):
                raise UserError(
                    f"limits.flops is {self.flops:g}, and the size of {facts.name} is not known: use limits.dollars"
                    " or limits.wall"
                )


def limits_from(node: Mapping[str, Any]) -> Limits:
    """The limits of a configuration, where a number of seconds is told that it wants a unit. Raises ConfigError."""
    wall = node.get("wall")
    return validate(Limits, {**node, "wall": wall if wall is None else str(wall)}, "limits")


class LimitReached(Exception):
    """A run stopped at a limit; what came back is kept. `key` is the limit's."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(eq=False)
class Spending:
    """Adds up what one session spends, on top of what earlier ones did. What it says is as of the last `spent`."""

    models: Mapping[str, ModelFacts]
    """All that draws are made of, a scorer among them."""
    pricing: Pricing
    accelerators_per_replica: int
    before: Spent = field(default_factory=Spent)
    flops: dict[str, float] = field(default_factory=dict)
    """By model, of this session."""
    billed: dict[str, float] = field(default_factory=dict)
    """Dollars by hosted model, of this session."""
    num_draws: int = 0
    num_output_tokens: int = 0
    _waiting: list[bytes] = field(default_factory=list)

    @property
    def earlier(self) -> Spent:
        """What earlier sessions spent; where they knew no price, accelerators at that of today."""
        before = self.before
        if before.dollars is not None:
            return before
        if any(self._is_billed(name) for name in self.models):
            return before if before.num_draws else replace(before, dollars=0.0)
        rate = self.pricing.dollars_per_second
        return (
            before if rate is None else replace(before, dollars=rate * before.accelerator_seconds)
        )

    def check(self, limits: Limits) -> None:
        """Raise UserError when what earlier sessions spent counts toward a limit and is not known."""
        if limits.dollars is not None and self.earlier.dollars is None:
            raise UserError(
                f"limits.dollars is {limits.dollars:g}, and what earlier sessions spent is not known, for there was no"
                " tariff: use limits.flops or limits.wall, or move the run's state.json away to count from now on"
            )

    def add(self, draws: bytes) -> None:
        """Take in one encoded batch, to be counted at the next look: many at once cost little more than one."""
        self._waiting.append(draws)

    def _count(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        counted = pa.Table.from_batches([_counted(each) for each in waiting])
        # Verdicts of a grader are among the draws, and are no model's.
        for name in self.models.keys() & counted["model"].unique().to_pylist():
            is_mine_S = pc.call_function("equal", [counted["model"], pa.scalar(name)])
            self._add(self.models[name], _Counted.of(counted.filter(is_mine_S)))

    def _add(self, facts: ModelFacts, mine: _Counted) -> None:
        shape, name = facts.architecture, facts.name
        read = prefill_flops(shape, mine.prompt_S, mine.cached_S)
        written = decode_flops(shape, mine.prompt_S, mine.output_S)
        self.flops[name] = self.flops.get(name, 0.0) + float(np.sum(read + written))
        self.num_draws += len(mine.prompt_S)
        self.num_output_tokens += int(mine.output_S.sum())
        if (tariff := self.pricing.tariff(name, facts.hosted_as)) is not None:
            cached = int(mine.cached_S.sum())
            paid = tariff.dollars(
                input=int(mine.prompt_S.sum()) - cached,
                cached_input=cached,
                output=int(mine.output_S.sum()),
            )
            self.billed[name] = self.billed.get(name, 0.0) + paid

    def flops_of(self, model: str) -> float | None:
        """Of this session; None for a model of unknown size."""
        spent = self.flops.get(model, 0.0)
        return None if math.isnan(spent) else spent

    def dollars_of(self, model: str, held_seconds: float) -> float | None:
        """Of this session, for a model that replicas held for so long, all together."""
        if self._is_billed(model):
            return self.billed.get(model, 0.0)
        rate = self.pricing.dollars_per_second
        return None if rate is None else rate * self.accelerators_per_replica * held_seconds

    def _is_billed(self, model: str) -> bool:
        """Whether it is paid by the token."""
        return self.pricing.tariff(model, self.models[model].hosted_as) is not None

    def spent(self, wall_seconds: float, held_seconds: Mapping[str, float]) -> Spent:
        """By now, `wall_seconds` after this session began to draw; `held_seconds` by model, over all replicas."""
        self._count()
        paid = [self.dollars_of(name, held_seconds.get(name, 0.0)) for name in self.models]
        before = self.earlier
        return Spent(
            wall_seconds=before.wall_seconds + wall_seconds,
            accelerator_seconds=before.accelerator_seconds
            + self.accelerators_per_replica * sum(held_seconds.values()),
            flops=_sum([before.flops, *(self.flops_of(name) for name in self.models)]),
            dollars=_sum([before.dollars, *paid]),
            num_draws=before.num_draws + self.num_draws,
            num_output_tokens=before.num_output_tokens + self.num_output_tokens,
        )


@dataclass(frozen=True)
class _Counted:
    """Tokens of the draws of one model."""

    prompt_S: IntArray
    cached_S: IntArray
    output_S: IntArray

    @classmethod
    def of(cls, counted: pa.Table) -> _Counted:
        prompt_S, cached_S, output_S = (
            counted[name].to_numpy().astype(np.int64) for name in ("prompt", "cached", "output")
        )
        return cls(prompt_S, np.minimum(cached_S, prompt_S), output_S)


def _counted(draws: bytes) -> pa.RecordBatch:
    """Of encoded draws the model and how many tokens; the tokens themselves are not touched."""
    batch = pa.ipc.read_record_batch(pa.py_buffer(draws), DRAWS)
    columns = {
        "model": batch.column("model"),
        "prompt": _lengths(batch, "prefix", "num_billed_prompt_tokens"),
        "cached": batch.column("num_cached_tokens"),
        "output": _lengths(batch, "tokens", "num_billed_output_tokens"),
    }
    return pa.RecordBatch.from_pydict(columns)


def _lengths(batch: pa.RecordBatch, tokens: str, billed: str) -> pa.Array:
    """Tokens of each draw, as its server counted them where one did."""
    here = pa.array(np.diff(batch.column(tokens).offsets.to_numpy()), pa.int32())
    counts = batch.column(billed)
    if counts.null_count == len(counts):
        return here
    return pc.call_function("coalesce", [counts, here])


def _is_priced(facts: ModelFacts, pricing: Pricing) -> bool:
    has_tariff = pricing.tariff(facts.name, facts.hosted_as) is not None
    return has_tariff or pricing.dollars_per_second is not None


def _sum(parts: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [each for each in parts if each is not None]
    return sum(known) if len(known) == len(parts) else None


def duration(seconds: float) -> str:
    """Such as 2h05m, 3m20s or 42s."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{left:02}s" if minutes else f"{left}s"


def dollars(amount: float) -> str:
    """In cents, or in three digits where it is less than one."""
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.2g}"
