"""A user's own grader: one function in a Python file, called where it can be killed.

def grade(answer: str, problem: Problem) -> bool | str:
    return answer == problem.answer
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path as FilePath

from scaling_exp.grading import RIGHT_ANSWER
from scaling_exp.schema import unknown
from scaling_exp.types import Grade, Problem, UserError

Function = Callable[[str, Problem], object]


@dataclass(frozen=True)
class FunctionGrader:
    """What function `name` in file `path` says: True is right, False wrong, text why the answer makes no sense.

    The file's hash is part of the version; what the file imports is not. An error in the function ends the grading and
    is told with its line. `imports` names modules that take long to import, for which all processes then wait once;
    `knows` is told of scores by it (see `grading.Grader`).
    """

    path: str
    name: str = "grade"
    seconds: float = 5.0
    imports: tuple[str, ...] = ()
    knows: str = field(default=RIGHT_ANSWER, repr=False)

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError(f"task.grader.seconds is {self.seconds}; it must be above 0")

    @property
    def version(self) -> str:
        """Raises UserError when there is no such file or no such function in it; runs nothing of it."""
        source = _source(self.path)
        try:
            tree = ast.parse(source, self.path)
        except SyntaxError as error:
            raise UserError(f"{self.path} line {error.lineno}: {error.msg}") from None
        functions = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
        if self.name not in functions:
            raise UserError(unknown(f"task.grader.name, in {self.path}", self.name, functions))
        digest = sha256(source).hexdigest()[:12]
        return f"function {self.name} of {FilePath(self.path).name} {digest}, {self.seconds:g} s"

    def quick(self, problem: Problem, answer: str) -> Grade | None:  # noqa: ARG002 - one shape for all
        return None

    def slow(self, problem: Problem, answer: str) -> Grade:
        """Raises UserError that names the line of an error in the function."""
        function = _function(self.path, self.name)
        try:
            said = function(answer, problem)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # noqa: BLE001 - a user's code raises what it likes
            given = f"problem {problem.name}, answer {answer[:80]!r}"
            raise UserError(f"{_told(error, self.path)} ({given})") from None
        if isinstance(said, str):
            return Grade("unparsable", said)
        if not isinstance(said, bool):
            raise UserError(
                f"{self.path}: {self.name} returned {said!r}; it must return True, False, or text that says why the"
                " answer makes no sense"
            )
        return Grade.of(said)


def _source(path: str) -> bytes:
    try:
        return FilePath(path).expanduser().read_bytes()
    except OSError as error:
        raise UserError(
            f"task.grader.path: {path} cannot be read: {error.strerror}; it is the Python file with your function"
        ) from None


@cache
def _function(path: str, name: str) -> Function:
    """The function; its file is run once a process, and finds the modules that lie beside it."""
    file = FilePath(path).expanduser().resolve()
    spec = importlib.util.spec_from_file_location(f"grader_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"task.grader.path: {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - a user's code raises what it likes
        raise UserError(_told(error, path)) from None
    return getattr(module, name)


def _told(error: Exception, path: str) -> str:
    """File, line and error: the last line of the user's file that took part."""
    file = str(FilePath(path).expanduser().resolve())
    lines = [
        each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file
    ]
    where = f"{path} line {lines[-1]}" if lines else path
    return f"{where}: {type(error).__name__}: {error}"
