"""FLOPs against published numbers, sums by hand, and torch's own counter on a real model."""

from __future__ import annotations

import numpy as np
import pytest

from scaling_exp.analysis.cost import (
    decode_flops,
    lifetime_flops,
    prefill_flops,
    pretraining_flops,
    query_flops,
)
from scaling_exp.types import Architecture

SHAPE = Architecture(
    num_parameters=1100,
    num_active_parameters=1000,
    num_non_embedding_parameters=900,
    num_layers=2,
    num_heads=3,
    head_dim=4,
)


def by_hand(contexts: range) -> float:
    return sum(2 * 1000 + 4 * 2 * 3 * 4 * s for s in contexts)


def test_pythia_12b() -> None:
    assert pretraining_flops(12e9, 299.89e9) == pytest.approx(2.159e22, rel=3e-4)


def test_every_token_is_charged_at_its_own_context() -> None:
    assert float(prefill_flops(SHAPE, 5)) == by_hand(range(1, 6))
    assert float(decode_flops(SHAPE, 5, 4)) == by_hand(range(6, 9))


def test_the_last_token_needs_no_forward_pass() -> None:
    assert float(decode_flops(SHAPE, 5, 1)) == 0
    assert float(decode_flops(SHAPE, 5, 0)) == 0


def test_cached_tokens_are_not_read_again() -> None:
    assert float(prefill_flops(SHAPE, 5, cached=3)) == by_hand(range(4, 6))
    assert float(prefill_flops(SHAPE, 5, cached=5)) == 0
    with pytest.raises(ValueError, match="cached"):
        prefill_flops(SHAPE, 5, cached=6)


def test_a_query_pays_its_prompt_once_and_each_sample() -> None:
    outputs = np.array([4, 7, 1])
    expected = by_hand(range(1, 6)) + by_hand(range(6, 9)) + by_hand(range(6, 12))
    assert query_flops(SHAPE, 5, outputs) == expected


def test_sardana_13b_chinchilla_with_two_trillion_inference_tokens() -> None:
    """Sardana et al., arXiv 2401.00448, fig. 1: a 7B model saves 1.7e22 FLOPs, 17 %."""
    a, b, alpha, beta = 406.4, 410.7, 0.336, 0.283
    size = 13e9
    tokens = (beta * b / (alpha * a) * size**alpha) ** (1 / beta)
    excess_loss = a / size**alpha + b / tokens**beta
    sizes = np.geomspace(2e9, 30e9, 20001)
    with np.errstate(invalid="ignore"):
        needed = (b / (excess_loss - a / sizes**alpha)) ** (1 / beta)
    reachable = np.isfinite(needed)
    totals = lifetime_flops(6 * sizes[reachable] * needed[reachable], 2 * sizes[reachable], 2e12)
    reference = float(lifetime_flops(pretraining_flops(size, tokens), 2 * size, 2e12))
    assert sizes[reachable][totals.argmin()] == pytest.approx(7e9, rel=0.02)
    assert reference - totals.min() == pytest.approx(1.69e22, rel=5e-3)
    assert 1 - totals.min() / reference == pytest.approx(0.174, abs=1e-3)


def test_agrees_with_torch_on_a_real_llama() -> None:
    """Decode step by step with a cache, so each token attends to just its context, as the
    convention has it. Eager attention over a whole prompt computes the full square of scores
    instead of the causal half: the difference is added by hand."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    config = transformers.LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        attn_implementation="eager",
    )
    model = transformers.LlamaForCausalLM(config).eval()
    total = sum(p.numel() for p in model.parameters())
    embedding = model.get_input_embeddings().weight.numel()
    shape = Architecture(
        num_parameters=total,
        num_active_parameters=total - embedding,
        num_non_embedding_parameters=total - 2 * embedding,
        num_layers=3,
        num_heads=4,
        head_dim=16,
    )
    prompt, output = 96, 32
    tokens = torch.randint(0, 128, (1, prompt))
    with torch.no_grad(), FlopCounterMode(display=False) as prefill:
        cache = model(tokens, use_cache=True).past_key_values
    with torch.no_grad(), FlopCounterMode(display=False) as decode:
        for _ in range(output - 1):
            cache = model(tokens[:, :1], past_key_values=cache, use_cache=True).past_key_values
    acausal = 4 * 3 * 4 * 16 * (prompt * prompt - prompt * (prompt + 1) / 2)
    expected = float(prefill_flops(shape, prompt)) + acausal
    assert prefill.get_total_flops() == pytest.approx(expected, rel=0.01)
    expected = float(decode_flops(shape, prompt, output))
    assert decode.get_total_flops() == pytest.approx(expected, rel=0.01)
