"""The forest of continuations of one prompt, and the three interfaces that meet in it.

A node's name is its path; parent, depth and seed follow from the name, never from the order in which requests finish.
So what is drawn depends neither on load, nor on the number of replicas, nor on a crash. Everything here is token ids:
text appears only in `Forest.answer`. This module knows no engine, no file and no configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

from scaling_exp.types import Completion, Path, Sampling, Tokens


class Sampler(Protocol):
    """Draws one continuation. An engine, a pool over an engine and a simulation all have this shape."""

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion: ...


class Scorer(Protocol):
    """Scores an answer to a prompt; higher is better."""

    async def __call__(self, prompt: Tokens, answer: Tokens) -> float: ...


class Strategy(Protocol):
    """Decides which continuations of a prompt to pay for."""

    async def __call__(self, forest: Forest) -> None: ...

    @property
    def max_new_tokens(self) -> int:
        """Most tokens that one path can add to the prompt."""
        ...


def seed_of(root: str, path: Path) -> int:
    """63-bit seed of a node, hashed from its name, so that no two nodes share a stream by arithmetic.

    (An engine that derives n streams from one seed as s, s+1, ... makes nearby seeds share samples.)
    """
    name = f"{root}/{'.'.join(map(str, path))}"
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Node:
    """One edge of the forest and the node it leads to: what was asked for, and what came back."""

    path: Path
    prefix: Tokens
    """Prompt and all tokens of the ancestors, then `forced`: exactly what the model was given."""
    forced: Tokens
    sampling: Sampling
    seed: int
    completion: Completion

    @property
    def tokens(self) -> Tokens:
        """The whole sequence, prompt included, up to and with this node."""
        return self.prefix + self.completion.tokens


@dataclass(eq=False)
class Forest:
    """All continuations of one prompt drawn by one strategy, and the only book-keeping of tokens and seeds.

    `root` names the prompt (model, problem and the run's seed) for `seed_of`; `read` turns the generated token ids of
    a leaf into its answer, None when there is none.
    """

    prompt: Tokens
    sampler: Sampler
    root: str
    read: Callable[[Tokens], str | None]
    scorer: Scorer | None = None
    nodes: dict[Path, Node] = field(default_factory=dict)
    accepted: list[Path] = field(default_factory=list)

    async def extend(self, path: Path, sampling: Sampling, forced: Tokens = ()) -> Node:
        """Draw the continuation named `path` of its parent, after appending `forced` tokens to it.

        Raises ValueError when the node exists already or its parent does not.
        """
        if path in self.nodes or not path:
            raise ValueError(f"node {path} cannot be drawn: it exists already")
        prefix = self.tokens(path[:-1]) + forced
        seed = seed_of(self.root, path) if sampling.temperature > 0 else 0
        completion = await self.sampler(prefix, sampling, seed)
        node = Node(path, prefix, forced, sampling, seed, completion)
        self.nodes[path] = node
        return node

    async def score(self, path: Path) -> float:
        """The scorer's opinion of the sequence that ends at `path`.

        Raises ValueError when the run has no scorer.
        """
        if self.scorer is None:
            raise ValueError("this strategy needs a scorer and the experiment has none")
        return await self.scorer(self.prompt, self.generated(path))

    def accept(self, path: Path) -> None:
        """Declare a leaf a candidate answer."""
        self.accepted.append(path)

    def answer(self, path: Path) -> str | None:
        """The answer that the leaf gives; None when it is unparsable."""
        return self.read(self.generated(path))

    def tokens(self, path: Path) -> Tokens:
        """Every token up to and with the node, prompt included."""
        if not path:
            return self.prompt
        if path not in self.nodes:
            raise ValueError(f"node {path} has not been drawn")
        return self.nodes[path].tokens

    def generated(self, path: Path) -> Tokens:
        """Tokens after the prompt, forced ones included."""
        return self.tokens(path)[len(self.prompt) :]
