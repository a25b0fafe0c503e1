"""The nouns every layer shares: frozen, typed, picklable, and ignorant of engines, files and configuration."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Literal

Tokens = tuple[int, ...]
Path = tuple[int, ...]
"""A node's name in the forest of continuations; `()` is the prompt, `(2, 0)` the first child of the third sample."""


class UserError(ValueError):
    """A mistake that the user can mend: shown as one line with the remedy, without a trace."""


FinishReason = Literal["stop", "length"]
MOST_LIKELIEST = 20
"""Engines tell the log-probabilities of no more tokens than that, unless they are asked for all."""
WHOLE_VOCABULARY = -1
"""Of 150,000 tokens that takes 43 ms and 19 MB of memory for every token that is drawn."""


@dataclass(frozen=True)
class Sampling:
    """How one continuation is drawn. Part of a draw's identity: two draws that differ here are two draws.

    `temperature` 0 is greedy decoding, for which the seed is irrelevant.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop_token_ids: Tokens = ()
    stop: tuple[str, ...] = ()
    """Texts that end the continuation; the tokens that complete one are part of it."""
    max_thinking_tokens: int | None = None
    """After so many tokens of thinking its end is forced; None: no limit of its own."""
    labels: Tokens = ()
    """Tokens of which the log-probabilities as the first token of the continuation are told as well."""
    pooling: Literal["", "classify", "token_classify"] = ""
    """What is asked of a model that scores a text instead of continuing it, in vLLM's words: a score of the whole, or
    one of each token, of those in `labels` only where there are any."""
    confidence: int = 0
    """How many of the likeliest tokens the confidence of each token is a mean over; 0: it is not told. Over the
    `WHOLE_VOCABULARY` its mean is self-certainty plus a constant (Kang et al. 2025, arXiv 2502.18581)."""
    scored_from: int | None = None
    """Position in the prefix from which on the log-probability of each of its tokens is told; None: of none."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"sampling.max_tokens is {self.max_tokens}; it must be at least 1")
        if self.temperature < 0:
            raise ValueError(f"sampling.temperature is {self.temperature}; it must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampling.top_p is {self.top_p}; it must be in (0, 1]")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"sampling.min_p is {self.min_p}; it must be in [0, 1]")
        if self.top_k < 0:
            raise ValueError(f"sampling.top_k is {self.top_k}; it must be 0 (all) or more")
        if "" in self.stop:
            raise ValueError("sampling.stop has an empty text; it would end everything at once")
        if not WHOLE_VOCABULARY <= self.confidence <= MOST_LIKELIEST:
            raise ValueError(
                f"sampling.confidence is {self.confidence}; it must be in 0 .. {MOST_LIKELIEST}, or"
                f" {WHOLE_VOCABULARY} for the whole vocabulary"
            )
        if self.scored_from is not None and self.scored_from < 1:
            raise ValueError(
                f"sampling.scored_from is {self.scored_from}; it must be at least 1: nothing tells of the first token"
            )
        if self.max_thinking_tokens is not None and self.max_thinking_tokens < 0:
            raise ValueError(
                f"sampling.max_thinking_tokens is {self.max_thinking_tokens}; it must be 0 or more"
            )

    @property
    def tells_tokens_alone(self) -> bool:
        """Whether nothing is asked for beside the tokens, and no text has to be read to end them."""
        return not (self.stop or self.labels or self.pooling or self.confidence) and (
            self.scored_from is None
        )


@dataclass(frozen=True)
class Billed:
    """Tokens of one draw as a server counts them, whose tokenizer is not known here.

    Reasoning tokens are among the output tokens; None where the server does not tell them apart.
    """

    num_prompt_tokens: int
    num_output_tokens: int
    num_reasoning_tokens: int | None


@dataclass(frozen=True)
class Completion:
    """What an engine returned for one draw.

    `num_cached_tokens` counts the prefix tokens whose keys and values came from the prefix cache. Where `billed` is
    given, `tokens` stand for the text only, and the draw is counted and paid as it says.
    """

    tokens: Tokens
    finish_reason: FinishReason
    num_cached_tokens: int = 0
    billed: Billed | None = None
    scores: tuple[float, ...] = ()
    """Numbers that were asked for: the natural logarithm of the probability of each of `Sampling.labels`, or what
    `Sampling.pooling` gives; with `Sampling.confidence` two for each token in turn: its log-probability, and its
    confidence, minus the mean log-probability of the likeliest tokens in its place (Fu et al. 2025, arXiv 2508.15260,
    eq. 2); with `Sampling.scored_from` the log-probability of each token of the prefix from there on."""

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) if self.billed is None else self.billed.num_output_tokens


