"""Ray Data's batch inference, `ray.data.llm`, as its guide "Working with LLMs" shows it.

One row per sample with a seed of its own, because the vLLM stage keeps `outputs[0]` of a request and drops the rest
(ray/llm/_internal/batch/stages/vllm_engine_stage.py). What a base model does not need is off (chat template, separate
tokenise and detokenise stages), and a batch is as large as the engine: 8 such batches are in flight by default.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from heapq import heappop, heappush

from shared import (
    ENGINE,
    ENVIRONMENT,
    MAX_NUM_SEQS,
    MAX_TOKENS,
    TEMPERATURE,
    Drawn,
    Setup,
    contest,
)

BATCHES_AT_ONCE = 8
"""`max_concurrent_batches` of its engine stage."""


def draw(setup: Setup) -> Drawn:
    import ray
    from ray.data import DataContext
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    ray.init(include_dashboard=False, log_to_driver=False)
    DataContext.get_current().enable_progress_bars = False
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=setup.model_path,
            engine_kwargs=dict(ENGINE),
            runtime_env={"env_vars": ENVIRONMENT},
            # Without it the stage asks for a GPU, and Ray waits for one for ever.
            placement_group_config={"bundle_per_worker": {"CPU": 1}},
            batch_size=MAX_NUM_SEQS,
            concurrency=1,
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            log_engine_metrics=False,
        ),
        preprocess=request,
        postprocess=lambda row: {
            "problem": row["problem"],
            "sample": row["sample"],
            "text": row["generated_text"],
            "seconds": row["time_taken_llm"],
        },
    )
    rows = [
        {"problem": problem.name, "prompt": problem.prompt, "sample": sample}
        for problem in setup.problems
        for sample in range(setup.num_samples)
    ]
    found: dict[tuple[str, int], str] = {}
    seconds: dict[tuple[str, int], float] = {}
    first = 0.0
    for batch in processor(ray.data.from_items(rows)).iter_batches(batch_size=None):
        first = first or time.time()
        names = list(zip(batch["problem"].tolist(), batch["sample"].tolist(), strict=True))
        found |= dict(zip(names, batch["text"].tolist(), strict=True))
        seconds |= dict(zip(names, batch["seconds"].tolist(), strict=True))
    texts = {
        problem.name: [found[problem.name, sample] for sample in range(setup.num_samples)]
        for problem in setup.problems
    }
    in_order = [seconds[row["problem"], row["sample"]] for row in rows]
    batches = [in_order[at : at + MAX_NUM_SEQS] for at in range(0, len(rows), MAX_NUM_SEQS)]
    return Drawn(texts, drawing_seconds([max(batch) for batch in batches]), first)


def drawing_seconds(batches: Sequence[float]) -> float:
    """Of all batches, when each takes so long and begins as one of those before it ends: rows come back in one piece
    and tell nothing but how long each was in the engine."""
    ends: list[float] = []
    for seconds in batches:
        begun = heappop(ends) if len(ends) == BATCHES_AT_ONCE else 0.0
        heappush(ends, begun + seconds)
    return max(ends)


def request(row: dict) -> dict:
    """A row as the vLLM stage reads it."""
    sampling = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "seed": row["sample"]}
    return {"prompt": row["prompt"], "sampling_params": sampling}


if __name__ == "__main__":
    contest(draw)
