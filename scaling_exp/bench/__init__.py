"""Benchmarks that anyone can run: `python -m scaling_exp bench NAME`. `kind:` chooses from `BENCHES`."""

from scaling_exp.bench.analysis import AnalysisBench
from scaling_exp.bench.block import BlockBench
from scaling_exp.bench.coverage import CoverageBench
from scaling_exp.bench.dispatch import DispatchBench
from scaling_exp.bench.engine import EngineBench
from scaling_exp.bench.grading import GradingBench
from scaling_exp.bench.preemption import PreemptionBench
from scaling_exp.bench.replicas import ReplicasBench
from scaling_exp.bench.result import Bench, Benchmark, Result, Setup
from scaling_exp.bench.schedule import ScheduleBench
from scaling_exp.bench.store import StoreBench
from scaling_exp.bench.tracking import TrackingBench

BENCHES: dict[str, type[Bench]] = {
    "engine": EngineBench,
    "replicas": ReplicasBench,
    "block": BlockBench,
    "preemption": PreemptionBench,
    "schedule": ScheduleBench,
    "dispatch": DispatchBench,
    "store": StoreBench,
    "analysis": AnalysisBench,
    "coverage": CoverageBench,
    "grading": GradingBench,
    "tracking": TrackingBench,
}

__all__ = ["BENCHES", "Bench", "Benchmark", "Result", "Setup"]
