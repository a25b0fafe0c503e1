"""The run's side of `status`: keeps its state and its log up to date, and stops it at a limit.

Nothing here waits for a disk on the loop that hands out jobs: states are written by a thread, which also tells that the
run is alive while the loop is busy with something else.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from types import TracebackType
from typing import TypeVar

from scaling_exp.dispatch import Event, Fault
from scaling_exp.display import Display, ScorerTally, Shift, Tally
from scaling_exp.engines import Counters
from scaling_exp.spending import LimitReached, Limits, Spending, Spent
from scaling_exp.state import JOB, Log, ModelState, Phase, ReplicaState, ScorerState, State
from scaling_exp.store import RunFolder, StoreError
from scaling_exp.types import UserError

T = TypeVar("T")

WRITE_SECONDS = 5.0
LOOK_SECONDS = 0.5
"""Between looks at the limits: for so long a run may spend beyond one."""
STOCK_SECONDS = 2.0
"""Between states that are put together; with many replicas that costs milliseconds."""
RATE_SECONDS = 60.0
"""Between lines of the log that tell how fast it draws."""


@dataclass(eq=False)
class Recorder:
    """Follows a run from its first moment to its last; use it as a context. That it fails is a warning, no more."""

    folder: RunFolder
    run_id: str
    command: str
    limits: Limits
    before: Spent = field(init=False)
    """What earlier sessions spent."""
    _state: State = field(init=False)
    _display: Display | None = None
    _spending: Spending | None = None
    _last: tuple[float, int] = (0.0, 0)
    """Seconds and output tokens at the last look that was kept."""
    _next_stock: float = 0.0
    _next_rate: float = RATE_SECONDS
    _is_over: threading.Event = field(default_factory=threading.Event)
    _is_lost: bool = False

    def __enter__(self) -> Recorder:
        earlier = State.read(self.folder)
        self.before = earlier.spent if earlier else Spent()
        now = time.time()
        self._state = State(
            run_id=self.run_id,
            phase="surveying",
            command=self.command,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=now,
            written=now,
            num_sessions=earlier.num_sessions + 1 if earlier else 1,
            job=os.environ.get(JOB, ""),
            limits=self.limits,
            spent=self.before,
            models=earlier.models if earlier else (),
            scorer=earlier.scorer if earlier else None,
        )
        self._write()
        self.log("session_started", command=self.command, number=self._state.num_sessions)
        self._writer = threading.Thread(target=self._keep_writing, name="state", daemon=True)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._take_stock()
        phase, reason = _ending(error)
        self._set(phase=phase, reason=reason, eta_seconds=None, tokens_per_second=0.0)
        self._is_over.set()
        self._writer.join()
        self._write()
        level = "info" if phase == "finished" else "warning"
        self.log("session_ended", level, phase=phase, reason=reason, spent=str(self._state.spent))

    def enter(self, phase: Phase) -> None:
        """The run begins with something else."""
        self._set(phase=phase, eta_seconds=None, tokens_per_second=0.0)

    def log(self, event: str, level: str = "info", **fields: object) -> None:
        """A line for `log.jsonl`."""
        with self._losing_only_the_view():
            Log(self.folder).write(event, "info" if level == "info" else "warning", **fields)

    def check(self, earlier: Spent) -> None:
        """Raise UserError when earlier sessions left nothing to spend."""
        if key := self.limits.reached(earlier):
            raise UserError(
                f"{key} is reached before anything is drawn: earlier sessions of {self.run_id} spent {earlier};"
                f" raise {key} (null: no limit) to go on"
            )

    def follow(self, display: Display, spending: Spending) -> None:
        """From now on the run draws."""
        self._display, self._spending = display, spending
        self.enter("starting")

    def take_in(self, event: Event) -> None:
        """What a replica reported; the display has seen it."""
        if event.load_seconds:
            self.log(
                "model_loaded",
                model=event.model,
                replica=event.replica,
                seconds=round(event.load_seconds, 2),
            )

    def note(self, fault: Fault) -> None:
        """Something went wrong that the run survives."""
        told = {key: value for key, value in vars(fault).items() if key != "kind" and value != ""}
        self.log(fault.kind, "warning", **told)
        kinds = Counter(self._state.faults)
        kinds[fault.kind] += 1
        self._set(faults=dict(kinds), last_fault=f"{fault.kind}: {fault.reason}")

    async def watching(self, drawing: Coroutine[None, None, T]) -> T:
        """`drawing`, cancelled as Ctrl-C does when a limit is reached. Raises LimitReached."""
        task = asyncio.ensure_future(drawing)
        try:
            while not (await asyncio.wait([task], timeout=LOOK_SECONDS))[0]:
                if key := self._look():
                    task.cancel()
                    await asyncio.wait([task])
                    self._take_stock()
                    raise self._reached(key)
            return task.result()
        finally:
            task.cancel()

    def _reached(self, key: str) -> LimitReached:
        self.log("limit_reached", "warning", limit=key, spent=str(self._state.spent))
        state = self._state
        return LimitReached(
            key,
            f"{key}={self.limits.told(key)} is reached: {state.spent} spent. {state.num_draws:,} of at most"
            f" {state.num_draws_expected:,} missing draws were drawn and are kept; the report is made when all are",
        )

    # What is so at this moment

    def _look(self) -> str:
        """The key of a limit that is reached; empty when none is."""
        assert self._display is not None
        assert self._spending is not None
        seconds = self._display.seconds
        if seconds >= self._next_stock:
            self._next_stock = seconds + STOCK_SECONDS
            self._take_stock()
        held = _held_seconds(self._display.shifts.values(), seconds)
        return self.limits.reached(self._spending.spent(seconds, held))

    def _take_stock(self) -> None:
        display, spending = self._display, self._spending
        assert display is not None
        assert spending is not None
        seconds = display.seconds
        shifts = list(display.shifts.values())
        held = _held_seconds(shifts, seconds)
        spent = spending.spent(seconds, held)
        models = tuple(
            _model_state(name, tally, spending, held.get(name, 0.0))
            for name, tally in display.tallies.items()
        )
        num_tokens = sum(each.num_output_tokens for each in models)
        is_drawing = any(each.num_draws for each in models)
        self._set(
            phase="drawing" if is_drawing else "starting",
            spent=spent,
            tokens_per_second=self._rate(seconds, num_tokens),
            eta_seconds=_eta(models, seconds - (display.first_draw_seconds or seconds)),
            models=models,
            scorer=display.scorer and _scorer_state(display.scorer, spending),
            replicas=tuple(_replica_state(each) for each in shifts if each.ended is None),
        )
        if seconds >= self._next_rate:
            self._next_rate = seconds + RATE_SECONDS
            self._log_rate()

    def _rate(self, seconds: float, num_tokens: int) -> float:
        """Output tokens a second since some seconds ago."""
        at, before = self._last
        if seconds < at + WRITE_SECONDS:
            return self._state.tokens_per_second
        self._last = (seconds, num_tokens)
        return (num_tokens - before) / (seconds - at)

    def _log_rate(self) -> None:
        state = self._state
        self.log(
            "rate",
            tokens_per_second=round(state.tokens_per_second),
            draws=state.num_draws,
            in_flight=sum(each.num_in_flight for each in state.models),
            replicas=len(state.replicas),
        )

    # Writing

    def _set(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def _keep_writing(self) -> None:
        while not self._is_over.wait(WRITE_SECONDS):
            self._write()

    def _write(self) -> None:
        with self._losing_only_the_view():
            self._state.write(self.folder)

    @contextmanager
    def _losing_only_the_view(self) -> Iterator[None]:
        """A full disk ends the run where draws are written, not here."""
        try:
            yield
        except StoreError as error:
            if not self._is_lost:
                warnings.warn(f"status is not kept, the run is not affected: {error}", stacklevel=3)
            self._is_lost = True


def _ending(error: BaseException | None) -> tuple[Phase, str]:
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "it was stopped"
    if isinstance(error, LimitReached):
        return "limited", str(error)
    first = str(error).strip().splitlines()[-1:] or [""]
    is_told = isinstance(error, UserError)
    return "failed", first[0] if is_told else f"{type(error).__name__}: {first[0]}"


def _held_seconds(shifts: Iterable[Shift], now: float) -> dict[str, float]:
    """Seconds for which replicas held each model or loaded it."""
    held: dict[str, float] = {}
    for each in shifts:
        end = now if each.ended is None else each.ended
        held[each.model] = held.get(each.model, 0.0) + end - each.begun
    return held


def _model_state(name: str, tally: Tally, spending: Spending, held_seconds: float) -> ModelState:
    counters = reduce(add, (each.report.counters for each in tally.shifts), Counters())
    return ModelState(
        name=name,
        num_problems=tally.num_problems,
        num_draws_expected=tally.num_draws_expected,
        num_problems_finished=tally.num_problems_finished,
        num_draws=tally.num_draws,
        num_output_tokens=tally.num_output_tokens,
        tokens_per_second=tally.tokens_per_second,
        occupancy=counters.occupancy,
        num_in_flight=tally.num_in_flight,
        num_replicas=sum(each.ended is None for each in tally.shifts),
        num_refused=tally.num_refused,
        flops=spending.flops_of(name),
        dollars=spending.dollars_of(name, held_seconds),
    )


def _scorer_state(tally: ScorerTally, spending: Spending) -> ScorerState:
    counters = tally.counters
    return ScorerState(
        name=tally.name,
        num_scores=tally.num_scores,
        num_prompt_tokens=counters.prompt_tokens,
        occupancy=counters.occupancy,
        num_in_flight=tally.num_in_flight,
        flops=spending.flops_of(tally.name),
    )


def _replica_state(shift: Shift) -> ReplicaState:
    seconds = shift.report.seconds
    return ReplicaState(
        number=shift.replica,
        model=shift.model,
        seconds=seconds,
        num_draws=shift.num_draws,
        num_in_flight=shift.report.num_in_flight,
        tokens_per_second=shift.num_output_tokens / seconds if seconds else 0.0,
        occupancy=shift.report.counters.occupancy,
    )


def _eta(models: tuple[ModelState, ...], seconds: float) -> float | None:
    """Seconds until all is drawn, at most, after drawing for so long; None before there is a speed."""
    drawn = sum(each.num_draws for each in models)
    left = sum(max(0, each.num_draws_expected - each.num_draws) for each in models)
    return seconds * left / drawn if drawn and seconds > 0 else None
