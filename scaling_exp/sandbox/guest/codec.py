"""Values as JSON, and nothing but plain data: what comes out of a box is rebuilt here from the built-in types alone.

A value of a subclass travels as what it is a kind of, so that no `__eq__` of a program ever runs where it is judged.
What is not plain stays where it is, and a handle goes in its place.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LARGEST_INT = 1 << 63
"""Larger ones travel in hexadecimal: decimal is slow, and Python limits its digits."""
HANDLE = "handle"

_sequences = {"tuple": tuple, "set": set, "frozenset": frozenset}
_exact = {"Decimal": "decimal", "Fraction": "fractions"}


class NotPlainError(Exception):
    """What was sent is no message of this codec."""


def pack(value: Any, handle: Callable[[Any], Any]) -> Any:
    """A value as JSON holds it. `handle` gives what stands for an object that is not plain."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return _scalar(value)
    if isinstance(value, list):
        return [pack(each, handle) for each in list.__iter__(value)]
    if isinstance(value, dict):
        return {"dict": [[pack(k, handle), pack(v, handle)] for k, v in dict.items(value)]}
    for name, kind in _sequences.items():
        if isinstance(value, kind):
            return {name: [pack(each, handle) for each in kind.__iter__(value)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return _number(value) or {HANDLE: handle(value)}


def _number(value: Any) -> Any:
    """A number of NumPy's or of an exact kind, which tests compare with plain ones; None for anything else."""
    kind = type(value)
    if kind.__name__ in _exact and kind.__module__ == _exact[kind.__name__]:
        return {kind.__name__: str(value)}
    if kind.__module__ == "numpy" and not hasattr(kind, "__len__"):
        return {"numpy": _scalar(value.item())}
    return None


def _scalar(value: bool | int | float | str | None) -> Any:
    """The value as its built-in kind."""
    if isinstance(value, int) and not isinstance(value, bool):
        plain = int.__pos__(value)
        return plain if -LARGEST_INT < plain < LARGEST_INT else {"int": hex(plain)}
    if isinstance(value, float):
        return float.__pos__(value)
    return str.__str__(value) if isinstance(value, str) else value


def unpack(packed: Any, handle: Callable[[Any], Any]) -> Any:
    """The value again. Raises NotPlainError for anything that `pack` does not make."""
    try:
        return _unpack(packed, handle)
    except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
        raise NotPlainError(f"{type(error).__name__}: {error}") from None


def _unpack(packed: Any, handle: Callable[[Any], Any]) -> Any:
    if packed is None or isinstance(packed, (bool, int, float, str)):
        return packed
    if isinstance(packed, list):
        return [_unpack(each, handle) for each in packed]
    ((name, content),) = packed.items()
    if name == HANDLE:
        return handle(content)
    if name == "numpy":
        return _unpack(content, handle)
    if name in _exact:
        return getattr(__import__(_exact[name]), name)(content)
    if name == "dict":
        return {_unpack(key, handle): _unpack(value, handle) for key, value in content}
    if name in _sequences:
        return _sequences[name](_unpack(each, handle) for each in content)
    return _scalars[name](content)


def _complex(content: Any) -> complex:
    real, imaginary = content
    return complex(real, imaginary)


_scalars: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": _complex,
}
