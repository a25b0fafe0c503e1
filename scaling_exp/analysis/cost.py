"""Cost: what tokens and queries take in FLOPs, bytes, seconds and dollars, as exact sums over tokens.

A token at context s (itself included) costs 2 N_active + 4 L H d_head s: two FLOPs per weight that
it multiplies with, and for each layer and head a product with s keys and one with s values (Kaplan
et al. 2020, arXiv 2001.08361, section 2.1, with attention exact instead of at the mean context). In
a layer with a window of w, s is at most w. Heads that share keys share what is read, not what is
computed. Latent attention is charged with its keys and values unfolded.

The convention: the forward pass of the prompt (prefill) emits the first output token, so an output
of T tokens costs the prefill plus T - 1 decode passes; the last token is never fed back. Attention
is causal: the token at position s attends to s tokens, not to the whole prompt. Every token is
charged the output layer, in the prefill as well.

What a pass reads: the weights, once for all sequences of a batch (of a mixture's experts those that
some token is sent to, if tokens choose independently), and for every decoded token the keys and
values of its context. Quantised weights are read in the bytes that they take and multiplied in
their own arithmetic, where the accelerator has it; plain ones, and all keys and values, are in the
dtype of the prices. FLOPs are counted alike. Peaks and prices are pricing.py's.

Axes: P problems, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.pricing import Accelerator, Pricing, Tariff
from scaling_exp.types import Architecture, ModelFacts

AXES: Mapping[str, str] = {
    "inference_flops": "inference FLOPs a query",
    "output_tokens": "output tokens a query",
    "effective_flops": "effective FLOPs a query (compute and memory)",
    "roofline_seconds": "accelerator seconds a query, at the roofline",
    "accelerator_seconds": "accelerator seconds a query, measured",
    "dollars": "US dollars a query",
}
"""What a query may cost, with its unit. The first two are always there."""


def attended(architecture: Architecture, first: ArrayLike, last: ArrayLike) -> FloatArray:
    """Keys that one head attends to over all layers, summed over the tokens at positions
    first..last (1-based, inclusive; broadcasts). Nothing where last < first."""
    first_ = np.asarray(first, np.float64)
    last_ = np.maximum(np.asarray(last, np.float64), first_ - 1)
    num_sliding, window = architecture.num_sliding_layers, architecture.sliding_window
    keys = (architecture.num_layers - num_sliding) * _sum_of_range(first_, last_)
    if not num_sliding:
        return keys
    filling = np.clip(window, first_ - 1, last_)
    return keys + num_sliding * (_sum_of_range(first_, filling) + window * (last_ - filling))


def _sum_of_range(first: FloatArray, last: FloatArray) -> FloatArray:
    return (last - first + 1) * (first + last) / 2


def forward_flops(architecture: Architecture, first: ArrayLike, last: ArrayLike) -> FloatArray:
    """FLOPs of the forward passes of the tokens at positions first..last (1-based, inclusive;
    broadcasts).

    Nothing where last < first.
    """
    first_, last_ = np.asarray(first, np.float64), np.asarray(last, np.float64)
    num_tokens = np.maximum(last_ - first_ + 1, 0.0)
    attention = 4.0 * architecture.num_heads * architecture.head_dim
    linear = 2.0 * architecture.num_active_parameters * num_tokens
    return linear + attention * attended(architecture, first, last)


def prefill_flops(
    architecture: Architecture, num_tokens: ArrayLike, cached: ArrayLike = 0
) -> FloatArray:
    """FLOPs of reading a prefix of which the first `cached` tokens were in the prefix cache."""
    if np.any(np.asarray(cached) > np.asarray(num_tokens)):
        raise ValueError("more tokens are cached than the prefix has")
    return forward_flops(architecture, np.asarray(cached) + 1, num_tokens)


def decode_flops(
    architecture: Architecture, prompt_tokens: ArrayLike, output_tokens: ArrayLike
) -> FloatArray:
    """FLOPs of writing `output_tokens` after a prefill that emitted the first: T - 1 passes at
    contexts S+1..S+T-1. Tokens that were forced into an output are read at the same cost."""
    prompt = np.asarray(prompt_tokens)
    return forward_flops(architecture, prompt + 1, prompt + np.asarray(output_tokens) - 1)


def lifetime_flops(pretraining: ArrayLike, per_query: ArrayLike, num_queries: float) -> FloatArray:
    """Pre-training plus inference over all queries: C = 6ND + Q c (Sardana et al. 2023, arXiv
    2401.00448, eq. 2)."""
    return np.asarray(pretraining, np.float64) + num_queries * np.asarray(per_query, np.float64)


def weights_read(architecture: Architecture, num_tokens: ArrayLike) -> FloatArray:
    """Weights that a pass over `num_tokens` tokens reads, in expectation over independent choices
    of experts, each as likely: an expert is left alone with probability (1 - k/E)^tokens."""
    experts = architecture.num_expert_parameters
    if not experts:
        return np.full(np.shape(num_tokens), float(architecture.num_active_parameters))
    chosen = architecture.num_experts_per_token / architecture.num_experts
    always = architecture.num_active_parameters - chosen * experts
    return always + experts * (1 - (1 - chosen) ** np.asarray(num_tokens, np.float64))


@dataclass(frozen=True)
class Work:
    """What one phase of a query computes and reads: FLOPs and bytes, arrays of one shape."""

    flops: FloatArray
    bytes: FloatArray

    def effective_flops(self, accelerator: Accelerator) -> FloatArray:
        """eFLOPs = FLOPs + I bytes (Kinetics, Sadhukhan et al. 2025, arXiv 2506.05333, eq. 1)."""
        return self.flops + accelerator.intensity * self.bytes

    def seconds(self, accelerator: Accelerator) -> FloatArray:
        """The least that one accelerator needs, computing and reading at once (the roofline)."""
        return np.maximum(self.flops / accelerator.peak_flops, self.bytes / accelerator.bandwidth)


def bytes_per_weight(facts: ModelFacts, pricing: Pricing) -> float:
    """Mean over a model's weights; NaN where they are quantised in a way whose bits are not known."""
    if facts.quantization is None:
        return pricing.bytes_per_number
    return nan if facts.bytes_per_parameter is None else facts.bytes_per_parameter


