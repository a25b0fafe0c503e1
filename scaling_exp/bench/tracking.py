"""What tracking costs while a run draws: each tracker in turn, over a run that is shown nowhere.

Under Ray, with the run's own dispatcher, journal and display. The tracker's process is reniced and starts when drawing
does, so what it takes from the engines is counted; what it shows when the run is over is not.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as FilePath
from statistics import median

from scaling_exp.bench.engine import prepared
from scaling_exp.bench.replicas import Progress
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive
from scaling_exp.cluster import Cluster
from scaling_exp.dispatch import Dispatch, Event, Job
from scaling_exp.display import Display
from scaling_exp.engines import VLLM
from scaling_exp.store import RunFolder
from scaling_exp.strategies import ParallelSampling
from scaling_exp.tracking import Disabled, TensorBoard, Tracker, WeightsAndBiases
from scaling_exp.tracking.view import View
from scaling_exp.types import Sampling
from scaling_exp.worker import Work

TRACKERS: Mapping[str, Tracker] = {
    "disabled": Disabled(),
    "offline": WeightsAndBiases("offline", "bench"),
    "tensorboard": TensorBoard(),
}


@dataclass(frozen=True)
class Drawing:
    """One drawing of all samples: output tokens a second, CPU seconds of the driver and of the tracker's process."""

    tokens_per_second: float
    driver_seconds: float
    tracker_seconds: float


@dataclass(frozen=True)
class TrackingBench:
    """`num_problems` x `num_samples` draws with each tracker and round."""

    model: str
    num_problems: int
    num_samples: int
    max_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self).keys() - {"model"})

    def run(self, setup: Setup) -> Result:
        """Raises UserError when the ladder has no such model or the engine is not vLLM."""
        engine = replace(prepared(setup), replicas=1)
        cluster = Cluster(address=None, num_cpus=None)
        cluster.connect()
        cluster.check(engine)
        drawings: dict[str, list[Drawing]] = {name: [] for name in TRACKERS}
        for index, name in alternate(self.rounds, tuple(TRACKERS)):
            drawing = self._draw(setup, engine, cluster, TRACKERS[name])
            if index:
                drawings[name].append(drawing)
        note = f"over disabled: medians of {self.rounds} rounds, in turns"
        return Result(f"Tracking, model {self.model}", tuple(self._rows(drawings)), (note,))

    def _rows(self, drawings: Mapping[str, list[Drawing]]) -> list[Row]:
        alone = median(each.tokens_per_second for each in drawings["disabled"])
        return [
            {
                "tracking": name,
                "tokens/s": (speed := median(each.tokens_per_second for each in mine)),
                "over disabled": speed / alone,
                "driver, CPU s": median(each.driver_seconds for each in mine),
                "tracker, CPU s": median(each.tracker_seconds for each in mine),
            }
            for name, mine in drawings.items()
        ]

    def _draw(self, setup: Setup, engine: VLLM, cluster: Cluster, tracker: Tracker) -> Drawing:
        model = setup.model(self.model)
        prompts = model.prompts(setup.task.problems())
        strategy = ParallelSampling(self.num_samples, Sampling(max_tokens=self.max_tokens))
        jobs = [
            Job(
                self.model,
                str(at),
                f"bench/{at}",
                prompts[at % len(prompts)],
                ("it",),
                self.num_samples,
            )
            for at in range(self.num_problems)
        ]
        display = Display({self.model: (len(jobs), len(jobs) * self.num_samples)})
        progress = Progress(1)
        work = Work(engine, {"it": strategy}, setup.task)
        before = _cpu_seconds()
        with tempfile.TemporaryDirectory() as store:
            folder = RunFolder(FilePath(store) / "bench")
            with folder.journal(frozenset()) as journal, View(tracker, folder, {}) as view:

                def take_in(event: Event) -> None:
                    progress.note(event)
                    display.update(event)
                    view.look(display.seconds, display.drawn)

                dispatch = Dispatch(
                    models={self.model: model},
                    replicas=partial(cluster.replicas, work),
                    with_known=list,
                    on_draws=journal.append,
                    on_event=take_in,
                )
                asyncio.run(dispatch.run(jobs))
            view._aside.wait()  # so that the CPU time of its process is counted
        driver, children = (now - then for now, then in zip(_cpu_seconds(), before, strict=True))
        return Drawing(progress.tokens_per_second, driver, children)


def _cpu_seconds() -> tuple[float, float]:
    """Of this process, and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (each.ru_utime + each.ru_stime for each in used)
    return own, children
