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
ROUNDS = 8
"""Looks for survivors, half a second apart: a process may be starting another one just then."""


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


def new_mark() -> str:
    """A mark that no other run has."""
    return uuid4().hex


def marked(mark: str) -> list[int]:
    """Processes that have the mark, and all that descend from them."""
    parents = _parents()
    found = {pid for pid in parents if _has(pid, mark)}
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    waiting = list(found)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), []) if pid not in found]
        found.update(new)
        waiting += new
    return sorted(found - {os.getpid()})


def _parents() -> dict[int, int]:
    """Parent of every process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # pid (name) state parent ...; the name may hold spaces and brackets
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue
    return parents


def _has(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _watch(parent: int, mark: str) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    for _ in range(ROUNDS):
        for pid in marked(mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
