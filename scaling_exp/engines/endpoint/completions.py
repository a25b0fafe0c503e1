"""Token ids over `/completions`: for a model whose folder is at hand, which is continued wherever a strategy likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from scaling_exp.engines.endpoint.capabilities import (
    Capabilities,
    common,
    ids_were_read,
    probe,
    settings,
)
from scaling_exp.engines.endpoint.dialect import Ask, Found, Request, with_seed
from scaling_exp.engines.endpoint.faults import Reply, read_reply
from scaling_exp.engines.engine import RequestFailed
from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens, UserError


class Completions:
    """A dialect (see dialect.py). What the servers honour is known once it has settled."""

    path = "/completions"

    def __init__(self, model: Model) -> None:
        self._model = model
        self._vocab_size = int(model.config["vocab_size"])
        self._text = lru_cache(maxsize=1 << 14)(self._as_text)

    def served_name(self, given: str | None, listed: Mapping[str, str]) -> str | None:
        """The given name, else one that ends like the model's name or its folder's."""
        return served_name(self._model, given, listed)

    async def probe(self, ask: Ask, served_model: str, lists_model: bool) -> Found:
        capabilities, greedy = await probe(ask, self._model, served_model, lists_model)
        return Found(capabilities, greedy)

    def settle(self, found: Sequence[Found]) -> None:
        all_of_them = [each.honoured for each in found if isinstance(each.honoured, Capabilities)]
        self._able = able = common(all_of_them)
        ends = self._model.stop_token_ids
        self._settings = lru_cache(maxsize=1024)(lambda sampling: settings(sampling, ends, able))

    def request(self, prefix: Tokens, sampling: Sampling, seed: int) -> Request:
        able = self._able
        body = dict(self._settings(sampling))
        body["prompt"] = list(prefix) if able.token_ids_in else self._text(prefix)
        if sampling.temperature > 0:
            body |= with_seed(seed, able.seed_bits)
        return Request(
            body=body,
            max_tokens=sampling.max_tokens,
            num_prompt_tokens=len(prefix),
            prompt=prefix if able.token_ids_in else None,
            wants_ids=able.token_ids_out,
        )

    def read(self, content: Mapping[str, Any], request: Request) -> Reply:
        reply = read_reply(content, request.max_tokens, self._vocab_size)
        _check_ids(reply, request)
        return reply

    def completion(self, reply: Reply) -> Completion:
        return Completion(
            tokens=reply.tokens if reply.tokens is not None else self._encode(reply),
            finish_reason=reply.finish_reason,
            num_cached_tokens=reply.usage.cached_tokens or 0,
        )

    def _as_text(self, prefix: Tokens) -> str:
        """The prompt for a server that takes no ids. Raises RequestFailed for one that text cannot carry."""
        text = self._model.decode(prefix)
        if self._model.encode([text]) != [prefix]:
            raise RequestFailed(
                f"the server of {self._able.served_model} takes prompts as text only, and these"
                f" {len(prefix)} tokens are others after decoding and encoding: use a server that takes token ids"
            )
        return text

    def _encode(self, reply: Reply) -> Tokens:
        """Ids of a completion that came as text. Servers leave the stop token out of it: it is put back."""
        try:
            (tokens,) = self._model.encode([reply.text])
        except UserError as error:
            raise RequestFailed(f"the completion cannot be encoded: {error}") from None
        ends = self._model.stop_token_ids
        lacks_end = reply.finish_reason == "stop" and not set(tokens[-1:]) & set(ends)
        return tokens + ends[:1] if lacks_end else tokens


def served_name(model: Model, given: str | None, listed: Mapping[str, str]) -> str | None:
    """The server's name for the model: the given one, else one that ends like the model's name or its folder's.

    `listed`: names -> origins, empty where the server lists none. None when the server does not have the model.
    """
    if not listed:
        return given or model.name
    if given is not None:
        return given if given in listed else None
    known = {model.name, PurePosixPath(model.path).name}
    for name, origin in listed.items():
        if {name, PurePosixPath(name).name, PurePosixPath(origin).name} & known:
            return name
    return None


def _check_ids(reply: Reply, request: Request) -> None:
    """Raises ValueError when the server keeps ids to itself that it gives otherwise, or read another prompt."""
    if request.wants_ids and reply.tokens is None:
        raise ValueError("the reply has no token ids")
    if request.prompt is not None and not ids_were_read(reply, request.prompt):
        raise ValueError("the server read another prompt than it was sent")
