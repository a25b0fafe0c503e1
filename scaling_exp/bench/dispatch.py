"""`bench dispatch`: the real dispatcher and the real journal with up to a thousand simulated replicas.

Replicas are arithmetic and their time is a number, so an hour of a thousand engines takes a minute. The driver's time
is real: the clock of the event loop advances by the CPU time that dispatcher and journal use, and by what each exchange
would cost as a Ray call, which is measured first on one real actor. So a driver that is too slow shows as idle slots.
"""

from __future__ import annotations

import asyncio
import heapq
import resource
import selectors
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import ray

from scaling_exp.bench.result import Result, Row, Setup, check_positive
from scaling_exp.cluster import Cluster
from scaling_exp.dispatch import Dispatch, Event, Job, Report
from scaling_exp.engines import Counters
from scaling_exp.generation import Stream
from scaling_exp.models import Model
from scaling_exp.store import Draw, RunFolder, encode
from scaling_exp.types import Completion, Sampling

MODEL = Model("simulated", "/nowhere", 1)
NUM_LENGTHS = 4096
PROMPT_TOKENS = 32
SAMPLING = Sampling(max_tokens=1024)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps over every wait.

    With `charges_cpu` the clock also runs while this thread works, except inside `free()`. Raises RuntimeError when
    everything waits for something that no timer will end: a deadlock.
    """

    def __init__(self, charges_cpu: bool = False) -> None:
        super().__init__(_Jumping(self.skip))
        self._skipped = 0.0
        self._charges_cpu = charges_cpu
        self._freed = time.thread_time()
        self.freed_seconds = 0.0

    def time(self) -> float:
        worked = time.thread_time() - self._freed if self._charges_cpu else 0.0
        return self._skipped + worked

    def skip(self, seconds: float) -> None:
        """Let the clock run on: nothing to do, or work that is not really done here."""
        self._skipped += seconds

    @contextmanager
    def free(self) -> Iterator[None]:
        """What is done inside costs no time; the clock must not be asked there."""
        started = time.thread_time()
        yield
        seconds = time.thread_time() - started
        self._freed += seconds
        self.freed_seconds += seconds


class _Jumping(selectors.DefaultSelector):
    """Never waits: moves the loop's clock instead."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self.skip = skip

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("deadlock: every task waits and no timer is set")
        # A turn of the loop takes a nanosecond: what waits for a moment must not wait for ever just before it.
        self.skip(max(0.0 if ready else timeout or 0.0, 1e-9))
        return ready


