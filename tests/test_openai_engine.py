"""The client of OpenAI-compatible servers, against one that misbehaves on demand and against a real `vllm serve`."""

import asyncio
import json
import math
import os
import pickle
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from pydantic import TypeAdapter

from scaling_exp.engines.endpoint import faults
from scaling_exp.engines.endpoint.completions import served_name
from scaling_exp.engines.endpoint.faults import (
    POLICIES,
    Fault,
    backoff,
    classify,
    parse,
    read_reply,
    wait_asked,
)
from scaling_exp.engines.endpoint.servers import Bucket, Seats, Server, choose
from scaling_exp.engines.engine import EngineDied, RequestFailed
from scaling_exp.engines.openai import Endpoint
from scaling_exp.models import HostedModel, Model
from scaling_exp.types import Billed, Problem, Sampling, UserError

ROOT = Path(__file__).resolve().parent.parent
TINY = Model("tiny", str(ROOT / "scaling_exp/ladders/arithmetic/4K-4.0M"), 1)
CHATTY = HostedModel("chatty", TINY.path, provider="own")
END = 72
PROMPT = (1, 2, 3)
SAMPLED = Sampling(max_tokens=12)
KEY = "sk-planted-5f1c"
CONFIG = Endpoint(
    base_urls=("http://127.0.0.1:1/v1",),
    served_names={},
    api_key_env=None,
    max_in_flight=64,
    requests_per_minute=None,
    tokens_per_minute=None,
    request_timeout_seconds=0.5,
    start_timeout_seconds=2,
    give_up_seconds=5,
    max_attempts=4,
    num_cpus=1,
    replicas=1,
)
HONOURED = (
    *("seed", "top_p", "top_k", "min_p", "stop_token_ids", "stop", "logprobs", "cached_tokens"),
)
EXTENSIONS = ("top_k", "min_p", "stop_token_ids", "repetition_penalty", "return_token_ids")


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch):
    monkeypatch.setattr(faults, "FIRST_BACKOFF_SECONDS", 0.01)


@dataclass
class Fake:
    """A server that honours `honours`, refuses the parameters in `refuses` and answers from `script` while it lasts."""

    honours: frozenset[str] = frozenset((*HONOURED, "token_ids_in", "token_ids_out"))
    refuses: frozenset[str] = frozenset()
    models: tuple[str, ...] = ("tiny",)
    seconds: float = 0.0
    script: deque = field(default_factory=deque)
    seen: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    num_running: int = 0
    most_running: int = 0
    num_aborted: int = 0

    async def list_models(self, _request):
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def complete(self, request):
        body = await request.json()
        self.seen.append(body)
        self.keys.append(request.headers.get("Authorization", ""))
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            if self.script:
                return await self.script.popleft()(request)
            await asyncio.sleep(self.seconds)
            return self._reply(body)
        except asyncio.CancelledError:
            self.num_aborted += 1
            raise
        finally:
            self.num_running -= 1

    def _reply(self, body):
        refused = self.refuses & set(body)
        if isinstance(body["prompt"], list) and "token_ids_in" in self.refuses:
            refused |= {"prompt as token ids"}
        if refused:
            message = f"Unrecognized request argument: {min(refused)}"
            return web.json_response({"error": {"message": message}}, status=400)
        return web.json_response(completion(body, self.honours))


