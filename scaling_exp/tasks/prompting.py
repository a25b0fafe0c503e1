"""From a question to what a model is asked, and from what it wrote to the part that holds the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from scaling_exp.tasks.question import Question
from scaling_exp.types import Chat, Message, Problem, UserError


@dataclass(frozen=True)
class Example:
    """A worked question, shown before the real one."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompting:
    """Zero-shot or few-shot, in plain text or as a chat.

    In plain text each example is the template, a space and the example's answer, and `separator` stands between them;
    in a chat examples are earlier turns. Only `{question}` and `{choices}` are replaced in a template: other braces,
    there and in questions, are what they are.
    """

    template: str = "{question}"
    """`{question}` and, where there are choices, `{choices}`."""
    choice: str = "{letter}) {choice}"
    """One line of `{choices}`."""
    examples: tuple[Example, ...] = ()
    separator: str = "\n\n"
    chat: bool = False
    system: str | None = None
    """The first turn of a chat."""
    thinking: bool | None = None
    """Handed to the chat template; null leaves it to the template."""
    answer_after: str | None = None
    """What ends the thinking; only the text after its last occurrence is read, and without it there is no answer."""
    stop: tuple[str, ...] = ()
    """In plain text: what follows the first of these is not read, and the strategies of `conf/strategy` stop drawing
    there (`${scaling_exp.stop:}`). A chat model ends its turn itself."""

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise ValueError(
                f"task.prompt.template is {self.template!r}; it must have {{question}} where the question goes"
            )
        if "{letter}" not in self.choice or "{choice}" not in self.choice:
            raise ValueError(
                f"task.prompt.choice is {self.choice!r}; it must have {{letter}} and {{choice}}"
            )
        if not self.chat and (self.system is not None or self.thinking is not None):
            key = "thinking" if self.system is None else "system"
            raise ValueError(f"task.prompt.{key} is a part of a chat; set task.prompt.chat=true")
        if "" in self.stop or self.answer_after == "":
            raise ValueError("task.prompt.stop and task.prompt.answer_after must not be empty text")

    def problem(self, question: Question, drawn: Sequence[Example] = ()) -> Problem:
        """The question in words, after the examples, `drawn` ones last.

        Raises UserError where template and questions do not fit.
        """
        examples = (*self.examples, *drawn)
        asked = [self._ask(each.question, each.choices) for each in examples]
        asked.append(self._ask(question.question, question.choices))
        answers = [each.answer for each in examples]
        chat = self._chat(asked, answers) if self.chat else None
        return Problem(
            name=question.name,
            prompt=self._plain(asked, answers) if chat is None else _shown(chat),
            answer=question.answer,
            level=question.level,
            chat=chat,
            extra=question.extra,
        )

    def said(self, text: str) -> str | None:
        """What of a completion may hold the answer; None when the thinking has not ended."""
        stop = () if self.chat else self.stop
        text = text[: min((at for each in stop if (at := text.find(each)) >= 0), default=None)]
        if self.answer_after is None:
            return text
        _, ended, answer = text.rpartition(self.answer_after)
        return answer if ended else None

    def _ask(self, question: str, choices: Sequence[str]) -> str:
        if bool(choices) != ("{choices}" in self.template):
            raise UserError(
                "task.prompt.template has no {choices}, but the questions have"
                if choices
                else "task.prompt.template has {choices}, but the questions have none; see task.rows.kind"
            )
        return _filled(self.template, {"question": question, "choices": self._lines(choices)})

    def _lines(self, choices: Sequence[str]) -> str:
        lettered = zip(ascii_uppercase, choices, strict=False)
        return "\n".join(
            _filled(self.choice, {"letter": letter, "choice": choice})
            for letter, choice in lettered
        )

    def _plain(self, asked: Sequence[str], answers: Sequence[str]) -> str:
        worked = [
            ask + ("" if ask[-1:].isspace() else " ") + answer
            for ask, answer in zip(asked, answers, strict=False)
        ]
        return self.separator.join([*worked, asked[-1]])

    def _chat(self, asked: Sequence[str], answers: Sequence[str]) -> Chat:
        turns = [] if self.system is None else [Message("system", self.system)]
        for ask, answer in zip(asked, answers, strict=False):
            turns += [Message("user", ask), Message("assistant", answer)]
        return Chat((*turns, Message("user", asked[-1])), self.thinking)


def _filled(template: str, values: dict[str, str]) -> str:
    """The template with its places filled in one pass, so that what is filled in is never a place itself."""
    return re.sub("{(" + "|".join(values) + ")}", lambda found: values[found[1]], template)


def _shown(chat: Chat) -> str:
    """What a report shows of a chat: its only turn, or all of them by their roles."""
    if len(chat.messages) == 1:
        return chat.messages[0].content
    return "\n\n".join(f"[{each.role}]\n{each.content}" for each in chat.messages)
