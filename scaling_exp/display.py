"""What is seen while a run works: a bar per model on a terminal, a line every few seconds in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scaling_exp.cluster import Event
from scaling_exp.engines import Counters

LINE_SECONDS = 5.0


@dataclass
class Tally:
    """How far one model has come."""

    num_problems: int
    num_draws_expected: int
    num_problems_finished: int = 0
    num_draws: int = 0
    num_output_tokens: int = 0
    in_flight: dict[int, int] = field(default_factory=dict)
    load_seconds: list[float] = field(default_factory=list)
    first: float | None = None
    last: float = 0.0

    def add(self, event: Event, now: float) -> None:
        if event.load_seconds:
            self.load_seconds.append(round(event.load_seconds, 2))
        self.first = now if self.first is None else self.first
        self.last = now
        self.num_problems_finished += event.num_problems_finished
        self.num_draws += event.num_draws
        self.num_output_tokens += event.num_output_tokens
        self.in_flight[event.replica] = event.num_in_flight

    @property
    def tokens_per_second(self) -> float:
        """Output tokens a second since the model was loaded first."""
        seconds = self.last - (self.first or self.last)
        return self.num_output_tokens / seconds if seconds > 0 else 0.0

    def summary(self, counters: Sequence[Counters]) -> dict[str, Any]:
        """For the manifest: what drawing from this model took, over all replicas that held it."""
        prompt_tokens = sum(each.prompt_tokens for each in counters)
        slot_steps = sum(each.slot_steps for each in counters)
        offered = sum(each.steps * each.num_slots for each in counters)
        return {
            "num_draws": self.num_draws,
            "num_drawn_now": self.num_draws,
            "output_tokens": self.num_output_tokens,
            "wall_seconds": round(self.last - (self.first or self.last), 2),
            "tokens_per_second": round(self.tokens_per_second),
            "occupancy": round(slot_steps / offered, 4) if offered else None,
            "prefix_cache_hit_rate": (
                round(sum(each.cached_tokens for each in counters) / prompt_tokens, 4)
                if prompt_tokens
                else None
            ),
            "load_seconds": max(self.load_seconds, default=None),
        }


class Display:
    """Follows a dispatch; use it as a context. Writes to stderr, so that stdout holds the verdict alone."""

    def __init__(self, expected: Mapping[str, tuple[int, int]]) -> None:
        self.tallies = {name: Tally(*counts) for name, counts in expected.items()}
        self.started = time.perf_counter()
        self.first_draw_seconds: float | None = None
        self._next_line = LINE_SECONDS
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
        )

    def __enter__(self) -> Display:
        total = sum(tally.num_draws_expected for tally in self.tallies.values())
        print(
            f"drawing up to {total:,} samples from {len(self.tallies)} models; starting Ray and vLLM ...",
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
        if self._bars:
            self._progress.stop()
        else:
            self._print_line()

    def update(self, event: Event) -> None:
        """Take in what a replica reported."""
        now = time.perf_counter() - self.started
        tally = self.tallies[event.model]
        tally.add(event, now)
        if event.num_draws and self.first_draw_seconds is None:
            self.first_draw_seconds = round(now, 2)
        if self._bars:
            self._progress.update(
                self._bars[event.model], completed=tally.num_draws, state=self._state(tally)
            )
        elif now >= self._next_line:
            self._next_line = now + LINE_SECONDS
            self._print_line()

    def _state(self, tally: Tally) -> str:
        return (
            f"{tally.num_problems_finished}/{tally.num_problems} problems, {tally.num_draws:,} samples,"
            f" {tally.tokens_per_second:,.0f} tok/s, {sum(tally.in_flight.values())} in flight"
        )

    def _print_line(self) -> None:
        now = time.perf_counter() - self.started
        drawn = sum(tally.num_draws for tally in self.tallies.values())
        expected = sum(tally.num_draws_expected for tally in self.tallies.values())
        left = (now * (expected - drawn) / drawn) if drawn else float("nan")
        busy = [
            f"{name}: {self._state(tally)}"
            for name, tally in self.tallies.items()
            if sum(tally.in_flight.values()) or tally.num_problems_finished < tally.num_problems
            if tally.first is not None
        ]
        eta = f"ETA {left:.0f} s" if drawn else "starting"
        print(
            f"[{now:5.0f} s] {drawn:,}/{expected:,} samples, {eta} | " + " | ".join(busy),
            file=sys.stderr,
        )
