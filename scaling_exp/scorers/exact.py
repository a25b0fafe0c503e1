"""The task's own grader as a scorer: 1 for an answer that it finds right, 0 for any other and where none can be read.

Some answers can be checked when they are given: a program by its tests, a puzzle by its rules. Then a grader is a
verifier (Brown et al. 2024, arXiv 2407.21787). Where it compares with the right answer it is the oracle, and what is
chosen by its verdicts bounds what any scorer of whole answers could choose.

A verdict is a draw without tokens, so it is kept in the pool, asked for once, and replayed. Its model is the grader in
its version; its prefix, as UTF-8, names the problem by a hash of all that is known of it and then is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from scaling_exp.generation import Score, Source, Stream
from scaling_exp.grading import Grader
from scaling_exp.types import Architecture, Completion, Grade, ModelFacts, Problem, Sampling, Tokens

ASKED = Sampling(max_tokens=1, temperature=0.0)
"""Greedily, so that equal answers to a problem are one draw."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A grader that scores. It reads no token and multiplies nothing: a verdict is not charged."""

    grader: Grader
    name: str = "exact"

    @property
    def model(self) -> None:
        """It needs none."""

    @cached_property
    def version(self) -> str:
        """The grader's, where it was first asked for: a copy that was sent elsewhere keeps it."""
        return self.grader.version

    @property
    def fingerprint(self) -> str:
        """Of all that decides a verdict besides problem and answer."""
        return blake2b(f"exact {self.version}".encode(), digest_size=16).hexdigest()

    @property
    def facts(self) -> ModelFacts:
        """No weights, and nothing that they were trained on."""
        return ModelFacts(self.name, Architecture.of_size(0.0, 0.0), 0.0)

    @property
    def identity(self) -> object:
        return "exact", self.fingerprint

    @property
    def caveat(self) -> str:
        """Empty where whoever answers could judge as well."""
        if not self.grader.knows:
            return ""
        return (
            f"Scores are verdicts of the task's own grader, which knows {self.grader.knows} of every problem: a bound,"
            " as nobody who does not can choose or search like this."
        )

    def num_beside(self, problems: Sequence[Problem]) -> Sequence[int]:
        """None: what it reads are no tokens."""
        return [0] * len(problems)

    def scorer(
        self,
        source: Source,
        root: str,
        problem: Problem,
        text: Callable[[Tokens], str],  # noqa: ARG002 - one shape for all
        read: Callable[[Tokens], str | None],
    ) -> Verifying:
        return Verifying(source, root, problem, read)


@dataclass(frozen=True)
class Verifying:
    """Scores answers to one problem, each as it would be graded if it ended there."""

    source: Source
    root: str
    problem: Problem
    read: Callable[[Tokens], str | None]

    async def __call__(self, answer: Tokens) -> Score:
        given = self.read(answer)
        if given is None:
            return Score((0.0,), 0)
        stream = Stream(self.root, (), prefix_of(self._problem_hash, given), ASKED)
        (verdict,) = await self.source(stream, (0,))
        return Score(verdict.scores, 0)

    @cached_property
    def _problem_hash(self) -> str:
        """Of its right answer and its tests too: where these change, other verdicts are asked for."""
        known = repr(self.problem).encode("utf-8", "surrogatepass")
        return blake2b(known, digest_size=16).hexdigest()


def prefix_of(problem_hash: str, answer: str) -> Tokens:
    """What a verdict is asked with."""
    return tuple(f"{problem_hash} {answer}".encode("utf-8", "surrogatepass"))


def answer_in(prefix: Tokens) -> str:
    """The answer that a verdict is asked about."""
    return bytes(prefix).decode("utf-8", "surrogatepass").partition(" ")[2]


def verdict_of(grade: Grade) -> Completion:
    """A grade as a draw."""
    return Completion((), "stop", scores=(float(grade.is_correct),))
