"""Messages over `/chat/completions`: for a hosted model, of which nothing but its answers can be had.

A server's own count of tokens is what a draw costs, so one that does not tell it is of no use. Which settings are taken
is tried as in capabilities.py, by what they must change; a model that thinks longer than the trial lasts shows nothing,
and is then taken at its word. To continue an answer that has begun is not possible here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

from scaling_exp.engines.endpoint.dialect import (
    RESTRICTIONS,
    Ask,
    Body,
    Found,
    Request,
    check_told,
    restricted,
    sampled,
    stops_at_word,
    tried,
    with_seed,
)
from scaling_exp.engines.endpoint.faults import Reply, read_chat_reply
from scaling_exp.models import HostedModel, chat_of
from scaling_exp.types import Billed, Completion, Sampling, Tokens, UserError

PROBE_TOKENS = 16
"""The fewest that some servers allow."""
LIMITS = ("max_tokens", "max_completion_tokens")
"""What servers call the longest answer: the usual name, and that of OpenAI's reasoning models, which refuse the other.
"""
QUESTION: Body = {"messages": [{"role": "user", "content": "Write down ten random words."}]}
NEUTRAL: Body = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Sent where it is taken, so that no default of the server's own applies."""
BYTES_PER_TOKEN = 4
"""About, in English: for rate limits only, until the server has counted."""


@dataclass(frozen=True)
class ChatHonoured:
    """What one server honours for one hosted model. Goes into the manifest as it is."""

    served_model: str
    lists_model: bool
    """Its list of models has this one; False where it gives no list."""
    limit: str
    """Its name for the longest answer, one of `LIMITS`."""
    keeps_limit: bool
    shows_text: bool
    """Its answers to the trial had text, so that what follows was seen; else it is what the server accepts."""
    temperature: bool
    """It takes one; else it has its own, which counts as 1."""
    seed_bits: int
    """63 or 31: the seeds that it accepts. 0: none."""
    seeds_repeat: bool
    """One seed gives one answer."""
    samples_vary: bool
    top_p: bool
    top_k: bool
    min_p: bool
    neutral: bool
    """Takes `NEUTRAL`."""
    stop: bool
    template_kwargs: bool
    """Takes settings of the chat template, such as to think or not."""
    cached_tokens: bool
    reasoning_tokens: bool

    def caveats(self) -> tuple[str, ...]:
        """What a reader of the results must know, one sentence each."""
        told = {
            "it does not keep to the longest answer that it is given": self.keeps_limit,
            "its answers to the trial had no text: what it honours was not seen, only what it accepts": (
                self.shows_text
            ),
            "it takes no temperature: it samples in a way of its own": self.temperature,
            "it ignores seeds: the draws cannot be made again": self.seeds_repeat,
            "its samples of one prompt are all the same": self.samples_vary,
            "it does not say how many prompt tokens came from its cache: they count as 0": (
                self.cached_tokens
            ),
        }
        return tuple(sentence for sentence, is_fine in told.items() if not is_fine)


