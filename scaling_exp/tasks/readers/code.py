"""A program: the last fenced block that defines something, else the last one, else the whole text.

It does not know whether the text is Python, nor what it should define.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_fence = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^\n`]*)")
_definition = re.compile(r"^(?:async def|def|class) ", re.MULTILINE)


@dataclass(frozen=True)
class CodeReader:
    """Reads a program as it is indented, without blank lines around it.

    A fence that is not closed ends with the text, and what is closed without having been opened begins with it, as
    when a prompt ends with an open fence.
    """

    def read(self, text: str) -> str | None:
        blocks = list(_blocks(text))
        defining = [each for each in blocks if _definition.search(each)]
        code = (defining or blocks or [text])[-1]
        return code.strip("\r\n").rstrip() or None


def _blocks(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    fences = [
        (at, found) for at, each in enumerate(lines) if (found := _fence.fullmatch(each.rstrip()))
    ]
    if len(fences) == 1 and not fences[0][1][2] and "".join(lines[: fences[0][0]]).strip():
        yield "".join(lines[: fences[0][0]])
        return
    start, mark = None, ""
    for at, found in fences:
        if start is None:
            start, mark = at + 1, found[1]
        elif found[1].startswith(mark) and not found[2]:
            yield "".join(lines[start:at])
            start = None
    if start is not None:
        yield "".join(lines[start:])
