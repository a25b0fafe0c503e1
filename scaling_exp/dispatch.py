"""Jobs and who draws them: handed out a few at a time, taken back from the slow, given on when a replica dies.

Pure: it knows replicas as a protocol and no Ray, so a million jobs for a thousand simulated replicas run through the
same code as two engines on a laptop. Nothing here costs more per exchange when there are more replicas or more jobs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, Protocol

from scaling_exp.engines import Counters
from scaling_exp.models import Model
from scaling_exp.store import Known
from scaling_exp.types import Problem, Tokens, UserError

REPORT_SECONDS = 0.25
"""How long a worker gathers finished draws before it reports: what a crash of the driver can lose."""
EXCHANGES_PER_SECOND = 400
"""More would fill a core of the driver, so with many replicas each reports less often."""
MAX_ATTEMPTS = 3
"""A job that was refused so often, or killed its replica so often and all but the first time alone, is set aside."""
NUM_TRIED_ALONE = 16
NUM_SUSPECT_GROUPS = 8
"""Jobs that were open in a replica that died are tried again one by one if they are few, else first in groups."""
MAX_FAILED_STARTS = 3
"""Replicas that may fail to start in a row before the run ends with the reason."""
HUNG_SECONDS = 1800.0
"""A replica that does not answer for so long, or makes no step though it has requests, is ended like one that died. The
longest step there is, prefill of a big model on a CPU, takes minutes; loads are not counted."""
UNKNOWN = -1
NOTHING_KNOWN: Known = {}


@dataclass(frozen=True, slots=True)
class Job:
    """One problem for one model: every strategy that still misses draws of it.

    `num_draws` is the most that it can still cause. `known` is filled just before the job is handed to a worker, when
    `num_known` is not 0; UNKNOWN when the job was open in a replica that died.
    """

    model: str
    problem: str
    root: str
    prompt: Tokens
    strategies: tuple[str, ...]
    num_draws: int
    num_known: int = 0
    asked: Problem | None = None
    """For a scorer; None in a run that has none."""
    known: Known = field(default_factory=lambda: NOTHING_KNOWN, repr=False)


@dataclass(frozen=True)
class SetAside:
    """A job that the run was finished without, and why."""

    model: str
    problem: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScorerReport:
    """What a worker's scorer did. `counters` and `full` are of the same moments as those of the model beside it."""

    model: str
    counters: Counters
    full: Counters
    facts: Mapping[str, object]
    """What its engine says of itself."""
    num_in_flight: int
    load_seconds: float
    """What it took of the time in which the model beside it was loaded: nothing where it was there already."""


@dataclass(slots=True)
class Report:
    """What a worker did since its last report, and what it could take.

    `draws` are encoded (`store.encode`). Counters and seconds run from the moment the model was loaded; `full` and
    `full_seconds` are theirs when the last job was admitted, from where on the engine only drains.
    """

    draws: bytes = b""
    num_draws: int = 0
    num_scores: int = 0
    """Draws among them that a scorer made."""
    num_output_tokens: int = 0
    finished: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Problem -> what the engine said."""
    num_wanted: int = 0
    """Draws of further jobs that it could take."""
    num_free: int = 0
    """Requests that could start at once."""
    num_queued: int = 0
    """Draws of jobs that it has and has not started."""
    num_in_flight: int = 0
    counters: Counters = field(default_factory=Counters)
    full: Counters = field(default_factory=Counters)
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the engine says of itself."""
    scorer: ScorerReport | None = None
    """None in a run that has none."""
    seconds: float = 0.0
    full_seconds: float = 0.0
    death: str = ""
    """Why the engine can answer no more."""
    mistake: str = ""
    """What the user must mend, in one line."""
    bug: str = ""
    """The trace of what a job raised."""


class Replica(Protocol):
    """One engine somewhere. Its calls raise ReplicaDied when it is gone; start and hold also StartFailed."""

    async def start(self) -> None:
        """Import the engine."""
        ...

    async def hold(self, model: Model, following: Model | None = None) -> int:
        """Make `model` the one that jobs are drawn from; the draws that it can take at once.

        The weights of the one that will probably be held then are brought near meanwhile.
        """
        ...

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:
        """Take jobs; report when it runs low, and after `seconds` at the latest."""
        ...

    async def release(self, model: str, num_draws: int) -> list[str]:
        """Give back problems that were not started, worth about so many draws."""
        ...

    def close(self) -> None:
        """End it and free its place."""
        ...