def run_virtually(main: Callable[[], Any], charges_cpu: bool = False) -> Any:
    """The result of the coroutine `main()` on a virtual clock."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(charges_cpu)) as runner:
        return runner.run(main())


@dataclass(frozen=True)
class Speed:
    """What all simulated replicas share. An exchange with n jobs costs the driver `rpc + n * rpc_per_job` seconds."""

    num_slots: int
    seconds: Sequence[float]
    """Of draws, used one after another, from anywhere in the list."""
    rpc: float = 0.0
    rpc_per_job: float = 0.0
    encoded: dict[int, bytes] = field(default_factory=dict)

    def draws(self, num_draws: int) -> bytes:
        """So many encoded draws; the same ones again and again."""
        if num_draws not in self.encoded:
            self.encoded[num_draws] = encode(_draws(num_draws))
        return self.encoded[num_draws]


@dataclass(eq=False)
class SimulatedReplica:
    """A heap of the moments at which slots fall free. A job starts when one is; its draws are reported when all end.

    An exchange is computed at once up to the moment of its report, so what is released later had not started by then.
    """

    speed: Speed
    first_length: int = 0
    slowness: float = 1.0
    """Factor on every draw."""
    charged_seconds: float = 0.0
    num_releases: int = 0
    busy_seconds: float = 0.0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop

    async def hold(self, model: Model, following: Model | None = None) -> int:  # noqa: ARG002
        self.model = model.name
        self.slots = [self.loop.time()] * self.speed.num_slots
        self.begun = self.loop.time()
        self.jobs: deque[Job] = deque()
        self.ends: list[tuple[float, int, str]] = []
        self.num_queued = self.num_started = 0
        return self.speed.num_slots

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:
        self._charge(self.speed.rpc + len(jobs) * self.speed.rpc_per_job)
        now = self.loop.time()
        with self.loop.free():
            report, at = self._advance(jobs, now, now + seconds)
        await asyncio.sleep(max(0.0, at - self.loop.time()))
        return report

    async def release(self, model: str, num_draws: int) -> list[str]:
        self._charge(self.speed.rpc)
        self.num_releases += 1
        released: list[str] = []
        while self.model == model and self.jobs and num_draws > 0:
            job = self.jobs.pop()
            num_draws -= job.num_draws
            self.num_queued -= job.num_draws
            released.append(job.problem)
        return released

    def close(self) -> None:
        """Nothing to free."""

    def _charge(self, seconds: float) -> None:
        self.loop.skip(seconds)
        self.charged_seconds += seconds

    def _advance(self, jobs: Sequence[Job], now: float, deadline: float) -> tuple[Report, float]:
        """Run until there is something to tell; the report and its moment."""
        self.jobs.extend(jobs)
        self.num_queued += sum(job.num_draws for job in jobs)
        at = now
        while self.jobs and (at := max(at, self.slots[0])) < deadline and not self._runs_low(jobs):
            self._begin(self.jobs.popleft(), at)
        if not self.jobs and not self._runs_low(jobs):
            at = min(deadline, max((end for end, _, _ in self.ends), default=now))
        return self._report(min(at, deadline)), min(at, deadline)

    def _runs_low(self, handed: Sequence[Job]) -> bool:
        return bool(handed) and 2 * self.num_queued < self._lookahead()

    def _lookahead(self) -> int:
        return max(self.speed.num_slots, 2 * self.num_started)

    def _begin(self, job: Job, now: float) -> None:
        lengths, slots = self.speed.seconds, self.slots
        last = 0.0
        for at in range(self.first_length, self.first_length + job.num_draws):
            seconds = self.slowness * lengths[at % NUM_LENGTHS]
            end = max(now, slots[0]) + seconds
            heapq.heapreplace(slots, end)
            self.busy_seconds += seconds
            last = max(last, end)
        self.first_length = (self.first_length + job.num_draws) % NUM_LENGTHS
        heapq.heappush(self.ends, (last, job.num_draws, job.problem))
        self.num_queued -= job.num_draws
        self.num_started += job.num_draws

    def _report(self, now: float) -> Report:
        report = Report(seconds=now - self.begun)
        while self.ends and self.ends[0][0] <= now:
            _, num_draws, problem = heapq.heappop(self.ends)
            report.finished.append(problem)
            report.num_draws += num_draws
        if report.num_draws:
            report.draws = self.speed.draws(report.num_draws)
        report.num_wanted = max(0, self._lookahead() - self.num_queued)
        report.num_free = int(self.slots[0] <= now)
        report.num_queued = self.num_queued
        report.counters = Counters(self.speed.num_slots, busy_seconds=self.busy_seconds)
        self.num_started = 0
        return report


def _draws(num_draws: int) -> list[Draw]:
    stream = Stream("0/simulated/problem", (), tuple(range(PROMPT_TOKENS)), SAMPLING)
    completion = Completion(tuple(range(PROMPT_TOKENS)), "stop")
    return [Draw(MODEL.name, "fingerprint", stream, at, completion) for at in range(num_draws)]


@dataclass(frozen=True)
class DispatchBench:
    """A row for each of `num_replicas`: `jobs_per_replica` jobs for every replica, `num_jobs` at most in all.

    Draws last `seconds_per_draw` on average (lognormal, sigma 0.5, none longer than three times that).
    `rpc_microseconds` is what an exchange costs the driver; null: measure it on a real Ray actor.
    """

    num_replicas: tuple[int, ...]
    num_jobs: int
    jobs_per_replica: int
    draws_per_job: int
    num_slots: int
    seconds_per_draw: float
    rpc_microseconds: float | None

    def __post_init__(self) -> None:
        check_positive(
            self, "num_replicas", "num_jobs", "jobs_per_replica", "draws_per_job", "num_slots"
        )
        check_positive(self, "seconds_per_draw")

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - needs no model
        """Utilisation of all slots, and what the driver spends."""
        if self.rpc_microseconds is None:
            rpc, rpc_per_job = measure_exchange(self.draws_per_job)
        else:
            rpc, rpc_per_job = self.rpc_microseconds / 1e6, 0.0
        speed = Speed(self.num_slots, self._seconds(), rpc, rpc_per_job)
        rows = tuple(self._row(num_replicas, speed) for num_replicas in self.num_replicas)
        return Result(
            f"dispatcher and journal with simulated replicas of {self.num_slots} slots",
            rows,
            (
                f"An exchange is charged {rpc * 1e6:.0f} us and {rpc_per_job * 1e6:.1f} us a job of driver time.",
                "Driver cores: CPU time of dispatcher, journal and exchanges over virtual time; below 1 it keeps up.",
            ),
        )

    def _seconds(self) -> list[float]:
        lengths = np.random.default_rng(0).lognormal(0, 0.5, NUM_LENGTHS)
        scaled = self.seconds_per_draw * np.minimum(lengths / lengths.mean(), 3)
        return scaled.tolist()

    def _row(self, num_replicas: int, speed: Speed) -> Row:
        num_jobs = min(self.num_jobs, self.jobs_per_replica * num_replicas)
        jobs = [_job(at, self.draws_per_job) for at in range(num_jobs)]
        with tempfile.TemporaryDirectory() as folder:
            run = _Run(num_replicas, speed, FilePath(folder))
            run_virtually(lambda: run.measure(jobs), charges_cpu=True)
        num_draws = num_jobs * self.draws_per_job
        assert run.num_draws == num_draws
        return {
            "replicas": num_replicas,
            "jobs": num_jobs,
            "draws": num_draws,
            "virtual s": round(run.seconds, 1),
            "utilisation %": round(100 * run.utilisation, 1),
            "driver cores": round(run.cpu_seconds / run.seconds, 3),
            "us a draw": round(1e6 * run.cpu_seconds / num_draws, 2),
            "us a job": round(1e6 * run.cpu_seconds / num_jobs, 1),
            "exchanges/s": round(run.num_exchanges / run.seconds),
            "steals": run.num_releases,
            "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def _job(at: int, num_draws: int) -> Job:
    prompt = tuple((at + token) % 256 for token in range(PROMPT_TOKENS))
    return Job(MODEL.name, f"{at:07}", f"0/simulated/{at:07}", prompt, ("sampling",), num_draws)


@dataclass(eq=False)
class _Run:
    """One dispatch on the hybrid clock, and what it took."""

    num_replicas: int
    speed: Speed
    folder: FilePath
    num_draws: int = 0
    num_exchanges: int = 0

    async def measure(self, jobs: Sequence[Job]) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        started, cpu_started, freed = loop.time(), time.process_time(), loop.freed_seconds
        with RunFolder(self.folder / "run").journal(frozenset()) as journal:
            self.journal = journal
            dispatch = Dispatch({MODEL.name: MODEL}, self._replicas, list, self._append, self._note)
            assert await dispatch.run(jobs) == []
            self.seconds = loop.time() - started
        charged = sum(each.charged_seconds for each in self.made)
        self.cpu_seconds = (
            time.process_time() - cpu_started - (loop.freed_seconds - freed) + charged
        )
        offered = self.seconds * self.num_replicas * self.speed.num_slots
        self.utilisation = sum(each.busy_seconds for each in self.made) / offered
        self.num_releases = sum(each.num_releases for each in self.made)

    async def _replicas(self, at_most: int) -> AsyncIterator[SimulatedReplica]:
        num_replicas = min(at_most, self.num_replicas)
        self.made = [
            SimulatedReplica(self.speed, 61 * at % NUM_LENGTHS) for at in range(num_replicas)
        ]
        for each in self.made:
            yield each

    def _append(self, draws: bytes, num_draws: int) -> None:
        self.journal.append(draws, num_draws)
        self.num_draws += num_draws

    def _note(self, _event: Event) -> None:
        self.num_exchanges += 1


class _Echo:
    """An actor that reports at once."""

    def __init__(self, report: Report) -> None:
        self.report = report

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:  # noqa: ARG002
        return self.report


def measure_exchange(draws_per_job: int, num_calls: int = 2000) -> tuple[float, float]:
    """CPU seconds of this process for an exchange over Ray: for the call, and for every job that it carries."""
    Cluster(None, 1).connect()
    few, many = 1, 33
    cost = {num: _seconds_per_exchange(num, draws_per_job, num_calls) for num in (few, many)}
    ray.shutdown()
    per_job = max(0.0, (cost[many] - cost[few]) / (many - few))
    return max(0.0, cost[few] - few * per_job), per_job


def _seconds_per_exchange(num_jobs: int, draws_per_job: int, num_calls: int) -> float:
    num_draws = num_jobs * draws_per_job
    jobs = [_job(at, draws_per_job) for at in range(num_jobs)]
    finished = [job.problem for job in jobs]
    report = Report(encode(_draws(num_draws)), num_draws, finished=finished)
    actor: Any = ray.remote(_Echo).remote(report)

    async def call(num: int) -> None:
        for _ in range(num):
            await actor.exchange.remote(jobs, 1.0)

    async def all_calls() -> float:
        await call(20)
        started = time.process_time()
        await asyncio.gather(*(call(num_calls // 64) for _ in range(64)))
        return (time.process_time() - started) / (num_calls // 64 * 64)

    seconds = asyncio.run(all_calls())
    ray.kill(actor)
    return seconds
