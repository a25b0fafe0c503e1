"""What is needed of reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760): generators by name, entries as text.

An entry travels to the grader as JSON that keeps tuples and keys that are no text: some scorers depend on them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from scaling_exp.schema import unknown
from scaling_exp.types import UserError

Entry = Mapping[str, Any]
"""A generator's `question`, its `answer` (None where any that fits is right) and `metadata`."""


class Generator(Protocol):
    """A data set of reasoning-gym, which has no types of its own."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int) -> Entry: ...

    def score_answer(self, answer: str, entry: Entry) -> float: ...


@dataclass(frozen=True)
class Made:
    """An entry, and how the generator that made it was made."""

    generator: str
    parameters: Mapping[str, Any]
    entry: Entry

    def as_text(self) -> str:
        return json.dumps(_packed(vars(self)), ensure_ascii=False)

    @staticmethod
    def from_text(text: str) -> Made:
        """Raises ValueError where the text is not that of one."""
        found = _unpacked(json.loads(text))
        if not isinstance(found, dict) or set(found) != {each.name for each in fields(Made)}:
            raise ValueError("no entry of reasoning-gym")
        return Made(**found)


def entries(generator: str, parameters: Mapping[str, Any]) -> list[Entry]:
    """All problems of a generator, the same in every process. Raises UserError like `make`.

    They are made in a process of their own: eight generators go through sets, whose order is another in every process,
    or draw from Python's shared random numbers.
    """
    make(generator, parameters)
    ran = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        input=json.dumps([generator, dict(parameters)]),
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        reason = ran.stderr.strip().rpartition("\n")[2]
        raise UserError(
            f"task.source: {generator} cannot make problems with {dict(parameters)}: {reason}"
        )
    return _unpacked(json.loads(ran.stdout))


def main() -> None:
    """Write the problems of the generator that standard input names to standard output."""
    generator, parameters = json.load(sys.stdin)
    random.seed(parameters["seed"])
    np.random.seed(parameters["seed"])
    with redirect_stdout(sys.stderr):
        made = make(generator, parameters)
        found = [made[at] for at in range(len(made))]
    json.dump(_packed(found), sys.stdout)


def make(generator: str, parameters: Mapping[str, Any]) -> Generator:
    """Raises UserError for a generator or a parameter that there is not, or that it does not accept."""
    gym = library()
    if generator not in gym.factory.DATASETS:
        raise UserError(unknown("task.source.generator", generator, sorted(gym.factory.DATASETS)))
    _, config = gym.factory.DATASETS[generator]
    known = [each.name for each in fields(config)]
    for name in parameters:
        if name not in known:
            raise UserError(unknown("task.source.parameters", name, known))
    given = dict(parameters)
    if generator == "composite":
        given["datasets"] = [_part(each) for each in given.get("datasets", ())]
    try:
        return gym.create_dataset(generator, **given)
    except (AssertionError, ValueError, TypeError) as error:
        raise UserError(
            f"task.source.parameters: {generator} refuses {dict(parameters)}: {error}"
        ) from None


def library() -> ModuleType:
    """reasoning-gym, imported. Raises UserError where it is not installed."""
    try:
        # A second that no other task needs, and an extra that need not be there.
        import reasoning_gym  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise UserError(
            "reasoning-gym is not installed; get it with: pip install 'scaling-exp[gym]'"
        ) from None
    return reasoning_gym


@lru_cache(maxsize=8)
def made_again(generator: str, parameters: str) -> Generator:
    """The generator whose parameters `Made.parameters` were, as JSON; made once a process."""
    return make(generator, json.loads(parameters))


def _part(part: Any) -> Any:
    """One generator of a composite one, with its weight and its parameters."""
    from reasoning_gym.composite import DatasetSpec  # pyright: ignore[reportMissingImports]

    try:
        return DatasetSpec(**{"weight": 1.0, "config": {}, **part})
    except TypeError:
        raise UserError(
            f"task.source.parameters.datasets: {part!r} must be {{name: ..., weight: ..., config: {{...}}}}"
        ) from None


def _packed(value: Any) -> Any:
    """What JSON keeps as it is; a tuple, and a dictionary with other keys than text, under a name of its own."""
    if isinstance(value, tuple):
        return {"__tuple__": [_packed(each) for each in value]}
    if isinstance(value, list):
        return [_packed(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if all(isinstance(key, str) for key in value):
        return {key: _packed(each) for key, each in value.items()}
    return {"__pairs__": [[_packed(key), _packed(each)] for key, each in value.items()]}


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__tuple__"}:
        return tuple(_unpacked(each) for each in value["__tuple__"])
    if set(value) == {"__pairs__"}:
        return {_unpacked(key): _unpacked(each) for key, each in value["__pairs__"]}
    return {key: _unpacked(each) for key, each in value.items()}
