"""The fault campaign in small: processes with the real dispatcher, journal and pool, killed at random moments."""

import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT


@pytest.mark.slow
def test_random_kills_lose_and_double_nothing():
    command = [sys.executable, "scripts/fault_campaign.py", "--kills", "6", "--real", "0"]
    done = subprocess.run(
        [*command, "--seed", "1"],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 draws doubled, 0 runs whose tables differ" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    num_kills, num_acknowledged, num_lost = (int(cell.replace(",", "")) for cell in rows[-1][-3:])
    assert num_kills >= 6
    assert num_acknowledged > 1000
    assert num_lost == 0
