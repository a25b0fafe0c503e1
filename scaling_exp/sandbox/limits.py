"""How much a program may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Of one program and all its tests; a script has the processor's seconds and the memory for each of its inputs."""

    cpu_seconds: int = 10
    wall_seconds: float = 30.0
    """Of all, the boxes' start among it. It is there to end what sleeps, and long, since the machine may be busy."""
    memory_mib: int = 1024
    """Address space. There is one process, so it is the most that the program takes."""
    scratch_mib: int = 0
    """Of files in /tmp, in memory besides; only bubblewrap has such a folder. With 0 nothing is written anywhere."""
    output_mib: int = 4
    """Of what it prints for an input or returns from a call."""
    num_threads: int = 32

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value < 0 or (value == 0 and each.name != "scratch_mib"):
                raise ValueError(f"limits.{each.name} is {value}; it must be above 0")
