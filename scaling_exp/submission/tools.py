"""Programs of others that a target needs on PATH, such as kubectl; what they complain of becomes one line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from scaling_exp.types import UserError


def need(program: str, why: str) -> None:
    """Raise UserError when it is not on PATH."""
    if shutil.which(program) is None:
        raise UserError(f"{program} is not on PATH here, and {why}")


def output(
    *command: str, given: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a program prints. Raises UserError with what it complains of."""
    done = subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:400]
        raise UserError(f"{' '.join(command[:3])} failed: {said or f'exit {done.returncode}'}")
    return done.stdout.strip()
