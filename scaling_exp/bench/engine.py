"""Ours against raw vLLM: the path from strategy to engine beside one call of `LLM.generate` on the same requests.

Same prompts and seeds, in turns, through one and the same engine where it lives in this process: of two that are
loaded one after the other, one was up to 7 % slower at equal steps. What differs is what is ours: forest, pool, gate,
encoding of the draws. Tokens are counted at the outputs of either.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple
from unittest.mock import patch

from rich.console import Console
from rich.progress import track

from scaling_exp.bench.result import (
    Result,
    Row,
    Setup,
    alternate,
    check_positive,
    ratio_of_medians,
)
from scaling_exp.engines import VLLM, Counters, Engine
from scaling_exp.engines.vllm import InProcess, sampling_params
from scaling_exp.generation import Forest, seed_of
from scaling_exp.models import Model
from scaling_exp.runtime import Gate, run_all
from scaling_exp.store import Draw, Pooled, encode
from scaling_exp.strategies import ParallelSampling
from scaling_exp.types import Sampling, Tokens, UserError

OURS, RAW = "ours", "raw"


@dataclass(frozen=True)
class EngineBench:
    """`num_draws` draws at each number of samples a problem, `rounds` times on either path."""

    model: str
    samples: tuple[int, ...]
    num_draws: int
    max_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, "samples", "num_draws", "max_tokens", "rounds")
        if self.num_draws < max(self.samples):
            raise ValueError(
                f"bench.num_draws is {self.num_draws}; it must be at least bench.samples {self.samples}"
            )

    def run(self, setup: Setup) -> Result:
        """Raises UserError when the ladder has no such model or the engine is not vLLM."""
        engine = prepared(setup)
        rows = asyncio.run(self._measure(engine, setup))
        ratios = [float(row["ratio"] or 0) for row in rows]
        notes = (
            f"ratio: tokens/s of scaling_exp over LLM.generate (raw), medians of {self.rounds} rounds; worst"
            f" {min(ratios):.3f}",
            "us outside: of a draw outside vLLM's steps, for adding requests, taking out answers, and what is ours",
        )
        return Result(f"Generation, model {self.model}", tuple(rows), notes)

    async def _measure(self, config: VLLM, setup: Setup) -> list[Row]:
        model = setup.model(self.model)
        engine = config.start()
        await engine.hold(model)
        paths = Paths(engine, bare(engine, config, model), model, Stopwatch.of(engine))
        prompts = model.prompts(setup.task.problems())
        rows = [await self._row(paths, prompts, num_samples) for num_samples in self.samples]
        await engine.close()
        return rows

    async def _row(self, paths: Paths, prompts: Sequence[Tokens], num_samples: int) -> Row:
        strategy = ParallelSampling(num_samples, Sampling(max_tokens=self.max_tokens))
        asked = list(islice(cycle(prompts), self.num_draws // num_samples))
        speeds: dict[str, list[float]] = {OURS: [], RAW: []}
        outside: dict[str, list[float]] = {OURS: [], RAW: []}
        turns = alternate(self.rounds, (OURS, RAW))
        console, what = Console(stderr=True), f"{num_samples} samples a problem"
        for index, path in track(turns, what, console=console, disable=not console.is_terminal):
            drawn = await paths.draw(path, asked, strategy)
            if index:
                speeds[path].append(drawn.tokens_per_second)
                num_draws = len(asked) * num_samples
                outside[path].append(1e6 * (drawn.seconds - paths.core.seconds) / num_draws)
        counters = paths.engine.counters
        return {
            "samples": num_samples,
            "problems": len(asked),
            **{f"{path}, tokens/s": median(each) for path, each in speeds.items()},
            **ratio_of_medians(speeds[OURS], speeds[RAW]),
            **{
                f"{path}, us outside": median(each) if paths.core.runs else None
                for path, each in outside.items()
            },
            "occupancy": counters.occupancy,
            "prefix hits": counters.cached_tokens / counters.prompt_tokens,
            "preemptions": counters.num_preemptions,
        }


@dataclass(eq=False)
class Paths:
    """Ours and the raw one, to one engine; `core` tells the seconds of the last drawing that were the core's."""

    engine: Engine
    llm: Any
    model: Model
    core: Stopwatch

    async def draw(self, path: str, prompts: Sequence[Tokens], strategy: ParallelSampling) -> Drawn:
        self.core.seconds = 0.0
        if path == RAW:
            return raw(self.llm, self.model, prompts, strategy)
        self.engine.counters = Counters(num_slots=self.engine.num_slots)
        return await ours(self.engine, self.model, prompts, strategy)


