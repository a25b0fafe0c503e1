"""Replicas on Ray: what fits, nodes that come and go, and nothing left behind. Engines are simulated."""

import asyncio
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pytest
import yaml
from conftest import ENVIRONMENT, ROOT, SHIPPED

from scaling_exp.cluster import Cluster, largest_gpu_gib, num_fitting
from scaling_exp.dispatch import Dispatch, Event, Job
from scaling_exp.display import Display
from scaling_exp.engines import ENGINES
from scaling_exp.engines.simulated import Simulated
from scaling_exp.models import Model
from scaling_exp.prometheus import Exposed
from scaling_exp.schema import of_kind
from scaling_exp.store import DRAWS
from scaling_exp.strategies import ParallelSampling
from scaling_exp.types import Sampling, UserError
from scaling_exp.worker import Work

NUM_SAMPLES = 8
CHECKPOINT = json.loads((SHIPPED / "ladder.json").read_text())["checkpoints"][0]["name"]
MODEL = Model("small", str(SHIPPED / CHECKPOINT), 1000)


def test_replicas_are_packed_bundle_by_bundle_onto_nodes():
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}]
    assert num_fitting([{"CPU": 1, "GPU": 1}], nodes, 100) == 8
    assert num_fitting([{"CPU": 1, "GPU": 4}] * 2, nodes, 100) == 1
    assert num_fitting([{"CPU": 1, "GPU": 8}], nodes, 100) == 0
    assert num_fitting([{"CPU": 1, "GPU": 1}], nodes, 3) == 3


H100S = {"CPU": 64.0, "GPU": 8.0, "accelerator_type:H100": 1.0}
L4S = {"CPU": 16.0, "GPU": 4.0, "accelerator_type:L4": 1.0}
UNKNOWN = {"CPU": 16.0, "GPU": 1.0, "accelerator_type:X9": 1.0}
NAMELESS = {"CPU": 16.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "gib"),
    [
        ([L4S], 24),
        ([L4S, H100S, {"CPU": 2.0}], 96),
        ([L4S, UNKNOWN], math.inf),
        ([L4S, NAMELESS], math.inf),
        ([{"CPU": 2.0}], math.inf),
    ],
)
def test_the_largest_gpu_is_known_where_all_kinds_are(nodes, gib):
    assert largest_gpu_gib(nodes) == gib


