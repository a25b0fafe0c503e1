"""How far drawing has come, a point every few seconds, kept in the run's `sampling.jsonl`.

The file is what trackers show, so a run that is gone on with is shown from its first session. It knows no tracker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scaling_exp.tracking import metrics
from scaling_exp.tracking.shown import Point

FILE = "sampling.jsonl"
POINT_SECONDS = 5.0


@dataclass(frozen=True)
class Drawn:
    """Sums since a session began, and what is so at this moment. `slots_offered` are steps times slots."""

    seconds: float
    num_draws: int
    num_problems: int
    num_output_tokens: int
    num_in_flight: int
    num_replicas: int
    num_refused: int
    slot_steps: int
    slots_offered: int
    tokens_by_model: Mapping[str, int]


NOTHING = Drawn(0.0, 0, 0, 0, 0, 0, 0, 0, 0, {})


@dataclass(eq=False)
class Pulse:
    """The points of a run. Rates and occupancy are those between two points."""

    file: Path
    points: list[Point] = field(default_factory=list)
    _last: Drawn = NOTHING

    @classmethod
    def of(cls, folder: Path) -> Pulse:
        """The pulse of a run with the points of earlier sessions; a line that a crash cut short is left out."""
        file = folder / FILE
        lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
        return cls(file, [json.loads(line) for line in lines if line.endswith("}\n")])

    def begin(self) -> None:
        """A new session: sums start at zero, and the file goes on after what earlier sessions left."""
        self._before = self.points[-1] if self.points else {}
        self._last = NOTHING
        self.file.write_text("".join(json.dumps(point) + "\n" for point in self.points))

    def is_due(self, seconds: float) -> bool:
        return seconds >= self._last.seconds + POINT_SECONDS

    def beat(self, now: Drawn) -> Point:
        """Keep one more point. Raises OSError where there is no room."""
        point = {
            **self._sums(now),
            metrics.IN_FLIGHT: now.num_in_flight,
            metrics.REPLICAS: now.num_replicas,
            **_rates(now, self._last),
        }
        self._last = now
        self.points.append(point)
        with self.file.open("a") as file:
            file.write(json.dumps(point) + "\n")
        return point

    def _sums(self, now: Drawn) -> dict[str, float]:
        """Over all sessions."""
        sums = {
            metrics.SECONDS: round(now.seconds, 3),
            metrics.DRAWS: now.num_draws,
            metrics.PROBLEMS: now.num_problems,
            metrics.OUTPUT_TOKENS: now.num_output_tokens,
            metrics.REFUSED: now.num_refused,
        }
        return {name: value + self._before.get(name, 0) for name, value in sums.items()}


def _rates(now: Drawn, last: Drawn) -> dict[str, float]:
    seconds = now.seconds - last.seconds
    if seconds <= 0:
        return {}
    offered = now.slots_offered - last.slots_offered
    occupancy = (now.slot_steps - last.slot_steps) / offered if offered > 0 else None
    return {
        metrics.THROUGHPUT: (now.num_output_tokens - last.num_output_tokens) / seconds,
        **({} if occupancy is None else {metrics.OCCUPANCY: occupancy}),
        **{
            metrics.throughput(model): (tokens - last.tokens_by_model.get(model, 0)) / seconds
            for model, tokens in now.tokens_by_model.items()
        },
    }
