"""lm-evaluation-harness on its vLLM backend: one `LLM.generate` over all problems and repeats, without seeds."""

from __future__ import annotations

from lm_eval_harness import evaluate
from shared import ENGINE, Drawn, Setup, contest


def draw(setup: Setup) -> Drawn:
    return evaluate(setup, "vllm", {"pretrained": setup.model_path, "batch_size": "auto", **ENGINE})


if __name__ == "__main__":
    contest(draw)
