"""What every contestant shares: the problems, the engine's settings, an OpenAI-compatible server and the grader.

Knows no contestant. A contestant is a script with one function `draw(setup) -> Drawn`, run in a fresh process by
`contest(draw)`, which grades what it drew. Imports nothing heavy: start-up is part of what is compared.
"""

from __future__ import annotations

import atexit
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import comb
from pathlib import Path
from statistics import mean
from urllib.error import URLError

import yaml

from scaling_exp.tasks.arithmetic import Level, SumsAndProducts
from scaling_exp.types import Problem
from scaling_exp.votes import count_votes, winners

ROOT = Path(__file__).parents[2]
LADDER = ROOT / "scaling_exp" / "ladders" / "arithmetic"

MAX_TOKENS = 38  # conf/experiment/quickstart.yaml
TEMPERATURE = 1.0
STOP = "."  # the model's end-of-sequence token, which every tool leaves out of the text
MAX_NUM_SEQS = 256
ENGINE: dict[str, object] = {
    "dtype": "float32",
    "max_num_seqs": MAX_NUM_SEQS,
    "max_num_batched_tokens": 32768,  # holds every prompt whole: see conf/engine/vllm_cpu.yaml
    "kv_cache_memory_bytes": 256 << 20,
    "enforce_eager": True,
    "enable_prefix_caching": True,
}
"""vLLM's EngineArgs, those of conf/engine/vllm_cpu.yaml, for all contestants."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": str(ROOT),
}
"""Of every contestant's process: one single-threaded engine, nothing fetched."""

START_SECONDS = 180.0


@dataclass(frozen=True)
class Setup:
    """What to draw, and the folder that the contestant may write to."""

    model: str
    num_problems: int
    num_samples: int
    folder: str

    @property
    def model_path(self) -> str:
        """The last checkpoint of that size."""
        checkpoints = json.loads((LADDER / "ladder.json").read_text())["checkpoints"]
        names = [each["name"] for each in checkpoints if each["size"] == self.model]
        if not names:
            sizes = dict.fromkeys(each["size"] for each in checkpoints)
            raise SystemExit(f"--model is {self.model!r}; it is one of {', '.join(sizes)}")
        return str(LADDER / names[-1])

    @property
    def ks(self) -> tuple[int, ...]:
        """1, 2, 4 .. num_samples."""
        return tuple(2**power for power in range(self.num_samples.bit_length()))

    @cached_property
    def task(self) -> SumsAndProducts:
        """The task of conf/task/arithmetic.yaml with our number of problems."""
        content = yaml.safe_load((ROOT / "conf" / "task" / "arithmetic.yaml").read_text())
        levels = {name: Level(**level) for name, level in content["levels"].items()}
        return SumsAndProducts(self.num_problems, content["seed"], content["modulus"], levels)

    @cached_property
    def problems(self) -> Sequence[Problem]:
        return self.task.problems()


Texts = dict[str, list[str]]
"""Problem name -> completions in the order of their samples, without the stop token."""


@dataclass(frozen=True)
class Drawn:
    """What a contestant drew. `drawing_seconds` is from first request to last answer; `*_at` is `time.time()`."""

    texts: Texts
    drawing_seconds: float
    first_result_at: float


@dataclass(frozen=True)
class Score:
    """What a contestant is compared by. `scored_at` is `time.time()`."""

    output_tokens: int
    tokens_per_second: float
    num_samples: int
    num_distinct: int
    first_result_at: float
    scored_at: float
    majority: dict[int, float]
    """k -> accuracy of the vote of the first k samples, ties shared."""
    solved: dict[int, float]
    """k -> pass@k, unbiased (Chen et al. 2021, arXiv 2107.03374, equation 1), where all problems have k samples."""


def contest(draw: Callable[[Setup], Drawn]) -> None:
    """Run one contestant: `python CONTESTANT.py SETUP_JSON SCORE_FILE`."""
    setup = Setup(**json.loads(sys.argv[1]))
    result = score(setup, draw(setup))
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)))


def score(setup: Setup, drawn: Drawn) -> Score:
    """Grade all samples: the same for everybody."""
    answers = [
        [read(setup.task, text) for text in drawn.texts[problem.name]] for problem in setup.problems
    ]
    num_tokens = sum(num_output_tokens(text) for texts in drawn.texts.values() for text in texts)
    pairs = list(zip(setup.problems, answers, strict=True))
    return Score(
        output_tokens=num_tokens,
        tokens_per_second=num_tokens / drawn.drawing_seconds,
        num_samples=sum(map(len, drawn.texts.values())),
        num_distinct=sum(len(set(texts)) for texts in drawn.texts.values()),
        first_result_at=drawn.first_result_at,
        majority={k: mean(majority_at(each, right, k) for right, each in pairs) for k in setup.ks},
        solved={
            k: mean(pass_at(each, right, k) for right, each in pairs)
            for k in setup.ks
            if all(k <= len(each) for each in answers)
        },
        scored_at=time.time(),
    )


def num_output_tokens(text: str) -> int:
    """A word is a token; fewer than the most that were allowed end with the stop token."""
    return min(MAX_TOKENS, len(text.split()) + 1)


def read(task: SumsAndProducts, text: str) -> str | None:
    """The answer of a completion; None when it was cut off or cannot be parsed."""
    is_finished = len(text.split()) < MAX_TOKENS
    return task.read(f"{text} {STOP}") if is_finished else None


def majority_at(answers: Sequence[str | None], problem: Problem, k: int) -> float:
    """Share of the elected answers that are right, in a vote of the first k samples."""
    elected = winners(count_votes(answers[:k]))
    return mean(answer == problem.answer for answer in elected) if elected else 0.0


def pass_at(answers: Sequence[str | None], problem: Problem, k: int) -> float:
    """Chance that k of the samples, taken without replacement, hold a right one."""
    num_wrong = sum(answer != problem.answer for answer in answers)
    return 1 - comb(num_wrong, k) / comb(len(answers), k)


def start_server(setup: Setup) -> str:
    """vLLM's OpenAI-compatible server, stopped when this process ends; its address once it answers.

    `python -m` because the `vllm` command is broken under the name vllm-cpu.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = Path(setup.folder) / "server.log"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", setup.model_path, "--served-model-name", setup.model),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--disable-log-stats", "--disable-uvicorn-access-log"),
        *flags(ENGINE),
    ]
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    atexit.register(stop_server, server)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while not is_up(f"{url}/health"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start; see {log}")
        time.sleep(0.1)
    return url


def flags(arguments: dict[str, object]) -> list[str]:
    """Keyword arguments in the form of a command line."""
    words = []
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return words


def is_up(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (URLError, OSError):
        return False


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """End the server, which ends its engine core."""
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
