"""Ask servers until there is an answer: connections, retries by class of error, and the key that nobody gets to see."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import random
from typing import Any, TypeVar

import aiohttp

from scaling_exp.engines.endpoint.faults import (
    POLICIES,
    BadReply,
    Decision,
    Fault,
    backoff,
    classify,
    parse,
)
from scaling_exp.engines.endpoint.servers import Seats, Server
from scaling_exp.engines.engine import EngineDied, RequestFailed
from scaling_exp.types import UserError

Answer = TypeVar("Answer")

KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is closed by us before uvicorn closes it, after 5 s, just when we use it again."""
LONGEST_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Patience:
    """When to stop asking. `max_attempts` counts those faults that may be the request's own (`Policy.counts`)."""

    max_attempts: int
    give_up_seconds: float


class Transport:
    """HTTP to all servers. Wants a running event loop. `key_name`: what the user must check when access is refused."""

    def __init__(self, key: str | None, key_name: str, request_timeout_seconds: float) -> None:
        self.faults: Counter[str] = Counter()
        """Replies that were not what was asked for, by class; all but the last of a request were asked again."""
        self.busy_seconds = 0.0
        """Wall time with at least one request under way."""
        self._hide: Callable[[str], str] = lambda text: text.replace(key, "[key]") if key else text
        self._key_name = key_name
        self._timeout_seconds = request_timeout_seconds
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=request_timeout_seconds,
                sock_connect=min(LONGEST_CONNECT_SECONDS, request_timeout_seconds),
            ),
        )
        self._seats = Seats()
        self._succeeded_at = -math.inf
        self._num_under_way = 0
        self._busy_since = 0.0

    async def ask(
        self,
        exchange: Callable[[Server], Awaitable[Answer]],
        servers: tuple[Server, ...],
        patience: Patience,
    ) -> Answer:
        """The answer of the first of the servers that gives one; `exchange` raises BadReply where one does not.

        When the patience is used up, the request is at fault if others succeeded in the meantime (RequestFailed), else
        the servers are (EngineDied). Raises UserError when a server refuses access.
        """
        num_faults, num_spent, failing_since, avoid = 0, 0, math.inf, None
        while True:
            server = await self._seats.take(servers, avoid)
            try:
                answer = await exchange(server)
            except BadReply as bad:
                message = self._hide(bad.decision.message)
                decision, avoid = replace(bad.decision, message=message), server
                self._note(decision, server)  # before the seat goes to the next
            else:
                server.succeed()
                self._succeeded_at = time.monotonic()
                return answer
            finally:
                self._seats.leave(server)
            num_faults += 1
            num_spent += POLICIES[decision.fault].counts
            failing_since = min(failing_since, time.monotonic())
            if POLICIES[decision.fault].is_final:
                raise self._final(decision, server)
            if _is_exhausted(decision, num_spent, time.monotonic() - failing_since, patience):
                raise self._exhausted(decision, server, num_faults, failing_since)
            if not POLICIES[decision.fault].pauses_server:
                wait = decision.wait_seconds or 0.0
                await asyncio.sleep(max(wait, backoff(num_spent, random())))

    async def send(self, method: str, url: str, body: bytes | None) -> dict[str, Any]:
        """The JSON object that a server replies with. Raises BadReply when there is none."""
        headers = {"Content-Type": "application/json"} if body else {}
        self._begin()
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise BadReply(Decision(Fault.AWAY, str(error))) from None
        except TimeoutError:
            message = f"nothing within engine.request_timeout_seconds={self._timeout_seconds:g}"
            raise BadReply(Decision(Fault.SILENT, message)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise BadReply(Decision(Fault.LOST, str(error) or type(error).__name__)) from None
        finally:
            self._end()
        content = parse(answer) if response.status == 200 else {}
        if not content or content.get("error"):
            raise BadReply(classify(response.status, response.headers, answer, time.time()))
        return content

    async def close(self) -> None:
        await self._session.close()

    def _note(self, decision: Decision, server: Server) -> None:
        """Count a fault; let everybody leave the server alone if its class says so, for as long as it asks at least."""
        self.faults[decision.fault.value] += 1
        if POLICIES[decision.fault].pauses_server:
            pause = backoff(server.num_faults + 1, 0.5 + random() / 2)
            is_limited = decision.fault is Fault.LIMITED
            self._seats.pause(server, max(decision.wait_seconds or 0.0, pause), is_limited)

    def _final(self, decision: Decision, server: Server) -> Exception:
        if decision.fault is Fault.BARRED:
            return UserError(
                f"{server.base_url} refuses access, {decision.message}: check {self._key_name} and its account"
            )
        return RequestFailed(f"{server.base_url} refuses the request, {decision.message}")

    def _exhausted(
        self, decision: Decision, server: Server, num_faults: int, failing_since: float
    ) -> Exception:
        story = (
            f"{num_faults} tries failed, the last at {server.base_url} with {decision.fault.value}:"
            f" {decision.message}"
        )
        if decision.fault is Fault.LIMITED:
            story += (
                "; set engine.requests_per_minute or engine.tokens_per_minute to what it allows"
            )
        if self._succeeded_at > failing_since:
            return RequestFailed(story)
        return EngineDied(f"{story}; no request succeeded meanwhile")

    def _begin(self) -> None:
        if self._num_under_way == 0:
            self._busy_since = time.monotonic()
        self._num_under_way += 1

    def _end(self) -> None:
        now = time.monotonic()
        self.busy_seconds += now - self._busy_since
        self._busy_since = now
        self._num_under_way -= 1


def _is_exhausted(
    decision: Decision, num_spent: int, failing_seconds: float, patience: Patience
) -> bool:
    """No attempt is left, or the wait that the server asks for would be longer than the patience."""
    waited = failing_seconds + (decision.wait_seconds or 0.0)
    return num_spent >= patience.max_attempts or waited >= patience.give_up_seconds