class Drawn(NamedTuple):
    """Output tokens, and the seconds that they took."""

    num_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds


@dataclass(eq=False)
class Stopwatch:
    """Seconds that an engine's core took for its steps; it only runs for one in this process."""

    runs: bool
    seconds: float = 0.0

    @classmethod
    def of(cls, engine: Engine) -> Stopwatch:
        if not isinstance(engine, InProcess):
            return cls(runs=False)
        watch, core = cls(runs=True), engine.core.engine_core
        core.get_output = watch.timed(core.get_output)
        return watch

    def timed(self, step: Callable[[], Any]) -> Callable[[], Any]:
        def timed() -> Any:
            started = perf_counter()
            outputs = step()
            self.seconds += perf_counter() - started
            return outputs

        return timed


def prepared(setup: Setup) -> VLLM:
    """The engine, once what vLLM reads when it is imported is set as a worker has it.

    Raises UserError when the engine is not vLLM.
    """
    if not isinstance(setup.engine, VLLM):
        raise UserError("this benchmark measures vLLM: choose engine=vllm_cpu or engine=vllm_gpu")
    os.environ |= {"OMP_NUM_THREADS": str(setup.engine.num_cpus), "VLLM_LOGGING_LEVEL": "ERROR"}
    return setup.engine


def bare(engine: Engine, config: VLLM, model: Model) -> Any:
    """vLLM's `LLM`, over the engine that is given where that is in this process."""
    from vllm import LLM
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments = config.engine_arguments(model)
    if not isinstance(engine, InProcess):
        return LLM(**arguments)
    with patch.object(LLMEngine, "from_engine_args", return_value=engine.core):
        return LLM(**arguments)


async def ours(
    engine: Engine, model: Model, prompts: Sequence[Tokens], strategy: ParallelSampling
) -> Drawn:
    """Through forest, pool and gate to encoded draws."""
    draws: list[Draw] = []

    async def jobs() -> AsyncIterator[int]:
        for index in range(len(prompts)):
            yield index

    async def run(index: int) -> None:
        source = Pooled(model.name, model.fingerprint, {}, gate, draws.append)
        await strategy(Forest(prompts[index], source, str(index), lambda _: None))

    gate = Gate(engine)
    started = perf_counter()
    await run_all(jobs(), run, lambda _: strategy.num_samples, gate)
    encode(draws)
    return Drawn(sum(len(draw.completion.tokens) for draw in draws), perf_counter() - started)


def raw(llm: Any, model: Model, prompts: Sequence[Tokens], strategy: ParallelSampling) -> Drawn:
    """One call of `LLM.generate`."""
    requests, parameters = raw_requests(model, prompts, strategy)
    started = perf_counter()
    outputs = llm.generate(requests, parameters, use_tqdm=False)
    num_tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return Drawn(num_tokens, perf_counter() - started)


def raw_requests(
    model: Model, prompts: Sequence[Tokens], strategy: ParallelSampling
) -> tuple[list[dict[str, list[int]]], list[Any]]:
    """The same requests as a user of `LLM.generate` makes them: one a sample, each with its own seed."""
    requests, parameters = [], []
    for index, prompt in enumerate(prompts):
        for sample in range(strategy.num_samples):
            seed = seed_of(str(index), (sample,))
            requests.append({"prompt_token_ids": list(prompt)})
            each = sampling_params(strategy.sampling, seed, model.stop_token_ids)
            each.skip_clone = False
            parameters.append(each)
    return requests, parameters
