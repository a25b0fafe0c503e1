"""What a reply means, and what to do about a bad one. Pure: bytes and numbers in, a decision out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from scaling_exp.types import FinishReason, Tokens

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
LONGEST_MESSAGE = 300


class Fault(Enum):
    """The classes of error. What each leads to is `POLICIES`, and nothing else."""

    LIMITED = "rate limit"
    AWAY = "no connection"
    LOST = "connection lost or gateway error"
    BROKEN = "server error"
    SILENT = "time-out"
    NONSENSE = "unusable reply"
    REFUSED = "request refused"
    BARRED = "access refused"


@dataclass(frozen=True)
class Policy:
    """`is_final`: asking again is no use. `counts`: one of the request's attempts is spent.

    `pauses_server`: nobody asks that server for a while; otherwise only this request waits.
    """

    is_final: bool = False
    counts: bool = True
    pauses_server: bool = False


POLICIES = {
    # The server would answer if it were asked later: the request is not at fault.
    Fault.LIMITED: Policy(counts=False, pauses_server=True),
    Fault.AWAY: Policy(counts=False, pauses_server=True),
    # A request that kills its server looks the same as a server that died by itself: it counts.
    Fault.LOST: Policy(pauses_server=True),
    Fault.BROKEN: Policy(),
    Fault.SILENT: Policy(),
    Fault.NONSENSE: Policy(),
    # This request is wrong; others may be right.
    Fault.REFUSED: Policy(is_final=True),
    # Every request would be answered like this.
    Fault.BARRED: Policy(is_final=True),
}

FAULT_OF_STATUS = {
    401: Fault.BARRED,
    402: Fault.BARRED,
    403: Fault.BARRED,
    408: Fault.BROKEN,
    409: Fault.BROKEN,
    425: Fault.BROKEN,
    429: Fault.LIMITED,
    502: Fault.LOST,
    503: Fault.LOST,
    504: Fault.LOST,
    529: Fault.LIMITED,
}
"""Any other status below 500 is REFUSED, any other from 500 is BROKEN."""


@dataclass(frozen=True)
class Decision:
    """A bad reply, understood. `wait_seconds` is what the server asked for; None where it did not say."""

    fault: Fault
    message: str
    wait_seconds: float | None = None


class BadReply(Exception):
    """A reply that is not a completion."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.message)
        self.decision = decision


def classify(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Decision:
    """What a reply that cannot be used means; `headers` by lower-case name, `now` in Unix seconds.

    A status below 300 is nonsense, unless its body carries an error with a code of its own, as some gateways send.
    """
    code, kind, message = _error_of(body)
    if status < 300:
        status = code or status
    if status < 300:
        return Decision(Fault.NONSENSE, message)
    fault = FAULT_OF_STATUS.get(status, Fault.BROKEN if status >= 500 else Fault.REFUSED)
    if fault is Fault.LIMITED and kind == "insufficient_quota":
        fault = Fault.BARRED
    if status < 400:
        message = f"redirects to {headers.get('location', 'another address')}"
    return Decision(fault, f"HTTP {status}: {message}", wait_asked(headers, now))


def wait_asked(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds for which the server asks to be left alone; None where no header that we know says so.

    Of the limits that `x-ratelimit-remaining-*` tells, only those with nothing left count.
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    if (asked := headers.get("retry-after")) is not None:
        return _seconds(asked, now)
    resets = [
        _seconds(headers[f"x-ratelimit-reset{limit}"], now)
        for limit in ("", "-requests", "-tokens")
        if f"x-ratelimit-reset{limit}" in headers
        and (_number(headers.get(f"x-ratelimit-remaining{limit}")) or 0) <= 0
    ]
    return max((each for each in resets if each is not None), default=None)


def backoff(num_faults: int, uniform: float) -> float:
    """Seconds to wait after so many faults in a row: exponential, with full jitter (`uniform` is drawn from [0, 1))."""
    return uniform * min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** (num_faults - 1))


@dataclass(frozen=True)
class Usage:
    """Tokens that the server says it charged; None where it does not say."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True)
class Reply:
    """One completion as the server told it; `tokens` and `prompt` are None where it gives no ids.

    `version` is what it says of what answered: the name of a snapshot, the fingerprint of a system.
    """

    tokens: Tokens | None
    text: str
    finish_reason: FinishReason
    prompt: Tokens | None
    has_logprobs: bool
    usage: Usage
    version: str = ""


class Filtered(ValueError):
    """A server withheld an answer, as it will the next time."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; empty when there is none."""
    try:
        return _mapping(json.loads(body))
    except ValueError:  # neither JSON nor UTF-8
        return {}


def read_usage(content: Mapping[str, Any]) -> Usage:
    """What can be known of the tokens that a reply cost, however wrong it is otherwise.

    Of cached tokens there are three spellings: OpenAI's, DeepSeek's and Moonshot's.
    """
    usage = _mapping(content.get("usage"))
    cached = (
        _mapping(usage.get("prompt_tokens_details")).get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"),
    )
    details = _mapping(usage.get("completion_tokens_details"))
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=next((each for each in map(_count, cached) if each is not None), None),
        reasoning_tokens=_count(details.get("reasoning_tokens")),
    )


