"""Facts of open models: unique, exact to the last weight, each with its source; and the verb that lists them."""

from __future__ import annotations

import pytest

from scaling_exp.models import registry
from scaling_exp.models.checkpoints import Checkpoints
from scaling_exp.models.registry import entries, find, get, plain_name
from scaling_exp.types import UserError

FAMILIES = (
    "Pythia",
    "Pythia deduped",
    "Qwen2.5",
    "Qwen2.5 Instruct",
    "Qwen2.5 Math",
    "Qwen3",
    "Qwen3 Base",
    "Llama 3",
    "Llama 3.1",
    "Llama 3.2",
    "Llama 3.3 Instruct",
    "OLMo 2",
    "SmolLM2",
    "Gemma 3",
    "Mistral",
    "Mixtral",
    "R1-Distill Qwen",
    "R1-Distill Llama",
    "Llemma",
    "gpt-oss",
    "Llama 2",
    "Gemma",
)


def test_every_family_that_is_promised_has_models():
    assert set(FAMILIES) <= {entry.family for entry in entries()}


def test_every_name_and_alias_means_one_model():
    names = [
        name
        for entry in entries()
        for name in {registry._spelt(each) for each in (entry.name, entry.hub_id, *entry.aliases)}
    ]
    assert len(names) == len(set(names))
    assert len({entry.hub_id for entry in entries()}) == len(entries())
    for entry in entries():
        for name in (entry.name, entry.hub_id, *entry.aliases):
            assert get(name) is entry
            assert find(name) is entry


def test_published_totals_come_out_to_the_last_weight():
    published = [entry for entry in entries() if entry.published_parameters is not None]
    assert len({id(entry.shapes) for entry in published}) > 40
    for entry in published:
        assert entry.architecture.num_parameters == entry.published_parameters, entry.name


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("gpt-oss-20b", 20.91e9, 3.61e9),
        ("gpt-oss-120b", 116.83e9, 5.13e9),
        ("Mixtral-8x7B-v0.1", 46.70e9, 12.75e9),
        ("Mixtral-8x22B-Instruct-v0.1", 140.6e9, 39.0e9),
        ("Qwen3-30B-A3B", 30.5e9, 3.04e9),
        ("llemma_34b", 33.7e9, 33.5e9),
    ],
)
def test_totals_that_are_published_in_round_numbers(name, total, active):
    shape = get(name).architecture
    assert shape.num_parameters == pytest.approx(total, rel=2e-3)
    assert shape.num_active_parameters == pytest.approx(active, rel=3e-3)


def test_every_fact_that_is_said_has_a_source_and_no_other():
    for entry in entries():
        said = {
            "hub_id": entry.hub_id,
            "family": entry.family,
            "post_training": entry.post_training,
            "base_model": entry.base_model,
            "is_distilled": None if entry.is_distilled is None else "said",
            "pretraining_tokens": entry.pretraining_tokens,
            "unique_tokens": entry.unique_tokens,
            "licence": entry.licence,
            "context": entry.context,
            "shapes": entry.shapes,
            "checkpoints": entry.checkpoints,
        }
        assert set(entry.sources) == {fact for fact, value in said.items() if value}, entry.name
        assert all(source.text for source in entry.sources.values())


def test_facts_agree_among_themselves():
    names = {entry.name: entry for entry in entries()}
    for entry in entries():
        if entry.base_model:
            base = names[entry.base_model]
            assert base.pretraining_tokens is None or entry.pretraining_tokens
            assert (entry.pretraining_tokens or 0) >= (base.pretraining_tokens or 0)
            assert entry.post_training != "base" or "Math" in entry.name
        if entry.unique_tokens:
            assert entry.pretraining_tokens is not None
            assert entry.unique_tokens < entry.pretraining_tokens
        if entry.context is not None:
            assert 2048 <= entry.context <= 262144
    assert all(len({e.post_training for e in entries() if e.family == f}) == 1 for f in FAMILIES)


def test_what_no_author_says_is_left_open():
    for name in ("Mistral-7B-v0.1", "Mixtral-8x7B-v0.1", "gpt-oss-20b"):
        assert get(name).pretraining_tokens is None
        assert get(name).pretraining_flops is None
    assert all(entry.revision is None for entry in entries())


