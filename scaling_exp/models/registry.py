"""Facts of open models that travel with the package, each with its source.

`registry.csv` has a row for a model, `shapes.csv` the widths and depths that several share, `checkpoints.csv` the
weights that were kept along a pre-training, `sources.csv` what the sources are: `read` when the text was at hand,
`cited` when it was found in another's table, `recalled` when it was written down from memory. A fact that nobody says
is empty: no number stands in for it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal, get_args

from scaling_exp.models.architecture import architecture_of
from scaling_exp.models.checkpoints import Checkpoints
from scaling_exp.types import Architecture, UserError

Basis = Literal["read", "cited", "recalled"]
PostTraining = Literal["base", "instruct", "reasoning"]
BASES: Mapping[str, Basis] = {each: each for each in get_args(Basis)}
POST_TRAININGS: Mapping[str, PostTraining] = {each: each for each in get_args(PostTraining)}
TUNED = ("-instruct", "-chat", "-it")
"""Endings of models that were trained on a little more; without an entry the facts are those of the model below."""
PLAIN = ("-hf", "-base")
Row = Mapping[str, str]
DISTILLED = {"true": True, "false": False, "": None}


@dataclass(frozen=True)
class Source:
    """Where a fact is from."""

    basis: Basis
    text: str

    def __str__(self) -> str:
        return self.text if self.basis == "read" else f"{self.text} ({self.basis})"


@dataclass(frozen=True)
class Entry:
    """One model. None, or an empty text, is a fact that is not known."""

    name: str
    hub_id: str
    revision: str | None
    aliases: tuple[str, ...]
    family: str
    """Models of one family differ in size and data only; a variant has its family's name in front of its own."""
    shapes: Mapping[str, Any]
    """Keys and values as in a config.json."""
    post_training: PostTraining
    is_distilled: bool | None
    """Pruned or distilled from a larger model, as its authors say."""
    base_model: str
    """Name of the entry that it was made from."""
    pretraining_tokens: int | None
    unique_tokens: int | None
    licence: str
    context: int | None
    """Longest sequence, in tokens."""
    published_parameters: int | None
    sources: Mapping[str, Source]
    checkpoints: Checkpoints | None

    @cached_property
    def architecture(self) -> Architecture:
        """Exact sums over the weights' shapes."""
        return architecture_of(self.shapes)

    @property
    def pretraining_flops(self) -> float | None:
        """6ND; None while D is not known."""
        if self.pretraining_tokens is None:
            return None
        return 6.0 * self.architecture.num_parameters * self.pretraining_tokens


def entries() -> tuple[Entry, ...]:
    """Every model, in the order of the file: by family, then by size."""
    return _entries()


def find(name: str) -> Entry | None:
    """The entry of a model under any of its usual names: with its publisher, its format, or how it was tuned in it.

    None when there is none; a model is not guessed.
    """
    index = _index()
    if found := index.get(_spelt(name)):
        return found
    return index.get(plain_name(name))


def get(name: str) -> Entry:
    """The entry of exactly this model. Raises UserError with the nearest name."""
    if found := _index().get(_spelt(name)):
        return found
    near = get_close_matches(_spelt(name), _index(), n=1, cutoff=0.5)
    hint = f"did you mean {_index()[near[0]].name}?" if near else "`models` lists them"
    raise UserError(f"the registry has no model {name!r}; {hint}")


def plain_name(name: str) -> str:
    """A model's name without who published it, in which format, or how it was tuned."""
    plain = _spelt(name)
    for ending in (*PLAIN, *TUNED):
        plain = plain.removesuffix(ending)
    return plain


def _spelt(name: str) -> str:
    """A name without who published it, in one spelling."""
    return re.sub(r"[\s_]+", "-", name.strip().rpartition("/")[2].lower()).removeprefix("meta-")


@cache
def _index() -> Mapping[str, Entry]:
    return {
        _spelt(name): entry
        for entry in _entries()
        for name in (*entry.aliases, entry.hub_id, entry.name)
    }


@cache
def _entries() -> tuple[Entry, ...]:
    shapes = {row["shape"]: row for row in _rows("shapes")}
    sources = {row["source"]: _source(row) for row in _rows("sources")}
    kept = {row["model"]: row for row in _rows("checkpoints")}
    return tuple(
        _entry(row, shapes[row["shape"]], sources, kept.get(row["name"]))
        for row in _rows("registry")
    )


def _source(row: Row) -> Source:
    return Source(BASES[row["basis"]], row["text"])


def _entry(row: Row, shape: Row, sources: Mapping[str, Source], kept: Row | None) -> Entry:
    return Entry(
        name=row["name"],
        hub_id=row["hub_id"],
        revision=row["revision"] or None,
        aliases=tuple(filter(None, row["aliases"].split(";"))),
        family=row["family"],
        shapes=_config(shape),
        post_training=POST_TRAININGS[row["post_training"]],
        is_distilled=DISTILLED[row["is_distilled"]],
        base_model=row["base_model"],
        pretraining_tokens=_whole(row["pretraining_tokens"]),
        unique_tokens=_whole(row["unique_tokens"]),
        licence=row["licence"],
        context=_whole(row["context"]),
        published_parameters=_whole(shape["published_parameters"]),
        sources={fact: sources[key] for fact, key in _source_keys(row, shape, kept) if key},
        checkpoints=_checkpoints(kept) if kept else None,
    )


def _source_keys(row: Row, shape: Row, kept: Row | None) -> Sequence[tuple[str, str]]:
    """Which source each fact has; those of a model card's head are from one."""
    card = ("hub_id", "family", "post_training", "base_model")
    own = ("is_distilled", "pretraining_tokens", "unique_tokens", "licence", "context")
    return [
        *((fact, row["card_source"]) for fact in card if row[fact]),
        *((fact, row[f"{fact}_source"]) for fact in own),
        ("shapes", shape["source"]),
        ("checkpoints", kept["source"] if kept else ""),
    ]


def _config(shape: Row) -> Mapping[str, Any]:
    numbers = {
        key: int(value)
        for key, value in shape.items()
        if value.isdecimal() and key != "published_parameters"
    }
    is_tied = shape["tie_word_embeddings"] == "true"
    return {"model_type": shape["model_type"], **numbers, "tie_word_embeddings": is_tied}


def _checkpoints(kept: Row) -> Checkpoints:
    return Checkpoints.read(
        kept["model"], kept["revision"], int(kept["tokens_per_step"]), kept["steps"]
    )


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _rows(name: str) -> list[Row]:
    text = (files("scaling_exp.models") / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