def completion(body, honours):
    """What a well-behaved server says; tokens are a function of what it honours."""
    ids = body["prompt"] if isinstance(body["prompt"], list) else None
    prompt = ids if ids is not None else list(TINY.encode([body["prompt"]])[0])
    is_greedy = body["temperature"] == 0 or any(
        body.get(name) == value and name in honours
        for name, value in {"top_p": 1e-6, "top_k": 1, "min_p": 1}.items()
    )
    seed = body["seed"] if "seed" in body and "seed" in honours else random.random()
    draw = random.Random(str((prompt, None if is_greedy else seed)))
    tokens = [draw.randrange(60) for _ in range(body["max_tokens"])]
    reason = "length"
    if not is_greedy and draw.random() < 0.5:
        tokens[len(tokens) // 2 :] = [END]
        reason = "stop"
    stops = body.get("stop_token_ids", []) if "stop_token_ids" in honours else []
    for index, token in enumerate(tokens):
        if token in stops:
            tokens, reason = tokens[: index + 1], "stop"
            break
    shown = tokens[:-1] if tokens[-1] == END else tokens
    text = TINY.decode(tuple(shown))
    for stop in body.get("stop", []) if "stop" in honours else []:
        if (at := text.find(stop)) >= 0:
            text, reason = text[:at], "stop"
    choice = {"index": 0, "text": text, "finish_reason": reason}
    if "logprobs" in body and "logprobs" in honours:
        choice["logprobs"] = {"token_logprobs": [-0.5] * len(tokens)}
    if body.get("return_token_ids") and "token_ids_out" in honours:
        choice |= {"token_ids": tokens, "prompt_token_ids": prompt}
    num_read = len(prompt) if "token_ids_in" in honours or ids is None else 9 * len(prompt)
    usage = {"prompt_tokens": num_read, "completion_tokens": len(tokens)}
    if "cached_tokens" in honours:
        usage["prompt_tokens_details"] = {"cached_tokens": 2}
    if "token_ids_in" not in honours:
        choice.pop("prompt_token_ids", None)
    return {"choices": [choice], "usage": usage}


def expected(seed, sampling=SAMPLED, prompt=PROMPT):
    """The tokens that a server which honours everything draws."""
    body = {"prompt": list(prompt), "max_tokens": sampling.max_tokens, "return_token_ids": True}
    body |= {"temperature": sampling.temperature, "seed": seed, "stop_token_ids": [END]}
    return tuple(completion(body, Fake().honours)["choices"][0]["token_ids"])


@asynccontextmanager
async def listening(fake, path="/completions"):
    """The fake's base URL; it completes what is posted to `path`."""
    application = web.Application()
    application.router.add_get("/v1/models", fake.list_models)
    application.router.add_post(f"/v1{path}", fake.complete)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def holding(*fakes, **settings):
    """A client of the fakes that holds the model; what probing it sent is forgotten."""
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(listening(fake)) for fake in fakes]
        engine = replace(CONFIG, base_urls=tuple(urls), **settings).start()
        stack.push_async_callback(engine.close)
        await engine.hold(TINY)
        for fake in fakes:
            fake.seen.clear()
        yield engine


# ---- pure decisions


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, b'{"error": {"message": "too long"}}', Fault.REFUSED),
        (404, b"", Fault.REFUSED),
        (422, b'{"detail": "what?"}', Fault.REFUSED),
        (302, b"", Fault.REFUSED),
        (401, b"", Fault.BARRED),
        (403, b"", Fault.BARRED),
        (429, b'{"error": {"message": "slow down"}}', Fault.LIMITED),
        (429, b'{"error": {"code": "insufficient_quota"}}', Fault.BARRED),
        (529, b"", Fault.LIMITED),
        (408, b"", Fault.BROKEN),
        (500, b"<html>", Fault.BROKEN),
        (502, b"", Fault.LOST),
        (503, b"", Fault.LOST),
        (200, b"not JSON", Fault.NONSENSE),
        (200, b"\xff\xfe", Fault.NONSENSE),
        (200, b'{"error": {"code": 429, "message": "upstream"}}', Fault.LIMITED),
        (200, b'{"error": "sorry"}', Fault.NONSENSE),
    ],
)
def test_an_error_is_classed_by_its_status_and_what_its_body_says(status, body, fault):
    assert classify(status, {}, body, now=0).fault is fault


def test_the_message_of_an_error_is_one_line_from_its_body():
    decision = classify(400, {}, b'{"error": {"message": "too\\nlong"}}', now=0)
    assert decision.message == "HTTP 400: too long"
    assert len(classify(500, {}, b"x" * 9999, now=0).message) < 400


def test_every_class_of_error_has_a_policy():
    assert set(POLICIES) == set(Fault)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:20:00 GMT"}, 200),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        (
            {
                "x-ratelimit-reset-requests": "1h",
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-reset-tokens": "3s",
                "x-ratelimit-remaining-tokens": "0",
            },
            3,
        ),
        ({"x-ratelimit-reset": "2000000000"}, 2_000_000_000 - 1000),
        ({"x-ratelimit-reset": "2000000000000"}, 2_000_000_000 - 1000),
    ],
)
def test_the_wait_that_a_server_asks_for_is_read_from_any_of_the_usual_headers(headers, seconds):
    assert wait_asked(headers, now=1000) == seconds


def test_backoff_doubles_up_to_a_ceiling_and_is_spread_over_all_of_it(monkeypatch):
    monkeypatch.setattr(faults, "FIRST_BACKOFF_SECONDS", 0.5)
    ceilings = [backoff(number, 1.0) for number in range(1, 10)]
    assert ceilings == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff(3, 0.0) == 0
    assert backoff(3, 0.25) == 0.5


