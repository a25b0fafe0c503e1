"""Keep one engine full: a job per problem, admitted by how many requests are in flight.

A wave or a level inside one problem waits only for itself; other problems fill the engine. This module knows an engine
and coroutines; it does not know what engine runs, nor where jobs come from.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

from scaling_exp.engines import Engine
from scaling_exp.types import Completion, Sampling, Tokens

Job = TypeVar("Job")
Request = tuple[Tokens, Sampling, int]
"""Prefix, sampling and seed."""

HEADROOM = 1.5
"""Requests in flight over engine slots: a finished request finds its successor waiting, and jobs of many steps, of
which more are open then, end closer together."""
TOLERATED = 0.5
"""Preemptions a finished request. Fewer cost less than the slots that avoiding them would leave empty."""
BACK_OFF = 0.9
"""What more of them leave of the target."""


@dataclass(eq=False)
class Target:
    """How many requests may be in flight, found by trying: AIMD, as in TCP (Chiu and Jain 1989).

    It starts at what fits into the KV cache even if every request grows to the model's limit, and grows by one with
    every request that finishes, so it doubles with every batch. When the engine thrashes, and computes again and again
    the prefixes that it preempted, it goes back by a tenth, and grows by one a batch from then on.
    """

    safe: int
    ceiling: int

    def __post_init__(self) -> None:
        if not 1 <= self.safe <= self.ceiling:
            raise ValueError(f"a target between {self.safe} and {self.ceiling} requests")
        self.value = float(self.safe)
        self._is_slow = False
        self._num_finished = self._num_preempted = 0

    def finished(self, num_preempted: int, num_in_flight: int) -> None:
        """A request finished; `num_preempted` preemptions happened since the one before."""
        self._num_finished += 1
        self._num_preempted += num_preempted
        if self._num_preempted > TOLERATED * self.value:
            self._is_slow = True
            self._begin_batch(max(self.safe, BACK_OFF * min(self.value, num_in_flight)))
            return
        is_used = num_in_flight >= self.value - 1
        if self._num_finished >= self.value:
            self._begin_batch(self.value + is_used)
        elif is_used and not self._is_slow:
            self.value = min(self.ceiling, self.value + 1)

    def _begin_batch(self, target: float) -> None:
        self.value = min(self.ceiling, target)
        self._num_finished = self._num_preempted = 0


class Held(asyncio.Future[Completion]):
    """A request before the engine, in a queue, and then the answer to it. To cancel it is to take it out of either."""

    def __init__(self, request: Request, queue: deque[Held]) -> None:
        super().__init__()
        self.request = request
        self._queue = queue
        self._answer: asyncio.Future[Completion] | None = None

    def enter(self, engine: Callable[[*Request], asyncio.Future[Completion]]) -> None:
        """It is out of the queue now: end as the engine's answer does."""
        try:
            self._answer = engine(*self.request)
        except Exception as error:  # noqa: BLE001 - it is raised where the request is awaited
            self.set_exception(error)
        else:
            self._answer.add_done_callback(self._end)

    def cancel(self, msg: object = None) -> bool:
        if self._answer is not None:
            self._answer.cancel()
        elif not self.done():
            self._queue.remove(self)
        return super().cancel(msg)

    def _end(self, answer: asyncio.Future[Completion]) -> None:
        if self.done():
            return
        if answer.cancelled():
            self.cancel()
        elif error := answer.exception():
            self.set_exception(error)
        else:
            self.set_result(answer.result())


@dataclass(eq=False)
class Gate:
    """Keeps the number of requests in the engine at a target, and asks for jobs while it has too few. A `Sampler`.

    The target is a little more than the engine can run at once, so that a finished request finds its successor waiting
    and none waits long; less where the KV cache does not hold as many. Requests beyond it are held here, in order.
    """

    engine: Engine

    def __post_init__(self) -> None:
        ceiling = round(HEADROOM * self.engine.num_slots)
        is_held = self.engine.num_safe >= self.engine.num_slots
        self._target = Target(ceiling if is_held else self.engine.num_safe, ceiling)
        self._num_preempted = 0
        self._num_in_engine = 0
        self._held: deque[Held] = deque()
        self._changed = asyncio.Event()

    @property
    def target(self) -> int:
        """Requests that should be in the engine now."""
        return int(self._target.value)

    @property
    def num_in_flight(self) -> int:
        """Requests in the engine and held before it."""
        return self._num_in_engine + len(self._held)

    def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> asyncio.Future[Completion]:
        if self._num_in_engine < self.target:
            return self._enter(prefix, sampling, seed)
        held = Held((prefix, sampling, seed), self._held)
        self._held.append(held)
        return held

    async def opening(self) -> int:
        """Once there is room for another job: for so many requests."""
        while self.num_in_flight >= self.target:
            self._changed.clear()
            await self._changed.wait()
        return self.target - self.num_in_flight

    def _enter(self, *request: *Request) -> asyncio.Future[Completion]:
        answer = asyncio.ensure_future(self.engine(*request))
        self._num_in_engine += 1
        answer.add_done_callback(self._leave)
        return answer

    def _leave(self, _answer: asyncio.Future[Completion]) -> None:
        """Give a place back, and places that are free to those who were held first."""
        before, self._num_preempted = self._num_preempted, self.engine.counters.num_preemptions
        self._target.finished(self._num_preempted - before, self._num_in_engine)
        self._num_in_engine -= 1
        while self._held and self._num_in_engine < self.target:
            self._held.popleft().enter(self._enter)
        self._changed.set()


async def run_all(
    jobs: AsyncIterator[Job],
    run: Callable[[Job], Coroutine[None, None, None]],
    at_once: Callable[[Job], int],
    gate: Gate,
) -> None:
    """Run every job that `jobs` yields; one is asked for when there is room for it, and not before.

    `at_once` is the most requests that a job makes before one of them is answered: as many jobs as surely fit are
    admitted in one turn of the event loop. The first to raise cancels the others and its exception propagates.
    """
    async with asyncio.TaskGroup() as group:
        room = await gate.opening()
        async for job in jobs:
            group.create_task(run(job))
            room -= at_once(job)
            if room <= 0:
                await asyncio.sleep(
                    0
                )  # let the jobs submit their first requests before counting again
                room = await gate.opening()
