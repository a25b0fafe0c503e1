"""The last line that is not empty, as it stands: what a chain of thought ends with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LastLineReader:
    """Reads the last line, without the blanks around it."""

    def read(self, text: str) -> str | None:
        return text.rstrip().rpartition("\n")[2].strip() or None
