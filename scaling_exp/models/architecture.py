"""The shapes of a decoder from its config.json alone: every weight is counted, none is read.

A model type is told by how its layers differ from Llama's. It knows no file and no weights; text towers only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from scaling_exp.types import Architecture, UserError

Config = Mapping[str, Any]
EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
EXPERTS_PER_TOKEN = ("num_experts_per_tok", "experts_per_token")


@dataclass(frozen=True)
class Family:
    """What the layers of a model type have besides Llama's matrices and two norms."""

    norms_per_layer: int = 2
    query_key_norm: Literal["none", "head", "width"] = "none"
    """A norm over each head of the queries and keys, or over their whole width."""
    has_query_key_value_bias: bool = False
    has_layer_norm: bool = False
    """LayerNorm with a bias instead of RMSNorm."""
    has_plain_mlp: bool = False
    """Two matrices with biases instead of three that are gated."""
    has_expert_bias: bool = False
    """Also of the router."""
    has_shared_expert_gate: bool = False
    has_sinks: bool = False
    """One learned logit a head that takes attention from all tokens."""
    full_attention_every: int = 0
    """Of so many layers one attends to everything and the others slide; 0: what slides, slides everywhere."""
    defaults: Config = field(default_factory=dict)
    """Values that a config.json of this type may leave out."""


_GEMMA_3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262208,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA = {"head_dim": 256, "tie_word_embeddings": True}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "mixtral": Family(),
    "qwen2": Family(has_query_key_value_bias=True),
    "qwen2_moe": Family(has_query_key_value_bias=True, has_shared_expert_gate=True),
    "qwen3": Family(query_key_norm="head"),
    "qwen3_moe": Family(query_key_norm="head"),
    "olmo2": Family(query_key_norm="width"),
    "gemma": Family(defaults=_GEMMA),
    "gemma2": Family(norms_per_layer=4, full_attention_every=2, defaults=_GEMMA),
    "gemma3_text": Family(
        norms_per_layer=4, query_key_norm="head", full_attention_every=6, defaults=_GEMMA_3
    ),
    "gpt_neox": Family(has_layer_norm=True, has_plain_mlp=True, defaults={"attention_bias": True}),
    "gpt_oss": Family(
        has_expert_bias=True,
        has_sinks=True,
        full_attention_every=2,
        defaults={"attention_bias": True},
    ),
    "deepseek_v2": Family(),
    "deepseek_v3": Family(),
}


def architecture_of(config: Config) -> Architecture:
    """The architecture that a config.json describes.

    Raises UserError for a model type that is not known and for a value that is missing.
    """
    config, family = text_config(config)
    layers = [_mlp(config, family, layer) for layer in range(_get(config, "num_hidden_layers"))]
    hidden, vocabulary = _get(config, "hidden_size"), _get(config, "vocab_size")
    norm = hidden * (2 if family.has_layer_norm else 1)
    outside_mlp = _attention_parameters(config, family) + family.norms_per_layer * norm
    non_embedding = sum(map(sum, layers)) + len(layers) * outside_mlp + norm
    num_expert_parameters = sum(routed for _, routed in layers)
    is_tied = bool(config.get("tie_word_embeddings", False))
    embeddings = vocabulary * hidden * (1 if is_tied else 2)
    num_experts, chosen = num_experts_of(config)
    idle = num_expert_parameters * (num_experts - chosen) // max(num_experts, 1)
    return Architecture(
        num_parameters=non_embedding + embeddings,
        num_active_parameters=non_embedding + vocabulary * hidden - idle,
        num_non_embedding_parameters=non_embedding,
        num_expert_parameters=num_expert_parameters,
        num_experts=num_experts,
        num_experts_per_token=chosen,
        **attention_shapes(config),
    )


def attention_shapes(config: Config) -> dict[str, int]:
    """The fields of `Architecture` that decide what attention costs: layers, heads, cache and windows."""
    config = {**FAMILIES.get(str(config.get("model_type")), Family()).defaults, **config}
    heads, key_value_heads, head_dim = _heads(config)
    cache_width = 2 * key_value_heads * head_dim
    if "kv_lora_rank" in config:
        head_dim = (sum(_latent_head(config)) + config["qk_rope_head_dim"]) // 2
        cache_width = config["kv_lora_rank"] + config["qk_rope_head_dim"]
    num_sliding = _num_sliding_layers(config)
    return {
        "num_layers": _get(config, "num_hidden_layers"),
        "num_heads": heads,
        "head_dim": head_dim,
        "cache_width": cache_width,
        "num_sliding_layers": num_sliding,
        "sliding_window": int(config["sliding_window"]) if num_sliding else 0,
    }


