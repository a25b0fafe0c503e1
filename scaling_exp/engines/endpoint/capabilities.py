"""What a server of `/completions` honours, found out by asking it.

What it does not honour is not sent, and what needs it is refused.

Servers differ in what they accept, and some accept a setting and ignore it. So each is tried by what it must change:
with top_k = 1, for example, two seeds must give one and the same completion, which they otherwise do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from scaling_exp.engines.endpoint.dialect import (
    RESTRICTIONS,
    Ask,
    Body,
    check_told,
    restricted,
    sampled,
    stops_at_word,
    tried,
)
from scaling_exp.engines.endpoint.faults import Reply
from scaling_exp.models import Model
from scaling_exp.types import Sampling, Tokens, UserError

PROBE_TOKENS = 8
GREEDY: Body = {"max_tokens": PROBE_TOKENS, "temperature": 0}
WILD: Body = {"max_tokens": PROBE_TOKENS, "temperature": 2}
"""So hot that two samples of eight tokens are all but surely not the same."""


@dataclass(frozen=True)
class Capabilities:
    """What one server honours for one model. Goes into the manifest as it is."""

    served_model: str
    lists_model: bool
    """Its list of models has this one; False where it gives no list."""
    token_ids_in: bool
    token_ids_out: bool
    seed_bits: int
    """63 or 31: the seeds that it accepts and honours. 0: it ignores them."""
    samples_vary: bool
    """Samples of one prompt differ."""
    logprobs: bool
    cached_tokens: bool
    top_p: bool
    top_k: bool
    min_p: bool
    stop_token_ids: bool
    stop: bool
    repetition_penalty: bool
    """Accepts it; sent as 1 so that a default of the server's own does not apply."""

    def caveats(self) -> tuple[str, ...]:
        """What a reader of the results must know, one sentence each."""
        told = {
            "prompts are sent as text: the server takes no token ids": self.token_ids_in,
            "completions are text that was encoded again: their token ids may not be those that were drawn": (
                self.token_ids_out
            ),
            "it ignores seeds: the draws cannot be made again": self.seed_bits > 0,
            "its samples of one prompt are all the same": self.samples_vary,
            "it does not say how many prompt tokens came from its cache: they count as 0": (
                self.cached_tokens
            ),
        }
        return tuple(sentence for sentence, is_fine in told.items() if not is_fine)


def common(each: Sequence[Capabilities]) -> Capabilities:
    """What all of several servers honour."""
    least = {one.name: min(getattr(it, one.name) for it in each) for one in fields(Capabilities)}
    return replace(each[0], **least)


def check(sampling: Sampling, able: Capabilities) -> None:
    """Raises UserError for a sampling setting that the servers would ignore."""
    check_told(sampling)
    asked = {
        "top_p": sampling.top_p < 1,
        "top_k": sampling.top_k > 0,
        "min_p": sampling.min_p > 0,
        "stop_token_ids": bool(sampling.stop_token_ids),
        "stop": bool(sampling.stop),
    }
    ignored = [name for name, is_asked in asked.items() if is_asked and not getattr(able, name)]
    if ignored and sampling.temperature == 0:
        ignored = [name for name in ignored if name not in RESTRICTIONS]
    if ignored:
        raise UserError(
            f"sampling.{ignored[0]} is {getattr(sampling, ignored[0])} and the server of {able.served_model} does not"
            " honour it: leave it at its default, or choose a server that does (engine.base_urls)"
        )
    ends = [name for name in ("stop_token_ids", "stop") if asked[name]]
    if ends and not able.token_ids_out:
        raise UserError(
            f"sampling.{ends[0]} is {getattr(sampling, ends[0])} and the server of {able.served_model} answers in"
            " text, which does not tell where it stopped: use a server that gives token ids (engine.base_urls)"
        )
    if sampling.max_thinking_tokens is not None:
        raise UserError(
            f"sampling.max_thinking_tokens is {sampling.max_thinking_tokens} and servers are not asked to end a"
            " thinking: leave it null, or draw the model with engine=vllm_gpu or vllm_cpu"
        )
    if sampling.temperature > 0 and not able.samples_vary:
        raise UserError(
            f"sampling.temperature is {sampling.temperature} and the server of {able.served_model} gives the same"
            " sample again and again: use a greedy strategy, or another server (engine.base_urls)"
        )


