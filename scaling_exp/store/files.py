"""Files that are whole or not there, locks between processes, and a full disk as one line."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path as FilePath
from uuid import uuid4

from scaling_exp.types import UserError


class StoreError(UserError):
    """The store cannot be used as it is; the message says what to do."""


class Unreachable(StoreError):
    """A bucket did not do what it was asked; the message says why, and what to look at."""


@contextmanager
def writing(what: FilePath) -> Iterator[None]:
    """Turn a failure to write into StoreError: nearly always a full disk, and never a loss of what was acknowledged."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = (
            "every draw that was acknowledged is kept: free space and run the same command again"
            if is_full
            else "make it writable, or choose another place"
        )
        told = os.strerror(error.errno) if error.errno else error
        raise StoreError(f"cannot write {what}: {told}; {remedy}") from error


@contextmanager
def replacing(target: FilePath) -> Iterator[FilePath]:
    """A temporary path whose content replaces the target, on disk and in one step, when the block ends well.

    Raises StoreError when it cannot be written.
    """
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        with writing(target):
            yield partial
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
            os.replace(partial, target)
    finally:
        with suppress(OSError):  # where it could not be made
            partial.unlink(missing_ok=True)


@contextmanager
def locked(file: FilePath) -> Iterator[None]:
    """Hold a file's lock, waiting for it. Raises StoreError where it cannot be made."""
    with writing(file):
        opened = open(file, "ab")  # noqa: SIM115 - closed below
    with opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_if_free(file: FilePath) -> Iterator[bool]:
    """Hold a file's lock if nobody else does; whether it is held. A file that is gone by then counts as taken."""
    try:
        opened = open(file, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        yield False
        return
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield file.exists()