def roofline(facts: ModelFacts, pricing: Pricing) -> Accelerator | None:
    """The accelerator in the arithmetic that the model's weights are multiplied in: their own where
    activations are quantised as well, else of quantised weights bfloat16, to which they are
    unpacked. None where no accelerator is named."""
    if facts.quantization is None:
        return pricing.roofline(pricing.dtype)
    return pricing.roofline(facts.arithmetic or "bfloat16")


def prefill_bytes(facts: ModelFacts, num_tokens: ArrayLike, pricing: Pricing) -> FloatArray:
    """What is read for a prompt, together with as many others as a batch has."""
    in_batch = pricing.batch_size * np.asarray(num_tokens, np.float64)
    weights = weights_read(facts.architecture, in_batch) / pricing.batch_size
    return weights * bytes_per_weight(facts, pricing)


def decode_bytes(
    facts: ModelFacts,
    prompt_tokens: ArrayLike,
    output_tokens: ArrayLike,
    forced_tokens: ArrayLike,
    pricing: Pricing,
) -> FloatArray:
    """What is read to write an output of which `forced_tokens` were put in by the strategy.

    Forced tokens are read in the pass that emits the token after them: they are computed, but add
    no pass. Where they stand is not known, so what they save is taken at the mean context.
    """
    architecture = facts.architecture
    prompt, output = (np.asarray(each, np.float64) for each in (prompt_tokens, output_tokens))
    num_tokens = np.maximum(output - 1, 0.0)
    num_passes = np.maximum(num_tokens - forced_tokens, 0.0)
    width = architecture.cache_width
    if width is None:
        width = 2 * architecture.num_heads * architecture.head_dim
    cache = width * attended(architecture, prompt + 1, prompt + output - 1)
    cache *= num_passes / np.maximum(num_tokens, 1.0)
    weights = float(weights_read(architecture, pricing.batch_size)) / pricing.batch_size
    weights *= bytes_per_weight(facts, pricing)
    return num_passes * weights + cache * pricing.bytes_per_number


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens each problem's prompt and each sample has; NaN where not known.

    `problem_S` says which problem (0..P-1) a sample is of, in any order, so that means over a
    problem's samples are exact though attention is quadratic. Where only means per problem are
    known, they stand for one sample.
    """

    prompt_P: FloatArray
    problem_S: IntArray
    output_S: FloatArray
    """Forced tokens included."""
    forced_S: FloatArray | None = None
    """Tokens of an output that the strategy put there; None where it puts none."""
    cached_S: FloatArray | None = None
    """Tokens of each sample's prompt that its provider said it had in its cache; None where none is asked."""
    seconds_per_output_token: float | None = None
    """Accelerator seconds that the model took for all it wrote, by its output tokens; None where not measured."""

    def __post_init__(self) -> None:
        if len(self.problem_S) != len(self.output_S):
            raise ValueError(
                f"problem_S has {len(self.problem_S)} samples and output_S {len(self.output_S)}"
            )

    @property
    def prompt_S(self) -> FloatArray:
        """Tokens of each sample's prompt."""
        return self.prompt_P[self.problem_S]

    def mean_per_problem(self, value_S: FloatArray) -> FloatArray:
        """Mean over each problem's samples, shape (P,); NaN for a problem without one."""
        num_problems = len(self.prompt_P)
        num_samples_P = np.bincount(self.problem_S, minlength=num_problems)
        sum_P = np.bincount(self.problem_S, value_S, num_problems)
        return np.where(num_samples_P > 0, sum_P / np.maximum(num_samples_P, 1), np.nan)


