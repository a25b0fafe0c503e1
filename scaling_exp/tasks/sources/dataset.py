"""Where the rows of a data set are: a file or folder on this machine, or a data set of the Hub at a fixed revision.

Files of the Hub come into its own cache (HF_HOME) and are read from there like local ones, so that both give the same
rows, and what is in the cache needs no network. `datasets` says which files a subset and a split are; no code of a data
set is ever run. It knows nothing of what the rows mean.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath

from scaling_exp.hub import Repository, without_progress_bars
from scaling_exp.schema import unknown
from scaling_exp.tasks.files import Row, read_all
from scaling_exp.types import UserError


@dataclass(frozen=True)
class DataSet:
    """Rows of a data set of the Hub, or of `path` instead, a local file or a folder like the one on the Hub.

    `subset` and `split` choose among what a repository declares. `files` names them itself (`test/*.jsonl`), where a
    repository declares nothing or only a few of its files are wanted. Of a single file in `path` all rows are taken.
    """

    hub: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    """A commit; null takes the newest and says which."""
    path: str | None = None
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hub is None and self.path is None:
            raise ValueError(
                "task.source.path is missing: the file with the questions, e.g. task.source.path=questions.jsonl"
            )
        if self.hub is not None and self.hub.count("/") != 1:
            raise ValueError(f"task.source.hub is {self.hub!r}; it is OWNER/NAME")

    def rows(self) -> Sequence[Row]:
        """All rows, in the order of the data set.

        Raises UserError that says which file to put where when they cannot be had.
        """
        found = self._from_hub() if self.path is None else FilePath(self.path).expanduser()
        if not found.exists():
            remedy = f"; {self._repository.download}" if self.hub else ""
            raise UserError(f"task.source.path: {found} does not exist{remedy}")
        files = [found] if found.is_file() else self._files_in(found)
        rows = read_all(files)
        if not rows:
            raise UserError(f"task.source: {', '.join(map(str, files))} has no rows")
        return rows

    @property
    def _repository(self) -> Repository:
        assert self.hub is not None
        instead = "name a file that holds its rows: task.source.path=FILE"
        return Repository(self.hub, "dataset", self.revision, instead)

    def _from_hub(self) -> FilePath:
        """The folder of the data set's commit in the Hub's cache."""
        try:
            folder = self._repository.take(self.files)
        except UserError as error:
            raise UserError(f"task.source: {error}") from error
        if folder.name != self.revision:
            _say_commit(self._repository.name, folder.name)
        return folder

    def _files_in(self, folder: FilePath) -> list[FilePath]:
        if not self.files:
            return self._declared(folder)
        found = sorted({each for pattern in self.files for each in folder.glob(pattern)})
        if not found:
            raise UserError(f"task.source.files: no {', '.join(self.files)} in {folder}")
        return found

    def _declared(self, folder: FilePath) -> list[FilePath]:
        """The files of a subset and a split, by the folder's README or by their names."""
        from datasets import get_dataset_config_names, load_dataset_builder

        try:
            with without_progress_bars():
                subsets = get_dataset_config_names(str(folder))
                subset = _one_of("subset", self.subset, subsets)
                builder = load_dataset_builder(str(folder), subset)
        except FileNotFoundError:
            raise UserError(
                f"task.source: {folder} holds no files that `datasets` knows; name them: task.source.files=[...]"
            ) from None
        splits = builder.config.data_files or {}
        split = _one_of("split", self.split, list(map(str, splits)))
        return [FilePath(each) for each in splits[split]]


def _one_of(what: str, wanted: str | None, there: Sequence[str]) -> str:
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None:
        raise UserError(f"task.source.{what} is missing; it is one of {', '.join(there)}")
    if wanted not in there:
        raise UserError(
            f"{unknown(f'task.source.{what}', wanted, there)} (there is {', '.join(there)})"
        )
    return wanted


@cache
def _say_commit(hub: str, commit: str) -> None:
    """Once a process: what a data set without a fixed revision was."""
    print(
        f"{hub} is taken at its newest commit; to fix it: task.source.revision={commit}",
        file=sys.stderr,
    )
