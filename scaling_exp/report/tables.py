"""The page's tables and lists as HTML. A value that is absent is shown as absent; an absent column
is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from scaling_exp.report import wording
from scaling_exp.report.wording import Format, interval, number, text

Row = Mapping[str, object]


@dataclass(frozen=True)
class Column:
    """One numeric column: its name in the data, its heading, how a value is written."""

    name: str
    heading: str
    write: Format
    missing: str = wording.DASH


LADDER = (
    Column("num_parameters", "Parameters N", wording.parameters),
    Column("pretraining_tokens", "Tokens D", wording.power),
    Column("pretraining_flops", "FLOPs 6ND", wording.power),
    Column("loss", "Held-out loss", wording.significant),
    Column("greedy", "Greedy", wording.percent),
)

NOT_REACHED = (
    '<span class="missing" title="not reached within the samples drawn">not reached</span>'
)

EXCHANGE = (
    Column("accuracy_target", "Accuracy", wording.percent),
    Column("k_match", "Samples k", wording.power, NOT_REACHED),
    Column("inference_ratio", "Inference", wording.times, NOT_REACHED),
    Column("pretraining_ratio", "Pre-training", wording.times),
    Column("crossover_queries", "Crossover", wording.power, NOT_REACHED),
)

GENERATION = (
    Column("num_draws", "Draws", wording.whole),
    Column("output_tokens", "Output tokens", wording.power),
    Column("wall_seconds", "Wall time, s", wording.significant),
    Column("tokens_per_second", "Tokens/s", wording.significant),
    Column("occupancy", "Occupancy", wording.percent),
    Column("full_occupancy", "until the last job", wording.percent),
    Column("drain_share", "Drain, share of time", wording.percent),
    Column("queue_wait_seconds", "Wait of a request, s", wording.significant),
    Column("prefix_cache_hit_rate", "Prefix-cache hits", wording.percent),
    Column("preemptions", "Pre-emptions", wording.whole),
    Column("load_seconds", "Load, s", wording.significant),
)


def ladder(models: pd.DataFrame, names: Sequence[str]) -> str:
    """One row per model, smallest first: size, pre-training, and accuracy with one and with all
    samples."""
    known = {column.name: column for column in LADDER}
    shares = [name for name in models if name not in known and name != "model"]
    columns = [column for column in LADDER if column.name in models] + [
        Column(str(name), _heading(str(name)), wording.percent) for name in shares
    ]
    records = {str(row["model"]): row for row in models.to_dict("records")}
    rows = [((_model(name, names),), records[name]) for name in names]
    return _table(("Model",), columns, rows)


def exchange(table: pd.DataFrame, names: Sequence[str]) -> str:
    """One row per pair and selector, with intervals under the values."""
    columns = [column for column in EXCHANGE if column.name in table]
    rows = [
        (
            (_model(row["smaller"], names), _model(row["larger"], names), text(row["selector"])),
            row,
        )
        for row in _informative_first(table, names)
    ]
    return _table(("Smaller model", "Stands in for", "Selector"), columns, rows)


def _informative_first(table: pd.DataFrame, names: Sequence[str]) -> list[dict[str, object]]:
    """Voting before the oracle, pairs that match before those that do not, then the largest model
    to match."""

    def place(row: Row) -> tuple[bool, bool, int, int]:
        smaller, larger = names.index(str(row["smaller"])), names.index(str(row["larger"]))
        return (row["selector"] != "voting", wording.is_missing(row["k_match"]), -larger, smaller)

    records = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return sorted(records, key=place)


def generation(statistics: Mapping[str, Row], names: Sequence[str]) -> str:
    """One row per model with what its engine reported, in the ladder's order."""
    order = [name for name in names if name in statistics]
    order += [name for name in statistics if name not in names]
    rows = [((_model(name, names),), statistics[name]) for name in order]
    return _table(("Model",), GENERATION, rows)


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A description list; None is shown as not recorded."""
    items = "".join(f"<dt>{text(term)}</dt><dd>{text(value)}</dd>" for term, value in pairs)
    return f'<dl class="facts">{items}</dl>'


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


def _heading(name: str) -> str:
    return name.replace("_", " ").replace(" share", "").capitalize() if "@" not in name else name


def _model(name: object, names: Sequence[str]) -> str:
    at = names.index(name) if isinstance(name, str) and name in names else None
    swatch = "" if at is None else f'<i class="swatch" data-swatch="{at}"></i>'
    return f"{swatch}{text(name)}"


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.name)
    if wording.is_missing(value):
        return f"<td>{column.missing}</td>"
    ends = interval(row.get(f"{column.name}_low"), row.get(f"{column.name}_high"), column.write)
    ends = f'<span class="range">{ends}</span>' if ends else ""
    return f"<td>{number(value, column.write)}{ends}</td>"


def _table(
    leads: Sequence[str], columns: Sequence[Column], rows: Sequence[tuple[Sequence[str], Row]]
) -> str:
    """Lead cells (markup, text from outside already escaped), then a cell for each column."""
    if not rows:
        return '<p class="note missing">Not recorded.</p>'
    head = "".join(f'<th scope="col" class="text">{lead}</th>' for lead in leads)
    head += "".join(f'<th scope="col">{text(column.heading)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f'<td class="text">{cell}</td>' for cell in rest)
        + "".join(_cell(row, column) for column in columns)
        + "</tr>"
        for (first, *rest), row in rows
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table, scrolls sideways">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
