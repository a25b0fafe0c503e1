"""The engine interface: a `Sampler` that can hold several models one after another."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Protocol

from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens

TURNS_TO_REACT = 8
"""Turns of the event loop that a strategy needs, at most, from a finished draw to its next request."""


async def settled(num_submitted: Callable[[], int], num_turns: int) -> None:
    """Let whoever runs beside an engine submit requests; return once `num_turns` turns have brought no new one."""
    num_quiet = 0
    while num_quiet < num_turns:
        before = num_submitted()
        await sleep(0)
        num_quiet = num_quiet + 1 if num_submitted() == before else 0


class EngineDied(RuntimeError):
    """The engine can answer no further request; whoever runs it must start another one."""


class RequestFailed(RuntimeError):
    """The engine lives and refuses or keeps failing this one request; the message says how."""


@dataclass
class Counters:
    """What an engine has done since it took its model. Occupancy is `slot_steps / (steps * num_slots)`.

    `queue_seconds` is the sum over requests of the wait between submission and the first step; `busy_seconds` the wall
    time in which the engine was making tokens. An engine that cannot know one of them leaves it at 0 and says so.
    """

    num_slots: int = 0
    steps: int = 0
    slot_steps: int = 0
    num_requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    num_preemptions: int = 0
    queue_seconds: float = 0.0
    busy_seconds: float = 0.0

    @property
    def occupancy(self) -> float | None:
        """Mean share of slots in use; None before the first step, or where steps are not known."""
        offered = self.steps * self.num_slots
        return self.slot_steps / offered if offered else None

    def __add__(self, other: Counters) -> Counters:
        """Sums; slots too, weighted so that occupancy is that of both together."""
        total = Counters(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(self)
            }
        )
        steps = self.steps + other.steps
        if steps:
            offered = self.steps * self.num_slots + other.steps * other.num_slots
            total.num_slots = round(offered / steps)
        return total


class Engine(Protocol):
    """Draws from the model that it holds. A call, or to await what it gives, raises EngineDied or RequestFailed."""

    counters: Counters

    def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Awaitable[Completion]: ...

    @property
    def num_slots(self) -> int:
        """Most requests that can run at once."""
        ...

    @property
    def num_safe(self) -> int:
        """Requests that the KV cache holds even if all of them grow to the model's limit; at most `num_slots`."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """What a manifest should say of it beside its configuration; `caveats`, if any, are sentences for the user."""
        ...

    async def hold(self, model: Model) -> None:
        """Replace the model in memory, and start new counters."""
        ...

    async def fetch(self, model: Model) -> None:
        """Bring the weights of a model near that will be held later. Raises UserError when they cannot be had."""
        ...

    async def close(self) -> None: ...


class EngineConfig(Protocol):
    """A frozen, picklable description of an engine."""

    @property
    def num_cpus(self) -> int:
        """Cores of one rank: threads of a CPU engine."""
        ...

    @property
    def num_gpus(self) -> int: ...

    @property
    def replicas(self) -> int | None:
        """Engines to run; None for as many as fit."""
        ...

    @property
    def bundles(self) -> tuple[Mapping[str, float], ...]:
        """Ray resources of one replica, each bundle on one node."""
        ...

    def start(self) -> Engine:
        """An engine without a model yet. Imports what it needs."""
        ...
