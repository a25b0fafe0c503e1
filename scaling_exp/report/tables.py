"""The page's tables and lists as HTML. A value that is absent is shown as absent; an absent column
is left out.

Every table can be sorted in the page; one of too many rows is cut, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from scaling_exp.report import wording
from scaling_exp.report.wording import Format, interval, number, text

Row = Mapping[str, object]
MAX_ROWS = 150
LONG = 32
"""Characters beyond which a cell's words may break over lines."""
ROUNDING = 1e-9
SHARES = (
    *("accuracy", "share", "greedy", "gain", "gap", "difference", "error_rate", "coverage"),
    *("utilisation", "utilization", "pass@", "maj@", "best@"),
)
"""A column whose name holds one of these, and whose values lie between -1 and 1, is a percentage."""


@dataclass(frozen=True)
class Column:
    """One numeric column: its name in the data, its heading, how a value is written."""

    name: str
    heading: str
    write: Format
    missing: str = wording.DASH
    missing_with: str = ""
    """A column without whose value `missing` holds; with it the value is not known."""


LADDER = (
    Column("num_parameters", "Parameters N", wording.parameters),
    Column("pretraining_tokens", "Tokens D", wording.power),
    Column("pretraining_flops", "FLOPs 6ND", wording.power),
    Column("pretraining_loss", "Held-out loss", wording.significant),
    Column("greedy", "Greedy", wording.percent),
)

NOT_REACHED = (
    '<span class="missing" title="not reached within the samples drawn">not reached</span>'
)

EXCHANGE = (
    Column("accuracy_target", "Accuracy", wording.percent),
    Column("k_match", "Samples k", wording.power, NOT_REACHED, "k_match"),
    Column("inference_ratio", "Inference", wording.times, NOT_REACHED, "k_match"),
    Column("pretraining_ratio", "Pre-training", wording.times),
    Column("crossover_queries", "Crossover", wording.power, NOT_REACHED, "k_match"),
)

GENERATION = (
    Column("num_draws", "Draws", wording.whole),
    Column("output_tokens", "Output tokens", wording.power),
    Column("prompt_tokens", "Tokens read", wording.power),
    Column("wall_seconds", "Wall time, s", wording.significant),
    Column("tokens_per_second", "Tokens/s", wording.significant),
    Column("busy_share", "Busy", wording.percent),
    Column("occupancy", "Occupancy", wording.percent),
    Column("full_occupancy", "until last job", wording.percent),
    Column("drain_share", "Drain", wording.percent),
    Column("queue_wait_seconds", "Wait, s", wording.significant),
    Column("prefix_cache_hit_rate", "Cache hits", wording.percent),
    Column("preemptions", "Pre-emptions", wording.whole),
    Column("load_seconds", "Load, s", wording.significant),
)


def ladder(models: pd.DataFrame, names: Sequence[str]) -> str:
    """One row per model, smallest first: size, pre-training, and accuracy with one and with all
    samples."""
    known = {column.name: column for column in LADDER}
    models = models.dropna(axis="columns", how="all")
    others = [str(name) for name in models if name not in known and name != "model"]
    columns = [column for column in LADDER if column.name in models]
    columns += _numeric(models.loc[:, others])
    records = {str(row["model"]): row for row in _records(models)}
    rows = [((_model(name, names),), records[name]) for name in names]
    return _table(("Model",), columns, rows)


def exchange(table: pd.DataFrame, names: Sequence[str]) -> str:
    """One row per pair and selector, with intervals under the values."""
    columns = [column for column in EXCHANGE if column.name in table]
    rows = [
        (
            (
                _model(row["smaller"], names),
                _model(row["larger"], names),
                text(wording.heading(str(row["selector"]))),
            ),
            row,
        )
        for row in _informative_first(table, names)
    ]
    return _table(("Smaller model", "Stands in for", "Selector"), columns, rows)


def _informative_first(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, object]]:
    """The oracle last, pairs that match before those that do not, then the largest model to
    match."""

    def place(row: Row) -> tuple[bool, bool, int, int]:
        smaller, larger = names.index(str(row["smaller"])), names.index(str(row["larger"]))
        return (row["selector"] == "oracle", wording.is_missing(row["k_match"]), -larger, smaller)

    return sorted(_records(table), key=place)


def engines(generation: Mapping[str, Row], scoring: Mapping[str, Row], names: Sequence[str]) -> str:
    """One row per model with what its engine reported, in the ladder's order, then the scorer's;
    without what no engine of the run told."""
    order = [name for name in names if name in generation]
    order += [name for name in generation if name not in names]
    rows = [((_model(name, names), "generator"), generation[name]) for name in order]
    rows += [((_model(name, names), "scorer"), row) for name, row in scoring.items()]
    columns = [each for each in GENERATION if any(each.name in row for _, row in rows)]
    if scoring:
        return _table(("Model", "Role"), columns, rows)
    return _table(("Model",), columns, [(cells[:1], row) for cells, row in rows])


