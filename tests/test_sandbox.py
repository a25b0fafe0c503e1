"""No program that a model might write passes wrongly, gets out, hangs, or stays; and every right one passes."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import (
    ADD,
    ENDLESS,
    ESCAPES,
    HARMLESS,
    RIGHT_SCRIPTS,
    SCRIPT_TESTS,
    SCRIPTS,
    TESTS,
    WRONG,
)

from scaling_exp.sandbox import SAFE, BoxError, Limits, Program, Verdict, chosen, tried, why_not
from scaling_exp.sandbox import Tests as Asked
from scaling_exp.sandbox.boxes import Unprotected
from scaling_exp.sandbox.choose import BOXES
from scaling_exp.types import UserError

ROOT = Path(__file__).resolve().parent.parent
SHORT = Limits(cpu_seconds=1, wall_seconds=3, memory_mib=512, output_mib=1)
SECRET = "a-token-of-the-users"


@pytest.fixture(scope="module", params=SAFE)
def box(request):
    """Every way to run programs safely, where it works."""
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(f"{request.param} does not work here: {reason}")
    return BOXES[request.param]


@pytest.fixture(scope="module")
def any_box():
    """The way in which programs are run here."""
    try:
        return chosen("auto")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder that no box may see."""
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o755)
    (folder / "secret").write_text(SECRET)
    return folder


def all_tried(programs, tests, box, limits):
    """What is found of every program, by its name, and how long that took."""

    def one(program):
        started = time.monotonic()
        return tried(program, tests, box, limits), time.monotonic() - started

    with ThreadPoolExecutor(6) as pool:
        return dict(zip(programs, pool.map(one, programs.values()), strict=True))


def functions(programs, before="", after=""):
    return {name: Program(before + text + after) for name, text in programs.items()}


@pytest.fixture(scope="module")
def wrong(box):
    return all_tried(functions(WRONG), Asked(TESTS, "add"), box, SHORT)


@pytest.fixture(scope="module")
def endless(any_box):
    return all_tried(functions(ENDLESS), Asked(TESTS, "add"), any_box, SHORT)


@pytest.fixture(scope="module")
def escapes(box, outside):
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN_OF_THE_USER", SECRET)
        port = server.getsockname()[1]
        known = (repr(SECRET), repr(str(outside)), str(port), str(os.getpid()))
        names = f"SECRET, OUTSIDE, PORT, HOST_PID = {', '.join(known)}\n"
        return all_tried(functions(ESCAPES, names, ADD), Asked(TESTS, "add"), box, SHORT)


@pytest.fixture(scope="module")
def harmless(box):
    return all_tried(functions(HARMLESS), Asked(TESTS, "add"), box, Limits())


@pytest.fixture(scope="module")
def scripts(box):
    programs = {name: Program(text, "script") for name, text in (SCRIPTS | RIGHT_SCRIPTS).items()}
    return all_tried(programs, Asked(SCRIPT_TESTS, "run"), box, SHORT)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_does_not_pass(wrong, name):
    verdict, seconds = wrong[name]
    assert verdict.found in ("failed", "unreadable")
    assert len(verdict.detail) < 1000
    assert verdict.detail.isprintable()
    assert seconds < 30


@pytest.mark.parametrize("name", ENDLESS)
def test_a_program_without_end_is_ended(endless, name):
    verdict, seconds = endless[name]
    assert verdict.found == "failed"
    assert seconds < 30


@pytest.mark.parametrize("name", ESCAPES)
def test_a_program_does_not_get_out(escapes, outside, name):
    verdict, _ = escapes[name]
    assert "escaped" not in verdict.detail
    assert SECRET not in verdict.detail
    assert [each.name for each in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == SECRET
    assert not (outside / "secret").stat().st_mode & 0o111


@pytest.mark.parametrize("name", HARMLESS)
def test_a_right_program_passes(harmless, name):
    assert harmless[name][0].found == "passed"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrong_script_does_not_pass(scripts, name):
    assert scripts[name][0].found in ("failed", "unreadable")


@pytest.mark.parametrize("name", RIGHT_SCRIPTS)
def test_a_right_script_passes(scripts, name):
    assert scripts[name][0].found == "passed"


def test_what_is_not_plain_stays_where_it_is_and_counts_as_what_it_is(any_box):
    program = """
import re
from decimal import Decimal
from fractions import Fraction

def half(): return Decimal("2.50")
def five(): return Fraction(5, 1)
def search(text): return re.search("a", text)
def sort(items): items.sort()
def two():
    yield 1
    yield 2
def lookup(key): return {}[key]
class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b
def total(pairs): return sum(each.a for each in pairs)
"""
    tests = """
from decimal import Decimal
assert half() == Decimal("2.5") and five() == 5
assert search("a") and not search("b") and search("a") != search("a")
items = [3, 1, 2]
assert sort(items) is None and items == [1, 2, 3]
assert list(two()) == [1, 2] and two() != [1, 2]
try:
    lookup(1)
    raise SystemExit
except KeyError:
    pass
assert total([Pair(1, 2), Pair(5, 6)]) == 6 and Pair(3, 4).b == 4
assert math.isclose(total([Pair(1, 2)]), 1.0)
"""
    assert tried(Program(program), Asked(tests), any_box, Limits()).found == "passed"


def test_a_program_that_is_gone_is_no_error_that_tests_could_expect(any_box):
    tests = """
for number in (1, 2):
    try:
        add(number, number)
    except Exception:
        pass
"""
    expected = {"def add(a, b): raise ValueError": "passed", "raise ValueError": "failed"}
    for program, found in expected.items():
        assert tried(Program(program), Asked(tests), any_box, Limits()).found == found
    everything = "try:\n    add(1, 1)\nexcept BaseException:\n    pass\n"
    gone = tried(Program("import os; os._exit(0)"), Asked(everything), any_box, Limits())
    assert gone.found == "failed"
    assert gone.detail == "it exits"


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("assert add(1, 1", "no Python"),
        ("import no_such_module\nassert add(1, 1) == 2", "no_such_module"),
        ("assert 1 + 1 == 2", "never call the program"),
        ("assert add(lambda: 1, 1) == 2", "a function of the tests cannot be handed"),
    ],
)
def test_tests_that_cannot_be_run_are_no_fault_of_the_program(any_box, tests, said):
    verdict = tried(Program(ADD), Asked(tests), any_box, Limits())
    assert verdict.found == "broken"
    assert said in verdict.detail


