"""What a run exposes to Prometheus: on the metrics port of Ray, beside Ray's own and vLLM's, as `ray_scaling_exp_*`.

Read in the driver, every few seconds, from what the display knows anyway: no engine and no request knows of it.
Counters are those of a session. `cluster/grafana-dashboard.json` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ray.util.metrics import Counter, Gauge

from scaling_exp.dispatch import Fault
from scaling_exp.display import Display, Tally
from scaling_exp.spending import Spending

PERIOD_SECONDS = 2.0
PREFIX = "scaling_exp_"

Count = Callable[[Tally], float]


def _of_engines(name: str) -> Count:
    return lambda tally: sum(getattr(each.report.counters, name) for each in tally.shifts)


COUNTERS: Mapping[str, tuple[str, Count]] = {
    "draws": ("samples that came back", lambda tally: tally.num_draws),
    "output_tokens": ("tokens of these samples", lambda tally: tally.num_output_tokens),
    "problems": ("problems that are finished", lambda tally: tally.num_problems_finished),
    "refused": ("jobs that an engine refused", lambda tally: tally.num_refused),
    "requests": ("requests that began in an engine", _of_engines("num_requests")),
    "queue_seconds": ("sum of their waits in the engine", _of_engines("queue_seconds")),
    "prompt_tokens": ("tokens of their prompts", _of_engines("prompt_tokens")),
    "cached_tokens": ("of these, from the prefix cache", _of_engines("cached_tokens")),
    "preemptions": ("requests that lost their KV cache", _of_engines("num_preemptions")),
    "slot_steps": ("slots in use, summed over steps", _of_engines("slot_steps")),
    "slots_offered": (
        "all slots, summed over steps",
        lambda tally: sum(
            each.report.counters.steps * each.report.counters.num_slots for each in tally.shifts
        ),
    ),
}
"""By model. Occupancy is the rate of slot_steps over that of slots_offered."""
GAUGES: Mapping[str, tuple[str, Count]] = {
    "in_flight": ("requests in the engines", lambda tally: tally.num_in_flight),
    "replicas": (
        "engines that hold the model",
        lambda tally: sum(each.ended is None for each in tally.shifts),
    ),
    "draws_expected": (
        "samples that the session draws at most",
        lambda tally: tally.num_draws_expected,
    ),
}
"""By model."""
FLOPS, FAULTS = "flops", "faults"
COUNTED = {
    **{name: ("model", description) for name, (description, _) in COUNTERS.items()},
    FLOPS: ("model", "FLOPs of the samples that came back, where the size of the model is known"),
    FAULTS: ("kind", "what went wrong and the run survived"),
}
"""Every counter: what tells its series apart, and what it counts."""


def _counters() -> dict[str, Counter]:
    return {
        name: Counter(f"{PREFIX}{name}", description, ("run", tag))
        for name, (tag, description) in COUNTED.items()
    }


def _gauges() -> dict[str, Gauge]:
    return {
        name: Gauge(f"{PREFIX}{name}", description, ("run", "model"))
        for name, (description, _) in GAUGES.items()
    }


@dataclass(eq=False)
class Exposed:
    """The metrics of one session of the run `run_id`; to be made when Ray is connected."""

    run_id: str
    display: Display
    spending: Spending
    _counters: Mapping[str, Counter] = field(default_factory=_counters)
    _gauges: Mapping[str, Gauge] = field(default_factory=_gauges)
    _sums: dict[tuple[str, str], float] = field(default_factory=dict)
    """What Ray was told of each counter."""
    _next: float = 0.0

    def look(self) -> None:
        """Tell what is so now, if it is time."""
        if self.display.seconds >= self._next:
            self._next = self.display.seconds + PERIOD_SECONDS
            self.tell()

    def tell(self) -> None:
        """Tell what is so now."""
        for model, tally in self.display.tallies.items():
            for name, (_, read) in COUNTERS.items():
                self._bring(name, model, read(tally))
            for name, (_, read) in GAUGES.items():
                self._gauges[name].set(read(tally), {"run": self.run_id, "model": model})
            self._bring(FLOPS, model, self.spending.flops_of(model) or 0.0)

    def note(self, fault: Fault) -> None:
        """Something went wrong that the run survives."""
        self._bring(FAULTS, fault.kind, self._sums.get((FAULTS, fault.kind), 0.0) + 1)

    def _bring(self, name: str, value: str, total: float) -> None:
        """A counter to its total: Ray takes what it grows by, and no zero."""
        grown = total - self._sums.get((name, value), 0.0)
        if grown > 0:
            self._sums[name, value] = total
            self._counters[name].inc(grown, {"run": self.run_id, COUNTED[name][0]: value})