def settings(sampling: Sampling, stop_token_ids: Tokens, able: Capabilities) -> Body:
    """All of a request but model, prompt and seed; only what is honoured. Raises UserError as `check` does."""
    check(sampling, able)
    optional = {
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "stop_token_ids": list(sampling.stop_token_ids + stop_token_ids),
        "repetition_penalty": 1.0,
    }
    honoured: Body = {name: value for name, value in optional.items() if getattr(able, name)}
    if sampling.stop:
        honoured["stop"] = list(sampling.stop)
    ids: Body = {"return_token_ids": True} if able.token_ids_out else {}
    plain: Body = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    return plain | honoured | ids


async def probe(
    ask: Ask, model: Model, served_model: str, lists_model: bool
) -> tuple[Capabilities, str]:
    """What the server honours, and its greedy completion of the probe, the same for all servers of one model.

    About fifteen requests of eight tokens. Raises RequestFailed when it refuses even the plainest.
    """
    prompt, greedy = await _first_words(ask, model)
    wild = prompt | WILD
    seed_bits, samples = await sampled(ask, wild)
    is_random = len(set(map(_content, samples))) > 1
    restrictions, stops, stops_at_text, logprobs, penalty = await asyncio.gather(
        asyncio.gather(*(_restricts(ask, wild, name, seed_bits) for name in RESTRICTIONS)),
        _stops(ask, prompt, greedy, model),
        stops_at_word(ask, prompt | GREEDY, greedy.text),
        tried(ask, prompt | GREEDY | {"logprobs": 1}),
        tried(ask, prompt | GREEDY | {"repetition_penalty": 1.0}),
    )
    top_p, top_k, min_p = (is_random and each for each in restrictions)
    capabilities = Capabilities(
        served_model=served_model,
        lists_model=lists_model,
        token_ids_in=not isinstance(prompt["prompt"], str),
        token_ids_out=greedy.tokens is not None,
        seed_bits=seed_bits if is_random and _content(samples[0]) == _content(samples[1]) else 0,
        samples_vary=is_random,
        logprobs=logprobs is not None and logprobs.has_logprobs,
        cached_tokens=greedy.usage.cached_tokens is not None,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        stop_token_ids=stops,
        stop=stops_at_text,
        repetition_penalty=penalty is not None,
    )
    return capabilities, greedy.text


async def _first_words(ask: Ask, model: Model) -> tuple[Body, Reply]:
    """The richest form of a prompt that the server takes, and its greedy completion."""
    middle = model.config["vocab_size"] // 2  # ordinary words, in most vocabularies
    ids = tuple(range(middle, middle + 4))
    rich: Body = {"return_token_ids": True}
    plain: Body = {"prompt": list(ids)}
    for prompt in (plain | rich, plain):
        reply = await tried(ask, prompt | GREEDY)
        if reply is not None and ids_were_read(reply, ids):
            return prompt, reply
    text: Body = {"prompt": model.decode(ids)}
    reply = await tried(ask, text | rich | GREEDY)
    if reply is not None:
        return text | rich, reply
    return text, await ask(text | GREEDY)


def ids_were_read(reply: Reply, prompt: Tokens) -> bool:
    """The server has shown that it saw these tokens; one that shows nothing is not believed."""
    if reply.prompt is not None:
        return reply.prompt == prompt
    return reply.usage.prompt_tokens == len(prompt)


async def _restricts(ask: Ask, wild: Body, name: str, seed_bits: int) -> bool:
    replies = await restricted(ask, wild, name, seed_bits)
    return replies is not None and len(set(map(_content, replies))) == 1


async def _stops(ask: Ask, prompt: Body, greedy: Reply, model: Model) -> bool:
    """Whether the first token of the greedy completion ends it, when it is made a stop token."""
    tokens = greedy.tokens if greedy.tokens is not None else model.encode([greedy.text])[0]
    if len(tokens) < 2:
        return False
    reply = await tried(ask, prompt | GREEDY | {"stop_token_ids": [tokens[0]]})
    return reply is not None and reply.finish_reason == "stop" and _length(reply) <= 1


def _length(reply: Reply) -> int:
    if reply.usage.output_tokens is not None:
        return reply.usage.output_tokens
    return len(reply.tokens if reply.tokens is not None else reply.text.split())


def _content(reply: Reply) -> tuple[Tokens, str]:
    return reply.tokens or (), reply.text
