"""Questions in the air, each a frozen dataclass of its settings that looks at a study and answers.

Name a new one here and give it a file in conf/question/.
"""

from __future__ import annotations

from collections.abc import Mapping

from scaling_exp.analysis.answers import Question
from scaling_exp.analysis.laws.question import Laws
from scaling_exp.analysis.questions.budget import Budget
from scaling_exp.analysis.questions.compute_optimal import ComputeOptimal
from scaling_exp.analysis.questions.confidence import Confidence
from scaling_exp.analysis.questions.differences import Differences
from scaling_exp.analysis.questions.difficulty import Difficulty
from scaling_exp.analysis.questions.flops_matched import FlopsMatched
from scaling_exp.analysis.questions.forcing import Forcing
from scaling_exp.analysis.questions.imperfect_verifier import ImperfectVerifier
from scaling_exp.analysis.questions.next_unit import NextUnit
from scaling_exp.analysis.questions.peak_data import PeakData
from scaling_exp.analysis.questions.plateau import Plateau
from scaling_exp.analysis.questions.quality_price import QualityPrice
from scaling_exp.analysis.questions.small_vs_big import SmallVsBig
from scaling_exp.analysis.questions.strategies import Strategies
from scaling_exp.analysis.questions.swarm import Swarm

__all__ = ["QUESTIONS"]

QUESTIONS: Mapping[str, type[Question]] = {
    "next_unit": NextUnit,
    "laws": Laws,
    "flops_matched": FlopsMatched,
    "difficulty": Difficulty,
    "differences": Differences,
    "plateau": Plateau,
    "peak_data": PeakData,
    "quality_price": QualityPrice,
    "small_vs_big": SmallVsBig,
    "budget": Budget,
    "strategies": Strategies,
    "compute_optimal": ComputeOptimal,
    "imperfect_verifier": ImperfectVerifier,
    "swarm": Swarm,
    "confidence": Confidence,
    "forcing": Forcing,
}
