"""What was understood of a file, on one screen: for a dry run, and for the end of a real one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from scaling_exp.imports.cells import Understood
from scaling_exp.imports.facts import Described
from scaling_exp.imports.measured import Measured
from scaling_exp.imports.rows import Rows
from scaling_exp.imports.source import Source

NUM_ROWS = 3
NUM_MODELS = 5


def summary(
    source: Source,
    rows: Rows,
    understood: Understood,
    measured: Measured,
    models: Sequence[Described],
    notes: Sequence[str],
) -> str:
    """Columns, models, problems, samples, what was done about what is odd, and the first rows."""
    points = source.points.values()
    read = [*understood.columns.values(), *(each.column for each in points)]
    used = {*read, *(column.partition("[")[0].partition(".")[0] for column in read)}
    unused = [name for name in rows.names if name not in used]
    columns = [
        *(f"{meaning} = {column!r}" for meaning, column in understood.columns.items()),
        *(f"{meaning} = {value} (given)" for meaning, value in source.given.items()),
        *(f"{each.selector}, k {each.k}, {each.level} = {each.column!r}" for each in points),
    ]
    parts = [
        ("file", [f"{source.path}: {rows.num_rows:,} rows, read as {understood.kind}"]),
        ("columns", columns),
        ("not used", [_some(unused, 8)] if unused else []),
        ("models", _model_lines(models)),
        ("problems", _problem_lines(measured)),
        ("notes", notes),
        ("first rows", _first_rows(next(iter(measured.tables.values())))),
    ]
    return "\n".join(_block(title, lines) for title, lines in parts if lines)


def _block(title: str, lines: Sequence[str]) -> str:
    first, *rest = lines
    return "\n".join([f"{title:<11}{first}", *(f"{'':<11}{line}" for line in rest)])


def _some(names: Sequence[str], num_shown: int) -> str:
    more = f" and {len(names) - num_shown} more" if len(names) > num_shown else ""
    return ", ".join(str(name) for name in names[:num_shown]) + more


def _model_lines(models: Sequence[Described]) -> list[str]:
    known = [each for each in models if each.is_known]
    unknown = [each.name for each in models if not each.is_known]
    lines = [f"{len(models)}: {len(known)} with N and D"]
    lines += [_model_line(each) for each in known[:NUM_MODELS]]
    if len(known) > NUM_MODELS:
        lines.append(f"  and {len(known) - NUM_MODELS} more")
    if unknown:
        lines.append(
            f"N or D not known of {_some(unknown, 5)}: left out of what needs compute; see"
            " columns.num_parameters and columns.pretraining_tokens"
        )
    return lines


def _model_line(each: Described) -> str:
    assert each.architecture is not None
    size, tokens = each.architecture.num_parameters, each.pretraining_tokens
    origins = {origin.partition(",")[0] for origin in each.origin.values()}
    return f"  {each.name}: N {size:.3g}, D {tokens:.3g} ({', '.join(sorted(origins))})"


def _problem_lines(measured: Measured) -> list[str]:
    if not len(measured.num_samples):
        return []
    low, middle, high = np.quantile(measured.num_samples, [0, 0.5, 1])
    return [
        f"{measured.num_problems:,}; samples per problem: least {low:.0f}, median {middle:.0f}, most {high:.0f};"
        f" {measured.num_samples.sum():,} in all"
    ]


def _first_rows(table: pa.Table) -> list[str]:
    """A few rows, without the columns that are empty everywhere."""
    shown = [name for name in table.column_names if table[name].null_count < len(table)]
    width = shutil.get_terminal_size((120, 24)).columns - 11
    rows = [[_cell(row[name]) for name in shown] for row in table.slice(0, NUM_ROWS).to_pylist()]
    widths = [max(map(len, each)) for each in zip(shown, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True))[
            :width
        ].rstrip()
        for line in [shown, *rows]
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 24 else f"{text[:21]}..."
