"""Cost: FLOPs of a query and of a pre-training, as exact sums over tokens.

A token at context s (itself included) costs 2 N_active + 4 L H d_head s: two FLOPs per weight that
it multiplies with, and for each layer and head a product with s keys and one with s values (Kaplan
et al. 2020, arXiv 2001.08361, section 2.1, with attention exact instead of at the mean context).

The convention: the forward pass of the prompt (prefill) emits the first output token, so an output
of T tokens costs the prefill plus T - 1 decode passes; the last token is never fed back. Attention
is causal: the token at position s attends to s tokens, not to the whole prompt. Every token is
charged the output layer, in the prefill as well.

FLOPs are not seconds: this file knows nothing of memory bandwidth or of batching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scaling_exp.analysis.estimators import FloatArray, IntArray
from scaling_exp.analysis.pricing import Pricing
from scaling_exp.types import Architecture, ModelFacts

AXES: Mapping[str, str] = {
    "inference_flops": "inference FLOPs a query",
    "output_tokens": "output tokens a query",
    "effective_flops": "effective FLOPs a query (compute and memory)",
    "roofline_seconds": "accelerator seconds a query, at the roofline",
    "accelerator_seconds": "accelerator seconds a query, measured",
    "dollars": "US dollars a query",
}
"""What a query may cost, with its unit. The first two are always known."""


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens each problem's prompt and each sample has; NaN where not known.

    `problem_S` says which problem (0..P-1) a sample is of, in any order, so that means over a problem's samples are
    exact though attention is quadratic. Where only means per problem are known, they stand for one sample.
    """

    prompt_P: FloatArray
    problem_S: IntArray
    output_S: FloatArray

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


def query_costs(
    facts: ModelFacts, tokens: TokenCounts, pricing: Pricing
) -> Mapping[str, QueryCost]:
    """The cost of a query along each axis of AXES that can be computed, in their order.

    The prompt is read once a query, whatever the number of samples.
    """
    shape = facts.architecture
    decode_S = decode_flops(shape, tokens.prompt_P[tokens.problem_S], tokens.output_S)
    nothing_P = np.zeros_like(tokens.prompt_P)
    return {
        "inference_flops": QueryCost(
            prefill_flops(shape, tokens.prompt_P), tokens.mean_per_problem(decode_S)
        ),
        "output_tokens": QueryCost(nothing_P, tokens.mean_per_problem(tokens.output_S)),
    }


def forward_flops(architecture: Architecture, first: ArrayLike, last: ArrayLike) -> FloatArray:
    """FLOPs of the forward passes of the tokens at positions first..last (1-based, inclusive;
    broadcasts).

    Nothing where last < first.
    """
    first_, last_ = np.asarray(first, np.float64), np.asarray(last, np.float64)
    num_tokens = np.maximum(last_ - first_ + 1, 0.0)
    sum_of_contexts = num_tokens * (first_ + last_) / 2
    attention = 4.0 * architecture.num_layers * architecture.num_heads * architecture.head_dim
    return 2.0 * architecture.num_active_parameters * num_tokens + attention * sum_of_contexts


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
    contexts S+1..S+T-1."""
    prompt = np.asarray(prompt_tokens)
    return forward_flops(architecture, prompt + 1, prompt + np.asarray(output_tokens) - 1)


def query_flops(architecture: Architecture, prompt_tokens: int, output_tokens: ArrayLike) -> float:
    """FLOPs of one query: the prefill of its prompt once, and the decode of every sample drawn for
    it."""
    decode = decode_flops(architecture, prompt_tokens, output_tokens)
    return float(prefill_flops(architecture, prompt_tokens) + decode.sum())


def pretraining_flops(num_parameters: float, num_tokens: float) -> float:
    """6ND (Kaplan et al. 2020, section 2.1)."""
    return 6.0 * num_parameters * num_tokens


def lifetime_flops(pretraining: ArrayLike, per_query: ArrayLike, num_queries: float) -> FloatArray:
    """Pre-training plus inference over all queries: C = 6ND + Q c (Sardana et al. 2023, arXiv
    2401.00448, eq. 2)."""
    return np.asarray(pretraining, np.float64) + num_queries * np.asarray(per_query, np.float64)
