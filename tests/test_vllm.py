"""vLLM itself, on the CPU: what it counts, how it is swapped, how it dies; and the shapes that need several ranks."""

import asyncio
import json
import os
import resource
import shutil
import signal
from dataclasses import replace

import psutil
import pytest
import yaml
from conftest import ROOT, SHIPPED

from scaling_exp.config import as_drawn
from scaling_exp.engines import VLLM, EngineDied, RequestFailed
from scaling_exp.models import Model
from scaling_exp.runtime import Gate
from scaling_exp.strategies import Greedy
from scaling_exp.survey import Prompted
from scaling_exp.types import Completion, Problem, Sampling, UserError

SETTINGS = yaml.safe_load((ROOT / "conf" / "engine" / "vllm_cpu.yaml").read_text())
CPU = VLLM(**{key: value for key, value in SETTINGS.items() if key != "kind"})
GREEDY = Sampling(max_tokens=24, temperature=0.0)
SAMPLED = Sampling(max_tokens=38)
PROMPT = (11, 22, 33, 71)
THINK, END = 66, 65


def model(size):
    """The last checkpoint of a shipped size."""
    return Model(size, str(SHIPPED / f"{size}-4.0M"), 4_000_000)


def thinker(folder, renamed=None):
    """The same weights with other words for some tokens."""
    words = {str(THINK): "<think>", str(END): "</think>"} if renamed is None else renamed
    shutil.copytree(SHIPPED / "112K-4.0M", folder, dirs_exist_ok=True)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    known = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {words.get(word, word): token for word, token in known.items()}
    file.write_text(json.dumps(tokenizer))
    return Model("thinker", str(folder), 4_000_000)


async def draw_all(sampler, num_draws, sampling=SAMPLED, prompt=PROMPT):
    seeds = range(1, num_draws + 1)
    return await asyncio.gather(*(sampler(prompt, sampling, seed) for seed in seeds))


