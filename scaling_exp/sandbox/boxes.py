"""Where guests run: in bubblewrap, in a confined process, or unprotected when the user says so.

A box starts a guest with nothing but what it is told: no environment, no files but the interpreter's, no descriptors
but its own. What a guest then gives up itself is in `guest/confine.py`.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from scaling_exp.sandbox.guest.setup import Bounds, Setup
from scaling_exp.sandbox.limits import Limits
from scaling_exp.types import UserError

SandboxName = Literal["auto", "bubblewrap", "restricted", "unprotected"]

LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
GUEST = Path(__file__).parent / "guest"
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # a grade does not change when it is given again
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
KEPT_VARIABLES = ("LD_LIBRARY_PATH",)
"""Without which some interpreters do not start."""
INTERPRETER_FLAGS = ("-s", "-S", "-P", "-B")


class BoxError(RuntimeError):
    """A fault of the machine: no program was judged."""


class Box(Protocol):
    """A way to run a guest. Stateless."""

    @property
    def name(self) -> str: ...

    def command(self, files: Files, limits: Limits) -> Sequence[str]:
        """What stands before the interpreter's command line."""
        ...

    def bounds(self, files: Files, limits: Limits) -> Bounds:
        """What the guest must give up itself."""
        ...


@dataclass(frozen=True)
class Files:
    """What a guest may read: interpreter, standard library, its own code, and the packages that are asked for."""

    interpreter: str
    readable: tuple[str, ...]
    python_path: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """All that a guest has of it."""
        known = {each: os.environ[each] for each in KEPT_VARIABLES if each in os.environ}
        return {**ENVIRONMENT, **known, "PYTHONPATH": os.pathsep.join(self.python_path)}

    @classmethod
    @cache
    def of(cls, packages: tuple[str, ...] = ()) -> Files:
        """Raises UserError for a package that is not installed."""
        interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        prefix = Path(os.path.realpath(sys.base_prefix))
        libraries = {str(prefix / each) for each in ("lib", sys.platlibdir)}
        own = {interpreter, str(GUEST), *filter(os.path.isdir, libraries)}
        places = [place for each in packages for place in _places(each)]
        return cls(
            interpreter,
            (*(each for each in LIBRARIES if os.path.exists(each)), *sorted(own), *places),
            (str(GUEST.parent), *dict.fromkeys(os.path.dirname(each) for each in places)),
        )


