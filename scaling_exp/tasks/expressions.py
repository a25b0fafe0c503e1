r"""Arithmetic as models write it, read without running it: `(4+8)*(6-4)`, `(4 + 8) × (6 − 4)`, `\frac{6}{1-\frac34}`.

Numbers, signs, brackets and the four operations; values are exact fractions. Whatever else a text holds makes it no
expression. It knows no puzzle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 400
"""A longer text is no expression: what it costs to read one stays small."""
MAX_DEPTH = 40
"""Brackets in brackets."""

SYMBOLS = str.maketrans("×·⋅∗✕xX÷−–—[]{}", "******" + "*/---()()")
COMMANDS = {
    **dict.fromkeys((r"\times", r"\cdot", r"\ast"), "*"),
    r"\div": "/",
    **dict.fromkeys((r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"), "F"),
    **dict.fromkeys(
        (r"\left", r"\right", r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr"), ""
    ),
    **dict.fromkeys((r"\,", r"\;", r"\:", r"\!", r"\ ", r"\(", r"\)", r"\[", r"\]"), ""),
    **dict.fromkeys((r"\{", r"\lbrace", r"\lbrack"), "("),
    **dict.fromkeys((r"\}", r"\rbrace", r"\rbrack"), ")"),
}
_command = re.compile(r"\\[A-Za-z]+|\\.")
_short_fraction = re.compile(r"F\s*(\d)\s*(\d)")
_token = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()F])", re.ASCII)
_run = re.compile(r"[-+(F\d][-+*/().\d\sF]*")
_list_mark = re.compile(r"^\s*(?:[-*]|\d+[.)])\s+")


@dataclass(frozen=True)
class Expression:
    """A sum of signed products, or a product of factors and divisors: what they are made of is text already."""

    value: Fraction
    numbers: tuple[Fraction, ...]
    """As they are written, from left to right."""
    is_sum: bool
    parts: tuple[tuple[int, str], ...]
    """Terms with their signs, or factors with their powers, 1 or -1."""

    @property
    def text(self) -> str:
        """One spelling of what differs in blanks, needless brackets and the order of terms and factors only."""
        straight = sorted(text for sign, text in self.parts if sign > 0)
        inverse = sorted(text for sign, text in self.parts if sign < 0)
        plus, minus = ("+", "-") if self.is_sum else ("*", "/")
        return plus.join(straight) + "".join(minus + text for text in inverse)


def plain(text: str) -> str:
    """The text with one sign for each operation and round brackets; `F` stands for a fraction's command."""
    spelled = _command.sub(lambda found: COMMANDS.get(found[0], "?"), text)
    return _short_fraction.sub(r"F(\1)(\2)", spelled.translate(SYMBOLS).replace("$", ""))


def parse(text: str) -> Expression | None:
    """The expression that a text is; None when it is none, or divides by zero."""
    if len(text) > MAX_CHARS:
        return None
    tokens = _tokens(plain(text))
    if not tokens:
        return None
    reading = _Reading(tokens)
    try:
        found = reading.sum()
    except (_NoExpression, ZeroDivisionError):
        return None
    return found if reading.at == len(tokens) else None


def calculated(text: str) -> Expression | None:
    """What a text calculates last: the first side of its last equation that has an operation; None when none has."""
    for equation in reversed(re.split(r"[\n;,:]", plain(text[-MAX_CHARS:]))):
        for side in re.split("[=≈]", _list_mark.sub("", equation, count=1)):
            runs = (parse(run.rstrip(" .*/+-(F")) for run in _run.findall(side))
            found = [each for each in runs if each is not None and len(each.numbers) > 1]
            if found:
                return found[-1]
    return None


def _tokens(text: str) -> list[str]:
    """None at all where something is not understood."""
    tokens, at, text = [], 0, text.strip()
    while at < len(text):
        found = _token.match(text, at)
        if found is None:
            return []
        tokens.append(found[1])
        at = found.end()
    return tokens


class _NoExpression(Exception):
    """The text is no expression."""


@dataclass(eq=False)
class _Reading:
    """Recursive descent: a sum of products of factors."""

    tokens: Sequence[str]
    at: int = 0
    depth: int = 0

    def sum(self) -> Expression:
        sign = -1 if self._take("-") else 1
        terms = [(sign, self.product())]
        while operation := (self._take("+") or self._take("-")):
            terms.append((1 if operation == "+" else -1, self.product()))
        return _sum(terms)

    def product(self) -> Expression:
        factors = [(1, self.factor())]
        while True:
            if operation := (self._take("*") or self._take("/")):
                factors.append((1 if operation == "*" else -1, self.factor()))
            elif self._next() in ("(", "F") or (
                self._before() == ")" and self._next()[:1].isdigit()
            ):
                factors.append((1, self.factor()))  # a bracket beside a factor multiplies
            else:
                return _product(factors)

    def factor(self) -> Expression:
        sign = 1
        while self._take("-"):
            sign = -sign
        return _sum([(sign, self.unsigned())])

    def unsigned(self) -> Expression:
        if self._take("F"):
            return _product([(1, self.bracket()), (-1, self.bracket())])
        if self._next() == "(":
            return self.bracket()
        number = self._next()
        if not number[:1].isdigit():
            raise _NoExpression
        self.at += 1
        value = Fraction(number)
        text = str(value) if value.denominator == 1 else number
        return Expression(value, (value,), False, ((1, text),))

    def bracket(self) -> Expression:
        self.depth += 1
        if not self._take("(") or self.depth > MAX_DEPTH:
            raise _NoExpression
        inside = self.sum()
        if not self._take(")"):
            raise _NoExpression
        self.depth -= 1
        return inside

    def _next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _before(self) -> str:
        return self.tokens[self.at - 1] if self.at else ""

    def _take(self, token: str) -> str:
        """The token if it is next, and empty text if another is."""
        if self._next() != token:
            return ""
        self.at += 1
        return token


def _sum(terms: Sequence[tuple[int, Expression]]) -> Expression:
    if len(terms) == 1 and terms[0][0] > 0:
        return terms[0][1]
    parts: list[tuple[int, str]] = []
    for sign, term in terms:
        parts += [(sign * s, t) for s, t in term.parts] if term.is_sum else [(sign, term.text)]
    value = sum((sign * term.value for sign, term in terms), Fraction(0))
    return Expression(value, _numbers(terms), True, tuple(parts))


def _product(factors: Sequence[tuple[int, Expression]]) -> Expression:
    if len(factors) == 1:
        return factors[0][1]
    value, parts = Fraction(1), list[tuple[int, str]]()
    for power, factor in factors:
        value *= factor.value**power
        parts += (
            [(power, f"({factor.text})")]
            if factor.is_sum
            else [(power * p, t) for p, t in factor.parts]
        )
    return Expression(value, _numbers(factors), False, tuple(parts))


def _numbers(of: Sequence[tuple[int, Expression]]) -> tuple[Fraction, ...]:
    return tuple(number for _, each in of for number in each.numbers)
