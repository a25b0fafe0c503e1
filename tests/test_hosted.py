"""Hosted chat models: what is sent and read over /chat/completions, and what a draw of one is charged."""

import asyncio
import json
import pickle
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from test_openai_engine import CONFIG as PATIENT
from test_openai_engine import (
    _short_backoff,  # noqa: F401 - a fixture, used by every test
    listening,
)

from scaling_exp.engines.endpoint.faults import Filtered, read_chat_reply, read_usage
from scaling_exp.engines.engine import RequestFailed
from scaling_exp.ladders import LADDERS
from scaling_exp.models import HostedModel, chat_of
from scaling_exp.schema import ConfigError, of_kind
from scaling_exp.types import Billed, Chat, Message, Problem, Sampling, UserError

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-planted-77ab"
CHATS = "/chat/completions"
MINI = HostedModel("mini", "gpt-4o-mini", provider="openai")
CHAT = Chat((Message("system", "Be brief."), Message("user", "Wie viel ist 2 + 2? €")))
ASKED = Problem("p", "shown", "4", "all", chat=CHAT)
(PROMPT,) = MINI.prompts([ASKED])
SAMPLED = Sampling(max_tokens=40)
GREEDY = replace(SAMPLED, temperature=0.0)
USAGE = {"prompt_tokens": 21, "completion_tokens": 9}
CONFIG = replace(PATIENT, request_timeout_seconds=2, max_attempts=3)
STANDARD = ("max_tokens", "temperature", "top_p", "stop", "seed")


@dataclass
class Chats:
    """A chat server that takes `takes` beside model and messages, refuses all else, and honours what it takes."""

    takes: frozenset[str] = frozenset(STANDARD)
    change: dict = field(default_factory=dict)
    """Of every reply's body."""
    seen: list[dict] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    async def list_models(self, _request):
        return web.json_response({"data": [{"id": "another"}]})

    async def complete(self, request):
        body = await request.json()
        self.seen.append(body)
        self.keys.add(request.headers.get("Authorization", ""))
        if refused := set(body) - {"model", "messages"} - self.takes:
            message = f"Unsupported parameter: {min(refused)}"
            return web.json_response({"error": {"message": message}}, status=400)
        return web.json_response(reply(body) | self.change)


def reply(body):
    is_fixed = body.get("temperature", 1) == 0 or body.get("top_p", 1) < 0.5
    seed = None if is_fixed else body.get("seed", random.random())
    draw = random.Random(str((body["messages"], seed)))
    text = " ".join(draw.choice(("so", "ja", "nein", "€", "vier")) for _ in range(8))
    for stop in body.get("stop", []):
        text = text.partition(stop)[0]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    details = {
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    return {
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": USAGE | details,
    }


@asynccontextmanager
async def holding(server, model=MINI):
    """A client that holds the model; what the trial sent is forgotten."""
    async with listening(server, CHATS) as url:
        engine = replace(CONFIG, base_urls=(url,)).start()
        try:
            await engine.hold(model)
            server.seen.clear()
            yield engine
        finally:
            await engine.close()


def drawn_from(server, sampling=SAMPLED, model=MINI, prompt=PROMPT, seed=7):
    """One draw: the completion, the request's body and the engine's facts."""

    async def scenario():
        async with holding(server, model) as engine:
            completion = await engine(prompt, sampling, seed)
            return completion, server.seen[-1], engine.facts

    return asyncio.run(scenario())


# ---- the model


def test_a_prompt_is_the_chat_in_bytes_and_comes_back_whole():
    assert all(0 <= byte < 256 for byte in PROMPT)
    assert chat_of(MINI.decode(PROMPT)) == (CHAT, "")
    (plain,) = MINI.prompts([Problem("q", "1 + 1 = ?", "2", "all")])
    assert chat_of(MINI.decode(plain)) == (Chat((Message("user", "1 + 1 = ?"),)), "")
    (thinking,) = MINI.prompts([replace(ASKED, chat=replace(CHAT, thinking=False))])
    assert chat_of(MINI.decode(thinking))[0].thinking is False
    assert thinking != PROMPT


def test_any_text_is_encoded_and_what_is_no_text_does_not_stop_a_run():
    for text in ("", "vier €", "\x00 \U0001f600"):
        assert MINI.decode(MINI.encode([text])[0]) == text
    assert MINI.decode(MINI.encode(["\ud800!"])[0]) == "?!"


def test_what_decides_the_answers_is_in_the_fingerprint_and_names_are_not():
    others = [
        replace(MINI, provider="azure"),
        replace(MINI, path="gpt-4o"),
        replace(MINI, reasoning_effort="low"),
        replace(MINI, request={"thinking": {"type": "disabled"}}),
    ]
    assert len({each.fingerprint for each in [MINI, *others]}) == 5
    assert replace(MINI, name="other").fingerprint == MINI.fingerprint
    away = replace(MINI, base_url="https://host/v1", api_key_env="SOME_KEY")
    assert away.fingerprint == MINI.fingerprint
    assert pickle.loads(pickle.dumps(MINI)) == MINI


def test_facts_that_nobody_told_are_unknown():
    facts = MINI.facts
    assert facts.hosted_as == "openai/gpt-4o-mini"
    assert not facts.has_compute
    assert facts.architecture.num_parameters != facts.architecture.num_parameters  # NaN
    sized = replace(MINI, num_parameters=8e9, pretraining_tokens=10**13).facts
    assert sized.pretraining_flops == 6 * 8e9 * 1e13


def test_a_name_like_one_on_the_hub_is_not_looked_for_there():
    model = replace(MINI, path="openai/gpt-4o")
    assert (model.is_on_hub, model.pinned, model.source) == (False, model, "openai/gpt-4o")
    with pytest.raises(UserError, match=r"hosted by openai and has no weights here.*engine=openai"):
        _ = model.config
    with pytest.raises(UserError, match="has no weights here"):
        model.take_weights()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"provider": ""}, "needs a provider"),
        ({"api_key_env": "K"}, "api_key_env and no base_url"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "a user, a password.*api_key_env"),
        ({"base_url": "host"}, "must be like http://"),
        ({"request": {"temperature": 1}}, "temperature, which the sampling of a strategy sets"),
        ({"num_parameters": -1.0}, "num_parameters .* must be above 0"),
    ],
)
def test_a_mistake_in_a_hosted_model_is_one_line(change, complaint):
    with pytest.raises(ValueError, match=complaint) as raised:
        replace(MINI, **change)
    assert KEY not in str(raised.value)


