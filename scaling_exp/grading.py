"""Grades of answers, made after drawing: what is cheap at once, what may hang or crash in processes that can be killed.

What decides is a `Grader`; this module only keeps it from doing harm. It knows no task, no engine and no file.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
from asyncio import wrap_future
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pebble import ProcessExpired, ProcessPool
from rich.progress import track

from scaling_exp.types import Grade, Problem

NO_ANSWER = Grade("unparsable", "no answer")
SPARE_MIB = 2048
"""What a grading process may allocate beyond what it has when it starts."""
PR_SET_PDEATHSIG = 1
RIGHT_ANSWER = "the right answer"
"""What a grader knows that compares with it."""
FEW = 200
"""Slow answers that are graded without a progress bar."""


@runtime_checkable
class Grader(Protocol):
    """Says whether an answer is right. Frozen and picklable."""

    @property
    def version(self) -> str:
        """Name and number; it changes whenever a grade could."""
        ...

    @property
    def seconds(self) -> float:
        """Most that one answer may take `slow`; one that takes longer is unparsable."""
        ...

    @property
    def imports(self) -> Sequence[str]:
        """Modules that `slow` needs, imported once for all processes."""
        ...

    @property
    def knows(self) -> str:
        """What it must be told of a problem beside the question; empty where whoever answers could judge as well."""
        ...

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        """The grade where it is cheap and sure, whatever the answer is; None where `slow` must tell."""
        ...

    def slow(self, problem: Problem, answer: str) -> Grade:
        """The grade. May hang or end its process: it is called where that does no harm."""
        ...


@dataclass(frozen=True)
class Quick:
    """What a grader need not say of itself that tells every grade at once."""

    seconds: float = field(default=1.0, init=False)
    imports: tuple[str, ...] = field(default=(), init=False)
    knows: str = field(default=RIGHT_ANSWER, init=False, repr=False)

    def slow(self, problem: Problem, answer: str) -> Grade:
        raise AssertionError(f"{problem.name}: {answer!r} is always graded at once")


@dataclass(frozen=True)
class Exact(Quick):
    """An answer is right when it is the gold answer, letter by letter."""

    version: str = field(default="exact 1", init=False)

    def quick(self, problem: Problem, answer: str) -> Grade | None:
        return Grade.of(answer == problem.answer)


@dataclass(eq=False)
class Grading:
    """A grader and the processes that it needs, which start with the first answer that is not quick. A context.

    A process that takes longer than the grader's `seconds` or more memory than `SPARE_MIB` is killed and replaced, its
    answer is unparsable, and no other is touched.
    """

    grader: Grader
    num_processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    _pool: ProcessPool | None = None

    def grade(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Grades in the order of the answers. A bug in the grader ends it with its trace."""
        quick = [self.grader.quick(problem, answer) for problem, answer in answers]
        left = [each for each, grade in zip(answers, quick, strict=True) if grade is None]
        slow = iter(self._grade_slowly(left) if left else ())
        return [next(slow) if grade is None else grade for grade in quick]

    def start(self) -> None:
        """Start the processes now, if the grader may need any: with the first answer it would take seconds."""
        if not isinstance(self.grader, Quick):
            self._processes().schedule(os.getpid)

    async def grade_beside(self, problem: Problem, answer: str) -> Grade:
        """The grade of one answer, for which nothing else that runs in the event loop waits once it is started."""
        quick = self.grader.quick(problem, answer)
        if quick is not None:
            return quick
        try:
            return await wrap_future(self._schedule(problem, answer))
        except (OutOfTime, ProcessExpired) as error:
            return _ungraded(error, self.grader.seconds)

    def stop(self) -> None:
        """End the processes, whatever they do."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _grade_slowly(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        futures = [self._schedule(problem, answer) for problem, answer in answers]
        shown = track(futures, "grading", transient=True, disable=len(futures) < FEW)
        return [_result(future, self.grader.seconds) for future in shown]

    def _schedule(self, problem: Problem, answer: str) -> Future[Grade]:
        task = (self.grader, problem, answer)
        return self._processes().schedule(_slow, task, timeout=self.grader.seconds)

    def _processes(self) -> ProcessPool:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__, *self.grader.imports])
            self._pool = ProcessPool(self.num_processes, initializer=_confine, context=context)
        return self._pool

    def __enter__(self) -> Grading:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _slow(grader: Grader, problem: Problem, answer: str) -> Grade:
    try:
        return grader.slow(problem, answer)
    except (MemoryError, RecursionError) as error:
        return Grade("unparsable", f"the grader ended with {type(error).__name__}")


def _result(future: Future[Grade], seconds: float) -> Grade:
    try:
        return future.result()
    except (OutOfTime, ProcessExpired) as error:
        return _ungraded(error, seconds)


def _ungraded(error: OutOfTime | ProcessExpired, seconds: float) -> Grade:
    """What becomes of an answer whose process was ended."""
    if isinstance(error, ProcessExpired):
        return Grade("unparsable", f"the grader's process ended with {error.exitcode}")
    return Grade("unparsable", f"not graded in {seconds:g} s")


def _confine() -> None:
    """Bound the memory of this process, and let it not outlive the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115 - read at once
    limit = pages * resource.getpagesize() + (SPARE_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
