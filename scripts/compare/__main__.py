"""scaling_exp against the tools that people draw samples with: same model, prompts, samples and engine settings.

    python scripts/compare [--model 112K] [--problems 50] [--samples 64] [--rounds 2] [--only NAME ...]

Every contestant runs in a fresh process, alternated by round. Prints the medians, each with the ratio ours / theirs,
and writes them with all rounds to a JSON file. scripts/compare/README.md says what each contestant is, what was set and
how to install it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from shared import ENGINE, ENVIRONMENT, ROOT, Setup

from scaling_exp.environment import describe_environment

HERE = Path(__file__).parent
RIVALS_PYTHON = ROOT.parent / "rivals" / "bin" / "python"
OURS = "scaling_exp"
ADAPTIVE = "scaling_exp_adaptive"
LIMIT_SECONDS = 300.0
"""A contestant that takes longer is ended."""


@dataclass(frozen=True)
class Contestant:
    """A script, its arguments, and the module that it needs from the environment of the rivals."""

    script: str
    arguments: tuple[str, ...] = ()
    needs: str = ""


CONTESTANTS = {
    OURS: Contestant("ours.py", ("sampling",)),
    ADAPTIVE: Contestant("ours.py", ("adaptive",)),
    "blocking_loop": Contestant("blocking_loop.py"),
    "openai_fanout": Contestant("openai_fanout.py"),
    "ray_data_llm": Contestant("ray_data_llm.py"),
    "lm_eval_vllm": Contestant("lm_eval_vllm.py", needs="lm_eval"),
    "lm_eval_api": Contestant("lm_eval_api.py", ("seeded",), needs="lm_eval"),
    "lm_eval_api_unseeded": Contestant("lm_eval_api.py", ("unseeded",), needs="lm_eval"),
}

Figures = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """A column: its key in the figures, its heading and whether more is better."""

    key: str
    heading: str
    is_more_better: bool


METRICS = (
    Metric("tokens_per_second", "output tokens/s\nwhile drawing", True),
    Metric("makespan_seconds", "start to scored\nresult, s", False),
    Metric("first_result_seconds", "start to first\nresult, s", False),
    Metric("output_tokens", "tokens drawn for\nk = 1, 2, 4 ..", False),
    Metric("num_distinct", "distinct\noutputs", True),
)


def main() -> None:
    options = parse()
    setup = Setup(options.model, options.problems, options.samples, "")
    names = options.only or list(CONTESTANTS)
    present = [name for name in names if is_present(name, options.rivals_python)]
    rounds: dict[str, list[Figures]] = {name: [] for name in present}
    # As pip does with packages, those of the rivals among them.
    compileall.compile_dir(ROOT / "scaling_exp", quiet=1)
    for index in range(options.rounds):
        for name in present if index % 2 == 0 else present[::-1]:
            figures = measure(name, setup, options.rivals_python, options.keep)
            if figures is not None:
                rounds[name].append(figures)
                print(f"round {index + 1}: {name}: {line(figures)}", file=sys.stderr, flush=True)
    medians = {name: middle(each) for name, each in rounds.items() if each}
    if not medians:
        raise SystemExit("no contestant gave a result")
    environment = describe_environment()
    show(setup, medians, environment["hardware"])
    if OURS in medians and ADAPTIVE in medians:
        print(agreement(setup, medians[OURS], medians[ADAPTIVE]))
    content = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join(["python", *sys.argv]),
        "setup": {key: value for key, value in asdict(setup).items() if key != "folder"},
        "engine": ENGINE,
        "environment_variables": {k: v for k, v in ENVIRONMENT.items() if k != "PYTHONPATH"},
        "rival_versions": rival_versions(options.rivals_python),
        **environment,
        "medians": medians,
        "ratios_ours_to_theirs": ratios(medians),
        "rounds": rounds,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written to {options.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python scripts/compare", description=__doc__)
    parser.add_argument("--model", default="112K", help="size in the shipped ladder")
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("outputs/compare.json"))
    parser.add_argument("--keep", type=Path, help="folder in which the contestants' files stay")
    parser.add_argument(
        "--rivals-python", type=Path, default=RIVALS_PYTHON, help="see scripts/compare/README.md"
    )
    return parser.parse_args()


def is_present(name: str, rivals_python: Path) -> bool:
    """Whether a contestant can run; says how to get it if not."""
    needs = CONTESTANTS[name].needs
    if not needs:
        return True
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needs!r}) is None)"
    if rivals_python.exists() and subprocess.call([rivals_python, "-c", probe]) == 0:
        return True
    print(
        f"{name} is skipped: {rivals_python} has no {needs}; scripts/compare/README.md has the commands"
        " that install it",
        file=sys.stderr,
    )
    return False


def measure(name: str, setup: Setup, rivals_python: Path, keep: Path | None) -> Figures | None:
    """Run a contestant once; None, with the end of its log, when it fails."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"{name}-", dir=keep)
    contestant = CONTESTANTS[name]
    python = rivals_python if contestant.needs else sys.executable
    score_file, log = Path(folder) / "score.json", Path(folder) / "log.txt"
    given = json.dumps(asdict(setup) | {"folder": folder})
    command = [python, HERE / contestant.script, given, score_file, *contestant.arguments]
    started = time.time()
    status = run(command, folder, log)
    if status or not score_file.exists():
        tail = "\n".join(log.read_text().splitlines()[-5:])
        print(f"{name} failed ({status}); its files are in {folder}:\n{tail}", file=sys.stderr)
        return None
    score = json.loads(score_file.read_text())
    figures = {metric.key: score[metric.key] for metric in METRICS if metric.key in score}
    return figures | {
        "makespan_seconds": score["scored_at"] - started,
        "first_result_seconds": score["first_result_at"] - started,
        "num_samples": score["num_samples"],
        **{f"maj@{k}": value for k, value in score["majority"].items()},
        **{f"pass@{k}": value for k, value in score["solved"].items()},
    }