def num_experts_of(config: Config) -> tuple[int, int]:
    """Routed experts, and how many of them a token uses; (0, 0) for a dense model."""
    num_experts = next((config[name] for name in EXPERT_COUNTS if config.get(name)), 0)
    if not num_experts:
        return 0, 0
    chosen = next((config[name] for name in EXPERTS_PER_TOKEN if config.get(name)), None)
    return int(num_experts), _get({EXPERTS_PER_TOKEN[0]: chosen}, EXPERTS_PER_TOKEN[0])


def text_config(config: Config) -> tuple[Config, Family]:
    """The configuration of the text tower, with the defaults of its family.

    Raises UserError for a model type that is not known.
    """
    config = {**config, **config.get("text_config", {})}
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise UserError(
            f"model_type is {kind}; the weights of these can be counted from a config.json alone:"
            f" {', '.join(FAMILIES)}"
        )
    return {**FAMILIES[kind].defaults, **config}, FAMILIES[kind]


def _get(config: Config, name: str) -> int:
    if config.get(name) is None:
        raise UserError(f"config.json lacks {name}; without it a token's cost is not known")
    return int(config[name])


def _heads(config: Config) -> tuple[int, int, int]:
    """Heads of queries, heads of keys and values, and their width."""
    heads = _get(config, "num_attention_heads")
    head_dim = config.get("head_dim") or _get(config, "hidden_size") // heads
    return heads, int(config.get("num_key_value_heads") or heads), int(head_dim)


def _num_sliding_layers(config: Config) -> int:
    num_layers = _get(config, "num_hidden_layers")
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return 0
    if config.get("layer_types"):
        return list(config["layer_types"]).count("sliding_attention")
    if config.get("use_sliding_window"):
        return max(0, num_layers - _get(config, "max_window_layers"))
    family = FAMILIES.get(str(config.get("model_type")), Family())
    every = config.get("sliding_window_pattern", family.full_attention_every)
    return num_layers - num_layers // every if every else num_layers


def _attention_parameters(config: Config, family: Family) -> int:
    if "kv_lora_rank" in config:
        return _latent_attention_parameters(config)
    hidden = _get(config, "hidden_size")
    heads, key_value_heads, head_dim = _heads(config)
    queries, keys = heads * head_dim, key_value_heads * head_dim
    count = hidden * (2 * queries + 2 * keys)
    if family.has_query_key_value_bias or config.get("attention_bias"):
        count += queries + 2 * keys
    if config.get("attention_bias"):
        count += hidden
    count += {"none": 0, "head": 2 * head_dim, "width": queries + keys}[family.query_key_norm]
    return count + (heads if family.has_sinks else 0)


def _latent_head(config: Config) -> tuple[int, int]:
    """Widths that a head unfolds from the latent: of its keys (without position) and of its values."""
    return _get(config, "qk_nope_head_dim"), _get(config, "v_head_dim")


def _latent_attention_parameters(config: Config) -> int:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1)."""
    hidden, heads = _get(config, "hidden_size"), _get(config, "num_attention_heads")
    rank, position = _get(config, "kv_lora_rank"), _get(config, "qk_rope_head_dim")
    key, value = _latent_head(config)
    query_rank = config.get("q_lora_rank")
    queries = heads * (key + position)
    query = (hidden + queries + 1) * query_rank if query_rank else hidden * queries
    down = hidden * (rank + position) + rank
    return query + down + rank * heads * (key + value) + heads * value * hidden


def _mlp(config: Config, family: Family, layer: int) -> tuple[int, int]:
    """Weights of a layer's perceptron that every token uses, and those of its routed experts."""
    hidden = _get(config, "hidden_size")
    num_experts, _ = num_experts_of(config)
    if not num_experts or _is_dense(config, layer):
        return _perceptron(config, family, _get(config, "intermediate_size")), 0
    width = int(config.get("moe_intermediate_size") or _get(config, "intermediate_size"))
    expert, router = _perceptron(config, family, width), hidden * num_experts
    if family.has_expert_bias:
        expert, router = expert + 2 * width + hidden, router + num_experts
    shared_width = int(
        config.get("shared_expert_intermediate_size") or width * config.get("n_shared_experts", 0)
    )
    gate = hidden if family.has_shared_expert_gate else 0
    return router + gate + _perceptron(config, family, shared_width), num_experts * expert


def _is_dense(config: Config, layer: int) -> bool:
    """Whether a layer of a mixture has one perceptron that all tokens use."""
    every = config.get("decoder_sparse_step") or config.get("moe_layer_freq") or 1
    is_skipped = bool((layer + 1) % every) if "decoder_sparse_step" in config else layer % every
    first = config.get("first_k_dense_replace") or 0
    return bool(is_skipped) or layer < first or layer in (config.get("mlp_only_layers") or ())


def _perceptron(config: Config, family: Family, width: int) -> int:
    hidden = _get(config, "hidden_size")
    if family.has_plain_mlp:
        return 2 * hidden * width + width + hidden
    return 3 * hidden * width + (2 * width + hidden if config.get("mlp_bias") else 0)
