"""What is seen while a run works: a bar per model on a terminal, a line every few seconds in a pipe.

And what is kept of it: a record per model for the manifest, a row per replica and model for `engines.parquet`; both of
a scorer as of the models beside which it works.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scaling_exp.dispatch import Event, Report, ScorerReport
from scaling_exp.engines import Counters
from scaling_exp.tracking.pulse import Drawn

LINE_SECONDS = 5.0
BAR_SECONDS = 0.1
GENERATOR, SCORER = "generator", "scorer"
"""What a model does in a replica: of both there is a row in `engines.parquet`."""


@dataclass(eq=False)
class Shift:
    """One replica's time with one model, as last reported. Moments are seconds since the run began."""

    replica: int
    model: str
    begun: float
    """When its process was begun, or it began to load this model."""
    start_seconds: float
    load_seconds: float
    ended: float | None = None
    num_draws: int = 0
    num_output_tokens: int = 0
    num_scores: int = 0
    report: Report = field(default_factory=Report)

    def add(self, report: Report) -> None:
        self.report = report
        self.num_draws += report.num_draws - report.num_scores
        self.num_scores += report.num_scores
        self.num_output_tokens += report.num_output_tokens

    @property
    def drain_seconds(self) -> float:
        return self.report.seconds - self.report.full_seconds

    @property
    def own_load_seconds(self) -> float:
        """To load the model, without what its scorer took of that."""
        scorer = self.report.scorer
        return self.load_seconds - (scorer.load_seconds if scorer else 0.0)

    @property
    def busy_seconds(self) -> float:
        """In which it worked, its scorer included; where both did at once, no more than there were."""
        scorer = self.report.scorer
        both = self.report.counters.busy_seconds + (scorer.counters.busy_seconds if scorer else 0.0)
        return min(both, self.report.seconds)

    def rows(self) -> list[dict[str, Any]]:
        """Of the model, and of the scorer beside it if there is one."""
        generator = {
            "model": self.model,
            "role": GENERATOR,
            "num_draws": self.num_draws,
            "output_tokens": self.num_output_tokens,
            "start_seconds": self.start_seconds,
            "load_seconds": self.own_load_seconds,
        }
        engine = self._engine_columns(self.report.counters, self.report.full)
        rows: list[dict[str, Any]] = [engine | generator]
        if scorer := self.report.scorer:
            told = {
                "model": scorer.model,
                "role": SCORER,
                "num_draws": self.num_scores,
                "load_seconds": scorer.load_seconds,
            }
            rows.append(self._engine_columns(scorer.counters, scorer.full) | told)
        return rows

    def _engine_columns(self, counters: Counters, full: Counters) -> dict[str, Any]:
        return {
            "replica": self.replica,
            "prompt_tokens": counters.prompt_tokens,
            "wall_seconds": self.report.seconds,
            "busy_seconds": counters.busy_seconds,
            "drain_seconds": self.drain_seconds,
            "num_slots": counters.num_slots,
            "occupancy": counters.occupancy,
            "full_occupancy": full.occupancy,
            "prefix_cache_hit_rate": _share(counters.cached_tokens, counters.prompt_tokens),
            "preemptions": _if_seen(counters, counters.num_preemptions),
            "queue_wait_seconds": _queue_wait(counters),
        }


@dataclass
class Tally:
    """How far one model has come."""

    num_problems: int
    num_draws_expected: int
    num_problems_finished: int = 0
    num_draws: int = 0
    num_output_tokens: int = 0
    num_refused: int = 0
    shifts: list[Shift] = field(default_factory=list)
    first: float | None = None
    last: float = 0.0

    def add(self, report: Report, now: float) -> None:
        self.first = now if self.first is None else self.first
        self.last = now
        self.num_problems_finished += len(report.finished)
        self.num_refused += len(report.refused)
        self.num_draws += report.num_draws - report.num_scores
        self.num_output_tokens += report.num_output_tokens

    @property
    def num_in_flight(self) -> int:
        return sum(each.report.num_in_flight for each in self.shifts if each.ended is None)

    @property
    def wall_seconds(self) -> float:
        """Since the model was loaded first."""
        return self.last - (self.first or self.last)

    @property
    def tokens_per_second(self) -> float:
        """Output tokens a second since the model was loaded first."""
        return self.num_output_tokens / self.wall_seconds if self.wall_seconds > 0 else 0.0

    def summary(self) -> dict[str, Any]:
        """For the manifest: what drawing from this model took, over all replicas that held it.

        `scorer_share` is the share of their busy time that was that of a scorer beside it; for the rest see `_engines`.
        """
        loads = [round(each.own_load_seconds, 2) for each in self.shifts]
        return {
            "num_draws": self.num_draws,
            "output_tokens": self.num_output_tokens,
            "wall_seconds": round(self.wall_seconds, 2),
            "tokens_per_second": round(self.tokens_per_second),
            **_engines(self.shifts, [each.report for each in self.shifts]),
            "scorer_share": _rounded(self.scorer_share),
            "load_seconds": max(loads, default=None),
            "engine": dict(self.shifts[-1].report.facts) if self.shifts else {},
        }

    @property
    def scorer_share(self) -> float | None:
        """Of the busy seconds of the replicas that held it, the part of the scorer's engine; None without one."""
        scorers = [each.report.scorer for each in self.shifts if each.report.scorer]
        engines = [each.counters for each in scorers if each.counters.steps]
        scoring = sum(each.busy_seconds for each in engines)
        busy = scoring + sum(each.report.counters.busy_seconds for each in self.shifts)
        return _share(scoring, busy) if engines else None


