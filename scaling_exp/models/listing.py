"""The registry for people and for machines: which models, filtered, and every fact of one with its source."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from io import StringIO
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scaling_exp.models.checkpoints import Checkpoints
from scaling_exp.models.registry import Entry, entries, get
from scaling_exp.schema import ConfigError, unknown, validate

Format = Literal["table", "csv", "json"]
MACHINE_WIDTH = 200
"""Columns where no terminal says how many it has."""


@dataclass(frozen=True)
class Filters:
    """Which models are wanted; None lets all pass. A family is given by its name, or by how its name begins."""

    family: str | None = None
    post_training: Literal["base", "instruct", "reasoning"] | None = None
    licence: str | None = None
    is_distilled: bool | None = None
    has_tokens: bool | None = None
    """Whether D is known."""
    has_checkpoints: bool | None = None
    min_parameters: float | None = None
    max_parameters: float | None = None
    format: Format = "table"

    def accept(self, entry: Entry) -> bool:
        size = entry.architecture.num_parameters
        wanted = (
            (self.post_training, entry.post_training),
            (self.licence, entry.licence),
            (self.is_distilled, entry.is_distilled),
            (self.has_tokens, entry.pretraining_tokens is not None),
            (self.has_checkpoints, entry.checkpoints is not None),
        )
        return (
            all(value is None or value == is_there for value, is_there in wanted)
            and (self.family is None or _begins(entry.family, self.family))
            and (self.min_parameters or 0) <= size <= (self.max_parameters or float("inf"))
        )


def _begins(family: str, asked: str) -> bool:
    """Whether words of a family's name begin with those that are asked for: Qwen2.5 Math is Qwen2.5."""
    have, want = family.lower().split(), asked.lower().split()
    return have[: len(want)] == want


def listing(arguments: Sequence[str]) -> str:
    """The models that texts and KEY=VALUE leave, as a table, CSV or JSON.

    Raises UserError for a filter that is not known, a value that cannot be, or when nothing is left.
    """
    arguments = ["format=json" if each == "--json" else each for each in arguments]
    for each in arguments:
        if each.startswith("-"):
            raise ConfigError(unknown("models", each, ("--json", "--help")))
    given = [each.partition("=") for each in arguments]
    texts = [name.lower() for name, equals, _ in given if not equals]
    filters = _filters({name: value for name, equals, value in given if equals})
    found = [each for each in entries() if filters.accept(each) and _mentions(each, texts)]
    if not found:
        raise ConfigError(f"models: nothing matches {' '.join(arguments)}; `models` lists all")
    return {"table": _table, "csv": _csv, "json": _json}[filters.format](found)


def _filters(given: Mapping[str, str]) -> Filters:
    known = [each.name for each in fields(Filters)]
    for name in given:
        if name not in known:
            raise ConfigError(unknown("models", name, known))
    family = given.get("family")
    if family is not None and not any(_begins(each.family, family) for each in entries()):
        families = list(dict.fromkeys(each.family for each in entries()))
        raise ConfigError(unknown("models: family", family, families))
    return validate(Filters, dict(given), "models")


def _mentions(entry: Entry, texts: Iterable[str]) -> bool:
    """Whether every text is somewhere in its names, family, licence or post-training."""
    words = (entry.name, entry.hub_id, *entry.aliases, entry.family, entry.licence)
    text = " ".join((*words, entry.post_training)).lower()
    return all(each in text for each in texts)


def record(entry: Entry) -> dict[str, Any]:
    """Facts of a model as plain values; None where one is not known."""
    shape = entry.architecture
    return {
        "name": entry.name,
        "hub_id": entry.hub_id,
        "revision": entry.revision,
        "aliases": list(entry.aliases),
        "family": entry.family,
        "post_training": entry.post_training,
        "is_distilled": entry.is_distilled,
        "base_model": entry.base_model or None,
        "num_parameters": shape.num_parameters,
        "num_non_embedding_parameters": shape.num_non_embedding_parameters,
        "num_active_parameters": shape.num_active_parameters,
        "pretraining_tokens": entry.pretraining_tokens,
        "unique_tokens": entry.unique_tokens,
        "pretraining_flops": entry.pretraining_flops,
        "licence": entry.licence,
        "context": entry.context,
        "checkpoints": None if entry.checkpoints is None else entry.checkpoints.revision,
        "shapes": dict(entry.shapes),
    }


def _json(found: Sequence[Entry]) -> str:
    sources = [{fact: str(source) for fact, source in each.sources.items()} for each in found]
    records = [{**record(each), "sources": own} for each, own in zip(found, sources, strict=True)]
    return json.dumps(records, indent=1)


