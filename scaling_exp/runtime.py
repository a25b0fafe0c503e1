"""Keep one engine full: a job per problem, admitted by how many requests are in flight.

A wave or a level inside one problem waits only for itself; other problems fill the engine. This module knows a sampler
and coroutines; it does not know what engine runs, nor where jobs come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from scaling_exp.generation import Sampler
from scaling_exp.types import Completion, Sampling, Tokens

Job = TypeVar("Job")


@dataclass(eq=False)
class Gate:
    """Counts requests in flight and opens whenever they fall below `target`.

    `target` is a little more than the engine can run at once, so that a finished request finds its successor waiting
    and none waits long. Also a `Sampler`: it passes requests on to the one that it guards.
    """

    sampler: Sampler
    target: int

    def __post_init__(self) -> None:
        if self.target < 1:
            raise ValueError(f"gate target is {self.target}; it must be at least 1")
        self.num_in_flight = 0
        self._changed = asyncio.Event()

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        self.num_in_flight += 1
        try:
            return await self.sampler(prefix, sampling, seed)
        finally:
            self.num_in_flight -= 1
            self._changed.set()

    async def opening(self) -> None:
        """Return once there is room for another job."""
        while self.num_in_flight >= self.target:
            self._changed.clear()
            await self._changed.wait()


async def run_all(
    jobs: AsyncIterator[Job], run: Callable[[Job], Awaitable[None]], gate: Gate
) -> None:
    """Run every job that `jobs` yields, admitting each as soon as the gate opens.

    The first job to raise cancels the others and its exception propagates.
    """
    async with asyncio.TaskGroup() as group:
        async for job in jobs:
            await gate.opening()
            group.create_task(_running(run, job))
            await asyncio.sleep(0)  # let the job submit its first requests before counting again


async def _running(run: Callable[[Job], Awaitable[None]], job: Job) -> None:
    await run(job)
