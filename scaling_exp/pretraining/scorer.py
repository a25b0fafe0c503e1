"""A small process reward model, trained from the graded draws of a ladder: what it is made of and what is known of it.

It is a causal language model of the ladder's own words. After the solution so far, its next word is one of two labels
with the probability that the finished answer will be right or wrong: a value function learnt from outcomes alone (OVM:
Yu et al. 2023, arXiv 2311.09724). torch is imported where it is used: reading a manifest needs none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import isnan
from pathlib import Path as FilePath
from typing import Any, Protocol, runtime_checkable

from scaling_exp.pretraining import Corpus
from scaling_exp.pretraining.calibration import Bin, Quality, Selection
from scaling_exp.types import Problem, UserError

SCORER_MANIFEST = "scorer.json"


@runtime_checkable
class GradedCorpus(Corpus, Protocol):
    """A corpus that can also tell what an answer is, and has problems that are not among its rows."""

    def problems(self) -> Sequence[Problem]:
        """Held-out problems, on which a scorer is judged."""
        ...

    def read(self, text: str) -> str | None:
        """The answer that a solution gives; None when it gives none."""
        ...


@dataclass(frozen=True)
class ScorerRecipe:
    """All that decides a scorer, but for the weights of the ladder, which the hash of their recipe stands for."""

    name: str
    seed: int
    ladder: str
    """Hash of the recipe of the ladder."""
    corpus: GradedCorpus
    good: str
    bad: str
    step_end: str
    """A regular expression of the words that end a step."""
    base: str
    """The size of the ladder from whose last checkpoint it starts."""
    extra_layers: int
    """Layers put on top of the base's. It has to compare each word with what the base expected there, and the base
    tells that only at its last layer."""
    generators: tuple[str, ...]
    """Sizes that draw the solutions it learns from."""
    num_draws: int
    """Solutions of each generator at each level, one a problem, at temperature 1."""
    max_tokens: int
    epochs: int
    batch_rows: int
    learning_rate: float
    warmup_share: float
    decay_share: float
    language_weight: float
    """Of the language model's own loss on right solutions beside the loss of the labels (Cobbe et al. 2021, arXiv
    2110.14168, section 4.2)."""
    judged: tuple[str, ...]
    """Sizes on whose answers to the held-out problems it is judged."""
    num_samples: int
    """Answers of each of them to each problem."""

    def __post_init__(self) -> None:
        words = self.corpus.vocabulary()
        for name, word in (("good", self.good), ("bad", self.bad)):
            if word not in words:
                raise ValueError(f"{name} is {word!r}; it must be a word of the ladder")
        if not any(re.fullmatch(self.step_end, word) for word in words):
            raise ValueError(f"step_end is {self.step_end!r}; no word of the ladder matches it")

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain values."""
        return asdict(self)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over every field."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Scorer:
    """A trained scorer, as its manifest records it."""

    num_parameters: int
    tokens: int
    """Of its training, prompts included; with repetitions."""
    steps: int
    training_flops: float
    """6ND with N = all parameters."""
    base_flops: float
    """Of the pre-training of the checkpoint that it starts from."""
    drawn_tokens: int
    """Of the solutions that it learns from, prompts included."""
    drawing_flops: float
    """Of drawing them: 2N a token of each generator."""
    share_correct: float
    """Of those solutions."""
    weights: str
    """SHA-256 of the weights as stored, 16 hexadecimal digits."""
    train_seconds: float
    """Of everything: drawing, training, judging."""
    qualities: tuple[Quality, ...]
    """On held-out problems."""
    reliability: tuple[Bin, ...]
    """Of all steps of all generators together."""
    selections: tuple[Selection, ...]

    def lines(self) -> list[str]:
        """What a user wants to know of it, as text."""
        return [
            f"N {self.num_parameters:,}  D {self.tokens:,}  {self.training_flops:.2e} FLOPs, and"
            f" {self.base_flops:.2e} for its base and {self.drawing_flops:.2e} for what it learnt from"
            f"  {self.train_seconds:.0f} s",
            f"{'scores':<24}{'number':>8}{'right':>8}{'AUC':>8}{'within':>8}{'Brier':>8}{'ECE':>8}",
            *(
                f"{each.scores:<24}{each.num_scores:>8}{each.share_correct:>8.3f}{each.auc:>8.3f}"
                f"{each.auc_within:>8.3f}{each.brier:>8.3f}{each.calibration_error:>8.3f}"
                for each in self.qualities
            ),
            f"{'score':<16}{'number':>8}{'mean':>8}{'right':>8}",
            *(
                f"{each.low:.1f} to {each.low + 0.1:.1f}{'':<6}{each.num_scores:>8}"
                f"{each.mean_score:>8.3f}{each.share_correct:>8.3f}"
                for each in self.reliability
            ),
            f"{'generator':<10}{'N':>4}{'first':>9}{'majority':>9}{'best last':>10}{'best min':>9}"
            f"{'vote last':>10}{'vote min':>9}{'oracle':>8}",
            *(
                f"{each.generator:<10}{each.num_samples:>4}{each.first:>9.3f}{each.majority:>9.3f}"
                f"{each.best_last:>10.3f}{each.best_min:>9.3f}{each.weighted_last:>10.3f}"
                f"{each.weighted_min:>9.3f}{each.any_correct:>8.3f}"
                for each in self.selections
            ),
        ]


def write_scorer_manifest(folder: FilePath, recipe: ScorerRecipe, scorer: Scorer) -> FilePath:
    """Write what is known of a scorer beside its weights."""
    file = folder / SCORER_MANIFEST
    manifest = {
        "name": recipe.name,
        "hash": recipe.hash,
        "recipe": recipe.to_dict(),
        "scorer": _known(asdict(scorer)),
    }
    file.write_text(json.dumps(manifest, indent=1) + "\n")
    return file


def _known(value: Any) -> Any:
    """JSON has no NaN: what is not defined is null. Numbers to six digits."""
    if isinstance(value, dict):
        return {key: _known(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    if isinstance(value, float):
        return None if isnan(value) else float(f"{value:.6g}")
    return value


def read_scorer_manifest(folder: FilePath) -> dict:
    """Raises UserError when there is no scorer in `folder`."""
    file = folder / SCORER_MANIFEST
    if not file.is_file():
        raise UserError(
            f"{folder} holds no scorer ({SCORER_MANIFEST} is missing); make one with `pretrain`"
        )
    return json.loads(file.read_text())


def train_scorer(recipe: ScorerRecipe, ladder: FilePath, folder: FilePath) -> Scorer:
    """Draw, train and judge; weights, tokenizer and manifest into `folder`. Imports torch and transformers."""
    from scaling_exp.pretraining.train_scorer import train

    return train(recipe, ladder, folder)
