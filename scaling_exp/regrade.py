"""Reading and grading the samples of a finished run again, with no engine: after a mended reader or grader.

What was drawn stays as it is. So a strategy that stopped early stopped by the answers as they were read then.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from scaling_exp.grading import Grading
from scaling_exp.schema import of_kind
from scaling_exp.store import RunFolder
from scaling_exp.tables import Grades
from scaling_exp.tasks import TASKS, Task
from scaling_exp.types import Problem, UserError


@dataclass(frozen=True)
class Regraded:
    """What became of the samples."""

    grader: str
    num_samples: int
    num_read_anew: int
    """Samples whose answer reads differently now."""
    num_graded_anew: int
    """Samples that are right now and were not, or the other way round."""

    def __str__(self) -> str:
        return (
            f"{self.num_samples:,} samples graded by {self.grader}: {self.num_read_anew:,} answers read differently,"
            f" {self.num_graded_anew:,} judged differently"
        )


def regrade(folder: RunFolder, task_config: Mapping[str, Any]) -> Regraded:
    """Replace a run's answers and grades by what the task that `task_config` describes makes of its texts.

    Raises UserError for a run that was not made by a task, ConfigError for what is wrong in the configuration.
    """
    with folder.locked():
        task: Task = of_kind(TASKS, dict(task_config), "task")
        problems = _problems(folder)
        old = folder.read_table("samples")
        with Grading(task.grader) as grading:
            grades = Grades(grading)
            new = _graded_again(old, task, problems, grades)
        folder.write_table("samples", new)
        folder.write_table("grades", grades.table())
        done = Regraded(
            grader=task.grader.version,
            num_samples=new.num_rows,
            num_read_anew=_num_different(old, new, "answer"),
            num_graded_anew=_num_different(old, new, "is_correct"),
        )
        _record(folder, task_config, done)
    return done


def task_config_of(folder: RunFolder) -> Mapping[str, Any]:
    """The task as the run's manifest has it. Raises UserError when it has none."""
    config = folder.read_manifest().get("config", {}).get("task")
    if not isinstance(config, dict):
        raise UserError(
            f"{folder.path} was not made by a task: imported data keep the grades that came with them"
        )
    return config


def _problems(folder: RunFolder) -> dict[str, Problem]:
    rows = folder.read_table("problems").to_pylist()
    return {
        row["problem"]: Problem(
            row["problem"], row["prompt"], row["answer"], row["level"], extra=row["extra"]
        )
        for row in rows
    }


def _graded_again(
    old: pa.Table, task: Task, problems: Mapping[str, Problem], grades: Grades
) -> pa.Table:
    read = cache(task.read)
    answers = [read(text) for text in old["text"].to_pylist()]
    asked = [problems[name] for name in old["problem"].to_pylist()]
    given = grades.of(list(zip(asked, answers, strict=True)))
    columns = {
        "answer": pa.array(answers, pa.string()),
        "is_correct": pa.array([each.is_correct for each in given]),
        "outcome": pa.array([each.outcome for each in given], pa.string()),
    }
    # With the columns that it had when it was written, which may be fewer than a run has today.
    return pa.table([columns.get(name, old[name]) for name in old.column_names], old.schema)


def _num_different(old: pa.Table, new: pa.Table, name: str) -> int:
    pairs = zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)
    return sum(before != after for before, after in pairs)


def _record(folder: RunFolder, task_config: Mapping[str, Any], done: Regraded) -> None:
    manifest = folder.read_manifest()
    manifest["config"]["task"] = dict(task_config)
    manifest["task"]["grader"] = done.grader
    regraded = {"when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **vars(done)}
    manifest["regraded"] = [*manifest.get("regraded", []), regraded]
    folder.write_json("manifest", manifest)
