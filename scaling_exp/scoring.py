"""What gives a worker's scores: an engine that holds the scorer's model, or the task's grader.

Either works beside the engine that draws, so that other problems go on meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Protocol

from scaling_exp.engines import Counters, Engine, EngineConfig
from scaling_exp.generation import Sampler
from scaling_exp.grading import Grading
from scaling_exp.models import Model
from scaling_exp.runtime import Gate
from scaling_exp.scorers import ScorerModel, Verifier, answer_in, verdict_of
from scaling_exp.types import Completion, Problem, Sampling, Tokens, UserError

MOST_PROCESSES = 8
"""In which one worker grades; a machine may have as many workers as accelerators."""


class Service(Protocol):
    """Answers what a scorer asks."""

    @property
    def counters(self) -> Counters:
        """What it has done since `begin`, a copy."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """What the engine says of itself."""
        ...

    @property
    def num_in_flight(self) -> int: ...

    def begin(self) -> None:
        """Start new counters."""
        ...

    def on(self, problem: Problem | None) -> Sampler:
        """What is asked about answers to one problem."""
        ...

    async def close(self) -> None: ...


async def start(scorer: ScorerModel, engine: EngineConfig) -> Service:
    """Whatever answers for a scorer, ready. Raises what an engine's `hold` does, and UserError."""
    if isinstance(scorer, Verifier):
        return await Verdicts.of(scorer)
    assert scorer.model is not None
    held = engine.start()
    await held.hold(scorer.model)
    return ByModel(held, scorer.model)


@dataclass(eq=False)
class ByModel:
    """An engine with the scorer's model."""

    engine: Engine
    model: Model

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.engine.counters = Counters(num_slots=self.engine.num_slots)
        self.gate = Gate(self.engine)

    @property
    def counters(self) -> Counters:
        return replace(self.engine.counters)

    @property
    def facts(self) -> Mapping[str, object]:
        return self.engine.facts

    @property
    def num_in_flight(self) -> int:
        return self.gate.num_in_flight

    def on(self, problem: Problem | None) -> Sampler:  # noqa: ARG002 - a model reads all in its prefix
        return self._ask

    async def _ask(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        """Raises UserError for more than the model takes (how long an answer is in its tokens is not known before), and
        for a score that is not a number: it would rank nowhere, and must not get into the pool."""
        if (needed := len(prefix) + (not sampling.pooling)) > self.model.max_tokens:
            raise UserError(
                f"scorer.path: {self.model.path} takes {self.model.max_tokens} tokens, and to score an answer that was"
                f" drawn wants {needed}: lower max_tokens, or choose another scorer"
            )
        completion = await self.gate(prefix, sampling, seed)
        if any(map(isnan, completion.scores)):
            raise UserError(
                f"scorer.path: {self.model.path} gives NaN for an answer: its weights may want a wider precision, e.g."
                " scorer.dtype=float32; or choose another scorer"
            )
        return completion

    async def close(self) -> None:
        await self.engine.close()


@dataclass(eq=False)
class Verdicts:
    """A grader; what may take it long is done in processes that can be killed.

    Its counters know verdicts as requests, and the seconds with at least one under way.
    """

    version: str
    """The grader's."""
    grading: Grading
    num_in_flight: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.begin()

    @classmethod
    async def of(cls, verifier: Verifier) -> Verdicts:
        """Raises UserError when the grader here is another than where the run was started."""
        if (here := verifier.grader.version) != verifier.version:
            raise UserError(
                f"scorer.kind=exact: the grader is {here!r} on a worker and {verifier.version!r} where the run was"
                " started: install the same versions on both"
            )
        grading = Grading(verifier.grader, min(MOST_PROCESSES, len(os.sched_getaffinity(0))))
        await asyncio.to_thread(grading.start)
        return cls(verifier.version, grading)

    def begin(self) -> None:
        self._counters, self._busy_since = Counters(), self.clock()

    @property
    def counters(self) -> Counters:
        under_way = self.clock() - self._busy_since if self.num_in_flight else 0.0
        return replace(self._counters, busy_seconds=self._counters.busy_seconds + under_way)

    @property
    def facts(self) -> Mapping[str, object]:
        return {"grader": self.version}

    def on(self, problem: Problem | None) -> Sampler:
        assert problem is not None

        async def verdict(prefix: Tokens, sampling: Sampling, seed: int) -> Completion:  # noqa: ARG001
            if not self.num_in_flight:
                self._busy_since = self.clock()
            self.num_in_flight += 1
            try:
                return verdict_of(await self.grading.grade_beside(problem, answer_in(prefix)))
            finally:
                self.num_in_flight -= 1
                self._counters.num_requests += 1
                if not self.num_in_flight:
                    self._counters.busy_seconds += self.clock() - self._busy_since

        return verdict

    async def close(self) -> None:
        await asyncio.to_thread(self.grading.stop)
