"""Our path from strategy to engine against raw `LLM.generate` on the same requests, in one process, alternated.

    .venv/bin/python scripts/bench_generation.py [MODEL_NAME] [NUM_PROBLEMS] [NUM_SAMPLES] [ROUNDS]

Prints output tokens a second of both and the ratio of the medians. Same prompts, same seeds, same engine settings.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from statistics import median

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
}

from hydra import compose, initialize_config_dir

from scaling_exp.cluster import HEADROOM
from scaling_exp.config import conf_folder, experiment_from, register_resolvers
from scaling_exp.engines.vllm import VLLM, InProcess, sampling_params
from scaling_exp.experiment import Experiment
from scaling_exp.generation import Forest, seed_of
from scaling_exp.models import Model
from scaling_exp.runtime import Gate, run_all
from scaling_exp.store import Draw, Pooled
from scaling_exp.strategies import ParallelSampling
from scaling_exp.types import Tokens


def experiment(num_problems: int, num_samples: int) -> Experiment:
    """The quickstart with other numbers."""
    register_resolvers()
    overrides = [
        "+experiment=quickstart",
        f"task.num_problems={num_problems}",
        f"strategies.sampling.num_samples={num_samples}",
    ]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return experiment_from(compose("config", overrides))


async def ours(
    engine: InProcess, model: Model, prompts: list[Tokens], strategy: ParallelSampling
) -> tuple[float, int]:
    """Seconds and output tokens through Forest, pool and gate."""
    draws: list[Draw] = []

    async def jobs() -> AsyncIterator[int]:
        for index in range(len(prompts)):
            yield index

    async def run(index: int) -> None:
        root = str(index)
        sampler = Pooled(model.name, model.fingerprint, root, {}, gate, draws.append)
        await strategy(Forest(prompts[index], sampler, root, lambda _: None))

    gate = Gate(engine, round(HEADROOM * engine.num_slots))
    started = time.perf_counter()
    await run_all(jobs(), run, gate)
    return time.perf_counter() - started, sum(len(draw.completion.tokens) for draw in draws)


def raw(
    llm: object, model: Model, prompts: list[Tokens], strategy: ParallelSampling
) -> tuple[float, int]:
    """Seconds and output tokens of one call of `LLM.generate`."""
    requests, parameters = [], []
    for index, prompt in enumerate(prompts):
        for sample in range(strategy.num_samples):
            seed = seed_of(str(index), (sample,))
            requests.append({"prompt_token_ids": list(prompt)})
            each = sampling_params(strategy.sampling, seed, model.stop_token_ids)
            each.skip_clone = False  # as a user of LLM.generate has it
            parameters.append(each)
    started = time.perf_counter()
    outputs = llm.generate(requests, parameters, use_tqdm=False)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    return seconds, sum(len(output.outputs[0].token_ids) for output in outputs)


async def main(name: str, num_problems: int, num_samples: int, rounds: int) -> None:
    setup = experiment(num_problems, num_samples)
    (model,) = (each for each in setup.models if each.name == name)
    prompts = model.encode([problem.prompt for problem in setup.task.problems()])
    strategy = setup.strategies["sampling"]
    assert isinstance(strategy, ParallelSampling)
    assert isinstance(setup.engine, VLLM)
    engine = setup.engine.start()
    assert isinstance(engine, InProcess)
    from vllm import LLM

    await engine.hold(model)
    llm = LLM(**setup.engine.engine_arguments(model))
    speeds: dict[str, list[float]] = {"ours": [], "LLM.generate": []}
    for index in range(rounds + 1):
        measured = {
            "ours": await ours(engine, model, prompts, strategy),
            "LLM.generate": raw(llm, model, prompts, strategy),
        }
        for path, (seconds, tokens) in measured.items():
            if index:  # the first round warms up
                speeds[path].append(tokens / seconds)
        counts = {tokens for _, tokens in measured.values()}
        print(f"round {index}: output tokens {counts}", file=sys.stderr)
    for path, each in speeds.items():
        print(
            f"{path:>14}: {median(each):8,.0f} tokens/s (of {', '.join(f'{s:,.0f}' for s in each)})"
        )
    print(f"         ratio: {median(speeds['ours']) / median(speeds['LLM.generate']):8.3f}")
    await engine.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(
        main(
            given[0] if given else "436K",
            *(int(value) for value in (*given[1:4], *("100", "64", "5")[len(given[1:4]) :])),
        )
    )