def test_the_least_loaded_server_that_does_not_pause_is_asked():
    busy, idle, small = Server("busy", 100), Server("idle", 100), Server("small", 1)
    busy.num_in_flight, idle.num_in_flight, small.num_in_flight = 60, 50, 1
    servers = (busy, idle, small)
    assert choose(servers, now=0, avoid=None) is idle
    assert choose(servers, now=0, avoid=idle) is busy
    idle.pause(until=10, now=0, is_limited=False)
    assert choose(servers, now=5, avoid=None) is busy
    assert choose((idle, small), now=5, avoid=None) is None
    assert choose((idle, small), now=10, avoid=idle) is idle


def test_a_rate_limit_halves_the_seats_once_an_incident_and_replies_bring_them_back():
    server = Server("one", 64)
    for _ in range(64):
        server.pause(until=10, now=0, is_limited=True)
    assert (server.num_faults, server.window) == (1, 32)
    server.pause(until=20, now=10, is_limited=True)
    assert (server.num_faults, server.window) == (2, 16)
    for _ in range(10_000):
        server.succeed()
    assert (server.num_faults, server.window) == (0, 64)


def test_a_bucket_lets_through_its_rate_and_no_more():
    bucket, now = Bucket(per_minute=600), 0.0
    for _ in range(200):
        now += bucket.take(1, now)
    assert now == pytest.approx((200 - 10) / 10)
    assert Bucket(math.inf).take(1e9, 0.0) == 0


def test_what_an_answer_did_not_use_is_given_back_to_the_bucket():
    bucket, now = Bucket(per_minute=6000), 0.0
    for _ in range(20):
        now += bucket.take(1000, now)
        bucket.give_back(900)
    first, each = (1000 - 100) / 100, 100 / 100
    assert now == pytest.approx(first + 19 * each)


def test_a_seat_that_was_dealt_to_someone_who_left_is_dealt_again():
    async def scenario():
        seats, server = Seats(), Server("one", 1)
        await seats.take((server,), None)
        first, second = (asyncio.ensure_future(seats.take((server,), None)) for _ in range(2))
        await asyncio.sleep(0)
        seats.leave(server)
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert first.cancelled()
        assert server.num_in_flight == 1

    asyncio.run(scenario())


GOOD = {
    "choices": [{"text": "1", "finish_reason": "stop", "token_ids": [1, 2]}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"choices": []}, "exactly one choice"),
        ({"choices": [GOOD["choices"][0]] * 2}, "exactly one choice"),
        ({"choices": [{**GOOD["choices"][0], "finish_reason": "abort"}]}, "finish_reason"),
        ({"choices": [{**GOOD["choices"][0], "text": None}]}, "no text"),
        ({"choices": [{**GOOD["choices"][0], "token_ids": ["1"]}]}, "integers"),
        ({"choices": [{**GOOD["choices"][0], "token_ids": [True]}]}, "integers"),
        ({"choices": [{**GOOD["choices"][0], "token_ids": [-1]}]}, "outside the vocabulary"),
        ({"choices": [{**GOOD["choices"][0], "token_ids": [74]}]}, "outside the vocabulary"),
        ({"choices": [{**GOOD["choices"][0], "token_ids": [1] * 5}]}, "more than max_tokens"),
        ({"usage": {"completion_tokens": 5}}, "more than max_tokens"),
    ],
)
def test_a_reply_that_is_not_exactly_one_completion_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_reply(GOOD | change, max_tokens=4, vocab_size=74)


def test_a_reply_is_read_with_what_it_says_of_its_cost():
    reply = read_reply(parse(json.dumps(GOOD).encode()), max_tokens=4, vocab_size=74)
    assert (reply.tokens, reply.finish_reason) == ((1, 2), "stop")
    assert (reply.usage.prompt_tokens, reply.usage.output_tokens) == (3, 2)
    assert reply.usage.cached_tokens is None


@pytest.mark.parametrize(
    ("given", "listed", "name"),
    [
        (None, {}, "tiny"),
        ("theirs", {}, "theirs"),
        (None, {"tiny": ""}, "tiny"),
        (None, {"lab/tiny": ""}, "lab/tiny"),
        (None, {"/models/4K-4.0M": ""}, "/models/4K-4.0M"),
        (None, {"served": "ladders/4K-4.0M"}, "served"),
        (None, {"other": ""}, None),
        ("theirs", {"theirs": "", "tiny": ""}, "theirs"),
        ("theirs", {"tiny": ""}, None),
    ],
)
def test_a_model_is_found_under_the_name_that_the_server_has_for_it(given, listed, name):
    assert served_name(TINY, given, listed) == name


# ---- configuration


