"""Whom to ask next: servers with seats, pauses and rate limits, and the queue before them.

A request takes a seat of the least loaded server. A server that limits its rate or does not answer is left alone by
everybody until its pause ends, and has fewer seats afterwards: half after a rate limit, growing back by one for every
round of replies (additive increase, multiplicative decrease).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

CLOCK_MARGIN_SECONDS = 0.001
"""asyncio may call a moment before the time that it was given."""


@dataclass(eq=False)
class Bucket:
    """A token bucket that lends: what is taken beyond the fill is waited for, so large amounts need no special case.

    Own, because what was reserved for an answer and not used must be given back, which aiolimiter cannot. `per_minute`
    infinite sets no limit; no more is saved up than one second's worth or one request.
    """

    per_minute: float
    fill: float = field(init=False)
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        self.fill = self.per_minute / 60

    def take(self, amount: float, now: float) -> float:
        """Seconds to wait before `amount` may be used; it is taken already."""
        if math.isinf(self.per_minute):
            return 0.0
        rate = self.per_minute / 60
        self.fill = min(max(rate, amount), self.fill + rate * (now - self.filled_at))
        self.filled_at = now
        self.fill -= amount
        return max(0.0, -self.fill / rate)

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used."""
        self.fill += amount


@dataclass(eq=False)
class Server:
    """One base URL: what it is doing, and until when it is to be left alone (seconds of the event loop's clock)."""

    base_url: str
    max_in_flight: int
    requests: Bucket = field(default_factory=lambda: Bucket(math.inf))
    tokens: Bucket = field(default_factory=lambda: Bucket(math.inf))
    served_model: str = ""
    num_in_flight: int = 0
    resume_at: float = 0.0
    num_faults: int = 0
    """Pauses since the last reply."""

    def __post_init__(self) -> None:
        self.window = float(self.max_in_flight)

    @property
    def load(self) -> float:
        """Share of the seats that are taken; 1 or more when there is none left."""
        return self.num_in_flight / max(1, int(self.window))

    def succeed(self) -> None:
        """Note a reply."""
        self.num_faults = 0
        self.window = min(self.max_in_flight, self.window + 1 / self.window)

    def pause(self, until: float, now: float, is_limited: bool) -> None:
        """Leave the server alone. What fails while it pauses already belongs to the same incident."""
        if now >= self.resume_at:
            self.num_faults += 1
            if is_limited:
                self.window = max(1.0, self.window / 2)
        self.resume_at = max(self.resume_at, until)

    def reserve(self, num_tokens: int, now: float) -> float:
        """Seconds to wait until the rate limits allow a request of so many tokens."""
        return max(self.requests.take(1, now), self.tokens.take(num_tokens, now))


def choose(servers: Sequence[Server], now: float, avoid: Server | None) -> Server | None:
    """The least loaded server that has a seat and does not pause; `avoid` only if there is no other. None: wait."""
    able = [each for each in servers if each.resume_at <= now and each.load < 1]
    return min(able, key=lambda each: (each is avoid, each.load), default=None)


@dataclass(frozen=True)
class _Waiting:
    """Someone in a queue, and whom they would rather not ask."""

    avoid: Server | None
    seat: asyncio.Future[Server]


class Seats:
    """First come, first served, among those who would accept the same servers. Wants a running event loop."""

    def __init__(self) -> None:
        self._queues: dict[tuple[Server, ...], deque[_Waiting]] = {}
        self._loop = asyncio.get_running_loop()

    async def take(self, servers: tuple[Server, ...], avoid: Server | None) -> Server:
        """A seat at one of the servers, to be given back with `leave`."""
        waiting = _Waiting(avoid, self._loop.create_future())
        self._queues.setdefault(servers, deque()).append(waiting)
        self._deal()
        try:
            return await waiting.seat
        except asyncio.CancelledError:
            if waiting.seat.done() and not waiting.seat.cancelled():
                self.leave(waiting.seat.result())
            raise

    def leave(self, server: Server) -> None:
        """Give a seat back; whoever waits longest gets it."""
        server.num_in_flight -= 1
        self._deal()

    def pause(self, server: Server, seconds: float, is_limited: bool) -> None:
        """Let nobody ask the server for so long."""
        now = self._loop.time()
        server.pause(now + seconds, now, is_limited)
        self._loop.call_at(server.resume_at + CLOCK_MARGIN_SECONDS, self._deal)

    def _deal(self) -> None:
        now = self._loop.time()
        for servers, queue in self._queues.items():
            while queue:
                first = queue[0]
                if not first.seat.done():
                    server = choose(servers, now, first.avoid)
                    if server is None:
                        break
                    server.num_in_flight += 1
                    first.seat.set_result(server)
                queue.popleft()