@dataclass(frozen=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Chat:
    """Turns that a model's own chat template makes a prompt of.

    `thinking` is handed to the template as `enable_thinking`; None leaves it to the template.
    """

    messages: tuple[Message, ...]
    thinking: bool | None = None


@dataclass(frozen=True)
class Problem:
    """One question with its exact answer. `name` is unique inside the task and stable between runs."""

    name: str
    prompt: str
    """What is asked, as it is sent; of a chat, what is shown of it."""
    answer: str
    level: str
    chat: Chat | None = None
    """Sent instead of `prompt`."""
    extra: str = ""
    """What the grader must know besides, in a form of the task's own: tests of a program, a puzzle."""


@dataclass(frozen=True)
class Grade:
    """What a grader found. `unparsable` is what it could not make sense of, or not in time; it counts as wrong."""

    outcome: Literal["correct", "wrong", "unparsable"]
    detail: str = ""
    """Why, where that is not plain."""

    @property
    def is_correct(self) -> bool:
        return self.outcome == "correct"

    @classmethod
    def of(cls, is_correct: bool) -> Grade:
        return cls("correct" if is_correct else "wrong")


@dataclass(frozen=True)
class Architecture:
    """The shapes that decide what a token costs.

    `num_parameters` counts every weight once (tied embeddings once). `num_active_parameters` counts the weights that
    one token multiplies with: the input embedding is a look-up and is left out unless it is tied to the output, and of
    a mixture's experts only those that a router chooses count. `num_layers` 0 when the shapes are not known: then
    attention is not charged. NaN for sizes that are not known either.
    """

    num_parameters: float
    num_active_parameters: float
    num_non_embedding_parameters: float
    num_layers: int
    num_heads: int
    head_dim: int
    """Width of a head; the mean of a key's and a value's where they differ."""
    cache_width: int | None = None
    """Numbers that a token leaves in a layer's cache, keys and values together; None: 2 num_heads head_dim."""
    num_sliding_layers: int = 0
    """Layers in which a token attends to the last `sliding_window` tokens only, itself among them."""
    sliding_window: int = 0
    num_expert_parameters: int = 0
    """Weights of all experts that a router chooses from (those that are always used are not among them)."""
    num_experts: int = 0
    num_experts_per_token: int = 0

    @classmethod
    def of_size(cls, num_parameters: float, num_active_parameters: float) -> Architecture:
        """A model of which only the size is known."""
        return cls(num_parameters, num_active_parameters, num_parameters, 0, 0, 0)


@dataclass(frozen=True)
class ModelFacts:
    """What the analysis must know of a model: its shapes and what its pre-training consumed.

    `pretraining_tokens` is D, counted with repetitions. What is NaN or None is not known: no number stands in for it.
    """

    name: str
    architecture: Architecture
    pretraining_tokens: float
    unique_tokens: int | None = None
    """Tokens of the corpus before it was repeated; None when each was seen once."""
    pretraining_loss: float | None = None
    """Held-out cross-entropy, nats a token."""
    family: str = ""
    """Models of one family differ in size and data only."""
    is_distilled: bool = False
    """Pruned or distilled from a larger model, so that 6ND understates what it took."""
    hosted_as: str = ""
    """`provider/model`: what price lists call a model that is paid by the token; empty for weights of one's own."""
    source: str = ""
    """Where the weights are from: a folder, or an id of the Hub and its commit."""
    dtype: str | None = None
    """In which an engine computed; None where that is not known."""
    quantization: str | None = None
    """How the weights are quantised; None for plain ones."""
    bytes_per_parameter: float | None = None
    """Of quantised weights, their scales and what stays plain among them."""
    arithmetic: Literal["float8", "float4"] | None = None
    """In which quantised weights are multiplied; None: in that of plain ones."""

    @property
    def pretraining_flops(self) -> float:
        """6ND (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), N = total parameters."""
        return 6.0 * self.architecture.num_parameters * self.pretraining_tokens

    @property
    def order(self) -> tuple[bool, float, str]:
        """Sorts models by pre-training compute; those of which it is not known come last."""
        return not self.has_compute, self.pretraining_flops, self.name

    @property
    def has_compute(self) -> bool:
        """Whether its pre-training compute is known: without it a model takes part in no trade."""
        return not isnan(self.pretraining_flops)