def frame(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Any table: words to the left, then numbers, whose `_low` and `_high` columns become ranges
    under them."""
    words = [str(name) for name, column in table.items() if not _is_number(column)]
    rows = [
        ([_word(row[name], names) for name in words], row) for row in _records(table.head(MAX_ROWS))
    ]
    others = table.loc[:, [name for name in table if name not in words]]
    leads = [text(wording.heading(name)) for name in words]
    return _table(leads, _numeric(others), rows, num_rows=len(table))


def _is_number(column: pd.Series) -> bool:
    return dtypes.is_numeric_dtype(column) and not dtypes.is_bool_dtype(column)


def _numeric(table: pd.DataFrame) -> list[Column]:
    """The numeric columns of a table, but for the ends of intervals."""
    columns = {str(name): column for name, column in table.items()}
    ends = {f"{name}_{end}" for name in columns for end in ("low", "high")}
    return [
        Column(name, wording.heading(name.removesuffix("_share")), _format(name, column))
        for name, column in columns.items()
        if name not in ends
    ]


def _format(name: str, column: pd.Series) -> Format:
    values = column.dropna().to_numpy(np.float64)
    is_share = any(part in name for part in SHARES)
    if is_share and (np.abs(values) <= 1 + ROUNDING).all():
        return wording.percent
    return (
        wording.whole if dtypes.is_integer_dtype(column) and name[:4] == "num_" else wording.power
    )


def _word(value: object, names: Sequence[str]) -> str:
    if wording.is_missing(value):
        return wording.DASH
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    written = _model(value, names)
    return f'<span class="long">{written}</span>' if len(str(value)) > LONG else written


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A description list; None is shown as not recorded."""
    items = "".join(f"<dt>{text(term)}</dt><dd>{text(value)}</dd>" for term, value in pairs)
    return f'<dl class="facts">{items}</dl>'


def bullets(items: Iterable[object]) -> str:
    """A list of sentences."""
    return f'<ul class="bullets">{"".join(f"<li>{text(one)}</li>" for one in items)}</ul>'


def details(summary: str, body: str) -> str:
    """Markup that opens when it is asked for, and on paper."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def yaml_like(value: object, depth: int = 0) -> str:
    """A nested mapping as indented `key: value` lines, for reading (not escaped)."""
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{key}:{_yaml_tail(nested, depth)}" for key, nested in value.items())
    if isinstance(value, (list, tuple)) and value:
        return "".join(f"{pad}-{_yaml_tail(nested, depth)}" for nested in value)
    return f"{pad}{value}\n"


def _yaml_tail(nested: object, depth: int) -> str:
    if isinstance(nested, (Mapping, list, tuple)) and nested:
        return "\n" + yaml_like(nested, depth + 1)
    return f" {'null' if nested is None else nested}\n"


def _model(name: object, names: Sequence[str]) -> str:
    at = names.index(name) if isinstance(name, str) and name in names else None
    swatch = "" if at is None else f'<i class="swatch" data-swatch="{at}"></i>'
    return f"{swatch}{text(name)}"


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.name)
    if wording.is_missing(value):
        is_unknown = column.missing_with and not wording.is_missing(row.get(column.missing_with))
        return f'<td data-sort="">{wording.DASH if is_unknown else column.missing}</td>'
    ends = interval(row.get(f"{column.name}_low"), row.get(f"{column.name}_high"), column.write)
    ends = f'<span class="range">{ends}</span>' if ends else ""
    return f'<td data-sort="{value}">{number(value, column.write)}{ends}</td>'


def _table(
    leads: Sequence[str],
    columns: Sequence[Column],
    rows: Sequence[tuple[Sequence[str], Row]],
    num_rows: int | None = None,
) -> str:
    """Lead cells (markup, text from outside already escaped), then a cell for each column."""
    if not rows:
        return '<p class="note missing">Not recorded.</p>'
    num_rows = len(rows) if num_rows is None else num_rows
    head = "".join(f'<th scope="col" class="text">{lead}</th>' for lead in leads)
    head += "".join(f'<th scope="col">{text(column.heading)}</th>' for column in columns)
    body = "".join(_row(cells, row, columns) for cells, row in rows[:MAX_ROWS])
    cut = num_rows - min(len(rows), MAX_ROWS)
    note = f'<p class="note">{wording.whole(cut)} more rows are in the CSV.</p>' if cut else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table, scrolls">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _row(cells: Sequence[str], row: Row, columns: Sequence[Column]) -> str:
    words = [
        f'<th scope="row" class="text">{cell}</th>' if at == 0 else f'<td class="text">{cell}</td>'
        for at, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(words)}{''.join(_cell(row, column) for column in columns)}</tr>"
