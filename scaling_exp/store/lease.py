"""A lease: who works on a run whose store is in a bucket, where nothing can be locked.

Every machine has an object of its own beside the run, which it puts again every few seconds. It puts its own before it
looks for others, and a listing shows whatever was put before it; so of two that begin at once at least one sees the
other, and whoever sees a living one gives up. Ages are told by the bucket's clock alone. An empty object is a lease
that was given back: nothing needs to be deleted.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyarrow as pa

from scaling_exp.store.files import StoreError, Unreachable
from scaling_exp.store.objects import Objects, Stat

BEAT_SECONDS = 15.0
"""Between two puts of a lease."""
LEASE_SECONDS = 60.0
"""A lease that was not put again for so long is that of a machine that died."""
FOLDER = ".lease"


@dataclass(frozen=True)
class Lease:
    """The lease of one machine on one run. `machine` names it among all that share the store."""

    objects: Objects
    run: str
    machine: str

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the run; somebody has to call `renew` every `BEAT_SECONDS`.

        Waits for the lease of a machine that died to run out. Raises StoreError when another machine holds the run.
        """
        self.renew()
        try:
            self._wait_for_others()
            yield
        finally:
            with suppress(Unreachable):  # then it runs out
                self.objects.write(self._name, pa.py_buffer(b""))

    def renew(self) -> None:
        """Say that this machine is at work."""
        said = {"host": socket.gethostname(), "pid": os.getpid(), "written": time.time()}
        self.objects.write(self._name, pa.py_buffer(json.dumps(said).encode()))

    def _wait_for_others(self) -> None:
        seen: dict[str, Stat] = {}
        while others := self._living_others():
            for name, stat in others.items():
                if name in seen and seen[name] != stat:
                    raise StoreError(
                        f"{self.objects.address}/{self.run} is being written by {self._told(name)}"
                    )
                seen[name] = stat
            time.sleep(BEAT_SECONDS / 2)
            self.renew()

    def _living_others(self) -> dict[str, Stat]:
        """Leases of other machines that have not run out."""
        listed = leases(self.objects, self.run)
        now = listed[self._name].modified
        return {
            name: stat
            for name, stat in listed.items()
            if name != self._name and (now - stat.modified) / 1e9 < LEASE_SECONDS
        }

    def _told(self, name: str) -> str:
        said = json.loads(self.objects.read(name) or b"{}")
        return (
            f"another machine ({said.get('host', 'unknown')}, process {said.get('pid', 'unknown')})"
        )

    @property
    def _name(self) -> str:
        return f"{self.run}/{FOLDER}/{self.machine}"


def leases(objects: Objects, run: str) -> dict[str, Stat]:
    """Leases on a run that were not given back, run out or not."""
    listed = objects.listing(f"{run}/{FOLDER}")
    return {name: stat for name, stat in listed.items() if stat.size}
