"""Repositories of the Hugging Face Hub: their files at one commit, through the cache of huggingface_hub.

What was taken once is there without a network, and what cannot be had is told in one line, soon. It knows no file's
contents, and nothing of a token but the name of its variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath
from typing import Literal

from scaling_exp.types import UserError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """One at a revision: a branch, a tag or a commit; None: the main branch. `instead` is what else a user can do."""

    name: str
    kind: Literal["model", "dataset"]
    revision: str | None
    instead: str

    def take(self, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> FilePath:
        """The folder in the cache of what is wanted, by patterns; it is called as the commit.

        Raises UserError when there is none, or none that may be had.
        """
        from huggingface_hub import errors

        try:
            with without_progress_bars():
                return FilePath(self._snapshot(wanted, unwanted))
        except (
            errors.HFValidationError,
            errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage]
            errors.LocalEntryNotFoundError,
        ) as error:
            raise UserError(f"{self.name} {self._reason(error)}") from error

    def sizes(self, commit: str) -> Mapping[str, int]:
        """Bytes of all files of a commit, by name; empty where its list is not in the cache, or the library keeps
        none."""
        try:
            from huggingface_hub import get_cached_repo_tree
            from huggingface_hub.errors import CachedRepoTreeNotFoundError
        except ImportError:
            return {}
        try:
            tree = get_cached_repo_tree(self.name, repo_type=self.kind, revision=commit)
        except CachedRepoTreeNotFoundError:
            return {}
        return {each.path: each.size for each in tree}

    @property
    def download(self) -> str:
        """How to bring it into the cache by hand."""
        kind = "" if self.kind == "model" else f" --repo-type {self.kind}"
        revision = "" if self.revision is None else f" --revision {self.revision}"
        return (
            f"run `hf download {self.name}{kind}{revision}` where there is a network, and bring the cache here"
            f" (HF_HOME), or {self.instead}"
        )

    def _snapshot(self, wanted: Sequence[str], unwanted: Sequence[str]) -> str:
        from huggingface_hub import errors, snapshot_download

        get = partial(
            snapshot_download,
            self.name,
            repo_type=self.kind,
            revision=self.revision,
            allow_patterns=list(wanted) or None,
            ignore_patterns=list(unwanted) or None,
        )
        if self.revision is None or not COMMIT.fullmatch(self.revision):
            return get()
        if self.sizes(self.revision):
            with suppress(errors.LocalEntryNotFoundError):
                return get(local_files_only=True)
        # Where nobody answers, the library itself would try for half a minute to list a commit, or to get a file.
        return get(local_files_only=not self._is_within_reach())

    def _is_within_reach(self) -> bool:
        from huggingface_hub import HfApi, constants, errors

        try:
            HfApi().repo_info(
                self.name,
                repo_type=self.kind,
                revision=self.revision,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        except errors.HfHubHTTPError:
            return True  # it answers, and will say the same again
        except (errors.HTTPError, OSError):  # pyright: ignore[reportPrivateImportUsage]
            return False
        return True

    def _reason(self, error: Exception) -> str:
        """Why it cannot be had, and what to do."""
        from huggingface_hub import constants, errors

        if isinstance(error.__cause__, errors.HfHubHTTPError):  # it was reached, and refused
            error = error.__cause__
        what = {"model": "model", "dataset": "data set"}[self.kind]
        page = f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"
        told = {
            errors.HFValidationError: f"is no name on the Hub: {error}",
            errors.GatedRepoError: (  # before what it is a kind of
                f"is gated: accept its terms at {page}, and set HF_TOKEN (or run `hf auth login`) on every machine that"
                " loads it"
            ),
            errors.RevisionNotFoundError: f"has no revision {self.revision!r}: see {page}/commits",
            errors.RepositoryNotFoundError: (
                f"is no {what} on the Hub that may be seen: correct its name, set HF_TOKEN for one that is private, or"
                f" {self.instead}"
            ),
        }
        for kind, reason in told.items():
            if isinstance(error, kind):
                return reason
        if isinstance(error, errors.HfHubHTTPError):
            status = error.response.status_code
            remedy = (
                ": the token (HF_TOKEN, or that of `hf auth login`) is not valid"
                if status == 401
                else ""
            )
            return f"cannot be had from the Hub: status {status}{remedy}"
        return f"is not in the cache, not whole at least, and the Hub cannot be reached: {self.download}"


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Without those of the Hub's libraries: of small files they are noise, and a worker has no terminal."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    was_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not was_disabled:
            enable_progress_bars()
