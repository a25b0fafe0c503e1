"""Questions in the air, each a frozen dataclass of its settings that looks at a study and answers.

Name a new one here and give it a file in conf/question/.
"""

from __future__ import annotations

from collections.abc import Mapping

from scaling_exp.analysis.answers import Question
from scaling_exp.analysis.questions.budget import Budget
from scaling_exp.analysis.questions.plateau import Plateau

__all__ = ["QUESTIONS"]

QUESTIONS: Mapping[str, type[Question]] = {
    "plateau": Plateau,
    "budget": Budget,
}
