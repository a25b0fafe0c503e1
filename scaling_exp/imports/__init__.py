"""Data that others made, as a run: samples, counts or points from JSONL, JSON, CSV or Parquet.

    source   what the user says of the file          meanings  what a column can mean, and its usual names
    reading  which format a file is                  rows      a file as rows, whatever its format
    json_rows, table_rows                            joined    with the columns of a second file
    parsing  cells to typed values                   cells     all cells by what they mean
    samples, counts, points                          the tables of a run, checked as a whole
    grouping problems that all models have           facts     N and D of the models, and where they come from
    faults   bad rows, by line                       summary   what was understood, on one screen

A bad row is named, never mended; what is missing stays missing; whatever was left out is said in the summary and in
the manifest. It draws nothing and analyses nothing: `report` does, as with a run of our own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from scaling_exp.environment import describe_environment
from scaling_exp.imports.cells import Understood, read_cells
from scaling_exp.imports.counts import read_counts
from scaling_exp.imports.facts import Described, describe, doubtful
from scaling_exp.imports.faults import Faults
from scaling_exp.imports.joined import joined
from scaling_exp.imports.measured import Measured
from scaling_exp.imports.points import read_points
from scaling_exp.imports.reading import read_rows
from scaling_exp.imports.rows import Rows
from scaling_exp.imports.samples import read_samples
from scaling_exp.imports.source import Join, Source, Tokens, WidePoint, digest
from scaling_exp.imports.summary import summary
from scaling_exp.store import RunFolder, Store

__all__ = ["Import", "Imported", "Join", "Source", "Tokens", "WidePoint", "import_source", "write"]

READERS = {"samples": read_samples, "counts": read_counts, "points": read_points}


@dataclass(frozen=True)
class Import:
    """What `import` is asked to do. `analysis` is the configuration of an analysis, for the manifest."""

    source: Source
    store: str
    analysis: Mapping[str, Any]
    is_dry: bool


@dataclass(frozen=True)
class Imported:
    """A file that was understood."""

    run_id: str
    understood: Understood
    measured: Measured
    models: Sequence[Described]
    notes: Sequence[str]
    digests: Mapping[str, str]
    """SHA-256 by file name."""
    summary: str


def import_source(source: Source) -> Imported:
    """Read and check a file; nothing is written.

    Raises UserError for a file that cannot be read, columns that are not there, and more bad rows than allowed.
    """
    rows, notes = _rows(source)
    understood = Understood.of(source, rows.names)
    faults = Faults(rows)
    cells = read_cells(source, understood, rows, faults)
    measured = READERS[understood.kind](source, cells, faults)
    models = describe(cells, measured.models)
    notes = [*notes, *cells.notes, *measured.notes, *doubtful(models)]
    if faults.count:
        notes += [f"{faults.count:,} bad rows are left out:", *faults.summary()]
    digests = {each.name: digest(each) for each in (source.file, source.joined_file) if each}
    return Imported(
        run_id=f"{source.run_name()}-{_hash(source, digests)}",
        understood=understood,
        measured=measured,
        models=models,
        notes=notes,
        digests=digests,
        summary=summary(source, rows, understood, measured, models, notes),
    )


def _rows(source: Source) -> tuple[Rows, list[str]]:
    rows = read_rows(source.file, source.format)
    second = source.joined_file
    return joined(rows, read_rows(second, None), source.join) if second else (rows, [])


def _hash(source: Source, digests: Mapping[str, str]) -> str:
    decides = json.dumps([source.reading(), list(digests.values())], sort_keys=True, default=str)
    return sha256(decides.encode()).hexdigest()[:8]


def write(wanted: Import, imported: Imported, command: str) -> RunFolder:
    """Write the run folder. The same file and reading make the same folder again.

    Raises StoreError when it cannot be written.
    """
    folder = Store.at(wanted.store).run(imported.run_id)
    with folder.locked():
        for name, table in imported.measured.tables.items():
            folder.write_table(name, table)
        folder.write_json("manifest", _manifest(wanted, imported, command, folder))
    return folder


def _manifest(
    wanted: Import, imported: Imported, command: str, folder: RunFolder
) -> dict[str, Any]:
    """The record of the run, with the same keys as that of one of our own."""
    before = folder.read_manifest() if folder.manifest.is_file() else {}
    source = wanted.source
    return {
        "run_id": imported.run_id,
        "created": before.get("created", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
        "command": command,
        "config": {
            "path": source.path,
            "name": source.name,
            "max_bad_rows": source.max_bad_rows,
            **source.reading(),
        },
        "models": [each.record() for each in imported.models if each.is_known],
        "unknown_models": [each.record() for each in imported.models if not each.is_known],
        "task": {
            "kind": "imported",
            "num_problems": imported.measured.num_problems,
            "fingerprint": next(iter(imported.digests.values()))[:16],
        },
        "analysis": dict(wanted.analysis),
        "source": {
            "file": source.file.name,
            "sha256": dict(imported.digests),
            "kind": imported.understood.kind,
            "columns": dict(imported.understood.columns),
            "constants": source.given,
        },
        "notes": list(imported.notes),
        "generation": {},
        "session": {},
        "set_aside": [],
        **describe_environment(),
    }
