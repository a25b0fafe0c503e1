"""Kill whatever a run is made of, at random moments, and count what that cost.

    python scripts/fault_campaign.py --kills 100 --real 20 --cores 4 --seed 0

Real kills hit complete runs of the command line: Ray, vLLM and the two smallest shipped models. Those of `--cores` hit
vLLM's engine core where it is a process of its own (engine.in_process=false, as on GPUs). The others hit a
process that holds the real dispatcher, workers, journal and pool over a simulated engine, which is up in two seconds. A
killed run is started again, as often as it takes, and must end as if nothing had been. A draw counts as acknowledged
when it is in the store at the moment of a kill. Exits with 1 if any draw was lost or doubled or any table differs.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import psutil
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from scaling_exp.dispatch import UNKNOWN, Dispatch, Job
from scaling_exp.engines.simulated import Simulated
from scaling_exp.experiment import with_known
from scaling_exp.grading import Grader
from scaling_exp.models import Model
from scaling_exp.store import DRAWS, Store
from scaling_exp.strategies import Greedy, ParallelSampling
from scaling_exp.types import Problem, Sampling, Tokens
from scaling_exp.worker import LocalReplica, Work

ROOT = Path(__file__).resolve().parent.parent
LADDER = ROOT / "scaling_exp" / "ladders" / "arithmetic"
REAL_KINDS = ("worker", "driver", "driver and all", "raylet")
CORE = "engine core"
SIMULATED_KINDS = ("simulated worker", "simulated driver")
MAX_TOKENS = 38
MOST_BYTES = 200_000
"""Of draws between two kills; a real run writes ten times as many."""
NUM_JOBS = 600
NUM_SAMPLES = 8

Drawn = Mapping[str, tuple[int, Tokens]]
"""Seed and tokens of draws by key."""


@dataclass
class Score:
    """What one kind of kill did."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0


@dataclass
class Campaign:
    """A store that is filled by a run that is killed again and again, and the store of an undisturbed one."""

    folder: Path
    random: Random
    scores: dict[str, Score] = field(default_factory=dict)
    acknowledged: list[tuple[str, Drawn]] = field(default_factory=list)
    num_runs: int = 0
    num_doubled: int = 0
    num_tables_differing: int = 0

    def note_kill(self, kind: str, store: Path) -> None:
        """Remember what is in the store: none of it may be missing in the end."""
        drawn, _ = everything_in(store, self.folder)
        score = self.scores.setdefault(kind, Score())
        score.kills += 1
        score.acknowledged += len(drawn)
        self.acknowledged.append((kind, drawn))

    def close_run(self, store: Path, undisturbed: Path, tables: Callable[[Path], object]) -> None:
        """Compare a run that has ended at last with the undisturbed one."""
        drawn, num_doubled = everything_in(store, self.folder)
        self.num_runs += 1
        self.num_doubled += num_doubled
        for kind, before in self.acknowledged:
            self.scores[kind].lost += len(before.items() - drawn.items())
        self.acknowledged.clear()
        whole, _ = everything_in(undisturbed, self.folder)
        self.num_tables_differing += drawn != whole or tables(store) != tables(undisturbed)


def everything_in(store: Path, scratch: Path) -> tuple[Drawn, int]:
    """Every draw that a next run would find, and how many are there twice. Leaves the store alone."""
    copy = Path(tempfile.mkdtemp(dir=scratch)) / "store"
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns(".*", "wandb", "*.unnamed"))
    Store(copy).recover()
    files = sorted(map(str, copy.glob("*/draws/*.parquet")))
    drawn: dict[str, tuple[int, Tokens]] = {}
    num_rows = 0
    if files:
        table = pads.dataset(files, schema=DRAWS).to_table(["key", "seed", "tokens"])
        num_rows = table.num_rows
        columns = (column.to_pylist() for column in table.columns)
        drawn = {key: (seed, tuple(tokens)) for key, seed, tokens in zip(*columns, strict=True)}
    shutil.rmtree(copy.parent)
    return drawn, num_rows - len(drawn)


# Runs of the command line


def two_smallest(folder: Path) -> Path:
    """A ladder with the last checkpoints of the two smallest shipped sizes."""
    manifest = json.loads((LADDER / "ladder.json").read_text())
    last = {each["size"]: each for each in manifest["checkpoints"]}
    kept = sorted(last.values(), key=lambda each: each["num_parameters"])[:2]
    for checkpoint in kept:
        shutil.copytree(LADDER / checkpoint["name"], folder / checkpoint["name"])
    (folder / "ladder.json").write_text(json.dumps({**manifest, "checkpoints": kept}))
    return folder


def command(ladder: Path, store: Path, in_process: bool = True) -> list[str]:
    settings = {
        "engine.in_process": in_process,
        "ladder.path": ladder,
        "store": store,
        "task.num_problems": 100,
        "strategies.sampling.num_samples": 64,
        "strategies.adaptive.num_samples": 64,
        "analysis.num_bootstrap": 50,
        "tracking": "disabled",
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "scaling_exp", "run", "+experiment=quickstart", *overrides]


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """A run that ends with the campaign, however that ends."""
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(process.kill)
    return process


