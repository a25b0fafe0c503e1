"""What is known of the models in a file: from its columns, else from the registry of open models.

A fact that neither says is not known, and no number stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from scaling_exp.imports.cells import Cells
from scaling_exp.imports.meanings import FACTS
from scaling_exp.models.registry import find
from scaling_exp.types import Architecture, ModelFacts, UserError

MOST_TOKENS_PER_PARAMETER = 1e5
"""More than any model has seen so far: rather a unit that was taken wrong."""


@dataclass(frozen=True)
class Described:
    """One model, as far as it is known. `origin` says where its size and its tokens come from."""

    name: str
    architecture: Architecture | None
    pretraining_tokens: int | None
    unique_tokens: int | None
    pretraining_loss: float | None
    family: str
    is_distilled: bool
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether what pre-training took is known."""
        return self.architecture is not None and self.pretraining_tokens is not None

    def record(self) -> dict[str, Any]:
        """For the manifest, as the models of a run are recorded there."""
        recorded = asdict(self)
        if self.architecture is not None and self.pretraining_tokens is not None:
            shape, tokens = self.architecture, self.pretraining_tokens
            recorded["pretraining_flops"] = ModelFacts(self.name, shape, tokens).pretraining_flops
        return recorded


def describe(cells: Cells, models: Sequence[str]) -> list[Described]:
    """The models of a file, in order of name.

    Raises UserError when a file says two things of one model.
    """
    said = _said(cells)
    return [_described(name, said.get(name, {})) for name in sorted(models)]


def _said(cells: Cells) -> dict[str, dict[str, Any]]:
    """Model -> fact -> what the columns say; nothing where they say nothing."""
    names = [name for name in FACTS if name in cells.values]
    columns = {"model": cells.values["model"]} | {name: cells.values[name] for name in names}
    plain = {
        name: each.cast(pa.string()) if pa.types.is_dictionary(each.type) else each
        for name, each in columns.items()
    }
    said: dict[str, dict[str, Any]] = {}
    for row in pa.table(plain).group_by(list(plain)).aggregate([]).to_pylist():
        facts = said.setdefault(row.pop("model"), {})
        for name, value in row.items():
            if value is None:
                continue
            if facts.setdefault(name, value) != value:
                raise UserError(
                    f"a model has two values of {name}, {facts[name]} and {value}: {_whose(said, facts)};"
                    " give each training its own name"
                )
    return said


def _whose(said: Mapping[str, dict[str, Any]], facts: dict[str, Any]) -> str:
    return next(name for name, each in said.items() if each is facts)


def _described(name: str, said: Mapping[str, Any]) -> Described:
    known = find(name)
    origin = {each: "column" for each in ("num_parameters", "pretraining_tokens") if each in said}
    shape = known.architecture if known else None
    if "num_parameters" in said:
        total = said["num_parameters"]
        shape = Architecture.of_size(total, said.get("num_active_parameters", total))
        if "num_non_embedding_parameters" in said:
            rest = said["num_non_embedding_parameters"]
            shape = replace(shape, num_non_embedding_parameters=rest)
    elif known:
        origin["num_parameters"] = f"registry: {known.name}"
    tokens, unique_tokens = said.get("pretraining_tokens"), said.get("unique_tokens")
    if tokens is None and known and known.pretraining_tokens:
        tokens, unique_tokens = known.pretraining_tokens, unique_tokens or known.unique_tokens
        source = known.sources["pretraining_tokens"]
        origin["pretraining_tokens"] = f"registry: {known.name}, {source}"
    return Described(
        name=name,
        architecture=shape,
        pretraining_tokens=tokens or None,
        unique_tokens=unique_tokens,
        pretraining_loss=said.get("pretraining_loss"),
        family=said.get("family") or (known.family if known else ""),
        is_distilled=bool(said.get("is_distilled", known.is_distilled if known else False)),
        origin=origin,
    )


def doubtful(models: Sequence[Described]) -> list[str]:
    """What is hard to believe of the facts."""
    notes = []
    for each in models:
        if each.architecture is None or each.pretraining_tokens is None:
            continue
        ratio = each.pretraining_tokens / each.architecture.num_parameters
        if ratio > MOST_TOKENS_PER_PARAMETER:
            notes.append(
                f"{each.name} is said to have seen {each.pretraining_tokens:.3g} tokens, {ratio:,.0f} a"
                " parameter: check the unit, or leave it out with leave_out"
            )
    small = [
        each.name
        for each in models
        if each.architecture is not None and each.architecture.num_parameters < 1000
    ]
    if small:
        notes.append(
            f"{small[0]} is said to have fewer than 1,000 parameters: for billions say"
            " units.num_parameters=1e9"
        )
    return notes