@pytest.mark.parametrize(
    ("changes", "executor", "bundles"),
    [
        ({}, "uni", ({"CPU": 2.0, "GPU": 1.0},)),
        ({"tensor_parallel": 4}, "mp", ({"CPU": 8.0, "GPU": 4.0},)),
        ({"tensor_parallel": 8, "pipeline_parallel": 2}, "ray", ({"CPU": 2.0, "GPU": 1.0},) * 16),
        ({"tensor_parallel": 2, "num_gpus": 0, "kv_cache_mib": 8}, "mp", ({"CPU": 4.0},)),
    ],
    ids=["one rank", "one node", "two nodes", "on CPU"],
)
def test_the_shape_of_a_replica_chooses_executor_and_bundles(changes, executor, bundles):
    gpu = replace(CPU, in_process=False, num_cpus=2, num_gpus=1, kv_cache_mib=None)
    engine = replace(gpu, **changes)
    assert (engine.executor, engine.bundles) == (executor, bundles)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensor_parallel": 2}, "engine.in_process=false"),
        ({"num_gpus": 1}, "engine.in_process=false"),
        ({"kv_cache_mib": None}, "engine.kv_cache_mib=256"),
        ({"replicas": 0}, "engine.replicas is 0"),
        ({"max_num_seqs": 0}, "engine.max_num_seqs is 0"),
        ({"max_model_len": 0}, "engine.max_model_len is 0; .* or null for the model's own"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_the_remedy(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CPU, **changes)


@pytest.mark.parametrize(("limit", "longest"), [(None, None), (64, 64), (4096, 128)])
def test_a_sequence_is_no_longer_than_the_engine_takes_and_the_model_was_made_for(limit, longest):
    arguments = replace(CPU, max_model_len=limit).engine_arguments(model("10K"))
    assert arguments.get("max_model_len") == longest


def test_a_limit_on_length_is_no_part_of_a_model():
    (plain,), (short,) = (
        as_drawn([model("10K")], replace(CPU, max_model_len=limit)) for limit in (None, 40)
    )
    assert (plain.max_tokens, short.max_tokens) == (128, 40)
    assert (plain.fingerprint, plain.same_shape_as) == (short.fingerprint, short.same_shape_as)
    with pytest.raises(UserError, match=r"do not fit the 40 tokens .* raise engine.max_model_len"):
        Prompted.of(short, [Problem("p", "1 + 2 :", "3", "easy")], 0, {"greedy": Greedy(38)})


def test_a_model_thinks_between_two_tokens_of_its_own(tmp_path):
    assert model("10K").thinking_tokens is None
    assert thinker(tmp_path).thinking_tokens == (THINK, END)


def test_the_weights_that_are_held_next_are_read_ahead_and_nothing_else(monkeypatch):
    read = []
    monkeypatch.setattr(os, "posix_fadvise", lambda opened, *_: read.append(os.fstat(opened)))
    CPU.fetch(model("112K"))
    weights = os.stat(model("112K").folder / "model.safetensors")
    assert [each.st_ino for each in read] == [weights.st_ino]


@pytest.mark.slow
def test_one_engine_after_another_in_one_process(tmp_path):
    """One test, because the import of vLLM is what costs."""

    async def story():
        engine = CPU.start()
        await check_that_texts_end_what_they_should(engine, tmp_path)
        await check_that_thinking_ends_in_time(engine, tmp_path)
        await check_that_it_counts(engine)
        await check_that_prompts_are_prefilled_once(engine)
        await check_that_swapping_leaves_nothing_behind(engine)
        await check_that_cancelling_frees_the_slot(engine)
        await check_that_one_bad_request_harms_no_other(engine)
        await check_that_a_dead_core_is_told_to_all(engine)
        await check_that_the_gate_bears_a_small_cache()

    asyncio.run(story())


async def check_that_texts_end_what_they_should(engine, folder):
    """At the token that completes one, in the words of the model that is held; and no other draw."""
    await engine.hold(model("112K"))
    plain = await draw_all(engine, 100)
    await check_stops(engine, model("112K"), plain, ("= 3", "6 ,"))
    stranger = thinker(folder / "other", {",": "then"})
    loaded = engine._engine
    await engine.hold(stranger)
    assert engine._engine is loaded
    await check_stops(engine, stranger, plain, ("then",))
    assert engine._engine.output_processor.get_num_unfinished_requests() == 0


async def check_stops(engine, held, plain, stop):
    stopped = await draw_all(engine, len(plain), replace(SAMPLED, stop=stop))
    assert await draw_all(engine, len(plain)) == plain
    num_stopped = 0
    for whole, part in zip(plain, stopped, strict=True):
        texts = (held.decode(whole.tokens[:length]) for length in range(1, len(whole.tokens) + 1))
        ends = [at for at, text in enumerate(texts, 1) if any(each in text for each in stop)]
        assert part.tokens == whole.tokens[: ends[0] if ends else None]
        assert part.finish_reason == ("stop" if ends else whole.finish_reason)
        num_stopped += bool(ends)
    assert num_stopped > len(plain) / 4


async def check_that_thinking_ends_in_time(engine, folder):
    """Forced where it is as long as it may be, tokens of the prompt among them, and nowhere else."""
    with pytest.raises(UserError, match="has no token of its own that ends its thinking"):
        await engine(PROMPT, replace(SAMPLED, max_thinking_tokens=3), 1)
    await engine.hold(thinker(folder))
    for prompt in (PROMPT, (*PROMPT, THINK), (*PROMPT, THINK, 1, 2, 3)):
        plain = await draw_all(engine, 40, SAMPLED, prompt)
        for limit in (0, 5, 20):
            sampling = replace(SAMPLED, max_thinking_tokens=limit)
            ended = await draw_all(engine, 40, sampling, prompt)
            for free, drawn in zip(plain, ended, strict=True):
                at = forced_at(prompt, free.tokens, limit)
                kept = free.tokens[:at] if at is None else (*free.tokens[:at], END)
                assert drawn.tokens[: len(kept)] == kept
                assert forced_at(prompt, drawn.tokens, limit) is None


def forced_at(prompt, tokens, limit):
    """Where an end that is not there must be: `limit` tokens after a beginning."""
    num_thought = None
    for at, token in enumerate((*prompt, *tokens), -len(prompt)):
        if num_thought is not None and num_thought >= limit and token != END and at >= 0:
            return at
        if num_thought is None:
            num_thought = 0 if token == THINK else None
        else:
            num_thought = None if token == END else num_thought + 1
    return None


async def check_that_it_counts(engine):
    await engine.hold(model("10K"))
    drawn = await draw_all(engine, 600)
    counters = engine.counters
    assert counters.num_requests == 600
    assert counters.output_tokens == sum(len(each.tokens) for each in drawn)
    assert counters.prompt_tokens == 600 * len(PROMPT)
    assert counters.slot_steps == counters.output_tokens  # a running request makes a token a step
    assert 0.6 < counters.occupancy <= 1
    assert counters.busy_seconds > 0
    assert counters.queue_seconds > 0  # 600 requests, 256 slots
    assert counters.num_preemptions == 0


async def check_that_prompts_are_prefilled_once(engine):
    """With a KV block of 32, all but the first sample find the first 32 tokens of a prompt in the cache."""
    await engine.hold(model("4K"))
    prompt = tuple(range(1, 50))
    drawn = await draw_all(engine, 64, prompt=prompt)
    assert sorted({each.num_cached_tokens for each in drawn}) == [0, 32]
    assert engine.counters.cached_tokens == 63 * 32


async def check_that_swapping_leaves_nothing_behind(engine):
    """Other shapes are loaded anew, checkpoints of one shape in place; either way draws are those of the model."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    early = Model("early", str(SHIPPED / "112K-1.0M"), 1_000_000)
    stranger = Model("stranger", str(SHIPPED.parent / "arithmetic_capped" / "29K-4.0M"), 4_000_000)
    assert stranger.same_shape_as == model("29K").same_shape_as
    drawn = {}
    for name, each in [
        ("stranger", stranger),
        ("late", model("112K")),
        ("other", model("29K")),
        ("stranger, swapped in", stranger),
        ("late again", model("112K")),
        ("early, swapped in", early),
        ("late, swapped back", model("112K")),
    ]:
        await engine.hold(each)
        drawn[name] = [each.tokens for each in await draw_all(engine, 8)]
    assert drawn["late"] == drawn["late again"] == drawn["late, swapped back"]
    assert drawn["early, swapped in"] != drawn["late"]
    assert drawn["stranger, swapped in"] == drawn["stranger"]
    assert drawn["other"] != drawn["late"]
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    assert grown_mib < CPU.kv_cache_mib / 2  # the caches of five models would be five times that


async def check_that_cancelling_frees_the_slot(engine):
    drawing = [asyncio.ensure_future(engine(PROMPT, SAMPLED, seed)) for seed in range(1, 500)]
    await asyncio.sleep(0.05)
    for each in drawing:
        each.cancel()
    await asyncio.wait(drawing)
    scheduler = engine._engine.engine_core.engine_core.scheduler
    assert (len(scheduler.running), len(scheduler.waiting)) == (0, 0)
    assert len((await engine(PROMPT, GREEDY, 0)).tokens) > 0


async def check_that_one_bad_request_harms_no_other(engine):
    good = asyncio.ensure_future(engine(PROMPT, GREEDY, 0))
    with pytest.raises(RequestFailed, match="128"):
        await engine((1,) * 200, GREEDY, 0)
    assert len((await good).tokens) > 0


async def check_that_a_dead_core_is_told_to_all(engine):
    def broken():
        raise MemoryError("no more")

    engine._engine.engine_core.get_output = broken
    outcomes = await asyncio.gather(
        *(engine(PROMPT, SAMPLED, seed) for seed in range(1, 4)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [EngineDied] * 3
    assert "no more" in str(outcomes[0])


async def check_that_the_gate_bears_a_small_cache():
    """1 MiB is 32 blocks. A request of 40 tokens takes 2 at first and 3 when it ends: 16 start, 10 can end."""
    engine = replace(CPU, kv_cache_mib=1, max_num_seqs=64).start()
    num_preemptions, drawn = {}, {}
    for name in ("alone", "gate"):
        await engine.hold(model("112K"))
        sampler = Gate(engine) if name == "gate" else engine
        prompts = [tuple((seed * step) % 67 for step in range(1, 41)) for seed in range(1, 301)]
        drawn[name] = await asyncio.gather(*(sampler(each, SAMPLED, 7) for each in prompts))
        num_preemptions[name] = engine.counters.num_preemptions
    assert engine.num_safe == 8
    assert num_preemptions["alone"] > 0
    assert num_preemptions["gate"] <= num_preemptions["alone"]
    assert [each.tokens for each in drawn["gate"]] == [each.tokens for each in drawn["alone"]]
    await engine.close()


@pytest.mark.slow
def test_two_tensor_parallel_ranks_draw_what_one_draws():
    """AsyncLLM with its core and its ranks in processes of their own, as on GPUs."""

    async def story():
        engine = replace(CPU, in_process=False, tensor_parallel=2).start()
        await engine.hold(model("112K"))
        drawn = await draw_all(engine, 40, GREEDY)
        counters = replace(engine.counters)
        await engine.close()
        return drawn, counters

    drawn, counters = asyncio.run(story())
    (tokens,) = {each.tokens for each in drawn}

    async def alone():
        engine = CPU.start()
        await engine.hold(model("112K"))
        one = await engine(PROMPT, GREEDY, 0)
        await engine.close()
        return one

    assert tokens == asyncio.run(alone()).tokens
    assert counters.num_requests == 40
    assert counters.slot_steps == counters.output_tokens == 40 * len(tokens)
    assert counters.busy_seconds > 0


@pytest.mark.slow
def test_when_the_engine_core_is_killed_what_is_finished_stays_and_the_rest_is_told():
    """AsyncLLM with its core in a process of its own, as on a GPU; the process itself lives on."""

    async def story():
        engine = replace(CPU, in_process=False).start()
        await engine.hold(model("112K"))
        (core,) = (each for each in descendants() if "EngineCore" in " ".join(each.cmdline()))
        drawing = [asyncio.ensure_future(engine(PROMPT, SAMPLED, seed)) for seed in range(1, 2001)]
        await asyncio.wait(drawing[:300], return_when=asyncio.FIRST_COMPLETED)
        os.kill(core.pid, signal.SIGKILL)
        outcomes = await asyncio.wait_for(asyncio.gather(*drawing, return_exceptions=True), 30)
        late = await asyncio.gather(engine(PROMPT, SAMPLED, 1), return_exceptions=True)
        await engine.close()
        return outcomes, late

    outcomes, late = asyncio.run(story())
    kinds = [type(each) for each in outcomes]
    assert set(kinds) == {Completion, EngineDied}
    assert kinds.count(EngineDied) > 1000
    assert [type(each) for each in late] == [EngineDied]


def descendants():
    """Processes below this one that live; others leave zombies."""
    below = psutil.Process().children(recursive=True)
    return [each for each in below if each.status() != psutil.STATUS_ZOMBIE]