class ReplicaDied(RuntimeError):
    """`blames_jobs` unless it is known that something else ended it, such as the loss of its node."""

    def __init__(self, reason: str, blames_jobs: bool = True) -> None:
        super().__init__(reason)
        self.blames_jobs = blames_jobs


class StartFailed(RuntimeError):
    """A replica could not start or not load the model; the message is one line."""


class JobFailed(RuntimeError):
    """A job raised what no engine raises: a bug. The message holds the worker's trace."""


@dataclass(frozen=True, slots=True)
class Event:
    """What `on_event` is told: a model was loaded (with the seconds that took), a replica reported, a shift is over."""

    shift: int
    replica: int
    model: str
    report: Report
    start_seconds: float = 0.0
    load_seconds: float = 0.0
    is_over: bool = False


@dataclass(frozen=True)
class Fault:
    """What `on_fault` is told: something went wrong that the run survives."""

    kind: Literal["replica_died", "start_failed", "job_refused", "job_set_aside"]
    reason: str
    model: str = ""
    replica: int | None = None
    problem: str = ""
    num_open_jobs: int = 0
    """Of a replica that died."""


def _no_matter(_: Fault) -> None:
    """Whoever does not ask is not told."""


class Queue:
    """Jobs that nobody has: per model, longest first, and groups of suspects."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.jobs: dict[str, deque[Job]] = {}
        self.num_draws: Counter[str] = Counter()
        self.suspects: dict[str, deque[list[Job]]] = {}
        for job in sorted(jobs, key=lambda job: -job.num_draws):
            self.jobs.setdefault(job.model, deque()).append(job)
            self.num_draws[job.model] += job.num_draws

    def models(self) -> list[str]:
        """Those with something to do."""
        return [name for name in self.jobs if self.jobs[name] or self.suspects.get(name)]

    def take(self, model: str, num_draws: int) -> list[Job]:
        """The next jobs, worth so many draws or a little more."""
        waiting, taken = self.jobs[model], []
        while waiting and num_draws > 0:
            taken.append(waiting.popleft())
            num_draws -= taken[-1].num_draws
            self.num_draws[model] -= taken[-1].num_draws
        return taken

    def take_suspects(self, model: str) -> list[Job]:
        groups = self.suspects.get(model)
        return groups.popleft() if groups else []

    def put_first(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self.jobs[job.model].appendleft(job)
            self.num_draws[job.model] += job.num_draws

    def put_last(self, job: Job) -> None:
        self.jobs[job.model].append(job)
        self.num_draws[job.model] += job.num_draws

    def put_suspects(self, jobs: Sequence[Job], num_groups: int) -> None:
        """Each group will be the only one open in a replica."""
        for at in range(min(num_groups, len(jobs))):
            group = list(jobs[at::num_groups])
            self.suspects.setdefault(group[0].model, deque()).append(group)


@dataclass(eq=False)
class Shift:
    """One replica's time with one model, and the jobs that it was handed and has not finished."""

    number: int
    replica_number: int
    replica: Replica
    model: str
    started: float
    opened: dict[str, Job] = field(default_factory=dict)
    num_queued: int = 0
    num_draws: int = 0
    stepped: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of its engines, by what each is for: steps, and when it last told of a new one, or had nothing to do."""
    is_loaded: bool = False
    is_trial: bool = False
    """It holds one group of suspects and gets nothing else until these are done."""

    def seconds_to_start_queue(self, now: float) -> float:
        """Until it would have started all that it has, at the speed it had so far."""
        return self.num_queued * (now - self.started) / (self.num_draws + 1)


@dataclass(eq=False)
class Dispatch:
    """Has every job drawn; calls back with every batch of draws, on the driver's loop.

    `models` are in the order in which they are begun while there are models that no replica holds. `replicas(at_most)`
    gives replicas that are not started yet, as many as there is room for; more when there is more room or when one was
    closed. `with_known` fills in what is known of jobs.
    """

    models: Mapping[str, Model]
    replicas: Callable[[int], AsyncIterator[Replica]]
    with_known: Callable[[Sequence[Job]], list[Job]]
    on_draws: Callable[[bytes, int], None]
    on_event: Callable[[Event], None]
    on_fault: Callable[[Fault], None] = _no_matter

    async def run(self, jobs: Sequence[Job]) -> list[SetAside]:
        """Run every job; those that had to be set aside.

        Raises JobFailed when a job has a bug, UserError when no replica can start or an engine refuses the user.
        """
        self.queue = Queue(jobs)
        self.num_left = len(jobs)
        self.set_aside: list[SetAside] = []
        self.shifts: dict[str, set[Shift]] = {name: set() for name in self.queue.jobs}
        self.rich: dict[str, set[Shift]] = {name: set() for name in self.queue.jobs}
        self.num_shifts = 0
        self.num_failed_starts = 0
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.news = asyncio.Event()
        self.is_over = asyncio.Event()
        self.numbers, self.shift_numbers = count(), count()
        if jobs:
            await self._run_to_the_end()
        return self.set_aside

    async def _run_to_the_end(self) -> None:
        try:
            async with asyncio.TaskGroup() as self.tasks:
                self.serving = {self.tasks.create_task(self._recruit())}
                await self.is_over.wait()
                for each in self.serving:
                    each.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from None

    async def _recruit(self) -> None:
        """Put every replica that can be had to work."""
        async for replica in self.replicas(self.num_left):
            task = self.tasks.create_task(self._serve(next(self.numbers), replica))
            self.serving.add(task)
            task.add_done_callback(self.serving.discard)
            task.add_done_callback(lambda _, ended=replica: ended.close())

    async def _serve(self, number: int, replica: Replica) -> None:
        """The life of one replica: one model after another, until it dies or nothing is left."""
        shift: Shift | None = None
        num_wanted = 0
        clock = asyncio.get_running_loop().time
        try:
            started = clock()
            await replica.start()
            start_seconds = clock() - started
            while True:
                model = await self._next_model(shift)
                if shift is None or shift.model != model:
                    self._end(shift)
                    shift = self._begin(number, replica, model)
                    num_wanted = await self._load(shift, start_seconds)
                    start_seconds = 0.0
                await self._draw(shift, num_wanted)
        except ReplicaDied as death:
            if shift is not None and shift.is_loaded:
                num_open = len(shift.opened)
                self.on_fault(
                    Fault("replica_died", str(death), shift.model, number, num_open_jobs=num_open)
                )
                self._requeue(shift, death)
            elif death.blames_jobs:
                await self._note_failed_start(number, shift, str(death))
        except StartFailed as failure:
            await self._note_failed_start(number, shift, str(failure))
        finally:
            self._end(shift)

    async def _next_model(self, shift: Shift | None) -> str:
        """The model it holds, else the first that nobody holds, else the one with most to do."""
        held = shift.model if shift is not None else None
        while True:
            waiting = self.queue.models()
            if held in waiting or (held and self._victim(held, shift)):
                return held
            if unheld := self._unheld():
                return unheld.name
            if waiting:
                return max(waiting, key=lambda name: self.queue.num_draws[name])
            await self._wait_for_news()

    def _unheld(self) -> Model | None:
        """The first model with something to do that no replica holds."""
        waiting = set(self.queue.models())
        unheld = (
            each for name, each in self.models.items() if name in waiting and not self.shifts[name]
        )
        return next(unheld, None)

    async def _wait_for_news(self) -> None:
        """Until jobs came back to the queue, or a while has passed and there may be some to take from others."""
        waiting = asyncio.ensure_future(self.news.wait())
        try:
            await asyncio.wait([waiting], timeout=self.report_seconds)
        finally:
            waiting.cancel()

    def _tell_news(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def _begin(self, number: int, replica: Replica, model: str) -> Shift:
        shift = Shift(next(self.shift_numbers), number, replica, model, 0.0)
        self.shifts[model].add(shift)
        self.num_shifts += 1
        return shift

    def _end(self, shift: Shift | None) -> None:
        if shift is not None and shift in self.shifts[shift.model]:
            self.shifts[shift.model].remove(shift)
            self.rich[shift.model].discard(shift)
            self.num_shifts -= 1
            if shift.is_loaded:
                self.on_event(_event(shift, Report(), is_over=True))

    async def _load(self, shift: Shift, start_seconds: float) -> int:
        clock = asyncio.get_running_loop().time
        shift.started = clock()
        num_wanted = await shift.replica.hold(self.models[shift.model], self._unheld())
        now = clock()
        self.num_failed_starts = 0
        loaded = _event(shift, Report(), start_seconds, now - shift.started)
        self.on_event(loaded)
        shift.started = now
        shift.is_loaded = True
        return num_wanted

    async def _draw(self, shift: Shift, num_wanted: int) -> None:
        """Exchange jobs for draws until the replica has finished what it has and there is no more for it."""
        report = Report(num_wanted=num_wanted, num_free=num_wanted)
        while True:
            jobs = self._take(shift, report)
            is_tried = shift.is_trial and bool(shift.opened)
            if not jobs and report.num_free and not report.num_queued and not is_tried:
                await self._steal(shift)
                jobs = self._take(shift, report)
            if not shift.opened:
                return
            report = await self._exchange(shift, self._informed(jobs))
            self._record(shift, report)
            self._check_that_it_steps(shift, report)

    async def _exchange(self, shift: Shift, jobs: list[Job]) -> Report:
        """Raises ReplicaDied also when it does not answer."""
        try:
            async with asyncio.timeout(self.report_seconds + HUNG_SECONDS):
                return await shift.replica.exchange(jobs, self.report_seconds)
        except TimeoutError:
            raise ReplicaDied(f"it did not answer for {HUNG_SECONDS:.0f} s") from None

    def _check_that_it_steps(self, shift: Shift, report: Report) -> None:
        """Raise ReplicaDied when one of its engines hangs. Those that know no steps have a patience of their own."""
        now = asyncio.get_running_loop().time()
        engines = [("engine", report.counters.steps, report.num_in_flight)]
        if scorer := report.scorer:
            engines.append(("scorer's engine", scorer.counters.steps, scorer.num_in_flight))
        for name, num_steps, num_in_flight in engines:
            before, since = shift.stepped.get(name, (0, now))
            if num_steps != before or not num_steps or not num_in_flight:
                shift.stepped[name] = num_steps, now
            elif now > since + HUNG_SECONDS:
                raise ReplicaDied(f"its {name} made no step for {HUNG_SECONDS:.0f} s")

    @property
    def report_seconds(self) -> float:
        return max(REPORT_SECONDS, self.num_shifts / EXCHANGES_PER_SECOND)

    def _take(self, shift: Shift, report: Report) -> list[Job]:
        """Jobs for a replica: a group of suspects if it has nothing open, else its fair share of the queue."""
        if shift.opened and shift.is_trial:
            return []
        jobs = [] if shift.opened else self.queue.take_suspects(shift.model)
        shift.is_trial = bool(jobs)
        if not jobs:
            jobs = self.queue.take(
                shift.model, min(report.num_wanted, self._fair_share(shift, report))
            )
        shift.opened |= {job.problem: job for job in jobs}
        self._set_queued(shift, shift.num_queued + sum(job.num_draws for job in jobs))
        return jobs

    def _fair_share(self, shift: Shift, report: Report) -> int:
        """Draws: half of what would be each replica's part of the queue, so that parts shrink towards the end."""
        left, num_holders = self.queue.num_draws[shift.model], len(self.shifts[shift.model])
        return max(left // (2 * num_holders), report.num_free, 1)

    def _informed(self, jobs: list[Job]) -> list[Job]:
        if not any(job.num_known for job in jobs):
            return jobs
        told = iter(self.with_known([job for job in jobs if job.num_known]))
        return [next(told) if job.num_known else job for job in jobs]

    def _record(self, shift: Shift, report: Report) -> None:
        if report.num_draws:
            self.on_draws(report.draws, report.num_draws)
        shift.num_draws += report.num_draws
        self._set_queued(shift, report.num_queued)
        for problem in report.finished:
            del shift.opened[problem]
        for problem, reason in report.refused.items():
            self._refuse(shift.opened.pop(problem), reason)
        self._count_down(len(report.finished))
        self.on_event(_event(shift, report))
        if report.mistake:
            raise UserError(report.mistake)
        if report.bug:
            raise JobFailed(report.bug)
        if report.death:
            raise ReplicaDied(report.death)

    def _count_down(self, num_done: int) -> None:
        self.num_left -= num_done
        if not self.num_left:
            self.is_over.set()

    # Stealing

    def _set_queued(self, shift: Shift, num_queued: int) -> None:
        shift.num_queued = num_queued
        if num_queued > 0 and not shift.is_trial:
            self.rich[shift.model].add(shift)
        else:
            self.rich[shift.model].discard(shift)

    def _victim(self, model: str, thief: Shift | None) -> Shift | None:
        """Of the replicas that hold the model, the one that would be last to start all that it has."""
        now = asyncio.get_running_loop().time()
        others = (each for each in self.rich[model] if each is not thief)
        return max(others, key=lambda each: each.seconds_to_start_queue(now), default=None)

    async def _steal(self, shift: Shift) -> None:
        """Have the slowest give back half of what it has not started; wait for that a while, it may hang."""
        victim = self._victim(shift.model, shift)
        if victim is not None:
            num_draws = (victim.num_queued + 1) // 2
            self._set_queued(victim, victim.num_queued - num_draws)
            releasing = self.tasks.create_task(self._release(victim, num_draws))
            await asyncio.wait([releasing], timeout=self.report_seconds)

    async def _release(self, victim: Shift, num_draws: int) -> None:
        try:
            problems = await victim.replica.release(victim.model, num_draws)
        except ReplicaDied:
            return  # whoever serves it sees the same and puts all its jobs back
        self.queue.put_first(
            victim.opened.pop(problem) for problem in problems if problem in victim.opened
        )
        self._tell_news()

    # Faults

    def _requeue(self, shift: Shift, death: ReplicaDied) -> None:
        """Put back what was open in a replica that died."""
        jobs = [_forgotten(job) for job in shift.opened.values()]
        shift.opened.clear()
        if death.blames_jobs and jobs:
            self._suspect(jobs, str(death))
        elif shift.is_trial:
            self.queue.put_suspects(jobs, 1)
        else:
            self.queue.put_first(jobs)
        self._tell_news()

    def _suspect(self, jobs: Sequence[Job], reason: str) -> None:
        """Try them again, ever fewer at a time, so that in the end only the guilty one is blamed."""
        for job in jobs:
            name = (job.model, job.problem)
            self.attempts[name] += len(jobs) == 1 or not self.attempts[name]
        num_attempts = self.attempts[jobs[0].model, jobs[0].problem]
        if len(jobs) == 1 and num_attempts >= MAX_ATTEMPTS:
            self._set_aside(
                jobs[0], f"killed its engine {num_attempts} times, at last alone: {reason}"
            )
        else:
            is_few = len(jobs) <= NUM_TRIED_ALONE
            self.queue.put_suspects(jobs, len(jobs) if is_few else NUM_SUSPECT_GROUPS)

    def _refuse(self, job: Job, reason: str) -> None:
        """Try a job again that the engine would not do, after all others."""
        self.attempts[job.model, job.problem] += 1
        if self.attempts[job.model, job.problem] >= MAX_ATTEMPTS:
            self._set_aside(job, reason)
        else:
            self.on_fault(Fault("job_refused", reason, job.model, problem=job.problem))
            self.queue.put_last(_forgotten(job))
            self._tell_news()

    def _set_aside(self, job: Job, reason: str) -> None:
        self.set_aside.append(SetAside(job.model, job.problem, reason))
        self.on_fault(Fault("job_set_aside", reason, job.model, problem=job.problem))
        self._count_down(1)

    async def _note_failed_start(self, number: int, shift: Shift | None, reason: str) -> None:
        """Keep the place closed for a while; give up when starts fail in a row and nobody draws."""
        model = shift.model if shift is not None else ""
        self._end(shift)
        self.on_fault(Fault("start_failed", reason, model, number))
        self.num_failed_starts += 1
        if self.num_failed_starts >= MAX_FAILED_STARTS and not self._anybody_draws():
            raise UserError(f"no engine could be started: {reason}")
        await asyncio.sleep(min(60, 2**self.num_failed_starts))

    def _anybody_draws(self) -> bool:
        return any(shift.is_loaded for shifts in self.shifts.values() for shift in shifts)


def _event(
    shift: Shift,
    report: Report,
    start_seconds: float = 0.0,
    load_seconds: float = 0.0,
    is_over: bool = False,
) -> Event:
    names = (shift.number, shift.replica_number, shift.model)
    return Event(*names, report, start_seconds, load_seconds, is_over)


def _forgotten(job: Job) -> Job:
    """The job without what was known of it: more is by now."""
    return replace(job, num_known=UNKNOWN)


def _first(group: BaseExceptionGroup) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
