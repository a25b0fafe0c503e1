"""Ray: a placement group and an actor for every engine replica, as many as the cluster has room for.

The driver makes and removes all placement groups: one made inside an actor outlives it. While a run may use more
replicas one placement group is always waiting, so a node that joins is put to work as soon as Ray says that it fits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Thread, current_thread, main_thread
from typing import Any
from unittest.mock import patch

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from scaling_exp.dispatch import Job, ReplicaDied, Report, StartFailed
from scaling_exp.engines import VLLM, EngineConfig
from scaling_exp.models import Model
from scaling_exp.types import UserError
from scaling_exp.watchdog import MARK, end_as_interrupted, guard, new_mark
from scaling_exp.worker import Work, Worker

REACH_SECONDS = 10.0
POLL_SECONDS = 0.2
"""Between looks at the placement groups that wait for room."""
POLLED_AT_ONCE = 16
GPU_GIB = {
    "T4": 16,
    "A10G": 24,
    "L4": 24,
    "V100": 32,
    "L40S": 48,
    "A100": 80,
    "H100": 96,
    "RTX-PRO-6000": 96,
    "H20": 141,
    "H200": 141,
    "B200": 192,
    "GB200": 192,
    "AMD-Instinct-MI300X-OAM": 192,
    "B300": 288,
    "GB300": 288,
}
"""Memory of the largest card that goes by each of Ray's names."""
GIB = 1 << 30
ACCELERATOR = "accelerator_type:"
"""What Ray's resource of a kind of GPU begins with."""
NOT_BUGS = (ValueError, OSError, RuntimeError, MemoryError, ImportError)
"""What libraries raise when weights, settings and machine do not go together."""

Bundles = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Cluster:
    """Where replicas run. `address` is Ray's; null starts a local Ray with `num_cpus` (null: all)."""

    address: str | None
    num_cpus: int | None

    def connect(self) -> None:
        """Start or join Ray; does nothing when this process is in one already."""
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not self.address:
            mark = new_mark()
            guard(mark)
            # Ray's daemons inherit the mark, and theirs from them.
            with patch.dict(os.environ, {MARK: mark}):
                ray.init("local", num_cpus=self.num_cpus, include_dashboard=False, **quiet)
        else:
            self._join(quiet)
        if current_thread() is main_thread():
            end_as_interrupted()

    def _join(self, quiet: Mapping[str, Any]) -> None:
        try:
            _reach(self.address or "")
            ray.init(self.address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"cluster.address is {self.address}, and no Ray answers there ({_one_line(error)}):"
                " start it (`ray start --head`), give its address, or use cluster=local"
            ) from error

    def leave(self) -> None:
        """End a local Ray beside what comes next: it takes seconds. Of one that was joined nothing has to end."""
        if not self.address:
            Thread(target=ray.shutdown, name="end of Ray").start()

    def check(self, engine: EngineConfig) -> None:
        """Raise UserError when not even one replica fits."""
        nodes = node_resources()
        if not num_fitting(engine.bundles, nodes, 1):
            raise UserError(_does_not_fit(engine.bundles, nodes))

    def check_memory(
        self, engine: EngineConfig, models: Sequence[Model], scorer: Model | None = None
    ) -> None:
        """Raise UserError when the weights of a model, and of the scorer beside it, are more than the GPUs of one
        replica hold for sure beside the KV caches that are asked for.

        Nothing is checked without GPUs, or where there is one of a kind that is not known.
        """
        num_gpus = sum(bundle.get("GPU", 0.0) for bundle in engine.bundles)
        room = num_gpus * largest_gpu_gib(node_resources())
        if not num_gpus:
            return
        if scorer is not None:
            _check_share(engine, scorer)
        for model in models:
            held = [model] if scorer is None else [model, scorer]
            weights = [each.least_bytes / GIB for each in held]
            caches = len(held) * _kv_cache_gib(engine)
            if sum(weights) + caches > room:
                parts = [f"{weights[0]:.1f} GiB of weights"]
                parts += [f"its scorer {each.name} {weights[1]:.1f} GiB" for each in held[1:]]
                parts += [f"{caches:.1f} GiB are for KV caches"] if caches else []
                raise UserError(
                    f"model {model.name} has {', '.join(parts)}, and the {num_gpus:g} GPUs of a replica hold {room:g}"
                    " GiB: raise engine.tensor_parallel or engine.pipeline_parallel, or leave the model out"
                )

    async def replicas(self, work: Work, at_most: int) -> AsyncIterator[RayReplica]:
        """Replicas to start: as many as fit, another whenever there is room, and never more at once than wanted."""
        bundles = work.engine.bundles
        limit = min(at_most, work.engine.replicas or at_most)
        waiting = [_reserve(bundles) for _ in range(num_fitting(bundles, node_resources(), limit))]
        in_use: set[PlacementGroup] = set()
        try:
            while True:
                for group in filter(_is_ready, waiting[:POLLED_AT_ONCE]):
                    waiting.remove(group)
                    in_use.add(group)
                    yield RayReplica(work, group, in_use.discard)
                if not waiting and len(in_use) < limit:
                    waiting.append(_reserve(bundles))
                if not in_use:
                    await _check_that_ray_lives()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            for group in waiting:
                remove_placement_group(group)