def test_the_shared_table_of_facts_says_the_same(public_data):
    import pandas as pd

    table = pd.read_csv(public_data("model_facts/model_facts.csv"))
    for _, row in table.iterrows():
        entry = find(str(row["model"]))
        assert entry is not None, row["model"]
        assert entry.architecture.num_parameters == row["params_total_computed"], row["model"]
        assert entry.architecture.num_layers == row["layers"]
        mathematics = 10**12 if "Math" in (entry.base_model or entry.name) else 0
        assert entry.pretraining_tokens == int(float(row["pretrain_tokens"])) + mathematics


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("meta-llama/Llama-2-7b-hf", "Llama-2-7b"),
        ("meta-llama/Llama-2-7b-chat-hf", "Llama-2-7b-chat"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "Llama-3-8B-Instruct"),
        ("EleutherAI/pythia-2.8b-deduped", "pythia-2.8b-deduped"),
        ("Pythia 2.8B", "pythia-2.8b"),
        ("google/gemma-2b-it", "gemma-2b-it"),
        ("Gemma-3-4b", "gemma-3-4b-pt"),
        ("meta-llama/Meta-Llama-3.1-405B-FP8", "Llama-3.1-405B"),
        ("Qwen2.5-7B-Base", "Qwen2.5-7B"),
        ("pythia-14m-chat", "pythia-14m"),
    ],
)
def test_a_model_is_found_under_its_usual_names(name, known):
    found = find(name)
    assert found is not None
    assert found.name == known


@pytest.mark.parametrize("name", ["gpt-4", "llama", "", "Llama-2-7b-chat-uncensored", "Qwen2.5"])
def test_a_model_is_not_guessed(name):
    assert find(name) is None


def test_two_names_are_one_model_only_where_they_are():
    assert plain_name("a/Meta-Llama-3-8B") != plain_name("a/Meta-Llama-3.1-8B")
    assert plain_name("pythia-1b") != plain_name("pythia-1.4b")


def test_a_mistaken_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"no model 'pythia-410'; did you mean pythia-410m\?"):
        get("pythia-410")


@pytest.mark.parametrize(
    ("name", "asked", "revision"),
    [
        ("pythia-70m", "step512", "step512"),
        ("OLMo-2-0425-1B", "step20000", "stage1-step20000-tokens42B"),
        ("OLMo-2-0425-1B", "step990000", "stage1-step990000-tokens2077B"),
        ("OLMo-2-0425-1B", "step1907359", "stage1-step1907359-tokens4001B"),
        ("OLMo-2-1124-7B", "step217000", "stage1-step217000-tokens911B"),
        ("OLMo-2-1124-7B", "step600000", "stage1-step600000-tokens2517B"),
        ("OLMo-2-1124-7B", "step928646", "stage1-step928646-tokens3896B"),
        ("OLMo-2-1124-13B", "step596057", "stage1-step596057-tokens5001B"),
        ("OLMo-2-0325-32B", "step646000", "stage1-step646000-tokens5420B"),
        ("OLMo-2-0325-32B", "step721901", "stage1-step721901-tokens6056B"),
    ],
)
def test_checkpoints_have_the_names_of_their_branches_on_the_hub(name, asked, revision):
    checkpoints = get(name).checkpoints
    assert checkpoints is not None
    found = checkpoints.find(asked)
    assert found.revision == revision
    assert found.tokens == found.step * checkpoints.tokens_per_step
    assert checkpoints.find(revision) == found


def test_the_last_checkpoint_of_pythia_is_the_finished_model():
    entry = get("pythia-1.4b")
    assert entry.checkpoints is not None
    assert len(list(entry.checkpoints.steps)) == 154
    assert entry.checkpoints.find("step143000").tokens == entry.pretraining_tokens


CHECKPOINTS = Checkpoints.read(
    "m", "stage1-step{step}-tokens{billions}B", 10**9, "0 1 1000-3000/1000"
)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("step1400", "m has no step1400; the nearest is step1000"),
        ("3000", "did you mean step3000"),
        ("stage1-step2500-tokens9B", "how many tokens .* saw is not known"),
        ("stage2-ingredient1-step3000-tokens50B", "ladder=models"),
    ],
)
def test_a_checkpoint_of_unknown_data_is_refused(asked, message):
    with pytest.raises(UserError, match=message):
        CHECKPOINTS.find(asked)


def test_a_revision_in_full_need_not_be_listed():
    assert CHECKPOINTS.find("stage1-step2500-tokens2500B").tokens == 2500 * 10**9