def _places(package: str) -> list[str]:
    """Folders of an installed package: its own, and that of the libraries that a wheel brings."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"packages: {package} is not installed, or is no package: pip install {package}"
        )
    (place, *_) = found.submodule_search_locations
    return [each for each in (place, f"{place}.libs") if os.path.isdir(each)]


def _bounds(limits: Limits, spare_uid: int | None, num_others: int, **more: Any) -> Bounds:
    return Bounds(
        cpu_seconds=limits.cpu_seconds,
        memory_bytes=limits.memory_mib << 20,
        file_bytes=limits.scratch_mib << 20,
        num_threads=limits.num_threads + num_others,
        spare_uid=spare_uid,
        **more,
    )


@dataclass(frozen=True)
class Bubblewrap:
    """Its own file system, network, processes and users; then the filter of system calls."""

    name: str = "bubblewrap"

    def command(self, files: Files, limits: Limits) -> Sequence[str]:
        binds = [word for each in files.readable for word in ("--ro-bind", each, each)]
        devices = [word for each in DEVICES for word in ("--dev-bind", each, each)]
        scratch = ("--size", str(limits.scratch_mib << 20), "--tmpfs", "/tmp")
        # Root needs no user namespace to build a box, and in one it would still be root to the limits of processes.
        users = (
            ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
            if _is_root()
            else ("--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534")
        )
        return (
            *(
                bubblewrap(),
                "--unshare-ipc",
                "--unshare-pid",
                "--unshare-net",
                "--unshare-uts",
                *users,
            ),
            *("--unshare-cgroup-try", "--die-with-parent", "--new-session"),
            # First the scratch folder, lest it hide an interpreter or a package that is below /tmp.
            *(scratch if limits.scratch_mib else ()),
            *(*binds, *devices, "--remount-ro", "/"),
            *("--chdir", "/tmp" if limits.scratch_mib else "/", "--"),
        )

    def bounds(self, files: Files, limits: Limits) -> Bounds:  # noqa: ARG002 - one shape for all
        uid, others = (_spare_uid(), 0) if _is_root() else (None, _num_threads_of_user())
        return _bounds(limits, uid, others, is_filtered=True)


@dataclass(frozen=True)
class Restricted:
    """One process that the kernel lets read the interpreter's files and write none (Landlock), behind the filter of
    system calls. Needs no rights and no program.
    """

    name: str = "restricted"

    def command(self, files: Files, limits: Limits) -> Sequence[str]:  # noqa: ARG002
        return ()

    def bounds(self, files: Files, limits: Limits) -> Bounds:
        if limits.scratch_mib:
            raise UserError(
                "task.grader.limits.scratch_mib wants task.grader.sandbox=bubblewrap: there is no such folder elsewhere"
            )
        uid = _spare_uid() if _is_root() else None
        others = _num_threads_of_user() if uid is None else 0
        return _bounds(
            limits,
            uid,
            others,
            is_filtered=True,
            readable=[*files.readable, *DEVICES],
            listable=list(files.python_path),
        )


@dataclass(frozen=True)
class Unprotected:
    """A process with limits of time and memory, and all rights of this one."""

    name: str = "unprotected"

    def command(self, files: Files, limits: Limits) -> Sequence[str]:  # noqa: ARG002
        return ()

    def bounds(self, files: Files, limits: Limits) -> Bounds:  # noqa: ARG002
        others = _num_threads_of_user()
        return _bounds(limits, None, others, is_filtered=False)


@cache
def bubblewrap() -> str:
    """The program. Raises UserError where there is none."""
    found = shutil.which("bwrap")
    if found is None:
        raise UserError("bubblewrap is not installed: apt install bubblewrap")
    return found


def _is_root() -> bool:
    return os.geteuid() == 0


def _spare_uid() -> int | None:
    """A user that nobody is, another one for every box, so that each counts its own threads; None: there is none."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = [tuple(map(int, line.split())) for line in lines]
    first, last = max((inside, inside + count) for inside, _, count in ranges)
    first = max(first, last // 2)
    return first + secrets.randbelow(last - first - 1) if last - first > 1 else None


def _num_threads_of_user() -> int:
    """Where the user stays the same, the kernel counts a box's threads with all others of that user."""
    user, found = os.getuid(), 0
    for each in os.scandir("/proc") if os.path.isdir("/proc") else ():
        if each.name.isdecimal():
            try:
                found += (
                    os.stat(f"{each.path}/task").st_nlink - 2 if each.stat().st_uid == user else 0
                )
            except OSError:  # it has ended
                continue
    return found


@contextmanager
def running(
    box: Box,
    guest: ModuleType,
    files: Files,
    limits: Limits,
    part: dict[str, Any],
    channel: int,
    also: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A guest, one of `guest`'s programs, in a box. All of it has ended when the block has.

    It does not outlive this thread either, whatever ends it. Raises BoxError where it does not start.
    """
    command = box.command(files, limits)
    setup = Setup(
        bounds=box.bounds(files, limits),
        parent=0 if command else os.getpid(),
        channel=channel,
        max_output_bytes=limits.output_mib << 20,
        part=part,
    )
    try:
        with _unnamed(setup.to_json()) as told:
            process = subprocess.Popen(
                [*command, files.interpreter, *INTERPRETER_FLAGS, "-m", _module(guest)],
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(channel, *also),
                env=files.environment,
                cwd="/",
                start_new_session=True,
            )
    except OSError as error:
        raise BoxError(f"programs cannot be run: {error}") from error
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _module(guest: ModuleType) -> str:
    """What it is called in the box, which has no other part of this package."""
    return f"{GUEST.name}.{guest.__name__.rpartition('.')[2]}"


@contextmanager
def _unnamed(content: bytes) -> Iterator[int]:
    """A file that no path leads to."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()
