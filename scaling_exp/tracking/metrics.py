"""The names of all that is logged, in one place.

A metric is `group/name`. Every cost stands beside its log10, since an axis can be chosen in any panel and a logarithm
only in some.
"""

from __future__ import annotations

ACCURACY, LOW, HIGH = "accuracy/estimate", "accuracy/low", "accuracy/high"
SAMPLES = "cost/samples"
COMPUTE = "cost/log10_inference_flops"
SECONDS = "sampling/seconds"
DRAWS, PROBLEMS = "sampling/draws", "sampling/problems"
OUTPUT_TOKENS, REFUSED = "sampling/output_tokens", "sampling/refused"
IN_FLIGHT, REPLICAS = "sampling/in_flight", "sampling/replicas"
OCCUPANCY, THROUGHPUT = "sampling/occupancy", "sampling/tokens_per_second"


def cost(axis: str) -> str:
    """A cost of a query along one of the axes of the curves table."""
    return f"cost/{axis}"


def log10_cost(axis: str) -> str:
    """Its logarithm."""
    return f"cost/log10_{axis}"


def lifetime(num_queries: float) -> str:
    """The axis of total compute, pre-training and so many queries together, in FLOPs."""
    return f"total_flops_{num_queries:.0e}_queries"


def frontier(num_queries: float, name: str) -> str:
    """What nothing beats at so many queries: `estimate`, `low` and `high` of its accuracy, or `log10_total_flops`."""
    return f"frontier_{num_queries:.0e}/{name}"


def exchange(selector: str, name: str) -> str:
    """Factor of pre-training compute that ten times the inference compute replaces: `estimate`, `low`, `high`."""
    return f"exchange_{selector}/{name}"


def throughput(model: str) -> str:
    """Output tokens a second of one model."""
    return f"tokens_per_second/{model}"
