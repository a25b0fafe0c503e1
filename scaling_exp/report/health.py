"""How a run went: how full its engines were, what the prefix cache saved, what failed, and how it
can be made again.

It reads the manifest, in which anything may be missing: what is not recorded is said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scaling_exp.report import tables, wording
from scaling_exp.report.card import mapping
from scaling_exp.report.tables import Row
from scaling_exp.report.wording import Format, text

MAX_SET_ASIDE = 50
SHARED = (
    " A scorer works beside the models, in the same wall time; busy: the share of it in which an "
    "engine did; its draws are scores."
)


def health(manifest: Row, models: pd.DataFrame, names: Sequence[str]) -> str:
    """Numbers at a glance, a row a model, and the jobs that were set aside."""
    rows, scoring = _recorded(manifest, "generation"), _recorded(manifest, "scoring")
    session = mapping(manifest, "session")
    pairs = [
        ("Wall time, start of Ray to the last draw", _written(session, "wall_seconds", _seconds)),
        ("To the first draw", _written(session, "seconds_to_first_draw", _seconds)),
        (
            "Replicas' time in which no tokens were made",
            _written(session, "share_without_tokens", wording.percent),
        ),
    ]
    return (
        f"{_glance(rows, models, manifest)}"
        '<p class="lead">Occupancy is the share of batch slots in use; until last job: before the '
        "engine only drains; drain: the share of time in which it does; wait: from asking for a draw to "
        f"its start.{SHARED if scoring else ''} The same for every replica is in <code>engines.parquet</code>.</p>"
        f"{tables.engines(rows, scoring, names)}{tables.facts(pairs)}{_set_aside(manifest)}"
    )


def _recorded(manifest: Row, key: str) -> dict[str, Row]:
    """What was recorded of each model."""
    recorded = mapping(manifest, key)
    return {name: each for name, each in recorded.items() if isinstance(each, Mapping)}


def not_drawn_here(manifest: Row) -> str:
    """What is known of data that this run did not draw: where they come from, what was said of them
    when they were imported, and which models could not be placed."""
    source, notes = mapping(manifest, "source"), manifest.get("notes")
    unknown = manifest.get("unknown_models")
    body = (
        '<p class="lead">How these data were drawn is not recorded: neither how full the engines '
        "were nor what failed.</p>"
    )
    if source:
        body += tables.facts([("File", source.get("file")), ("Holds", source.get("kind"))])
    if isinstance(notes, list) and notes:
        body += f"<h3>What the import said</h3>{tables.bullets(notes)}"
    if isinstance(unknown, list) and unknown:
        names = [str(each["name"]) for each in unknown if isinstance(each, Mapping)]
        body += (
            f"<h3>Models of unknown size or data</h3>{tables.bullets([', '.join(names)])}"
            '<p class="note">They are left out of whatever needs pre-training compute.</p>'
        )
    return body


def _glance(rows: Mapping[str, Row], models: pd.DataFrame, manifest: Row) -> str:
    """Six numbers over all models, weighted by tokens or draws."""
    set_aside = manifest.get("set_aside")
    num_set_aside = float(len(set_aside)) if isinstance(set_aside, list) else None
    preemptions = [each for (each,) in _known(rows, "preemptions")]
    numbers: list[tuple[str, float | None, Format, bool]] = [
        ("Occupancy", _mean(rows, "occupancy", "output_tokens"), wording.percent, False),
        (
            "Prefix-cache hits",
            _mean(rows, "prefix_cache_hit_rate", "num_draws"),
            wording.percent,
            False,
        ),
        ("Pre-emptions", sum(preemptions) if preemptions else None, wording.whole, True),
        ("Jobs set aside", num_set_aside, wording.whole, True),
        ("Truncated samples", _share(models, "truncated_share"), wording.percent, True),
        ("Without a gradable answer", _share(models, "unparsable_share"), wording.percent, True),
    ]
    items = "".join(_stat(*each) for each in numbers)
    return f'<dl class="glance">{items}</dl>'


def _stat(label: str, value: float | None, write: Format, is_trouble: bool) -> str:
    shown = wording.number(value, write)
    mark = ' class="trouble"' if is_trouble and value else ""
    return f"<div{mark}><dt>{label}</dt><dd>{shown}</dd></div>"


def _known(rows: Mapping[str, Row], *names: str) -> list[tuple[float, ...]]:
    """Some values of every row that has them all."""
    found = []
    for row in rows.values():
        values = [row.get(name) for name in names]
        known = [float(value) for value in values if isinstance(value, (int, float))]
        if len(known) == len(names):
            found.append(tuple(known))
    return found


def _mean(rows: Mapping[str, Row], name: str, weight: str) -> float | None:
    known = _known(rows, name, weight)
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _share(models: pd.DataFrame, name: str) -> float | None:
    """The mean over models, each of which drew the same problems."""
    known = models[name].dropna().to_numpy(np.float64) if name in models else np.zeros(0)
    return float(known.mean()) if len(known) else None


def _set_aside(manifest: Row) -> str:
    jobs = manifest.get("set_aside")
    if not isinstance(jobs, list) or not jobs:
        return ""
    table = pd.DataFrame([{str(k): str(v) for k, v in job.items()} for job in jobs])
    shown = [name for name in ("model", "problem", "reason") if name in table]
    return (
        '<h3>Set aside</h3><p class="lead">These jobs could not be drawn; their problems are left '
        "out for every model. The same command tries them again.</p>"
        + tables.frame(table.loc[:, shown].head(MAX_SET_ASIDE), ())
    )


def _written(record: Row, key: str, write: Format) -> str | None:
    value = record.get(key)
    return write(value) if isinstance(value, (int, float)) else None


def _seconds(value: float) -> str:
    return f"{wording.significant(value)} s"


def reproduce(manifest: Row) -> str:
    """The command, what it ran on, and the resolved configuration."""
    pairs = [
        ("Run", manifest.get("run_id")),
        ("Created", manifest.get("created")),
        ("Git commit", manifest.get("git_commit")),
        ("Hardware", _inline(manifest.get("hardware"))),
        ("Task", _inline(manifest.get("task"))),
        ("Versions", _inline(manifest.get("versions"))),
    ]
    command = _joined(manifest.get("command"))
    shown = wording.MISSING if command is None else text(command)
    return (
        f'<pre class="block" tabindex="0">{shown}</pre>'
        f"{tables.facts(pairs)}"
        + _block("Configuration, resolved", manifest.get("config"))
        + _block("Models", manifest.get("models"))
        + (_block("Source", manifest["source"]) if manifest.get("source") else "")
    )


def _block(summary: str, value: object) -> str:
    body = text(tables.yaml_like(value)) if value else wording.MISSING
    return tables.details(summary, f'<pre class="block" tabindex="0">{body}</pre>')


def _joined(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _inline(value: object) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {nested}" for key, nested in value.items()) or None
    return None if value is None else str(value)
