"""Precision: in what a model's weights are kept and multiplied, from its config.json and what an engine was told.

It decides what is drawn, and what a token makes a machine read; FLOPs stay what they are. It knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scaling_exp.types import Architecture, UserError

Config = Mapping[str, Any]
Arithmetic = Literal["float8", "float4"]

ALIASES: Mapping[str, str] = {"half": "float16", "float": "float32"}
DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Quantization:
    """Bits of a quantised weight, its share of the scales among them; None where the files alone could tell.

    `arithmetic` is that of the matrix products where activations are quantised too; None: weights are unpacked first.
    """

    bits: float | None
    arithmetic: Arithmetic | None = None


_FLOAT8 = Quantization(8, "float8")

WHILE_LOADING: Mapping[str, Quantization] = {
    "fp8": _FLOAT8,
    "fp8_per_tensor": _FLOAT8,
    "fp8_per_channel": _FLOAT8,
    "fp8_per_block": _FLOAT8,
    "mxfp8": Quantization(8.25, "float8"),
    "nvfp4_per_token": Quantization(4.5, "float4"),
    "int8_per_channel_weight_only": Quantization(8),
    "bitsandbytes": Quantization(4.5),
}
"""What vLLM can make of plain weights. Blocks of 32 (mx), 16 (nvfp4) and 64 numbers (nf4) have 8, 8 and 32 bits of
scale."""


def stored_dtype(config: Config) -> str | None:
    """The dtype that config.json says its weights are in; of quantised ones, that of their activations."""
    name = config.get("dtype") or config.get("torch_dtype")
    return None if name is None else plain_name(str(name).removeprefix("torch."))


def plain_name(dtype: str) -> str:
    """One name for a dtype that has several."""
    return ALIASES.get(dtype, dtype)


def stored_quantization(config: Config) -> str | None:
    """The method by which the weights were quantised before they were saved; None for plain ones."""
    made = config.get("quantization_config")
    return str(made["quant_method"]) if made and made.get("quant_method") else None


def quantization_of(config: Config, told: str | None) -> Quantization | None:
    """How the weights are quantised when an engine holds them; None where they are not.

    `told` is what the engine was told; of a quantised checkpoint it only names the kernels. Raises UserError for plain
    weights when vLLM does not quantise so while it loads.
    """
    if stored_quantization(config) is not None:
        return _as_saved(config["quantization_config"])
    if told is None:
        return None
    if told not in WHILE_LOADING:
        raise UserError(
            f"quantization is {told}, and the weights are plain: of those {', '.join(WHILE_LOADING)} can be made while"
            " they load; take a checkpoint that is quantised already, or set engine.quantization=null"
        )
    return WHILE_LOADING[told]


def _as_saved(made: Config) -> Quantization:
    method = str(made["quant_method"]).lower()
    if "mxfp4" in method:
        return Quantization(4.25)
    if method == "compressed-tensors":
        return _compressed(made)
    if method == "modelopt":
        algorithm = str(made.get("quant_algo") or made.get("quantization", {}).get("quant_algo"))
        return {"FP8": _FLOAT8, "NVFP4": Quantization(4.5, "float4")}.get(
            algorithm, Quantization(None)
        )
    if "fp8" in method:
        return _FLOAT8
    if method == "bitsandbytes":
        return Quantization(4.5 if made.get("load_in_4bit") else 8)
    bits = made.get("bits") or made.get("w_bit")
    return Quantization(None if bits is None else _with_scales(bits, made.get("group_size")))


def _compressed(made: Config) -> Quantization:
    """llm-compressor's own description: groups of layers, of which the first speaks for all."""
    group = next(iter((made.get("config_groups") or {}).values()), {})
    weights, activations = group.get("weights") or {}, group.get("input_activations")
    bits = weights.get("num_bits")
    if bits is None:
        return Quantization(None)
    is_float = weights.get("type") == "float" and activations
    arithmetic: Mapping[int, Arithmetic] = {8: "float8", 4: "float4"}
    return Quantization(
        _with_scales(bits, weights.get("group_size")), arithmetic.get(bits) if is_float else None
    )


def _with_scales(bits: float, group_size: int | None) -> float:
    """A 16-bit scale for each group of weights; a group of -1 is a whole column, whose scale is lost among so many."""
    return bits + (16 / group_size if group_size and group_size > 0 else 0)


def bytes_per_parameter(
    quantization: Quantization, shape: Architecture, num_bytes: int | None
) -> float | None:
    """Mean over all weights, from the size of their files where it is given; None where not even the bits are known.

    By bits: embeddings and the output layer stay in 16.
    """
    if num_bytes is not None:
        return num_bytes / shape.num_parameters
    if quantization.bits is None:
        return None
    inside = shape.num_non_embedding_parameters
    outside = shape.num_parameters - inside
    return (inside * quantization.bits / 8 + outside * 2) / shape.num_parameters
