"""What the gate's target is worth where the KV cache is too small for all slots: preemptions and tokens/s.

The same requests go to the engine all at once, so that vLLM runs as many as it can start and preempts some of them
when they grow, and through the gate, which looks for as many as never or seldom preempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

from scaling_exp.bench.block import strung_together
from scaling_exp.bench.engine import prepared
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive
from scaling_exp.engines import VLLM, Counters, Engine
from scaling_exp.runtime import Gate
from scaling_exp.types import Completion, Sampling, Tokens

Sample = Callable[[Tokens, Sampling, int], Awaitable[Completion]]


@dataclass(frozen=True)
class PreemptionBench:
    """`num_requests` different prompts of `prompt_tokens`; a row for each size of the KV cache and each way."""

    model: str
    kv_cache_mib: tuple[int, ...]
    prompt_tokens: int
    num_requests: int
    max_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self).keys() - {"model"})

    def run(self, setup: Setup) -> Result:
        """Raises UserError when the ladder has no such model or the engine is not vLLM."""
        rows = asyncio.run(self._measure(prepared(setup), setup))
        note = "target: requests that the gate lets into the engine, at the end; safe: that fit at full length"
        return Result(f"A small KV cache, model {self.model}", tuple(rows), (note,))

    async def _measure(self, config: VLLM, setup: Setup) -> list[Row]:
        model = setup.model(self.model)
        prompts = strung_together(setup, model, self.num_requests, self.prompt_tokens)
        rows: list[Row] = []
        for size in self.kv_cache_mib:
            engine = replace(config, kv_cache_mib=size).start()
            await engine.hold(model)
            rows += await self._rows(engine, size, prompts)
            await engine.close()
        return rows

    async def _rows(self, engine: Engine, size: int, prompts: Sequence[Tokens]) -> list[Row]:
        speeds: dict[str, list[float]] = {"all at once": [], "gate": []}
        seen: dict[str, tuple[Counters, int]] = {}
        for index, way in alternate(self.rounds, tuple(speeds)):
            engine.counters = Counters(num_slots=engine.num_slots)
            gate = Gate(engine)
            speed = await self._draw(gate if way == "gate" else engine, prompts)
            seen[way] = (engine.counters, gate.target if way == "gate" else len(prompts))
            if index:
                speeds[way].append(speed)
        return [
            {
                "KV cache, MiB": size,
                "safe": engine.num_safe,
                "way": way,
                "target": target,
                "preemptions": counters.num_preemptions,
                "steps": counters.steps,
                "tokens/s": median(speeds[way]),
                "over all at once": median(speeds[way]) / median(speeds["all at once"]),
            }
            for way, (counters, target) in seen.items()
        ]

    async def _draw(self, sample: Sample, prompts: Sequence[Tokens]) -> float:
        """Output tokens a second."""
        sampling = Sampling(max_tokens=self.max_tokens)
        started = perf_counter()
        drawn = await asyncio.gather(
            *(sample(prompt, sampling, seed) for seed, prompt in enumerate(prompts, start=1))
        )
        return sum(len(each.tokens) for each in drawn) / (perf_counter() - started)
