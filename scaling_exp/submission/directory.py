"""The working directory as it travels: code and configuration, without outputs, data and environments.

In a git checkout it is what git tracks or would add; elsewhere every file. Of that, what matches `exclude` stays here.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path as FilePath
from pathlib import PurePath
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from scaling_exp.types import UserError

MAX_MIB = 256
"""Of all files together. Ray itself takes half a GiB, and keeps it in the memory of its head."""


def pack(root: FilePath, exclude: Sequence[str], archive: FilePath) -> int:
    """Write a zip of the directory; the number of files. The same files make the same bytes, so Ray uploads them once.

    Raises UserError for one that is missing or too big.
    """
    files = travelling(root, exclude)
    check_size(root, files)
    with ZipFile(archive, "w", ZIP_DEFLATED, compresslevel=3) as packed:
        for file in files:
            info = ZipInfo(file.as_posix())
            info.external_attr = ((root / file).stat().st_mode & 0o777) << 16
            info.compress_type = ZIP_DEFLATED
            packed.writestr(info, (root / file).read_bytes())
    return len(files)


def travelling(root: FilePath, exclude: Sequence[str]) -> list[FilePath]:
    """Files below `root` that travel, relative to it and in order. Raises UserError when it is no directory."""
    if not root.is_dir():
        raise UserError(
            f"cluster.working_directory is {root}, which is no directory; give one that holds your code, or null to"
            " send none"
        )
    listed = _of_git(root)
    candidates = _walked(root, exclude) if listed is None else listed
    return sorted(
        each for each in candidates if (root / each).is_file() and not is_excluded(each, exclude)
    )


def check_size(root: FilePath, files: Sequence[FilePath]) -> None:
    """Raise UserError, with what is largest, when the files are too big to travel."""
    sizes: Counter[str] = Counter()
    for file in files:
        sizes["/".join(file.parts[:2])] += (root / file).stat().st_size
    if (total := sizes.total()) > MAX_MIB << 20:
        largest = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in sizes.most_common(3))
        raise UserError(
            f"the working directory {root} is {total / 2**20:,.0f} MiB, more than the {MAX_MIB} that travel (largest,"
            f" in MiB: {largest}); add to cluster.exclude, or set cluster.working_directory"
        )


def is_excluded(file: PurePath, exclude: Sequence[str]) -> bool:
    """Whether a pattern matches: the file's name or that of a folder above it; from the top if it begins with '/'."""
    tops = ["/" + "/".join(file.parts[: at + 1]) for at in range(len(file.parts))]
    return any(
        fnmatch(each, pattern)
        for pattern in exclude
        for each in (tops if pattern.startswith("/") else file.parts)
    )


def _of_git(root: FilePath) -> list[FilePath] | None:
    """What git tracks or would add; None where it is not a checkout."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if listed.returncode != 0:
        return None
    return [FilePath(os.fsdecode(each)) for each in listed.stdout.split(b"\0") if each]


def _walked(root: FilePath, exclude: Sequence[str]) -> Iterator[FilePath]:
    for folder, folders, files in os.walk(root):
        here = FilePath(folder).relative_to(root)
        folders[:] = [each for each in folders if not is_excluded(here / each, exclude)]
        yield from (here / each for each in files)
