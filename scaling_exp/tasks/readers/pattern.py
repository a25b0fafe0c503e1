"""What the last match of a user's regular expression holds, in time linear in the text.

RE2 matches without backtracking, so no completion can stall the engine beside which it is read; it has no
look-around and no back-references.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import re2

from scaling_exp.tasks.answers import canonical
from scaling_exp.tasks.readers.places import last

MAX_CHARS = 100_000
"""The end of a completion that is searched: so many matches cost at most a second."""


class Match(Protocol):
    """One match; its first group may have no part in it."""

    def __getitem__(self, group: int) -> str | None: ...


class Compiled(Protocol):
    """What is needed of RE2, which has no types of its own."""

    @property
    def groups(self) -> int: ...

    def finditer(self, text: str) -> Iterable[Match]: ...


@dataclass(frozen=True)
class PatternReader:
    """Reads the one group of `pattern` where it last matches, as text with single blanks or in mathematical form."""

    pattern: str
    form: Literal["text", "math"] = "text"

    def __post_init__(self) -> None:
        try:
            num_groups = _compiled(self.pattern).groups
        except re2.error as error:
            raise ValueError(f"pattern is {self.pattern!r}: RE2 says {_reason(error)}") from None
        if num_groups != 1:
            raise ValueError(
                f"pattern has {num_groups} groups; it must have one, (...), around the answer"
            )

    def read(self, text: str) -> str | None:
        match = last(_compiled(self.pattern).finditer(text[-MAX_CHARS:]))
        found = match[1] if match else None
        if not found:
            return None
        return (canonical(found) if self.form == "math" else " ".join(found.split())) or None


@cache
def _compiled(pattern: str) -> Compiled:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _reason(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode() if isinstance(reason, bytes) else str(reason)
