"""A watchdog ends what carries its parent's mark, and nothing else, once the parent is dead."""

import os
import signal
import subprocess
import sys

import psutil

PARENT = """
import os, subprocess, sys, time
from scaling_exp.watchdog import MARK, guard
guard("test-mark")
sleep = [sys.executable, "-c", "import time; time.sleep(100)"]
marked = subprocess.Popen(sleep, env={**os.environ, MARK: "test-mark"}, start_new_session=True)
other = subprocess.Popen(sleep, env={**os.environ, MARK: "another"}, start_new_session=True)
print(marked.pid, other.pid, flush=True)
time.sleep(100)
"""


def test_after_sigkill_of_the_parent_what_it_marked_is_ended_and_nothing_else():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    marked, other = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
    watchdogs = [
        each for each in psutil.Process(parent.pid).children() if each not in (marked, other)
    ]
    assert len(watchdogs) == 1
    assert marked.is_running()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([marked], timeout=5)
    assert gone == [marked]
    assert other.is_running()
    other.kill()
