"""Planting: the forest of one problem, with all that it must know of a model, a task and a scorer to be grown.

A worker that draws, a survey and the tables, which only replay, plant alike; what differs is where completions come
from.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

from scaling_exp.generation import Forest, Scorer, Source
from scaling_exp.models import Model
from scaling_exp.scorers import ScorerModel
from scaling_exp.tasks import Task
from scaling_exp.types import Problem, Tokens


@dataclass(frozen=True)
class Ground:
    """What all forests of one model share: how its tokens read, the answers in them, and who scores."""

    text: Callable[[Tokens], str]
    read: Callable[[Tokens], str | None]
    encode: Callable[[str], Tokens]
    end_tokens: Tokens
    scorer: ScorerModel | None

    @classmethod
    def of(cls, model: Model, task: Task, scorer: ScorerModel | None) -> Ground:
        return cls(
            text=model.decode,
            read=lambda tokens: task.read(model.decode(tokens)),
            encode=lambda words: model.encode([words])[0],
            end_tokens=model.stop_token_ids,
            scorer=scorer,
        )

    def remembering(self) -> Ground:
        """The same, which reads everything once. It keeps all that it read, so it is for a few hundred problems."""
        text, read, encode = cache(self.text), cache(self.read), cache(self.encode)
        return replace(self, text=text, read=read, encode=encode)

    def scorer_of(self, root: str, problem: Problem | None, scores: Source | None) -> Scorer | None:
        """Who scores in all forests of one problem, which is what the scorer may look at; `scores` gives its
        completions."""
        if self.scorer is None or scores is None or problem is None:
            return None
        return self.scorer.scorer(scores, root, problem, self.text, self.read)

    def forest(self, prompt: Tokens, root: str, source: Source, scorer: Scorer | None) -> Forest:
        """`source` gives completions."""
        return Forest(
            prompt, source, root, self.read, self.end_tokens, scorer, self.encode, self.text
        )


@contextmanager
def without_collector() -> Iterator[None]:
    """Replays make a million tuples and no cycle: looking for cycles among them takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
