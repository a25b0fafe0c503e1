"""Weights counted from shapes alone, against published totals and against transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scaling_exp.models import Model, architecture_of
from scaling_exp.types import UserError

FAMILY_TYPES = {
    "Pythia": "gpt_neox",
    "Qwen2.5": "qwen2",
    "Qwen3": "qwen3",
    "OLMo 2": "olmo2",
    "Gemma 3": "gemma3_text",
}

GPT_OSS_20B: Mapping[str, Any] = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "tie_word_embeddings": False,
}
MIXTRAL_8X7B: Mapping[str, Any] = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
DEEPSEEK_V3: Mapping[str, Any] = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


def config_of(row: pd.Series) -> dict[str, Any]:
    """The config.json that a row of the table of models stands for."""
    kind = FAMILY_TYPES.get(str(row["family"]), "llama")
    if row["family"] == "R1-Distill" and "Qwen" in str(row["model"]):
        kind = "qwen2"
    config = {
        "model_type": kind + ("_moe" if row["n_experts"] else ""),
        "num_hidden_layers": int(row["layers"]),
        "hidden_size": int(row["hidden"]),
        "intermediate_size": int(row["ffn"]),
        "num_attention_heads": int(row["heads"]),
        "num_key_value_heads": int(row["kv_heads"]),
        "head_dim": int(row["head_dim"]),
        "vocab_size": int(row["vocab_embedding_rows"]),
        "tie_word_embeddings": bool(row["tied_embeddings"]),
    }
    if row["n_experts"]:
        config |= {
            "num_experts": int(row["n_experts"]),
            "num_experts_per_tok": int(row["experts_per_token"]),
            "moe_intermediate_size": int(row["ffn"]),
        }
    return config


def test_the_totals_of_all_published_models_come_out_to_the_last_weight(
    public_data: Callable[[str], Path],
) -> None:
    table = pd.read_csv(public_data("model_facts/model_facts.csv"))
    assert len(table) == 44
    for _, row in table.iterrows():
        shape = architecture_of(config_of(row))
        assert shape.num_parameters == row["params_total_computed"], row["model"]
        assert shape.num_non_embedding_parameters == row["params_nonembedding_computed"]
        look_up = 0 if row["tied_embeddings"] else row["vocab_embedding_rows"] * row["hidden"]
        if row["n_experts"]:  # the table's active count has the look-up in it
            assert shape.num_active_parameters + look_up == row["params_active_computed"]
        else:
            assert shape.num_active_parameters == row["params_total_computed"] - look_up
        assert shape.cache_width is not None
        bytes_per_token = 2 * shape.num_layers * shape.cache_width
        assert bytes_per_token == row["kv_cache_bytes_per_token_bf16"]


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (GPT_OSS_20B, 20.91e9, 3.61e9),
        (GPT_OSS_20B | {"num_hidden_layers": 36, "num_local_experts": 128}, 116.83e9, 5.13e9),
        (MIXTRAL_8X7B, 46.7e9, 12.75e9),
        (DEEPSEEK_V3, 671e9, 36.6e9),
    ],
    ids=["gpt-oss-20b", "gpt-oss-120b", "Mixtral-8x7B", "DeepSeek-V3"],
)
def test_published_mixtures(config: Mapping[str, Any], total: float, active: float) -> None:
    """gpt-oss: model card (active without the look-up); Mixtral 2401.04088: 47B and 13B; DeepSeek-V3 2412.19437: 671B
    and 37B, both with the look-up, which is 0.13B and 0.93B."""
    shape = architecture_of(config)
    assert shape.num_parameters == pytest.approx(total, rel=1e-3)
    assert shape.num_active_parameters == pytest.approx(active, rel=2e-3)


def test_which_layers_slide() -> None:
    gpt_oss = architecture_of(GPT_OSS_20B)
    assert (gpt_oss.num_sliding_layers, gpt_oss.sliding_window) == (12, 128)
    gemma = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    assert architecture_of(gemma).num_sliding_layers == 29  # five to one
    assert architecture_of({"text_config": gemma, "model_type": "gemma3"}) == architecture_of(gemma)
    mistral = {**MIXTRAL_8X7B, "model_type": "mistral", "num_local_experts": 0}
    assert architecture_of(mistral).num_sliding_layers == 0
    assert architecture_of({**mistral, "sliding_window": 4096}).num_sliding_layers == 32
    qwen = {**mistral, "model_type": "qwen2", "sliding_window": 4096, "max_window_layers": 28}
    assert architecture_of({**qwen, "use_sliding_window": False}).num_sliding_layers == 0
    assert architecture_of({**qwen, "use_sliding_window": True}).num_sliding_layers == 4


def test_latent_attention_keeps_one_latent_a_token() -> None:
    shape = architecture_of(DEEPSEEK_V3)
    assert (shape.cache_width, shape.head_dim) == (576, 160)


def test_a_configuration_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(UserError, match="model_type is mamba"):
        architecture_of({"model_type": "mamba"})
    with pytest.raises(UserError, match="lacks hidden_size"):
        architecture_of({"model_type": "llama", "num_hidden_layers": 2})


SMALL: Mapping[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 40,
    "shared_expert_intermediate_size": 56,
    "n_routed_experts": 4,
    "n_shared_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "pad_token_id": 0,
}
COMMON = {*list(SMALL)[:7], "pad_token_id"}
MIXTURE = {"num_experts", "num_experts_per_tok", "moe_intermediate_size"}
LATENT = {*SMALL} - {
    "head_dim",
    "num_experts",
    "num_local_experts",
    "shared_expert_intermediate_size",
}
KEYS = {
    "gpt_neox": COMMON - {"head_dim", "num_key_value_heads"},
    "olmo2": COMMON - {"head_dim"},
    "qwen2": COMMON - {"head_dim"},
    "mixtral": COMMON | {"num_local_experts", "num_experts_per_tok"},
    "gpt_oss": COMMON | {"num_local_experts", "num_experts_per_tok"},
    "qwen2_moe": (COMMON - {"head_dim"}) | MIXTURE | {"shared_expert_intermediate_size"},
    "qwen3_moe": COMMON | MIXTURE,
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
}


@pytest.mark.parametrize(
    "kind",
    ["llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen3", *KEYS],
)
def test_counts_are_those_of_the_modules_that_transformers_builds(kind: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    given = {name: value for name, value in SMALL.items() if name in KEYS.get(kind, COMMON)}
    config = transformers.AutoConfig.for_model(kind, **given)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    weights = {name: each.numel() for name, each in model.named_parameters()}
    shape = architecture_of(config.to_dict())
    assert shape.num_parameters == sum(weights.values())
    experts = sum(size for name, size in weights.items() if ".experts." in name)
    assert shape.num_expert_parameters == experts
    assert architecture_of({"model_type": kind, **config.to_diff_dict()}) == shape


def test_a_folder_of_weights_tells_the_same_as_its_configuration(two_smallest: Path) -> None:
    folder = next(each for each in sorted(two_smallest.iterdir()) if each.is_dir())
    model = Model("one", str(folder), 1)
    assert model.facts.architecture == architecture_of(model.config)


def test_a_folder_of_a_mixture_tells_the_same_as_its_configuration(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    given = {name: value for name, value in SMALL.items() if name in KEYS["qwen3_moe"]}
    config = transformers.AutoConfig.for_model("qwen3_moe", **given)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = Model("mixture", str(tmp_path), 1)
    assert model.facts.architecture == architecture_of(model.config)
    assert model.facts.architecture.num_experts == 4
