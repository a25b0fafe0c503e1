"""How runs are, told from the store alone, so from any machine that sees it: at work, at their end, or killed.

Reads `state.json` of each run (see state.py) and asks whether a process holds the run's lock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaling_exp.spending import dollars, duration
from scaling_exp.state import ScorerState, State
from scaling_exp.store import RunFolder, Store, StoreError
from scaling_exp.submission import ENDED, Job, JobState, target_of
from scaling_exp.types import UserError

SILENT_SECONDS = 60.0
"""A run that works says so every few seconds; after so long without a word it is told as silent."""
MAX_REPLICAS = 16
"""More than these are told by model alone."""
COLOURS = {
    "finished": "green",
    "interrupted": "yellow",
    "limited": "yellow",
    "failed": "red",
    "silent": "yellow",
}


@dataclass(frozen=True)
class Seen:
    """A run as it is found: what it said last, and whether it still works."""

    folder: RunFolder
    state: State | None
    """None for a run of data that was imported, or of a version that kept none."""
    is_locked: bool

    @classmethod
    def of(cls, folder: RunFolder) -> Seen:
        state = State.read(folder)
        is_at_work = state is not None and not state.is_over
        return cls(folder, state, is_at_work and folder.is_locked)

    @property
    def phase(self) -> str:
        """As it said, but of a run that nobody works on any more: interrupted."""
        if self.state is None:
            return "no state"
        if not self.state.is_over and not self.is_locked:
            return "interrupted"
        is_silent = not self.state.is_over and self.silence > SILENT_SECONDS
        return "silent" if is_silent else self.state.phase

    @property
    def silence(self) -> float:
        """Seconds since it said anything."""
        return time.time() - self.state.written if self.state else 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more by itself."""
        return self.state is None or self.state.is_over or not self.is_locked


def overview(store: Store) -> RenderableType:
    """One row for every run of a store, the latest first. Raises UserError when there is none."""
    seen = [_seen(each) for each in store.runs()]
    if not seen:
        raise UserError(
            f"{store.url} has no runs; give the folder of a run or of a store, or store=FOLDER"
        )
    table = _table(f"{store.url}: {len(seen)} runs", "run", "state", numbers=COLUMNS)
    for each in sorted(seen, key=lambda each: each.silence if each.state else float("inf")):
        table.add_row(each.folder.path.name, _coloured(each.phase), *_cells(each))
    return table


def _seen(folder: RunFolder) -> Seen:
    """One that cannot be read hides no other."""
    try:
        return Seen.of(folder)
    except StoreError:
        return Seen(folder, None, folder.is_locked)


COLUMNS = ("drawn", "tok/s", "ETA", "FLOPs", "dollars", "wall", "said")


def _cells(seen: Seen) -> list[str]:
    """In the order of COLUMNS."""
    state = seen.state
    if state is None:
        return [""] * len(COLUMNS)
    expected = state.num_draws_expected
    return [
        f"{state.num_draws / expected:.0%}" if expected else "",
        "" if seen.is_over else f"{state.tokens_per_second:,.0f}",
        "" if seen.is_over or state.eta_seconds is None else duration(state.eta_seconds),
        _flops(state.spent.flops),
        _dollars(state.spent.dollars),
        duration(state.spent.wall_seconds),
        f"{duration(seen.silence)} ago",
    ]


def detail(folder: RunFolder) -> RenderableType:
    """One run in full. Raises UserError when it is none."""
    where = folder.url(folder.path)
    if not folder.path.is_dir():
        raise UserError(f"{where} is no run, no store and no job")
    seen = Seen.of(folder)
    state = seen.state
    if state is None:
        return Text(
            f"{where}: nothing is known of its progress; `report {where}` reads what is there"
        )
    parts: list[RenderableType] = [_headline(seen, state)]
    if state.models:
        parts.append(_models(seen, state))
    if state.scorer is not None:
        parts.append(_scorer(seen, state.scorer))
    if not seen.is_over and 0 < len(state.replicas) <= MAX_REPLICAS:
        parts.append(_replicas(state))
    parts.append(Text("\n".join(_facts(seen, state))))
    return Group(*parts)


def _headline(seen: Seen, state: State) -> Text:
    where = f"session {state.num_sessions}, on {state.host}, process {state.pid}"
    text = Text(f"{state.run_id}: ")
    text.append(_coloured(seen.phase))
    text.append(f"   {where}, said {duration(seen.silence)} ago")
    return text


def _models(seen: Seen, state: State) -> Table:
    """What is the same for all models, such as no price, is left out."""
    models = state.models
    columns: dict[str, list[str]] = {
        "problems": [f"{m.num_problems_finished:,}/{m.num_problems:,}" for m in models],
        "draws": [f"{m.num_draws:,}/{m.num_draws_expected:,}" for m in models],
        "tokens": [f"{m.num_output_tokens:,}" for m in models],
        "tok/s": [f"{m.tokens_per_second:,.0f}" for m in models],
        "occupancy": [_share(m.occupancy) for m in models],
        "in flight": ["" if seen.is_over else f"{m.num_in_flight:,}" for m in models],
        "replicas": ["" if seen.is_over else f"{m.num_replicas:,}" for m in models],
        "refused": [f"{m.num_refused:,}" if m.num_refused else "" for m in models],
        "FLOPs": [_flops(m.flops) for m in models],
        "dollars": [_dollars(m.dollars) for m in models],
    }
    told = {name: cells for name, cells in columns.items() if any(cells)}
    table = _table("", "model", numbers=tuple(told))
    for name, *cells in zip((m.name for m in models), *told.values(), strict=True):
        table.add_row(name, *cells)
    return table


