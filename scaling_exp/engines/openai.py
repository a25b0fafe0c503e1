"""OpenAI-compatible servers behind the `Sampler` protocol: a running `vllm serve`, several of them, or a hosted API.

One request a sample, on `/completions` (a continuation of token ids is no chat), each with its own seed. What a server
honours is found out when a model is asked for (`endpoint/capabilities.py`); errors are handled by class
(`endpoint/faults.py`); every request goes to the least loaded server (`endpoint/servers.py`). A request whose caller is
cancelled is closed, so that the server aborts it.

The client is aiohttp's, not the openai package's: on the same requests that one costs 60 % of the throughput. What only
a server can know (its steps, their occupancy, preemptions, the wait in its queue) stays 0 in the counters;
`busy_seconds` is the time with at least one request under way.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from scaling_exp.engines.endpoint.capabilities import (
    Body,
    Capabilities,
    common,
    ids_were_read,
    probe,
    settings,
)
from scaling_exp.engines.endpoint.faults import (
    BadReply,
    Decision,
    Fault,
    Reply,
    Usage,
    read_reply,
    read_usage,
)
from scaling_exp.engines.endpoint.servers import Bucket, Server
from scaling_exp.engines.engine import Counters, EngineDied, RequestFailed
from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens, UserError


@dataclass(frozen=True)
class Endpoint:
    """Where the servers are, and how patient to be with them. The API key is read from the environment, never kept."""

    base_urls: tuple[str, ...]
    served_names: Mapping[str, str]
    """Name of a model -> the name under which the servers know it, where they differ."""
    api_key_env: str | None
    max_in_flight: int
    """Per base URL and replica."""
    requests_per_minute: float | None
    tokens_per_minute: float | None
    """Per base URL, for all replicas together; prompt and completion."""
    request_timeout_seconds: float
    start_timeout_seconds: float
    give_up_seconds: float
    max_attempts: int
    num_cpus: int
    replicas: int

    def __post_init__(self) -> None:
        if not self.base_urls:
            raise ValueError("engine.base_urls is empty; give one, e.g. http://127.0.0.1:8000/v1")
        for url in self.base_urls:
            _check_url(url)
        at_least_one = ("max_in_flight", "max_attempts", "replicas")
        above_zero = ("request_timeout_seconds", "start_timeout_seconds", "give_up_seconds")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"engine.{name} is {getattr(self, name)}; it must be at least 1")
        for name in (*above_zero, "requests_per_minute", "tokens_per_minute"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ValueError(f"engine.{name} is {value}; it must be above 0")

    @property
    def num_gpus(self) -> int:
        """None here; the servers have their own."""
        return 0

    @property
    def bundles(self) -> tuple[Mapping[str, float], ...]:
        """What one client reserves."""
        return ({"CPU": float(self.num_cpus)},)

    def start(self) -> Client:
        """A client without a model yet. Wants a running event loop; raises UserError when the key is not set."""
        return Client(self)

    def api_key(self) -> str | None:
        """The key; None where none is wanted."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise UserError(
                f"the environment variable {self.api_key_env} is not set on this machine: put the API key there, or set"
                " engine.api_key_env=null for a server that wants none"
            )
        return key

    def servers(self) -> tuple[Server, ...]:
        """One a base URL, with this replica's share of the rate limits."""
        requests, tokens = (
            math.inf if limit is None else limit / self.replicas
            for limit in (self.requests_per_minute, self.tokens_per_minute)
        )
        return tuple(
            Server(url.rstrip("/"), self.max_in_flight, Bucket(requests), Bucket(tokens))
            for url in self.base_urls
        )


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"engine.base_urls has {url!r}; it must be like http://127.0.0.1:8000/v1 (with the /v1)"
        )
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "engine.base_urls has an address with a user, a password or a query in it: these end up in logs; give the"
            " key in an environment variable and its name in engine.api_key_env"
        )


@dataclass(frozen=True)
class _Request:
    """What the client must know of a request to send it and to judge the reply. `body` lacks the model."""

    body: Body
    max_tokens: int
    num_prompt_tokens: int
    prompt: Tokens | None = None
    """The ids that the server must have seen; None where that cannot be checked."""
    wants_ids: bool = False

    @property
    def most_tokens(self) -> int:
        """Prompt and the longest completion."""
        return self.num_prompt_tokens + self.max_tokens