def num_bytes(store: Path) -> int:
    """Of draws on disk; grows while a run draws."""
    return sum(_size(file) for file in store.glob("*/draws/*.[jp]*"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def wait_for_growth(process: subprocess.Popen[bytes], store: Path, grown: int) -> bool:
    """Until draws of so many bytes more are on disk; False when the run ended before."""
    before, deadline = num_bytes(store), time.monotonic() + 180
    while process.poll() is None:
        if num_bytes(store) > before + grown:
            return True
        if time.monotonic() > deadline:
            raise RuntimeError("a run made no progress for three minutes")
        time.sleep(0.01)
    return False


def family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def named(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    found = []
    for each in processes:
        try:
            if name in " ".join(each.cmdline()[:1]):
                found.append(each)
        except psutil.Error:
            continue
    return found


def kill(kind: str, process: subprocess.Popen[bytes], random: Random) -> list[psutil.Process]:
    """Kill a part of a run; the processes that must be gone soon, if the driver is."""
    processes = family(process.pid)
    targets = {
        "worker": named(processes, "ray::GuardedWorker"),
        "raylet": named(processes, "raylet/raylet"),
        CORE: named(processes, "VLLM::EngineCore"),
        "driver": processes[:1],
        "driver and all": processes,
    }[kind]
    if kind in ("worker", CORE) and targets:
        targets = [random.choice(targets)]
    for each in targets:
        if each.is_running():
            each.send_signal(signal.SIGKILL)
    return processes if kind.startswith("driver") else []


def real_run(campaign: Campaign, ladder: Path, undisturbed: Path, kinds: list[str]) -> None:
    """One store, one run, killed in every given way before it may end."""
    store = Path(tempfile.mkdtemp(dir=campaign.folder)) / "store"
    arguments = command(ladder, store, in_process=CORE not in kinds)
    process = start(arguments)
    for kind in kinds:
        if process.poll() is not None:
            process = start(arguments)
        if not wait_for_growth(process, store, campaign.random.randint(1, MOST_BYTES)):
            break
        left = kill(kind, process, campaign.random)
        campaign.note_kill(kind, store)
        if kind not in ("worker", CORE):
            process.wait(timeout=120)
        _, alive = psutil.wait_procs(left, timeout=10)
        if alive:
            raise RuntimeError(f"orphans 10 s after the driver's death: {alive}")
    while process.wait() != 0:
        process = start(arguments)
    campaign.close_run(store, undisturbed, samples)


def samples(store: Path) -> object:
    """The table of samples, but for what prefix caches happened to hold."""
    (file,) = store.glob("*/samples.parquet")
    return pq.read_table(file).drop_columns(["num_cached_tokens"]).to_pylist()


# Runs of the same parts over a simulated engine


class Numbers:
    """A completion of 1 to 38 tokens that is the same whenever it is drawn."""

    def __call__(self, prefix: Tokens, seed: int) -> Tokens:
        digest = hashlib.blake2b(repr((prefix, seed)).encode()).digest()
        return tuple(digest[: 1 + digest[-1] % MAX_TOKENS])


class Unread:
    """A task for strategies that never read an answer."""

    def problems(self) -> tuple[Problem, ...]:
        return ()

    def read(self, text: str) -> str | None:
        raise NotImplementedError(text)

    @property
    def grader(self) -> Grader:
        raise NotImplementedError


def simulated_run(store: Path, seed: int, num_kills: int) -> None:
    """Fill a store, killing so many workers on the way; a line on stdout for each."""
    checkpoint = json.loads((LADDER / "ladder.json").read_text())["checkpoints"][0]["name"]
    model = Model("small", str(LADDER / checkpoint), 1)
    sampling = Sampling(max_tokens=MAX_TOKENS)
    strategies = {
        "greedy": Greedy(MAX_TOKENS),
        "sampling": ParallelSampling(NUM_SAMPLES, sampling),
    }
    jobs = [
        Job(
            model.name,
            str(at),
            f"0/small/{at}",
            (at % 50, at),
            tuple(strategies),
            NUM_SAMPLES + 1,
            UNKNOWN,
        )
        for at in range(NUM_JOBS)
    ]
    engine = Simulated(16, 0.004, 0.0001, Numbers(), pace=1.0)
    work = Work(engine, strategies, Unread())
    asyncio.run(_simulated_run(store, model, work, jobs, Random(seed), num_kills))


async def _simulated_run(
    store: Path, model: Model, work: Work, jobs: list[Job], random: Random, num_kills: int
) -> None:
    Store(store).recover()
    alive: list[LocalReplica] = []

    async def replicas(_at_most: int) -> AsyncIterator[LocalReplica]:
        while True:
            alive[:] = [each for each in alive if not each.death.done()]
            while len(alive) < 3:
                alive.append(LocalReplica(work))
                yield alive[-1]
            await asyncio.sleep(0.05)

    async def disturb() -> None:
        for _ in range(num_kills):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            random.choice(alive).kill()
            print("killed", flush=True)

    pool = Store(store).pool(model.fingerprint)
    with Store(store).run("run").journal(Store(store).parts()) as journal:
        dispatch = Dispatch(
            {model.name: model},
            replicas,
            partial(with_known, {model.name: pool}, None, journal),
            journal.append,
            lambda _event: None,
        )
        disturbing = asyncio.ensure_future(disturb())
        set_aside = await dispatch.run(jobs)
        disturbing.cancel()
    if set_aside and not num_kills:
        raise RuntimeError(f"innocent jobs were set aside: {set_aside}")
    if set_aside:  # three kills hit the same one by chance: as a user would, draw it in another run
        hit = {each.problem for each in set_aside}
        again = [replace(job, num_known=UNKNOWN) for job in jobs if job.problem in hit]
        await _simulated_run(store, model, work, again, random, num_kills=0)


def disturbed_simulated_run(campaign: Campaign, undisturbed: Path, num_driver_kills: int) -> None:
    """One store, filled by processes of which all but the last are killed."""
    store = Path(tempfile.mkdtemp(dir=campaign.folder)) / "store"
    for _ in range(num_driver_kills):
        process = start_simulated(store, campaign.random.randint(0, 1 << 30), 2)
        if wait_for_growth(process, store, campaign.random.randint(1, 60_000)):
            time.sleep(campaign.random.uniform(0, 0.5))
            process.kill()
        _note_worker_kills(campaign, process, store)
        campaign.note_kill(SIMULATED_KINDS[1], store)
    process = start_simulated(store, campaign.random.randint(0, 1 << 30), 4)
    _note_worker_kills(campaign, process, store)
    if process.returncode:
        raise RuntimeError("a simulated run failed; see above")
    campaign.close_run(store, undisturbed, lambda _store: None)


def start_simulated(store: Path, seed: int, num_kills: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, __file__, "--simulated-run", str(store)]
    arguments += ["--seed", str(seed), "--kills", str(num_kills)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE)


def _note_worker_kills(campaign: Campaign, process: subprocess.Popen[bytes], store: Path) -> None:
    output, _ = process.communicate()
    for _ in range(output.count(b"killed")):
        campaign.note_kill(SIMULATED_KINDS[0], store)


# The campaign


def run(num_kills: int, num_real: int, num_cores: int, seed: int, folder: Path) -> Campaign:
    """At least so many kills, of which so many hit real runs, and so many their engine cores."""
    campaign = Campaign(folder, Random(seed))
    if num_real or num_cores:
        ladder, undisturbed = two_smallest(folder / "ladder"), folder / "real"
        if start(command(ladder, undisturbed)).wait() != 0:
            raise RuntimeError("the undisturbed run failed")
        for first in range(0, num_real, 8):
            kinds = [
                REAL_KINDS[at % len(REAL_KINDS)] for at in range(first, min(first + 8, num_real))
            ]
            campaign.random.shuffle(kinds)
            real_run(campaign, ladder, undisturbed, kinds)
            print_scores(campaign)
        for first in range(0, num_cores, 4):
            real_run(campaign, ladder, undisturbed, [CORE] * min(4, num_cores - first))
            print_scores(campaign)
    undisturbed = folder / "simulated"
    subprocess.run(start_simulated(undisturbed, 0, 0).args, cwd=ROOT, check=True)
    while sum(score.kills for score in campaign.scores.values()) < num_kills:
        disturbed_simulated_run(campaign, undisturbed, 2)
    return campaign


def print_scores(campaign: Campaign) -> None:
    print(f"{'kill of':>18} {'kills':>6} {'acknowledged':>13} {'lost':>5}")
    totals: Counter[str] = Counter()
    for kind, score in campaign.scores.items():
        print(f"{kind:>18} {score.kills:>6} {score.acknowledged:>13,} {score.lost:>5}")
        totals.update(vars(score))
    print(f"{'all':>18} {totals['kills']:>6} {totals['acknowledged']:>13,} {totals['lost']:>5}")
    print(
        f"{campaign.num_runs} complete runs, {campaign.num_doubled} draws doubled,"
        f" {campaign.num_tables_differing} runs whose tables differ from the undisturbed one's",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="at least so many in all")
    parser.add_argument("--real", type=int, default=20, help="of them, of real runs")
    parser.add_argument("--cores", type=int, default=0, help="kills of engine cores, beside those")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--simulated-run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulated_run:
        simulated_run(options.simulated_run, options.seed, options.kills)
        return
    with tempfile.TemporaryDirectory(prefix="fault-campaign-") as folder:
        campaign = run(options.kills, options.real, options.cores, options.seed, Path(folder))
    print_scores(campaign)
    num_lost = sum(score.lost for score in campaign.scores.values())
    sys.exit(1 if num_lost or campaign.num_doubled or campaign.num_tables_differing else 0)


if __name__ == "__main__":
    main()
