"""Kubernetes with KubeRay: a RayJob that makes a cluster of its own, or, given a dashboard, a RayCluster that stays.

A RayJob is made of a manifest (cluster/kuberay-rayjob.yaml) by kubectl. No file travels with it, the image has the
code; and no value of a variable: what is passed must be in the manifest already, as a reference to a Secret.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import yaml

from scaling_exp.submission.job import ENDED, JobState, Shipment, Write, check_names
from scaling_exp.submission.ray_jobs import EXCLUDE, RayJobs
from scaling_exp.submission.tools import need, output
from scaling_exp.types import UserError

if TYPE_CHECKING:
    from scaling_exp.cluster import Cluster

UNFILLED = "REGISTRY/"
"""What the image in the repository's manifest begins with until it is filled in."""
POLL_SECONDS = 2.0
STATES: dict[str, JobState] = {
    "": "waiting",
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "STOPPED": "stopped",
    "FAILED": "failed",
}


@dataclass(frozen=True)
class KubeRay:
    """With `dashboard`, jobs go to the cluster behind it (see `RayJobs`); else each is a RayJob made of `manifest`."""

    dashboard: str | None = None
    manifest: str = "cluster/kuberay-rayjob.yaml"
    namespace: str | None = None
    """Null: that of kubectl's context."""
    pass_environment: tuple[str, ...] = ()
    working_directory: str | None = None
    exclude: tuple[str, ...] = EXCLUDE
    folder: str = "/workspace"
    python: str = "python3"

    def __post_init__(self) -> None:
        check_names(self.pass_environment)
        _ = self._standing  # raises for a dashboard that is none

    @property
    def cluster(self) -> Cluster:
        from scaling_exp.cluster import Cluster  # Ray, which most verbs need not

        return Cluster("auto", None)

    @cached_property
    def _standing(self) -> RayJobs | None:
        """The cluster that stays."""
        if self.dashboard is None:
            return None
        return RayJobs(
            dashboard=self.dashboard,
            pass_environment=self.pass_environment,
            working_directory=self.working_directory,
            exclude=self.exclude,
            folder=self.folder,
            python=self.python,
        )

    def check(self, shipment: Shipment) -> None:
        if self._standing is not None:
            self._standing.check(shipment)
            return
        need(
            "kubectl",
            "cluster=kuberay makes RayJobs by it: install it, or forward the dashboard of a RayCluster and give"
            " cluster.dashboard=http://127.0.0.1:8265",
        )
        if self.working_directory is not None:
            raise UserError(
                "cluster.working_directory is set, and none travels with a RayJob: build it into the image, or give"
                " cluster.dashboard of a RayCluster that stays"
            )
        self._check_manifest(self._read_manifest())
        output(*self._kubectl, "get", "crd", "rayjobs.ray.io", "--output=name")

    def _check_manifest(self, manifest: Mapping[str, Any]) -> None:
        container = _head(manifest)
        if str(container.get("image", "")).startswith(UNFILLED):
            raise UserError(
                f"{self.manifest} still has the image {container['image']}: fill in what is marked EDIT there"
            )
        known = {each["name"] for each in container.get("env", ())}
        if lacking := [each for each in self.pass_environment if each not in known]:
            raise UserError(
                f"cluster.pass_environment names {', '.join(lacking)}, of which {self.manifest} has no env entry: add"
                " one with a secretKeyRef, as HF_TOKEN has"
            )

    def _read_manifest(self) -> dict[str, Any]:
        file = FilePath(self.manifest)
        if not file.is_file():
            raise UserError(
                f"cluster.manifest is {self.manifest}, which is not here: run this in the repository's root, or give"
                " the path of your copy of cluster/kuberay-rayjob.yaml"
            )
        try:
            (manifest,) = yaml.safe_load_all(file.read_text())
            _head(manifest)
        except (yaml.YAMLError, ValueError, TypeError, LookupError):
            manifest = {}
        if manifest.get("kind") != "RayJob":
            raise UserError(f"cluster.manifest is {self.manifest}, which is not one RayJob")
        return manifest

    def send(self, shipment: Shipment) -> str:
        if self._standing is not None:
            return self._standing.send(shipment)
        manifest = rayjob(self._read_manifest(), shipment, self.python)
        name = output(
            *self._kubectl, "create", "--filename=-", "--output=name", given=json.dumps(manifest)
        )
        return name.rpartition("/")[2]

    def state(self, handle: str) -> JobState:
        if self._standing is not None:
            return self._standing.state(handle)
        path = "{.status.jobStatus}/{.status.jobDeploymentStatus}"
        command = ("get", "rayjob", handle, f"--output=jsonpath={path}", "--ignore-not-found")
        told = output(*self._kubectl, *command)
        status, _, deployment = told.partition("/")
        if not told:  # it was taken away
            return "stopped"
        return "failed" if deployment == "Failed" else STATES.get(status, "unknown")

    def follow(self, handle: str, write: Write) -> None:
        if self._standing is not None:
            self._standing.follow(handle, write)
            return
        while (state := self.state(handle)) == "waiting":
            time.sleep(POLL_SECONDS)
        arguments = ["logs", "--follow", f"--selector=job-name={handle}", "--tail=-1"]
        with subprocess.Popen(
            [*self._kubectl, *arguments], stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        ) as logs:
            assert logs.stdout is not None
            for line in logs.stdout:
                write(line)
        while state not in ENDED:
            time.sleep(POLL_SECONDS)
            state = self.state(handle)

    def stop(self, handle: str) -> None:
        """Take the RayJob away, with its cluster."""
        if self._standing is not None:
            self._standing.stop(handle)
            return
        output(*self._kubectl, "delete", "rayjob", handle, "--ignore-not-found", "--wait=false")

    @property
    def _kubectl(self) -> tuple[str, ...]:
        return ("kubectl", *(() if self.namespace is None else (f"--namespace={self.namespace}",)))


def rayjob(manifest: Mapping[str, Any], shipment: Shipment, python: str) -> dict[str, Any]:
    """The manifest with the run as its entrypoint and the job's name; the rest as it is written."""
    tells = [f"{name}={value}" for name, value in shipment.environment.items()]
    run = ["env", *tells, python, "-m", "scaling_exp", "run", *shipment.elsewhere]
    metadata = {k: v for k, v in manifest.get("metadata", {}).items() if k != "generateName"}
    return {
        **manifest,
        "metadata": {**metadata, "name": shipment.id},
        "spec": {**manifest["spec"], "entrypoint": shlex.join(run)},
    }


def _head(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    group = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]
    return group["template"]["spec"]["containers"][0]
