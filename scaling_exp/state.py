"""What a run says of itself while it works: `state.json` and `log.jsonl` in its folder.

The state is replaced as a whole every few seconds, so whoever sees the store can tell how a run is without asking the
machine that drives it. It is a view, but for one thing: what earlier sessions spent is known from it alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from scaling_exp.schema import ConfigError, validate
from scaling_exp.spending import Limits, Spent
from scaling_exp.store import RunFolder, StoreError

JOB = "SCALING_EXP_JOB"
"""Variable in which `submit` tells a run its job."""
STATE = "state"
"""`state.json` in the run's folder."""

Phase = Literal[
    "surveying", "starting", "drawing", "tables", "finished", "interrupted", "limited", "failed"
]
ENDED = ("finished", "interrupted", "limited", "failed")


@dataclass(frozen=True)
class ModelState:
    """How far one model has come in the present session. None: its engine, or its price list, does not tell."""

    name: str
    num_problems: int
    """That lacked draws when the session began."""
    num_draws_expected: int
    """At most: a strategy that adapts may need fewer."""
    num_problems_finished: int = 0
    num_draws: int = 0
    num_output_tokens: int = 0
    tokens_per_second: float = 0.0
    """Since it was loaded first."""
    occupancy: float | None = None
    num_in_flight: int = 0
    num_replicas: int = 0
    num_refused: int = 0
    flops: float | None = None
    dollars: float | None = None


@dataclass(frozen=True)
class ScorerState:
    """What the scorer has done in the present session, beside all models."""

    name: str
    num_scores: int
    num_prompt_tokens: int
    """That it read, from the prefix cache or not."""
    occupancy: float | None
    num_in_flight: int
    flops: float | None


@dataclass(frozen=True)
class ReplicaState:
    """One engine that holds a model now."""

    number: int
    model: str
    seconds: float
    """Since it was loaded."""
    num_draws: int
    num_in_flight: int
    tokens_per_second: float
    occupancy: float | None


@dataclass(frozen=True)
class State:
    """A run at one moment. Times are seconds since the epoch."""

    run_id: str
    phase: Phase
    command: str
    """What goes on with it."""
    host: str
    pid: int
    started: float
    """The present session, or the last."""
    written: float
    num_sessions: int = 1
    job: str = ""
    """Under which `submit` sent it."""
    reason: str = ""
    """Why it ended, where it did not finish."""
    limits: Limits = field(default_factory=Limits)
    spent: Spent = field(default_factory=Spent)
    tokens_per_second: float = 0.0
    """Over the last seconds."""
    eta_seconds: float | None = None
    """Until all is drawn, at the mean speed of the session; at most."""
    models: tuple[ModelState, ...] = ()
    scorer: ScorerState | None = None
    replicas: tuple[ReplicaState, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    """Of the session, by kind."""
    last_fault: str = ""

    @property
    def is_over(self) -> bool:
        return self.phase in ENDED

    @property
    def num_draws(self) -> int:
        return sum(each.num_draws for each in self.models)

    @property
    def num_draws_expected(self) -> int:
        return sum(each.num_draws_expected for each in self.models)

    def write(self, folder: RunFolder) -> None:
        """Replace what the run's folder says. Raises StoreError."""
        folder.write_json(STATE, asdict(replace(self, written=time.time())))

    @classmethod
    def read(cls, folder: RunFolder) -> State | None:
        """The state of a run; None where there is none. Raises StoreError for one of another version."""
        text = folder.read_text(f"{STATE}.json")
        if text is None:
            return None
        try:
            return validate(cls, json.loads(text), STATE)
        except (ConfigError, json.JSONDecodeError) as error:
            raise StoreError(
                f"{folder.path}/{STATE}.json cannot be read ({error}); move it away: what earlier sessions spent is"
                " then forgotten"
            ) from None


@dataclass(frozen=True)
class Log:
    """`log.jsonl` of a run: a line for each thing that happened, from all sessions."""

    folder: RunFolder

    def write(self, event: str, level: Literal["info", "warning"] = "info", **fields: Any) -> None:
        """Append one line. Raises StoreError."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        line = {"time": moment, "level": level, "event": event, **fields}
        self.folder.append_line("log.jsonl", json.dumps(line))
