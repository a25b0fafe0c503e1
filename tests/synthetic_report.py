"""A finished run made up for the report's tests: a ladder whose accuracy climbs, drawn from known
probabilities."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling_exp.analysis import Analysis, AnalysisSettings, Measured, analyse
from scaling_exp.analysis.answers import Answer, Plot, Series
from scaling_exp.types import Architecture, ModelFacts

HOSTILE = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2><!-- \u2028 -->"
)
SIZES = (40_000, 160_000, 640_000, 1_900_000, 5_200_000)
SKILLS = (-2.1, -0.9, 0.2, 1.3, 2.3)
NUM_SAMPLES = 32


def models() -> list[ModelFacts]:
    return [
        ModelFacts(
            name=f"ladder-{size / 1e6:.2f}M",
            architecture=Architecture(size, size, size - 9_000, 2 + at, 4, 16 * (at + 1)),
            pretraining_tokens=60_000_000 * (at + 1),
        )
        for at, size in enumerate(SIZES)
    ]


def problems(num_problems: int = 40) -> pd.DataFrame:
    rows = [
        {
            "problem": f"arithmetic-{at:04d}",
            "level": str(2 + at % 5),
            "prompt": f"Compute ({at} + 17) * {at % 9 + 2} - 4 <b>step by step</b>.",
            "answer": str((at + 17) * (at % 9 + 2) - 4),
        }
        for at in range(num_problems)
    ]
    return pd.DataFrame(rows)


def samples(problems: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """32 samples and one greedy answer of every model for every problem; the very first text is
    `HOSTILE`."""
    rng = np.random.default_rng(seed)
    ease = {
        name: rng.normal(0.2 - 0.8 * (int(level) - 4), 2.0)
        for name, level in zip(problems["problem"], problems["level"], strict=True)
    }
    rows = []
    for facts, skill in zip(models(), SKILLS, strict=True):
        for problem in problems.to_dict("records"):
            chance = 1 / (1 + np.exp(-(skill + ease[problem["problem"]])))
            for strategy, count in (("greedy", 1), ("parallel", NUM_SAMPLES)):
                for index in range(count):
                    right = rng.random() < (
                        chance if strategy == "parallel" else min(1, 1.1 * chance)
                    )
                    rows.append(_sample(rng, facts.name, strategy, problem, index, bool(right)))
    table = pd.DataFrame(rows)
    table.loc[table["strategy"].eq("parallel").idxmax(), "text"] = HOSTILE
    return table


def _sample(
    rng: np.random.Generator, model: str, strategy: str, problem: dict, index: int, right: bool
) -> dict[str, object]:
    truncated = not right and rng.random() < 0.08
    wrong = str(int(problem["answer"]) + int(rng.choice([1, 1, 1, 1, -10, 2, 10, 37])))
    answer = None if truncated else problem["answer"] if right else wrong
    steps = f"{problem['prompt'][8:]}\n= {rng.integers(100, 999)} - 4\n= {answer}"
    return {
        "model": model,
        "strategy": strategy,
        "problem": problem["problem"],
        "level": problem["level"],
        "sample": index,
        "answer": answer,
        "is_correct": right,
        "truncated": truncated,
        "num_prompt_tokens": 24,
        "num_cached_tokens": 0 if index == 0 else 16,
        "num_output_tokens": int(rng.integers(24, 70)),
        "text": steps,
        "seed": int(rng.integers(1 << 40)),
        "key": f"{model}/{strategy}/{problem['problem']}/{index}",
    }


def write_run(
    folder: pathlib.Path, samples: pd.DataFrame, problems: pd.DataFrame | None
) -> pathlib.Path:
    """The tables that a report reads, in a run folder."""
    run_dir = folder / "quickstart"
    run_dir.mkdir()
    samples.to_parquet(run_dir / "samples.parquet")
    if problems is not None:
        problems.to_parquet(run_dir / "problems.parquet")
    return run_dir


def manifest() -> dict[str, object]:
    """Complete but for the statistics of the largest model, which are partly missing."""
    generation = {
        facts.name: {
            "num_draws": 1320,
            "output_tokens": 61_400 + 1_000 * at,
            "wall_seconds": 4.1 * (at + 1),
            "tokens_per_second": 15_000 / (at + 1),
            "occupancy": 0.95 - 0.01 * at,
            "full_occupancy": 0.995 - 0.001 * at,
            "drain_share": 0.08,
            "queue_wait_seconds": 0.17,
            "prefix_cache_hit_rate": 0.66,
            "preemptions": 0,
            "load_seconds": 1.8,
        }
        for at, facts in enumerate(models())
    }
    generation[models()[-1].name] = {"num_draws": 1320, "wall_seconds": None}
    return {
        "run_id": "quickstart-3f9c2a",
        "created": "2026-11-23T23:40:00Z",
        "command": "python -m scaling_exp run +experiment=quickstart",
        "config": {
            "task": {"kind": "arithmetic", "num_problems": 40, "levels": [2, 3, 4, 5, 6]},
            "strategy": {"greedy": {"temperature": 0.0}, "parallel": {"num_samples": NUM_SAMPLES}},
            "analysis": {"confidence": 0.95, "num_bootstrap": 200},
        },
        "versions": {"python": "3.11.2", "vllm": "0.15.0", "scaling_exp": "0.1.0"},
        "git_commit": None,
        "hardware": {"cpu": "2 cores", "memory_gib": 23},
        "models": [
            {"name": facts.name, "pretraining_tokens": facts.pretraining_tokens}
            for facts in models()
        ],
        "task": {"kind": "arithmetic", "num_problems": 40},
        "generation": generation,
        "set_aside": [
            {
                "model": models()[-1].name,
                "problem": "arithmetic-0099",
                "reason": "ended an engine <x>",
            }
        ],
        "session": {
            "wall_seconds": 61.5,
            "seconds_to_first_draw": 11.9,
            "share_without_tokens": 0.237,
        },
    }


def analysis(samples: pd.DataFrame) -> Analysis:
    """The samples analysed, with two answers, a ledger and two changed assumptions made up."""
    settings = AnalysisSettings(num_bootstrap=200, queries=(1e2, 1e4, 1e6, 1e8, 1e10))
    found = analyse(Measured(models(), samples=samples), settings)
    verdict = {**found.verdict, "sensitivity": SENSITIVITY}
    return replace(found, verdict=verdict, answers=(coverage(), frontier()), ledger=ledger())


SENSITIVITY = [
    {
        "assumption": "answers are this long",
        "change": "answers are 10 times as long",
        "verdict": "cheaper up to 1.2 million queries (0.4-3.1 million)",
        "flips": False,
    },
    {
        "assumption": "picking an answer costs nothing",
        "change": "a verifier of the smaller model's size reads every sample <i>",
        "verdict": "cheaper at no number of queries",
        "flips": True,
    },
]


def ledger() -> pd.DataFrame:
    rows = []
    for at, facts in enumerate(models()):
        unit = 1e9 * facts.architecture.num_parameters
        parts = {"prefill": 1.0, "cached": 2.5, "decode": 8.0 - at, "forced": 0.0, "scorer": 0.6}
        spent = {name: unit * share for name, share in parts.items()}
        rows.append({"model": facts.name, **spent, "wasted": unit * 0.4, "num_draws": 1320})
    return pd.DataFrame(rows)


def coverage() -> Answer:
    """A law for every model: measured, held out, fitted and extrapolated, each with bounds."""
    inside, beyond = 2.0 ** np.arange(6), 2.0 ** np.arange(5, 11)
    series = []
    for at, facts in enumerate(models()):
        law = lambda k, at=at: 1 - 0.75 * k ** (-0.12 * (at + 1))  # noqa: E731
        for style, k in (
            ("measured", inside[:4]),
            ("held_out", inside[4:]),
            ("fitted", inside[:5]),
            ("extrapolated", beyond),
        ):
            spread = 0.01 + 0.02 * np.log2(k) / 5
            series.append(
                Series(
                    name=facts.name,
                    x=k.tolist(),
                    y=law(k).tolist(),
                    style=style,  # type: ignore[arg-type]
                    low=(law(k) - spread).tolist(),
                    high=np.minimum(1, law(k) + spread).tolist(),
                    model=facts.name,
                )
            )
    fits = pd.DataFrame(
        {
            "model": [facts.name for facts in models()],
            "law": ["power law", "beta-binomial", HOSTILE, "scaled beta", "power law"],
            "exponent": [0.12, 0.24, 0.36, np.nan, 0.6],
            "exponent_low": [0.1, 0.2, 0.31, np.nan, 0.5],
            "exponent_high": [0.14, 0.3, 0.4, np.nan, np.inf],
            "held_out_error_share": [0.01, 0.02, 0.013, np.nan, 0.3],
            "is_best": [True, False, True, False, True],
        }
    )
    plot = Plot(
        name="coverage",
        title="Coverage and its laws",
        caption="Laws are fitted to the smaller ks and judged by the larger ones.",
        x_label="samples a query, k",
        y_label="coverage, pass@k",
        series=series,
        is_log_x=True,
    )
    return Answer(
        name="laws",
        question="Which law does coverage follow?",
        sentences=(
            "Coverage follows a power law with exponent 0.36 (95 % interval 0.31-0.40).",
            "No law is trusted beyond 32 times the samples that were drawn.",
        ),
        plots=(plot,),
        tables={"fits": fits},
        assumptions=("Problems are alike.", "Samples are independent <script>."),
        numbers={"exponent": 0.36},
    )


def frontier() -> Answer:
    """Lines that belong to no model, more points than are drawn, hostile words."""
    x = np.geomspace(1e-3, 1e2, 3000)
    plot = Plot(
        name="price",
        title="Quality <b>and</b> price",
        caption="Cheapest first.",
        x_label="US dollars a query",
        y_label="accuracy",
        series=(
            Series("several answers", x.tolist(), (1 - 0.5 / (1 + x)).tolist(), "measured"),
            Series(HOSTILE, [0.01, 1.0, 20.0], [0.4, 0.6, 0.9], "held_out"),
        ),
        is_log_x=True,
    )
    return Answer("quality_price", "What does quality cost?", ("The data cannot tell.",), (plot,))
