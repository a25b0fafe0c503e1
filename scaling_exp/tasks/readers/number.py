"""A number, as GSM8K asks for: after `####`, where the text says what the answer is, in a box, else the last one."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.tasks.answers import canonical, number
from scaling_exp.tasks.readers.places import announced, boxed, last, marked, numbers


@dataclass(frozen=True)
class NumberReader:
    """Reads one plain number in canonical form. A percent sign and a unit are not part of it."""

    def read(self, text: str) -> str | None:
        for find in (marked, announced, boxed):
            found = find(text)
            value = _value(found) if found else None
            if value:
                return value
        found = last(numbers(text))
        return canonical(found) if found else None


def _value(said: str) -> str | None:
    """The number that a phrase is or ends a calculation with, else the first in it."""
    form = canonical(said).removesuffix(r"\%")
    if number(form) is not None:
        return form
    result = said.rpartition("=")[2]
    return next(map(canonical, numbers(result)), None)
