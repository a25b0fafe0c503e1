"""Asking: what the data cannot tell becomes an answer that says so, here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from scaling_exp.analysis.answers import Answer
from scaling_exp.analysis.laws.fit import Fit
from scaling_exp.analysis.words import cannot_tell


class CannotTell(Exception):
    """The reason, as it follows "because"."""


def answered(name: str, question: str, what: str, answer: Callable[[], Answer]) -> Answer:
    """The answer, or one that says what cannot be told and why."""
    try:
        return answer()
    except CannotTell as reason:
        sentence = cannot_tell(what, str(reason))
        return Answer(name, question, [sentence], numbers={"cannot_tell": str(reason)})


def untold(name: str, question: str, because: str) -> Answer:
    """An answer that cannot be given, whatever it is about."""
    return Answer(name, question, [f"The data cannot tell, because {because}."])


def fitted(fit: Callable[[], Fit]) -> Fit:
    """A fit; one that the data do not allow is what cannot be told."""
    try:
        return fit()
    except ValueError as error:
        raise CannotTell(str(error)) from error
