"""Where the rows of a task come from. `kind:` chooses from `SOURCES`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.sources.countdown import CountdownPuzzles
from scaling_exp.tasks.sources.dataset import DataSet
from scaling_exp.tasks.sources.reasoning_gym import ReasoningGym


@runtime_checkable
class Source(Protocol):
    """Rows of questions. Frozen and picklable."""

    def rows(self) -> Sequence[Row]:
        """All rows, always the same for the same configuration. Raises UserError when they cannot be had."""
        ...


SOURCES: dict[str, type] = {
    "dataset": DataSet,
    "countdown": CountdownPuzzles,
    "reasoning_gym": ReasoningGym,
}

__all__ = ["SOURCES", "CountdownPuzzles", "DataSet", "Source"]
