"""The box of the program: runs what a model wrote, and answers what the judge asks.

`function` runs it once and calls what it defines. `script` runs it anew for every input, in a process of its own, and
answers with what it printed; then the channel stays out of its reach. `imports` are there before it starts.
"""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType

from .channel import READY, Channel, ClosedError
from .codec import pack, unpack
from .confine import confine, die_with
from .setup import Setup

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MAX_CHARS = 300
"""Of the text of an error."""
UNREADABLE = 65
"""Exit status of a script that is no Python."""


def main() -> None:
    setup = Setup.read()
    serve = {"function": _function, "script": _script}[setup.part["mode"]]
    try:
        serve(setup, Channel(setup.channel))
    except ClosedError:
        return


def _function(setup: Setup, channel: Channel) -> None:
    _silence()
    confine(setup.bounds, setup.parent or os.getppid())
    channel.send(READY)
    why = _define(setup.part["source"], module := ModuleType("program"))
    if why is not None:
        channel.receive()
        channel.send(why)
        return
    objects = Objects(module)
    while True:
        channel.send(objects.answer(channel.receive()))


def _define(source: str, module: ModuleType) -> list[str] | None:
    """Run the program; what to tell the judge when that fails."""
    sys.modules[module.__name__] = module
    try:
        code = compile(source, "<program>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return ["unreadable", told(error)]
    try:
        exec(code, module.__dict__)
    except BaseException as error:  # noqa: BLE001 - whatever a model wrote
        return ["left" if isinstance(error, SystemExit) else "failed", told(error)]
    return None


class Objects:
    """What the program made that is not plain, by the number that its handle carries."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._kept: list[Any] = []

    def answer(self, request: Any) -> Any:
        """`["value", what it gives, arguments that it changed]`, or `["raised", kind, text]`, or `["failed", why]`.

        Which arguments it changed is told when it gives nothing.
        """
        operation, target, sent, sent_named = request
        try:
            function = self._function(operation, target)
        except (AttributeError, KeyError):
            return ["failed", f"there is no {target}"]
        try:
            given = [self._unpack(each) for each in sent]
            named = {name: self._unpack(each) for name, each in sent_named.items()}
            value = self._pack(function(*given, **named))
            after = [self._pack(each) for each in (*given, *named.values()) if value is None]
        except Exception as error:  # noqa: BLE001 - whatever a model wrote
            return ["raised", _built_in(error), told(error)]
        except BaseException as error:  # noqa: BLE001
            return ["failed", told(error)]
        before = [*sent, *sent_named.values()]
        return ["value", value, [[i, a] for i, a in enumerate(after) if a != before[i]]]

    def _function(self, operation: str, target: Any) -> Callable[..., Any]:
        if operation == "call":
            found = self._module.__dict__[target] if isinstance(target, str) else self._kept[target]
            if not callable(found):
                raise AttributeError(target)
            return found
        kept = self._kept[target]
        return lambda *given: OPERATIONS[operation](kept, *given)

    def _pack(self, value: Any) -> Any:
        return pack(value, self._handle)

    def _unpack(self, packed: Any) -> Any:
        return unpack(packed, lambda content: self._kept[content[0]])

    def _handle(self, value: Any) -> Any:
        self._kept.append(value)
        try:
            truth = bool(value)
        except Exception:  # noqa: BLE001 - an array has none
            truth = True
        return [len(self._kept) - 1, truth]


OPERATIONS: dict[str, Callable[..., Any]] = {
    "list": list,
    "len": len,
    "str": str,
    "attribute": getattr,
    "item": lambda kept, key: kept[key],
}


def told(error: BaseException) -> str:
    """An error in one line."""
    try:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    except BaseException:  # noqa: BLE001 - even its text is a model's
        text = "an error that has no text"
    return " ".join(text.split())[:MAX_CHARS]


def _built_in(error: Exception) -> str:
    """The name of the nearest built-in kind of an error."""
    kinds = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return next(kinds, "Exception")


def _silence() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)


def _script(setup: Setup, channel: Channel) -> None:
    die_with(setup.parent or os.getppid())
    for name in setup.part["imports"]:
        __import__(name)
    channel.send(READY)
    while True:
        _, _, (text,), _ = channel.receive()
        channel.send(_run(setup, channel, text))


def _run(setup: Setup, channel: Channel, text: str) -> Any:
    """What the program prints for an input, as an answer to the judge."""
    (printed, prints), (complaint, complains) = os.pipe(), os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        channel.close()
        _run_here(setup, parent, text, prints, complains)
    os.close(prints)
    os.close(complains)
    output = _read(printed, setup.max_output_bytes)
    if output is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    why = os.read(complaint, MAX_CHARS).decode(errors="replace")
    os.close(printed)
    os.close(complaint)
    if output is None:
        return ["failed", "it prints too much"]
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        kind = "unreadable" if code == UNREADABLE else "failed"
        return [kind, why or f"it ended with {code}"]
    return ["value", output.decode(errors="replace"), []]


def _run_here(setup: Setup, parent: int, text: str, prints: int, complains: int) -> NoReturn:
    """In the new process. It ends as Python ends: what was printed is flushed, threads are waited for."""
    asked = os.memfd_create("stdin")
    os.write(asked, text.encode(errors="surrogateescape"))
    os.lseek(asked, 0, os.SEEK_SET)
    for fd, standard in ((asked, 0), (prints, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
        os.dup2(fd, standard)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    confine(setup.bounds, parent)
    why = _define(setup.part["source"], ModuleType("__main__"))
    if why is None or why[0] == "left":
        sys.exit(0)
    os.write(complains, why[1].encode(errors="replace"))
    sys.exit(UNREADABLE if why[0] == "unreadable" else 1)


def _read(fd: int, max_bytes: int) -> bytes | None:
    """All that is written there until it is closed; None when it is more than `max_bytes`."""
    content = bytearray()
    while part := os.read(fd, 1 << 16):
        content += part
        if len(content) > max_bytes:
            return None
    return bytes(content)


if __name__ == "__main__":
    main()
