"""What the user says of a file that others made: where it is, what its columns mean, what it does not say itself.

It knows no format and reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any, Literal

from scaling_exp.imports.meanings import MEANINGS, SELECTORS
from scaling_exp.types import UserError

Kind = Literal["samples", "counts", "points"]
Format = Literal["jsonl", "json", "csv", "parquet"]


@dataclass(frozen=True)
class Tokens:
    """What the token columns count.

    `counted` is "sample" (the tokens of one sample), "row" (all samples of a row together) or "running_total" (a
    total that goes on from row to row; where it falls it starts anew). A prompt that was sent `calls_per_row` times
    for the samples of one row is as long as what was paid divided by it.
    """

    counted: Literal["sample", "row", "running_total"] | None = None
    calls_per_row: int = 1

    def __post_init__(self) -> None:
        if self.calls_per_row < 1:
            raise ValueError(f"tokens.calls_per_row is {self.calls_per_row}; it must be at least 1")


@dataclass(frozen=True)
class Join:
    """A second file beside the source, whose columns are added where `by` there equals `column` here.

    Without `by` the number of its row is meant, from 0.
    """

    file: str | None = None
    column: str = ""
    by: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None and not self.column:
            raise ValueError(
                f"join.column is missing: which column here finds a row of {self.file}?"
            )


@dataclass(frozen=True)
class WidePoint:
    """One column of accuracies in a table that has one row a model. `is_error` when it holds 1 - accuracy."""

    column: str
    selector: str = "single"
    k: int = 1
    level: str = "all"
    num_problems: int | None = None
    is_error: bool = False

    def __post_init__(self) -> None:
        if self.selector not in SELECTORS:
            raise ValueError(f"selector is {self.selector!r}; it is one of {', '.join(SELECTORS)}")
        if self.k < 1:
            raise ValueError(f"k is {self.k}; it must be at least 1")
        if self.selector == "single" and self.k != 1:
            raise ValueError(f"selector single with k = {self.k}; one attempt is k=1")
        if self.num_problems is not None and self.num_problems < 1:
            raise ValueError(f"num_problems is {self.num_problems}; it must be at least 1")


@dataclass(frozen=True)
class Source:
    """A file and its reading. `columns` and `constants` go from a meaning to a column or to a value.

    A column may be a path into nested fields: `usage.completion_tokens`, `infos[*].r`, `scores[*][0]`. A meaning
    without either is looked for by its usual names; "" says that the file has none.
    """

    path: str
    name: str | None = None
    kind: Kind | None = None
    format: Format | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    constants: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    units: Mapping[str, float | None] = field(default_factory=dict)
    points: Mapping[str, WidePoint] = field(default_factory=dict)
    tokens: Tokens = Tokens()
    join: Join = Join()
    answer_pattern: str | None = None
    no_answer: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    problems: Literal["common", "same"] = "common"
    max_bad_rows: int = 0

    def __post_init__(self) -> None:
        for group in ("columns", "constants", "units"):
            for meaning in getattr(self, group):
                _check_meaning(group, meaning)
        both = [each for each in self.mapped if self.constants.get(each) is not None]
        if both:
            raise ValueError(f"{both[0]} has a column and a constant; keep one of them")
        if self.max_bad_rows < 0:
            raise ValueError(f"max_bad_rows is {self.max_bad_rows}; it must be 0 or more")
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(
                f"name is {self.name!r}; use letters, digits, '_' and, but for the first, '.' and '-'"
            )
        if self.answer_pattern is not None:
            _check_pattern(self.answer_pattern)
        if any(factor is not None and not factor > 0 for factor in self.units.values()):
            raise ValueError("units must be above 0, e.g. units.num_parameters=1e9 for billions")

    @property
    def mapped(self) -> dict[str, str]:
        """The columns that the user named."""
        return {meaning: column for meaning, column in self.columns.items() if column}

    @property
    def absent(self) -> set[str]:
        """Meanings that are not to be looked for."""
        return {meaning for meaning, column in self.columns.items() if column == ""}

    @property
    def given(self) -> dict[str, Any]:
        """The constants that the user named."""
        return {each: value for each, value in self.constants.items() if value is not None}

    def factor(self, meaning: str) -> float:
        """What one of a column's units is."""
        return self.units.get(meaning) or 1.0

    @property
    def file(self) -> FilePath:
        """The source's path. Raises UserError for what is not a file."""
        if re.match(r"[a-z][a-z0-9+]*://", self.path):
            raise UserError(f"{self.path} is an address; download the file and give its path")
        return existing(FilePath(self.path))

    @property
    def joined_file(self) -> FilePath | None:
        """The second file, whose path is seen from the folder of the first."""
        return existing(self.file.parent / self.join.file) if self.join.file else None

    def run_name(self) -> str:
        """The run folder's name without its hash."""
        if self.name is not None:
            return self.name
        stem = FilePath(self.path).name.partition(".")[0]
        return re.sub(r"[^\w.-]+", "-", stem).strip("-") or "import"

    def reading(self) -> dict[str, Any]:
        """All that decides, with the file's content, what the run's tables hold: not where the file lies, what the run
        is called and how many bad rows are forgiven."""
        record = asdict(self)
        for key in ("path", "name", "max_bad_rows"):
            del record[key]
        said = {each: factor for each, factor in self.units.items() if factor is not None}
        columns = {each: column for each, column in self.columns.items() if column is not None}
        return record | {"columns": columns, "constants": self.given, "units": said}


def existing(file: FilePath) -> FilePath:
    """`file`, which is one. Raises UserError."""
    if file.is_dir():
        raise UserError(f"{file} is a folder; give one file of it")
    if not file.is_file():
        raise UserError(f"{file} does not exist; check the path")
    return file


def digest(file: FilePath) -> str:
    """SHA-256 of a file's content."""
    hashed = sha256()
    with open(file, "rb") as opened:
        while block := opened.read(1 << 22):
            hashed.update(block)
    return hashed.hexdigest()


def _check_meaning(group: str, meaning: str) -> None:
    if meaning not in MEANINGS:
        raise ValueError(f"{group}.{meaning} is not known; it is one of {', '.join(MEANINGS)}")


def _check_pattern(pattern: str) -> None:
    try:
        names = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(
            f"answer_pattern {pattern!r} is not a regular expression: {error}"
        ) from None
    if list(names) != ["answer"]:
        raise ValueError(
            f"answer_pattern {pattern!r} must have one named group, (?P<answer>...), which is the answer"
        )