def test_the_shipped_configuration_is_valid_and_complete():
    node = yaml.safe_load((ROOT / "conf/engine/openai.yaml").read_text())
    assert node.pop("kind") == "openai"
    config = TypeAdapter(Endpoint).validate_python(node)
    assert pickle.loads(pickle.dumps(config)) == config
    assert (config.num_gpus, config.replicas, config.bundles) == (0, 1, ({"CPU": 1.0},))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"base_urls": ()}, r"engine\.base_urls is empty"),
        ({"base_urls": ("127.0.0.1:8000",)}, r"engine\.base_urls has .*like http://"),
        ({"base_urls": (f"http://me:{KEY}@host/v1",)}, r"engine\.api_key_env"),
        ({"max_in_flight": 0}, r"engine\.max_in_flight is 0"),
        ({"tokens_per_minute": 0}, r"engine\.tokens_per_minute is 0"),
        ({"give_up_seconds": 0}, r"engine\.give_up_seconds is 0"),
    ],
)
def test_a_mistake_in_the_configuration_names_the_key(change, complaint):
    with pytest.raises(ValueError, match=complaint) as raised:
        replace(CONFIG, **change)
    assert KEY not in str(raised.value)


# ---- what the server honours


@pytest.mark.parametrize("missing", [None, *HONOURED, "token_ids_in", "token_ids_out"])
def test_probing_finds_what_the_server_honours_and_nothing_else(missing):
    async def scenario():
        async with holding(Fake(honours=Fake().honours - {missing})) as engine:
            return next(iter(engine.capabilities.values()))

    found = asdict(asyncio.run(scenario()))
    found["seed"] = found.pop("seed_bits") == 63
    honoured = {name: found[name] for name in (*HONOURED, "token_ids_in", "token_ids_out")}
    assert honoured == {name: name != missing for name in honoured}
    assert found["lists_model"]
    assert found["samples_vary"]


def test_a_server_that_refuses_all_but_the_plainest_is_asked_plainly():
    refuses = frozenset({*EXTENSIONS, "token_ids_in"})
    honours = frozenset({"seed", "top_p"})

    async def scenario():
        fake = Fake(honours=honours, refuses=refuses)
        async with holding(fake) as engine:
            drawn = [await engine(PROMPT, SAMPLED, seed) for seed in range(20)]
            return drawn, fake.seen, engine.caveats

    drawn, seen, caveats = asyncio.run(scenario())
    assert {key for body in seen for key in body} == {
        *("model", "prompt", "max_tokens", "temperature", "top_p", "seed")
    }
    # The text lacks the end token; encoding it again and putting the end back gives what was drawn.
    assert [each.tokens for each in drawn] == [expected(seed) for seed in range(20)]
    assert {each.finish_reason for each in drawn} == {"stop", "length"}
    told = " ".join(caveats)
    assert "prompts are sent as text" in told
    assert "encoded again" in told


def test_seeds_of_31_bits_are_sent_where_longer_ones_are_refused():
    class Short(Fake):
        def _reply(self, body):
            if body.get("seed", 0) >= 1 << 31:
                return web.json_response({"error": {"message": "seed too large"}}, status=422)
            return super()._reply(body)

    async def scenario():
        async with holding(fake := Short()) as engine:
            await engine(PROMPT, SAMPLED, (1 << 62) + 5)
            return next(iter(engine.capabilities.values())).seed_bits, fake.seen[0]["seed"]

    assert asyncio.run(scenario()) == (31, 5)


def test_an_endpoint_that_ignores_seeds_is_used_and_said_so():
    async def scenario():
        async with holding(fake := Fake(honours=Fake().honours - {"seed"})) as engine:
            await engine(PROMPT, SAMPLED, 5)
            return fake.seen, engine.facts["caveats"]

    (body,), caveats = asyncio.run(scenario())
    assert "seed" not in body
    assert any("ignores seeds: the draws cannot be made again" in each for each in caveats)


