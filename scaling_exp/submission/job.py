"""A run that was sent somewhere: what is sent, what is known of it, and the interface of what it is sent to.

What was sent is noted under `~/.local/state/scaling-exp/jobs` (or `XDG_STATE_HOME`), so that `logs`, `status` and
`stop` need a job's name alone. A note holds the names of passed variables and never their values.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal, Protocol
from uuid import uuid4

from scaling_exp.schema import validate
from scaling_exp.state import JOB
from scaling_exp.types import UserError

if TYPE_CHECKING:
    from scaling_exp.cluster import Cluster

COMMAND = "SCALING_EXP_COMMAND"
"""Variable in which a job is told the command that sent it, and that goes on with it."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

JobState = Literal["waiting", "running", "succeeded", "failed", "stopped", "unknown"]
ENDED: tuple[JobState, ...] = ("succeeded", "failed", "stopped", "unknown")
Write = Callable[[str], None]


@dataclass(frozen=True)
class Shipment:
    """What is sent: the overrides of a `run`, and the name under which it is followed."""

    id: str
    arguments: tuple[str, ...]
    command: str
    store: str

    @property
    def environment(self) -> dict[str, str]:
        """What tells the run that it is a job."""
        return {JOB: self.id, COMMAND: self.command}

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The overrides for a driver that is inside of a cluster already, and joins it."""
        kept = (each for each in self.arguments if not re.match(r"\+?cluster[.=@]", each))
        return (*kept, "cluster=ray")


class Target(Protocol):
    """Where runs are sent. All but `cluster` raise UserError when it cannot be reached or refuses."""

    @property
    def cluster(self) -> Cluster:
        """What a run that is there joins."""
        ...

    def check(self, shipment: Shipment) -> None:
        """Raise UserError for the first thing that is missing here."""
        ...

    def send(self, shipment: Shipment) -> str:
        """Start it; what the target calls it."""
        ...

    def state(self, handle: str) -> JobState: ...

    def follow(self, handle: str, write: Write) -> None:
        """Write its log from the beginning to its end, as it comes."""
        ...

    def stop(self, handle: str) -> None:
        """End it as Ctrl-C would, where the target gives it the time."""
        ...


@dataclass(frozen=True)
class Job:
    """A note of what was sent."""

    id: str
    handle: str
    cluster: Mapping[str, Any]
    """The configuration of its target."""
    command: str
    store: str
    directory: str
    """From which it was sent."""
    submitted: float

    @classmethod
    def of(cls, shipment: Shipment, handle: str, cluster: Mapping[str, Any]) -> Job:
        """Of what was sent right now."""
        return cls(
            id=shipment.id,
            handle=handle,
            cluster=cluster,
            command=shipment.command,
            store=shipment.store,
            directory=os.getcwd(),
            submitted=time.time(),
        )

    @property
    def seen_store(self) -> str:
        """Its store as it may be seen from here."""
        return self.store if "://" in self.store else str(FilePath(self.directory) / self.store)

    def write(self) -> None:
        """Keep the note, for whoever started it alone."""
        folder = folder_of(self.id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "job.json").write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, name: str) -> Job:
        """Raises UserError, with the latest jobs, when nothing of that name was sent from here."""
        note = folder_of(name) / "job.json"
        if NAME_OF_JOB.fullmatch(name) and note.is_file():
            return _read(note)
        latest = ", ".join(each.id for each in jobs()[:5]) or "none"
        raise UserError(
            f"there is no job {name!r} that was sent from here (the latest: {latest}); add the cluster to ask another"
            " one, e.g. cluster=ray"
        )


NAME_OF_JOB = re.compile(r"[\w.-]+")


def jobs() -> list[Job]:
    """All that was sent from here, the latest first; a note that cannot be read hides no other."""
    found: list[Job] = []
    for note in folder_of("").glob("*/job.json"):
        with suppress(UserError):
            found.append(_read(note))
    return sorted(found, key=lambda job: -job.submitted)


def _read(note: FilePath) -> Job:
    """Raises UserError for a note that a crash cut short, or of another version."""
    try:
        return validate(Job, json.loads(note.read_text()), "job")
    except (UserError, ValueError) as error:
        raise UserError(f"{note} cannot be read ({error}); move its folder away") from None


def folder_of(job: str) -> FilePath:
    """Where the note of a job lies, and what a target keeps of it here."""
    home = os.environ.get("XDG_STATE_HOME") or FilePath.home() / ".local" / "state"
    return FilePath(home) / "scaling-exp" / "jobs" / job


def new_id(name: str) -> str:
    """Such as quickstart-1129-0912-3fa2: lower case and short, as Kubernetes wants names."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "run"
    return f"{plain}-{time.strftime('%m%d-%H%M')}-{uuid4().hex[:4]}"


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for what cannot be the name of a variable; it is not repeated, for it may be a secret."""
    for at, name in enumerate(names):
        if not NAME.fullmatch(name):
            raise ValueError(
                f"cluster.pass_environment[{at}] is not the name of a variable; give names such as HF_TOKEN, and keep"
                " the values in the environment"
            )


def passed(names: Sequence[str]) -> dict[str, str]:
    """The variables with their values. Raises UserError for one that is not set."""
    for name in names:
        if not os.environ.get(name):
            raise UserError(
                f"cluster.pass_environment names {name}, which is not set here: export it, or leave it out"
            )
    return {name: os.environ[name] for name in names}
