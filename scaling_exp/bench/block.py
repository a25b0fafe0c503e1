"""What prefix caching is worth by the size of a KV block, for prompts shorter and longer than it.

Only whole blocks are cached, and the last token of a prompt is always computed. So a prompt shorter than a block is
prefilled for every one of its samples. A row a block size and a prompt length, all in one process, in turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from scaling_exp.bench.engine import ours, prepared
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive
from scaling_exp.engines import VLLM, Counters, Engine
from scaling_exp.models import Model
from scaling_exp.strategies import ParallelSampling
from scaling_exp.types import Sampling, Tokens


@dataclass(frozen=True)
class BlockBench:
    """Prompts are few-shot: the task's prompts strung together until they have `prompt_tokens`."""

    model: str
    block_sizes: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    num_problems: int
    num_samples: int
    max_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self).keys() - {"model"})

    def run(self, setup: Setup) -> Result:
        """Raises UserError when the ladder has no such model or the engine is not vLLM."""
        rows = asyncio.run(self._measure(prepared(setup), setup))
        note = (
            "vs no cache: tokens/s over the same engine without prefix caching, medians, in turns"
        )
        return Result(f"Prefix cache, model {self.model}", tuple(rows), (note,))

    async def _measure(self, config: VLLM, setup: Setup) -> list[Row]:
        model = setup.model(self.model)
        configs = {"none": replace(config, enable_prefix_caching=False)}
        configs |= {str(size): replace(config, block_size=size) for size in self.block_sizes}
        engines = {name: each.start() for name, each in configs.items()}
        for engine in engines.values():
            await engine.hold(model)
        rows = [
            row
            for length in self.prompt_tokens
            for row in await self._rows(
                engines, model, strung_together(setup, model, self.num_problems, length)
            )
        ]
        for engine in engines.values():
            await engine.close()
        return rows

    async def _rows(
        self, engines: Mapping[str, Engine], model: Model, prompts: list[Tokens]
    ) -> list[Row]:
        strategy = ParallelSampling(self.num_samples, Sampling(max_tokens=self.max_tokens))
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for index, name in alternate(self.rounds, tuple(engines)):
            engines[name].counters = Counters(num_slots=engines[name].num_slots)
            drawn = await ours(engines[name], model, prompts, strategy)
            if index:
                speeds[name].append(drawn.tokens_per_second)
        return [
            {
                "prompt tokens": len(prompts[0]),
                "KV block": name,
                "tokens/s": median(speeds[name]),
                "vs no cache": median(speeds[name]) / median(speeds["none"]),
                "prefix hits": engine.counters.cached_tokens / engine.counters.prompt_tokens,
            }
            for name, engine in engines.items()
        ]


def strung_together(setup: Setup, model: Model, num_prompts: int, length: int) -> list[Tokens]:
    """Different prompts of equal length, cut from the task's own prompts laid end to end."""
    encoded = model.prompts(setup.task.problems())
    words = [token for tokens in encoded for token in tokens]
    return [
        tuple(words[(at * 7 + i) % len(words)] for i in range(length)) for at in range(num_prompts)
    ]
