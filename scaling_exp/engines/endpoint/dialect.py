"""How a model is asked: which path of a server's, what a request says, how a reply is read.

There are two: token ids over `/completions` (completions.py) and messages over `/chat/completions` (chat.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from scaling_exp.engines.endpoint.faults import Reply
from scaling_exp.engines.engine import RequestFailed
from scaling_exp.types import Completion, Sampling, Tokens, UserError

Body = dict[str, object]
"""A request's JSON, without the model."""
Ask = Callable[[Body], Awaitable[Reply]]
"""Sends a request. Raises RequestFailed when the server refuses it."""

SEEDS = (0x2545F4914F6CDD1D, 0x5851F42D4C957F2D, 0x14057B7EF767814F)
"""To try a server with: arbitrary; they differ in their low and in their high bits."""
SEED_BITS = (63, 31)
"""Lengths of seeds that servers accept, the longest first."""
RESTRICTIONS: Mapping[str, float] = {"top_p": 1e-6, "top_k": 1, "min_p": 1}
"""With any of these only the likeliest token is left, so the seed no longer matters."""


@dataclass(frozen=True)
class Request:
    """What the client must know of a request to send it and to judge the reply. `body` lacks the model."""

    body: Body
    max_tokens: int
    num_prompt_tokens: int
    """As far as it is known before the server has counted."""
    prompt: Tokens | None = None
    """The ids that the server must have seen; None where that cannot be checked."""
    wants_ids: bool = False

    @property
    def most_tokens(self) -> int:
        """Prompt and the longest completion."""
        return self.num_prompt_tokens + self.max_tokens


class Honoured(Protocol):
    """What one server honours for one model: a dataclass, which goes into the manifest as it is."""

    @property
    def served_model(self) -> str: ...

    def caveats(self) -> tuple[str, ...]:
        """What a reader of the results must know, one sentence each."""
        ...


@dataclass(frozen=True)
class Found:
    """What trying a server showed; `greedy` is what all servers of one model should answer to the same prompt."""

    honoured: Honoured
    greedy: str


class Dialect(Protocol):
    """One way to ask one model."""

    path: str
    """After the base URL."""

    def served_name(self, given: str | None, listed: Mapping[str, str]) -> str | None:
        """The server's name for the model, from the name that the configuration gives it and the models that the
        server lists (name -> origin; empty where it lists none). None when the server does not have the model."""
        ...

    async def probe(self, ask: Ask, served_model: str, lists_model: bool) -> Found:
        """Find out what a server honours. Raises RequestFailed when it refuses even the plainest request."""
        ...

    def settle(self, found: Sequence[Found]) -> None:
        """Ask for nothing that one of several servers does not honour."""
        ...

    def request(self, prefix: Tokens, sampling: Sampling, seed: int) -> Request:
        """Raises UserError for a sampling that the servers would ignore, RequestFailed for a prefix that cannot be
        sent."""
        ...

    def read(self, content: Mapping[str, Any], request: Request) -> Reply:
        """Raises ValueError, saying what is wrong, for anything that is not exactly one completion."""
        ...

    def completion(self, reply: Reply) -> Completion:
        """Raises RequestFailed for a text that the model cannot have written."""
        ...


def check_told(sampling: Sampling) -> None:
    """Raises UserError for numbers beside the text, of which servers are not asked."""
    asked = {
        "sampling.confidence": sampling.confidence != 0,
        "a score": bool(sampling.pooling),
        "the probability of a label": bool(sampling.labels),
        "the likelihood of a text": sampling.scored_from is not None,
    }
    if wanted := [name for name, is_asked in asked.items() if is_asked]:
        raise UserError(
            f"{wanted[0]} is asked for, and servers are asked for text only: leave it out (scorers and judged"
            " strategies want it), or draw the model with engine=vllm_gpu or vllm_cpu"
        )


async def tried(ask: Ask, body: Body) -> Reply | None:
    """None when the server refuses the request."""
    try:
        return await ask(body)
    except RequestFailed:
        return None


async def stops_at_word(ask: Ask, greedy: Body, text: str) -> bool:
    """Whether a greedy answer is shorter when one of its words is a stop string.

    Servers leave a stop string out of the text. Where there was no text, that they accept one must do.
    """
    words = text.split()
    word = words[min(1, len(words) - 1)] if words else "END"
    reply = await tried(ask, greedy | {"stop": [word]})
    return reply is not None and (not words or len(reply.text) < len(text))


async def sampled(ask: Ask, wild: Body) -> tuple[int, Sequence[Reply]]:
    """Bits of the seeds that a server accepts, and samples: the first two under one seed, the others under others."""
    for bits in SEED_BITS:
        seeds = [SEEDS[0], *SEEDS]
        replies = await asyncio.gather(
            *(tried(ask, wild | with_seed(seed, bits)) for seed in seeds)
        )
        accepted = [reply for reply in replies if reply is not None]
        if len(accepted) == len(seeds):
            return bits, accepted
    return 0, await asyncio.gather(*(ask(wild) for _ in range(4)))


async def restricted(ask: Ask, wild: Body, name: str, seed_bits: int) -> list[Reply] | None:
    """Samples under a setting that leaves one; None where it is refused."""
    body = wild | {name: RESTRICTIONS[name]}
    replies = await asyncio.gather(
        *(tried(ask, body | with_seed(seed, seed_bits)) for seed in SEEDS)
    )
    accepted = [reply for reply in replies if reply is not None]
    return accepted if len(accepted) == len(SEEDS) else None


def with_seed(seed: int, bits: int) -> Body:
    """The part of a request that carries a seed; nothing where there are no bits."""
    return {"seed": seed & ((1 << bits) - 1)} if bits else {}
