"""Our client of OpenAI-compatible servers against a plain aiohttp fan-out of the same requests, in turn.

    python -m vllm.entrypoints.openai.api_server --model scaling_exp/ladders/arithmetic/4K-4.0M --port 8000 ...
    python scripts/endpoint_throughput.py http://127.0.0.1:8000/v1 scaling_exp/ladders/arithmetic/4K-4.0M

Same prompts, seeds and requests in flight. Prints output tokens/s and the client's CPU time a request, medians.
"""

import argparse
import asyncio
import random
import statistics
import time
from pathlib import Path

import aiohttp
import yaml

from scaling_exp.engines.openai import Endpoint
from scaling_exp.models import Model
from scaling_exp.types import Sampling

CONF = Path(__file__).parent.parent / "conf" / "engine" / "openai.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="our client against a plain aiohttp fan-out")
    parser.add_argument("base_url")
    parser.add_argument("model", help="the folder that the server serves")
    parser.add_argument("--num-requests", type=int, default=1024)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(compare(parser.parse_args()))


async def compare(arguments: argparse.Namespace) -> None:
    node = yaml.safe_load(CONF.read_text())
    del node["kind"]
    node |= {"base_urls": (arguments.base_url,), "max_in_flight": arguments.in_flight}
    model = Model(Path(arguments.model).name, arguments.model, 1)
    engine = Endpoint(**node).start()
    await engine.hold(model)
    sampling = Sampling(arguments.max_tokens)
    draw = random.Random(0)
    prompts = [tuple(draw.randrange(1, 60) for _ in range(8)) for _ in range(64)]
    asked = [(prompts[i % 64], draw.getrandbits(63)) for i in range(arguments.num_requests)]
    served = engine.capabilities[arguments.base_url].served_model

    async def ours() -> int:
        drawn = await asyncio.gather(*(engine(prompt, sampling, seed) for prompt, seed in asked))
        return sum(len(each.tokens) for each in drawn)

    async def plain() -> int:
        places = asyncio.Semaphore(arguments.in_flight)

        async def one(prompt: tuple[int, ...], seed: int) -> int:
            body = {"model": served, "prompt": prompt, "seed": seed, "temperature": 1.0}
            body |= {"max_tokens": arguments.max_tokens, "return_token_ids": True}
            async with (
                places,
                session.post(f"{arguments.base_url}/completions", json=body) as reply,
            ):
                content = await reply.json()
            return len(content["choices"][0]["token_ids"])

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return sum(await asyncio.gather(*(one(*each) for each in asked)))

    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    cpu: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(arguments.rounds):
        for name, run in (("ours", ours), ("plain", plain)):
            wall, process = time.perf_counter(), time.process_time()
            num_tokens = await run()
            rates[name].append(num_tokens / (time.perf_counter() - wall))
            cpu[name].append((time.process_time() - process) / len(asked) * 1e6)
    await engine.close()
    for name in rates:
        print(
            f"{name:6} {statistics.median(rates[name]):8.0f} output tokens/s"
            f" {statistics.median(cpu[name]):6.0f} us CPU a request  {[round(x) for x in rates[name]]}"
        )
    print(
        f"ratio of medians {statistics.median(rates['ours']) / statistics.median(rates['plain']):.3f}"
    )


if __name__ == "__main__":
    main()
