"""By what a program is judged: what `rows` write into a problem's `extra`, and `graders/program` reads there."""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from scaling_exp.sandbox import Program, Tests
from scaling_exp.types import UserError

MAX_UNPACKED_BYTES = 1 << 29
"""Of packed cases; more is taken for a bomb."""

_first_indent = re.compile(r"^([ \t]*)[^\s#]", re.MULTILINE)

SAME_OUTPUT = '''
from decimal import Decimal, InvalidOperation


def lines_of(text):
    return [line.strip() for line in text.strip().split("\\n")]


def same_line(one, other):
    if one == other:
        return True
    try:
        return [Decimal(each) for each in one.split()] == [Decimal(each) for each in other.split()]
    except InvalidOperation:
        return False


def same(printed, expected):
    """Line by line without the blanks around them, numbers by their value."""
    ours, theirs = lines_of(printed), lines_of(expected)
    return len(ours) == len(theirs) and all(map(same_line, ours, theirs))


def check(run):
    for given, expected in CASES:
        assert same(run(given), expected), "the output differs"
'''
SAME_VALUE = '''
import json


def plain(value):
    """As JSON would hold it: it has no tuples."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def check(candidate):
    for given, expected in CASES:
        arguments = [json.loads(line) for line in given.split("\\n")]
        assert plain(candidate(*arguments)) == json.loads(expected), "the value differs"
'''


@dataclass(frozen=True)
class Judging:
    """Tests, or cases of input and output, and what the program is put together from besides the answer.

    A `header` is what the answer continues: imports, helpers and the head of a function with its docstring, which is
    Python by itself. `before` and `after` stand around the program.
    """

    tests: str = ""
    entry_point: str = ""
    header: str = ""
    before: str = ""
    after: str = ""
    mode: Literal["function", "script"] = "function"
    imports: tuple[str, ...] = ()
    """See `sandbox.Program`."""
    cases: str = ""
    """Instead of tests: a JSON list of objects with `input` and `output`."""
    packed_cases: str = ""
    """More of them, as LiveCodeBench packs them."""

    def extra(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def of(cls, extra: str) -> Judging:
        """Raises UserError for what no `rows` wrote."""
        try:
            told = json.loads(extra)
            return replace(cls(**told), imports=tuple(told.get("imports", ())))
        except (ValueError, TypeError):
            raise UserError(
                "task.grader.kind=program wants tests with every problem; task.rows.kind=programs brings them"
            ) from None

    def program(self, answer: str) -> Program:
        """The whole program of which an answer is a part."""
        parts = (self.before, _joined(self.header, answer), self.after)
        return Program("\n".join(each for each in parts if each), self.mode, self.imports)

    def all_tests(self) -> Tests:
        """Raises UserError when packed cases are not what they should be."""
        if self.tests:
            prelude = "\n".join(each for each in (self.before, self.header) if each)
            return Tests(self.tests, self.entry_point, prelude)
        cases = (*_cases(self.cases or "[]"), *_cases(unpacked(self.packed_cases)))
        same = SAME_OUTPUT if self.mode == "script" else SAME_VALUE
        return Tests(same, self.entry_point, cases=cases)


def _joined(header: str, answer: str) -> str:
    """The header and what continues it, or defines all anew; a docstring that is indented otherwise is left out."""
    if answer.lstrip().startswith("from __future__"):
        return answer
    indent = _first_indent.search(answer)
    if indent and indent[1]:
        header = _without_docstring(header, unless_indented=indent[1])
    return header + ("" if header.endswith("\n") or not header else "\n") + answer


def _without_docstring(header: str, unless_indented: str) -> str:
    functions = [each for each in ast.parse(header).body if isinstance(each, ast.FunctionDef)]
    if not functions or not ast.get_docstring(functions[-1]):
        return header
    docstring = functions[-1].body[0]
    lines = header.splitlines(keepends=True)
    before, inside = lines[: docstring.lineno - 1], lines[docstring.lineno - 1]
    if inside.startswith(unless_indented) and not inside[len(unless_indented)].isspace():
        return header
    return "".join([*before, *lines[docstring.end_lineno :]])


def _cases(text: str) -> list[tuple[str, str]]:
    try:
        return [(each["input"], each["output"]) for each in json.loads(text)]
    except (ValueError, TypeError, KeyError):
        raise UserError("the test cases of a problem are no list of inputs and outputs") from None


class _Texts(pickle.Unpickler):
    """Reads plain data: a pickle that names a class or a function is refused before it is looked up."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in test cases")


def unpacked(packed: str) -> str:
    """JSON text out of base64 of zlib of a pickle of it, or of JSON as it is. Raises UserError for anything else."""
    if not packed:
        return "[]"
    if packed.lstrip().startswith("["):
        return packed
    try:
        inflate = zlib.decompressobj()
        content = inflate.decompress(base64.b64decode(packed, validate=True), MAX_UNPACKED_BYTES)
        if inflate.unconsumed_tail:
            raise UserError(f"packed test cases are more than {MAX_UNPACKED_BYTES} bytes")
        text = _Texts(io.BytesIO(content)).load()
    except (
        ValueError,
        zlib.error,
        pickle.UnpicklingError,
        EOFError,
        IndexError,
        KeyError,
    ) as error:
        raise UserError(f"packed test cases cannot be read: {error}") from None
    if not isinstance(text, str):
        raise UserError("packed test cases hold no text")
    return text


def lines(texts: Sequence[str]) -> str:
    """Texts as one, a line each."""
    return "\n".join(texts)
