"""What tests leave undefined: that is what they test. Only tests are read here, never a program."""

from __future__ import annotations

import ast
import builtins
import sys
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Undefined:
    """Names of some tests; of these `modules` are such of the standard library, whose attributes are asked for.

    Tests use what their program imports. `has_check`: they define `check`, to be called with what is tested.
    """

    undefined: tuple[str, ...]
    modules: tuple[str, ...]
    has_check: bool


@lru_cache(maxsize=16)
def undefined_in(tests: str) -> Undefined:
    """Raises SyntaxError."""
    tree = ast.parse(tests)
    used, defined = set[str](), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
        defined.update(_defined_by(node))
    objects = [each.value for each in ast.walk(tree) if isinstance(each, ast.Attribute)]
    asked = {each.id for each in objects if isinstance(each, ast.Name)}
    free = used - defined
    return Undefined(
        undefined=tuple(sorted(free)),
        modules=tuple(sorted(free & asked & sys.stdlib_module_names)),
        has_check=any(isinstance(e, ast.FunctionDef) and e.name == "check" for e in tree.body),
    )


def _defined_by(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            return {name}
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.ExceptHandler(name=str(name)):
            return {name}
        case ast.alias(name=name, asname=other):
            return {other or name.partition(".")[0]}
    return set()
