"""The real thing: Ray, vLLM and the two smallest shipped models, run, run again, extended and killed."""

import json
import os
import shutil
import signal
import time

import psutil
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from scaling_exp.store import DRAWS, Store

pytestmark = pytest.mark.slow

NUM_PROBLEMS = 40
NUM_MODELS = 2
FEWER, ALL = 16, 32


def experiment(ladder, store, num_samples, tracking="disabled"):
    return (
        "run",
        "+experiment=quickstart",
        f"ladder.path={ladder}",
        f"store={store}",
        f"task.num_problems={NUM_PROBLEMS}",
        f"strategies.sampling.num_samples={num_samples}",
        f"strategies.adaptive.num_samples={num_samples}",
        "analysis.num_bootstrap=100",
        f"tracking={tracking}",
    )


def run_folder(store):
    (folder,) = (file.parent for file in store.glob("*/samples.parquet"))
    return folder


def draws(store):
    """Every draw of a store as a table; the pool."""
    files = sorted(map(str, store.glob("*/draws/*.parquet")))
    return pads.dataset(files, schema=DRAWS).to_table()


def by_key(store):
    """Tokens and seed of every draw; fails on a key that is there twice."""
    table = draws(store)
    rows = list(zip(*(table[name].to_pylist() for name in ("key", "seed", "tokens")), strict=True))
    assert len({row[0] for row in rows}) == len(rows)
    return {key: (seed, tuple(tokens)) for key, seed, tokens in rows}


def samples(store):
    return table_of(run_folder(store))


def table_of(folder):
    """Samples but for what a prefix cache happened to hold, which depends on what ran beside them."""
    return pq.read_table(folder / "samples.parquet").drop_columns(["num_cached_tokens"])


def count(table, strategy):
    return table["strategy"].to_pylist().count(strategy)


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def finished(command_line, two_smallest, tmp_path_factory):
    """A run, the same again, and one of twice the samples: three stores, each as its command left it."""
    store = tmp_path_factory.mktemp("finished")
    after = {}
    for name, num_samples in (("first", FEWER), ("again", FEWER), ("extended", ALL)):
        done = succeeded(
            command_line(*experiment(two_smallest, store, num_samples, "offline"), timeout=300)
        )
        left = tmp_path_factory.mktemp(name) / "store"
        shutil.copytree(store, left)
        after[name] = (left, done)
    return after


def newest_run(store):
    """The run with most samples: the extended one is another experiment with a folder of its own."""
    files = sorted(store.glob("*/samples.parquet"), key=lambda file: pq.read_table(file).num_rows)
    return files[-1].parent


def test_a_run_leaves_every_file_that_the_readme_names(finished):
    store, done = finished["first"]
    folder = run_folder(store)
    for name in ("manifest.json", "verdict.json", "report.html", "curves.csv", "exchange.csv"):
        assert (folder / name).stat().st_size > 0
    for name in ("samples", "traces", "grades", "problems"):
        assert pq.read_table(folder / f"{name}.parquet").num_rows > 0
    assert list((folder / "figures").glob("*.png"))
    assert list((folder / "wandb").glob("offline-run-*"))
    assert not list(store.glob("*/draws/*.journal"))
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["sentences"][0] in done.stdout


def test_the_samples_table_has_a_row_for_every_accepted_sample(finished):
    store, _ = finished["first"]
    table = samples(store)
    assert count(table, "greedy") == NUM_MODELS * NUM_PROBLEMS
    assert count(table, "sampling") == NUM_MODELS * NUM_PROBLEMS * FEWER
    num_adaptive = count(table, "adaptive")
    assert num_adaptive > NUM_MODELS * NUM_PROBLEMS * (FEWER // 2)
    assert num_adaptive <= NUM_MODELS * NUM_PROBLEMS * FEWER
    # Greedy and sampling pay; adaptive voting draws from the samples that are there.
    assert set(table["key"].to_pylist()) == set(by_key(store))
    assert len(by_key(store)) == NUM_MODELS * NUM_PROBLEMS * (1 + FEWER)


def test_the_same_command_draws_nothing_and_says_the_same(finished):
    (first, said), (again, said_again) = finished["first"], finished["again"]
    assert by_key(again) == by_key(first)
    parts = [sorted(file.name for file in store.glob("*/draws/*")) for store in (first, again)]
    assert parts[0] == parts[1]
    assert samples(again).equals(samples(first))
    assert said_again.stdout == said.stdout
    engines = [run_folder(store) / "engines.parquet" for store in (first, again)]
    written = {file.stat().st_mtime_ns for file in engines}
    assert len(written) == 1, "an engine was started"


def test_more_samples_draw_exactly_what_is_missing(finished):
    before, after = by_key(finished["first"][0]), by_key(finished["extended"][0])
    assert before.items() <= after.items()
    assert len(after) - len(before) == NUM_MODELS * NUM_PROBLEMS * (ALL - FEWER)


def wait_for_draws(process, store):
    """Return as soon as a journal holds draws and not only its schema."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be disturbed"
        if any(file.stat().st_size > 5_000 for file in store.glob("*/draws/*.journal")):
            return
        time.sleep(0.005)
    pytest.fail("no draw was recorded within two minutes")


def family(process):
    """The driver and all that it started: Ray's daemons and workers have process groups of their own."""
    driver = psutil.Process(process.pid)
    return [driver, *driver.children(recursive=True)]


def is_worker(process):
    try:
        return "ray::GuardedWorker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(
    command_line, two_smallest, finished, tmp_path
):
    """SIGKILL to the driver's process group and to Ray in the middle of drawing, then the same command."""
    store, killed_store = tmp_path / "store", tmp_path / "killed"
    process = command_line.start(*experiment(two_smallest, store, ALL))
    wait_for_draws(process, store)
    processes = family(process)
    os.killpg(process.pid, signal.SIGKILL)
    for each in processes[1:]:
        if each.is_running():
            each.kill()
    process.wait()
    psutil.wait_procs(processes, timeout=20)

    shutil.copytree(store, killed_store)
    num_recovered = Store(killed_store).recover()
    before = by_key(killed_store)
    assert 0 < num_recovered == len(before) < NUM_MODELS * NUM_PROBLEMS * (1 + ALL)

    succeeded(command_line(*experiment(two_smallest, store, ALL), timeout=300))
    after = by_key(store)
    assert before.items() <= after.items()
    undisturbed = finished["extended"][0]
    assert after == by_key(undisturbed)
    assert samples(store).equals(table_of(newest_run(undisturbed)))


def test_a_run_outlives_the_death_of_a_worker(command_line, two_smallest, finished, tmp_path):
    store = tmp_path / "store"
    process = command_line.start(*experiment(two_smallest, store, ALL))
    wait_for_draws(process, store)
    workers = [each for each in family(process) if is_worker(each)]
    workers[0].kill()
    assert process.wait(timeout=300) == 0
    undisturbed = finished["extended"][0]
    assert by_key(store) == by_key(undisturbed)
    assert samples(store).equals(table_of(newest_run(undisturbed)))
