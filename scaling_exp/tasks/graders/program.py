"""Programs, run with their tests where they can do no harm; see `docs/sandbox.md`."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

from scaling_exp.grading import SPARE_MIB
from scaling_exp.sandbox import (
    SECONDS_TO_START,
    Box,
    BoxError,
    Files,
    Limits,
    SandboxName,
    Verdict,
    chosen,
    tried,
)
from scaling_exp.tasks.programs import Judging
from scaling_exp.types import Grade, Problem, UserError

NUM_TRIES = 3
"""Of a box that does not start."""
SECONDS_BESIDES = (NUM_TRIES + 1) * SECONDS_TO_START
"""For starting boxes, also on a machine that is busy."""


@dataclass(frozen=True)
class ProgramGrader:
    """An answer is right when the program that it is, or completes, passes its tests; unparsable when it is no Python.

    `sandbox` is `auto` (bubblewrap where it works, else `restricted`, else nothing is graded), one of these two, or
    `unprotected`. `packages` are installed ones that programs and tests may import besides the standard library.
    """

    sandbox: SandboxName = "auto"
    limits: Limits = field(default_factory=Limits)
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = field(default=("scaling_exp.sandbox",), init=False)
    knows: str = field(default="the tests", init=False, repr=False)

    def __post_init__(self) -> None:
        if self.limits.memory_mib > SPARE_MIB:
            raise ValueError(
                f"limits.memory_mib is {self.limits.memory_mib}; where answers are graded it is at most {SPARE_MIB}"
            )

    @property
    def seconds(self) -> float:
        return self.limits.wall_seconds + SECONDS_BESIDES

    @property
    def version(self) -> str:
        """Raises UserError when no sandbox works here."""
        return (
            f"program 1, Python {platform.python_version()}, {self._box.name}, {self.limits}"
            f"{', with ' if self.packages else ''}{', '.join(self.packages)}"
        )

    @property
    def _box(self) -> Box:
        box = chosen(self.sandbox)
        box.bounds(
            Files.of(self.packages), self.limits
        )  # raises where it cannot be as it is wanted
        return box

    def quick(self, problem: Problem, answer: str) -> Grade | None:  # noqa: ARG002 - one shape for all
        return None if answer.strip() else Grade("unparsable", "no program")

    def slow(self, problem: Problem, answer: str) -> Grade:
        """Raises UserError when no sandbox works here, or the problem's tests cannot be run."""
        judging = Judging.of(problem.extra)
        verdict = self._tried(judging, answer)
        if verdict.found == "broken":
            raise UserError(f"the tests of problem {problem.name} cannot be run: {verdict.detail}")
        if verdict.found == "passed":
            return Grade("correct")
        return Grade("unparsable" if verdict.found == "unreadable" else "wrong", verdict.detail)

    def _tried(self, judging: Judging, answer: str) -> Verdict:
        box, program, tests = self._box, judging.program(answer), judging.all_tests()
        for _ in range(NUM_TRIES - 1):
            try:
                return tried(program, tests, box, self.limits, self.packages)
            except BoxError:
                continue
        return tried(program, tests, box, self.limits, self.packages)
