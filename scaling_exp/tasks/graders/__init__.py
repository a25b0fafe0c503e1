"""Judging an answer. `kind:` chooses from `GRADERS`; see `grading.Grader`."""

from scaling_exp.grading import Exact
from scaling_exp.tasks.graders.choice import ChoiceGrader
from scaling_exp.tasks.graders.countdown import CountdownGrader
from scaling_exp.tasks.graders.function import FunctionGrader
from scaling_exp.tasks.graders.math import MathGrader
from scaling_exp.tasks.graders.number import NumberGrader
from scaling_exp.tasks.graders.program import ProgramGrader
from scaling_exp.tasks.graders.reasoning_gym import ReasoningGymGrader

GRADERS: dict[str, type] = {
    "exact": Exact,
    "number": NumberGrader,
    "choice": ChoiceGrader,
    "math": MathGrader,
    "countdown": CountdownGrader,
    "function": FunctionGrader,
    "program": ProgramGrader,
    "reasoning_gym": ReasoningGymGrader,
}

__all__ = ["GRADERS", "ChoiceGrader", "MathGrader", "NumberGrader"]
