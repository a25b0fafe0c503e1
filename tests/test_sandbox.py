"""No program that a model might write passes wrongly, gets out, hangs, or stays; and every right one passes."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile import ADD, ESCAPES, HARMLESS, TESTS, WRONG

from scaling_exp.sandbox import SAFE, Limits, Program, Tests, tried, why_not
from scaling_exp.sandbox.choose import BOXES

SHORT = Limits(cpu_seconds=1, wall_seconds=3, memory_mib=512)
SECRET = "a-token-of-the-users"


@pytest.fixture(scope="module", params=SAFE)
def box(request):
    """Every way to run programs safely, where it works."""
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(f"{request.param} does not work here: {reason}")
    return BOXES[request.param]


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder that no box may see."""
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o755)
    (folder / "secret").write_text(SECRET)
    return folder


@pytest.fixture(scope="module")
def verdicts(box, outside):
    """What is found of every program, and what it did meanwhile."""
    before = guests()
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN_OF_THE_USER", SECRET)
        known = {
            "SECRET": repr(SECRET),
            "OUTSIDE": repr(str(outside)),
            "PORT": str(server.getsockname()[1]),
            "HOST_PID": str(os.getpid()),
        }
        names = "".join(f"{name} = {value}\n" for name, value in known.items())
        programs = {
            **WRONG,
            **{name: names + text + ADD for name, text in ESCAPES.items()},
            **HARMLESS,
        }

        def found(name):
            limits = Limits(memory_mib=1024) if name in HARMLESS else SHORT
            started = time.monotonic()
            verdict = tried(Program(programs[name]), Tests(TESTS, "add"), box, limits)
            return verdict, time.monotonic() - started

        with ThreadPoolExecutor(6) as pool:
            all_found = dict(zip(programs, pool.map(found, programs), strict=True))
    return all_found, before


def guests():
    """Processes that run in boxes now."""
    found = set()
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdecimal() and b"guest." in (each / "cmdline").read_bytes():
                found.add(each.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_does_not_pass(verdicts, name):
    verdict, seconds = verdicts[0][name]
    assert verdict.found == "failed"
    assert len(verdict.detail) < 1000
    assert seconds < 15


@pytest.mark.parametrize("name", ESCAPES)
def test_a_program_does_not_get_out(verdicts, name):
    verdict, _ = verdicts[0][name]
    assert "escaped" not in verdict.detail
    assert SECRET not in verdict.detail


@pytest.mark.parametrize("name", HARMLESS)
def test_a_right_program_passes(verdicts, name):
    assert verdicts[0][name][0].found == "passed"


def test_nothing_is_left_of_them(verdicts, outside):
    assert [each.name for each in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == SECRET
    assert not (outside / "secret").stat().st_mode & 0o111
    deadline = time.monotonic() + 5
    while guests() - verdicts[1] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert guests() <= verdicts[1]
