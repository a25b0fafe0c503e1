"""Benchmarks that anyone can run: `python -m scaling_exp bench NAME`. `kind:` chooses from `BENCHES`."""

from scaling_exp.bench.engine import EngineBench
from scaling_exp.bench.result import Result, Setup

BENCHES = {"engine": EngineBench}

__all__ = ["BENCHES", "Result", "Setup"]
