"""A filter of system calls (seccomp, no rights needed): what ordinary Python needs is allowed, all else does not exist.

So there are no new processes (threads there are), no programs started, no sockets but pairs of this process's own, no
signals to others, no memory beside what is limited, no modes, owners or mounts, and no way out that a kernel may grow.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from collections.abc import Sequence

    Instruction = tuple[int, int, int, int]
    Condition = tuple[int, Sequence[int]]
    """A 32-bit half of an argument, counted from the first argument's low half, and what it may be."""

# linux/audit.h, linux/seccomp.h, linux/bpf_common.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PR_SET_SECCOMP, MODE_FILTER = 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, 16
EPERM, ENOSYS = 1, 38

# Number on x86_64 and on aarch64; None: there is none.
_files = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fadvise64": (221, 223),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "umask": (95, 166),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "close_range": (436, 436),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "eventfd2": (290, 19),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create": (213, None),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "recvfrom": (45, 207),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
}
_memory = {
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "msync": (26, 227),
    "mincore": (27, 232),
    "madvise": (28, 233),
}
_process = {
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "pause": (34, None),
    "alarm": (37, None),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "getcpu": (309, 168),
    "arch_prctl": (158, None),
    "restart_syscall": (219, 128),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getpriority": (140, 141),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "capget": (125, 90),
}
FREE = {**_files, **_memory, **_process}
"""Allowed whatever the arguments are."""

IOCTL, FCNTL, SENDTO, SOCKETPAIR = (16, 29), (72, 25), (44, 206), (53, 199)
CLONE, KILL_CALL, TGKILL, PRLIMIT64 = (56, 220), (62, 129), (234, 131), (302, 261)
IS_TERMINAL_OR_FLAGS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
DUP_FLAGS_LOCKS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)
"""Of fcntl; not among them is whom a file sends which signal."""
THREAD = (0x3D0F00, 0x7D0F00)
"""What glibc and musl ask of clone for a thread."""
AF_UNIX = 1


def filter_system_calls(system: ctypes.CDLL) -> None:
    """From now on, for all threads. Wants no_new_privs. Raises OSError where the machine cannot."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(ENOSYS, f"there is no filter of system calls for {machine}")
    code = b"".join(struct.pack("<HBBI", *each) for each in _program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a length and a pointer
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    if system.prctl(PR_SET_SECCOMP, MODE_FILTER, program, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "the kernel does not filter system calls")


def _program(machine: str, pid: int) -> list[Instruction]:
    column = list(ARCHITECTURES).index(machine)
    program = [
        (LOAD, 0, 0, AT_ARCHITECTURE),
        (JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, AT_NUMBER),
    ]
    for number in (each[column] for each in FREE.values()):
        if number is not None:
            program += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    conditional: dict[tuple[int, int], Sequence[Condition]] = {
        IOCTL: [(2, IS_TERMINAL_OR_FLAGS)],
        FCNTL: [(2, DUP_FLAGS_LOCKS)],
        SENDTO: [(8, (0,)), (9, (0,))],
        SOCKETPAIR: [(0, (AF_UNIX,))],
        CLONE: [(0, THREAD)],
        KILL_CALL: [(0, (pid,))],
        TGKILL: [(0, (pid,))],
        PRLIMIT64: [(0, (0,))],
    }
    for numbers, conditions in conditional.items():
        checks = [each for condition in conditions for each in _check(condition)]
        body = [*checks, (RETURN, 0, 0, ALLOW)]
        program += [(JUMP_IF_EQUAL, 0, len(body), numbers[column]), *body]
    return [*program, (RETURN, 0, 0, ERRNO | ENOSYS)]


def _check(condition: Condition) -> list[Instruction]:
    """Load a half of an argument, and go on behind the refusal when it is one of the values."""
    half, values = condition
    last = len(values)
    tests = [(JUMP_IF_EQUAL, last - at, 0, value) for at, value in enumerate(values)]
    return [(LOAD, 0, 0, AT_ARGUMENTS + 4 * half), *tests, (RETURN, 0, 0, ERRNO | EPERM)]
