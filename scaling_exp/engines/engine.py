"""The engine interface: a `Sampler` that can hold several models one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens


@dataclass
class Counters:
    """What an engine has done since it took its model. Occupancy is `slot_steps / (steps * num_slots)`."""

    num_slots: int = 0
    steps: int = 0
    slot_steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


class Engine(Protocol):
    """Draws from the model that it holds."""

    counters: Counters

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion: ...

    @property
    def num_slots(self) -> int:
        """Most requests that can run at once: the least of max_num_seqs and what the KV cache holds."""
        ...

    async def hold(self, model: Model) -> None:
        """Replace the model in memory."""
        ...

    async def close(self) -> None: ...


class EngineConfig(Protocol):
    """A frozen, picklable description of an engine."""

    @property
    def num_cpus(self) -> int: ...

    @property
    def num_gpus(self) -> int: ...

    def start(self) -> Engine:
        """An engine without a model yet. Imports what it needs."""
        ...
