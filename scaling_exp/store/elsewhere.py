"""What a store asks of the place where it really is, if that is not the folder itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path as FilePath
from threading import Event, Thread
from typing import Protocol


class Elsewhere(Protocol):
    """Folders and files are those of the store's local copy. All methods raise Unreachable."""

    @property
    def seal_seconds(self) -> float:
        """Draws are sealed at least so often: what is not sealed is on one machine only."""
        ...

    def take_parts(self) -> None:
        """Bring parts that others sealed. Called under the store's sealing lock."""
        ...

    def send_part(self, part: FilePath) -> None:
        """Bring a part there, whole; it never changes again."""
        ...

    def take_runs(self) -> None:
        """Bring what all runs say of themselves."""
        ...

    def take_run(self, run: FilePath) -> None:
        """Bring a run's files, without draws."""
        ...

    def sending(self, run: FilePath) -> AbstractContextManager[None]:
        """What is changed of a run's files in the block is sent at its end. Raises StoreError if a machine holds it."""
        ...

    def held(self, run: FilePath) -> AbstractContextManager[None]:
        """Hold a run against other machines, with its newest files here; what changes is sent. Raises StoreError."""
        ...

    def is_held(self, run: str) -> bool:
        """Whether some machine holds a run."""
        ...

    def at_work(self) -> set[str]:
        """Runs that other machines hold."""
        ...

    def url(self, file: FilePath) -> str:
        """Where a file of the store really is."""
        ...


class Here:
    """The folder itself."""

    seal_seconds = math.inf

    def take_parts(self) -> None:
        """Nothing is elsewhere."""

    def send_part(self, part: FilePath) -> None:
        """It is there."""

    def take_runs(self) -> None:
        """Nothing is elsewhere."""

    def take_run(self, run: FilePath) -> None:
        """Nothing is elsewhere."""

    def sending(self, run: FilePath) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def held(self, run: FilePath) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def is_held(self, run: str) -> bool:  # noqa: ARG002
        return False

    def at_work(self) -> set[str]:
        return set()

    def url(self, file: FilePath) -> str:
        return str(file)


HERE = Here()


@contextmanager
def every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call it again and again, in a thread of its own, until the block ends; never, if `seconds` is infinite."""
    if math.isinf(seconds):
        yield
        return
    has_ended = Event()

    def repeat() -> None:
        while not has_ended.wait(seconds):
            call()

    thread = Thread(target=repeat, name="every", daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
