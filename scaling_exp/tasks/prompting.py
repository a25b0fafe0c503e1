"""From a question to what a model is asked, and from what it wrote to the part that holds the answer."""

from __future__ import annotations

from dataclasses import dataclass

from scaling_exp.tasks.question import Question
from scaling_exp.types import Problem


@dataclass(frozen=True)
class Example:
    """A worked question, shown before the real one."""

    question: str
    answer: str


@dataclass(frozen=True)
class Prompting:
    """Zero-shot or few-shot, in plain text or as a chat."""

    template: str = "{question}"
    """`{question}` and, where there are choices, `{choices}`."""
    examples: tuple[Example, ...] = ()
    separator: str = "\n\n"
    chat: bool = False
    system: str | None = None
    thinking: bool | None = None
    """Handed to the chat template; null leaves it to the template."""
    answer_after: str | None = None
    """What ends the thinking; only the text after its last occurrence is read, and without it there is no answer."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; `strategies.*.sampling.stop` follows them."""

    def problem(self, question: Question) -> Problem:
        """The question in words."""
        raise NotImplementedError

    def said(self, text: str) -> str | None:
        """What of a completion may hold the answer; None when the thinking has not ended."""
        raise NotImplementedError
