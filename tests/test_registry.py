"""Facts of open models: unique, exact to the last weight, each with its source; and the verb that lists them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from scaling_exp.__main__ import main
from scaling_exp.ladders import SHIPPED
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
        assert entry.pretraining_tokens == int(float(str(row["pretrain_tokens"]))) + mathematics


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


# The verb


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, int]:
    """What `models` prints and how it ends."""
    code: object = 0
    try:
        main(["models", *arguments])
    except SystemExit as end:
        code = end.code
    assert isinstance(code, int)
    captured = capsys.readouterr()
    return captured.out + captured.err, code


def names_of(text: str) -> list[str]:
    return [each["name"] for each in json.loads(text)]


def test_the_table_has_a_line_for_every_model(capsys):
    text, code = printed(capsys)
    lines = text.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[1 : len(entries()) + 1]] == [
        entry.name for entry in entries()
    ]
    (pythia,) = [line for line in lines if line.startswith("pythia-1.4b ")]
    assert pythia.split() == [
        *("pythia-1.4b", "Pythia", "1.41B", "1.31B", "300B"),
        *("2.55e+21", "base", "apache-2.0", "154"),
    ]
    assert "? D is not published" in text
    assert "* distilled or pruned" in text


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("family=Llama 3.2",), ["1B", "1B-Instruct", "3B", "3B-Instruct"]),
        (("family=Llama 3.2", "post_training=base"), ["1B", "3B"]),
        (("family=Llama 3.2 Instruct", "max_parameters=2e9"), ["1B-Instruct"]),
        (("llama-3.2", "INSTRUCT", "min_parameters=2e9"), ["3B-Instruct"]),
    ],
)
def test_filters_leave_what_they_say(capsys, arguments, names):
    text, _ = printed(capsys, *arguments, "--json")
    assert names_of(text) == [f"Llama-3.2-{name}" for name in names]


def test_a_family_is_not_the_one_whose_name_it_begins(capsys):
    text, _ = printed(capsys, "family=Llama 3", "format=json")
    assert names_of(text) == [f"Llama-3-{n}" for n in ("8B", "8B-Instruct", "70B", "70B-Instruct")]


def test_filters_on_what_is_known(capsys):
    unknown = names_of(printed(capsys, "has_tokens=false", "--json")[0])
    assert unknown == [each.name for each in entries() if each.pretraining_tokens is None]
    kept = names_of(printed(capsys, "has_checkpoints=true", "licence=apache-2.0", "--json")[0])
    assert kept == [each.name for each in entries() if each.checkpoints]
    distilled = names_of(printed(capsys, "is_distilled=true", "--json")[0])
    assert set(distilled) >= {"Llama-3.2-1B", "gemma-3-4b-pt", "DeepSeek-R1-Distill-Qwen-7B"}


def test_machines_read_the_same_facts(capsys):
    rows = list(csv.DictReader(StringIO(printed(capsys, "olmo", "format=csv")[0])))
    records = json.loads(printed(capsys, "olmo", "--json")[0])
    assert [each["name"] for each in rows] == [each["name"] for each in records]
    for row, each in zip(rows, records, strict=True):
        assert int(row["num_parameters"]) == each["num_parameters"]
        assert float(row["pretraining_flops"]) == each["pretraining_flops"]
        flops = 6 * each["num_parameters"] * each["pretraining_tokens"]
        assert each["pretraining_flops"] == pytest.approx(flops)
        assert each["sources"]["pretraining_tokens"]


def test_show_tells_every_fact_with_its_source(capsys):
    text, code = printed(capsys, "show", "meta-llama/Llama-3.2-1B")
    assert code == 0
    for said in ("1,235,814,400", "= the published total", "9,000,000,000,000", "up to 9T tokens"):
        assert said in text
    assert "yes: 6ND understates" in text
    assert "154: steps 0, 1, 2, 4" in printed(capsys, "show", "pythia-70m")[0]
    assert "not known" in printed(capsys, "show", "Mistral-7B-v0.1")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("famly=Qwen3",), "there is no 'famly'; did you mean family?"),
        (("family=Qwen33",), "did you mean Qwen3?"),
        (("post_training=chat",), "models.post_training is 'chat'"),
        (("max_parameters=big",), "models.max_parameters is 'big'"),
        (("format=yaml",), "models.format is 'yaml'"),
        (("--jsn",), "did you mean --json?"),
        (("no-such-thing",), "nothing matches no-such-thing"),
        (("show", "pythia-70"), "did you mean pythia-70m?"),
        (("show",), "models show wants a NAME"),
        (("check",), "models check [NAME] CONFIG_JSON_OR_FOLDER"),
        (("check", "Qwen3-8B", "nowhere"), "nowhere is missing"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, message):
    text, code = printed(capsys, *arguments)
    assert code == 2
    assert message in text
    assert text.count("\n") == 1


# Real config.json files, less what no count depends on.
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "pythia-70m": {
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_size": 512,
        "intermediate_size": 2048,
        "max_position_embeddings": 2048,
        "model_type": "gpt_neox",
        "num_attention_heads": 8,
        "num_hidden_layers": 6,
        "tie_word_embeddings": False,
        "vocab_size": 50304,
    },
    "Llama-3.2-1B": {
        "attention_bias": False,
        "head_dim": 64,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
        "vocab_size": 128256,
    },
    "Qwen2.5-7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "max_position_embeddings": 131072,
        "max_window_layers": 28,
        "model_type": "qwen2",
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "sliding_window": 131072,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 152064,
    },
    "Qwen3-30B-A3B": {
        "attention_bias": False,
        "decoder_sparse_step": 1,
        "head_dim": 128,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 40960,
        "max_window_layers": 48,
        "mlp_only_layers": [],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "vocab_size": 151936,
    },
    "OLMo-2-0425-1B": {
        "attention_bias": False,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "max_position_embeddings": 4096,
        "model_type": "olmo2",
        "num_attention_heads": 16,
        "num_hidden_layers": 16,
        "num_key_value_heads": 16,
        "tie_word_embeddings": False,
        "vocab_size": 100352,
    },
    "gemma-3-4b-pt": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
    },
    "Mixtral-8x7B-v0.1": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "model_type": "mixtral",
        "num_attention_heads": 32,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "Mistral-7B-v0.1": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "model_type": "mistral",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "vocab_size": 32000,
    },
    "gpt-oss-20b": {
        "attention_bias": True,
        "experts_per_token": 4,
        "head_dim": 64,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
        "max_position_embeddings": 131072,
        "model_type": "gpt_oss",
        "num_attention_heads": 64,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 8,
        "num_local_experts": 32,
        "quantization_config": {"quant_method": "mxfp4"},
        "sliding_window": 128,
        "tie_word_embeddings": False,
        "vocab_size": 201088,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_entry_agrees_with_the_config_that_is_published(capsys, tmp_path, name):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIGS[name]))
    for path in (file, tmp_path):
        text, code = printed(capsys, "check", name, str(path))
        assert (text.splitlines()[-1], code) == ("all agree", 0), text


def test_what_differs_is_marked_and_ends_with_1(capsys, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(json.dumps({**CONFIGS["Qwen2.5-7B"], "vocab_size": 151936}))
    text, code = printed(capsys, "check", "Qwen2.5-7B", str(file))
    marked = [line.split()[0] for line in text.splitlines() if line.endswith("differs")]
    assert code == 1
    assert marked == ["vocab_size", "num_parameters", "num_active_parameters"]
    assert text.splitlines()[-1] == "3 of 18 differ"


def test_an_unknown_model_is_weighed_by_its_shapes(capsys, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIGS["Llama-3.2-1B"]))
    text, code = printed(capsys, "check", str(file))
    assert code == 0
    assert "1,235,814,400" in text
    assert "the shapes of Llama-3.2-1B, Llama-3.2-1B-Instruct" in text
    mine, code = printed(capsys, "check", str(SHIPPED / "arithmetic" / "4K-4.0M"))
    assert code == 0
    assert "no model of the registry has these shapes" in mine
    assert "give it as pretraining_tokens" in mine


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is no JSON"), ("[]", "it holds no keys"), ('{"model_type": "mamba"}', "is mamba")],
)
def test_a_file_that_is_no_config_is_refused(capsys, tmp_path: Path, text, message):
    file = tmp_path / "config.json"
    file.write_text(text)
    said, code = printed(capsys, "check", str(file))
    assert code == 2
    assert message in said
