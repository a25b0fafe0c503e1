"""Slurm: the run as a batch job that makes a Ray of its nodes (cluster/slurm.sbatch) and goes on after preemption.

Nothing is copied: the directory from which it is sent, and `.venv` in it, lie on a file system that all nodes see.
Slurm keeps the passed variables with their values in the job's record, which its administrators can read.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from scaling_exp.submission.job import ENDED, JobState, Shipment, Write, check_names, passed
from scaling_exp.submission.tools import need, output
from scaling_exp.types import UserError

if TYPE_CHECKING:
    from scaling_exp.cluster import Cluster

EVERYBODY = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG")
"""Variables that a job gets besides those that it is passed."""
POLL_SECONDS = 2.0
STATES: dict[str, JobState] = {
    "PENDING": "waiting",
    "CONFIGURING": "waiting",
    "REQUEUED": "waiting",
    "REQUEUE_FED": "waiting",
    "REQUEUE_HOLD": "waiting",
    "RESV_DEL_HOLD": "waiting",
    "SPECIAL_EXIT": "waiting",
    "SUSPENDED": "waiting",
    "RUNNING": "running",
    "COMPLETING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    "STOPPED": "running",
    "COMPLETED": "succeeded",
    "CANCELLED": "stopped",
}
"""What is not here has failed."""


@dataclass(frozen=True)
class Slurm:
    """`options` are sbatch's own by their long names, such as {partition: gpu}; they override those in the script."""

    script: str = "cluster/slurm.sbatch"
    options: Mapping[str, str | int] = field(default_factory=dict)
    pass_environment: tuple[str, ...] = ()
    """Names of variables that the job gets with their values from here."""

    def __post_init__(self) -> None:
        check_names(self.pass_environment)
        for option in self.options:
            if not re.fullmatch(r"[a-z][a-z-]+", option):
                raise ValueError(
                    f"cluster.options has {option!r}; give sbatch's long options, e.g. {{partition: gpu}}"
                )

    @property
    def cluster(self) -> Cluster:
        from scaling_exp.cluster import Cluster  # Ray, which most verbs need not

        return Cluster("auto", None)

    def check(self, shipment: Shipment) -> None:  # noqa: ARG002 - the interface of a target
        need(
            "sbatch",
            "cluster=slurm sends runs by it: run this on a login node of the Slurm cluster",
        )
        need("squeue", "cluster=slurm asks it how jobs are")
        passed(self.pass_environment)
        if not FilePath(self.script).is_file():
            raise UserError(
                f"cluster.script is {self.script}, which is not here: run this in the repository's root, or give the"
                " path of your copy of cluster/slurm.sbatch"
            )

    def send(self, shipment: Shipment) -> str:
        environment = {**os.environ, **passed(self.pass_environment), **shipment.environment}
        names = [*EVERYBODY, *self.pass_environment, *shipment.environment]
        number = output(
            *("sbatch", "--parsable", f"--job-name={shipment.id}", f"--export={','.join(names)}"),
            f"--output={FilePath.cwd()}/slurm-%j.log",
            *(f"--{name}={value}" for name, value in self.options.items()),
            self.script,
            *(each for each in shipment.elsewhere if each != "cluster=ray"),  # the script says it
            environment=environment,
        ).partition(";")[0]
        return f"{number}:{FilePath.cwd()}/slurm-{number}.log"

    def state(self, handle: str) -> JobState:
        number = handle.partition(":")[0]
        try:
            word = output("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T")
        except UserError:  # Slurm forgets a job some minutes after its end
            word = ""
        if not word:
            return _accounted(number)
        return STATES.get(re.split(r"\s", word)[0], "failed")

    def follow(self, handle: str, write: Write) -> None:
        number, _, noted = handle.partition(":")
        log = FilePath(noted or f"slurm-{number}.log")
        at = 0
        while True:
            has_ended = self.state(handle) in ENDED
            if log.is_file():
                with log.open(errors="replace") as file:
                    file.seek(at)
                    write(file.read())
                    at = file.tell()
            if has_ended:
                return
            time.sleep(POLL_SECONDS)

    def stop(self, handle: str) -> None:
        output("scancel", handle.partition(":")[0])


def _accounted(number: str) -> JobState:
    """How a job ended that the queue forgot, where Slurm keeps accounts."""
    try:
        # Without a width it cuts "CANCELLED by 1000" to "CANCELLED+".
        command = ("sacct", "--noheader", "--allocations", f"--jobs={number}", "--format=State%32")
        word = output(*command)
    except (UserError, FileNotFoundError):
        return "unknown"
    return STATES.get(word.split()[0], "failed") if word else "unknown"
