"""FLOPs against published numbers, sums by hand, and torch's own counter on a real model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

from scaling_exp.analysis.cost import (
    AXES,
    TokenCounts,
    attended,
    decode_bytes,
    decode_flops,
    lifetime_flops,
    prefill_bytes,
    prefill_flops,
    query_costs,
    scoring_costs,
    weights_read,
)
from scaling_exp.analysis.pricing import Pricing, Tariff, price_list
from scaling_exp.models import architecture_of
from scaling_exp.types import Architecture, ModelFacts

SHAPE = Architecture(
    num_parameters=1100,
    num_active_parameters=1000,
    num_non_embedding_parameters=900,
    num_layers=2,
    num_heads=3,
    head_dim=4,
)


FACTS = ModelFacts("m", SHAPE, 1)
ONE = TokenCounts(np.array([5.0]), np.array([0]), np.array([4.0]))
"""A prompt of 5 tokens and one answer of 4."""
INT4 = {"quantization": "gptq", "bytes_per_parameter": 0.53}
FLOAT8 = {"quantization": "fp8", "bytes_per_parameter": 1.05, "arithmetic": "float8"}
FLOAT4 = {"quantization": "modelopt", "bytes_per_parameter": 0.6, "arithmetic": "float4"}
QWEN3_8B: Mapping[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}


def by_hand(contexts: range) -> float:
    return sum(2 * 1000 + 4 * 2 * 3 * 4 * s for s in contexts)


def test_published_pretrainings() -> None:
    """Pythia-12B: 2.159e22 (Epoch); Llama-3.1-405B: 3.8e25 (arXiv 2407.21783)."""
    published = {(12e9, 299.89e9): 2.159e22, (405e9, 15.6e12): 3.8e25}
    for (size, tokens), flops in published.items():
        shape = Architecture.of_size(round(size), round(size))
        facts = ModelFacts("m", shape, round(tokens))
        assert facts.pretraining_flops == pytest.approx(flops, rel=3e-3)


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


def test_a_query_pays_its_prompt_once_and_the_exact_mean_of_its_samples() -> None:
    tokens = TokenCounts(
        np.array([5.0, 3.0]), np.array([1, 0, 0, 0]), np.array([2.0, 4.0, 7.0, 1.0])
    )
    costs = query_costs(FACTS, tokens, Pricing())
    assert list(costs) == ["inference_flops", "output_tokens"]
    flops = costs["inference_flops"]
    assert flops.prompt_P.tolist() == [by_hand(range(1, 6)), by_hand(range(1, 4))]
    mean = (by_hand(range(6, 9)) + by_hand(range(6, 12))) / 3
    assert flops.sample_P.tolist() == [mean, by_hand(range(4, 5))]
    assert costs["output_tokens"].prompt_P.tolist() == [0, 0]
    assert costs["output_tokens"].sample_P.tolist() == [4, 2]


@given(
    strategies.integers(0, 12),
    strategies.integers(0, 12),
    strategies.integers(1, 9),
    strategies.integers(0, 4),
)
def test_a_window_caps_what_a_token_attends_to(
    first: int, num_tokens: int, window: int, num_sliding: int
) -> None:
    shape = replace(SHAPE, num_layers=4, num_sliding_layers=num_sliding, sliding_window=window)
    positions = range(first + 1, first + num_tokens + 1)
    keys = sum((4 - num_sliding) * s + num_sliding * min(s, window) for s in positions)
    assert float(attended(shape, first + 1, first + num_tokens)) == keys


def test_what_is_not_known_stays_unknown() -> None:
    tokens = TokenCounts(np.array([np.nan, 4.0]), np.array([0, 1]), np.array([3.0, np.nan]))
    costs = query_costs(FACTS, tokens, Pricing(rent="runpod/H100-SXM"))
    for axis in ("inference_flops", "effective_flops", "roofline_seconds", "dollars"):
        assert np.isnan(costs[axis].sample_P).all(), axis
        assert np.isnan(costs[axis].prompt_P).tolist() == [True, False], axis
    nobody = TokenCounts(np.array([4.0]), np.array([], int), np.array([]))
    assert np.isnan(query_costs(FACTS, nobody, Pricing())["output_tokens"].sample_P).all()


def test_a_batch_shares_the_weights_and_not_the_keys_and_values() -> None:
    facts = ModelFacts("m", replace(SHAPE, cache_width=8), 1)
    prompt, output = 5, 4
    read = 2 * 8 * sum(range(6, 9))  # layers, width, contexts
    for batch in (1, 10):
        pricing = Pricing(batch_size=batch)
        written = decode_bytes(facts, prompt, output, 0, pricing)
        assert float(written) == 2 * (3 * 1000 / batch + read)
        assert float(prefill_bytes(facts, prompt, pricing)) == 2000 / batch
    half = decode_bytes(facts, prompt, output, 0, Pricing(dtype="float8", batch_size=10))
    assert float(half) == 3 * 1000 / 10 + read


def test_forced_tokens_are_computed_but_add_no_pass() -> None:
    pricing = Pricing(batch_size=1)
    free, forced = (float(decode_bytes(FACTS, 5, 9, each, pricing)) for each in (0, 4))
    assert forced == pytest.approx(free / 2)
    tokens = TokenCounts(np.array([5.0]), np.array([0]), np.array([9.0]), np.array([4.0]))
    costs = query_costs(FACTS, tokens, pricing)
    assert costs["output_tokens"].sample_P.tolist() == [5]
    assert costs["inference_flops"].sample_P.tolist() == [by_hand(range(6, 14))]


def test_a_mixture_reads_the_experts_that_a_batch_is_sent_to() -> None:
    shape = replace(
        SHAPE, num_expert_parameters=800, num_experts=8, num_experts_per_token=2
    )  # 1000 active: 800 always, 100 of each of two experts
    assert float(weights_read(shape, 1)) == pytest.approx(1000)
    assert float(weights_read(shape, 1e6)) == pytest.approx(1600)
    rng = np.random.default_rng(0)
    sent = [{*rng.permutation(8)[:2], *rng.permutation(8)[:2]} for _ in range(4000)]
    used = np.mean([len(each) for each in sent])
    assert float(weights_read(shape, 2)) == pytest.approx(800 + 100 * used, rel=5e-3)


@pytest.mark.parametrize(
    ("quantized", "accelerator", "bytes_per_weight", "teraflops"),
    [
        ({}, "H100-SXM", 2.0, 989.4),
        ({"dtype": "float32"}, "H100-SXM", 2.0, 989.4),  # priced as it would be served
        (INT4, "H100-SXM", 0.53, 989.4),  # unpacked, then multiplied in 16 bits
        (FLOAT8, "H100-SXM", 1.05, 1978.9),
        (FLOAT8, "A100-80GB-SXM", 1.05, 312),  # it has no such arithmetic
        (FLOAT4, "B200-SXM", 0.6, 9000),
        (FLOAT4, "H100-SXM", 0.6, 989.4),
    ],
)
def test_a_quantised_model_reads_its_own_bytes_and_computes_in_its_own_arithmetic(
    quantized: dict[str, Any], accelerator: str, bytes_per_weight: float, teraflops: float
) -> None:
    """3 passes over 1000 weights and 2 layers of 24 numbers in 2 bytes at contexts 6, 7 and 8."""
    facts = replace(FACTS, **quantized)
    pricing = Pricing(accelerator, batch_size=1)
    written = 3 * 1000 * bytes_per_weight + 2 * (2 * 24 * (6 + 7 + 8))
    assert float(decode_bytes(facts, 5, 4, 0, pricing)) == pytest.approx(written)
    assert float(prefill_bytes(facts, 5, pricing)) == 1000 * bytes_per_weight
    costs = query_costs(facts, ONE, pricing)
    plain = query_costs(FACTS, ONE, pricing)
    flops = costs["inference_flops"].sample_P[0]
    assert flops == plain["inference_flops"].sample_P[0] == by_hand(range(6, 9))
    bandwidth = float(price_list("accelerators")[accelerator]["gigabytes_per_second"]) * 1e9
    peak = teraflops * 1e12
    assert costs["roofline_seconds"].sample_P[0] == pytest.approx(written / bandwidth)
    assert costs["effective_flops"].sample_P[0] == pytest.approx(flops + peak / bandwidth * written)
    prefill = by_hand(range(1, 6)) + peak / bandwidth * 1000 * bytes_per_weight
    assert costs["effective_flops"].prompt_P[0] == pytest.approx(prefill)


def test_a_model_whose_bits_are_not_known_has_no_cost_in_bytes() -> None:
    facts = replace(FACTS, quantization="modelopt")
    for costs in (query_costs, scoring_costs):
        found = costs(facts, ONE, Pricing(rent="runpod/H100-SXM"))
        assert found["inference_flops"].sample_P[0] > 0
        for axis in ("effective_flops", "roofline_seconds", "dollars"):
            assert np.isnan([found[axis].prompt_P[0], found[axis].sample_P[0]]).all(), axis


def test_effective_flops_are_those_of_kinetics() -> None:
    """Sadhukhan et al., arXiv 2506.05333: 2 P L_out + 2 r L_in D L_out + r D L_out^2 and
    I (2 L_in D L_out + D L_out^2) in all, D the width of a token's keys and values over all layers,
    two bytes a number; weights are shared by so many that they do not count, prefill is left out.
    They sum with L_out passes at mid-step contexts, which is 1 token in L_out away."""
    facts = ModelFacts("8B", architecture_of(QWEN3_8B), 1)
    shape = facts.architecture
    prompt, output = 1000.0, 32000.0
    width, shared = 36 * 2 * 8 * 128, 32 / 8
    intensity = 989.4e12 / 3.35e12
    pairs = 2 * prompt * output + output**2
    theirs = 2 * shape.num_active_parameters * output + (shared + intensity) * width * pairs
    tokens = TokenCounts(np.array([prompt]), np.array([0]), np.array([output]))
    pricing = Pricing("H100-SXM", batch_size=1_000_000)
    ours = query_costs(facts, tokens, pricing)["effective_flops"].sample_P[0]
    assert ours == pytest.approx(theirs, rel=2e-4)


def test_decoding_alone_waits_for_memory_and_a_prefill_for_arithmetic() -> None:
    facts = ModelFacts("8B", architecture_of(QWEN3_8B), 1)
    tokens = TokenCounts(np.array([4096.0]), np.array([0]), np.array([257.0]))
    costs = query_costs(facts, tokens, Pricing("H100-SXM", batch_size=1))
    seconds = costs["roofline_seconds"]
    flops = costs["inference_flops"]
    assert seconds.prompt_P[0] == pytest.approx(flops.prompt_P[0] / 989.4e12)
    weights = 2 * facts.architecture.num_active_parameters
    cache = 147456 * (4096 + 128.5)
    assert seconds.sample_P[0] == pytest.approx(256 * (weights + cache) / 3.35e12, rel=1e-4)
    assert seconds.sample_P[0] > 20 * flops.sample_P[0] / 989.4e12


def test_every_axis_can_be_had_at_once_in_one_order() -> None:
    tokens = TokenCounts(
        np.array([5.0]), np.array([0, 0]), np.array([4.0, 6.0]), seconds_per_output_token=0.25
    )
    costs = query_costs(FACTS, tokens, Pricing("L4", dollars_per_hour=36.0, hours="measured"))
    assert list(costs) == list(AXES)
    assert costs["accelerator_seconds"].sample_P.tolist() == [1.25]
    assert costs["dollars"].sample_P.tolist() == [0.0125]
    unmeasured = replace(tokens, seconds_per_output_token=None)
    assert "dollars" not in query_costs(FACTS, unmeasured, Pricing("L4", hours="measured"))


def test_game_of_24_cost_what_its_authors_paid(public_data: Callable[[str], Path]) -> None:
    """Yao et al. 2023 (arXiv 2305.10601): chain of thought, 100 samples a puzzle in requests of 20,
    $0.06 and $0.03 per thousand tokens. `usage_so_far` restarts at row 32."""
    rows = json.loads(next(public_data("tot_game24").glob("*cot*.json")).read_text())
    used = {
        kind: np.diff([0, *(row["usage_so_far"][f"{kind}_tokens"] for row in rows)])
        for kind in ("prompt", "completion")
    }
    for kind, tokens_P in used.items():
        tokens_P[32] = rows[32]["usage_so_far"][f"{kind}_tokens"]
    assert used["completion"].mean() == pytest.approx(6748.62)
    assert used["prompt"].mean() == pytest.approx(2185.0)
    tokens = TokenCounts(
        used["prompt"].astype(float), np.arange(len(rows)), used["completion"] / 100.0
    )
    pricing = Pricing(listed_tariffs={"m": "openai/gpt-4-2023"}, prompt_is_billed_once=True)
    dollars = query_costs(FACTS, tokens, pricing)["dollars"]
    assert (dollars.prompt_P + 100 * dollars.sample_P).mean() == pytest.approx(0.4705, abs=5e-5)


def test_a_provider_bills_the_prompt_of_every_request() -> None:
    tokens = TokenCounts(np.array([1000.0]), np.array([0]), np.array([100.0]))
    tariffs = {"m": Tariff(input=2.0, output=8.0, cached_input=0.5)}
    at_4 = {
        once: query_costs(FACTS, tokens, Pricing(tariffs=tariffs, prompt_is_billed_once=once))
        for once in (False, True)
    }
    total = {once: c["dollars"].prompt_P + 4 * c["dollars"].sample_P for once, c in at_4.items()}
    assert total[True] == pytest.approx((1000 * 2 + 4 * 100 * 8) / 1e6)
    assert total[False] == pytest.approx((4 * 1000 * 2 + 4 * 100 * 8) / 1e6)


def test_a_cached_prompt_is_cheaper_where_the_provider_said_that_it_was_cached() -> None:
    tokens = TokenCounts(
        np.array([1000.0, 50.0]),
        np.array([0, 0, 0, 1]),
        np.array([100.0, 100.0, 100.0, 7.0]),
        cached_S=np.array([0.0, 896.0, np.nan, 64.0]),  # not told; more than the prompt has
    )
    costs = {}
    for cached_input in (0.5, None):
        tariffs = {"m": Tariff(input=2.0, output=8.0, cached_input=cached_input)}
        costs[cached_input] = query_costs(FACTS, tokens, Pricing(tariffs=tariffs))["dollars"]
        assert costs[cached_input].prompt_P.tolist() == [0, 0]
    said = (1000 * 2 + (104 * 2 + 896 * 0.5) + 1000 * 2) / 3 + 100 * 8
    assert costs[0.5].sample_P == pytest.approx(np.array([said, 50 * 0.5 + 7 * 8]) / 1e6)
    assert costs[None].sample_P == pytest.approx(np.array([2000 + 800, 100 + 56]) / 1e6)


def test_a_scorer_reads_the_prompt_once_and_every_output() -> None:
    tokens = TokenCounts(np.array([5.0]), np.array([0]), np.array([4.0]))
    pricing = Pricing("H100-SXM")
    scoring = scoring_costs(FACTS, tokens, pricing)
    assert scoring["inference_flops"].prompt_P.tolist() == [by_hand(range(1, 6))]
    assert scoring["inference_flops"].sample_P.tolist() == [by_hand(range(6, 10))]
    drawing = query_costs(FACTS, tokens, pricing)
    both = {axis: drawing[axis] + scoring[axis] for axis in drawing}
    assert both["inference_flops"].prompt_P.tolist() == [2 * by_hand(range(1, 6))]
    assert both["output_tokens"].sample_P.tolist() == [4]


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
    reference = float(lifetime_flops(6 * size * tokens, 2 * size, 2e12))
    assert sizes[reachable][totals.argmin()] == pytest.approx(7e9, rel=0.02)
    assert reference - totals.min() == pytest.approx(1.69e22, rel=5e-3)
    assert 1 - totals.min() / reference == pytest.approx(0.174, abs=1e-3)


SMALL: Mapping[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
MIXTURE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
LOCAL_MIXTURE = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 96,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 8,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
}
OWN: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "gpt_neox": {"num_key_value_heads": None},
    "gemma3_text": {"head_dim": 32, "sliding_window": 24, "query_pre_attn_scalar": 32},
    "mixtral": LOCAL_MIXTURE,
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "olmo2": {},
    "mistral": {"sliding_window": 24},
    "qwen2_moe": {**MIXTURE, "shared_expert_intermediate_size": 128},
    "qwen3_moe": {**MIXTURE, "head_dim": 32},
    "gpt_oss": {**LOCAL_MIXTURE, "head_dim": 32, "sliding_window": 24},
    "deepseek_v3": LATENT,
}


@pytest.mark.parametrize("kind", OWN)
def test_agrees_with_the_counter_of_torch(kind: str) -> None:
    """Decoded step by step with a cache, so each token attends to just its context, windows and
    all, as the convention has it. Eager attention over a whole prompt computes the full square of
    scores, windows or not: the difference is added by hand. transformers unfolds all latents again
    in every step of DeepSeek's decoding, which no engine does: there only the prefill is compared.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    given = {name: value for name, value in {**SMALL, **OWN[kind]}.items() if value is not None}
    config = transformers.AutoConfig.for_model(kind, **given)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    shape = architecture_of(config.to_dict())
    prompt, output = 48, 8
    tokens = torch.randint(2, 512, (1, prompt))
    with torch.no_grad(), FlopCounterMode(display=False) as prefill:
        cache = model(tokens, use_cache=True).past_key_values
    with torch.no_grad(), FlopCounterMode(display=False) as decode:
        for _ in range(output - 1):
            cache = model(tokens[:, :1], past_key_values=cache, use_cache=True).past_key_values
    square = shape.num_layers * prompt**2 - float(attended(shape, 1, prompt))
    expected = float(prefill_flops(shape, prompt)) + 4 * shape.num_heads * shape.head_dim * square
    assert prefill.get_total_flops() == pytest.approx(expected, rel=0.01)
    if kind != "deepseek_v3":
        expected = float(decode_flops(shape, prompt, output))
        assert decode.get_total_flops() == pytest.approx(expected, rel=0.01)
