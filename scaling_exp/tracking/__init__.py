"""Tracking: what a run shows of itself, live and when it is done, in W&B or TensorBoard. Never the source of anything.

shown.py                   what is shown, as plain data, and the interface of a tracker
metrics.py                 the names of all that is logged
pulse.py cards.py          a run while it draws, and a finished one, as such data
view.py aside.py           the run's side: a tracker works in a process of its own, and costs a warning at most
weights_and_biases.py tensorboard.py    trackers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scaling_exp.tracking.shown import Card, Content, Point, Tracker
from scaling_exp.tracking.tensorboard import TensorBoard
from scaling_exp.tracking.weights_and_biases import WeightsAndBiases

__all__ = ["TRACKERS", "Disabled", "TensorBoard", "Tracker", "WeightsAndBiases"]


@dataclass(frozen=True)
class Disabled:
    """Shows nothing; no process is started for it."""

    def open(self, card: Card, folder: str) -> Disabled:  # noqa: ARG002 - the interface of a tracker
        return self

    def add(self, point: Point) -> None:
        pass

    def finish(self, content: Content) -> None:
        pass


TRACKERS: Mapping[str, type] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
    "disabled": Disabled,
}
