"""The model judges its own candidates: a tournament in which it says, in one token, which of a group is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaling_exp.generation import Bound, Forest, most_tokens, together
from scaling_exp.strategies.parallel import check_sampled
from scaling_exp.types import Path, Sampling, Tokens, UserError


@dataclass(frozen=True)
class Judged:
    """Sample, and let the model choose the best of every group until one sample is left, which is accepted.

    Groups of 2 are a pairwise knockout (Chen et al. 2024, arXiv 2411.19477); one group of all is universal
    self-consistency (Chen et al. 2023, arXiv 2311.17311). What is asked follows the prompt: `intro`; for every
    candidate `candidate`, which holds `{label}` and `{answer}`; and `question`, which the likeliest of the labels
    answers. No thinking comes before a verdict.
    """

    num_samples: int
    sampling: Sampling
    group_size: int
    labels: tuple[str, ...]
    intro: str
    candidate: str
    question: str

    def __post_init__(self) -> None:
        check_sampled(self.num_samples, self.sampling)
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels are {list(self.labels)}; they must all differ")
        if not 2 <= self.group_size <= len(self.labels):
            raise ValueError(
                f"group_size is {self.group_size}; it must be at least 2 and have a label each ({len(self.labels)})"
            )
        for part in ("{label}", "{answer}"):
            if self.candidate.count(part) != 1:
                raise ValueError(f"candidate is {self.candidate!r}; it must hold {part} once")

    @property
    def forced(self) -> tuple[str, ...]:
        """What it is asked with, around the candidates."""
        around = self.candidate.replace("{label}", "").split("{answer}")
        return (self.intro, *around, *self.labels[: self.group_size], self.question)

    async def __call__(self, forest: Forest) -> None:
        nodes = await forest.extend_all((), range(self.num_samples), self.sampling)
        left = [node.path for node in nodes]
        num_asked = 0
        while len(left) > 1:
            groups = grouped(left, self.group_size)
            asked = range(self.num_samples + num_asked, self.num_samples + num_asked + len(groups))
            left = await together(
                self._best(forest, group, (at,)) for group, at in zip(groups, asked, strict=True)
            )
            num_asked += len(groups)
        forest.accept(left[0])

    async def _best(self, forest: Forest, group: Sequence[Path], verdict: Path) -> Path:
        """The candidate that the model says is best; of equals the first. Alone it need not be asked about."""
        if len(group) == 1:
            return group[0]
        labels = tuple(_label(forest, each) for each in self.labels[: len(group)])
        sampling = Sampling(max_tokens=1, temperature=0.0, labels=labels)
        said = (await forest.extend(verdict, sampling, self._question(forest, group))).completion
        if not said.tokens:
            return group[0]
        if not said.scores:
            raise UserError("a judged strategy needs an engine that tells probabilities of labels")
        likeliest = max(range(len(group)), key=said.scores.__getitem__)
        return group[likeliest]

    def _question(self, forest: Forest, group: Sequence[Path]) -> Tokens:
        asked = forest.encode(self.intro)
        for label, path in zip(self.labels, group, strict=False):
            before, after = self.candidate.replace("{label}", label).split("{answer}")
            asked += forest.encode(before) + _without_end(forest, path) + forest.encode(after)
        return asked + forest.encode(self.question)

    @property
    def bound(self) -> Bound:
        below = num_verdicts(self.num_samples, self.group_size)
        return Bound(
            self.num_samples,
            self.sampling,
            is_exact=False,
            num_below=below,
            num_tokens=self.num_samples * self.sampling.max_tokens + below * self.max_new_tokens,
        )

    @property
    def max_new_tokens(self) -> int:
        longest = max(map(most_tokens, self.labels))
        candidate = self.sampling.max_tokens + most_tokens(self.candidate) + longest
        asked = most_tokens(self.intro) + self.group_size * candidate + most_tokens(self.question)
        return asked + 1


def grouped(paths: Sequence[Path], size: int) -> list[Sequence[Path]]:
    """Groups of `size`, the last of what is left."""
    return [paths[first : first + size] for first in range(0, len(paths), size)]


def num_verdicts(num_candidates: int, group_size: int) -> int:
    """How often the model is asked until one candidate is left. A last group of one is counted as well."""
    num = 0
    while num_candidates > 1:
        num_candidates = -(-num_candidates // group_size)
        num += num_candidates
    return num


def _label(forest: Forest, text: str) -> int:
    tokens = forest.encode(text)
    if len(tokens) != 1:
        raise UserError(f"the label {text!r} is {len(tokens)} tokens of the model; it must be one")
    return tokens[0]


def _without_end(forest: Forest, path: Path) -> Tokens:
    tokens = forest.generated(path)
    return tokens[:-1] if tokens and tokens[-1] in forest.end_tokens else tokens
