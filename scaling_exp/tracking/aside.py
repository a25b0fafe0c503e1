"""A tracker in a process of its own, beside the run: whatever it does, it costs the run a warning and bounded time.

A thread could not be ended when a server hangs, and W&B waits for it when Python exits. The process gets short lines on
a pipe that is never waited for while the run works, and what is large in files. It leaves when its parent is gone.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_exp.tracking.shown import Card, Tracker

if TYPE_CHECKING:
    from scaling_exp.analysis import Analysis

PATIENCE_SECONDS = 30.0
"""Without anything being shown, once the run has nothing more to do: then the process is ended."""
AT_MOST_SECONDS = 300.0
"""The same, however much is still being shown."""

_left: list[subprocess.Popen[bytes]] = []
"""Those that were left to themselves: kept, with the pipe that they tell on, until they have ended."""


@dataclass(frozen=True)
class Begun:
    """A card that grows: its points are the lines of a file of JSON, to which more are appended."""

    card: Card
    file: Path


@dataclass(frozen=True)
class Finished:
    """A run that is to be shown as a whole. Its cards are made where they are shown."""

    analysis: Analysis
    config: Mapping[str, Any]


@dataclass(eq=False)
class Aside:
    """The process, seen from the run. Starts at the first thing that is sent."""

    tracker: Tracker
    folder: Path
    patience_seconds: float = PATIENCE_SECONDS
    at_most_seconds: float = AT_MOST_SECONDS
    num_shown: int = 0
    failure: str = ""
    """Why something could not be shown, in one line."""
    _process: subprocess.Popen[bytes] | None = None
    _told: bytes = b""
    _files: list[Path] = field(default_factory=list)

    def begin(self, begun: Begun) -> None:
        """Begin to show a card."""
        self._send({"begin": self._file(begun)}, 0.0)

    def grow(self) -> None:
        """Say that the card that was begun has more points. Nothing is lost when the process does not keep up."""
        self._send({"grow": True}, 0.0)

    def show(self, finished: Finished) -> None:
        """Show a whole run, the card that was begun among its cards."""
        self._send({"show": self._file(finished)}, self.patience_seconds)

    def leave(self) -> None:
        """Let the process end what it has by itself."""
        if self._process is not None:
            self._close_input(self._process)
            _keep(self._process)

    def wait(self) -> None:
        """Until all is shown, or patience ends; `num_shown` and `failure` say which."""
        if self._process is None:
            return
        self._close_input(self._process)
        began = time.monotonic()
        while not self.failure and self._hears(began + self.at_most_seconds):
            pass
        self._end()

    def _close_input(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.close()

    def _hears(self, until: float) -> bool:
        """Take in what the process tells next; False when it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        seconds = min(self.patience_seconds, until - time.monotonic())
        if seconds <= 0 or not select.select([pipe], [], [], seconds)[0]:
            self.failure = self.failure or f"nothing was shown for {max(seconds, 0):.0f} s"
            return False
        heard = os.read(pipe, 1 << 16)
        *lines, self._told = (self._told + heard).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self.num_shown += "shown" in told
            self.failure = self.failure or told.get("failed", "")
        return bool(heard)

    def _end(self) -> None:
        assert self._process is not None
        if not self.failure:
            try:
                code = self._process.wait(self.patience_seconds)
                self.failure = f"its process ended with {code}" if code else ""
            except subprocess.TimeoutExpired:
                pass  # all is shown, and it hangs in leaving
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        for file in self._files:
            file.unlink(missing_ok=True)

    def _send(self, message: Mapping[str, object], seconds: float) -> None:
        """Write a line, waiting at most so long for room in the pipe."""
        process = self._process or self._start()
        assert process.stdin is not None
        line = (
            json.dumps(message).encode() + b"\n"
        )  # shorter than PIPE_BUF, so never written in part
        try:
            if select.select([], [process.stdin], [], seconds)[1]:
                os.write(process.stdin.fileno(), line)
        except (BrokenPipeError, BlockingIOError):
            pass  # it has ended and told why, or it does not keep up

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "scaling_exp.tracking", self._file((self.tracker, self.folder))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the run's, which tells it to leave
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self._process = process
        return process

    def _file(self, content: object) -> str:
        """A file with `content`, which the process removes."""
        handle, name = tempfile.mkstemp(prefix="scaling_exp-", suffix=".pickle")
        with os.fdopen(handle, "wb") as file:
            pickle.dump(content, file)
        self._files.append(Path(name))
        return name


def _keep(process: subprocess.Popen[bytes]) -> None:
    """Hold on to a process that is left to itself, and let go of those that have ended."""
    _left.append(process)
    for each in [each for each in _left if each.poll() is not None]:
        assert each.stdout is not None
        each.stdout.close()
        _left.remove(each)


@atexit.register
def _let_go() -> None:
    """Those that still work when Python ends are meant to outlive it, of which Popen would warn."""
    for each in _left:
        assert each.stdout is not None
        each.stdout.close()
        each.returncode = each.poll() or 0