def test_a_ladder_of_hosted_models_is_a_list():
    node = yaml.safe_load((ROOT / "conf/ladder/hosted.yaml").read_text())
    with pytest.raises(UserError, match=r"ladder\.models is empty"):
        of_kind(LADDERS, node, "ladder").rungs()
    node["models"] = {"mini": {"provider": "openai", "served_name": "gpt-4o-mini"}}
    assert of_kind(LADDERS, node, "ladder").rungs() == (MINI,)
    node["models"]["mini"]["price"] = 1
    with pytest.raises(ConfigError, match=r"ladder\.models\.mini\.price"):
        of_kind(LADDERS, node, "ladder")


# ---- what is sent


def test_a_chat_is_sent_as_messages_with_a_seed_of_its_own_and_no_setting_that_is_refused():
    _, body, _ = drawn_from(Chats())
    assert body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Wie viel ist 2 + 2? €"},
        ],
        "max_tokens": 40,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 7,
    }


def test_a_reasoning_model_gets_its_own_name_of_the_limit_its_effort_and_no_temperature():
    server = Chats(takes=frozenset({"max_completion_tokens", "reasoning_effort"}))
    model = replace(MINI, reasoning_effort="low")
    _, body, facts = drawn_from(server, model=model)
    assert body.keys() == {"model", "messages", "max_completion_tokens", "reasoning_effort"}
    assert body["reasoning_effort"] == "low"
    told = " ".join(facts["caveats"])
    assert "takes no temperature" in told
    assert "ignores seeds" in told
    with pytest.raises(UserError, match=r"sampling\.temperature is 0 .* takes none"):
        drawn_from(server, GREEDY, model)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"top_k": 5}, r"sampling\.top_k is 5 .*does not honour it"),
        ({"min_p": 0.1}, r"sampling\.min_p is 0\.1 .*does not honour it"),
        ({"stop_token_ids": (3,)}, r"sampling\.stop_token_ids .*speaks in text"),
        ({"max_thinking_tokens": 9}, r"sampling\.max_thinking_tokens .*reasoning_effort"),
    ],
)
def test_a_sampling_that_would_be_refused_or_ignored_is_one_line(change, complaint):
    with pytest.raises(UserError, match=complaint):
        drawn_from(Chats(), replace(SAMPLED, **change))


def test_stop_strings_are_sent_where_they_are_honoured():
    _, body, _ = drawn_from(Chats(), replace(SAMPLED, stop=("ja",)))
    assert body["stop"] == ["ja"]
    with pytest.raises(UserError, match=r"sampling\.stop .*does not honour it"):
        drawn_from(Chats(takes=frozenset(STANDARD) - {"stop"}), replace(SAMPLED, stop=("ja",)))


def test_settings_of_the_template_are_sent_only_where_they_are_taken():
    (prompt,) = MINI.prompts([replace(ASKED, chat=replace(CHAT, thinking=True))])
    taking = Chats(takes=frozenset((*STANDARD, "chat_template_kwargs")))
    _, body, _ = drawn_from(taking, prompt=prompt)
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    with pytest.raises(UserError, match=r"task\.prompt\.thinking is true .*leave it null"):
        drawn_from(Chats(), prompt=prompt)


def test_an_answer_that_has_begun_cannot_be_continued():
    with pytest.raises(UserError, match=r"continues an answer that has begun.*cannot"):
        drawn_from(Chats(), prompt=PROMPT + MINI.encode(["So, "])[0])


