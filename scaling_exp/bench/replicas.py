"""Engines side by side: ours under Ray, journal included, over one bare `LLM.generate` and over as many bare ones.

The bare ones are processes of their own with a share of the requests each and nothing else to do, so they are the most
that the machine gives. Loading is not counted: the clock runs while every replica holds the model.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path as FilePath
from statistics import median
from time import perf_counter
from typing import Any

from scaling_exp.bench.engine import prepared, raw_requests
from scaling_exp.bench.result import Result, Row, Setup, alternate, check_positive
from scaling_exp.cluster import Cluster, node_resources, num_fitting
from scaling_exp.dispatch import Dispatch, Event, Job
from scaling_exp.engines import VLLM
from scaling_exp.models import Model
from scaling_exp.store import RunFolder
from scaling_exp.strategies import ParallelSampling
from scaling_exp.tasks import Task
from scaling_exp.types import Sampling, Tokens, UserError
from scaling_exp.worker import Work


@dataclass(frozen=True)
class ReplicasBench:
    """`num_problems` x `num_samples` draws on each path and round; as many engines as `engine.replicas` or cores."""

    model: str
    num_problems: int
    num_samples: int
    max_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        check_positive(self, *vars(self).keys() - {"model"})

    def run(self, setup: Setup) -> Result:
        """Raises UserError when the ladder has no such model or the engine is not vLLM."""
        config = prepared(setup)
        cluster = Cluster(address=None, num_cpus=None)
        cluster.connect()
        cluster.check(config)
        at_most = config.replicas or len(os.sched_getaffinity(0))
        num_replicas = num_fitting(config.bundles, node_resources(), at_most)
        engine = replace(config, replicas=num_replicas)
        problems = setup.task.problems()
        model = setup.model(self.model)
        encoded = model.prompts(problems)
        prompts = [encoded[at % len(encoded)] for at in range(self.num_problems)]
        strategy = ParallelSampling(self.num_samples, Sampling(max_tokens=self.max_tokens))
        speeds = self._alternated(Side(engine, setup.task, model, prompts, strategy), num_replicas)
        return self._result(speeds, num_replicas)

    def _alternated(self, side: Side, num_replicas: int) -> dict[str, list[float]]:
        together = f"{num_replicas} bare"
        speeds: dict[str, list[float]] = {"1 bare": [], together: [], "scaling_exp": []}
        bare = [Bare(side.engine, side.model) for _ in range(num_replicas)]
        try:
            for index, path in alternate(self.rounds, tuple(speeds)):
                if path == "scaling_exp":
                    speed = side.ours() if index else 0.0
                else:
                    speed = side.bare(bare[:1] if path == "1 bare" else bare)
                if index:
                    speeds[path].append(speed)
        finally:
            for each in bare:
                each.close()
        return speeds

    def _result(self, speeds: dict[str, list[float]], num_replicas: int) -> Result:
        one = median(speeds["1 bare"])
        rows: list[Row] = [
            {"path": path, "tokens/s": median(each), "over 1 bare": median(each) / one}
            for path, each in speeds.items()
        ]
        share = median(speeds["scaling_exp"]) / median(speeds[f"{num_replicas} bare"])
        note = f"bare: LLM.generate in a process of its own. Ours over as many bare: {share:.3f}; {self.rounds} rounds"
        return Result(f"{num_replicas} replicas, model {self.model}", tuple(rows), (note,))


@dataclass(frozen=True)
class Side:
    """The same requests for whoever draws them."""

    engine: VLLM
    task: Task
    model: Model
    prompts: Sequence[Tokens]
    strategy: ParallelSampling

    def bare(self, processes: Sequence[Bare]) -> float:
        """Output tokens a second of processes that share the requests out evenly."""
        shares = [self.prompts[at :: len(processes)] for at in range(len(processes))]
        started = perf_counter()
        for process, share in zip(processes, shares, strict=True):
            process.begin(share, self.strategy)
        num_tokens = sum(process.finish() for process in processes)
        return num_tokens / (perf_counter() - started)

    def ours(self) -> float:
        """Output tokens a second of a run's dispatcher, workers and journal, once all replicas hold the model."""
        jobs = [
            Job(self.model.name, str(at), f"bench/{at}", prompt, ("it",), self.strategy.num_samples)
            for at, prompt in enumerate(self.prompts)
        ]
        cluster = Cluster(address=None, num_cpus=None)
        progress = Progress(self.engine.replicas or 1)
        work = Work(self.engine, {"it": self.strategy}, self.task)
        with (
            tempfile.TemporaryDirectory() as folder,
            RunFolder(FilePath(folder) / "bench").journal(frozenset()) as journal,
        ):
            dispatch = Dispatch(
                models={self.model.name: self.model},
                replicas=partial(cluster.replicas, work),
                with_known=list,
                on_draws=journal.append,
                on_event=progress.note,
            )
            asyncio.run(dispatch.run(jobs))
        return progress.tokens_per_second


@dataclass
class Progress:
    """Output tokens and the time since the last replica had loaded."""

    num_replicas: int
    loaded: set[int] = field(default_factory=set)
    started: float = 0.0
    last: float = 0.0
    num_tokens: int = 0

    def note(self, event: Event) -> None:
        """Called by the dispatcher."""
        self.last = perf_counter()
        if len(self.loaded) == self.num_replicas:
            self.num_tokens += event.report.num_output_tokens
        elif event.replica not in self.loaded:
            self.loaded.add(event.replica)
            self.started = self.last

    @property
    def tokens_per_second(self) -> float:
        if not self.num_tokens:
            raise UserError(
                "the draws were made before all replicas had loaded: raise bench.num_problems"
            )
        return self.num_tokens / (self.last - self.started)


class Bare:
    """A process with one `vllm.LLM` that generates what it is sent."""

    def __init__(self, engine: VLLM, model: Model) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(engine, model, theirs), daemon=True)
        self.process.start()
        assert self.connection.recv() == "ready"

    def begin(self, prompts: Sequence[Tokens], strategy: ParallelSampling) -> None:
        self.connection.send((prompts, strategy))

    def finish(self) -> int:
        """Output tokens of what was begun."""
        return self.connection.recv()

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


def _serve(engine: VLLM, model: Model, connection: Connection) -> None:
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "OMP_NUM_THREADS": str(engine.num_cpus),
    }
    import torch
    from vllm import LLM

    torch.set_num_threads(engine.num_cpus)
    llm: Any = LLM(**engine.engine_arguments(model))
    connection.send("ready")
    while True:
        prompts, strategy = connection.recv()
        requests, parameters = raw_requests(model, prompts, strategy)
        outputs = llm.generate(requests, parameters, use_tqdm=False)
        connection.send(sum(len(output.outputs[0].token_ids) for output in outputs))
