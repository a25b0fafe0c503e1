"""What the host tells a guest at its start, as JSON on standard input."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from typing import Any


class Bounds:
    """How a process of the box is confined; see `confine`. No dataclass: importing them takes longer than all else."""

    def __init__(
        self,
        *,
        cpu_seconds: int,
        memory_bytes: int,
        file_bytes: int,
        num_threads: int,
        spare_uid: int | None = None,
        is_filtered: bool = True,
        readable: list[str] | None = None,
        listable: list[str] | None = None,
    ) -> None:
        self.cpu_seconds = cpu_seconds
        self.memory_bytes = memory_bytes
        self.file_bytes = file_bytes
        self.num_threads = num_threads
        """Of all processes of this user, where `spare_uid` gives it none of its own."""
        self.spare_uid = spare_uid
        """A user that owns nothing; None: the user stays the same."""
        self.is_filtered = is_filtered
        """Whether system calls are, and rights dropped."""
        self.readable = readable
        """What Landlock lets it read, and nothing be written; None: the box has its own file system."""
        self.listable = listable
        """Folders of which it lets the names be read."""


class Setup:
    """One guest's part: how it is confined, its end of the channel, and what else it must know."""

    def __init__(
        self,
        *,
        bounds: Bounds,
        parent: int,
        channel: int,
        max_output_bytes: int,
        part: dict[str, Any],
    ) -> None:
        self.bounds = bounds
        self.parent = parent
        """The process that started this one; 0: whichever it is."""
        self.channel = channel
        self.max_output_bytes = max_output_bytes
        """Of what a program prints or gives; more is no answer."""
        self.part = part

    def to_json(self) -> bytes:
        return json.dumps({**vars(self), "bounds": vars(self.bounds)}).encode()

    @classmethod
    def read(cls) -> Setup:
        told = json.load(sys.stdin.buffer)
        return cls(**{**told, "bounds": Bounds(**told["bounds"])})
