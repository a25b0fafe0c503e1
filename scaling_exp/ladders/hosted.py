"""Chat models that somebody else serves: a name, who serves it, and what it is called there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scaling_exp.models import HostedModel, Model
from scaling_exp.types import UserError


@dataclass(frozen=True)
class Service:
    """How one model is had. See `HostedModel` for what the fields mean; only the first two are needed."""

    provider: str
    served_name: str
    base_url: str | None = None
    api_key_env: str | None = None
    reasoning_effort: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    num_parameters: float | None = None
    num_active_parameters: float | None = None
    pretraining_tokens: int | None = None
    family: str = ""
    is_distilled: bool = False

    def model(self, name: str) -> Model:
        """Raises ValueError for what cannot be a model, or would leak a key."""
        said = {key: value for key, value in asdict(self).items() if key != "served_name"}
        return HostedModel(name, self.served_name, **said)


@dataclass(frozen=True)
class Hosted:
    """Name -> how the model is had."""

    models: Mapping[str, Service] = field(default_factory=dict)

    def rungs(self) -> tuple[Model, ...]:
        """In the order of the list. Raises UserError when it is empty."""
        if not self.models:
            raise UserError(
                "ladder.models is empty; add each with +ladder.models.NAME.provider=openai and"
                " +ladder.models.NAME.served_name=gpt-4o-mini"
            )
        return tuple(service.model(name) for name, service in self.models.items())
