"""Ends what a process leaves behind when it dies, by whatever death.

Engines start processes, and so does Ray; after SIGKILL nobody is left to end them. A watchdog is a tiny child that
waits for its parent to be gone, then kills everything that carries the parent's mark: an environment variable, which
all that is started later inherits. Linux only; it needs nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

MARK = "SCALING_EXP_MARK"
POLL_SECONDS = 0.5
LOOK_SECONDS = 3.0
"""Between looks at what there is: some overwrite their environment, and their parents may die before them."""
ROUNDS = 8
"""Looks for survivors, half a second apart: a process may be starting another one just then."""

Process = tuple[int, int]
"""Its number and when it started, for numbers are used again."""


def guard(mark: str) -> subprocess.Popen[bytes]:
    """Start a watchdog of this process for all processes that have `mark` in their environment."""
    # Isolated: beside this file lies a types.py that is not Python's.
    command = [sys.executable, "-IS", __file__, str(os.getpid()), mark]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end_as_interrupted() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does: queues and clusters send it to what they stop or preempt.

    To be called from the main thread, and again after `ray.init`, which sets a handler of its own.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGINT)


def new_mark() -> str:
    """A mark that no other run has."""
    return uuid4().hex


def marked(mark: str) -> set[Process]:
    """Processes that have the mark, and all that descend from them."""
    parents = _parents()
    found = {each for each in parents if _has(each[0], mark)}
    children: dict[int, list[Process]] = {}
    for each, parent in parents.items():
        children.setdefault(parent, []).append(each)
    waiting = list(found)
    while waiting:
        new = [each for each in children.get(waiting.pop()[0], []) if each not in found]
        found.update(new)
        waiting += new
    return {each for each in found if each[0] != os.getpid()}


def _parents() -> dict[Process, int]:
    """Parent of every process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # pid (name) state parent ... start; the name may hold spaces and brackets
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name), int(fields[19])] = int(fields[1])
        except OSError:
            continue
    return parents


def _has(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _watch(parent: int, mark: str) -> None:
    seen: set[Process] = set()
    while os.getppid() == parent:
        seen = marked(mark)
        for _ in range(round(LOOK_SECONDS / POLL_SECONDS)):
            if os.getppid() == parent:
                time.sleep(POLL_SECONDS)
    for _ in range(ROUNDS):
        for pid, _ in marked(mark) | (seen & _parents().keys()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