@dataclass(frozen=True)
class ScorerTally:
    """What the scorer has done so far beside all models."""

    name: str
    shifts: Sequence[Shift]
    """In which it reported something."""

    @property
    def reports(self) -> list[ScorerReport]:
        """The last of every shift."""
        return [each.report.scorer for each in self.shifts if each.report.scorer]

    @property
    def num_scores(self) -> int:
        return sum(each.num_scores for each in self.shifts)

    @property
    def counters(self) -> Counters:
        return reduce(add, (each.counters for each in self.reports), Counters())

    @property
    def num_in_flight(self) -> int:
        open_shifts = (each for each in self.shifts if each.ended is None)
        return sum(each.report.scorer.num_in_flight for each in open_shifts if each.report.scorer)

    def summary(self) -> dict[str, Any]:
        """For the manifest; see `_engines`. It writes nothing that is read, so it has no output tokens."""
        loads = [round(each.load_seconds, 2) for each in self.reports]
        return {
            "num_draws": self.num_scores,
            **_engines(self.shifts, self.reports),
            "load_seconds": max(loads, default=None),
            "engine": dict(self.reports[-1].facts),
        }


def _engines(shifts: Sequence[Shift], reports: Sequence[Report | ScorerReport]) -> dict[str, Any]:
    """What engines of one model did, by the report of each shift.

    `full_occupancy` is that until each replica had admitted its last job, `busy_share` the share of its time in which
    the engine worked, `drain_share` that after the last job; `queue_wait_seconds` the mean wait of a request in the
    engine; `prompt_tokens` what was read, from the prefix cache or not.
    """
    counters = reduce(add, (each.counters for each in reports), Counters())
    full = reduce(add, (each.full for each in reports), Counters())
    seconds = sum(each.report.seconds for each in shifts)
    return {
        "prompt_tokens": counters.prompt_tokens,
        "occupancy": _rounded(counters.occupancy),
        "full_occupancy": _rounded(full.occupancy),
        "prefix_cache_hit_rate": _rounded(_share(counters.cached_tokens, counters.prompt_tokens)),
        "preemptions": _if_seen(counters, counters.num_preemptions),
        "queue_wait_seconds": _rounded(_queue_wait(counters)),
        "busy_share": _rounded(_share(counters.busy_seconds, seconds)),
        "drain_share": _rounded(_share(sum(each.drain_seconds for each in shifts), seconds)),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _if_seen(counters: Counters, value: int) -> int | None:
    """None for an engine whose steps only its server sees."""
    return value if counters.steps else None


def _queue_wait(counters: Counters) -> float | None:
    return _share(counters.queue_seconds, counters.num_requests) if counters.steps else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class Display:
    """Follows a dispatch; use it as a context. Writes to stderr, so that stdout holds the verdict alone."""

    def __init__(self, expected: Mapping[str, tuple[int, int]]) -> None:
        self.tallies = {name: Tally(*counts) for name, counts in expected.items()}
        self.shifts: dict[int, Shift] = {}
        self.started = time.perf_counter()
        self.first_draw_seconds: float | None = None
        self._told: set[object] = set()
        self._next_look = LINE_SECONDS
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:>12}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
        )

    def __enter__(self) -> Display:
        total = sum(tally.num_draws_expected for tally in self.tallies.values())
        print(
            f"drawing up to {total:,} samples from {len(self.tallies)} models; starting Ray and engines ...",
            file=sys.stderr,
        )
        if sys.stderr.isatty():
            self._progress.start()
            for name, tally in self.tallies.items():
                self._bars[name] = self._progress.add_task(
                    name, total=tally.num_draws_expected, state="waiting"
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._show()
        if self._bars:
            self._progress.stop()

    def update(self, event: Event) -> None:
        """Take in what a replica reported."""
        now = self._now()
        if event.is_over:
            self.shifts[event.shift].ended = now
            return
        tally = self.tallies[event.model]
        self._tell(event.report.facts)
        if event.shift not in self.shifts:
            self._begin(event, tally, now)
        self.shifts[event.shift].add(event.report)
        tally.add(event.report, now)
        if event.report.num_draws and self.first_draw_seconds is None:
            self.first_draw_seconds = round(now, 2)
        if now >= self._next_look:
            self._next_look = now + (BAR_SECONDS if self._bars else LINE_SECONDS)
            self._show()

    def _begin(self, event: Event, tally: Tally, now: float) -> None:
        begun = now - event.start_seconds - event.load_seconds
        seconds = (event.start_seconds, event.load_seconds)
        shift = Shift(event.replica, event.model, begun, *seconds)
        self.shifts[event.shift] = shift
        tally.shifts.append(shift)

    def _tell(self, facts: Mapping[str, object]) -> None:
        """Say once what an engine wants the user to know."""
        for caveat in facts.get("caveats", ()):  # type: ignore[attr-defined]
            if caveat not in self._told:
                self._told.add(caveat)
                print(f"note: {caveat}", file=sys.stderr)

    def engine_rows(self) -> list[dict[str, Any]]:
        """For `engines.parquet`: one row for every time that a replica held a model, and one for its scorer."""
        return [row for shift in self.shifts.values() for row in shift.rows()]

    @property
    def scorer(self) -> ScorerTally | None:
        """None before a scorer has reported, and in a run that has none."""
        shifts = [each for each in self.shifts.values() if each.report.scorer]
        names = [each.report.scorer.model for each in shifts if each.report.scorer]
        return ScorerTally(names[0], shifts) if names else None

    @property
    def seconds(self) -> float:
        """Since the run began to draw."""
        return self._now()

    def drawn(self) -> Drawn:
        """How far all models together have come."""
        tallies = self.tallies.values()
        counters = [each.report.counters for each in self.shifts.values()]
        return Drawn(
            seconds=self._now(),
            num_draws=sum(each.num_draws for each in tallies),
            num_problems=sum(each.num_problems_finished for each in tallies),
            num_output_tokens=sum(each.num_output_tokens for each in tallies),
            num_in_flight=sum(each.num_in_flight for each in tallies),
            num_replicas=sum(each.ended is None for each in self.shifts.values()),
            num_refused=sum(each.num_refused for each in tallies),
            slot_steps=sum(each.slot_steps for each in counters),
            slots_offered=sum(each.steps * each.num_slots for each in counters),
            tokens_by_model={name: each.num_output_tokens for name, each in self.tallies.items()},
        )

    @property
    def share_without_tokens(self) -> float | None:
        """Share of the replicas' time in which they made no tokens and no scores: imports, loads, waiting for others to
        drain.

        None for an engine that does not know when it was busy.
        """
        shifts = self.shifts.values()
        busy = sum(shift.busy_seconds for shift in shifts)
        now = self._now()
        held = sum((now if each.ended is None else each.ended) - each.begun for each in shifts)
        return _rounded(1 - busy / held) if busy else None

    def _now(self) -> float:
        return time.perf_counter() - self.started

    def _show(self) -> None:
        if not self._bars:
            self._print_line()
        for name, task in self._bars.items():
            tally = self.tallies[name]
            self._progress.update(task, completed=tally.num_draws, state=self._state(tally))

    def _state(self, tally: Tally) -> str:
        num_scores = sum(each.num_scores for each in tally.shifts)
        scores = f" {num_scores:,} scores," if num_scores else ""
        return (
            f"{tally.num_problems_finished}/{tally.num_problems} problems, {tally.num_draws:,} samples,{scores}"
            f" {tally.tokens_per_second:,.0f} tok/s, {tally.num_in_flight} in flight"
        )

    def _print_line(self) -> None:
        now = self._now()
        drawn = sum(tally.num_draws for tally in self.tallies.values())
        expected = sum(tally.num_draws_expected for tally in self.tallies.values())
        left = (now * (expected - drawn) / drawn) if drawn else float("nan")
        busy = [
            f"{name}: {self._state(tally)}"
            for name, tally in self.tallies.items()
            if tally.num_in_flight or tally.num_problems_finished < tally.num_problems
            if tally.first is not None
        ]
        eta = f"ETA {left:.0f} s" if drawn else "starting"
        print(
            f"[{now:5.0f} s] {drawn:,}/{expected:,} samples, {eta} | " + " | ".join(busy),
            file=sys.stderr,
        )
