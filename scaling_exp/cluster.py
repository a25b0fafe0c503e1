"""Ray: one worker per engine replica, jobs handed out a few at a time, and those of a dead worker given to another.

The driver owns the jobs and the placement groups. Strategies run inside the workers, beside the engine, so no Ray call
sits on the path of a request. A worker keeps its process while models change: one import for a whole ladder.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from scaling_exp.engines import Counters, EngineConfig
from scaling_exp.generation import Forest, Strategy
from scaling_exp.models import Model
from scaling_exp.runtime import Gate, run_all
from scaling_exp.store import Draw, Known, Pooled
from scaling_exp.tasks import Task
from scaling_exp.types import Tokens, UserError

REPORT_SECONDS = 0.25
"""How long a worker gathers finished draws before it reports: what a crash of the driver can lose."""
HEADROOM = 1.25
"""Requests in flight over engine slots: a finished request finds its successor waiting."""
MAX_ATTEMPTS = 3
"""A job that was open in so many workers that died is set aside."""


@dataclass(frozen=True)
class Cluster:
    """Where replicas run. `address` is Ray's; null starts a local Ray. `num_replicas` null fills the cluster."""

    address: str | None
    num_cpus: int | None
    num_replicas: int | None

    def __post_init__(self) -> None:
        if self.num_replicas is not None and self.num_replicas < 1:
            raise ValueError(f"cluster.num_replicas is {self.num_replicas}; it must be at least 1")

    def connect(self) -> None:
        """Start or join Ray; does nothing when this process is in one already."""
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local = {} if self.address else {"num_cpus": self.num_cpus, "include_dashboard": False}
        ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR, **local)

    def replicas(self, engine: EngineConfig) -> int:
        """How many engines fit. Raises UserError when none does."""
        if self.num_replicas is not None:
            return self.num_replicas
        resources = ray.cluster_resources()
        fits = [resources.get("CPU", 0) // max(1, engine.num_cpus)]
        if engine.num_gpus:
            fits.append(resources.get("GPU", 0) // engine.num_gpus)
        if min(fits) < 1:
            raise UserError(
                f"an engine replica needs {engine.num_cpus} CPUs and {engine.num_gpus} GPUs; the cluster has"
                f" {resources.get('CPU', 0):.0f} and {resources.get('GPU', 0):.0f}: lower engine.num_cpus or"
                " engine.num_gpus, or choose another engine"
            )
        return int(min(fits))


@dataclass(frozen=True)
class Job:
    """One problem for one model: every strategy that still misses draws of it, and the draws that are known."""

    model: str
    problem: str
    root: str
    prompt: Tokens
    strategies: tuple[str, ...]
    known: Known
    num_draws: int
    """Most draws that it can still cause."""
    num_attempts: int = 0


@dataclass(frozen=True)
class Work:
    """All that a worker must know besides jobs."""

    engine: EngineConfig
    strategies: Mapping[str, Strategy]
    task: Task


@dataclass
class Report:
    """What a worker did since its last report, and how many more draws it wants to be given."""

    draws: list[Draw] = field(default_factory=list)
    finished: list[tuple[str, str]] = field(default_factory=list)
    num_wanted: int = 0
    num_in_flight: int = 0
    counters: Counters = field(default_factory=Counters)
    failure: str = ""


class Worker:
    """The Ray actor: an engine, its gate, and the coroutines of the jobs that it was given."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.report = Report()
        self.changed = asyncio.Event()
        self.running: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Import the engine."""
        self.engine = self.work.engine.start()

    async def hold(self, model: Model) -> float:
        """Make `model` the one that jobs are drawn from; the seconds that took."""
        started = time.perf_counter()
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait([self.running])
        await self.engine.hold(model)
        self.engine.counters = Counters(num_slots=self.engine.num_slots)
        self.model = model
        self.gate = Gate(self.engine, round(HEADROOM * self.engine.num_slots))
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.num_queued_draws = 0
        self.running = asyncio.ensure_future(run_all(self._admitted(), self._run, self.gate))
        self.running.add_done_callback(self._note_failure)
        return time.perf_counter() - started

    async def exchange(self, jobs: Sequence[Job]) -> Report:
        """Take jobs; report once there is something to tell and a little time has passed."""
        for job in jobs:
            self.num_queued_draws += job.num_draws
            self.jobs.put_nowait(job)
        deadline = time.perf_counter() + REPORT_SECONDS
        while not self._is_worth_telling() and (left := deadline - time.perf_counter()) > 0:
            self.changed.clear()
            await _wait(self.changed, left)
        report, self.report = self.report, Report(failure=self.report.failure)
        report.num_wanted = self._num_wanted()
        report.num_in_flight = self.gate.num_in_flight
        report.counters = replace(self.engine.counters)
        return report

    def _is_worth_telling(self) -> bool:
        return (
            bool(self.report.failure)
            or self._num_wanted() > 0
            or (self.jobs.empty() and (self.gate.num_in_flight == 0))
        )

    def _num_wanted(self) -> int:
        return max(0, 2 * self.gate.target - self.num_queued_draws)

    async def _admitted(self) -> AsyncIterator[Job]:
        while True:
            job = await self.jobs.get()
            yield job
            self.num_queued_draws -= job.num_draws
            self.changed.set()

    async def _run(self, job: Job) -> None:
        sampler = Pooled(
            self.model.name,
            self.model.fingerprint,
            job.root,
            dict(job.known),
            self.gate,
            self.report_draw,
        )
        await asyncio.gather(
            *(
                self.work.strategies[name](Forest(job.prompt, sampler, job.root, self._read))
                for name in job.strategies
            )
        )
        self.report.finished.append((job.model, job.problem))
        self.changed.set()

    def report_draw(self, draw: Draw) -> None:
        self.report.draws.append(draw)

    def _read(self, tokens: Tokens) -> str | None:
        return self.work.task.read(self.model.decode(tokens))

    def _note_failure(self, running: asyncio.Future[None]) -> None:
        if not running.cancelled() and (error := running.exception()) is not None:
            self.report.failure = "".join(traceback.format_exception(error))
            self.changed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


class JobFailed(RuntimeError):
    """A job raised, or killed its engine too often; the message holds the worker's trace."""


@dataclass(frozen=True)
class Event:
    """What `on_event` is told: draws that came back, and the state of the replica that made them."""

    replica: int
    model: str
    num_problems_finished: int
    num_draws: int
    num_output_tokens: int
    num_in_flight: int
    load_seconds: float = 0.0


@dataclass(eq=False)
class Dispatch:
    """Hands jobs to replicas until none is left; calls back with every batch of draws, on the driver's loop."""

    cluster: Cluster
    work: Work
    models: Mapping[str, Model]
    on_draws: Callable[[list[Draw]], None]
    on_event: Callable[[Event], None]

    async def run(self, jobs: Sequence[Job]) -> dict[str, list[Counters]]:
        """Run every job; per model, the counters of each replica that held it.

        Raises JobFailed when a job raised or was set aside, after all others have been run.
        """
        self.pending: dict[str, deque[Job]] = {}
        for job in sorted(jobs, key=lambda job: -job.num_draws):
            self.pending.setdefault(job.model, deque()).append(job)
        self.held: dict[int, str] = {}
        self.counters: dict[str, list[Counters]] = {name: [] for name in self.pending}
        self.set_aside: list[Job] = []
        num_replicas = self.cluster.replicas(self.work.engine)
        serving = [self._serve(replica) for replica in range(min(num_replicas, len(jobs)))]
        try:
            async with asyncio.TaskGroup() as group:
                for each in serving:
                    group.create_task(each)
        except* JobFailed as failed:
            raise failed.exceptions[0] from None
        if self.set_aside:
            names = ", ".join(f"{job.model}/{job.problem}" for job in self.set_aside[:5])
            raise JobFailed(
                f"{len(self.set_aside)} jobs were open in {MAX_ATTEMPTS} workers that died: {names}"
            )
        return self.counters

    async def _serve(self, replica: int) -> None:
        """The life of one replica: a worker, restarted when it dies, and one model after another."""
        group = placement_group([_bundle(self.work.engine)], strategy="PACK")
        worker = None
        try:
            while (model := self._choose(replica)) is not None:
                opened: dict[tuple[str, str], Job] = {}
                try:
                    worker = worker or await self._start(group)
                    await self._drain(replica, worker, model, opened)
                except RayActorError:
                    worker = None
                    self._requeue(opened.values())
        finally:
            self.held.pop(replica, None)
            if worker is not None:
                ray.kill(worker)
            remove_placement_group(group)

    def _choose(self, replica: int) -> str | None:
        """The next model: the one it holds, else the largest that nobody holds, else the one with most to do."""
        waiting = {name: jobs for name, jobs in self.pending.items() if jobs}
        held = self.held.pop(replica, None)
        if not waiting:
            return None
        nobody_holds = [name for name in waiting if name not in self.held.values()]
        if held in waiting:
            choice = held
        elif nobody_holds:
            choice = max(nobody_holds, key=lambda name: self.models[name].facts.pretraining_flops)
        else:
            choice = max(waiting, key=lambda name: sum(job.num_draws for job in waiting[name]))
        assert choice is not None
        self.held[replica] = choice
        return choice

    async def _start(self, group: Any) -> Any:
        bundle = _bundle(self.work.engine)
        worker: Any = (
            ray.remote(Worker)
            .options(
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group),
                runtime_env={"env_vars": _worker_environment(self.work.engine)},
            )
            .remote(self.work)
        )
        await worker.start.remote()
        return worker

    async def _drain(
        self, replica: int, worker: Any, model: str, opened: dict[tuple[str, str], Job]
    ) -> None:
        """Feed one model to one worker until its jobs are done; `opened` always holds those not finished."""
        load_seconds = await worker.hold.remote(self.models[model])
        self.on_event(Event(replica, model, 0, 0, 0, 0, load_seconds))
        report = Report(num_wanted=1)
        while opened or self.pending[model]:
            jobs = self._take(model, report.num_wanted)
            opened |= {(job.model, job.problem): job for job in jobs}
            report = await worker.exchange.remote(jobs)
            self._record(replica, model, report)
            for finished in report.finished:
                opened.pop(finished, None)
            if report.failure:
                raise JobFailed(report.failure)
        self.counters[model].append(report.counters)

    def _take(self, model: str, num_wanted: int) -> list[Job]:
        taken: list[Job] = []
        pending = self.pending[model]
        while pending and num_wanted > 0:
            taken.append(pending.popleft())
            num_wanted -= taken[-1].num_draws
        return taken

    def _record(self, replica: int, model: str, report: Report) -> None:
        self.on_draws(report.draws)
        num_tokens = sum(len(draw.completion.tokens) for draw in report.draws)
        self.on_event(
            Event(
                replica,
                model,
                len(report.finished),
                len(report.draws),
                num_tokens,
                report.num_in_flight,
            )
        )

    def _requeue(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            tried = replace(job, num_attempts=job.num_attempts + 1)
            if tried.num_attempts >= MAX_ATTEMPTS:
                self.set_aside.append(tried)
            else:
                self.pending[job.model].append(tried)


def _bundle(engine: EngineConfig) -> dict[str, float]:
    gpus = {"GPU": float(engine.num_gpus)} if engine.num_gpus else {}
    return {"CPU": float(engine.num_cpus), **gpus}


def _worker_environment(engine: EngineConfig) -> dict[str, str]:
    """Set before the process starts: libraries read these when they are imported."""
    threads = {} if engine.num_gpus else {"OMP_NUM_THREADS": str(engine.num_cpus)}
    return {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", **threads}


def each_in_a_task(function: Callable[..., Any], arguments: Sequence[tuple]) -> Iterator[Any]:
    """Results of `function(*each)` as they finish, every call a Ray task of one core, and of a GPU if there are any."""
    num_gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
    remote = ray.remote(function).options(
        num_cpus=1, num_gpus=num_gpus, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}
    )
    running = [remote.remote(*each) for each in arguments]
    while running:
        (done,), running = ray.wait(running)
        yield ray.get(done)
