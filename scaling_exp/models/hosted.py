"""A model that is only known by the answers of a server: no weights, no shapes, no tokenizer here.

The program speaks token ids throughout; for a model whose tokenizer is not known they are the bytes of the text in
UTF-8. A prompt is the canonical JSON of a chat, so that it can be sent as messages again. What a draw costs is what the
server says it charged (`types.Billed`), never a count of these bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import nan
from pathlib import Path as FilePath
from sys import maxsize
from typing import Any
from urllib.parse import urlsplit

from scaling_exp.models.model import Model
from scaling_exp.types import Architecture, Chat, Message, ModelFacts, Problem, Tokens, UserError

OWN_FIELDS = ("messages", "model", "seed", "temperature", "top_p", "top_k", "min_p", "stop", "n")
"""Of a request: set by the sampling, so not by `request`."""


@dataclass(frozen=True)
class HostedModel(Model):
    """A chat model behind `/chat/completions`; `path` is what its server calls it.

    Two providers of one model are two models: they seldom run the same weights in the same precision.
    """

    provider: str = ""
    """Who serves it; `provider/path` is its name in price lists."""
    base_url: str | None = None
    """Its server, where that is not one of the engine's."""
    api_key_env: str | None = None
    """The NAME of the variable that holds the key of `base_url`."""
    reasoning_effort: str | None = None
    """Sent as it is; None leaves it to the server."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as a provider's own way to switch thinking off."""
    num_parameters: float | None = None
    num_active_parameters: float | None = None
    """Sizes, where they are known; without them there are no FLOPs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.provider or not self.path:
            raise UserError(
                f"hosted model {self.name} needs a provider and the name that it has there, such as openai and gpt-4o"
            )
        if self.api_key_env is not None and self.base_url is None:
            raise UserError(
                f"hosted model {self.name} has api_key_env and no base_url: give the address that the key is for, or"
                " set engine.api_key_env"
            )
        if self.base_url is not None:
            check_base_url(f"base_url of hosted model {self.name}", self.base_url, "api_key_env")
        for name in self.request:
            if name in OWN_FIELDS:
                raise UserError(
                    f"request of hosted model {self.name} has {name}, which the sampling of a strategy sets"
                )
        for name in ("num_parameters", "num_active_parameters"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise UserError(
                    f"{name} of hosted model {self.name} is {value}; it must be above 0"
                )

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """There is none. Raises UserError: whoever asks for it wants weights."""
        raise self._has_no_weights()

    @property
    def folder(self) -> FilePath:
        """There is none. Raises UserError."""
        raise self._has_no_weights()

    def _has_no_weights(self) -> UserError:
        return UserError(
            f"model {self.name} is hosted by {self.provider} and has no weights here: draw it with engine=openai"
        )

    @property
    def is_on_hub(self) -> bool:
        """Never, though its name may look like it."""
        return False

    @property
    def code_it_brings(self) -> list[str]:
        """None: it runs elsewhere."""
        return []

    @cached_property
    def least_bytes(self) -> float:
        """Nothing is held here."""
        return 0.0

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Its words are not known."""
        return {}

    @property
    def settings(self) -> dict[str, Any]:
        """What every request says beside messages and sampling."""
        effort = (
            {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        )
        return {**self.request, **effort}

    @cached_property
    def facts(self) -> ModelFacts:
        """What the user says of it; NaN for sizes and data that nobody told."""
        size = nan if self.num_parameters is None else self.num_parameters
        active = size if self.num_active_parameters is None else self.num_active_parameters
        return ModelFacts(
            self.name,
            Architecture.of_size(size, active),
            nan if self.pretraining_tokens is None else self.pretraining_tokens,
            unique_tokens=self.unique_tokens,
            pretraining_loss=self.pretraining_loss,
            family=self.family,
            is_distilled=self.is_distilled,
            hosted_as=f"{self.provider}/{self.path}",
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of who serves it, its name there, how it is asked, and with which settings.

        What a server runs under a name may change without notice: what it reports of that is in the manifest.
        """
        identity = ["chat/completions", self.provider, self.path, self.settings]
        text = json.dumps(identity, sort_keys=True)
        return blake2b(text.encode(), digest_size=16).hexdigest()

    @cached_property
    def stop_token_ids(self) -> Tokens:
        """None: a server ends an answer by itself."""
        return ()

    @cached_property
    def max_tokens(self) -> int:
        """No limit that could be checked here: the server knows what fits, and refuses what does not."""
        return maxsize

    @cached_property
    def same_shape_as(self) -> str:
        """Equal for all: nothing is loaded."""
        return "hosted"

    def encode(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[Tokens]:  # noqa: ARG002
        """The bytes of texts; half a surrogate pair, which no text may hold, becomes a question mark."""
        return [tuple(text.encode("utf-8", "replace")) for text in texts]

    def prompts(self, problems: Sequence[Problem]) -> list[Tokens]:
        """Chats as canonical JSON; plain text is a chat of one message of the user's."""
        chats = [each.chat or Chat((Message("user", each.prompt),)) for each in problems]
        return self.encode([json_of(chat) for chat in chats])

    def decode(self, tokens: Tokens) -> str:
        """The text of bytes; a character that is not whole is replaced."""
        return bytes(tokens).decode("utf-8", "replace")


def check_base_url(key: str, url: str, key_env: str) -> None:
    """Raises ValueError for an address that is none, or that holds a secret; `key_env` is where one belongs."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"{key} has {url!r}; it must be like http://127.0.0.1:8000/v1 (with the /v1)"
        )
    if parts.username or parts.password or parts.query:
        raise ValueError(
            f"{key} has an address with a user, a password or a query in it: these end up in logs; give the key in an"
            f" environment variable and its name in {key_env}"
        )


def json_of(chat: Chat) -> str:
    """A chat as canonical JSON."""
    thinking = {} if chat.thinking is None else {"thinking": chat.thinking}
    content = {"messages": [asdict(each) for each in chat.messages], **thinking}
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def chat_of(text: str) -> tuple[Chat, str]:
    """The chat that a prompt is, and what was written after it: the beginning of an answer."""
    content, end = json.JSONDecoder().raw_decode(text)
    messages = tuple(Message(**each) for each in content["messages"])
    return Chat(messages, content.get("thinking")), text[end:]