@dataclass(frozen=True)
class _Examined:
    """What `hold` found out about a server: what it can, or why it is not used."""

    server: Server
    capabilities: Capabilities | None = None
    greedy: str = ""
    problem: str = ""
    has_other_models: bool = False


class Client:
    """Sends requests to the servers that have the model."""

    def __init__(self, config: Endpoint) -> None:
        from scaling_exp.engines.endpoint.transport import Patience, Transport

        variable = config.api_key_env
        self.counters = Counters()
        self.capabilities: Mapping[str, Capabilities] = {}
        """By base URL, of those that serve the model."""
        self.caveats: tuple[str, ...] = ()
        """What a reader of the results must know of the servers, one sentence each; logged as well."""
        self._transport = Transport(
            key=config.api_key(),
            key_name=f"the key in {variable}" if variable else "engine.api_key_env, which is null,",
            request_timeout_seconds=config.request_timeout_seconds,
        )
        self._starting = Patience(config.max_attempts, config.start_timeout_seconds)
        self._running = Patience(config.max_attempts, config.give_up_seconds)
        self._served_names = config.served_names
        self._servers = config.servers()
        self._serving: tuple[Server, ...] = ()
        self._busy_before = 0.0

    @property
    def num_slots(self) -> int:
        return sum(each.max_in_flight for each in self._serving)

    @property
    def num_safe(self) -> int:
        """All: what its memory holds is the server's affair."""
        return self.num_slots

    @property
    def facts(self) -> Mapping[str, object]:
        """What each server honours, what that means for the draws, and retried replies by class."""
        servers = {url: asdict(each) for url, each in self.capabilities.items()}
        return {"servers": servers, "caveats": self.caveats, "retried": self.faults}

    @property
    def faults(self) -> Mapping[str, int]:
        """Replies that were not what was asked for, by class; all but the last of a request were asked again."""
        return dict(self._transport.faults)

    async def hold(self, model: Model) -> None:
        """Find the servers that have the model, and what they honour.

        Raises UserError when none has it, or when one refuses access.
        """
        self._model = model
        self._vocab_size = int(model.config["vocab_size"])
        found = await asyncio.gather(*(self._examine(each, model) for each in self._servers))
        self.capabilities = {
            each.server.base_url: each.capabilities for each in found if each.capabilities
        }
        if not self.capabilities:
            problems = "; ".join(each.problem for each in found)
            raise UserError(f"no server for model {model.name}: {problems}")
        self._serving = tuple(each.server for each in found if each.capabilities)
        self._able = able = common(list(self.capabilities.values()))
        self._settings = lru_cache(maxsize=1024)(
            lambda sampling: settings(sampling, model.stop_token_ids, able)
        )
        self._text = lru_cache(maxsize=1 << 14)(self._as_text)
        self.caveats = tuple(_caveats(found))
        self.counters = Counters(num_slots=self.num_slots)
        self._transport.faults.clear()
        self._busy_before = self._transport.busy_seconds

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        request = self._request(prefix, sampling, seed)
        self.counters.num_requests += 1
        reply = await self._transport.ask(
            lambda server: self._complete(server, request), self._serving, self._running
        )
        return Completion(
            tokens=reply.tokens if reply.tokens is not None else self._encode(reply),
            finish_reason=reply.finish_reason,
            num_cached_tokens=reply.usage.cached_tokens or 0,
        )

    async def close(self) -> None:
        await self._transport.close()

    def _request(self, prefix: Tokens, sampling: Sampling, seed: int) -> _Request:
        able = self._able
        body = dict(self._settings(sampling))
        body["prompt"] = list(prefix) if able.token_ids_in else self._text(prefix)
        if sampling.temperature > 0 and able.seed_bits:
            body["seed"] = seed & ((1 << able.seed_bits) - 1)
        return _Request(
            body=body,
            max_tokens=sampling.max_tokens,
            num_prompt_tokens=len(prefix),
            prompt=prefix if able.token_ids_in else None,
            wants_ids=able.token_ids_out,
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
        """Ids of a completion that came as text. Servers leave the stop token out of it: it is put back.

        Raises RequestFailed for a text that the model cannot have written.
        """
        try:
            (tokens,) = self._model.encode([reply.text])
        except UserError as error:
            raise RequestFailed(f"the completion cannot be encoded: {error}") from None
        ends = self._model.stop_token_ids
        lacks_end = reply.finish_reason == "stop" and not set(tokens[-1:]) & set(ends)
        return tokens + ends[:1] if lacks_end else tokens

    async def _complete(self, server: Server, request: _Request) -> Reply:
        """One request and its reply, charged as far as its cost is known. Raises BadReply."""
        wait = server.reserve(request.most_tokens, asyncio.get_running_loop().time())
        if wait > 0:
            await asyncio.sleep(wait)
        body = json.dumps({"model": server.served_model, **request.body}).encode()
        content = await self._transport.send("POST", f"{server.base_url}/completions", body)
        try:
            reply = read_reply(content, request.max_tokens, self._vocab_size)
            _check_ids(reply, request)
        except ValueError as error:
            self._charge(read_usage(content), 0, 0)
            raise BadReply(Decision(Fault.NONSENSE, str(error))) from None
        num_output = self._num_output_tokens(reply)
        self._charge(reply.usage, request.num_prompt_tokens, num_output)
        server.tokens.give_back(request.max_tokens - num_output)
        return reply

    def _num_output_tokens(self, reply: Reply) -> int:
        if reply.usage.output_tokens is not None:
            return reply.usage.output_tokens
        return len(reply.tokens if reply.tokens is not None else self._encode(reply))

    def _charge(self, usage: Usage, num_prompt_tokens: int, num_output_tokens: int) -> None:
        """Count what the server says, and what we know where it says nothing."""
        told = usage.prompt_tokens
        self.counters.prompt_tokens += num_prompt_tokens if told is None else told
        told = usage.output_tokens
        self.counters.output_tokens += num_output_tokens if told is None else told
        self.counters.cached_tokens += usage.cached_tokens or 0
        self.counters.busy_seconds = self._transport.busy_seconds - self._busy_before

    async def _examine(self, server: Server, model: Model) -> _Examined:
        """Ask the server for its models and try what it honours. Raises UserError when it refuses access."""
        try:
            listed = await self._transport.ask(self._list, (server,), self._starting)
        except RequestFailed:  # it lives and keeps no list
            listed = {}
        except EngineDied as error:
            return _Examined(server, problem=str(error))
        name = served_name(model, self._served_names.get(model.name), listed)
        if name is None:
            problem = _not_served(server.base_url, model, list(listed))
            return _Examined(server, problem=problem, has_other_models=True)
        server.served_model = name

        async def ask(body: Body) -> Reply:
            request = _Request(body, int(str(body["max_tokens"])), num_prompt_tokens=0)
            return await self._transport.ask(
                lambda each: self._complete(each, request), (server,), self._starting
            )

        try:
            capabilities, greedy = await probe(ask, model, name, name in listed)
        except (RequestFailed, EngineDied) as error:
            return _Examined(server, problem=str(error))
        return _Examined(server, capabilities, greedy)

    async def _list(self, server: Server) -> dict[str, str]:
        """Names of the models that the server has -> where it has each from ("" where it does not say)."""
        content = await self._transport.send("GET", f"{server.base_url}/models", None)
        entries = content.get("data")
        return {
            str(each["id"]): str(each.get("root") or "")
            for each in (entries if isinstance(entries, list) else [])
            if isinstance(each, dict) and "id" in each
        }


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


def _check_ids(reply: Reply, request: _Request) -> None:
    """Raises ValueError when the server keeps ids to itself that it gives otherwise, or read another prompt."""
    if request.wants_ids and reply.tokens is None:
        raise ValueError("the reply has no token ids")
    if request.prompt is not None and not ids_were_read(reply, request.prompt):
        raise ValueError("the server read another prompt than it was sent")


def _not_served(base_url: str, model: Model, listed: Sequence[str]) -> str:
    return (
        f"{base_url} has {', '.join(listed[:8])}{', ...' if len(listed) > 8 else ''} and not {model.name}: start a"
        f" server with `vllm serve {model.path}`, or say what it is called there with engine.served_names"
    )


def _caveats(found: Sequence[_Examined]) -> Iterator[str]:
    """Of the servers that are used, of those that should be, and of all that are used together."""
    for each in found:
        if each.capabilities is not None:
            for caveat in each.capabilities.caveats():
                yield f"{each.server.base_url}: {caveat}"
        elif not each.has_other_models:
            yield f"not used: {each.problem}"
    if len({each.greedy for each in found if each.capabilities}) > 1:
        yield "the servers continue one prompt differently: are they the same model, in the same precision?"
