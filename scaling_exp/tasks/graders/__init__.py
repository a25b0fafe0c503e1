"""Judging an answer. `kind:` chooses from `GRADERS`; see `grading.Grader`."""

from scaling_exp.grading import Exact

GRADERS: dict[str, type] = {"exact": Exact}

__all__ = ["GRADERS"]
