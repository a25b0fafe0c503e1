"""lm-evaluation-harness on its API backend, `local-completions`, against vLLM's server.

It sends the one seed of its model arguments (1234) with every request, as documented; all repeats of a problem are then
the same sample to a server that honours seeds.
"""

from __future__ import annotations

from lm_eval_harness import evaluate
from shared import MAX_NUM_SEQS, STOP, Drawn, Setup, contest, start_server


def draw(setup: Setup) -> Drawn:
    arguments = {
        "base_url": f"{start_server(setup)}/v1/completions",
        "model": setup.model,
        "tokenizer_backend": None,
        "tokenized_requests": False,
        "eos_string": STOP,
        "num_concurrent": MAX_NUM_SEQS // 32,
        "batch_size": 32,
    }
    return evaluate(setup, "local-completions", arguments)


if __name__ == "__main__":
    contest(draw)
