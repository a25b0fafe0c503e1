"""Landlock: which files this process may still open, where it has no file system of its own (Linux 5.13, no rights
needed). It does not hide that a file exists, and does not cover what the filter of system calls must: modes, owners,
sockets.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from collections.abc import Sequence

# The same numbers on all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
NUM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
NUM_RIGHTS_SINCE_5 = 16


class Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi(system: ctypes.CDLL) -> int:
    """The version that the kernel speaks; below 1 when it has none."""
    return system.syscall(CREATE_RULESET, None, 0, 1)


def allow_reading(
    system: ctypes.CDLL, readable: Sequence[str], listable: Sequence[str] = ()
) -> None:
    """From now on only `readable` files and folders are read, and of `listable` folders the names. Nothing is written,
    except to /dev/null.

    Raises OSError where the kernel has no Landlock.
    """
    version = abi(system)
    if version < 1:
        raise OSError(ctypes.get_errno(), "the kernel has no Landlock")
    rights = (1 << NUM_RIGHTS.get(version, NUM_RIGHTS_SINCE_5)) - 1
    handled = Ruleset(rights)
    ruleset = system.syscall(CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    _check(ruleset)
    for path in readable:
        read = READ_FILE | EXECUTE | (READ_DIR if os.path.isdir(path) else 0)
        _allow(system, ruleset, path, read)
    for path in listable:
        _allow(system, ruleset, path, READ_DIR)
    _allow(system, ruleset, os.devnull, READ_FILE | (WRITE_FILE | TRUNCATE) & rights)
    _check(system.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(system: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = PathBeneath(access, fd)
    _check(system.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(fd)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses")
