"""Mathematical answers: canonical form and exact numbers at once, the rest by math-verify where it can be killed.

math-verify (Hugging Face, with latex2sympy2 and SymPy) has no bounds of its own that would do here: its time limit is
an alarm signal, and an expression can also use up the memory. `grading.Grading` bounds both. Where its leniency would
score a wrong answer, this module decides before it is asked.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version as version_of

from scaling_exp.grading import RIGHT_ANSWER
from scaling_exp.tasks.answers import MAX_CHARS, canonical, is_list, number, percentage
from scaling_exp.types import Grade, Problem

PLACES = 6
"""A decimal with at least so many places may stand for a fraction that has no end: 0.333333 for 1/3."""

_word = re.compile(r"\s*\\(?:text|textbf|mbox|mathrm)\s*\{[A-Za-z ]+\}\s*\.?")
_letters = re.compile(r"[A-Za-z ]+")
_with_base = re.compile(r"-?[0-9A-Z]+_(\d+)")
_value_and_words = re.compile(
    r"(.+?)\s?\\text\{[^{}]*\}(?:\^\d)?|(-?\d+(?:/\d+)?)\s?[A-Za-z]{4,}(?:\s[A-Za-z]+)*"
)
_half_of_day = re.compile(r"(?<![A-Za-z])([ap])\.?\s?m\.?\}?$", re.IGNORECASE)
_clock = re.compile(r"\d{1,2}:[0-5]\d")


@dataclass(frozen=True)
class MathGrader:
    """An answer is right when it equals the gold answer; unparsable when it cannot be read, or not in `seconds`."""

    seconds: float = 5.0
    imports: tuple[str, ...] = field(default=("math_verify",), init=False)
    knows: str = field(default=RIGHT_ANSWER, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"seconds is {self.seconds}; it must be above 0")

    @property
    def version(self) -> str:
        libraries = (
            f"{name} {version_of(name)}" for name in ("math-verify", "latex2sympy2_extended")
        )
        return f"math 1, {', '.join(libraries)}, {self.seconds:g} s"

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        gold = _gold(problem.answer)
        form = canonical(answer)
        if form == gold:
            return Grade("correct")
        if not form:
            return Grade("unparsable", "empty")
        if len(form) > MAX_CHARS:
            return Grade("unparsable", f"longer than {MAX_CHARS} characters")
        is_right = _numbers_agree(gold, form)
        if is_right is None and _differ_surely(problem.answer, gold, form):
            is_right = False
        return None if is_right is None else Grade.of(is_right)

    def slow(self, problem: Problem, answer: str) -> Grade:
        gold = _without_words(_gold(problem.answer))
        form = _without_words(canonical(answer))
        if gold == form or _numbers_agree(gold, form):
            return Grade("correct")
        return _verified(gold, form)


_gold = lru_cache(maxsize=4096)(canonical)


def _numbers_agree(gold: str, answer: str) -> bool | None:
    """Whether two plain numbers are equal; None where one is not a plain number."""
    right, given = number(gold), number(answer)
    right_percent, given_percent = percentage(gold), percentage(answer)
    if right is not None and given is not None:
        return right == given or _is_rounded(right, given)
    if right is not None and given_percent is not None:
        return right in (given_percent, given_percent / 100)
    if right_percent is not None and given is not None:
        return given in (right_percent, right_percent / 100)
    if right_percent is not None and given_percent is not None:
        return right_percent == given_percent
    return None


def _is_rounded(one: Fraction, other: Fraction) -> bool:
    """Whether one is a fraction that has no end as a decimal, and the other is that, cut to enough places."""
    if _num_places(one) is not None:
        one, other = other, one
    places = _num_places(other)
    if _num_places(one) is not None or places is None or places < PLACES:
        return False
    return round(one, PLACES) == round(other, PLACES)


def _num_places(value: Fraction) -> int | None:
    """Decimals that write a number in full; None when none do."""
    rest, num_twos, num_fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, num_twos = rest // 2, num_twos + 1
    while rest % 5 == 0:
        rest, num_fives = rest // 5, num_fives + 1
    return max(num_twos, num_fives) if rest == 1 else None


def _differ_surely(written_gold: str, gold: str, answer: str) -> bool:
    """Of two forms that differ: whether they are two answers, though math-verify might call them equal."""
    if _word.fullmatch(written_gold) and _letters.fullmatch(answer):
        return gold.lower() != answer.lower()
    for alike in (_with_base, _clock):
        if alike.fullmatch(gold) and alike.fullmatch(answer):
            return True
    if gold.startswith(("(", "[")) and is_list(answer):
        return True
    halves = _half_of_day.search(gold), _half_of_day.search(answer)
    return bool(halves[0] and halves[1] and halves[0][1].lower() != halves[1][1].lower())


def _without_words(form: str) -> str:
    """Without the words after a value, which say of what it is."""
    found = _value_and_words.fullmatch(form)
    return canonical(found[1] or found[2]) if found else form


def _verified(gold: str, answer: str) -> Grade:
    """What math-verify says. It may hang, crash or use up the memory."""
    from math_verify import parse, verify  # SymPy, which no other process needs

    # It warns in every process that its own clock is off; ours is on.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    right, given = (parse(f"${each}$", parsing_timeout=0) for each in (gold, answer))
    if not given:
        return Grade("unparsable", "math-verify cannot read it")
    if not right:
        return Grade("unparsable", "math-verify cannot read the gold answer")
    return Grade.of(verify(right, given, allow_set_relation_comp=True, timeout_seconds=None))
