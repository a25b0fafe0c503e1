"""One blocking HTTP POST at a time, all samples of a problem in one request: the pattern of large_language_monkeys.

As in its llmonk/generate/gsm8k.py, whose `num_workers` is None by default and in commands.md: a loop over problems, a
`requests.post` with `n` for each, one YAML file a problem. `n` is the most it can be, all samples of a problem at once;
so the engine holds one problem at a time. vLLM seeds the samples of one request with seed, seed + 1, ...
"""

from __future__ import annotations

import time
from pathlib import Path

import yaml
from shared import MAX_TOKENS, TEMPERATURE, Drawn, Setup, contest, start_server


def draw(setup: Setup) -> Drawn:
    url = start_server(setup)
    import requests

    texts, first = {}, 0.0
    started = time.time()
    for problem in setup.problems:
        body = {
            "model": setup.model,
            "prompt": problem.prompt,
            "n": setup.num_samples,
            "max_tokens": MAX_TOKENS,
            "temperature": TEMPERATURE,
            "seed": 0,
        }
        response = requests.post(f"{url}/v1/completions", json=body, timeout=600)
        response.raise_for_status()
        texts[problem.name] = [choice["text"] for choice in response.json()["choices"]]
        first = first or time.time()
        record = {"prompt": problem.prompt, "samples": texts[problem.name]}
        (Path(setup.folder) / f"{problem.name}.yaml").write_text(yaml.dump(record))
    return Drawn(texts, time.time() - started, first)


if __name__ == "__main__":
    contest(draw)