def test_a_server_that_repeats_one_sample_may_only_decode_greedily():
    class Constant(Fake):
        def _reply(self, body):
            return super()._reply(body | {"temperature": 0})

    async def scenario():
        async with holding(Constant()) as engine:
            await engine(PROMPT, replace(SAMPLED, temperature=0), 0)
            with pytest.raises(UserError, match=r"sampling\.temperature.*the same sample"):
                await engine(PROMPT, SAMPLED, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("missing", "change", "complaint"),
    [
        ("top_k", {"top_k": 5}, r"sampling\.top_k is 5 .*does not honour it"),
        ("min_p", {"min_p": 0.1}, r"sampling\.min_p is 0\.1 .*does not honour it"),
        (
            "stop_token_ids",
            {"stop_token_ids": (9,)},
            r"sampling\.stop_token_ids .*does not honour it",
        ),
        ("token_ids_out", {"stop_token_ids": (9,)}, r"sampling\.stop_token_ids .*answers in text"),
        ("stop", {"stop": ("9",)}, r"sampling\.stop .*does not honour it"),
        ("token_ids_out", {"stop": ("9",)}, r"sampling\.stop .*answers in text"),
        (None, {"max_thinking_tokens": 9}, r"sampling\.max_thinking_tokens .*leave it null"),
        (None, {"labels": (7, 8)}, "label is asked for, and servers are asked for text only"),
        (None, {"pooling": "classify"}, "a score is asked for"),
        (None, {"scored_from": 3}, "the likelihood of a text is asked for"),
        (None, {"confidence": -1}, r"sampling\.confidence is asked for"),
    ],
)
def test_a_sampling_setting_that_would_be_ignored_is_refused(missing, change, complaint):
    async def scenario():
        async with holding(fake := Fake(honours=Fake().honours - {missing})) as engine:
            with pytest.raises(UserError, match=complaint):
                await engine(PROMPT, replace(SAMPLED, **change), 1)
            return len(fake.seen)

    assert asyncio.run(scenario()) == 0


def test_a_setting_is_sent_even_when_it_is_neutral_so_that_no_default_of_the_server_applies():
    async def scenario():
        async with holding(fake := Fake()) as engine:
            await engine(PROMPT, SAMPLED, 1)
            return fake.seen[0]

    assert asyncio.run(scenario()) == {
        "model": "tiny",
        "prompt": [1, 2, 3],
        "max_tokens": 12,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "stop_token_ids": [END],
        "repetition_penalty": 1.0,
        "return_token_ids": True,
        "seed": 1,
    }


def test_every_model_goes_to_the_servers_that_have_it():
    async def scenario():
        own, others = Fake(models=("4K-4.0M",)), Fake(models=("10K-4.0M",))
        async with holding(own, others) as engine:
            await asyncio.gather(*(engine(PROMPT, SAMPLED, seed) for seed in range(20)))
            assert (len(own.seen), len(others.seen)) == (20, 0)
            assert (engine.num_slots, engine.num_safe, engine.caveats) == (64, 64, ())
            with pytest.raises(UserError, match=r"no server for model big: .*4K-4\.0M and not big"):
                await engine.hold(replace(TINY, name="big", path=TINY.path + "/../112K-4.0M"))

    asyncio.run(scenario())


def test_a_server_that_is_down_is_left_out_and_none_at_all_is_an_error():
    async def scenario():
        async with listening(Fake()) as url:
            dead = CONFIG.base_urls[0]
            engine = replace(CONFIG, base_urls=(url, dead), start_timeout_seconds=0.1).start()
            await engine.hold(TINY)
            assert list(engine.capabilities) == [url]
            assert len(engine.caveats) == 1
            assert f"the last at {dead} with no connection" in engine.caveats[0]
            await engine.close()
        engine = replace(CONFIG, start_timeout_seconds=0.1).start()
        with pytest.raises(UserError, match=r"no server for model tiny: .*no connection"):
            await engine.hold(TINY)
        await engine.close()

    asyncio.run(scenario())


# ---- misbehaviour


def status(code, headers=None, body=b"oops"):
    async def reply(_request):
        return web.Response(status=code, headers=headers, body=body)

    return reply


def says(content):
    async def reply(_request):
        return web.Response(body=content if isinstance(content, bytes) else json.dumps(content))

    return reply


async def hang(_request):
    await asyncio.sleep(60)


async def reset(request):
    request.transport.abort()
    await asyncio.sleep(60)


def altered(**change):
    """The right reply with its choice changed."""

    async def reply(request):
        content = completion(await request.json(), Fake().honours)
        content["choices"][0] |= change
        return web.json_response(content)

    return reply


