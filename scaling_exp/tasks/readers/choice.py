"""The letter of a choice, as GPQA and MMLU-Pro ask for: boxed, announced, else the last one that stands alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from string import ascii_uppercase

from scaling_exp.tasks.readers.places import boxed, last


@dataclass(frozen=True)
class ChoiceReader:
    """Reads one of the first `num_choices` letters."""

    num_choices: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.num_choices <= len(ascii_uppercase):
            raise ValueError(f"num_choices is {self.num_choices}; it must be 2 to 26")

    def read(self, text: str) -> str | None:
        letter, announced, alone = _patterns(ascii_uppercase[: self.num_choices])
        found = letter.match(boxed(text) or "") or (
            last(announced.finditer(text)) or last(alone.finditer(text))
        )
        return found[1] if found else None


@cache
def _patterns(letters: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """At the head of a box; after `answer is` or `Answer:`; anywhere, but no article and no pronoun."""
    # Possessive: a run of blanks is not shared out in every way before a text that names no letter is given up.
    opening = r"[\s*$({\[]*+(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{[\s(]*)?"
    letter = rf"{opening}([{letters}])(?![A-Za-z0-9'’])"
    announced = rf"(?i:\banswer\b[^.:=\n]{{0,60}}?(?:\bis\b|:|=)[\s:*]*+(?:option|choice)?){letter}(?!\s+[a-z])"
    alone = rf"(?<![A-Za-z0-9'’\\])([{letters}])(?![A-Za-z0-9'’])(?!(?<=[AI])\s+[a-z])"
    return re.compile(letter), re.compile(announced), re.compile(alone)
