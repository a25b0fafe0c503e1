"""A ladder of small Llama models trained from scratch, so that N, D, FLOPs and loss are known exactly.

The recipe is a frozen value; its hash names the ladder. Training is Hugging Face's `Trainer` on rows made by the task;
nothing here knows Ray or the store. torch and transformers are imported where they are used:
reading a manifest needs neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scaling_exp.types import UserError


@runtime_checkable
class Corpus(Protocol):
    """What a ladder is trained on: rows of prompt and solution, in named levels of one row length each."""

    @property
    def levels(self) -> Mapping[str, object]: ...

    def vocabulary(self) -> tuple[str, ...]:
        """Every word; a word's position is its token id."""
        ...

    def prompt_tokens(self, level: str) -> int:
        """Tokens of a prompt, with which a row begins."""
        ...

    def row_tokens(self, level: str) -> int:
        """Tokens of a row: prompt and solution."""
        ...

    def rows(
        self, level: str, num_rows: int, rng: np.random.Generator, *, held_out: bool
    ) -> np.ndarray:
        """Token ids, (num_rows, row_tokens); held-out rows are never among the others."""
        ...


@dataclass(frozen=True)
class Size:
    """One rung: a width and the learning rate that suits it."""

    hidden_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.hidden_size < 8 or self.hidden_size % 8:
            raise ValueError(f"hidden_size is {self.hidden_size}; it must be a multiple of 8")


@dataclass(frozen=True)
class Recipe:
    """All that decides a ladder. Sizes differ in width and learning rate only; all see the same tokens in one order."""

    name: str
    seed: int
    sizes: dict[str, Size]
    corpus: Corpus
    tokens: int
    """D: pre-training tokens of the last checkpoint, prompts included."""
    checkpoints: tuple[float, ...]
    """Shares of `tokens` at which weights are kept; the last is 1."""
    num_layers: int
    head_dim: int
    intermediate_ratio: int
    batch_rows: int
    warmup_share: float
    decay_share: float
    held_out_rows: int
    caps: tuple[int, ...] = ()
    """Sizes U of a corpus, in tokens, that is read again, reshuffled, once it is exhausted. Each is trained on beside
    the endless corpus, in which every row is new."""
    own_schedules: bool = False
    """Every checkpoint is a run of its own whose learning rate decays to its end (Hoffmann et al. 2022, arXiv
    2203.15556, appendix B: else early ones look worse than they are); False: they are of one run."""

    def __post_init__(self) -> None:
        if list(self.caps) != sorted(set(self.caps)) or any(cap < 1 for cap in self.caps):
            raise ValueError(f"caps is {self.caps}; numbers of tokens must be positive and rise")
        if list(self.checkpoints) != sorted(set(self.checkpoints)) or self.checkpoints[-1] != 1:
            raise ValueError(f"checkpoints is {self.checkpoints}; shares must rise and end at 1")
        if self.checkpoints[0] <= 0:
            raise ValueError(f"checkpoints is {self.checkpoints}; shares must be above 0")
        if not 0 <= self.warmup_share + self.decay_share <= 1:
            raise ValueError("warmup_share + decay_share must be at most 1")

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain values; one at its default is left out, so that a new field renames no ladder."""
        defaults = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    @property
    def hash(self) -> str:
        """Identifies the recipe: 16 hexadecimal digits over every field that is not at its default."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """One point of the (N, D) grid, as the manifest records it."""

    name: str
    """Also its folder beside the manifest."""
    size: str
    num_parameters: int
    num_non_embedding_parameters: int
    tokens: int
    steps: int
    pretraining_flops: float
    """6ND with N = all parameters."""
    held_out_loss: float
    """Mean cross-entropy on held-out solutions, nats a token, of the weights as stored."""
    seed: int
    train_seconds: float
    unique_tokens: int | None = None
    """Tokens of the corpus before it was repeated; None when each was seen once."""


MANIFEST = "ladder.json"
KEYS = ("hash", "recipe", "checkpoints")
"""What is read of it."""


def write_manifest(folder: FilePath, recipe: Recipe, checkpoints: Sequence[Checkpoint]) -> FilePath:
    """Write what is known of a ladder beside its weights, smallest first."""
    ordered = sorted(
        checkpoints,
        key=lambda each: (each.num_parameters, each.tokens, each.unique_tokens or each.tokens),
    )
    file = folder / MANIFEST
    manifest = {
        "name": recipe.name,
        "hash": recipe.hash,
        "recipe": recipe.to_dict(),
        "checkpoints": [asdict(checkpoint) for checkpoint in ordered],
    }
    file.write_text(json.dumps(manifest, indent=1) + "\n")
    return file


def read_manifest(folder: FilePath) -> dict:
    """Raises UserError when there is no ladder in `folder`, or its manifest cannot be read."""
    file = folder / MANIFEST
    if not file.is_file():
        raise UserError(
            f"{folder} holds no ladder ({MANIFEST} is missing); make one with `pretrain`"
        )
    try:
        manifest = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= set(KEYS):
        raise UserError(f"{file} is no ladder's manifest: it lacks one of {', '.join(KEYS)}")
    return manifest


def manifest_checkpoints(folder: FilePath) -> tuple[Checkpoint, ...]:
    """Every checkpoint of a ladder, smallest first. Raises UserError when there is none, or one lacks something."""
    entries = read_manifest(folder)["checkpoints"]
    if not entries:
        raise UserError(f"{folder / MANIFEST} names no checkpoints; make them with `pretrain`")
    try:
        return tuple(Checkpoint(**entry) for entry in entries)
    except TypeError as error:
        raise UserError(f"{folder / MANIFEST} describes a checkpoint wrongly: {error}") from error


def train_size(recipe: Recipe, size_name: str, folder: FilePath) -> list[Checkpoint]:
    """Train one size; a subfolder and a record for each checkpoint. Imports torch and transformers."""
    from scaling_exp.pretraining.train import train

    return train(recipe, size_name, folder)
