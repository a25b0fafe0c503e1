"""From plain dictionaries to frozen dataclasses, which are their own schema; a mistake is one line that names the key.

Unknown keys are forbidden, and a `kind:` chooses the class from an explicit dictionary. It knows no Hydra: a recorded
configuration is read again where none is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from scaling_exp.types import UserError


class ConfigError(UserError):
    """A mistake in the configuration, in one line."""


def of_kind(kinds: Mapping[str, type], node: Any, key: str) -> Any:
    """`node` as the class that its `kind` names. Raises ConfigError."""
    if not isinstance(node, dict) or "kind" not in node:
        raise ConfigError(f"{key}.kind is missing; it is one of {', '.join(kinds)}")
    if node["kind"] not in kinds:
        raise ConfigError(unknown(f"{key}.kind", str(node["kind"]), kinds))
    rest = {name: value for name, value in node.items() if name != "kind"}
    return validate(kinds[node["kind"]], rest, key)


def validate(kind: type, node: Any, key: str) -> Any:
    """`node` as a `kind`, deeply. Raises ConfigError for the first thing that is wrong.

    A class says of which fields a `kind:` chooses the class, and from which, in `KINDS`.
    """
    if not isinstance(node, dict):
        raise ConfigError(f"{key} is {node!r}; it must be a group of keys")
    check_keys(f"{key}.", node, [each.name for each in fields(kind)])
    nested: Mapping[str, Mapping[str, type]] = getattr(kind, "KINDS", {})
    chosen = {
        name: of_kind(kinds, node[name], f"{key}.{name}")
        for name, kinds in nested.items()
        if name in node
    }
    node = {**node, **chosen}
    strict = TypedDict("strict", {"it": kind})  # type: ignore[misc]  # noqa: UP013 - made at run time
    strict.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)  # type: ignore[attr-defined]
    try:
        return TypeAdapter(strict).validate_python({"it": node})["it"]
    except ValidationError as error:
        raise ConfigError(_first_line(error, key)) from None


def _first_line(error: ValidationError, key: str) -> str:
    first = error.errors()[0]
    name = ".".join([key, *(str(part) for part in first["loc"][1:])])
    if first["type"] == "value_error":
        message = str(first.get("ctx", {}).get("error"))
        return message if message.startswith(key) else f"{key}: {message}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name} is not a key here"
    if first["type"] == "missing":
        return f"{name} is missing"
    return f"{name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def check_keys(prefix: str, node: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ConfigError for the first key that is not known."""
    known = list(known)
    for name in node:
        if name not in known:
            raise ConfigError(unknown(f"{prefix}{name}".rpartition(".")[0] or "key", name, known))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """One line: what is wrong, and the nearest that would be right."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(known)}"
    return f"{what}: there is no {name!r}; {hint}"
