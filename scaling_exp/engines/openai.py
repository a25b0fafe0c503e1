"""OpenAI-compatible servers behind the `Sampler` protocol: a running `vllm serve`, several of them, or a hosted API.

One request a sample, each with its own seed: token ids on `/completions` for a model whose folder is at hand, messages
on `/chat/completions` for a hosted one (`endpoint/dialect.py`). What a server honours is found out when a model is
asked for; errors are handled by class (`endpoint/faults.py`); every request goes to the least loaded server
(`endpoint/servers.py`). A request whose caller is cancelled is closed, so that the server aborts it.

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
from dataclasses import dataclass, replace

from scaling_exp.engines.endpoint.chat import ChatCompletions
from scaling_exp.engines.endpoint.completions import Completions
from scaling_exp.engines.endpoint.dialect import Body, Dialect, Found, Honoured, Request
from scaling_exp.engines.endpoint.faults import (
    BadReply,
    Decision,
    Fault,
    Filtered,
    Reply,
    Usage,
    read_usage,
)
from scaling_exp.engines.endpoint.servers import Bucket, Server
from scaling_exp.engines.engine import Counters, EngineDied, RequestFailed
from scaling_exp.models import HostedModel, Model, check_base_url
from scaling_exp.types import Completion, Sampling, Tokens, UserError

MOST_VERSIONS = 16
"""Of what servers say that they are, so many are remembered of each."""


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
            check_base_url("engine.base_urls", url, "engine.api_key_env")
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

    def serving(self, model: Model) -> Endpoint:
        """Where a model is: a hosted one may bring its own address, and its own key with it."""
        if not isinstance(model, HostedModel) or model.base_url is None:
            return self
        return replace(self, base_urls=(model.base_url,), api_key_env=model.api_key_env)

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


@dataclass(frozen=True)
class _Examined:
    """What `hold` found out about a server: what it can, or why it is not used."""

    server: Server
    found: Found | None = None
    problem: str = ""
    has_other_models: bool = False


class Client:
    """Sends requests to the servers that have the model."""

    def __init__(self, config: Endpoint) -> None:
        self.counters = Counters()
        self.capabilities: Mapping[str, Honoured] = {}
        """By base URL, of those that serve the model."""
        self.caveats: tuple[str, ...] = ()
        """What a reader of the results must know of the servers, one sentence each; logged as well."""
        self._config = config
        self._serving: tuple[Server, ...] = ()
        self._busy_before = 0.0
        self._versions: dict[str, set[str]] = {}
        self._connect(config)

    def _connect(self, endpoint: Endpoint) -> None:
        from scaling_exp.engines.endpoint.transport import Patience, Transport

        variable = endpoint.api_key_env
        self._endpoint = endpoint
        self._transport = Transport(
            key=endpoint.api_key(),
            key_name=f"the key in {variable}" if variable else "engine.api_key_env, which is null,",
            request_timeout_seconds=endpoint.request_timeout_seconds,
        )
        self._starting = Patience(endpoint.max_attempts, endpoint.start_timeout_seconds)
        self._running = Patience(endpoint.max_attempts, endpoint.give_up_seconds)
        self._servers = endpoint.servers()

    @property
    def num_slots(self) -> int:
        return sum(each.max_in_flight for each in self._serving)

    @property
    def num_safe(self) -> int:
        """All: what its memory holds is the server's affair."""
        return self.num_slots

    @property
    def facts(self) -> Mapping[str, object]:
        """What each server honours and says it is, what that means for the draws, and retried replies by class."""
        servers = {
            url: {**vars(each), "versions": sorted(self._versions.get(url, ()))}
            for url, each in self.capabilities.items()
        }
        return {"servers": servers, "caveats": self.caveats, "retried": self.faults}

    @property
    def faults(self) -> Mapping[str, int]:
        """Replies that were not what was asked for, by class; all but the last of a request were asked again."""
        return dict(self._transport.faults)

    async def fetch(self, model: Model) -> None:
        """The weights are the servers' concern."""

    async def hold(self, model: Model) -> None:
        """Find the servers that have the model, and what they honour.

        Raises UserError when none has it, or when one refuses access.
        """
        if (endpoint := self._config.serving(model)) != self._endpoint:
            await self._transport.close()
            self._connect(endpoint)
        dialect = dialect_of(model)
        examined = [self._examine(each, model, dialect) for each in self._servers]
        every = await asyncio.gather(*examined)
        using = {each.server.base_url: each.found for each in every if each.found}
        if not using:
            problems = "; ".join(each.problem for each in every)
            raise UserError(f"no server for model {model.name}: {problems}")
        dialect.settle(list(using.values()))
        self._dialect = dialect
        self._serving = tuple(each.server for each in every if each.found)
        self.capabilities = {url: found.honoured for url, found in using.items()}
        self._versions = {url: set() for url in using}
        self.caveats = tuple(_caveats(every))
        self.counters = Counters(num_slots=self.num_slots)
        self._transport.faults.clear()
        self._busy_before = self._transport.busy_seconds

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        dialect = self._dialect
        request = dialect.request(prefix, sampling, seed)
        self.counters.num_requests += 1
        reply = await self._transport.ask(
            lambda server: self._complete(server, request, dialect), self._serving, self._running
        )
        return dialect.completion(reply)

    async def close(self) -> None:
        await self._transport.close()

    async def _complete(self, server: Server, request: Request, dialect: Dialect) -> Reply:
        """One request and its reply, charged as far as its cost is known. Raises BadReply."""
        wait = server.reserve(request.most_tokens, asyncio.get_running_loop().time())
        if wait > 0:
            await asyncio.sleep(wait)
        body = json.dumps({"model": server.served_model, **request.body}).encode()
        content = await self._transport.send("POST", f"{server.base_url}{dialect.path}", body)
        try:
            reply = dialect.read(content, request)
        except ValueError as error:
            self._charge(read_usage(content), 0, 0)
            fault = Fault.REFUSED if isinstance(error, Filtered) else Fault.NONSENSE
            raise BadReply(Decision(fault, str(error))) from None
        num_prompt, num_output = _counted(reply, request, dialect)
        self._charge(reply.usage, num_prompt, num_output)
        server.tokens.give_back(request.most_tokens - num_prompt - num_output)
        self._note_version(server, reply)
        return reply

    def _note_version(self, server: Server, reply: Reply) -> None:
        seen = self._versions.get(server.base_url)
        if seen is not None and reply.version and len(seen) < MOST_VERSIONS:
            seen.add(reply.version)

    def _charge(self, usage: Usage, num_prompt_tokens: int, num_output_tokens: int) -> None:
        """Count what the server says, and what we know where it says nothing."""
        told = usage.prompt_tokens
        self.counters.prompt_tokens += num_prompt_tokens if told is None else told
        told = usage.output_tokens
        self.counters.output_tokens += num_output_tokens if told is None else told
        self.counters.cached_tokens += usage.cached_tokens or 0
        self.counters.busy_seconds = self._transport.busy_seconds - self._busy_before

    async def _examine(self, server: Server, model: Model, dialect: Dialect) -> _Examined:
        """Ask the server for its models and try what it honours. Raises UserError when it refuses access."""
        try:
            listed = await self._transport.ask(self._list, (server,), self._starting)
        except RequestFailed:  # it lives and keeps no list
            listed = {}
        except EngineDied as error:
            return _Examined(server, problem=str(error))
        name = dialect.served_name(self._endpoint.served_names.get(model.name), listed)
        if name is None:
            problem = _not_served(server.base_url, model, list(listed))
            return _Examined(server, problem=problem, has_other_models=True)
        server.served_model = name

        async def ask(body: Body) -> Reply:
            request = Request(body, int(str(body.get("max_tokens", 0))), num_prompt_tokens=0)
            return await self._transport.ask(
                lambda each: self._complete(each, request, dialect), (server,), self._starting
            )

        try:
            found = await dialect.probe(ask, name, name in listed)
        except (RequestFailed, EngineDied) as error:
            return _Examined(server, problem=str(error))
        return _Examined(server, found)

    async def _list(self, server: Server) -> dict[str, str]:
        """Names of the models that the server has -> where it has each from ("" where it does not say)."""
        content = await self._transport.send("GET", f"{server.base_url}/models", None)
        entries = content.get("data")
        return {
            str(each["id"]): str(each.get("root") or "")
            for each in (entries if isinstance(entries, list) else [])
            if isinstance(each, dict) and "id" in each
        }


