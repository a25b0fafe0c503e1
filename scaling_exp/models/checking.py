"""An entry of the registry against a config.json at hand, line by line; or what the shapes of an unknown model give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from scaling_exp.models.architecture import Config, architecture_of, text_config
from scaling_exp.models.registry import entries, get
from scaling_exp.types import UserError

SUMS = ("num_parameters", "num_non_embedding_parameters", "num_active_parameters")


def check(name: str, path: str) -> tuple[str, bool]:
    """Lines that compare an entry with a config.json or the folder that it is in, and whether all of them agree.

    Raises UserError for a name or a model type that is not known, and for a file that cannot be read.
    """
    entry, config = get(name), _read(path)
    ours, theirs = shapes_of(entry.shapes), shapes_of(config)
    if entry.context is not None:
        ours["max_position_embeddings"] = entry.context
        theirs["max_position_embeddings"] = text_config(config)[0].get("max_position_embeddings")
    rows = [(key, ours[key], theirs[key]) for key in ours]
    lines = [_line(*row) for row in rows]
    num_wrong = sum(_differs(mine, yours) for _, mine, yours in rows)
    head = f"{'':<30}{entry.name:>20}{'config.json':>20}"
    told = "all agree" if not num_wrong else f"{num_wrong} of {len(rows)} differ"
    return "\n".join([head, *lines, told]), not num_wrong


def weigh(path: str) -> str:
    """What the shapes of a config.json give, and which models of the registry have the same.

    Raises UserError for a model type that is not known, and for a file that cannot be read.
    """
    shapes = shapes_of(_read(path))
    lines = [f"{key:<30}{_word(value):>20}" for key, value in shapes.items()]
    same = [each.name for each in entries() if shapes_of(each.shapes) == shapes]
    twins = (
        f"the shapes of {', '.join(same)}" if same else "no model of the registry has these shapes"
    )
    remedy = "D is no matter of shapes: give it as pretraining_tokens, else there is no trade"
    return "\n".join([*lines, twins, remedy])


def shapes_of(config: Config) -> dict[str, Any]:
    """What decides the size of a decoder, in one form whatever its config.json leaves out; then the sums."""
    text, _ = text_config(config)
    shape = architecture_of(config)
    latent = {"kv_lora_rank": text["kv_lora_rank"]} if "kv_lora_rank" in text else {}
    return {
        "model_type": text["model_type"],
        "num_hidden_layers": shape.num_layers,
        "hidden_size": text["hidden_size"],
        "num_attention_heads": shape.num_heads,
        "head_dim": shape.head_dim,
        "cache_width": shape.cache_width,
        **latent,
        "intermediate_size": text.get("intermediate_size"),
        "moe_intermediate_size": text.get("moe_intermediate_size"),
        "num_experts": shape.num_experts,
        "num_experts_per_tok": shape.num_experts_per_token,
        "vocab_size": text["vocab_size"],
        "tie_word_embeddings": bool(text.get("tie_word_embeddings", False)),
        "num_sliding_layers": shape.num_sliding_layers,
        "sliding_window": shape.sliding_window,
        **{name: getattr(shape, name) for name in SUMS},
    }


def _read(path: str) -> Mapping[str, Any]:
    file = FilePath(path)
    file = file / "config.json" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"models check: {file} is missing; give a config.json or a model's folder")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"models check: {file} is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"models check: {file} is no config.json: it holds no keys")
    return config


def _line(key: str, ours: object, theirs: object) -> str:
    mark = "  differs" if _differs(ours, theirs) else ""
    return f"{key:<30}{_word(ours):>20}{_word(theirs):>20}{mark}"


def _differs(ours: object, theirs: object) -> bool:
    """What a config.json leaves out to its class differs from nothing."""
    return ours != theirs and theirs is not None


def _word(value: object) -> str:
    if value is None:
        return "-"
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if is_count else str(value)
