"""Take from this process, for good, what model-written code must not have. The order matters: each step needs what a
later one takes away.

Inside bubblewrap this is the second wall; where there is none it is the only one. Linux on x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from .landlock import allow_reading
from .setup import Bounds
from .system_calls import filter_system_calls

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION_3 = 0x20080522
OPEN_FILES = 64


def confine(bounds: Bounds, parent: int) -> None:
    """Confine this process, and let it not outlive the process `parent`, which started it.

    Raises OSError where the kernel refuses any of it: then nothing may run here.
    """
    system = ctypes.CDLL(None, use_errno=True)
    if bounds.spare_uid is not None:
        # Processes are counted by the real user, files opened by the effective one, which owns the interpreter.
        os.setgroups([])
        os.setresuid(bounds.spare_uid, os.geteuid(), os.geteuid())
    if bounds.is_filtered:
        die_with(parent)
        _drop_capabilities(system)
    _limit(bounds)
    if bounds.is_filtered:
        _check(system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if bounds.readable is not None:
            allow_reading(system, bounds.readable, bounds.listable or [])
        filter_system_calls(system)


def die_with(parent: int) -> None:
    """Let this process not outlive the process `parent`, which started it."""
    _check(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)


def _limit(bounds: Bounds) -> None:
    most = {
        resource.RLIMIT_AS: bounds.memory_bytes,
        resource.RLIMIT_CPU: bounds.cpu_seconds,
        resource.RLIMIT_FSIZE: bounds.file_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: bounds.num_threads,
    }
    for which, wanted in most.items():
        _, hard = resource.getrlimit(which)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # Past its seconds a process is told so, which it may ignore, and a second later it is killed.
        last = value + 1 if which == resource.RLIMIT_CPU and hard != value else value
        resource.setrlimit(which, (value, last))


def _drop_capabilities(system: ctypes.CDLL) -> None:
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(system.capset(header, (ctypes.c_uint32 * 6)()))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to confine this process")
