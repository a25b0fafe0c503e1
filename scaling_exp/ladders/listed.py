"""Models that a user lists: folders, or ids of the Hub, with what is known of their pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scaling_exp.ladders.family import local_copy
from scaling_exp.models import Model
from scaling_exp.models.registry import entries
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Weights:
    """Where one model is. Without `pretraining_tokens`, D, it takes part in no trade."""

    path: str
    pretraining_tokens: int | None = None
    """D, with repetitions. That of a finished model on the Hub that the registry knows need not be said."""
    unique_tokens: int | None = None
    pretraining_loss: float | None = None
    revision: str | None = None
    family: str | None = None
    is_distilled: bool | None = None
    dtype: str | None = None
    quantization: str | None = None

    def model(self, name: str) -> Model:
        said = vars(self._from_registry())
        return Model(name, **{key: value for key, value in said.items() if value is not None})

    def _from_registry(self) -> Weights:
        """With what the registry knows of exactly this id of the Hub, where nothing else is said. Another revision may
        be another training."""
        entry = next((each for each in entries() if each.hub_id == self.path), None)
        if entry is None or self.revision is not None:
            return self
        known = replace(
            self,
            family=entry.family if self.family is None else self.family,
            is_distilled=entry.is_distilled if self.is_distilled is None else self.is_distilled,
        )
        if self.pretraining_tokens is not None:
            return known
        return replace(
            known,
            pretraining_tokens=entry.pretraining_tokens,
            unique_tokens=self.unique_tokens or entry.unique_tokens,
        )


@dataclass(frozen=True)
class Listed:
    """Name -> where the model is. `folder` holds local copies of those on the Hub, one folder a model."""

    models: Mapping[str, Weights] = field(default_factory=dict)
    folder: str | None = None

    def rungs(self) -> tuple[Model, ...]:
        """In the order of the list. Raises UserError when it is empty."""
        if not self.models:
            raise UserError(
                "ladder.models is empty; add each with +ladder.models.NAME.path=FOLDER_OR_HUB_ID and"
                " +ladder.models.NAME.pretraining_tokens=D"
            )
        listed = [weights.model(name) for name, weights in self.models.items()]
        if self.folder is None:
            return tuple(listed)
        return tuple(local_copy(m, self.folder) if m.is_on_hub else m for m in listed)