def _choice(content: Mapping[str, Any]) -> dict[str, Any]:
    """The one that a reply has, if it ended as it should. Raises ValueError."""
    choices = content.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError("the reply is not JSON with exactly one choice")
    reason = choices[0].get("finish_reason")
    if reason == "content_filter":
        raise Filtered("the answer was withheld by the server's content filter")
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason is {reason!r}")
    return choices[0]


def _version(content: Mapping[str, Any]) -> str:
    said = (content.get("model"), content.get("system_fingerprint"))
    return " ".join(_one_line(each) for each in said if isinstance(each, str) and each)


def read_chat_reply(content: Mapping[str, Any]) -> Reply:
    """The answer in a reply to a chat. Raises ValueError, saying what is wrong, for anything that is not exactly one.

    How long it may be is not checked: what it took has been charged.
    """
    choice, usage = _choice(content), read_usage(content)
    if usage.prompt_tokens is None or usage.output_tokens is None:
        raise ValueError("the reply does not say how many tokens it charges (usage)")
    return Reply(
        tokens=None,
        text=_text_of(_mapping(choice.get("message")), choice["finish_reason"]),
        finish_reason=choice["finish_reason"],
        prompt=None,
        has_logprobs=False,
        usage=usage,
        version=_version(content),
    )


def _text_of(message: Mapping[str, Any], reason: FinishReason) -> str:
    """What a message says, without the thinking that a server tells apart; a refusal is an answer as well.

    Nothing at all is an answer of a model that was cut off, or that only thought.
    """
    said = message.get("content")
    if isinstance(said, list):  # parts, some of which may be thinking
        return "".join(str(_mapping(each).get("text") or "") for each in said)
    if isinstance(said, str):
        return said
    if isinstance(message.get("refusal"), str):
        return message["refusal"]
    thought = message.get("reasoning_content") or message.get("reasoning")
    if said is None and (thought or reason == "length"):
        return ""
    raise ValueError("the reply has no text")


def read_reply(content: Mapping[str, Any], max_tokens: int, vocab_size: int) -> Reply:
    """The completion in a reply. Raises ValueError, saying what is wrong, for anything that is not exactly one."""
    choice, usage = _choice(content), read_usage(content)
    if not isinstance(text := choice.get("text"), str):
        raise ValueError("the reply has no text")
    tokens = _ids(choice.get("token_ids"), vocab_size)
    if max(len(tokens or ()), usage.output_tokens or 0) > max_tokens:
        raise ValueError(f"the reply has more than max_tokens = {max_tokens} tokens")
    return Reply(
        tokens=tokens,
        text=text,
        finish_reason=choice["finish_reason"],
        prompt=_ids(choice.get("prompt_token_ids"), vocab_size),
        has_logprobs=_has_logprobs(choice),
        usage=usage,
        version=_version(content),
    )


def _ids(ids: object, vocab_size: int) -> Tokens | None:
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise ValueError("token ids are not a list of integers")
    if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
        raise ValueError(f"a token id is outside the vocabulary of {vocab_size}")
    return tuple(ids)


def _has_logprobs(choice: Mapping[str, object]) -> bool:
    values = _mapping(choice.get("logprobs")).get("token_logprobs")
    return isinstance(values, list) and any(isinstance(each, float) for each in values)


def _error_of(body: bytes) -> tuple[int | None, str, str]:
    """Status, kind and message of the error in a body, in whatever of the usual shapes it has."""
    content = parse(body)
    error = content.get("error", content)
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or body.decode(errors="replace")
        kinds = (error.get("code"), error.get("type"))
        kind = "insufficient_quota" if "insufficient_quota" in kinds else ""
        return _count(error.get("code")), kind, _one_line(str(message))
    return None, "", _one_line(str(error))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return (line[:LONGEST_MESSAGE] + "...") if len(line) > LONGEST_MESSAGE else line or "(empty)"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _seconds(text: str, now: float) -> float | None:
    """Seconds from a number, a duration such as 6m0s, a date, or a moment in Unix seconds or milliseconds."""
    if (number := _number(text)) is not None:
        moment = number / 1000 if number > 1e12 else number
        return max(0.0, moment - now if moment > 1e9 else number)
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    if re.fullmatch(r"(\d+(\.\d+)?(ms|h|m|s))+", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
        return sum(float(amount) * units[unit] for amount, unit in parts)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None
