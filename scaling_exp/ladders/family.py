"""Open models by their names in the registry: their finished weights, or checkpoints along their pre-training.

It knows which weights, and what they consumed; not how they are fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from scaling_exp.models import Model
from scaling_exp.models.checkpoints import FINISHED
from scaling_exp.models.registry import Entry, get
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Family:
    """Every name, at every checkpoint (none: the finished weights). `folder` holds local copies, one folder a model."""

    names: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()
    folder: str | None = None
    dtype: str | None = None
    quantization: str | None = None

    def rungs(self) -> tuple[Model, ...]:
        """In the order of names and checkpoints.

        Raises UserError for a name or a checkpoint that is not known, and for weights that `folder` lacks.
        """
        if not self.names:
            raise UserError(
                "ladder.names is empty; name models of the registry, which `models` lists"
            )
        models = tuple(self._placed(each) for name in self.names for each in self._named(name))
        name, count = Counter(each.name for each in models).most_common(1)[0]
        if count > 1:
            raise UserError(f"ladder.names and ladder.checkpoints have {name} twice")
        return models

    def _named(self, name: str) -> Iterator[Model]:
        """One model of the registry, at each checkpoint, on the Hub."""
        entry = get(name)
        finished = Model(
            entry.name,
            entry.hub_id,
            entry.pretraining_tokens,
            unique_tokens=entry.unique_tokens,
            revision=entry.revision,
            family=entry.family,
            is_distilled=entry.is_distilled is True,
            dtype=self.dtype,
            quantization=self.quantization,
        )
        for asked in self.checkpoints or (FINISHED,):
            yield finished if asked == FINISHED else _at_checkpoint(finished, entry, asked)

    def _placed(self, model: Model) -> Model:
        return local_copy(model, self.folder) if self.folder else model


def _at_checkpoint(finished: Model, entry: Entry, asked: str) -> Model:
    if entry.checkpoints is None:
        raise UserError(
            f"ladder.checkpoints: none are known of {entry.name}; its revisions can stand in ladder=models,"
            " each with its pretraining_tokens"
        )
    checkpoint = entry.checkpoints.find(asked)
    if not checkpoint.tokens:
        raise UserError(
            f"ladder.checkpoints: {asked} of {entry.name} has seen no token, so there is nothing to trade; leave"
            " it out"
        )
    is_repeated = (entry.unique_tokens or checkpoint.tokens) < checkpoint.tokens
    return replace(
        finished,
        name=f"{entry.name}-step{checkpoint.step}",
        pretraining_tokens=checkpoint.tokens,
        unique_tokens=entry.unique_tokens if is_repeated else None,
        revision=checkpoint.revision,
    )


def local_copy(model: Model, folder: str) -> Model:
    """The same model in a folder of local copies, under its name or, of the main branch, under the Hub's.

    Raises UserError, with the command that fetches it, when neither is there.
    """
    places = [FilePath(folder) / model.name]
    if model.revision is None:
        places.append(FilePath(folder) / model.path.rpartition("/")[2])
    found = next((each for each in places if each.is_dir()), None)
    if found is None:
        revision = f" --revision {model.revision}" if model.revision else ""
        raise UserError(
            f"ladder.folder: {places[0]} is missing; fetch it where there is a network:"
            f" hf download {model.path}{revision} --local-dir {places[0]}"
        )
    return replace(model, path=str(found.resolve()), revision=None)
