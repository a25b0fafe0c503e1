"""Weights & Biases: a card is a W&B run under the same id, in one group for all that a run of the program shows.

It runs in a process of its own (`aside.py`), so nothing here is careful: whatever fails is raised.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from scaling_exp.tracking.shown import Artifact, Card, Content, Point, Table

if TYPE_CHECKING:
    import wandb

START_SECONDS = 20.0
"""For a server to answer the first request of a run."""
NEEDED = {"s3": "boto3", "gs": "google.cloud.storage"}
"""What W&B needs to be installed before it takes an address as a reference."""


@dataclass(frozen=True)
class WeightsAndBiases:
    """Offline (files in the run's folder, for `wandb sync`) or online. `entity` and keys are W&B's own settings.

    `group` is one name for all runs of a sweep; without one, a run's own.
    """

    mode: Literal["offline", "online"]
    project: str
    group: str = ""

    def open(self, card: Card, folder: str) -> WandbPage:
        """Raises what W&B raises, e.g. without a key, or when no server answers within `START_SECONDS`."""
        # Set before the import: where artifacts wait until `wandb sync`, which must travel with the run.
        os.environ["WANDB_DATA_DIR"] = str(Path(folder, "wandb", "data"))
        import wandb

        older = _offline_copies(folder, card) if self.mode == "offline" else []
        run = wandb.init(
            project=self.project,
            group=self.group or card.run_id,
            job_type=card.job_type,
            name=card.name,
            id=card.id,
            config=dict(card.config),
            dir=folder,
            mode=self.mode,
            reinit="create_new",
            settings=_settings(),
        )
        for step in dict.fromkeys(card.axes.values()):
            run.define_metric(step)
        for metric, step in card.axes.items():
            run.define_metric(metric, step_metric=step)
        return WandbPage(run, self.mode == "offline", older)


def _settings() -> wandb.Settings:
    """Quiet, and nothing of the machine: what a run ran on is in its manifest."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        init_timeout=START_SECONDS,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
    )


def _offline_copies(folder: str, card: Card) -> list[Path]:
    """What was shown under the same id before, and is replaced: offline runs cannot be resumed."""
    return list(Path(folder, "wandb").glob(f"offline-run-*-{card.id}"))


@dataclass(frozen=True)
class WandbPage:
    """A W&B run. `older` are offline copies that it replaces."""

    run: wandb.Run
    is_offline: bool
    older: list[Path]

    def add(self, point: Point) -> None:
        self.run.log(dict(point))

    def finish(self, content: Content) -> None:
        import wandb

        for artifact in content.uses:
            self._use(artifact)
        media = {
            **{name: _table(table) for name, table in content.tables.items()},
            **{name: wandb.Html(file, inject=False) for name, file in content.pages.items()},
            **{name: wandb.Image(file) for name, file in content.figures.items()},
        }
        if media:
            self.run.log(media)
        self.run.summary.update(dict(content.summary))
        for artifact in content.makes:
            self.run.log_artifact(_artifact(artifact))
        self.run.finish()
        for folder in self.older:
            if folder.name != Path(self.run.dir).parent.name:
                shutil.rmtree(folder, ignore_errors=True)

    def _use(self, artifact: Artifact) -> None:
        if self.is_offline:
            # What `use_artifact` does with an artifact of ours; offline it refuses, though `wandb sync` understands it.
            self.run._log_artifact(_artifact(artifact), is_user_created=True, use_after_commit=True)
        else:
            self.run.use_artifact(_artifact(artifact))


def _table(table: Table) -> wandb.Table:
    import wandb

    # Mixed: a bound may be infinite, which is told as text.
    rows: list[Any] = [list(row) for row in table.rows]
    return wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)


def _artifact(described: Artifact) -> wandb.Artifact:
    import wandb

    artifact = wandb.Artifact(described.name, described.kind, metadata=dict(described.facts))
    for name, uri in _allowed(described.references).items():
        artifact.add_reference(uri, name=name, checksum=False)
    if described.references:
        with artifact.new_file("addresses.txt") as file:
            file.write("\n".join(described.references.values()) + "\n")
    for name, text in described.texts.items():
        with artifact.new_file(name) as file:
            file.write(text)
    return artifact


def _allowed(references: Mapping[str, str]) -> dict[str, str]:
    """Those that W&B can take as references; the others stand in `addresses.txt` alone."""
    return {name: uri for name, uri in references.items() if _is_known(urlsplit(uri).scheme)}


def _is_known(scheme: str) -> bool:
    needed = NEEDED.get(scheme)
    if needed is None:
        return True
    try:
        return find_spec(needed) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
