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

HEADROOM = 1.25
"""Requests in flight over engine slots: a finished request finds its successor waiting."""
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
        self._held: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Event()

    @property
    def target(self) -> int:
        """Requests that should be in the engine now."""
        return int(self._target.value)

    @property
    def num_in_flight(self) -> int:
        """Requests in the engine and held before it."""
        return self._num_in_engine + len(self._held)

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        if self._num_in_engine < self.target:
            self._num_in_engine += 1
        else:
            await self._turn()
        try:
            return await self.engine(prefix, sampling, seed)
        finally:
            self._adjust()
            self._leave()

    async def opening(self) -> None:
        """Return once there is room for another job."""
        while self.num_in_flight >= self.target:
            self._changed.clear()
            await self._changed.wait()

    async def _turn(self) -> None:
        """Wait until a place in the engine is free; it is taken when this returns."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()
            elif turn in self._held:
                self._held.remove(turn)
            raise

    def _adjust(self) -> None:
        before, self._num_preempted = self._num_preempted, self.engine.counters.num_preemptions
        self._target.finished(self._num_preempted - before, self._num_in_engine)

    def _leave(self) -> None:
        """Give a place back, and places that are free to those who were held first."""
        self._num_in_engine -= 1
        while self._held and self._num_in_engine < self.target:
            turn = self._held.popleft()
            if not turn.done():
                self._num_in_engine += 1
                turn.set_result(None)
        self._changed.set()


async def run_all(
    jobs: AsyncIterator[Job], run: Callable[[Job], Coroutine[None, None, None]], gate: Gate
) -> None:
    """Run every job that `jobs` yields, admitting each as soon as the gate opens.

    The first job to raise cancels the others and its exception propagates.
    """
    async with asyncio.TaskGroup() as group:
        async for job in jobs:
            await gate.opening()
            group.create_task(run(job))
            await asyncio.sleep(0)  # let the job submit its first requests before counting again