@pytest.fixture
def model_of_70b(tmp_path):
    """Shapes and size of 70 billion parameters in bfloat16, and nothing in them."""
    shutil.copytree(MODEL.path, tmp_path / "70B", ignore=shutil.ignore_patterns("*.safetensors"))
    num_bytes = 2 * 70_000_000_000
    tensor = {"dtype": "BF16", "shape": [num_bytes // 2], "data_offsets": [0, num_bytes]}
    header = json.dumps({"model.layers.0.mlp.weight": tensor}).encode()
    with open(tmp_path / "70B" / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + num_bytes)
    return Model("70B", str(tmp_path / "70B"), 1000)


@pytest.mark.parametrize(
    ("nodes", "num_gpus", "is_refused"),
    [([H100S], 1, True), ([H100S], 2, False), ([L4S], 4, True), ([L4S, UNKNOWN], 1, False)],
)
def test_a_model_of_more_weights_than_memory_is_refused_before_anything_loads(
    monkeypatch, model_of_70b, nodes, num_gpus, is_refused
):
    monkeypatch.setattr("scaling_exp.cluster.node_resources", lambda: nodes)
    engine = Simulated(16, 0.01, 0.0, Respond(), num_gpus=num_gpus)
    local = Cluster(None, 1)
    local.check_memory(engine, [MODEL])
    if is_refused:
        with pytest.raises(
            UserError, match=r"model 70B has 130.4 GiB of weights, and the .*tensor"
        ):
            local.check_memory(engine, [MODEL, model_of_70b])
    else:
        local.check_memory(engine, [MODEL, model_of_70b])


def test_a_scorer_takes_memory_beside_each_model(monkeypatch, model_of_70b):
    monkeypatch.setattr("scaling_exp.cluster.node_resources", lambda: [H100S])
    engine = Simulated(16, 0.01, 0.0, Respond(), num_gpus=2)
    Cluster(None, 1).check_memory(engine, [model_of_70b])
    Cluster(None, 1).check_memory(engine, [model_of_70b], scorer=MODEL)
    beside = r"model 70B has 130.4 GiB of weights, its scorer 70B 130.4 GiB, and the 2 GPUs .* 192"
    with pytest.raises(UserError, match=beside):
        Cluster(None, 1).check_memory(engine, [MODEL, model_of_70b], scorer=model_of_70b)


def on_gpu(**settings):
    node = yaml.safe_load((ROOT / "conf" / "engine" / "vllm_gpu.yaml").read_text())
    return of_kind(ENGINES, {**node, **settings}, "engine")


def test_two_engines_share_a_gpu(monkeypatch):
    monkeypatch.setattr("scaling_exp.cluster.node_resources", lambda: [H100S])
    engine = on_gpu(gpu_memory_utilization=0.9)
    Cluster(None, 1).check_memory(engine, [MODEL])
    with pytest.raises(UserError, match=r"gpu_memory_utilization is 0.9, and scorer .*=0.45"):
        Cluster(None, 1).check_memory(engine, [MODEL], scorer=MODEL)
    Cluster(None, 1).check_memory(on_gpu(gpu_memory_utilization=0.45), [MODEL], scorer=MODEL)
    # Two caches of 48 GiB are all that an H100 of Ray's largest kind has.
    own_cache = on_gpu(gpu_memory_utilization=0.4, kv_cache_mib=48 * 1024)
    Cluster(None, 1).check_memory(own_cache, [MODEL])
    with pytest.raises(UserError, match=r"96.0 GiB are for KV caches, and the 1 GPUs"):
        Cluster(None, 1).check_memory(own_cache, [MODEL], scorer=MODEL)


def test_without_gpus_no_memory_is_checked(monkeypatch, model_of_70b):
    monkeypatch.setattr("scaling_exp.cluster.node_resources", lambda: [{"CPU": 2.0}])
    Cluster(None, 1).check_memory(Simulated(16, 0.01, 0.0, Respond()), [model_of_70b])


@dataclass(frozen=True)
class Respond:
    """30 tokens. `child`: also starts a process that lives on, as engines do."""

    has_child: bool = False

    def __call__(self, _prefix, _seed):
        if self.has_child and not hasattr(sys, "child_of_engine"):
            sleep = [sys.executable, "-c", "import time; time.sleep(300)  # child-of-engine"]
            sys.child_of_engine = subprocess.Popen(sleep, start_new_session=True)
        return (1,) * 30


class Nothing:
    def read(self, _text):
        return None


def work(has_child=False, **engine):
    simulated = Simulated(16, 0.01, 0.0, Respond(has_child), pace=1.0, **engine)
    strategies = {"sampling": ParallelSampling(NUM_SAMPLES, Sampling(max_tokens=50))}
    return Work(simulated, strategies, Nothing())


def jobs(num):
    return [
        Job("small", str(at), f"0/small/{at}", (1, 2), ("sampling",), NUM_SAMPLES)
        for at in range(num)
    ]


class Run:
    """A dispatch on Ray, and what came back."""

    def __init__(self, cluster, work):
        self.rows = []
        self.replicas = Counter()
        self.dispatch = Dispatch(
            {"small": MODEL},
            partial(cluster.replicas, work),
            self._informed,
            self._append,
            self._note,
        )

    def _informed(self, asked):
        """A job that was open in a replica that died is drawn from the start: what came back of it is forgotten."""
        roots = {each.root for each in asked}
        self.rows = [row for row in self.rows if row["root"] not in roots]
        return list(asked)

    def _append(self, draws, _num_draws):
        batch = pa.ipc.read_record_batch(pa.py_buffer(draws), DRAWS)
        self.rows += batch.select(["root", "sample"]).to_pylist()

    def _note(self, event):
        self.replicas[event.replica] += event.report.num_draws

    def is_whole(self, num_jobs):
        places = Counter((row["root"], row["sample"]) for row in self.rows)
        return len(places) == num_jobs * NUM_SAMPLES and max(places.values()) == 1


@pytest.fixture(scope="module")
def ray_cluster():
    """Ray with a head of one CPU, joined by address as a user would."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import cloudpickle
    import ray
    from ray.cluster_utils import Cluster as RayCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def groups_in_use():
    from ray.util.placement_group import placement_group_table

    return [each for each in placement_group_table().values() if each["state"] != "REMOVED"]


WORKER, CHILD = "ray::GuardedWorker", "child-of-engine"


def processes_named(text):
    return {
        process
        for process in psutil.process_iter(["cmdline"])
        if text in " ".join(process.info["cmdline"] or [])
    }


@pytest.mark.slow
def test_nodes_may_join_and_be_lost_during_a_run(ray_cluster):
    ours = Cluster(ray_cluster.address, None)
    ours.connect()
    run = Run(ours, work())

    async def main():
        running = asyncio.ensure_future(run.dispatch.run(jobs(150)))
        await until(lambda: len(run.replicas) == 1)
        node = ray_cluster.add_node(num_cpus=2)
        await until(lambda: len(run.replicas) == 3 and all(run.replicas.values()))
        ray_cluster.remove_node(node, allow_graceful=False)
        assert not running.done()
        return await asyncio.wait_for(running, 60)

    assert asyncio.run(main()) == []
    assert run.is_whole(150)
    assert groups_in_use() == []


async def until(is_so, seconds=30):
    for _ in range(seconds * 20):
        if is_so():
            return
        await asyncio.sleep(0.05)
    pytest.fail("waited in vain")


@pytest.mark.slow
def test_a_run_is_told_on_the_metrics_port_of_ray(ray_cluster):
    ours = Cluster(ray_cluster.address, None)
    ours.connect()
    run, display = Run(ours, work()), Display({"small": (10, 10 * NUM_SAMPLES)})
    exposed = Exposed("run-1", display, SimpleNamespace(flops_of=lambda _model: 1e9))
    run.dispatch.on_event = lambda event: (display.update(event), exposed.look())
    assert asyncio.run(run.dispatch.run(jobs(10))) == []
    exposed.tell()
    assert asyncio.run(_scraped(r"scaling_exp_draws_total{.*} (\S+)")) == 10 * NUM_SAMPLES
    assert asyncio.run(_scraped(r"scaling_exp_flops_total{.*} (\S+)")) == 1e9


@pytest.mark.slow
def test_vllm_tells_its_own_statistics_beside_ours(ray_cluster):
    """Its core in a process of its own, as on a GPU. What the Grafana dashboard asks of it is there."""
    ours = Cluster(ray_cluster.address, None)
    ours.connect()
    settings = yaml.safe_load((ROOT / "conf" / "engine" / "vllm_cpu.yaml").read_text())
    engine = of_kind(ENGINES, {**settings, "in_process": False}, "engine")
    display = Display({"small": (10, 10 * NUM_SAMPLES)})

    async def told():
        replicas = ours.replicas(replace(work(), engine=engine), 1)
        replica = await anext(replicas)
        await replica.start()
        await replica.hold(MODEL)
        handed = [replace(job, prompt=(1, 2) * 35) for job in jobs(10)]  # long enough to be cached
        reports = [await replica.exchange(handed, 5.0)]
        while sum(each.num_draws for each in reports) < 10 * NUM_SAMPLES:
            last = reports[-1]
            assert [last.bug, last.mistake, last.death, last.refused] == ["", "", "", {}]
            reports.append(await replica.exchange([], 5.0))
        for each in reports:
            display.update(Event(0, 0, "small", each))
        Exposed("run-2", display, SimpleNamespace(flops_of=lambda _model: 1e9)).tell()
        num_tokens = sum(each.num_output_tokens for each in reports)
        pattern = r'ray_vllm_generation_tokens_total{.*model_name="small".*} '
        await _scraped(f"{pattern}({num_tokens}.0)\n")
        page = _metrics()
        replica.close()
        await replicas.aclose()
        return page

    page = asyncio.run(told())
    dashboard = (ROOT / "cluster" / "grafana-dashboard.json").read_text()
    asked = set(re.findall(r"ray_vllm_\w+", dashboard))
    assert len(asked) > 4
    assert asked <= set(re.findall(r"^\w+", page, re.MULTILINE))
    assert re.search(r'ray_scaling_exp_draws_total{.*run="run-2"', page)
    assert "inter_token_latency_seconds_count" not in page


async def _scraped(pattern):
    """The value of a metric on the port of any node, as Prometheus would find it."""
    await until(lambda: re.search(pattern, _metrics()))
    return float(re.search(pattern, _metrics())[1])


def _metrics():
    """What is on the ports of all nodes."""
    import ray

    pages = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            pages.append(answer.read().decode())
    return "".join(pages)


@pytest.mark.slow
def test_a_shape_that_fits_no_node_is_refused_with_what_it_needs_and_what_there_is(ray_cluster):
    ours = Cluster(ray_cluster.address, None)
    ours.connect()
    with pytest.raises(
        UserError, match=r"needs 3 CPU \+ 1 GPU on a node; the nodes have 1 CPU \+ 0 GPU"
    ):
        ours.check(work(num_cpus=3, num_gpus=1).engine)
    assert groups_in_use() == []


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_children_end_with_it(ray_cluster):
    ours = Cluster(ray_cluster.address, None)
    ours.connect()
    run = Run(ours, work(has_child=True))
    before = processes_named(WORKER) | processes_named(CHILD)

    async def main():
        running = asyncio.ensure_future(run.dispatch.run(jobs(40)))
        await until(lambda: run.replicas[0] > 0)
        (worker,) = processes_named(WORKER) - before
        (child,) = processes_named(CHILD) - before
        worker.kill()
        await until(lambda: not child.is_running(), 10)
        return await asyncio.wait_for(running, 60)

    assert asyncio.run(main()) == []
    assert run.is_whole(40)
    assert len(run.replicas) == 2
    assert groups_in_use() == []


DRIVER = """
import asyncio, sys
sys.path.insert(0, {tests!r})
import ray
import test_cluster as t
ray.cloudpickle.register_pickle_by_value(t)
ours = t.Cluster({address!r}, 1)
ours.connect()
run = t.Run(ours, t.work(has_child=True))
asyncio.run(run.dispatch.run(t.jobs(100_000)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_joined", [True, False], ids=["a cluster joined", "a local Ray"])
def test_after_sigkill_of_the_driver_nothing_of_it_is_left_within_ten_seconds(
    ray_cluster, is_joined
):
    before = processes_named(WORKER) | processes_named(CHILD)
    code = DRIVER.format(
        tests=str(SHIPPED.parents[2] / "tests"), address=ray_cluster.address if is_joined else None
    )
    driver = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not processes_named(CHILD) - before:
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.1)
    family = psutil.Process(driver.pid).children(recursive=True)
    started = (processes_named(WORKER) | processes_named(CHILD)) - before
    assert len(started) >= 2
    assert (len(family) > 5) == (not is_joined)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _, left = psutil.wait_procs([*family, *started], timeout=10)
    assert left == []
    assert groups_in_use() == []
