"""Where answers stand in a completion: in a box, after the words that announce it, among its numbers.

It knows no form of an answer: what it finds is text. Linear in the completion.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

Found = TypeVar("Found")

MAX_CHARS = 2000
"""What follows an announcement is looked at so far."""

_brace = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_bare_box = re.compile(r"\\boxed\s+([^\s\\${}.,]+)")
_announcement = re.compile(r"\banswer\b[^.:=\n]{0,60}?(?:\bis\b(?!\s+not\b)|:|=)", re.IGNORECASE)
_dollars = re.compile(r"(?<!\\)\$(?![\s$])([^$\n]+)(?<!\s)\$(?!\d)|\\\(([^\n]+?)\\\)")
_display = re.compile(r"\$\$([^$]+)\$\$|\\\[(.+?)\\\]", re.DOTALL)
_sentence_end = re.compile(r"[.;]\s|\n")
_decimal = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_number = re.compile(
    r"(?:(?<![\w.)}])-\s?\$?|(?<![\w.]))"
    rf"(?:(?:\d+\s?)?\\[dt]?frac\{{\d+\}}\{{\d+\}}|(?:\d+ )?\d+/\d+(?![\d/])|{_decimal})"
)


def last(found: Iterable[Found]) -> Found | None:
    """The last of what was found."""
    kept = deque(found, maxlen=1)
    return kept[0] if kept else None


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{}` that is closed and not empty, else after the last `\boxed` without braces."""
    if "boxed" not in text and "fbox" not in text:
        return None
    found: tuple[int, int] | None = None
    open_: list[int] = []
    for brace in _brace.finditer(text):
        if len(brace[0]) > 2:
            open_.append(brace.end())
        elif brace[0] == "{":
            open_.append(0)
        elif brace[0] == "}" and open_:
            start = open_.pop()
            if start and text[start] != "}":
                found = start, brace.start()
    if found:
        return text[slice(*found)]
    bare = last(_bare_box.finditer(text))
    return bare[1] if bare else None


def announced(text: str) -> str | None:
    """What the text last says the answer is: the formula that follows, else the rest of the sentence."""
    heard = last(_announcement.finditer(text))
    if heard is None:
        return None
    said = text[heard.end() : heard.end() + MAX_CHARS].lstrip(" \t\n*:")
    display = _display.match(said)
    if display:
        return display[1] or display[2]
    line = said.partition("\n")[0]
    formulas = _dollars.findall(line)
    if len(formulas) == 1:
        return "".join(formulas[0])
    return _sentence_end.split(line, maxsplit=1)[0].strip() or None


def marked(text: str) -> str | None:
    """The rest of the line after the last `####`."""
    _, mark, said = text.rpartition("####")
    return said.lstrip(" ").partition("\n")[0].strip()[:MAX_CHARS] or None if mark else None


def numbers(text: str) -> Iterator[str]:
    """The numbers in a text, in order, as they are written."""
    plain = text.replace("{,}", ",").replace(r"\!", "")
    return (found[0] for found in _number.finditer(plain))
