"""The process beside a run that shows what it is sent (see `aside.py`); no user starts it.

The first thing that fails is told in one line and ends it: a server that is down for one card is down for the next.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling_exp.tracking.aside import PATIENCE_SECONDS, Begun, Finished
from scaling_exp.tracking.shown import Card, Content, Page, Tracker, show

NICENESS = 10
"""Engines come first."""


def main() -> None:
    """Show everything that comes on standard input."""
    os.nice(NICENESS)
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    # What libraries print must not be read as ours.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        tracker, folder = _taken(sys.argv[1])
        _show_all(tracker, folder, pipe)
    except Exception as error:  # noqa: BLE001 - a view: whatever goes wrong in it is a line of warning
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(json.dumps({"failed": reason[:500]}), file=pipe, flush=True)
        os._exit(0)  # a library that failed may hang in its own farewell


@dataclass(eq=False)
class Growing:
    """A page whose points are read from a file as they come."""

    page: Page
    file: Path
    offset: int = 0

    def grow(self) -> None:
        """Add what was appended since, up to the last whole line."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        for line in whole.splitlines():
            self.page.add(json.loads(line))


def _show_all(tracker: Tracker, folder: Path, pipe: Any) -> None:
    begun: dict[str, Growing] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "begin" in message:
            new: Begun = _taken(message["begin"])
            begun[new.card.id] = Growing(tracker.open(new.card, str(folder)), new.file)
        for each in begun.values():
            each.grow()
        for card, content in _cards(folder, message):
            if card.id in begun:
                begun.pop(card.id).page.finish(content)
            else:
                show(tracker, str(folder), card, content)
            print(json.dumps({"shown": card.name}), file=pipe, flush=True)
    for each in begun.values():
        each.page.finish(Content())


def _cards(folder: Path, message: Mapping[str, Any]) -> Iterable[tuple[Card, Content]]:
    if "show" not in message:
        return ()
    from scaling_exp.store import RunFolder
    from scaling_exp.tracking.cards import (
        Cards,
    )  # all of the analysis, which live points do without

    finished: Finished = _taken(message["show"])
    return Cards(RunFolder(folder), finished.analysis, finished.config).all()


def _taken(name: str) -> Any:
    """What a file holds, which is removed."""
    content = pickle.loads(Path(name).read_bytes())
    Path(name).unlink()
    return content


def _leave_with_parent(parent: int) -> None:
    """End this process some time after the run's, finished or not."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
