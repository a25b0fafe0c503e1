"""The box of the judge: runs the tests, and hands every call of what they test to the program's box.

Only this process says whether a program passed, over a pipe that the program's box does not have. Nothing of the
program runs here: what it gives comes as plain data, or as a handle, which equals nothing but itself.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import sys
from types import ModuleType

from .channel import EXPANSION, READY, Channel, ClosedError
from .codec import NotPlainError, pack, unpack
from .confine import confine
from .program import told
from .setup import Setup

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn


CHECK = "check"
MAX_CHARS = 500
"""Of why."""


class Gone(BaseException):
    """The program answers no more. No test that expects an error can take it for one."""


class ProgramError(Exception):
    """An error of the program that has no built-in kind."""


class Handle:
    """Something of the program's that is not plain. It is true or false, as it was when it came."""

    def __init__(self, program: Program, number: int, truth: bool) -> None:
        self._program = program
        self._number = number
        self._truth = truth

    def __bool__(self) -> bool:
        return self._truth

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._program.ask("call", self._number, given, named)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._program.ask("list", self._number))

    def __len__(self) -> int:
        return self._program.ask("len", self._number)

    def __str__(self) -> str:
        return self._program.ask("str", self._number)

    def __getitem__(self, key: Any) -> Any:
        return self._program.ask("item", self._number, (key,))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._program.ask("attribute", self._number, (name,))


class Program:
    """The program in the other box, as far as this one believes it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.num_calls = 0
        self.gone: str | None = None
        self.is_readable = True
        self.is_at_fault = True
        self.errors: list[BaseException] = []

    def function(self, name: str) -> Callable[..., Any]:
        """What is called `name` there."""

        def call(*given: Any, **named: Any) -> Any:
            self.num_calls += 1
            return self.ask("call", name, given, named)

        return call

    def ask(
        self,
        operation: str,
        target: str | int,
        given: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer. Raises what the program raised, and Gone when there is none."""
        if self.gone is not None:
            raise Gone(self.gone)
        named = named or {}
        sent = [pack(each, self._number) for each in given]
        sent_named = {name: pack(each, self._number) for name, each in named.items()}
        try:
            self._channel.send([operation, target, sent, sent_named])
            return self._believe(self._channel.receive(), (*given, *named.values()))
        except (ClosedError, NotPlainError) as error:
            return self.leave(str(error))
        except MemoryError:
            return self.leave("out of memory")

    def leave(self, why: str) -> NoReturn:
        self.gone = why
        raise Gone(why)

    def _believe(self, answer: Any, given: tuple[Any, ...]) -> Any:
        match answer:
            case ["value", None, list(changed)]:
                for each in changed:
                    self._mirror(each, given)
                return None
            case ["value", value, list()]:
                return unpack(value, self._handle)
            case ["raised", str(kind), str(text)]:
                self.errors.append(_error(kind, text))
                raise self.errors[-1]
            case ["failed" | "left", str(why)]:
                return self.leave(why)
            case ["unreadable", str(why)]:
                self.is_readable = False
                return self.leave(why)
        raise NotPlainError("no answer")

    def _mirror(self, change: Any, given: tuple[Any, ...]) -> None:
        """Do to an argument what the program did to its copy.

        Only a function that returns nothing is there to change something: one that returns a value could change what it
        is compared with.
        """
        match change:
            case [int(at), packed] if 0 <= at < len(given):
                before, after = given[at], unpack(packed, self._handle)
            case _:
                raise NotPlainError("no change")
        if type(before) is not type(after):
            return
        if isinstance(before, (list, bytearray)):
            before[:] = after
        elif isinstance(before, (dict, set)):
            before.clear()
            before.update(after)

    def _number(self, value: Any) -> Any:
        if isinstance(value, Handle):
            return [value._number]
        self.is_at_fault = False
        return self.leave(f"a {type(value).__name__} of the tests cannot be handed to the program")

    def _handle(self, content: Any) -> Handle:
        match content:
            case [int(number), bool(truth)]:
                return Handle(self, number, truth)
        raise NotPlainError("no handle")


def _error(kind: str, text: str) -> Exception:
    found = getattr(builtins, kind, None)
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            return found(text)
        except TypeError:  # UnicodeError wants more than a text
            pass
    return ProgramError(text)


def main() -> None:
    setup = Setup.read()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    confine(setup.bounds, setup.parent or os.getppid())
    channel = Channel(setup.channel, setup.max_output_bytes * EXPANSION)
    if channel.receive() != READY:
        return
    os.write(setup.part["verdict"], READY.encode() + b"\n")
    found, detail = judged(Program(channel), setup.part)
    os.write(setup.part["verdict"], json.dumps([found, detail[:MAX_CHARS]]).encode() + b"\n")
    os._exit(0)


def judged(program: Program, part: dict[str, Any]) -> tuple[str, str]:
    """`passed`, `failed`, `unreadable` (no Python) or `broken` (no fault of the program's), and why."""
    try:
        space = _names(program, part)
    except Exception as error:  # noqa: BLE001 - whatever a prompt does
        return "broken", told(error)
    try:
        _run(program, part, space)
    except Gone:
        pass
    except BaseException as error:  # noqa: BLE001 - whatever the tests find
        if program.gone is None:
            is_ours = isinstance(error, ImportError) and error not in program.errors
            what = str(error) if error in program.errors else told(error)
            return ("broken" if is_ours else "failed"), f"{what}{_where(error, part['source'])}"
    if program.gone is not None:
        found = "failed" if program.is_readable else "unreadable"
        return (found if program.is_at_fault else "broken"), program.gone
    if not program.num_calls:
        return "broken", "the tests never call the program"
    return "passed", ""


def _names(program: Program, part: dict[str, Any]) -> dict[str, Any]:
    """Where the tests run: helpers of the prompt, and for every name that is not defined, a module or the program's."""
    module = ModuleType("tests")
    sys.modules[module.__name__] = module
    space = module.__dict__
    space["CASES"] = part["cases"]
    exec(compile(part["prelude"], "<prompt>", "exec"), space)
    for name in part["undefined"]:
        if name not in space:
            is_module = name in part["modules"]
            space[name] = importlib.import_module(name) if is_module else program.function(name)
    if part["entry_point"]:
        space[part["entry_point"]] = program.function(part["entry_point"])
    return space


def _run(program: Program, part: dict[str, Any], space: dict[str, Any]) -> None:
    exec(compile(part["source"], "<tests>", "exec"), space)
    if part["has_check"]:
        check = space[CHECK]
        space[CHECK] = program.function(CHECK)  # what a program may be called, too
        check(program.function(part["entry_point"]))


def _where(error: BaseException, tests: str) -> str:
    """The line of the tests that found the fault."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return f" in: {' '.join(lines[line - 1].split())[:160]}" if 0 < line <= len(lines) else ""


if __name__ == "__main__":
    main()
