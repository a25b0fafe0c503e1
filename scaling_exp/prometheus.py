"""What a run exposes to Prometheus: on the metrics port of Ray, beside Ray's own and vLLM's, as `ray_scaling_exp_*`.

Read in the driver, every few seconds, from what the display knows anyway: no engine and no request knows of it.
Counters are those of a session. `cluster/grafana-dashboard.json` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ray.util.metrics import Counter, Gauge

from scaling_exp.dispatch import Fault
from scaling_exp.display import GENERATOR, SCORER, Display, Tally
from scaling_exp.engines import Counters
from scaling_exp.spending import Spending

PERIOD_SECONDS = 2.0
PREFIX = "scaling_exp_"

OF_DRAWS: Mapping[str, tuple[str, Callable[[Tally], float]]] = {
    "draws": ("samples that came back", lambda tally: tally.num_draws),
    "output_tokens": ("tokens of these samples", lambda tally: tally.num_output_tokens),
    "problems": ("problems that are finished", lambda tally: tally.num_problems_finished),
    "refused": ("jobs that an engine refused", lambda tally: tally.num_refused),
}
"""Counters by model."""
OF_ENGINES: Mapping[str, tuple[str, Callable[[Counters], float]]] = {
    "requests": ("requests that began in an engine", lambda engine: engine.num_requests),
    "queue_seconds": ("sum of their waits in the engine", lambda engine: engine.queue_seconds),
    "prompt_tokens": ("tokens of their prompts", lambda engine: engine.prompt_tokens),
    "cached_tokens": ("of these, from the prefix cache", lambda engine: engine.cached_tokens),
    "preemptions": ("requests that lost their KV cache", lambda engine: engine.num_preemptions),
    "slot_steps": ("slots in use, summed over steps", lambda engine: engine.slot_steps),
    "slots_offered": (
        "all slots, summed over steps",
        lambda engine: engine.steps * engine.num_slots,
    ),
}
"""Counters by model, the scorer's too. Occupancy is the rate of slot_steps over that of slots_offered."""
GAUGES: Mapping[str, tuple[str, Callable[[Tally], float]]] = {
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
"""By model; of the scorer in_flight alone."""
SCORES, FLOPS, FAULTS = "scores", "flops", "faults"
BY_MODEL = ("run", "model", "role")
"""A role is generator or scorer."""
COUNTED = {
    **{name: (BY_MODEL, told) for name, (told, _) in (*OF_DRAWS.items(), *OF_ENGINES.items())},
    SCORES: (BY_MODEL, "scores that came back"),
    FLOPS: (BY_MODEL, "FLOPs of what came back, where the size of the model is known"),
    FAULTS: (("run", "kind"), "what went wrong and the run survived"),
}
"""Every counter: what tells its series apart, and what it counts."""


def _counters() -> dict[str, Counter]:
    return {
        name: Counter(f"{PREFIX}{name}", description, tags)
        for name, (tags, description) in COUNTED.items()
    }


def _gauges() -> dict[str, Gauge]:
    return {
        name: Gauge(f"{PREFIX}{name}", description, BY_MODEL)
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
    _sums: dict[tuple[str, ...], float] = field(default_factory=dict)
    """What Ray was told of each counter, by its name and by what tells its series apart."""
    _next: float = 0.0

    def look(self) -> None:
        """Tell what is so now, if it is time."""
        if self.display.seconds >= self._next:
            self._next = self.display.seconds + PERIOD_SECONDS
            self.tell()

    def tell(self) -> None:
        """Tell what is so now."""
        for model, tally in self.display.tallies.items():
            series = (model, GENERATOR)
            for name, (_, read) in OF_DRAWS.items():
                self._bring(name, read(tally), *series)
            for name, (_, read) in GAUGES.items():
                self._set(name, read(tally), *series)
            self._tell_engines([each.report.counters for each in tally.shifts], *series)
        if scorer := self.display.scorer:
            series = (scorer.name, SCORER)
            self._bring(SCORES, scorer.num_scores, *series)
            self._set("in_flight", scorer.num_in_flight, *series)
            self._tell_engines([each.counters for each in scorer.reports], *series)

    def note(self, fault: Fault) -> None:
        """Something went wrong that the run survives."""
        self._bring(FAULTS, self._sums.get((FAULTS, fault.kind), 0.0) + 1, fault.kind)

    def _tell_engines(self, engines: Sequence[Counters], model: str, role: str) -> None:
        for name, (_, read) in OF_ENGINES.items():
            self._bring(name, sum(map(read, engines)), model, role)
        self._bring(FLOPS, self.spending.flops_of(model) or 0.0, model, role)

    def _set(self, name: str, value: float, *series: str) -> None:
        self._gauges[name].set(value, dict(zip(BY_MODEL, (self.run_id, *series), strict=True)))

    def _bring(self, name: str, total: float, *series: str) -> None:
        """A counter to its total: Ray takes what it grows by, and no zero."""
        grown = total - self._sums.get((name, *series), 0.0)
        if grown > 0:
            self._sums[name, *series] = total
            tags = zip(COUNTED[name][0], (self.run_id, *series), strict=True)
            self._counters[name].inc(grown, dict(tags))