def run(command: Sequence[str | Path], folder: str, log: Path) -> int | str:
    """Run a command; its exit status, or that it took too long. Nothing that it started is left."""
    environment = os.environ | ENVIRONMENT
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return process.wait(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"ended after {LIMIT_SECONDS:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def middle(rounds: Sequence[Figures]) -> Figures:
    """Medians over rounds."""
    return {key: median(each[key] for each in rounds) for key in rounds[0]}


def ratios(medians: Mapping[str, Figures]) -> dict[str, Figures]:
    """Ours / theirs, for every metric."""
    if OURS not in medians:
        return {}
    ours = medians[OURS]
    return {
        name: {metric.key: ours[metric.key] / theirs[metric.key] for metric in METRICS}
        for name, theirs in medians.items()
    }


def line(figures: Figures) -> str:
    """One run in one line."""
    return ", ".join(f"{metric.key} {figures[metric.key]:,.1f}" for metric in METRICS)


def show(setup: Setup, medians: Mapping[str, Figures], hardware: Mapping[str, object]) -> None:
    """The table: medians and, in brackets, ours / theirs."""
    by_name = ratios(medians)
    last = setup.ks[-1]
    table = Table(
        title=f"{setup.model}, {setup.num_problems} problems, {setup.num_samples} samples each;"
        f" {hardware['num_cpus']} cores, {hardware['processor']}; medians (ours / theirs)",
        title_justify="left",
    )
    table.add_column("contestant")
    for metric in METRICS:
        table.add_column(
            f"{metric.heading}\n{'more' if metric.is_more_better else 'less'} is better"
        )
    table.add_column(f"maj@{last}\npass@{last}")
    for name, figures in medians.items():
        cells = []
        for metric in METRICS:
            ratio = by_name.get(name, {}).get(metric.key)
            shown = f"{figures[metric.key]:,.{0 if figures[metric.key] > 1000 else 1}f}"
            cells.append(shown if ratio is None or name == OURS else f"{shown} ({ratio:.2f})")
        accuracies = [figures.get(f"{kind}@{last}") for kind in ("maj", "pass")]
        shown = "\n".join("-" if each is None else f"{each:.1%}" for each in accuracies)
        table.add_row(name, *cells, shown)
    Console(width=150).print(table)


def agreement(setup: Setup, sampling: Figures, adaptive: Figures) -> str:
    """Whether fewer samples elected the same: the claim behind the line of adaptive voting."""
    differing = [k for k in setup.ks if sampling[f"maj@{k}"] != adaptive[f"maj@{k}"]]
    if differing:
        return f"{ADAPTIVE} differs from {OURS} in maj@k for k = {', '.join(map(str, differing))}"
    return f"{ADAPTIVE} has the maj@k of {OURS} at every k"


def rival_versions(rivals_python: Path) -> dict[str, str]:
    """Versions of what only the rivals use."""
    code = (
        "import json; from importlib.metadata import distributions;"
        "print(json.dumps({d.name: d.version for d in distributions()"
        " if d.name in ('lm_eval', 'openai', 'requests')}))"
    )
    python = rivals_python if rivals_python.exists() else Path(sys.executable)
    return json.loads(subprocess.check_output([python, "-c", code], text=True))


if __name__ == "__main__":
    main()
