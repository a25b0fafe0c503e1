"""Models on the Hugging Face Hub: the files that describe one, its weights, and the commit that both are of.

Weights are taken only where an engine loads them. It knows no file's contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path as FilePath

from scaling_exp.hub import Repository

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
    repository = _repository(repo, revision)
    folder = repository.take(DESCRIPTION, [IN_FOLDERS])
    return Snapshot(folder, repository.sizes(folder.name) or sizes_in(folder))


def take_weights(repo: str, snapshot: Snapshot, accept_code: bool) -> FilePath:
    """The folder of a snapshot, now with its weights; and with the model's own code, if that may be run.

    Raises UserError when they cannot be had.
    """
    names = weight_names(snapshot.sizes) or ["*.safetensors"]
    code = ["*.py"] if accept_code else []
    repository = _repository(repo, snapshot.commit)
    return repository.take([*BESIDE_WEIGHTS, *code, *names], [IN_FOLDERS])


def weight_names(names: Iterable[str]) -> list[str]:
    """Of a folder's files those that hold the weights: safetensors, or pickles where there are none."""
    here = sorted(name for name in names if "/" not in name)
    safe = [name for name in here if name.endswith(".safetensors")]
    once = [name for name in safe if not fnmatch(name, ONE_FILE_FORMAT)]
    return once or safe or [name for name in here if is_pickle(name)]


def is_pickle(name: str) -> bool:
    """Whether to load the file is to trust whoever made it."""
    return any(fnmatch(name, pattern) for pattern in PICKLES)


def _repository(name: str, revision: str | None) -> Repository:
    return Repository(name, "model", revision, instead="give the model's path as a folder")


def sizes_in(folder: FilePath) -> dict[str, int]:
    """Bytes of the files of a folder, by name."""
    return {each.name: each.stat().st_size for each in folder.iterdir() if each.is_file()}
