"""A run's view: what it shows while it draws and when it is done. The store is the truth; to lose the view is nothing.

Whatever fails is one warning, and the same run, run again, makes up for it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from scaling_exp.analysis import Analysis
from scaling_exp.store import RunFolder, StoreError
from scaling_exp.tracking import Disabled
from scaling_exp.tracking.aside import Aside, Begun, Finished
from scaling_exp.tracking.cards import sampling_card
from scaling_exp.tracking.pulse import Drawn, Pulse
from scaling_exp.tracking.shown import Tracker

MARK = "tracked"
"""What was shown last, and where: `tracked.json` in the run's folder."""


@dataclass(eq=False)
class View:
    """Use it as a context, around all that a run does."""

    tracker: Tracker
    folder: RunFolder
    config: Mapping[str, Any]
    _pulse: Pulse | None = None
    _aside: Aside = field(init=False)
    _mark: str = ""
    """Of what is being shown."""
    _is_lost: bool = False

    def __post_init__(self) -> None:
        self._aside = Aside(self.tracker, self.folder.path)

    def __enter__(self) -> View:
        return self

    def look(self, seconds: float, drawn: Callable[[], Drawn]) -> None:
        """Take a point if it is time for one, `seconds` after drawing began. Costs next to nothing when it is not."""
        if self._is_lost:
            return
        try:
            self._take(seconds, drawn)
        except (OSError, StoreError) as error:
            self._lose(error)

    def _take(self, seconds: float, drawn: Callable[[], Drawn]) -> None:
        if self._pulse is None:
            self._begin()
        elif self._pulse.is_due(seconds):
            self._pulse.beat(drawn())
            self._aside.grow()

    def _lose(self, error: Exception) -> None:
        """A full disk or a process that cannot be started costs the view and nothing else."""
        self._is_lost, self._mark = True, ""
        warnings.warn(f"tracking failed, the run is not affected: {error}", stacklevel=3)

    def _begin(self) -> None:
        self._pulse = Pulse.of(self.folder.path)
        self._pulse.begin()
        if not isinstance(self.tracker, Disabled):
            card = sampling_card(self.folder.path.name, self.config)
            self._aside.begin(Begun(card, self._pulse.file))

    def show(self, analysis: Analysis) -> None:
        """Show the whole run, unless that is what was shown last."""
        if self._is_lost or isinstance(self.tracker, Disabled):
            return
        self._mark = _mark(self.tracker, analysis)
        try:
            if self._pulse is None and self._shown_last() == self._mark:
                self._mark = ""
                return
            self._aside.show(Finished(analysis, self.config))
        except OSError as error:
            self._lose(error)

    def _shown_last(self) -> str:
        file = self.folder.path / f"{MARK}.json"
        return json.loads(file.read_text())["mark"] if file.is_file() else ""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what is being shown; a run that failed or was interrupted waits for nothing."""
        if kind is not None or not self._mark:
            self._aside.leave()
            return
        self._aside.wait()
        if self._aside.failure:
            warnings.warn(
                f"tracking failed, the run is not affected: {self._aside.failure}"
                f" (all of it is in {self.folder.path}; the same command shows it again)",
                stacklevel=2,
            )
        else:
            self.folder.write_json(MARK, {"mark": self._mark, "tracker": repr(self.tracker)})


def _mark(tracker: Tracker, analysis: Analysis) -> str:
    """A hash of where and what."""
    told = (repr(tracker), analysis.curves.to_csv(), *analysis.sentences)
    return sha256("\n".join(told).encode()).hexdigest()[:16]