def test_a_server_without_the_model_says_so():
    class Empty(Chats):
        async def complete(self, _request):
            error = {"error": {"message": "The model gpt-4o-mini does not exist"}}
            return web.json_response(error, status=404)

    with pytest.raises(UserError, match=r"no server for model mini: .*does not exist"):
        drawn_from(Empty())


def test_a_model_may_bring_its_own_address_and_key(monkeypatch):
    monkeypatch.setenv("THEIR_KEY", KEY)
    monkeypatch.setenv("OUR_KEY", "sk-ours")

    async def scenario():
        ours, theirs = Chats(), Chats()
        async with (
            listening(ours, CHATS) as our_url,
            listening(theirs, CHATS) as their_url,
        ):
            engine = replace(CONFIG, base_urls=(our_url,), api_key_env="OUR_KEY").start()
            away = replace(MINI, base_url=their_url, api_key_env="THEIR_KEY")
            for model in (MINI, away, MINI):
                await engine.hold(model)
                await engine(PROMPT, SAMPLED, 1)
            await engine.close()
            return ours.keys, theirs.keys, repr(away), repr(engine.facts)

    our_keys, their_keys, *shown = asyncio.run(scenario())
    assert (our_keys, their_keys) == ({"Bearer sk-ours"}, {f"Bearer {KEY}"})
    assert KEY not in "".join(shown)


# ---- what comes back


def test_a_draw_is_the_text_in_bytes_and_is_charged_as_the_server_says():
    completion, body, facts = drawn_from(Chats())
    assert MINI.decode(completion.tokens) == reply(body)["choices"][0]["message"]["content"]
    assert completion.billed == Billed(21, 9, 5)
    assert (completion.num_cached_tokens, completion.num_output_tokens) == (16, 9)
    (server,) = facts["servers"].values()
    assert server["versions"] == ["gpt-4o-mini-2024-07-18 fp_1"]
    assert server["seed_bits"] == 63
    assert server["seeds_repeat"]


def test_counters_are_of_billed_tokens():
    async def scenario():
        async with holding(Chats()) as engine:
            await asyncio.gather(*(engine(PROMPT, SAMPLED, seed) for seed in range(10)))
            return engine.counters

    counters = asyncio.run(scenario())
    assert (counters.prompt_tokens, counters.output_tokens) == (210, 90)
    assert counters.cached_tokens == 160


def test_a_server_that_does_not_say_what_it_charges_is_not_used():
    with pytest.raises(UserError, match="does not say how many tokens it charges"):
        drawn_from(Chats(change={"usage": None}))


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        (USAGE, None, None),
        (USAGE | {"prompt_tokens_details": {"cached_tokens": 3}}, 3, None),
        (USAGE | {"prompt_cache_hit_tokens": 4}, 4, None),
        (USAGE | {"cached_tokens": 5}, 5, None),
        (USAGE | {"completion_tokens_details": {"reasoning_tokens": 6}}, None, 6),
        (USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None}, None, None),
    ],
)
def test_usage_is_read_as_the_usual_providers_write_it(usage, cached, reasoning):
    read = read_usage({"usage": usage})
    assert (read.prompt_tokens, read.output_tokens) == (21, 9)
    assert (read.cached_tokens, read.reasoning_tokens) == (cached, reasoning)


def answer(message, reason="stop", usage=USAGE):
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        ({"content": "4"}, "stop", "4"),
        ({"content": "4", "reasoning_content": "2 + 2"}, "stop", "4"),
        (
            {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}]},
            "stop",
            "4",
        ),
        ({"content": None, "refusal": "I cannot."}, "stop", "I cannot."),
        ({"content": None, "reasoning_content": "2 +"}, "length", ""),
        ({"content": ""}, "length", ""),
    ],
)
def test_an_answer_is_what_was_said_without_the_thinking(message, reason, text):
    assert read_chat_reply(answer(message, reason)).text == text


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (answer({"content": None}), "no text"),
        (answer({"content": "4"}, "tool_calls"), "finish_reason is 'tool_calls'"),
        (answer({"content": "4"}, usage={}), "does not say how many tokens"),
        ({"choices": [], "usage": USAGE}, "exactly one choice"),
    ],
)
def test_a_chat_reply_that_is_not_one_answer_is_refused(content, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_chat_reply(content)


def test_an_answer_that_a_filter_withholds_is_not_asked_for_again():
    withheld = answer({"content": ""}, "content_filter")
    with pytest.raises(Filtered):
        read_chat_reply(withheld)

    async def scenario():
        async with holding(server := Chats()) as engine:
            server.change = withheld
            with pytest.raises(RequestFailed, match="withheld by the server's content filter"):
                await engine(PROMPT, SAMPLED, 1)
            return len(server.seen), engine.counters.output_tokens

    assert asyncio.run(scenario()) == (1, 9)


def test_what_the_manifest_gets_is_plain_data():
    _, _, facts = drawn_from(Chats())
    assert json.loads(json.dumps(facts))["servers"]