@dataclass(frozen=True)
class QueryCost:
    """What a query costs, per problem: at k samples prompt_P + k sample_P."""

    prompt_P: FloatArray
    sample_P: FloatArray

    def __add__(self, other: QueryCost) -> QueryCost:
        """Both, such as drawing samples and scoring them."""
        return QueryCost(self.prompt_P + other.prompt_P, self.sample_P + other.sample_P)

    def __mul__(self, factor: float) -> QueryCost:
        return QueryCost(self.prompt_P * factor, self.sample_P * factor)


def query_costs(
    facts: ModelFacts, tokens: TokenCounts, pricing: Pricing
) -> Mapping[str, QueryCost]:
    """The cost of a query along each axis of AXES that can be computed, in their order.

    The prompt is read once a query, whatever the number of samples; what a hosted model's provider
    bills for it is another matter (`Pricing.prompt_is_billed_once`).
    """
    shape, prompt_S, output_S = facts.architecture, tokens.prompt_S, tokens.output_S
    forced_S = np.zeros(1) if tokens.forced_S is None else tokens.forced_S
    flops_S = decode_flops(shape, prompt_S, output_S)

    def read() -> FloatArray:
        return decode_bytes(facts, prompt_S, output_S, forced_S, pricing)

    costs = _computed(facts, tokens, flops_S, read, pricing)
    written_P = tokens.mean_per_problem(output_S - forced_S)
    costs["output_tokens"] = QueryCost(np.zeros_like(written_P), written_P)
    if tokens.seconds_per_output_token is not None:
        costs["accelerator_seconds"] = costs["output_tokens"] * tokens.seconds_per_output_token
    return _with_dollars(costs, pricing.tariff(facts.name, facts.hosted_as), tokens, pricing)


def scoring_costs(
    scorer: ModelFacts, tokens: TokenCounts, pricing: Pricing
) -> Mapping[str, QueryCost]:
    """What it costs that a scorer reads every sample once, along the axes that `query_costs` has,
    to be added to it.

    The prompt is read once a query; every token of an output is read, and none is written.
    """
    shape, prompt_S, output_S = scorer.architecture, tokens.prompt_S, tokens.output_S
    flops_S = forward_flops(shape, prompt_S + 1, prompt_S + output_S)

    def read() -> FloatArray:
        return prefill_bytes(scorer, output_S, pricing)

    costs = _computed(scorer, tokens, flops_S, read, pricing)
    nothing_P = np.zeros_like(tokens.prompt_P)
    costs["output_tokens"] = QueryCost(nothing_P, nothing_P)
    return _with_dollars(costs, None, tokens, pricing)


def _computed(
    facts: ModelFacts,
    tokens: TokenCounts,
    flops_S: FloatArray,
    read: Callable[[], FloatArray],
    pricing: Pricing,
) -> dict[str, QueryCost]:
    """FLOPs, and what follows from them and from what is read, where an accelerator is named."""
    flops_P, mean = prefill_flops(facts.architecture, tokens.prompt_P), tokens.mean_per_problem
    costs = {"inference_flops": QueryCost(flops_P, mean(flops_S))}
    accelerator = roofline(facts, pricing)
    if accelerator is not None:
        prompt = Work(flops_P, prefill_bytes(facts, tokens.prompt_P, pricing))
        sample = Work(flops_S, read())
        costs["effective_flops"] = QueryCost(
            prompt.effective_flops(accelerator), mean(sample.effective_flops(accelerator))
        )
        costs["roofline_seconds"] = QueryCost(
            prompt.seconds(accelerator), mean(sample.seconds(accelerator))
        )
    return costs


def _with_dollars(
    costs: dict[str, QueryCost], tariff: Tariff | None, tokens: TokenCounts, pricing: Pricing
) -> Mapping[str, QueryCost]:
    """The costs in the order of AXES, with dollars where there is a price."""
    paid = "roofline_seconds" if pricing.hours == "roofline" else "accelerator_seconds"
    rate = pricing.dollars_per_second
    if tariff is not None:
        costs["dollars"] = _billed(tokens, tariff, pricing)
    elif rate is not None and paid in costs:
        costs["dollars"] = costs[paid] * rate
    return {axis: costs[axis] for axis in AXES if axis in costs}


def _billed(tokens: TokenCounts, tariff: Tariff, pricing: Pricing) -> QueryCost:
    """Dollars by the token: a sample is a request with the whole prompt, cheaper where the provider
    said that it was cached; or all samples are one request."""
    written_S = tokens.output_S * tariff.dollars(output=1)
    if pricing.prompt_is_billed_once:
        read_P = tokens.prompt_P * tariff.dollars(input=1)
        return QueryCost(read_P, tokens.mean_per_problem(written_S))
    cached_S = np.zeros(1) if tokens.cached_S is None else np.nan_to_num(tokens.cached_S)
    cached_S = np.minimum(cached_S, tokens.prompt_S)
    read_S = (tokens.prompt_S - cached_S) * tariff.dollars(input=1)
    read_S += cached_S * tariff.dollars(cached_input=1)
    paid_P = tokens.mean_per_problem(read_S + written_S)
    return QueryCost(np.zeros_like(paid_P), paid_P)