class RayReplica:
    """A worker in an actor of its own, in a placement group of its own. See `dispatch.Replica`."""

    def __init__(
        self, work: Work, group: PlacementGroup, on_close: Callable[[PlacementGroup], None]
    ) -> None:
        self.work = work
        self.group = group
        self.on_close = on_close
        self.actor: Any = None
        self.node = ("", 0)

    async def start(self) -> None:
        self.node = _address_of_node(self.group)
        self.actor = _actor_class().options(**self._options()).remote(self.work)
        await self._begin("start")

    async def hold(self, model: Model, following: Model | None = None) -> int:
        return await self._begin("hold", model, following)

    async def exchange(self, jobs: Sequence[Job], seconds: float) -> Report:
        return await self._call("exchange", jobs, seconds)

    async def release(self, model: str, num_draws: int) -> list[str]:
        return await self._call("release", model, num_draws)

    def close(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)
        remove_placement_group(self.group)
        self.on_close(self.group)

    async def _begin(self, method: str, *arguments: object) -> Any:
        try:
            return await self._call(method, *arguments)
        except RayTaskError as error:
            if not isinstance(error.cause, NOT_BUGS):
                raise
            raise StartFailed(_one_line(error.cause)) from error

    async def _call(self, method: str, *arguments: object) -> Any:
        try:
            return await getattr(self.actor, method).remote(*arguments)
        except RayTaskError:
            raise
        except RayError as error:  # lost, killed for memory, or its report lost with its node
            raise ReplicaDied(_one_line(error), blames_jobs=await _answers(self.node)) from error

    def _options(self) -> dict[str, Any]:
        """All of a single bundle; of several nothing, because vLLM's own Ray executor shares them out."""
        bundles = self.work.engine.bundles
        mine = bundles[0] if len(bundles) == 1 else {}
        return {
            "num_cpus": mine.get("CPU", 0),
            "num_gpus": mine.get("GPU", 0),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self.group, 0, placement_group_capture_child_tasks=True
            ),
            "runtime_env": {"env_vars": _environment(self.work.engine)},
        }


class GuardedWorker(Worker):
    """A worker that no process of its engine outlives, however it ends."""

    async def start(self) -> None:
        guard(os.environ[MARK])
        await super().start()


@cache
def _actor_class() -> Any:
    return ray.remote(GuardedWorker)


def _environment(engine: EngineConfig) -> dict[str, str]:
    """Set before the process starts: libraries read these when they are imported."""
    threads = {} if engine.num_gpus else {"OMP_NUM_THREADS": str(engine.num_cpus)}
    return {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        MARK: new_mark(),
        **threads,
    }


def _reserve(bundles: Bundles) -> PlacementGroup:
    return placement_group([dict(each) for each in bundles], strategy="PACK")


def _is_ready(group: PlacementGroup) -> bool:
    return placement_group_table(group)["state"] == "CREATED"


def _address_of_node(group: PlacementGroup) -> tuple[str, int]:
    """Where the daemon listens of the node that holds the first bundle. Raises ReplicaDied when it is lost already."""
    (node_id, *_) = placement_group_table(group)["bundles_to_node_id"].values()
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return node["NodeManagerAddress"], node["NodeManagerPort"]
    raise ReplicaDied("its node was lost before it started", blames_jobs=False)


