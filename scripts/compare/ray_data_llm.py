"""Ray Data's batch inference, `ray.data.llm`, as its guide "Working with LLMs" shows it.

One row per sample with a seed of its own, because the vLLM stage keeps `outputs[0]` of a request and drops the rest
(ray/llm/_internal/batch/stages/vllm_engine_stage.py). What a base model does not need is off (chat template, separate
tokenise and detokenise stages), and a batch is as large as the engine: 8 such batches are in flight by default.
"""

from __future__ import annotations

import time

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
    first, began = 0.0, 0.0
    for batch in processor(ray.data.from_items(rows)).iter_batches(batch_size=None):
        if not found:
            first = time.time()
            began = first - max(batch["seconds"])
        names, samples = batch["problem"].tolist(), batch["sample"].tolist()
        found |= dict(zip(zip(names, samples, strict=True), batch["text"].tolist(), strict=True))
    texts = {
        problem.name: [found[problem.name, sample] for sample in range(setup.num_samples)]
        for problem in setup.problems
    }
    return Drawn(texts, time.time() - began, first)


def request(row: dict) -> dict:
    """A row as the vLLM stage reads it."""
    sampling = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "seed": row["sample"]}
    return {"prompt": row["prompt"], "sampling_params": sampling}


if __name__ == "__main__":
    contest(draw)
