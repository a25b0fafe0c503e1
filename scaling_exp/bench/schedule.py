"""How full an engine is kept, on the simulated engine: by the gate, and by what other tools do.

Every strategy over many problems, three ways: one problem at a time, batches with a barrier between them, and the gate.
Then all strategies as runs of their own against one queue. Slots are counted step by step, so there is nothing to
repeat and nothing to average.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from scaling_exp.bench.result import Result, Row, Setup, check_positive
from scaling_exp.engines import Counters
from scaling_exp.engines.simulated import Simulated
from scaling_exp.generation import Bound, Forest, Fresh, Sampler, Strategy
from scaling_exp.runtime import Gate, run_all
from scaling_exp.strategies import AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.types import Path, Sampling, Tokens


@dataclass(frozen=True)
class Levels:
    """The shape of a search without its scores: `width` continuations of every level's first node, `depth` levels."""

    width: int
    depth: int
    sampling: Sampling

    async def __call__(self, forest: Forest) -> None:
        parent: Path = ()
        for _ in range(self.depth):
            nodes = await forest.extend_all(parent, range(self.width), self.sampling)
            parent = nodes[0].path
        forest.accept(parent)

    @property
    def bound(self) -> Bound:
        return Bound(self.width, self.sampling, is_exact=False)

    @property
    def max_new_tokens(self) -> int:
        return self.depth * self.sampling.max_tokens


@dataclass(frozen=True)
class ScheduleBench:
    """`num_problems` for an engine of `num_slots`; completions of `shortest` to `longest` tokens."""

    num_slots: int
    num_problems: int
    num_samples: int
    batch: int
    shortest: int
    longest: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self))
        if self.longest < self.shortest:
            raise ValueError(f"bench.longest is {self.longest}; it must be at least bench.shortest")

    @property
    def strategies(self) -> Mapping[str, Strategy]:
        """A strategy of each shape: one request, all at once, waves, levels."""
        sampling = Sampling(max_tokens=self.longest)
        return {
            "greedy": Greedy(self.longest),
            f"sampling {self.num_samples}": ParallelSampling(self.num_samples, sampling),
            f"adaptive voting {self.num_samples}": AdaptiveVoting(self.num_samples, sampling),
            "search 16 wide, 8 deep": Levels(16, 8, sampling),
            "search 4 wide, 20 deep": Levels(4, 20, sampling),
        }

    def run(self, setup: Setup) -> Result:  # noqa: ARG002 - the engine here is simulated
        """A row a strategy and one for all in one queue."""
        return asyncio.run(self._measure())

    async def _measure(self) -> Result:
        strategies = list(self.strategies.values())
        rows = [await self._row(name, [each]) for name, each in self.strategies.items()]
        rows.append(await self._row("all in one queue", strategies))
        alone = [await self._gated([each]) for each in strategies]
        note = (
            "occupancy of an engine's slots, to the end of the drain; 'until the last': until the last job was"
            f" admitted.\nThe {len(alone)} strategies as runs of their own: {_occupancy([e for _, e in alone]):.1%};"
            f" in one queue: {rows[-1]['gate']:.1%}"
        )
        title = f"{self.num_problems} problems, {self.num_slots} slots"
        return Result(title, tuple(rows), (note,))

    async def _row(self, name: str, strategies: Sequence[Strategy]) -> Row:
        until_last, gated = await self._gated(strategies)
        return {
            "strategy": name,
            "one at a time": _occupancy([await self._one_at_a_time(strategies)]),
            f"batches of {self.batch}": _occupancy([await self._in_batches(strategies)]),
            "gate": _occupancy([gated]),
            "gate, until the last": until_last.occupancy,
        }

    async def _gated(self, strategies: Sequence[Strategy]) -> tuple[Counters, Counters]:
        """Counters when the last job was admitted, and at the end."""
        engine = self._engine().start()
        gate = Gate(engine)
        at_last = Counters()

        async def jobs() -> AsyncIterator[tuple[Strategy, int]]:
            nonlocal at_last
            for strategy in strategies:
                for problem in range(self.num_problems):
                    yield strategy, problem
            at_last = replace(engine.counters)

        async def run(job: tuple[Strategy, int]) -> None:
            strategy, problem = job
            await strategy(_forest(problem, gate))

        await run_all(jobs(), run, lambda job: job[0].bound.num_samples, gate)
        await engine.close()
        return at_last, engine.counters

    async def _one_at_a_time(self, strategies: Sequence[Strategy]) -> Counters:
        return await self._barriers(strategies, 1)

    async def _in_batches(self, strategies: Sequence[Strategy]) -> Counters:
        return await self._barriers(strategies, self.batch)

    async def _barriers(self, strategies: Sequence[Strategy], batch: int) -> Counters:
        engine = self._engine().start()
        for strategy in strategies:
            for first in range(0, self.num_problems, batch):
                problems = range(first, min(first + batch, self.num_problems))
                await asyncio.gather(*(strategy(_forest(each, engine)) for each in problems))
        await engine.close()
        return engine.counters

    def _engine(self) -> Simulated:
        def respond(prefix: Tokens, seed: int) -> Tokens:
            """An answer among four, as long as the seed says."""
            draw = Random(hash((prefix, seed)))
            answer = draw.choices((1, 2, 3, 4), (4, 2, 1, 1))[0]
            return (answer,) * draw.randint(self.shortest, self.longest)

        return Simulated(self.num_slots, 0.01, 0.0, respond)


def _forest(problem: int, sampler: Sampler) -> Forest:
    return Forest((problem,), Fresh(sampler), f"bench/{problem}", lambda tokens: str(tokens[0]))


def _occupancy(counters: Sequence[Counters]) -> float:
    """Of several engines one after another."""
    return sum(each.slot_steps for each in counters) / sum(
        each.steps * each.num_slots for each in counters
    )