async def _check_that_ray_lives() -> None:
    """Raise UserError when no node answers: nothing will ever start there."""
    nodes = [each for each in ray.nodes() if each["Alive"]]
    answers = [_answers((each["NodeManagerAddress"], each["NodeManagerPort"])) for each in nodes]
    if not any(await asyncio.gather(*answers)):
        raise UserError(
            "no node of Ray answers any more; every finished draw is kept: run the same command to go on"
        )


async def _answers(node: tuple[str, int]) -> bool:
    """Whether a node is still there. Ray itself needs up to half a minute to know."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*node), 2.0)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def node_resources() -> list[dict[str, float]]:
    """CPUs, GPUs and the like of every node that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def largest_gpu_gib(nodes: Sequence[Mapping[str, float]]) -> float:
    """Memory of the largest GPU on these nodes; infinite when there is one of a kind that is not known."""
    return max((_gpu_gib(node) for node in nodes if node.get("GPU")), default=math.inf)


def _kv_cache_gib(engine: EngineConfig) -> float:
    """What one engine keeps for its KV cache on all GPUs of a replica; 0 where that is what its weights leave."""
    if not isinstance(engine, VLLM):
        return 0.0
    return engine.num_ranks * (engine.kv_cache_mib or 0) / 1024


def _check_share(engine: EngineConfig, scorer: Model) -> None:
    """Raise UserError when two engines on the same GPUs would ask for more than there is. vLLM takes its share of a
    GPU whole, whatever it holds, unless the size of its KV cache is given; and starts only where as much is free."""
    if not isinstance(engine, VLLM) or engine.kv_cache_mib is not None:
        return
    if 2 * engine.gpu_memory_utilization > 1:
        raise UserError(
            f"engine.gpu_memory_utilization is {engine.gpu_memory_utilization:g}, and scorer {scorer.name} has an"
            " engine of its own on the same GPUs: leave room for two, e.g. engine.gpu_memory_utilization=0.45"
        )


def _gpu_gib(node: Mapping[str, float]) -> float:
    kinds = [name.removeprefix(ACCELERATOR) for name in node if name.startswith(ACCELERATOR)]
    return max((GPU_GIB.get(kind, math.inf) for kind in kinds), default=math.inf)


def _reach(address: str) -> None:
    """Raise OSError when nobody listens at HOST:PORT: Ray itself would try for minutes."""
    if found := re.fullmatch(r"(?:ray://)?\[?([^\]]+)\]?:(\d+)", address):
        socket.create_connection((found[1], int(found[2])), timeout=REACH_SECONDS).close()


def num_fitting(bundles: Bundles, nodes: Sequence[Mapping[str, float]], at_most: int) -> int:
    """How many replicas fit into empty nodes, each bundle whole on one."""
    free = [dict(node) for node in nodes]
    for num_placed in range(at_most):
        for bundle in bundles:
            node = next((each for each in free if _holds(each, bundle)), None)
            if node is None:
                return num_placed
            for name, amount in bundle.items():
                node[name] -= amount
    return at_most


def _holds(node: Mapping[str, float], bundle: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())


def _does_not_fit(bundles: Bundles, nodes: Sequence[Mapping[str, float]]) -> str:
    names = sorted({name for bundle in bundles for name in bundle})
    parts = f"{len(bundles)} times " if len(bundles) > 1 else ""
    has = ", ".join(_amounts(node, names) for node in nodes[:8])
    more = f" and {len(nodes) - 8} more nodes" if len(nodes) > 8 else ""
    return (
        f"an engine replica needs {parts}{_amounts(bundles[0], names)} on a node; the nodes have {has}{more}:"
        " lower engine.num_cpus, engine.num_gpus or engine.tensor_parallel, or choose another engine"
    )


def _amounts(resources: Mapping[str, float], names: Sequence[str]) -> str:
    return " + ".join(f"{resources.get(name, 0):g} {name}" for name in names)


def each_in_a_task(function: Callable[..., Any], arguments: Sequence[tuple]) -> Iterator[Any]:
    """Results of `function(*each)` as they finish, every call a Ray task of one core, and of a GPU if there are any."""
    num_gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
    remote = ray.remote(function).options(
        num_cpus=1, num_gpus=num_gpus, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}
    )
    running = [remote.remote(*each) for each in arguments]
    while running:
        (done,), running = ray.wait(running)
        yield ray.get(done)
