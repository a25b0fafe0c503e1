"""The forest of continuations of one prompt, and the interfaces that meet in it.

A node's name is its path; parent, depth and seed follow from the name, never from the order in which requests finish.
So what is drawn depends neither on load, nor on the number of replicas, nor on a crash. Everything here is token ids:
text appears only where answers are read and words are forced. This module knows no engine, file or configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeVar

from scaling_exp.types import Completion, Path, Sampling, Tokens

T = TypeVar("T")


class Sampler(Protocol):
    """Draws one continuation. An engine, a gate before it and a simulation all have this shape.

    A coroutine function is one. What answers with a future spares the event loop a task for every draw.
    """

    def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Awaitable[Completion]: ...


class Source(Protocol):
    """What a forest grows from: completions of the numbered samples of a stream, in the order asked for.

    A pool over a sampler, a replay of a pool, and a sampler alone (`Fresh`) all have this shape. Samples are asked for
    together, so that what is known already costs neither a task nor a turn of the event loop.
    """

    async def __call__(self, stream: Stream, samples: Sequence[int]) -> Sequence[Completion]: ...


class Score(NamedTuple):
    """What a scorer thinks of an answer to its prompt, after each of its steps; higher is better.

    `num_tokens` is how many it read for that, prompt included, each once.
    """

    steps: tuple[float, ...]
    num_tokens: int

    @property
    def last(self) -> float:
        """That of the answer as far as it goes."""
        return self.steps[-1]


class Scorer(Protocol):
    """Scores answers to one prompt, finished or not."""

    async def __call__(self, answer: Tokens) -> Score: ...


@dataclass(frozen=True)
class Bound:
    """At most these draws of a prompt does a strategy ask for: samples `(i,)`, i < `num_samples`, under `sampling`,
    and `num_below` others that continue them.

    `is_exact` when it always asks for all of the samples and nothing below, whatever they hold: then a plan is
    arithmetic on counts. `is_scored` when it asks for scores too. `num_tokens` are the most that all draws together add
    to the prompt, forced ones included; 0: each adds as many as `sampling` allows. Where answers grow in steps and some
    are given up, a step is taken to have its share of the longest answer: nothing else is known of it.
    """

    num_samples: int
    sampling: Sampling
    is_exact: bool
    num_below: int = 0
    is_scored: bool = False
    num_tokens: int = 0

    def __post_init__(self) -> None:
        if self.is_exact and self.num_below:
            raise ValueError("what is below samples depends on them: the bound is not exact")

    @property
    def num_draws(self) -> int:
        return self.num_samples + self.num_below

    @property
    def most_tokens(self) -> int:
        """Tokens of all draws together; see `num_tokens`."""
        return self.num_tokens or self.num_draws * self.sampling.max_tokens


class Strategy(Protocol):
    """Decides which continuations of a prompt to pay for."""

    async def __call__(self, forest: Forest) -> None: ...

    @property
    def bound(self) -> Bound:
        """What it can ask for."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Most tokens that one path can add to the prompt."""
        ...


@lru_cache(maxsize=1 << 14)
def path_name(path: Path) -> str:
    """`2.0.3` for `(2, 0, 3)`; empty for the prompt."""
    return ".".join(map(str, path))


def seed_of(root: str, path: Path) -> int:
    """63-bit seed of a node, hashed from its name, so that no two nodes share a stream by arithmetic.

    (An engine that derives n streams from one seed as s, s+1, ... makes nearby seeds share samples.)
    """
    return Stream(root, path[:-1], (), Sampling(max_tokens=1)).seed(path[-1])


@dataclass(frozen=True)
class Stream:
    """The children of one node under one sampling: an endless stream of samples, told apart by their numbers alone.

    `root` names the prompt (model, problem and the run's seed), `parent` the node; `prefix` is exactly what the model
    is given: the prompt, all tokens of the ancestors, then forced ones.
    """

    root: str
    parent: Path
    prefix: Tokens
    sampling: Sampling

    def seed(self, sample: int) -> int:
        """Seed of one sample (see `seed_of`); 0 for greedy decoding, which has none."""
        if self.sampling.temperature == 0:
            return 0
        state = self._name_hash.copy()
        state.update(b"%d" % sample)
        return int.from_bytes(state.digest(), "big") >> 1

    @cached_property
    def _name_hash(self) -> blake2b:
        """The part of a seed's hash that all samples share: copying it is cheaper than hashing the name again."""
        name = f"{self.root}/{path_name(self.parent)}" + ("." if self.parent else "")
        return blake2b(name.encode(), digest_size=8)


@dataclass(frozen=True)
class Fresh:
    """A source that draws everything from a sampler and remembers nothing."""

    sampler: Sampler

    async def __call__(self, stream: Stream, samples: Sequence[int]) -> Sequence[Completion]:
        requests = (
            self.sampler(stream.prefix, stream.sampling, stream.seed(sample)) for sample in samples
        )
        return await asyncio.gather(*requests)


class Node(NamedTuple):
    """One edge of the forest and the node it leads to: what was asked for, and what came back."""

    path: Path
    stream: Stream
    forced: Tokens
    completion: Completion
    num_before: int
    """Tokens before its answer: the prompt, and what came before a continuation that began anew."""

    @property
    def prefix(self) -> Tokens:
        """Prompt and all tokens of the ancestors, then `forced`: exactly what the model was given."""
        return self.stream.prefix

    @property
    def sampling(self) -> Sampling:
        return self.stream.sampling

    @property
    def seed(self) -> int:
        return self.stream.seed(self.path[-1])

    @property
    def tokens(self) -> Tokens:
        """The whole sequence, prompt included, up to and with this node."""
        return self.stream.prefix + self.completion.tokens


