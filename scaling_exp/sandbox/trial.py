"""A program tried by its tests: two boxes that share a socket, and a pipe on which the judge's tells what it found."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from typing import Literal

from scaling_exp.sandbox.boxes import Box, BoxError, Files, running
from scaling_exp.sandbox.guest import judge as judge_guest
from scaling_exp.sandbox.guest import program as program_guest
from scaling_exp.sandbox.guest.channel import CLOSED, READY
from scaling_exp.sandbox.limits import Limits
from scaling_exp.sandbox.names import undefined_in

Found = Literal["passed", "failed", "unreadable", "broken"]
MAX_VERDICT_BYTES = 1 << 16
SECONDS_TO_START = 60.0
SECONDS_TO_END = 0.5
"""How long a program may take to end by itself after the verdict, so that it is known how."""


@dataclass(frozen=True)
class Program:
    """What a model wrote. A `function` is defined once and called; a `script` is run for every input."""

    source: str
    mode: Literal["function", "script"] = "function"
    imports: tuple[str, ...] = ()
    """Modules that a script finds imported, lest it wait for them at every input."""


@dataclass(frozen=True)
class Tests:
    """What decides: Python source that asserts, or defines `check(candidate)`, which is then called.

    `entry_point`, and every name that the tests use and nobody defines, is the program's function of that name; of a
    script the function from standard input to standard output. `prelude` is run before the tests, beside them.
    """

    source: str
    entry_point: str = ""
    prelude: str = ""
    cases: tuple[tuple[str, str], ...] = ()
    """What the tests find as `CASES`."""


@dataclass(frozen=True)
class Verdict:
    """`unreadable`: the program is no Python. `broken`: the tests could not be run, whatever the program does."""

    found: Found
    detail: str = ""


def tried(
    program: Program,
    tests: Tests,
    box: Box,
    limits: Limits,
    packages: tuple[str, ...] = (),
) -> Verdict:
    """What the tests find. It ends soon after `limits.wall_seconds`, whatever the program does.

    Raises UserError for a package that is not installed, and BoxError where boxes do not start.
    """
    files = Files.of(packages)
    try:
        names = undefined_in(tests.source)
    except SyntaxError as error:
        return Verdict("broken", f"the tests are no Python: {error}")
    reads, writes = os.pipe()
    listens, tells = open(reads, "rb", buffering=0), open(writes, "wb", buffering=0)  # noqa: SIM115
    judges, programs = socket.socketpair()
    with listens, tells, judges, programs:
        part = asdict(program)
        patient = replace(limits, cpu_seconds=math.ceil(limits.wall_seconds))
        asks = {**asdict(tests), **asdict(names), "verdict": tells.fileno()}
        with (
            running(box, program_guest, files, limits, part, programs.fileno()) as tried_one,
            running(box, judge_guest, files, patient, asks, judges.fileno(), (tells.fileno(),)),
        ):
            # Whoever waits for a guest must see it end, so nobody else holds its descriptors.
            for each in (tells, judges, programs):
                each.close()
            if _line(listens.fileno(), SECONDS_TO_START) != READY.encode() + b"\n":
                raise BoxError(f"programs cannot be run: {box.name} does not start")
            told = _line(listens.fileno(), limits.wall_seconds)
            if told is None:
                return Verdict("failed", f"not done in {limits.wall_seconds:g} s")
            return _verdict(told, tried_one)


def _line(fd: int, seconds: float) -> bytes | None:
    """What the judge tells until it ends the line, or ends; None when it does neither in time."""
    deadline = time.monotonic() + seconds
    content = bytearray()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not content.endswith(b"\n") and len(content) < MAX_VERDICT_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        part = os.read(fd, 1)
        if not part:
            break
        content += part
    return bytes(content)


def _verdict(told: bytes, program: subprocess.Popen[bytes]) -> Verdict:
    if not told.endswith(b"\n"):
        return Verdict("failed", "what the program gave ended the judge")
    found, detail = json.loads(told)
    if detail == CLOSED:
        detail = _ended(program)
    # A program chooses these words: no terminal is to obey them, and a file must be able to hold them.
    return Verdict(found, "".join(each if each.isprintable() else "?" for each in detail))


def _ended(program: subprocess.Popen[bytes]) -> str:
    """How the program ended that ended too early."""
    try:
        code = program.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        return "it closed its channel"
    if code == 0:
        return "it exits"
    number = code - 128 if code > 128 else -code
    if number == signal.SIGXCPU:
        return "out of CPU time"
    name = signal.Signals(number).name if number in set(signal.Signals) else str(code)
    return f"it ended with {name}"
