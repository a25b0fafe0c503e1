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
from scaling_exp.generation import Forest, Fresh, Sampler, Score, Strategy
from scaling_exp.runtime import Gate, run_all
from scaling_exp.strategies import (
    AdaptiveConsistency,
    AdaptiveVoting,
    Beam,
    BudgetForcing,
    Dvts,
    Greedy,
    MonteCarloTreeSearch,
    ParallelSampling,
    ParticleFiltering,
    Rebase,
    Steps,
)
from scaling_exp.types import Sampling, Tokens

STEP_END, END = 5, 6
"""Tokens that end a step of an answer, and the answer: one step in five is its last."""
NUM_CHILDREN, NUM_STEPS = 4, 8
"""Of a path in a search, and of an answer at most."""


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
        """One of each shape: one request, all at once, waves, levels, a chain, and one step after another."""
        num, sampling = self.num_samples, Sampling(max_tokens=self.longest)
        step = Sampling(max_tokens=self.longest, stop_token_ids=(STEP_END,))
        steps = Steps(step, NUM_STEPS, NUM_STEPS * self.longest)
        thinking = replace(step, max_tokens=steps.max_tokens)
        width = max(NUM_CHILDREN, num // NUM_CHILDREN)
        return {
            "greedy": Greedy(self.longest),
            f"sampling {num}": ParallelSampling(num, sampling),
            f"adaptive voting {num}": AdaptiveVoting(num, sampling),
            f"adaptive consistency {num}": AdaptiveConsistency(num, sampling),
            f"beam {width}": Beam(width, steps, NUM_CHILDREN),
            f"dvts {width}": Dvts(width, steps, NUM_CHILDREN),
            f"rebase {width}": Rebase(width, steps),
            f"particle filtering {width}": ParticleFiltering(width, steps),
            f"mcts {width}": MonteCarloTreeSearch(width, NUM_CHILDREN, steps),
            "budget forcing 4 x 4": BudgetForcing(4, 4, "Wait", thinking, "", self.longest),
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
            end = draw.choices((STEP_END, END), (4, 1))[0]
            return (*(answer,) * (draw.randint(self.shortest, self.longest) - 1), end)

        return Simulated(self.num_slots, 0.01, 0.0, respond)


def _forest(problem: int, sampler: Sampler) -> Forest:
    return Forest(
        prompt=(problem,),
        source=Fresh(sampler),
        root=f"bench/{problem}",
        read=lambda tokens: str(tokens[0]),
        end_tokens=(END,),
        scorer=_score,
        encode=lambda _: (0,),
    )


async def _score(answer: Tokens) -> Score:
    """By lot, at once: a scorer has an engine of its own."""
    return Score((Random(hash(answer)).random(),), len(answer))


def _occupancy(counters: Sequence[Counters]) -> float:
    """Of several engines one after another."""
    return sum(each.slot_steps for each in counters) / sum(
        each.steps * each.num_slots for each in counters
    )