def test_only_the_packages_that_are_named_are_there(box):
    program = Program("import numpy\ndef add(a, b): return numpy.add(a, b)")
    tests = Asked("import numpy\nassert add(2, 3) == 5\nassert numpy.all(add([1], [2]) == [3])")
    assert tried(program, tests, box, Limits(), ("numpy",)).found == "failed"
    tests = Asked("import numpy\nassert add(2, 3) == 5\nassert list(add([1], [2])) == [3]")
    assert tried(program, tests, box, Limits(), ("numpy",)).found == "passed"
    assert tried(program, Asked("assert add(2, 3) == 5"), box, Limits()).found == "failed"
    with pytest.raises(UserError, match="no_such_package is not installed"):
        tried(program, tests, box, Limits(), ("no_such_package",))


def test_a_scratch_folder_is_small_new_and_only_where_it_can_be(box):
    program = Program("""
import os
def write(size):
    found = os.listdir("/tmp")
    with open("/tmp/file", "wb") as file:
        file.write(bytes(size))
    return found
def write_more():
    for name in "abcd":
        with open(f"/tmp/{name}", "wb") as file:
            file.write(bytes(1 << 19))
""")
    tests = Asked("""
assert "file" not in write(1000)
try:
    write_more()
    raise SystemExit
except OSError:
    pass
""")
    limits = Limits(scratch_mib=1)
    if box.name == "restricted":
        with pytest.raises(UserError, match=r"wants task\.grader\.sandbox=bubblewrap"):
            tried(program, tests, box, limits)
        return
    assert [tried(program, tests, box, limits).found for _ in range(2)] == ["passed"] * 2
    assert tried(program, tests, box, Limits()).found == "failed"


def test_only_a_function_that_returns_nothing_changes_its_arguments(any_box):
    program = Program("""
def sort(items): items.sort()
def empty(items):
    items.clear()
    return items
def grow(table, more=None):
    table["a"] = 1
    more += [2]
""")
    tests = Asked("""
items = [3, 1, 2]
assert sort(items) is None and items == [1, 2, 3]
assert empty(items) == [] and items == [1, 2, 3]
table = {}
assert grow(table, more=items) is None and table == {"a": 1} and items == [1, 2, 3, 2]
""")
    assert tried(program, tests, any_box, Limits()) == Verdict("passed")


def test_a_killed_host_leaves_nothing_behind(box):
    host = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from scaling_exp.sandbox import *; from scaling_exp.sandbox.choose import BOXES\n"
            "sleeping = Program('import time; time.sleep(600)')\n"
            f"tried(sleeping, Tests('assert f(1)'), BOXES['{box.name}'], Limits(wall_seconds=600))",
        ],
        cwd=ROOT,
    )
    try:
        assert wait_until(lambda: len(descendants(host.pid)) >= 2)
        left = descendants(host.pid)
        time.sleep(0.3)
        left |= descendants(host.pid)
        host.send_signal(signal.SIGKILL)
        host.wait()
        assert wait_until(lambda: not any(map(is_running, left)))
    finally:
        host.kill()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def descendants(pid):
    """Processes below a process."""
    found = set()
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, each.read_text().split()):
            found |= {child} | descendants(child)
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_runs_unprotected_unless_it_is_told_to(monkeypatch):
    monkeypatch.setattr("scaling_exp.sandbox.choose.why_not", lambda name: f"no {name} today")
    with pytest.raises(UserError, match=r"no bubblewrap today.*no restricted today.*=unprotected"):
        chosen("auto")
    with pytest.raises(UserError, match="no bubblewrap today"):
        chosen("bubblewrap")
    unprotected = chosen("unprotected")
    for program, found in {ADD: "passed", "def add(a, b): return 0": "failed"}.items():
        assert tried(Program(program), Asked(TESTS, "add"), unprotected, Limits()).found == found


@dataclass(frozen=True)
class Stuck(Unprotected):
    """A box that does not start."""

    def command(self, files, limits):  # noqa: ARG002 - as every box has it
        return ("false",)


def test_a_box_that_does_not_start_is_no_wrong_program():
    with pytest.raises(BoxError, match="does not start"):
        tried(Program(ADD), Asked(TESTS, "add"), Stuck(), Limits())


def test_limits_that_are_none_are_told():
    with pytest.raises(ValueError, match="memory_mib is 0"):
        Limits(memory_mib=0)