@pytest.mark.parametrize(
    ("misbehaviour", "fault"),
    [
        (status(429, {"Retry-After": "0"}), Fault.LIMITED),
        (status(500), Fault.BROKEN),
        (status(503), Fault.LOST),
        (hang, Fault.SILENT),
        (reset, Fault.LOST),
        (says(b"<html>hello"), Fault.NONSENSE),
        (says(b"[1, 2]"), Fault.NONSENSE),
        (says({"choices": []}), Fault.NONSENSE),
        (altered(token_ids=["a"]), Fault.NONSENSE),
        (altered(token_ids=[99]), Fault.NONSENSE),
        (altered(token_ids=[1] * 13), Fault.NONSENSE),
        (altered(token_ids=None), Fault.NONSENSE),
        (altered(prompt_token_ids=[1, 2]), Fault.NONSENSE),
        (altered(finish_reason="abort"), Fault.NONSENSE),
    ],
)
def test_after_a_misbehaviour_the_same_request_is_sent_again_and_answered_once(misbehaviour, fault):
    async def scenario():
        async with holding(fake := Fake()) as engine:
            fake.script.extend([misbehaviour, misbehaviour])
            drawn = await engine(PROMPT, SAMPLED, 7)
            return drawn, fake.seen, engine.faults, engine.counters

    drawn, seen, counted, counters = asyncio.run(scenario())
    assert drawn.tokens == expected(7)
    assert drawn.num_cached_tokens == 2
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert counted == {fault.value: 2}
    assert counters.num_requests == 1


def test_a_retried_attempt_is_charged_as_far_as_its_cost_is_known():
    async def scenario():
        async with holding(fake := Fake()) as engine:
            fake.script.extend([altered(token_ids=["a"]), status(500)])
            await engine(PROMPT, SAMPLED, 7)
            return engine.counters

    counters, num_tokens = asyncio.run(scenario()), len(expected(7))
    assert (counters.prompt_tokens, counters.cached_tokens) == (2 * len(PROMPT), 2 * 2)
    assert counters.output_tokens == 2 * num_tokens
    assert counters.busy_seconds > 0


def test_a_rate_limit_holds_everybody_back_from_that_server_for_as_long_as_it_asks():
    async def scenario():
        times = []

        class Timed(Fake):
            async def complete(self, request):
                times.append(time.monotonic())
                return await super().complete(request)

        async with holding(fake := Timed(), max_in_flight=8) as engine:
            times.clear()
            fake.script.extend([status(429, {"Retry-After-Ms": "400"})] * 8)
            drawn = await asyncio.gather(*(engine(PROMPT, SAMPLED, seed) for seed in range(30)))
            return drawn, times, engine.faults

    drawn, times, counted = asyncio.run(scenario())
    assert [each.tokens for each in drawn] == [expected(seed) for seed in range(30)]
    assert len(times) == 38
    assert times[8] - times[7] >= 0.39
    assert counted == {"rate limit": 8}


def test_a_request_that_is_wrong_fails_at_once_and_the_engine_lives():
    async def scenario():
        async with holding(fake := Fake()) as engine:
            fake.script.append(status(400, body=b'{"error": {"message": "prompt too long"}}'))
            with pytest.raises(RequestFailed, match="HTTP 400: prompt too long"):
                await engine(PROMPT, SAMPLED, 1)
            assert len(fake.seen) == 1
            assert (await engine(PROMPT, SAMPLED, 2)).tokens == expected(2)

    asyncio.run(scenario())


def test_a_request_that_keeps_failing_is_at_fault_when_others_succeed():
    class Picky(Fake):
        def _reply(self, body):
            if body.get("seed") == 13:
                return web.Response(status=500, text="seed 13 kills me")
            return super()._reply(body)

    async def scenario():
        async with holding(fake := Picky()) as engine:
            results = await asyncio.gather(
                *(engine(PROMPT, SAMPLED, seed) for seed in (13, 1)), return_exceptions=True
            )
            others = asyncio.ensure_future(_steadily(engine))
            failed = await asyncio.gather(engine(PROMPT, SAMPLED, 13), return_exceptions=True)
            others.cancel()
            return results[1], failed[0], sum(body["seed"] == 13 for body in fake.seen)

    good, failed, num_tries = asyncio.run(scenario())
    assert good.tokens == expected(1)
    assert isinstance(failed, RequestFailed)
    assert "4 tries failed" in str(failed)
    assert "seed 13 kills me" in str(failed)
    assert num_tries == 2 * CONFIG.max_attempts


async def _steadily(engine):
    while True:
        await engine(PROMPT, SAMPLED, 1)


@pytest.mark.parametrize("misbehaviour", [status(500), says(b"?"), reset])
def test_when_nothing_succeeds_any_more_the_engine_has_died(misbehaviour):
    async def scenario():
        async with holding(fake := Fake()) as engine:
            fake.script.extend([misbehaviour] * 1000)
            await engine(PROMPT, SAMPLED, 1)

    with pytest.raises(EngineDied, match=r"4 tries failed.*no request succeeded meanwhile"):
        asyncio.run(scenario())


