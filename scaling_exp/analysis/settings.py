"""The settings of an analysis: how sure to be, what to price, and what to ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scaling_exp.analysis.answers import Question
from scaling_exp.analysis.pricing import Pricing, read_tariffs
from scaling_exp.analysis.questions import QUESTIONS
from scaling_exp.schema import ConfigError, of_kind, validate


@dataclass(frozen=True)
class AnalysisSettings:
    """How sure to be, over which lifetimes (numbers of queries) to price the models, what inference runs on and costs,
    and the questions to answer beside the verdict."""

    confidence: float = 0.95
    num_bootstrap: int = 1000
    seed: int = 0
    queries: tuple[float, ...] = (1e3, 1e6, 1e9)
    confidence_window: int = 2048
    """Tokens of a window over which a model's confidence is taken (`confidence.confidences`)."""
    pricing: Pricing = field(default_factory=Pricing)
    questions: Mapping[str, Question] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"analysis.confidence is {self.confidence}; it must be in (0, 1)")
        if self.num_bootstrap * (1 - self.confidence) < 2 - 1e-9:
            raise ValueError(
                f"analysis.num_bootstrap is {self.num_bootstrap}; an interval at confidence "
                f"{self.confidence} needs "
                f"at least {2 / (1 - self.confidence):.0f} resamples"
            )
        if self.confidence_window < 1:
            raise ValueError(
                f"analysis.confidence_window is {self.confidence_window}; it must be at least 1"
            )
        if self.seed < 0:
            raise ValueError(f"analysis.seed is {self.seed}; it must be 0 or more")
        for name in self.questions:
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(
                    f"analysis.questions has {name!r}; name questions with letters, digits, '.', '_' and '-'"
                )
        if not self.queries or any(num_queries < 0 for num_queries in self.queries):
            raise ValueError(
                f"analysis.queries is {self.queries}; give at least one number, none negative"
            )


def record(settings: AnalysisSettings) -> dict[str, Any]:
    """What `settings_from` reads, for a manifest."""
    kinds = {kind: name for name, kind in QUESTIONS.items()}
    asked = {
        name: {"kind": kinds[type(question)], **vars(question)}
        for name, question in settings.questions.items()
    }
    return {**asdict(replace(settings, questions={})), "questions": asked}


def settings_from(node: Mapping[str, Any]) -> AnalysisSettings:
    """The settings that a configuration's `analysis` describes, composed now or recorded in a manifest.

    A file of prices (`pricing.price_list`) is read, so that what is recorded needs it no more. Raises ConfigError.
    """
    pricing = dict(node.get("pricing") or {})
    if (file := pricing.pop("price_list", None)) is not None:
        try:
            pricing["prices"] = [asdict(each) for each in read_tariffs(Path(file))]
        except ValueError as error:
            raise ConfigError(f"analysis.pricing.price_list: {error}") from None
    node = {**node, "pricing": pricing}
    questions = {
        name: of_kind(QUESTIONS, question, f"analysis.questions.{name}")
        for name, question in (node.get("questions") or {}).items()
    }
    return validate(AnalysisSettings, {**node, "questions": questions}, "analysis")
