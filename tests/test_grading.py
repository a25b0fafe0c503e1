"""Answers that hang, crash or eat memory cost their own grade and nothing else."""

import os
import time
from dataclasses import dataclass

import pytest

from scaling_exp.grading import Exact, Grading
from scaling_exp.types import Grade, Problem

PROBLEM = Problem("p", "?", "1", "all")


@dataclass(frozen=True)
class Careless:
    """Does what the answer says."""

    version: str = "careless 1"
    seconds: float = 1.0
    imports: tuple[str, ...] = ()

    def quick(self, problem, answer):
        return Grade.of(answer == problem.answer) if answer.isdigit() else None

    def slow(self, problem, answer):
        if answer == "hang":
            while True:
                pass
        if answer == "sleep":
            time.sleep(3600)
        if answer == "die":
            os._exit(3)
        if answer == "eat":
            return Grade.of(len("x" * (1 << 40)) == 0)
        if answer == "dig":
            return self.slow(problem, answer)
        if answer == "bug":
            raise AttributeError("a bug of ours")
        return Grade.of(answer == "one")


def test_what_hangs_dies_or_eats_memory_is_unparsable_and_its_neighbours_are_graded():
    answers = ["1", "hang", "one", "die", "2", "eat", "sleep", "dig", "two", "one"]
    with Grading(Careless(), num_processes=2) as grading:
        started = time.monotonic()
        grades = grading.grade([(PROBLEM, each) for each in answers])
    assert time.monotonic() - started < 60
    assert [each.outcome for each in grades] == [
        *("correct", "unparsable", "correct", "unparsable", "wrong"),
        *("unparsable", "unparsable", "unparsable", "wrong", "correct"),
    ]
    assert grades[1].detail == "not graded in 1 s"
    assert "process ended with 3" in grades[3].detail
    assert "MemoryError" in grades[5].detail


def test_a_bug_in_a_grader_is_no_grade():
    with Grading(Careless(), 1) as grading, pytest.raises(AttributeError, match="a bug of ours"):
        grading.grade([(PROBLEM, "bug")])


def test_quick_answers_start_no_process():
    with Grading(Exact()) as grading:
        grades = grading.grade([(PROBLEM, each) for each in ("1", "01", "")])
        assert grading._pool is None
    assert [each.is_correct for each in grades] == [True, False, False]
