"""Finding the answer in a completion. `kind:` chooses from `READERS`."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Reader(Protocol):
    """Where an answer stands, and its canonical form, in which equal answers are equal text. Frozen and picklable."""

    def read(self, text: str) -> str | None:
        """The answer, in time linear in the text; None when there is none."""
        ...


READERS: dict[str, type] = {}

__all__ = ["READERS", "Reader"]