def most_tokens(text: str) -> int:
    """More tokens than these no tokenizer makes of a text: one a byte, and a space before it."""
    return len(text.encode()) + 1


def _reads_no_tokens(tokens: Tokens) -> str:
    raise ValueError(f"{tokens} cannot be read: this forest was given no tokenizer")


def _knows_no_words(text: str) -> Tokens:
    raise ValueError(f"{text!r} cannot be forced: this forest was given no tokenizer")


@dataclass(eq=False)
class Forest:
    """All continuations of one prompt drawn by one strategy, and the only book-keeping of tokens and seeds.

    `root` names the prompt (model, problem and the run's seed) for `seed_of`; `read` turns the generated token ids of
    a leaf into its answer, None when there is none; `end_tokens` are those with which the model ends; `encode` turns
    text that is to be forced into the model's tokens, and `decode` tokens into text.
    """

    prompt: Tokens
    source: Source
    root: str
    read: Callable[[Tokens], str | None]
    end_tokens: Tokens = ()
    scorer: Scorer | None = None
    encode: Callable[[str], Tokens] = _knows_no_words
    decode: Callable[[Tokens], str] = _reads_no_tokens
    nodes: dict[Path, Node] = field(default_factory=dict)
    accepted: list[Path] = field(default_factory=list)
    scores: dict[Path, Score] = field(default_factory=dict)

    async def extend(
        self,
        path: Path,
        sampling: Sampling,
        forced: Tokens = (),
        cut: Tokens = (),
        begins_anew: bool = False,
    ) -> Node:
        """Draw the continuation named `path` of its parent, after appending `forced` tokens to it.

        See `extend_all`. Raises ValueError when the node exists already or its parent does not.
        """
        if not path:
            raise ValueError("node () cannot be drawn: it exists already")
        (node,) = await self.extend_all(
            path[:-1], path[-1:], sampling, forced, cut=cut, begins_anew=begins_anew
        )
        return node

    async def extend_all(
        self,
        parent: Path,
        children: Sequence[int],
        sampling: Sampling,
        forced: Tokens = (),
        *,
        cut: Tokens = (),
        begins_anew: bool = False,
    ) -> list[Node]:
        """Draw several continuations of one node, all at once: `(*parent, child)` for every number in `children`.

        The parent's last token is left out of what the model is given where it is one of `cut`, as the end of an answer
        is that shall go on, and `forced` is put after it. An answer that `begins_anew` is what follows: what came
        before is its context, as a first attempt is a revision's.
        Raises ValueError when one exists already or the parent does not.
        """
        paths = [(*parent, child) for child in children]
        for path in paths:
            if path in self.nodes:
                raise ValueError(f"node {path} cannot be drawn: it exists already")
        stream = Stream(self.root, parent, self._without_end(parent, cut) + forced, sampling)
        num_before = len(stream.prefix) if begins_anew else self._num_before(parent)
        completions = await self.source(stream, children)
        drawn = [
            Node(path, stream, forced, completion, num_before)
            for path, completion in zip(paths, completions, strict=True)
        ]
        self.nodes.update(zip(paths, drawn, strict=True))
        return drawn

    async def score(self, path: Path) -> float:
        """The scorer's opinion of the sequence that ends at `path`; asked once.

        Raises ValueError when the run has no scorer.
        """
        if self.scorer is None:
            raise ValueError("this strategy needs a scorer and the experiment has none")
        if path not in self.scores:
            self.scores[path] = await self.scorer(self.generated(path))
        return self.scores[path].last

    def is_finished(self, path: Path) -> bool:
        """Whether the model ended the answer at a node, or had nothing to add."""
        tokens = self._node(path).completion.tokens
        return not tokens or tokens[-1] in self.end_tokens

    def accept(self, path: Path) -> None:
        """Declare a leaf a candidate answer."""
        self.accepted.append(path)

    def answer(self, path: Path) -> str | None:
        """The answer that the leaf gives; None when it is unparsable."""
        return self.read(self.generated(path))

    def tokens(self, path: Path) -> Tokens:
        """Every token up to and with the node, prompt included."""
        return self._node(path).tokens if path else self.prompt

    def _node(self, path: Path) -> Node:
        if path not in self.nodes:
            raise ValueError(f"node {path} has not been drawn")
        return self.nodes[path]

    def generated(self, path: Path) -> Tokens:
        """Tokens of the answer: after the prompt or since it began anew, forced ones included."""
        node = self._node(path)
        return node.tokens[node.num_before :]

    def _without_end(self, path: Path, cut: Tokens) -> Tokens:
        """Tokens up to and with the node, but for the last one that was drawn where it is one of `cut`."""
        tokens = self.tokens(path)
        drawn = self._node(path).completion.tokens if path else ()
        return tokens[:-1] if drawn and drawn[-1] in cut else tokens

    def _num_before(self, path: Path) -> int:
        return self._node(path).num_before if path else len(self.prompt)


def grow(planted: Iterable[tuple[Strategy, Forest]]) -> None:
    """Run each strategy over its forest, one after another: for sources that answer at once."""
    for strategy, forest in planted:
        at_once(strategy(forest))


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing, so that it needs no event loop.

    Raises RuntimeError for one that waits.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError(
        "a replay would have to wait: strategies run coroutines side by side with `together`"
    )


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What coroutines return, in their order: run side by side, or one after another where there is no event loop, and
    so nothing to wait for (`at_once`)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return [await work for work in works]
    return await asyncio.gather(*works)