def test_a_server_that_goes_away_is_replaced_by_the_others():
    async def scenario():
        going, staying = Fake(seconds=0.05), Fake(seconds=0.05)
        async with listening(staying) as stays:
            leaving = listening(going)
            url = await leaving.__aenter__()
            engine = replace(CONFIG, base_urls=(url, stays), max_in_flight=4).start()
            await engine.hold(TINY)
            draws = [asyncio.ensure_future(engine(PROMPT, SAMPLED, seed)) for seed in range(40)]
            await asyncio.sleep(0.1)
            await leaving.__aexit__(None, None, None)
            drawn = await asyncio.gather(*draws)
            await engine.close()
            return drawn, engine.counters

    drawn, counters = asyncio.run(scenario())
    assert [each.tokens for each in drawn] == [expected(seed) for seed in range(40)]
    assert counters.num_requests == 40


def test_requests_are_shared_out_by_load_and_never_exceed_the_seats():
    async def scenario():
        fast, slow = Fake(seconds=0.005), Fake(seconds=0.05)
        async with holding(fast, slow, max_in_flight=5) as engine:
            fast.most_running = slow.most_running = 0
            await asyncio.gather(*(engine(PROMPT, SAMPLED, seed) for seed in range(200)))
            return engine.num_slots, fast, slow

    num_slots, fast, slow = asyncio.run(scenario())
    assert num_slots == 10
    assert (fast.most_running, slow.most_running) == (5, 5)
    assert len(fast.seen) > 4 * len(slow.seen)


def test_a_limit_on_requests_is_kept():
    async def scenario():
        async with holding(Fake(), requests_per_minute=6000) as engine:
            started = time.monotonic()
            await asyncio.gather(*(engine(PROMPT, SAMPLED, seed) for seed in range(150)))
            return time.monotonic() - started

    assert asyncio.run(scenario()) >= 0.45


def test_cancelling_closes_the_request_so_that_the_server_aborts_it():
    async def scenario():
        async with holding(fake := Fake()) as engine:
            fake.seconds = 30
            drawing = asyncio.ensure_future(engine(PROMPT, SAMPLED, 1))
            while not fake.num_running:
                await asyncio.sleep(0.01)
            drawing.cancel()
            started = time.monotonic()
            while fake.num_running and time.monotonic() - started < 0.4:
                await asyncio.sleep(0.01)
            aborted = fake.num_aborted
            fake.seconds = 0
            assert (await engine(PROMPT, SAMPLED, 2)).tokens == expected(2)
            return aborted

    assert asyncio.run(scenario()) == 1


# ---- the key


def test_the_key_is_sent_and_appears_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv("PLANTED_KEY", KEY)
    caplog.set_level("DEBUG")

    async def scenario():
        echo = status(401, body=f"invalid key {KEY}".encode())
        async with holding(fake := Fake(), api_key_env="PLANTED_KEY") as engine:
            shown = [repr(engine), repr(vars(engine)), repr(vars(engine._transport))]
            fake.script.append(echo)
            with pytest.raises(UserError, match="check the key in PLANTED_KEY") as raised:
                await engine(PROMPT, SAMPLED, 1)
            fake.script.extend([status(500, body=KEY.encode())] * CONFIG.max_attempts)
            with pytest.raises(EngineDied) as died:
                await engine(PROMPT, SAMPLED, 1)
            shown += [str(raised.value), str(died.value), repr(engine.capabilities)]
            return fake.keys, "\n".join(shown)

    keys, shown = asyncio.run(scenario())
    assert set(keys) == {f"Bearer {KEY}"}
    assert KEY not in shown
    assert KEY not in caplog.text
    config = replace(CONFIG, api_key_env="PLANTED_KEY")
    assert KEY not in repr(config)
    assert KEY.encode() not in pickle.dumps(config)


def test_a_key_that_is_refused_at_the_start_or_is_not_set_is_one_line_that_names_the_variable():
    async def scenario():
        class Closed(Fake):
            async def list_models(self, _request):
                return web.Response(status=401)

        async with listening(Closed()) as url:
            engine = replace(CONFIG, base_urls=(url,)).start()
            with pytest.raises(UserError, match=r"HTTP 401.*check engine\.api_key_env"):
                await engine.hold(TINY)
            await engine.close()
        with pytest.raises(UserError, match="environment variable NOT_SET_HERE is not set"):
            replace(CONFIG, api_key_env="NOT_SET_HERE").start()

    asyncio.run(scenario())


# ---- a real server


TEMPLATE = "{% for each in messages %}{{ each['content'] }} {% endfor %}"


