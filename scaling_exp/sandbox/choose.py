"""Which box is used here. Each is tried with a real program before it is believed in."""

from __future__ import annotations

import subprocess
from functools import cache

from scaling_exp.sandbox.boxes import (
    Box,
    BoxError,
    Bubblewrap,
    Files,
    Restricted,
    SandboxName,
    Unprotected,
)
from scaling_exp.sandbox.limits import Limits
from scaling_exp.sandbox.trial import Program, Tests, tried
from scaling_exp.types import UserError

BOXES: dict[str, Box] = {each.name: each for each in (Bubblewrap(), Restricted(), Unprotected())}
SAFE = ("bubblewrap", "restricted")
SECONDS = 30


def chosen(sandbox: SandboxName) -> Box:
    """The box of that name; `auto` is the first safe one that works here.

    Raises UserError when it does not work here: nothing is run unprotected unless that is what was asked for.
    """
    if sandbox == "unprotected":
        return BOXES[sandbox]
    asked = SAFE if sandbox == "auto" else (sandbox,)
    reasons = {name: why_not(name) for name in asked}
    for name, reason in reasons.items():
        if reason is None:
            return BOXES[name]
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise UserError(
        f"programs that a model wrote cannot be run safely here ({told}). Install bubblewrap where user namespaces are"
        " allowed, or take the risk on a machine that has nothing to lose: task.grader.sandbox=unprotected"
    )


@cache
def why_not(name: str) -> str | None:
    """Why a box does not work here; None when it does."""
    box = BOXES[name]
    files, limits = Files.of(), Limits(wall_seconds=SECONDS)
    try:
        command = [*box.command(files, limits), files.interpreter, "-S", "-c", ""]
    except UserError as error:
        return str(error)
    try:
        started = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=files.environment,
            cwd="/",
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if started.returncode != 0:
        return (started.stderr.strip().splitlines() or ["it does not start"])[-1]
    try:
        verdict = tried(Program("def same(x): return x"), Tests("assert same(1) == 1"), box, limits)
    except BoxError:
        return "the kernel does not confine programs: it wants seccomp, and Landlock without bubblewrap"
    return None if verdict.found == "passed" else verdict.detail
