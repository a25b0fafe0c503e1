"""A worker: an engine, its gate, and the coroutines of the jobs that it was handed.

It runs where the engine runs, so nothing but finished draws ever travels. It knows no Ray: what calls it is an actor, a
test or nothing at all. Its job boundary is the one place where a failure becomes a value.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from scaling_exp import scoring
from scaling_exp.dispatch import Job, ReplicaDied, Report, ScorerReport, StartFailed
from scaling_exp.engines import Counters, EngineConfig, EngineDied, RequestFailed
from scaling_exp.generation import Sampler, Strategy
from scaling_exp.models import Model
from scaling_exp.planting import Ground
from scaling_exp.runtime import Gate, run_all
from scaling_exp.scorers import ScorerModel
from scaling_exp.store import Draw, Pooled, encode
from scaling_exp.tasks import Task
from scaling_exp.types import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """All that a worker must know besides jobs."""

    engine: EngineConfig
    strategies: Mapping[str, Strategy]
    task: Task
    scorer: ScorerModel | None = None
    """Works beside the engine that draws."""


class Worker:
    """Holds one model at a time and draws the jobs of it that it was handed, in that order."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.has_started = False
        self.scores: scoring.Service | None = None
        self.running: asyncio.Future[None] | None = None
        self.fetching: asyncio.Future[None] | None = None
        self.changed = asyncio.Event()

    async def start(self) -> None:
        """Import the engine."""
        self.clock = asyncio.get_running_loop().time
        self.engine = self.work.engine.start()
        pa.array([0])  # imports pandas: 0.2 s, now rather than between two steps
        self.has_started = True

    async def hold(self, model: Model, following: Model | None = None) -> int:
        """Make `model` the one that jobs are drawn from; the draws that it can take at once.

        The weights of the one that will be held then are brought near meanwhile.
        """
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait([self.running])
        await self._hold_scorer()
        self._stop_fetching()
        await self.engine.hold(model)
        self.fetching = asyncio.ensure_future(self._fetch(following)) if following else None
        self.engine.counters = Counters(num_slots=self.engine.num_slots)
        self.model = model
        self.gate = Gate(self.engine)
        self.ground = Ground.of(model, self.work.task, self.work.scorer)
        self.jobs: deque[Job] = deque()
        self.num_open = self.num_queued = self.num_started = 0
        self.draws: list[Draw] = []
        self.report = Report()
        self.loaded_at = self.clock()
        self._note_full()
        admitted = run_all(self._queued(), self._run, lambda job: job.num_draws, self.gate)
        self.running = asyncio.ensure_future(admitted)
        return self.gate.target

    def _stop_fetching(self) -> None:
        if self.fetching is not None:
            self.fetching.cancel()

    async def _fetch(self, model: Model) -> None:
        """What goes wrong here is told when the model is held."""
        with suppress(UserError, OSError):
            await self.engine.fetch(model)

    async def _hold_scorer(self) -> None:
        """Start it once; its counters begin anew with every model beside it."""
        if self.work.scorer is None:
            return
        started = self.clock()
        if self.scores is None:
            self.scores = await scoring.start(self.work.scorer, self.work.engine)
        self.scores.begin()
        self.scorer_load_seconds = self.clock() - started

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:
        """Take jobs; report when it runs low, and after `seconds` at the latest."""
        self.jobs.extend(jobs)
        self.num_open += len(jobs)
        self.num_queued += sum(job.num_draws for job in jobs)
        self._tell()
        deadline = self.clock() + seconds
        while not self._is_worth_telling(bool(jobs)) and (left := deadline - self.clock()) > 0:
            await self._wait(left)
        return self._take_report()

    async def release(self, model: str, num_draws: int) -> list[str]:
        """Give back jobs of the model from the end of the queue, worth about so many draws."""
        released: list[str] = []
        while self.model.name == model and self.jobs and num_draws > 0:
            job = self.jobs.pop()
            num_draws -= job.num_draws
            self.num_queued -= job.num_draws
            self.num_open -= 1
            released.append(job.problem)
        if released and not self.jobs:
            self._note_full()
        return released

    def _take_report(self) -> Report:
        report = self.report
        self.report = Report(mistake=report.mistake, bug=report.bug, death=report.death)
        draws, self.draws = self.draws, []
        report.draws, report.num_draws = encode(draws) if draws else b"", len(draws)
        # By name: a model may be asked for scores of its own answers.
        written = [each.completion for each in draws if each.model == self.model.name]
        report.num_scores = len(draws) - len(written)
        report.num_output_tokens = sum(each.num_output_tokens for each in written)
        report.num_wanted = max(0, self._lookahead() - self.num_queued)
        report.num_free = max(0, self.gate.target - self.gate.num_in_flight)
        report.num_queued = self.num_queued
        report.num_in_flight = self.gate.num_in_flight
        report.facts = self.engine.facts
        report.counters, report.seconds = replace(self.engine.counters), self._seconds()
        report.full, report.full_seconds = self.full, self.full_seconds
        report.scorer = self._scorer_report()
        self.num_started = 0
        return report

    def _scorer_report(self) -> ScorerReport | None:
        if self.work.scorer is None or self.scores is None:
            return None
        return ScorerReport(
            self.work.scorer.name,
            counters=self.scores.counters,
            full=self.scorer_full,
            facts=self.scores.facts,
            num_in_flight=self.scores.num_in_flight,
            load_seconds=self.scorer_load_seconds,
        )

    def _lookahead(self) -> int:
        """Draws that the queue should hold: an engine full, or twice what was started since the last report."""
        return max(self.gate.target, 2 * self.num_started)

    def _is_worth_telling(self, was_handed_jobs: bool) -> bool:
        runs_low = was_handed_jobs and 2 * self.num_queued < self._lookahead()
        ended = self.report.mistake or self.report.bug or self.report.death
        return runs_low or not self.num_open or bool(ended)

    async def _wait(self, seconds: float) -> None:
        """Until something changed, or a while has passed."""
        timer = asyncio.get_running_loop().call_later(seconds, self._tell)
        try:
            await self.changed.wait()
        finally:
            timer.cancel()

    def _tell(self) -> None:
        """Wake all who wait. The event is never cleared: who begins to wait later waits for the next one."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def _queued(self) -> AsyncIterator[Job]:
        """Jobs when they are asked for: until then they can be given back."""
        while True:
            while not self.jobs:
                await self._wait(60.0)
            job = self.jobs.popleft()
            self.num_queued -= job.num_draws
            self.num_started += job.num_draws
            if not self.jobs:
                self._note_full()
            self._tell()
            yield job

    def _note_full(self) -> None:
        """From now on the engines may only be draining."""
        self.full, self.full_seconds = replace(self.engine.counters), self._seconds()
        if self.scores is not None:
            self.scorer_full = self.scores.counters

    def _seconds(self) -> float:
        return self.clock() - self.loaded_at

    async def _run(self, job: Job) -> None:
        """The job boundary: whatever a job raises is reported."""
        try:
            await self._draw(job)
            self.report.finished.append(job.problem)
        except EngineDied as error:
            self.report.death = str(error) or "the engine died"
        except RequestFailed as error:
            self.report.refused[job.problem] = str(error)
        except UserError as error:
            self.report.mistake = str(error)
        except Exception:  # noqa: BLE001 - a bug travels to the driver with its trace and ends the run there
            self.report.bug = traceback.format_exc()
        self.num_open -= 1
        self._tell()

    async def _draw(self, job: Job) -> None:
        """Run all strategies of a job. When it fails no draw of it is recorded any more: it will be drawn again."""
        is_open = True

        def record(draw: Draw) -> None:
            if is_open:
                self.draws.append(draw)

        known = {stream: dict(samples) for stream, samples in job.known.items()}
        samplers: list[tuple[Model | ScorerModel, Sampler]] = [(self.model, self.gate)]
        if self.work.scorer is not None and self.scores is not None:
            samplers.append((self.work.scorer, self.scores.on(job.asked)))
        pools = [
            Pooled(each.name, each.fingerprint, known, sampler, record)
            for each, sampler in samplers
        ]
        source, scores = pools[0], pools[1] if len(pools) > 1 else None
        scorer = self.ground.scorer_of(job.root, job.asked, scores)
        first, *others = (
            self.work.strategies[name](self.ground.forest(job.prompt, job.root, source, scorer))
            for name in job.strategies
        )
        beside = [asyncio.ensure_future(each) for each in others]
        try:
            await first  # here: a job of one strategy needs no task beside its own
            await asyncio.gather(*beside)
        finally:
            is_open = False
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            for pooled in pools:
                await pooled.cancel()

    async def close(self) -> None:
        """Drop what is open and end the engine."""
        self._stop_fetching()
        if self.running is not None:
            self.running.cancel()
        if self.has_started:
            await self.engine.close()
        if self.scores is not None:
            await self.scores.close()


class LocalReplica:
    """A worker in this very process, as a `dispatch.Replica` that can be killed."""

    def __init__(self, work: Work) -> None:
        self.worker = Worker(work)
        self.death: asyncio.Future[ReplicaDied] = asyncio.get_running_loop().create_future()

    def kill(self, blames_jobs: bool = True) -> None:
        """End it as SIGKILL would: nothing more comes back from it."""
        if not self.death.done():
            self.death.set_result(ReplicaDied("it was killed", blames_jobs))
            self.closing = asyncio.ensure_future(self.worker.close())

    async def start(self) -> None:
        await self._alive(self.worker.start())

    async def hold(self, model: Model, following: Model | None = None) -> int:
        try:
            return await self._alive(self.worker.hold(model, following))
        except EngineDied as error:
            raise StartFailed(str(error)) from error

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:
        return await self._alive(self.worker.exchange(jobs, seconds))

    async def release(self, model: str, num_draws: int) -> list[str]:
        return await self._alive(self.worker.release(model, num_draws))

    def close(self) -> None:
        self.kill()

    async def _alive(self, call: Coroutine[None, None, T]) -> T:
        calling = asyncio.ensure_future(call)
        await asyncio.wait([calling, self.death], return_when=asyncio.FIRST_COMPLETED)
        if self.death.done():
            calling.cancel()
            raise self.death.result()
        return await calling