class ChatCompletions:
    """A dialect (see dialect.py). What the servers honour is known once it has settled."""

    path = "/chat/completions"

    def __init__(self, model: HostedModel) -> None:
        self._model = model
        self._messages = lru_cache(maxsize=1 << 12)(self._chat_body)

    def served_name(self, given: str | None, listed: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """The given name, or what the ladder says: aliases work and are seldom listed, so a trial must tell."""
        return given or self._model.path

    async def probe(self, ask: Ask, served_model: str, lists_model: bool) -> Found:
        """About twenty requests of sixteen tokens."""
        plain, greedy = await _plainest(ask, self._model.settings)
        wild = plain | ({"temperature": 1} if "temperature" in plain else {})
        seed_bits, samples = await sampled(ask, wild)
        texts = [reply.text for reply in samples]
        shows_text, is_random = any(texts), len(set(texts)) > 1
        restrictions, neutral, stop, template = await asyncio.gather(
            asyncio.gather(*(_restricts(ask, wild, name, seed_bits) for name in RESTRICTIONS)),
            tried(ask, plain | NEUTRAL),
            stops_at_word(ask, plain, greedy.text),
            tried(ask, plain | {"chat_template_kwargs": {}}),
        )
        taken = {
            name: _is_taken(seen, is_random)
            for name, seen in zip(RESTRICTIONS, restrictions, strict=True)
        }
        honoured = ChatHonoured(
            served_model=served_model,
            lists_model=lists_model,
            limit=next(name for name in LIMITS if name in plain),
            keeps_limit=(greedy.usage.output_tokens or 0) <= PROBE_TOKENS,
            shows_text=shows_text,
            temperature="temperature" in plain,
            seed_bits=seed_bits,
            seeds_repeat=bool(seed_bits)
            and (texts[0] == texts[1] if is_random else not shows_text),
            samples_vary=is_random or not shows_text,
            neutral=neutral is not None,
            stop=stop,
            template_kwargs=template is not None,
            cached_tokens=greedy.usage.cached_tokens is not None,
            reasoning_tokens=greedy.usage.reasoning_tokens is not None,
            **taken,
        )
        return Found(honoured, greedy.text)

    def settle(self, found: Sequence[Found]) -> None:
        """Raises UserError when the servers do not have one name for the longest answer."""
        every = [each.honoured for each in found if isinstance(each.honoured, ChatHonoured)]
        if len({each.limit for each in every}) > 1:
            raise UserError(
                f"the servers of model {self._model.name} differ, {' and '.join(LIMITS)}: they are not one model;"
                " leave one of engine.base_urls out"
            )
        least = {
            one.name: min(getattr(it, one.name) for it in every) for one in fields(ChatHonoured)
        }
        able = replace(every[0], **least)
        self._able = able
        self._settings = lru_cache(maxsize=1024)(lambda sampling: settings(sampling, able))

    def request(self, prefix: Tokens, sampling: Sampling, seed: int) -> Request:
        """Raises UserError for an answer that has begun."""
        body = {**self._settings(sampling), **self._messages(prefix), **self._model.settings}
        if sampling.temperature > 0:
            body |= with_seed(seed, self._able.seed_bits)
        return Request(body, sampling.max_tokens, len(prefix) // BYTES_PER_TOKEN + 1)

    def read(self, content: Mapping[str, Any], request: Request) -> Reply:  # noqa: ARG002
        return read_chat_reply(content)

    def completion(self, reply: Reply) -> Completion:
        usage = reply.usage
        if usage.prompt_tokens is None or usage.output_tokens is None:
            raise AssertionError("a reply that does not say its usage was read")
        (tokens,) = self._model.encode([reply.text])
        return Completion(
            tokens=tokens,
            finish_reason=reply.finish_reason,
            num_cached_tokens=usage.cached_tokens or 0,
            billed=Billed(usage.prompt_tokens, usage.output_tokens, usage.reasoning_tokens),
        )

    def _chat_body(self, prefix: Tokens) -> Body:
        """The part of a request that is the prompt."""
        chat, begun = chat_of(self._model.decode(prefix))
        if begun:
            raise UserError(
                f"a strategy continues an answer that has begun, and model {self._model.name} is asked over"
                " /chat/completions, which cannot: use strategies that draw whole answers"
            )
        messages: Body = {"messages": [asdict(each) for each in chat.messages]}
        if chat.thinking is None:
            return messages
        if not self._able.template_kwargs:
            raise UserError(
                f"task.prompt.thinking is {str(chat.thinking).lower()} and the server of"
                f" {self._able.served_model} takes no chat_template_kwargs: leave it null, and say it in the"
                " provider's own way with the model's reasoning_effort or request"
            )
        return messages | {"chat_template_kwargs": {"enable_thinking": chat.thinking}}


def settings(sampling: Sampling, able: ChatHonoured) -> Body:
    """What a request says of its sampling. Raises UserError as `check` does."""
    check(sampling, able)
    body: Body = {able.limit: sampling.max_tokens}
    if able.temperature:
        body["temperature"] = sampling.temperature
    if able.top_p:
        body["top_p"] = sampling.top_p
    if able.neutral:
        body |= NEUTRAL
    if sampling.top_k > 0:
        body["top_k"] = sampling.top_k
    if sampling.min_p > 0:
        body["min_p"] = sampling.min_p
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def check(sampling: Sampling, able: ChatHonoured) -> None:
    """Raises UserError for a sampling setting that the servers would refuse or ignore."""
    check_told(sampling)
    who = f"the server of {able.served_model}"
    if not able.temperature and sampling.temperature != 1:
        raise UserError(
            f"sampling.temperature is {sampling.temperature:g} and {who} takes none: leave it at 1, without greedy"
            " strategies, or choose another model"
        )
    asked = {"top_p": sampling.top_p < 1, "top_k": sampling.top_k > 0, "min_p": sampling.min_p > 0}
    for name, is_asked in asked.items():
        if is_asked and sampling.temperature > 0 and not getattr(able, name):
            raise UserError(
                f"sampling.{name} is {getattr(sampling, name)} and {who} does not honour it: leave it at its default,"
                " or choose another model"
            )
    if sampling.stop and not able.stop:
        raise UserError(
            f"sampling.stop is {list(sampling.stop)} and {who} does not honour it: leave it empty"
            " (task.prompt.stop=[]), or choose another model"
        )
    if sampling.stop_token_ids:
        raise UserError(
            f"sampling.stop_token_ids is {sampling.stop_token_ids} and {who} speaks in text: use sampling.stop"
        )
    if sampling.max_thinking_tokens is not None:
        raise UserError(
            f"sampling.max_thinking_tokens is {sampling.max_thinking_tokens} and {who} cannot be made to end its"
            " thinking: leave it null, and say it with the model's reasoning_effort or request"
        )
    if sampling.temperature > 0 and not able.samples_vary:
        raise UserError(
            f"sampling.temperature is {sampling.temperature:g} and {who} gives the same answer again and again: use a"
            " greedy strategy, or choose another model"
        )


async def _plainest(ask: Ask, settings: Body) -> tuple[Body, Reply]:
    """The first form of a request that the server takes, and its answer; greedy where it takes a temperature."""
    forms = [
        {**QUESTION, **settings, limit: PROBE_TOKENS, **temperature}
        for limit in LIMITS
        for temperature in ({"temperature": 0}, {})
    ]
    for form in forms:
        reply = await tried(ask, form)
        if reply is not None:
            return form, reply
    return forms[0], await ask(forms[0])  # what it says of the usual form


async def _restricts(ask: Ask, wild: Body, name: str, seed_bits: int) -> int | None:
    """Different answers under a setting that leaves one; None where it is refused."""
    replies = await restricted(ask, wild, name, seed_bits)
    return None if replies is None else len({each.text for each in replies})


def _is_taken(num_answers: int | None, is_random: bool) -> bool:
    """Where answers never differ, a setting cannot show itself."""
    return num_answers is not None and (num_answers == 1 or not is_random)
