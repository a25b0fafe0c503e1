"""What `submit` costs over `run`: both of a run that has nothing left to draw, in turn.

    ray start --head --include-dashboard=true
    python scripts/submit_overhead.py +experiment=quickstart store=$PWD/runs cluster=ray

The difference is the working directory, Ray's start of the job and the way of its log: the run itself is the same.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

REPEATS = 3


def main() -> None:
    """Print seconds of both and their difference."""
    overrides = sys.argv[1:]
    seconds_of("submit", overrides)  # draws what is missing
    seconds: dict[str, list[float]] = {"run": [], "submit": []}
    for _ in range(REPEATS):
        for verb, measured in seconds.items():
            measured.append(seconds_of(verb, overrides))
    for verb, measured in seconds.items():
        print(f"{verb:>8}  {median(measured):6.1f} s  of {', '.join(f'{s:.1f}' for s in measured)}")
    print(f"overhead  {median(seconds['submit']) - median(seconds['run']):5.1f} s")


def seconds_of(verb: str, overrides: list[str]) -> float:
    """Of one command to its end."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "scaling_exp", verb, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