@contextmanager
def vllm_serving():
    """A `vllm serve` of the tiny model, with a chat template, that has just been started; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", TINY.path]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enable-prompt-tokens-details"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "64"]
    command += ["--max-num-batched-tokens", "32768", "--chat-template", TEMPLATE]
    threads = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment = os.environ | threads | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=30)


def num_running(base_url):
    """Requests that the server is working on, from its metrics."""
    with urllib.request.urlopen(base_url.removesuffix("v1") + "metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("vllm:num_requests_running"))


@pytest.mark.slow
def test_a_real_server_draws_what_the_engine_in_process_draws():
    """Same model, prompts, sampling and seeds; what it honours is found; cancelling aborts. Asked as a chat, it says
    the same."""
    from scaling_exp.engines.vllm import VLLM

    node = yaml.safe_load((ROOT / "conf/engine/vllm_cpu.yaml").read_text())
    del node["kind"]
    samplings = (
        Sampling(max_tokens=40),
        Sampling(max_tokens=40, temperature=0.0),
        Sampling(max_tokens=24, temperature=1.5, top_p=0.9, top_k=8, min_p=0.02),
        Sampling(max_tokens=24, stop_token_ids=(69,)),
        Sampling(max_tokens=40, stop=("= 3", "7 ,")),
    )
    questions = ["3 5 :", "9 12 7 :", "1 2 3 4 :"]
    asked = [
        (prompt, sampling, (seed * 0x9E3779B97F4A7C15) >> 1 & (1 << 63) - 1)
        for prompt in TINY.encode(questions)
        for sampling in samplings
        for seed in range(1, 9)
    ]

    async def in_process():
        engine = VLLM(**node).start()
        await engine.hold(TINY)
        drawn = await asyncio.gather(*(engine(*each) for each in asked))
        await engine.close()
        return drawn

    async def by_endpoint(url):
        patient = {"start_timeout_seconds": 120, "request_timeout_seconds": 30}
        engine = replace(CONFIG, base_urls=(url,), **patient).start()
        await engine.hold(TINY)
        drawn = await asyncio.gather(*(engine(*each) for each in asked))
        counters = replace(engine.counters)
        aborted, honoured = await _cancelled(engine, url), asdict(engine.capabilities[url])
        await engine.hold(CHATTY)
        prompts = CHATTY.prompts([Problem("p", each, "", "all") for each in questions])
        chats = dict(zip(TINY.encode(questions), prompts, strict=True))
        said = await asyncio.gather(
            *(engine(chats[prompt], *each) for prompt, *each in asked if speaks_in_text(each[0]))
        )
        assert all(asdict(engine.capabilities[url])[name] for name in ("stop", "seeds_repeat"))
        await engine.close()
        return drawn, counters, honoured, aborted, said

    with vllm_serving() as url:
        reference = asyncio.run(in_process())
        drawn, counters, honoured, aborted, said = asyncio.run(by_endpoint(url))
    assert (honoured.pop("served_model"), honoured.pop("seed_bits")) == (TINY.path, 63)
    assert all(honoured.values()), honoured
    assert [each.tokens for each in drawn] == [each.tokens for each in reference]
    assert [each.finish_reason for each in drawn] == [each.finish_reason for each in reference]
    assert counters.num_requests == len(asked)
    assert counters.output_tokens == sum(len(each.tokens) for each in drawn)
    assert counters.prompt_tokens == sum(len(prompt) for prompt, _, _ in asked)
    assert aborted
    drawn = [(*each, here) for each, here in zip(asked, reference, strict=True)]
    drawn = [each for each in drawn if speaks_in_text(each[1])]
    for (prompt, sampling, _, here), there in zip(drawn, said, strict=True):
        assert there.billed == Billed(len(prompt), len(here.tokens), None)
        text = TINY.decode(here.tokens[:-1] if here.tokens[-1] == END else here.tokens)
        for each in sampling.stop:  # which a chat leaves out
            text = text.partition(each)[0]
        assert CHATTY.decode(there.tokens).split() == text.split()


def speaks_in_text(sampling):
    return not sampling.stop_token_ids


async def _cancelled(engine, url):
    """Whether the server stops working once thousands of requests are cancelled."""
    long = Sampling(max_tokens=120)
    drawing = [asyncio.ensure_future(engine((1,), long, seed)) for seed in range(2000)]
    while not await asyncio.to_thread(num_running, url):
        await asyncio.sleep(0.01)
    was_busy = sum(not each.done() for each in drawing) > 1000
    for each in drawing:
        each.cancel()
    await asyncio.wait(drawing)
    deadline = time.monotonic() + 5  # what was asked would take it far longer
    while num_running(url) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return was_busy and num_running(url) == 0
