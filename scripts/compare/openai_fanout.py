"""Fan-out with the async OpenAI client under a semaphore, one pass over the problems per seed: NeMo-Skills' pattern.

As in its nemo_skills/inference/generate.py: a pass is one `random_seed`, a task per problem, a semaphore of
`max_concurrent_requests`, one output-rsSEED.jsonl a pass. There `num_random_seeds` passes are separate jobs, each with
a server of its own; here one server serves them all, which spares it all starts but one. The client is the one that
its models are built on, directly.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared import MAX_NUM_SEQS, MAX_TOKENS, TEMPERATURE, Drawn, Setup, contest, start_server

from scaling_exp.types import Problem

if TYPE_CHECKING:
    from openai import AsyncOpenAI


def draw(setup: Setup) -> Drawn:
    url = start_server(setup)
    return asyncio.run(passes(setup, url))


async def passes(setup: Setup, url: str) -> Drawn:
    """One pass after another."""
    from openai import AsyncOpenAI

    texts: dict[str, list[str]] = {problem.name: [] for problem in setup.problems}
    finished: list[float] = []
    semaphore = asyncio.Semaphore(MAX_NUM_SEQS)
    started = time.time()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=600) as client:
        for seed in range(setup.num_samples):
            with (Path(setup.folder) / f"output-rs{seed}.jsonl").open("w", buffering=1) as file:

                async def one(problem: Problem, seed: int = seed, file=file) -> None:
                    text = await complete(client, semaphore, setup.model, problem.prompt, seed)
                    finished.append(time.time())
                    texts[problem.name].append(text)
                    print(json.dumps({"name": problem.name, "generation": text}), file=file)

                await asyncio.gather(*map(one, setup.problems))
    return Drawn(texts, time.time() - started, finished[0])


async def complete(
    client: AsyncOpenAI, semaphore: asyncio.Semaphore, model: str, prompt: str, seed: int
) -> str:
    """One request, when the semaphore lets it go."""
    async with semaphore:
        completion = await client.completions.create(
            model=model, prompt=prompt, max_tokens=MAX_TOKENS, temperature=TEMPERATURE, seed=seed
        )
    return completion.choices[0].text


if __name__ == "__main__":
    contest(draw)