def _csv(found: Sequence[Entry]) -> str:
    """Plain values only: shapes and sources are in the JSON."""
    records = [record(each) for each in found]
    names = [name for name in records[0] if name not in ("shapes", "aliases")]
    text = StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().rstrip("\n")


def _table(found: Sequence[Entry]) -> str:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "family"):
        table.add_column(name, no_wrap=True)
    for name in ("N", "active", "D", "6ND"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("post-training", "licence", "checkpoints"):
        table.add_column(name, no_wrap=True)
    for each in found:
        shape = each.architecture
        flops, distilled = each.pretraining_flops, " *" if each.is_distilled else ""
        table.add_row(
            each.name,
            each.family,
            short(shape.num_parameters),
            short(shape.num_active_parameters),
            short(each.pretraining_tokens),
            "?" if flops is None else f"{flops:.2e}",
            each.post_training + distilled,
            each.licence,
            str(len(list(each.checkpoints.steps))) if each.checkpoints else "",
        )
    return f"{_drawn(table)}\n\n{_remarks(found)}"


def _remarks(found: Sequence[Entry]) -> str:
    lines = [f"{len(found)} models; `models show NAME` tells every fact with its source"]
    if any(each.is_distilled for each in found):
        lines.append("* distilled or pruned from a larger model: 6ND understates what it took")
    if any(each.pretraining_tokens is None for each in found):
        lines.append("? D is not published: such a model takes part in no trade unless you give it")
    return "\n".join(lines)


def describe(name: str) -> str:
    """Every fact of one model, with its source. Raises UserError for a name that is not known."""
    entry = get(name)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")
    for fact, value, source in _facts(entry):
        said = entry.sources.get(source)
        table.add_row(fact, Text(value), Text(str(said) if said else ""))
    return f"{entry.name}\n{_drawn(table)}"


def _facts(entry: Entry) -> list[tuple[str, str, str]]:
    """Fact, value in words, and the fact whose source it has."""
    shape, flops = entry.architecture, entry.pretraining_flops
    words = [f"{key} {value}" for key, value in entry.shapes.items()]
    exact = " = the published total" if entry.published_parameters else ""
    return [
        ("hub id", entry.hub_id, "hub_id"),
        ("revision", entry.revision or "main, as it is when it is fetched", "revision"),
        ("also", ", ".join(entry.aliases) or "-", ""),
        ("family", entry.family, "family"),
        ("post-training", entry.post_training, "post_training"),
        ("distilled", _yes_or_no(entry.is_distilled), "is_distilled"),
        ("made from", entry.base_model or "-", "base_model"),
        ("shapes", ", ".join(words), "shapes"),
        ("parameters", f"{shape.num_parameters:,}, summed over the shapes{exact}", ""),
        ("non-embedding", f"{shape.num_non_embedding_parameters:,}", ""),
        ("active", f"{shape.num_active_parameters:,} that a token multiplies with", ""),
        ("tokens D", _or_unknown(entry.pretraining_tokens), "pretraining_tokens"),
        (
            "unique tokens",
            _or(entry.unique_tokens, "each was seen once, as far as is known"),
            "unique_tokens",
        ),
        ("6ND", "not known" if flops is None else f"{flops:.3e} FLOPs", ""),
        ("licence", entry.licence or "not known", "licence"),
        ("context", _or_unknown(entry.context), "context"),
        ("checkpoints", _steps(entry.checkpoints), "checkpoints"),
    ]


def _steps(checkpoints: Checkpoints | None) -> str:
    if checkpoints is None:
        return "none are known"
    steps = list(checkpoints.steps)
    shown = ", ".join(_span(each) for each in checkpoints.ranges)
    last = checkpoints.at(steps[-1])
    return (
        f"{len(steps)}: steps {shown}; {checkpoints.tokens_per_step:,} tokens a step; the last is revision"
        f" {last.revision}"
    )


def _span(steps: range) -> str:
    return f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]} by {steps.step}"


def _yes_or_no(value: bool | None) -> str:
    return {True: "yes: 6ND understates what it took", False: "no", None: "not known"}[value]


def _or_unknown(value: int | None) -> str:
    return _or(value, "not known")


def _or(value: int | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:,}"


def short(value: float | None) -> str:
    """Three significant digits with a unit: 8.03B; a question mark for what is not known."""
    if value is None:
        return "?"
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= scale * 0.9995:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def _drawn(table: Table) -> str:
    """As text: as wide as the terminal, and without a terminal wide enough for everything."""
    probe = Console()
    console = probe if probe.is_terminal else Console(width=MACHINE_WIDTH)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").splitlines())
