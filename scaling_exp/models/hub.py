"""Models on the Hugging Face Hub: the files that describe one, its weights, and the commit that both are of.

Everything goes through the cache of huggingface_hub, so what was taken once is there without a network. Weights are
taken only where an engine loads them. It knows no file's contents, and nothing of a token but the name of its variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path as FilePath

from scaling_exp.types import UserError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template.*",
    "*.safetensors.index.json",
)
"""All that a driver reads of a model."""
BESIDE_WEIGHTS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""What an engine may read besides weights."""
IN_FOLDERS = "*/*"
"""Weights in other formats, for other runtimes."""
ONE_FILE_FORMAT = "consolidated*"
"""The same weights once more, as Mistral's own loader wants them."""
PICKLES = ("*.bin", "*.pt", "*.pth")
"""Formats that can run code when they are loaded."""


@dataclass(frozen=True)
class Snapshot:
    """A commit of a repository in the cache: what describes the model is there, the weights may be."""

    folder: FilePath
    sizes: Mapping[str, int]
    """Bytes of the commit's files, by name; of those in the cache where the list itself was never taken."""

    @property
    def commit(self) -> str:
        return self.folder.name


def describe(repo: str, revision: str | None) -> Snapshot:
    """What describes the model at a revision (a branch, a tag or a commit; None: the main branch).

    Raises UserError when there is none, or none that may be had.
    """
    folder = _take(repo, revision, DESCRIPTION)
    return Snapshot(folder, _listed(repo, folder.name) or sizes_in(folder))


def take_weights(repo: str, snapshot: Snapshot, accept_code: bool) -> FilePath:
    """The folder of a snapshot, now with its weights; and with the model's own code, if that may be run.

    Raises UserError when they cannot be had.
    """
    names = weight_names(snapshot.sizes)
    code = ("*.py",) if accept_code else ()
    return _take(repo, snapshot.commit, (*BESIDE_WEIGHTS, *code, *(names or ["*.safetensors"])))


def weight_names(names: Iterable[str]) -> list[str]:
    """Of a folder's files those that hold the weights: safetensors, or pickles where there are none."""
    here = sorted(name for name in names if "/" not in name)
    safe = [name for name in here if name.endswith(".safetensors")]
    once = [name for name in safe if not fnmatch(name, ONE_FILE_FORMAT)]
    return once or safe or [name for name in here if is_pickle(name)]


def is_pickle(name: str) -> bool:
    """Whether to load the file is to trust whoever made it."""
    return any(fnmatch(name, pattern) for pattern in PICKLES)


def _take(repo: str, revision: str | None, patterns: Sequence[str]) -> FilePath:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=[IN_FOLDERS],
            tqdm_class=_silent(),
        )
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError) as error:
        raise UserError(f"{repo} {_reason(error, repo, revision)}") from error
    return FilePath(folder)


def _reason(error: Exception, repo: str, revision: str | None) -> str:
    """Why a repository cannot be had, and what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error.__cause__, errors.HfHubHTTPError):  # it was reached, and refused
        error = error.__cause__
    page = f"{constants.ENDPOINT}/{repo}"
    download = f"hf download {repo}{f' --revision {revision}' if revision else ''}"
    told = {
        errors.GatedRepoError: (  # before what it is a kind of
            f"is gated: accept its terms at {page}, and set HF_TOKEN (or run `hf auth login`) on every machine that"
            " loads it"
        ),
        errors.RevisionNotFoundError: f"has no revision {revision!r}: see {page}/commits",
        errors.RepositoryNotFoundError: (
            "is neither a folder here nor a model on the Hub that may be seen: correct the model's path, or set"
            " HF_TOKEN for one that is private"
        ),
        errors.LocalEntryNotFoundError: (
            f"is not in the cache, not whole at least, and the Hub cannot be reached: run `{download}` where it can,"
            " and bring the cache here (HF_HOME), or give the model's path as a folder"
        ),
    }
    for kind, reason in told.items():
        if isinstance(error, kind):
            return reason
    assert isinstance(error, errors.HfHubHTTPError)
    status = error.response.status_code
    remedy = (
        ": the token (HF_TOKEN, or that of `hf auth login`) is not valid" if status == 401 else ""
    )
    return f"cannot be had from the Hub: status {status}{remedy}"


def _silent() -> type:
    """A progress bar that nobody sees: of small files it is noise, and a worker has no terminal."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, **{**named, "disable": True})

    return Silent


def _listed(repo: str, commit: str) -> dict[str, int]:
    """Sizes of all files of a commit; empty where the list is not in the cache, or the library keeps none."""
    try:
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError
    except ImportError:
        return {}
    try:
        return {each.path: each.size for each in get_cached_repo_tree(repo, revision=commit)}
    except CachedRepoTreeNotFoundError:
        return {}


def sizes_in(folder: FilePath) -> dict[str, int]:
    """Bytes of the files of a folder, by name."""
    return {each.name: each.stat().st_size for each in folder.iterdir() if each.is_file()}
