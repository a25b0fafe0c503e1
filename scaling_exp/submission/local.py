"""This machine: the run in a process of its own, which outlives the terminal that sent it. No port is opened for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from scaling_exp.state import JOB
from scaling_exp.submission.job import ENDED, JobState, Shipment, Write, folder_of

if TYPE_CHECKING:
    from scaling_exp.cluster import Cluster

# The shell stays to note how the driver ended; only the driver is ever signalled.
SCRIPT = '("$@" & driver=$!; echo $driver > "$0/pid"; wait $driver; echo $? > "$0/exit") &'
POLL_SECONDS = 0.2
START_SECONDS = 10.0
EXIT_SECONDS = 2.0
"""Until the shell has noted how a driver ended, unless it was killed as well."""
STOPPED = ("130", "143")


@dataclass(frozen=True)
class Local:
    """Ray of this machine, started and ended with the run; `num_cpus` null: all."""

    num_cpus: int | None = None

    @property
    def cluster(self) -> Cluster:
        from scaling_exp.cluster import Cluster  # Ray, which most verbs need not

        return Cluster(None, self.num_cpus)

    def check(self, shipment: Shipment) -> None:
        """It needs nothing."""

    def send(self, shipment: Shipment) -> str:
        folder = folder_of(shipment.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        driver = [sys.executable, "-m", "scaling_exp", "run", *shipment.arguments]
        with (folder / "log").open("wb") as log:
            subprocess.run(
                ["sh", "-c", SCRIPT, str(folder), *driver],
                env={**os.environ, **shipment.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not _pid(folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        return shipment.id

    def state(self, handle: str) -> JobState:
        if _lives(handle):
            return "running"
        deadline = time.monotonic() + EXIT_SECONDS
        while not (code := _number(folder_of(handle) / "exit")) and time.monotonic() < deadline:
            time.sleep(0.02)
        if code == "0":
            return "succeeded"
        return "stopped" if code in STOPPED else "failed"

    def follow(self, handle: str, write: Write) -> None:
        with (folder_of(handle) / "log").open(errors="replace") as log:
            while True:
                has_ended = self.state(handle) in ENDED
                while text := log.read(1 << 16):
                    write(text)
                if has_ended:
                    return
                time.sleep(POLL_SECONDS)

    def stop(self, handle: str) -> None:
        if _lives(handle):
            os.kill(_pid(folder_of(handle)), signal.SIGTERM)


def _pid(folder: FilePath) -> int:
    return int(_number(folder / "pid") or 0)


def _number(file: FilePath) -> str:
    """Empty until it is written."""
    return file.read_text().strip() if file.is_file() else ""


def _lives(job: str) -> bool:
    """Whether the driver is there: its number may be another process's by now, which does not carry the job's name."""
    try:
        environment = FilePath(f"/proc/{_pid(folder_of(job))}/environ").read_bytes()
    except OSError:
        return False
    return f"{JOB}={job}".encode() in environment.split(b"\0")
