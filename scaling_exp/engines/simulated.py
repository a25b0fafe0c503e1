"""A simulated engine: continuous batching as arithmetic, on a clock that is a number.

Every step generates one token for each request that holds a slot; a request without a slot waits for one, first come
first served. Only steps that finish a request are visited, so a simulated hour costs no more than its completions. What
it answers is given by `respond`, so the truth that estimators and strategies are tested against is known exactly. Knows
no model, no file and no real time.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate, count
from random import Random

from scaling_exp.engines.engine import TURNS_TO_REACT, Counters, settled
from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens

Respond = Callable[[Tokens, int], Tokens]
"""The completion of a prefix under a seed; always the same for the same two."""
Judge = Callable[[Tokens, Tokens], tuple[float, ...]]
"""Log-probabilities of labels after a prefix."""
Likelihoods = Callable[[Tokens], tuple[float, ...]]
"""Log-probabilities of the tokens of a prefix."""


@dataclass(frozen=True)
class Simulated:
    """A decode step of b requests takes `seconds_per_step + b * seconds_per_request_in_step`; prefill is free.

    `pace` is real seconds a virtual one; 0: as fast as it goes.
    """

    num_slots: int
    seconds_per_step: float
    seconds_per_request_in_step: float
    respond: Respond
    num_cpus: int = 1
    num_gpus: int = 0
    replicas: int | None = None
    judge: Judge | None = None
    """Log-probabilities of the labels that a draw asks for."""
    likelihoods: Likelihoods | None = None
    """Log-probabilities of the tokens of a prefix, for draws that ask for them."""
    pace: float = 0.0

    def __post_init__(self) -> None:
        if self.num_slots < 1:
            raise ValueError(f"engine.num_slots is {self.num_slots}; it must be at least 1")

    @property
    def bundles(self) -> tuple[Mapping[str, float], ...]:
        """One bundle: a simulated engine never spans nodes."""
        gpus = {"GPU": float(self.num_gpus)} if self.num_gpus else {}
        return ({"CPU": float(self.num_cpus), **gpus},)

    def start(self) -> SimulatedEngine:
        """An engine that answers at once, whatever model it is given. Wants a running event loop."""
        return SimulatedEngine(self)


@dataclass(frozen=True)
class _Request:
    """A request and the future that its caller waits for."""

    prefix: Tokens
    completion: Completion
    done: asyncio.Future[Completion]
    submitted: float


class SimulatedEngine:
    """Slots, a queue before them, and a driver that jumps from one completion to the next."""

    def __init__(self, config: Simulated) -> None:
        self.config = config
        self.counters = Counters(num_slots=config.num_slots)
        self.clock = 0.0
        """Virtual seconds."""
        self._step = 0
        self._ids = count()
        self._num_submitted = 0
        self._waiting: deque[_Request] = deque()
        self._running: list[tuple[int, int, _Request]] = []  # a heap: last step, order of arrival
        self._wake = asyncio.Event()
        self._driver = asyncio.ensure_future(self._drive())

    @property
    def num_slots(self) -> int:
        return self.config.num_slots

    @property
    def occupancy(self) -> float:
        """Share of the slots that held a request, over all steps; 0 before the first."""
        offered = self.counters.steps * self.num_slots
        return self.counters.slot_steps / offered if offered else 0.0

    @property
    def num_safe(self) -> int:
        """There is no KV cache that could be too small."""
        return self.config.num_slots

    @property
    def facts(self) -> Mapping[str, object]:
        """Nothing that its configuration does not say."""
        return {}

    async def hold(self, model: Model) -> None:  # noqa: ARG002 - all models are one here
        """Nothing to load."""
        self.counters = Counters(num_slots=self.num_slots)

    async def fetch(self, model: Model) -> None:
        """There are no weights."""

    async def close(self) -> None:
        self._driver.cancel()

    def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> asyncio.Future[Completion]:
        tokens = self.config.respond(prefix, seed)
        told: tuple[float, ...] = ()
        if sampling.labels and self.config.judge is not None:
            told = self.config.judge(prefix, sampling.labels)
        if sampling.scored_from is not None and self.config.likelihoods is not None:
            told = self.config.likelihoods(prefix)[sampling.scored_from :]
        kept = tokens[: sampling.max_tokens]
        reason = "stop" if len(tokens) <= sampling.max_tokens else "length"
        done: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._num_submitted += 1
        self._waiting.append(
            _Request(prefix, Completion(kept, reason, scores=told), done, self.clock)
        )
        self._wake.set()
        return done

    async def _drive(self) -> None:
        while True:
            await settled(lambda: self._num_submitted, TURNS_TO_REACT)
            self._admit()
            if self._running:
                await self._advance()
            else:
                self._wake.clear()
                await self._wake.wait()

    def _admit(self) -> None:
        """Give free slots to who waited longest; who was cancelled is dropped."""
        self._running = [each for each in self._running if not each[2].done.done()]
        heapq.heapify(self._running)
        while self._waiting and len(self._running) < self.num_slots:
            request = self._waiting.popleft()
            if not request.done.done():
                self.counters.num_requests += 1
                self.counters.queue_seconds += self.clock - request.submitted
                last_step = self._step + max(1, len(request.completion.tokens))
                heapq.heappush(self._running, (last_step, next(self._ids), request))

    async def _advance(self) -> None:
        """Jump to the next step that finishes a request, and finish all that end there."""
        num_running, num_steps = len(self._running), self._running[0][0] - self._step
        self._step += num_steps
        self.counters.steps += num_steps
        self.counters.slot_steps += num_steps * num_running
        per_step = (
            self.config.seconds_per_step + num_running * self.config.seconds_per_request_in_step
        )
        self.clock += num_steps * per_step
        self.counters.busy_seconds += num_steps * per_step
        if self.config.pace:
            await asyncio.sleep(num_steps * per_step * self.config.pace)
        while self._running and self._running[0][0] == self._step:
            self._finish(heapq.heappop(self._running)[2])

    def _finish(self, request: _Request) -> None:
        self.counters.prompt_tokens += len(request.prefix)
        self.counters.output_tokens += len(request.completion.tokens)
        if not request.done.done():
            request.done.set_result(request.completion)


@dataclass(frozen=True)
class Distribution:
    """Ground truth as a `Respond`: `weights` gives, for each prompt, the completions and their weights.

    A seed picks a completion with probability proportional to its weight; seed 0, that of greedy decoding, the
    likeliest. Raises KeyError for a prompt that is not listed.
    """

    weights: Mapping[Tokens, Mapping[Tokens, float]]

    def __call__(self, prefix: Tokens, seed: int) -> Tokens:
        completions = self.weights[prefix]
        if seed == 0:
            return max(completions, key=lambda tokens: completions[tokens])
        totals = list(accumulate(completions.values()))
        return list(completions)[bisect(totals, Random(seed).random() * totals[-1])]

    def probability(self, prefix: Tokens, tokens: Tokens) -> float:
        """Exact probability that a sample of `prefix` is `tokens`."""
        completions = self.weights[prefix]
        return completions.get(tokens, 0.0) / sum(completions.values())
