"""lm-evaluation-harness with a task of our own and `repeats`, for lm_eval_vllm.py and lm_eval_api.py.

The task is a YAML like gsm8k-cot-self-consistency.yaml, read through `include_path`; the samples come from
`log_samples`. Its own way to vote is a filter per k (`take_first_k`, `majority_vote`), so one draw serves every k; here
the shared grader votes. Bootstrapping is off, and the backends get batches as large as the engine.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import yaml
from shared import MAX_TOKENS, STOP, TEMPERATURE, Drawn, Setup

TASK = "sums_and_products"


def evaluate(
    setup: Setup, backend: str, arguments: dict[str, Any], generation: dict[str, Any]
) -> Drawn:
    """Run the task on a backend; `generation` is added to its `generation_kwargs`.

    The harness gives no result before all are there.
    """
    folder = Path(setup.folder)
    os.environ["HF_HOME"] = str(folder / "huggingface")
    write_task(setup, folder, generation)
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.api.registry import get_model  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    model = get_model(backend)(**arguments)
    times: list[float] = []

    def timed(*given: Any, **named: Any) -> list[str]:
        times.append(time.time())
        answers = generate(*given, **named)
        times.append(time.time())
        return answers

    generate, model.generate_until = model.generate_until, timed
    results = simple_evaluate(
        model=model,
        tasks=[TASK],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    texts = {each["doc"]["name"]: each["resps"][0] for each in results["samples"][TASK]}
    return Drawn(texts, times[1] - times[0], times[1])


def write_task(setup: Setup, folder: Path, generation: dict[str, Any]) -> None:
    """The problems as JSON lines, and the task over them."""
    problems = folder / "problems.jsonl"
    rows = [
        {"name": each.name, "prompt": each.prompt, "answer": each.answer} for each in setup.problems
    ]
    problems.write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(problems)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "repeats": setup.num_samples,
        "generation_kwargs": {
            "until": [STOP],
            "do_sample": True,
            "temperature": TEMPERATURE,
            "max_gen_toks": MAX_TOKENS,
            **generation,
        },
        "filter_list": [{"name": "first", "filter": [{"function": "take_first"}]}],
        "metric_list": [{"metric": "exact_match"}],
    }
    (folder / f"{TASK}.yaml").write_text(yaml.dump(task))
