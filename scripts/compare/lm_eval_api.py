"""lm-evaluation-harness on its API backend, `local-completions`, against vLLM's server.

`seeded`: it sends the one seed of its model arguments (1234) with every request; all repeats of a problem are then the
same sample to a server that honours seeds. `unseeded`: a `seed: null` among the task's `generation_kwargs`, which are
put over that seed (lm_eval/models/openai_completions.py), lets the server draw as it likes.
"""

from __future__ import annotations

import sys
from typing import Any

from lm_eval_harness import evaluate
from shared import MAX_NUM_SEQS, STOP, Drawn, Setup, contest, start_server

PROMPTS_A_BODY = 32


def seeded(setup: Setup) -> Drawn:
    return ask(setup, {})


def unseeded(setup: Setup) -> Drawn:
    return ask(setup, {"seed": None})


def ask(setup: Setup, generation: dict[str, Any]) -> Drawn:
    """Run the task against a server of our own."""
    arguments = {
        "base_url": f"{start_server(setup)}/v1/completions",
        "model": setup.model,
        "tokenizer_backend": None,
        "tokenized_requests": False,
        "eos_string": STOP,
        "num_concurrent": MAX_NUM_SEQS // PROMPTS_A_BODY,
        "batch_size": PROMPTS_A_BODY,
    }
    return evaluate(setup, "local-completions", arguments, generation)


if __name__ == "__main__":
    contest({"seeded": seeded, "unseeded": unseeded}[sys.argv[3]])