def _scorer(seen: Seen, scorer: ScorerState) -> Table:
    columns = {
        "scores": f"{scorer.num_scores:,}",
        "tokens read": f"{scorer.num_prompt_tokens:,}",
        "occupancy": _share(scorer.occupancy),
        "in flight": "" if seen.is_over else f"{scorer.num_in_flight:,}",
        "FLOPs": _flops(scorer.flops),
    }
    told = {name: cell for name, cell in columns.items() if cell}
    table = _table("", "scorer", numbers=tuple(told))
    table.add_row(scorer.name, *told.values())
    return table


def _replicas(state: State) -> Table:
    table = _table(
        "", "replica", "holds", numbers=("for", "draws", "tok/s", "occupancy", "in flight")
    )
    for each in state.replicas:
        table.add_row(
            str(each.number),
            each.model,
            duration(each.seconds),
            f"{each.num_draws:,}",
            f"{each.tokens_per_second:,.0f}",
            _share(each.occupancy),
            f"{each.num_in_flight:,}",
        )
    return table


def _facts(seen: Seen, state: State) -> list[str]:
    """What is spent, what went wrong, and what to do next."""
    lines = []
    if not seen.is_over:
        eta = "not known yet" if state.eta_seconds is None else duration(state.eta_seconds)
        lines.append(f"now      {state.tokens_per_second:,.0f} output tokens/s, at most {eta} left")
    lines.append(
        f"spent    {state.spent}, {duration(state.spent.accelerator_seconds)} of accelerators"
    )
    lines += [f"limit    {each}" for each in _limits(state)]
    if state.faults:
        told = ", ".join(
            f"{count} {kind.replace('_', ' ')}" for kind, count in state.faults.items()
        )
        lines.append(f"faults   {told}; the last: {state.last_fault}")
    if state.reason:
        lines.append(f"ended    {state.reason}")
    if state.job:
        lines.append(f"job      {state.job}: python -m scaling_exp logs {state.job}")
    if seen.is_over and seen.phase != "finished":
        lines.append(f"go on    {state.command}")
    if seen.phase == "finished":
        lines.append(f"report   {seen.folder.url(seen.folder.path)}/report.html")
    return lines


def _limits(state: State) -> list[str]:
    limits, spent = state.limits, state.spent
    pairs = (
        ("dollars", limits.dollars, spent.dollars),
        ("flops", limits.flops, spent.flops),
        ("wall", limits.wall_seconds, spent.wall_seconds),
    )
    return [
        f"limits.{name}={limits.told(name)}, {so_far / limit:.0%} spent"
        for name, limit, so_far in pairs
        if limit is not None and so_far is not None
    ]


def of_job(job: Job, state: JobState, store: Store) -> RenderableType:
    """A job, and the runs of it that this machine sees."""
    head = Text(f"{job.id}: ")
    head.append(_coloured(state))
    head.append(f"   sent {duration(time.time() - job.submitted)} ago\n{job.command}")
    runs = [each for each in store.runs() if (found := State.read(each)) and found.job == job.id]
    note = (
        []
        if runs
        else [Text(f"no run of it can be seen from here (yet) in its store {job.seen_store}")]
    )
    return Group(head, *(detail(each) for each in runs), *note)


def of_jobs(jobs: Sequence[Job]) -> Table:
    """What was sent from here."""
    table = _table("jobs that were sent from here", "job", "cluster", "sent", "command", numbers=())
    for each in jobs:
        ago = f"{duration(time.time() - each.submitted)} ago"
        table.add_row(each.id, str(each.cluster["kind"]), ago, each.command)
    return table


def look(name: str, store: Store) -> tuple[RenderableType, bool]:
    """What `status NAME` shows, and whether it may still change. A name is a run (its folder, or its name in the
    store), a job, the folder of a store, or nothing for the store itself. Raises UserError."""
    if not name:
        return overview(store), True
    if (folder := run_of(name, store)) is not None:
        return detail(folder), not Seen.of(folder).is_over
    if "://" in name or FilePath(name).is_dir():
        return overview(Store.at(name)), True
    if "/" in name:
        raise UserError(
            f"{name} is no run and no store; without a name `status` lists the runs of a store"
        )
    job = Job.read(name)
    state = target_of(job).state(job.handle)
    return of_job(job, state, Store.at(job.seen_store)), state not in ENDED


def run_of(name: str, store: Store) -> RunFolder | None:
    """The run that a name stands for: its folder, or its name in the store; None where there is none."""
    for folder in (RunFolder.at(name), store.run(name).take()):
        if any(folder.read_text(f"{each}.json") is not None for each in ("state", "manifest")):
            return folder
    return None


def job_of(name: str, store: Store) -> str:
    """The job that a name stands for: a job's own, or a run's as for `look`.

    Raises UserError for a run that was not submitted.
    """
    folder = run_of(name, store)
    if folder is None:
        return name
    state = State.read(folder)
    if state is None or not state.job:
        where = (
            f": process {state.pid} on {state.host} drives it, and Ctrl-C there ends it"
            if state
            else ""
        )
        raise UserError(f"{name} was not submitted, so it is no job{where}")
    return state.job


def seconds_of(watch: str) -> float:
    """Seconds between looks. Raises UserError for what is no number above 0."""
    try:
        seconds = float(watch)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UserError(f"watch is {watch!r}; give the seconds between looks, e.g. watch=5")
    return seconds


def _table(title: str, *texts: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in texts:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _coloured(phase: str) -> Text:
    return Text(phase, style=COLOURS.get(phase, "bold"))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _flops(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"


def _dollars(value: float | None) -> str:
    return "" if value is None else dollars(value)
