"""Submission: a run sent somewhere, where it goes on without this terminal; its log, state and end from here.

job.py                     what is sent, the note that is kept of it, the interface of a target
local.py ray_jobs.py kuberay.py slurm.py    targets: the `kind` of the configuration's `cluster`
directory.py tools.py      the working directory as it travels; programs that must be on PATH
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from scaling_exp.schema import of_kind
from scaling_exp.store.files import writing
from scaling_exp.submission.job import (
    ENDED,
    Job,
    JobState,
    Shipment,
    Target,
    folder_of,
    jobs,
    new_id,
)
from scaling_exp.submission.kuberay import KubeRay
from scaling_exp.submission.local import Local
from scaling_exp.submission.ray_jobs import RayJobs
from scaling_exp.submission.slurm import Slurm

__all__ = [
    "ENDED",
    "TARGETS",
    "Job",
    "JobState",
    "Target",
    "follow",
    "jobs",
    "stop",
    "submit",
    "target_of",
]

TARGETS: Mapping[str, type] = {
    "local": Local,
    "ray": RayJobs,
    "kuberay": KubeRay,
    "slurm": Slurm,
}
SETTLE_SECONDS = 15.0
STOP_SECONDS = 75.0


def submit(
    target: Target, cluster: Mapping[str, Any], arguments: tuple[str, ...], name: str, store: str
) -> Job:
    """Send a run; `cluster` is the configuration of the target. Raises UserError for what is missing, before anything
    is sent."""
    id_ = new_id(name)
    command = shlex.join(["python", "-m", "scaling_exp", "submit", *arguments])
    shipment = Shipment(id_, arguments, command, store)
    target.check(shipment)
    with writing(folder_of(id_)):  # a run that was sent and is not noted is lost sight of
        folder_of(id_).mkdir(parents=True, mode=0o700)
    job = Job.of(shipment, target.send(shipment), cluster)
    job.write()
    return job


def target_of(job: Job) -> Target:
    """Where a job was sent."""
    return of_kind(TARGETS, dict(job.cluster), "cluster")


def follow(target: Target, handle: str) -> JobState:
    """Print a job's log from its beginning until it ends; how it ended. Raises KeyboardInterrupt to let go of it."""

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    target.follow(handle, write)
    return _settled(target, handle, SETTLE_SECONDS)


def stop(target: Target, handle: str) -> JobState:
    """End a job and wait for that a while; how it is then. One of which nothing is known may still be there."""
    if target.state(handle) not in ("succeeded", "failed", "stopped"):
        target.stop(handle)
    return _settled(target, handle, STOP_SECONDS)


def _settled(target: Target, handle: str, seconds: float) -> JobState:
    deadline = time.monotonic() + seconds
    while (state := target.state(handle)) not in ENDED and time.monotonic() < deadline:
        time.sleep(0.5)
    return state
