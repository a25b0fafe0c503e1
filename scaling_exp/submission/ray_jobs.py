"""A Ray cluster that is running, through its Jobs API: the dashboard's address is all that is needed of it.

The driver runs on the cluster's head. Ray keeps the job's command, its working directory and the passed variables *with
their values* in the memory of the head (in Redis too, where the head is fault tolerant), writes the values into
`runtime_env_agent.log` on every node, and tells them to whoever holds the cluster's token; a browser sees names alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING
from unittest.mock import patch
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from scaling_exp.submission.directory import pack, travelling
from scaling_exp.submission.job import JobState, Shipment, Write, check_names, passed
from scaling_exp.types import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from scaling_exp.cluster import Cluster

EXCLUDE = ("/runs", "/outputs", "/data", "/wandb", ".git", ".venv", "venv", "__pycache__", ".env")
TALKATIVE = ("modules.dashboard_sdk", "modules.job.sdk", "utils")
"""Modules of Ray's client that tell of every step."""
REACH_SECONDS = 10.0
READY_SECONDS = 60.0
STOP_SECONDS = "60"
"""What Ray gives a driver to seal what has come back; its own default is 3."""
STATES: dict[str, JobState] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}
ELSEWHERE = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Variables by which Ray's client would go elsewhere than told."""


@dataclass(frozen=True)
class RayJobs:
    """`address` is what a driver joins (auto: the cluster it is on), `dashboard` where jobs are sent to."""

    address: str = "auto"
    dashboard: str = "http://127.0.0.1:8265"
    pass_environment: tuple[str, ...] = ()
    """Names of variables that the run gets with their values from here."""
    working_directory: str | None = "."
    """What travels; null: nothing, and the image's own code runs in `folder`."""
    exclude: tuple[str, ...] = EXCLUDE
    folder: str = "/workspace"
    """Where the image has the code; used when no working directory travels."""
    python: str = "python3"
    """On the cluster."""

    def __post_init__(self) -> None:
        check_names(self.pass_environment)
        if not self.dashboard.startswith(("http://", "https://")):
            raise ValueError(
                f"cluster.dashboard is {self.dashboard!r}; give the address of Ray's dashboard, e.g. http://127.0.0.1:8265"
            )

    @property
    def cluster(self) -> Cluster:
        from scaling_exp.cluster import Cluster  # Ray, which most verbs need not

        return Cluster(self.address, None)

    def check(self, shipment: Shipment) -> None:
        passed(self.pass_environment)
        if self.working_directory is not None:
            travelling(FilePath(self.working_directory), self.exclude)
            if "://" not in shipment.store and not FilePath(shipment.store).is_absolute():
                raise UserError(
                    f"store is {shipment.store}, inside of the copy of the working directory that the cluster throws"
                    " away: give a folder that all its nodes see, e.g. store=/workspace/runs, or a URL"
                )
        with self._client():  # asks for the version, with the token
            return

    def _reach(self) -> None:
        """Raise UserError when no dashboard answers."""
        try:
            with urlopen(f"{self.dashboard.rstrip('/')}/api/version", timeout=REACH_SECONDS):
                return
        except HTTPError as error:
            if error.code not in (401, 403):
                raise UserError(
                    f"cluster.dashboard is {self.dashboard}, where something answers {error.code} that is no Ray"
                ) from error
        except (URLError, OSError, ValueError) as error:
            raise UserError(
                f"cluster.dashboard is {self.dashboard}, and no Ray answers there"
                f" ({getattr(error, 'reason', error)}): forward its port (ray dashboard FILE, or kubectl port-forward"
                " service/NAME-head-svc 8265), start one (ray start --head --include-dashboard=true), or give another"
            ) from error

    def send(self, shipment: Shipment) -> str:
        if self.pass_environment:
            print(
                f"note: Ray keeps {', '.join(self.pass_environment)} with their values, and in logs of its nodes",
                file=sys.stderr,
            )
        environment = {**passed(self.pass_environment), **shipment.environment}
        environment["RAY_JOB_STOP_WAIT_TIME_S"] = STOP_SECONDS
        run = [self.python, "-m", "scaling_exp", "run", *shipment.elsewhere]
        with self._client() as client, tempfile.TemporaryDirectory() as scratch:
            runtime_env: dict[str, object] = {"env_vars": environment}
            entrypoint = shlex.join(run)
            if self.working_directory is None:
                entrypoint = f"cd {shlex.quote(self.folder)} && {entrypoint}"
            else:
                archive = FilePath(scratch) / "working_directory.zip"
                num_files = pack(FilePath(self.working_directory), self.exclude, archive)
                print(
                    f"sending {num_files} files of {FilePath(self.working_directory).resolve()},"
                    f" {archive.stat().st_size / 2**20:.1f} MiB",
                    file=sys.stderr,
                )
                runtime_env["working_dir"] = str(archive)
            return _patiently(
                lambda: client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=shipment.id,
                    runtime_env=runtime_env,
                    metadata={"command": shipment.command},
                )
            )

    def state(self, handle: str) -> JobState:
        with self._client() as client:
            return STATES.get(str(client.get_job_status(handle)), "unknown")

    def follow(self, handle: str, write: Write) -> None:
        async def tail(client: JobSubmissionClient) -> None:
            async for text in client.tail_job_logs(handle):
                write(text)

        with self._client() as client:
            client.get_job_status(handle)  # says it well when there is no such job
            asyncio.run(tail(client))

    def stop(self, handle: str) -> None:
        with self._client() as client:
            client.stop_job(handle)

    @contextmanager
    def _client(self) -> Iterator[JobSubmissionClient]:
        """Ray's client; what it raises becomes UserError."""
        from aiohttp import ClientError
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        self._reach()
        for name in TALKATIVE:
            logging.getLogger(f"ray.dashboard.{name}").setLevel(logging.WARNING)
        kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        try:
            with patch.dict(os.environ, kept, clear=True):
                client = JobSubmissionClient(self.dashboard)
            yield client
        except AuthenticationError as error:
            raise UserError(
                f"the Ray at {self.dashboard} wants its token: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or"
                f" RAY_AUTH_TOKEN_PATH ({_first_line(error)})"
            ) from error
        except (ClientError, RuntimeError, OSError) as error:
            raise UserError(f"the Ray at {self.dashboard}: {_first_line(error)}") from error


def _patiently(submit: Callable[[], str]) -> str:
    """A head that has just started takes no jobs for some seconds, and says so."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            return submit()
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise UserError(
                    "Ray's agent on the head takes no jobs; where another Ray runs on that machine, start this one with"
                    " --dashboard-agent-listen-port of its own"
                ) from error
            time.sleep(1.0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
