"""A model that scores an answer by how likely it finds it, such as a larger one that reads what a smaller one wrote."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import exp
from typing import Literal

from scaling_exp.scorers.reading import Asked
from scaling_exp.scorers.scorer import Ask
from scaling_exp.types import Completion, Sampling


@dataclass(frozen=True, kw_only=True)
class Likelihood(Asked):
    """Score after a step = exp(mean log-probability of the answer's tokens so far), 0 before there is one.

    So it is the probability of a token, their geometric mean: in (0, 1], as weighted votes and the odds of particles
    want it, higher where the log-probability is, and of one scale at any length. With `of` "sum" it is the probability
    of the answer so far: that of a long one is lower, and 0 where its logarithm is below -745.

    All steps are read at once. Tokens are those of the model that scores; one that reaches over the end of a step is
    part of it. How question and answer are put to it is told in `Asked`.
    """

    of: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.template.endswith("{answer}"):
            raise ValueError(
                f"scorer.template is {self.template!r}; of a likelihood nothing follows {{answer}}"
            )

    @property
    def identity(self) -> object:
        return self.model.fingerprint, self.reading, f"likelihood, {self.of}"

    def asks(self, question: str, answer: str) -> Sequence[Ask]:
        text, begin, step_ends = self.reading.whole(question, answer)
        read = self.model.tokenizer.encode(text)
        # Of the first token nothing is known. One that stands for no text lies at 0.
        scored = [at for at, (_, end) in enumerate(read.offsets) if at and end > begin]
        starts = [read.offsets[at][0] for at in scored]
        first = scored[0] if scored else len(read.ids)
        sampling = Sampling(max_tokens=1, temperature=0.0, scored_from=first)
        num_tokens = [bisect_left(starts, end) for end in step_ends]
        return [Ask(tuple(read.ids), sampling, partial(self.scores, num_tokens))]

    def scores(self, num_tokens: Sequence[int], completion: Completion) -> Sequence[float]:
        """Of steps that end after so many tokens of the answer."""
        if not completion.scores:
            return (0.0,)
        sums = [0.0, *accumulate(completion.scores)]
        return [exp(sums[n] / (n if self.of == "mean" else 1)) if n else 0.0 for n in num_tokens]