def dialect_of(model: Model) -> Dialect:
    """How a model is asked."""
    return ChatCompletions(model) if isinstance(model, HostedModel) else Completions(model)


def _counted(reply: Reply, request: Request, dialect: Dialect) -> tuple[int, int]:
    """Tokens of prompt and completion: the server's count, and ours where it has none."""
    num_prompt, num_output = reply.usage.prompt_tokens, reply.usage.output_tokens
    if num_output is None:
        num_output = dialect.completion(reply).num_output_tokens
    return request.num_prompt_tokens if num_prompt is None else num_prompt, num_output


def _not_served(base_url: str, model: Model, listed: Sequence[str]) -> str:
    return (
        f"{base_url} has {', '.join(listed[:8])}{', ...' if len(listed) > 8 else ''} and not {model.name}: start a"
        f" server with `vllm serve {model.path}`, or say what it is called there with engine.served_names"
    )


def _caveats(found: Sequence[_Examined]) -> Iterator[str]:
    """Of the servers that are used, of those that should be, and of all that are used together."""
    for each in found:
        if each.found is not None:
            for caveat in each.found.honoured.caveats():
                yield f"{each.server.base_url}: {caveat}"
        elif not each.has_other_models:
            yield f"not used: {each.problem}"
    if len({each.found.greedy for each in found if each.found}) > 1:
        yield "the servers continue one prompt differently: are they the same model, in the same precision?"
