"""A ladder that was trained here: a folder of weights with a manifest of what each consumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from scaling_exp.models import Model
from scaling_exp.pretraining import manifest_checkpoints
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Trained:
    """Models that differ in pre-training only. `recipe` made the weights in `path`; a run does not read it."""

    name: str
    path: str
    include: Literal["last", "all"]
    recipe: dict[str, Any]
    sizes: tuple[str, ...] | None = None
    """Those to take; None: all."""

    def rungs(self) -> tuple[Model, ...]:
        """One model a size, or one a checkpoint. Raises UserError when `path` holds no ladder, or lacks a size."""
        folder = FilePath(self.path)
        checkpoints = manifest_checkpoints(folder)
        last = {each.size: each.name for each in checkpoints}
        for size in self.sizes or ():
            if size not in last:
                raise UserError(f"ladder.sizes has {size}; the ladder has {', '.join(last)}")
        return tuple(
            Model(
                name=each.size if self.include == "last" else each.name,
                path=str((folder / each.name).resolve()),
                pretraining_tokens=each.tokens,
                unique_tokens=each.unique_tokens,
                pretraining_loss=each.held_out_loss,
            )
            for each in checkpoints
            if (self.include == "all" or last[each.size] == each.name)
            and (self.sizes is None or each.size in self.sizes)
        )
