"""The recipe without Ray and vLLM: replicas in this process, a simulated engine; models, pool and tables are real."""

import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import log, nan
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from conftest import SHIPPED

from scaling_exp import experiment as recipe
from scaling_exp.analysis import AnalysisSettings
from scaling_exp.cluster import Cluster
from scaling_exp.engines import RequestFailed
from scaling_exp.engines.simulated import Simulated
from scaling_exp.experiment import Experiment, run
from scaling_exp.models import Model
from scaling_exp.plan import plan
from scaling_exp.scorers import Labels
from scaling_exp.store import Store, StoreError
from scaling_exp.strategies import AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.strategies.tree import Beam, Steps
from scaling_exp.tasks import SumsAndProducts
from scaling_exp.tasks.arithmetic import Level
from scaling_exp.tracking import Disabled
from scaling_exp.types import Sampling, UserError
from scaling_exp.worker import LocalReplica

SAMPLED = Sampling(max_tokens=8)


class InProcess:
    """A cluster of replicas in this process, which counts what it was asked for."""

    def __init__(self, num_replicas=2):
        self.num_replicas = num_replicas
        self.num_started = 0

    def connect(self):
        """Nothing to join."""

    def check(self, engine):
        """Everything fits."""

    def check_memory(self, engine, models, scorer=None):
        """Everything fits."""

    async def replicas(self, work, at_most):
        for _ in range(min(at_most, self.num_replicas)):
            self.num_started += 1
            yield LocalReplica(work)


def respond(prefix, seed):
    """Between one and eight tokens, always the same for the same two."""
    random = Random(f"{prefix} {seed}")
    return tuple(random.randrange(20) for _ in range(random.randint(1, 8)))


class FirstTerm(SumsAndProducts):
    """The same problems; the first word of a completion is its answer."""

    def read(self, text):
        return text.split()[0] if text else None


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(recipe, "redraw", lambda folder: (None, folder.path / "report.html"))


def experiment(store, num_samples=8, name="small", engine_respond=respond, **changes):
    folders = [each for each in sorted(SHIPPED.iterdir()) if each.name.startswith(("4K", "10K"))]
    made = Experiment(
        name=name,
        seed=0,
        store=str(store),
        models=tuple(Model(each.name, str(each), 1000) for each in folders[:2]),
        task=FirstTerm(6, 1, 67, {"easy": Level(3, 1.8)}),
        strategies={
            "greedy": Greedy(8),
            "sampling": ParallelSampling(num_samples, SAMPLED),
            "adaptive": AdaptiveVoting(num_samples, SAMPLED),
        },
        engine=Simulated(16, 0.01, 0.001, engine_respond),
        cluster=InProcess(),
        analysis=AnalysisSettings(num_bootstrap=100),
        tracking=Disabled(),
        config={},
    )
    return replace(made, **changes)


def tables(made):
    return {name: made.folder.read_table(name) for name in ("samples", "traces", "grades")}


def keys(store):
    files = sorted(Path(store).glob("*/draws/*.parquet"))
    return [key for file in files for key in pq.read_table(file)["key"].to_pylist()]


def test_a_run_draws_once_what_its_strategies_share_and_the_same_again_draws_nothing(tmp_path):
    made = experiment(tmp_path)
    done = run(made, "command")
    assert not done.set_aside
    before = tables(made)
    assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == 2 * 6 * (1 + 8)
    assert before["samples"].num_rows >= 2 * 6 * (1 + 8 + 4)
    num_started = made.cluster.num_started
    run(made, "command")
    assert made.cluster.num_started == num_started
    assert all(table.equals(before[name]) for name, table in tables(made).items())
    engines = made.folder.read_table("engines")
    assert sum(engines["num_draws"].to_pylist()) == 2 * 6 * (1 + 8)
    generation = made.folder.read_manifest()["generation"]
    assert {"full_occupancy", "preemptions", "queue_wait_seconds", "drain_share"} <= set(
        generation[made.models[0].name]
    )


def test_engines_are_let_go_between_the_last_draw_and_the_tables(tmp_path):
    made = experiment(tmp_path)
    found = []

    def let_go():
        found.append((len(keys(tmp_path)), made.folder.has_table("samples")))

    run(made, "command", let_go)
    assert found == [(2 * 6 * (1 + 8), False)]
    run(made, "command", let_go)  # nothing is drawn: there are none
    assert len(found) == 1


def test_more_samples_draw_the_difference_and_the_plan_says_so_before(tmp_path):
    run(experiment(tmp_path), "command")
    num_before = len(keys(tmp_path))
    more = experiment(tmp_path, num_samples=20)
    assert f"{2 * 6 * 12:,}" in plan(more).splitlines()[-2]
    run(more, "command")
    assert len(keys(tmp_path)) - num_before == 2 * 6 * 12
    assert len(set(keys(tmp_path))) == len(keys(tmp_path))
    fresh = experiment(tmp_path / "fresh", num_samples=20)
    run(fresh, "command")
    assert all(table.equals(tables(fresh)[name]) for name, table in tables(more).items())


def test_a_problem_that_an_engine_refuses_is_left_out_for_all_models_and_recorded(tmp_path):
    refused = (
        experiment(tmp_path)
        .models[0]
        .encode([p.prompt for p in FirstTerm(6, 1, 67, {"easy": Level(3, 1.8)}).problems()])[2]
    )
    name = experiment(tmp_path).task.problems()[2].name

    def refuse(prefix, seed):
        if prefix == refused:
            raise RequestFailed("too rude")
        return respond(prefix, seed)

    made = experiment(tmp_path, engine_respond=refuse)
    done = run(made, "command")
    assert {(each.problem, each.reason) for each in done.set_aside} == {(name, "too rude")}
    assert len(set(tables(made)["samples"]["problem"].to_pylist())) == 5
    assert name not in tables(made)["samples"]["problem"].to_pylist()
    recorded = made.folder.read_manifest()["set_aside"]
    assert {(each["problem"], each["reason"]) for each in recorded} == {(name, "too rude")}
    run(experiment(tmp_path), "command")
    whole = experiment(tmp_path / "whole")
    run(whole, "command")
    assert tables(experiment(tmp_path))["samples"].equals(tables(whole)["samples"])
    assert made.folder.read_manifest()["set_aside"] == []


def test_a_run_of_which_every_problem_is_set_aside_says_why(tmp_path):
    def refuse(_prefix, _seed):
        raise RequestFailed("no model")

    with pytest.raises(UserError, match="every problem was set aside; the first because: no model"):
        run(experiment(tmp_path, engine_respond=refuse), "command")


def test_two_runs_at_once_share_one_pool_and_end_with_the_numbers_of_a_run_alone(tmp_path):
    """The second begins when the first has half of its draws in its journal, and ends before it."""
    other = experiment(tmp_path, num_samples=12, name="other")
    num_asked = 0

    def respond_and_start_another(prefix, seed):
        nonlocal num_asked
        num_asked += 1
        if num_asked == 60:
            with ThreadPoolExecutor(1) as beside:
                beside.submit(run, other, "command").result()
        return respond(prefix, seed)

    made = experiment(tmp_path, engine_respond=respond_and_start_another)
    run(made, "command")
    assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == 2 * 6 * (1 + 12)
    for each in (made, other):
        alone = replace(each, store=str(tmp_path / "alone"), engine=experiment("").engine)
        run(alone, "command")
        assert all(table.equals(tables(alone)[name]) for name, table in tables(each).items())


def test_a_run_says_that_another_draws_from_the_same_pool(tmp_path, capsys):
    with Store(tmp_path).run("other-1234").journal(frozenset()):
        run(experiment(tmp_path), "command")
    assert "another run draws from the same pool now (other-1234)" in capsys.readouterr().err


def test_a_full_disk_ends_a_run_with_one_line_and_the_next_goes_on(tmp_path):
    """A limit on the size of files stands for a full disk."""
    made = experiment(tmp_path, num_samples=64)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(
            StoreError, match="every draw that was acknowledged is kept: free space"
        ):
            run(made, "command")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    Store(tmp_path).recover()
    num_kept = len(keys(tmp_path))
    assert num_kept > 0
    run(made, "command")
    assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == 2 * 6 * (1 + 64)
    assert sum(made.folder.read_table("engines")["num_draws"].to_pylist()) == 2 * 6 * 65 - num_kept


def judge(prefix, labels):
    """What a scorer says of a prefix: always the same for the same."""
    return tuple(log(Random(f"{prefix} {label}").uniform(0.01, 0.99)) for label in labels)


def scored(store, **changes):
    """An experiment with a search and a best-of-N, scored by the smallest model of the ladder."""
    engine = Simulated(16, 0.01, 0.001, respond, judge=judge)
    steps = Steps(Sampling(max_tokens=3), max_steps=4, max_tokens=8)
    strategies = {
        "best_of": ParallelSampling(4, SAMPLED, is_scored=True),
        "beam": Beam(4, steps, branch=2),
    }
    scorer = Labels(str(SHIPPED / "4K-1.0M"), good="1", bad="0")
    changes = {"engine": engine, "strategies": strategies, "scorer": scorer} | changes
    return experiment(store, **changes)


def test_scores_are_drawn_once_kept_and_replayed(tmp_path):
    made = scored(tmp_path)
    run(made, "command")
    before = tables(made)
    assert len(keys(tmp_path)) == len(set(keys(tmp_path)))
    samples = before["samples"].to_pandas()
    assert samples["score"].between(0, 1).all()
    deep = before["traces"].to_pandas().query("strategy == 'beam' and score.notna()")
    assert (deep["num_scored_tokens"] > deep["num_prefix_tokens"]).all()
    num_started = made.cluster.num_started
    run(made, "command")
    assert made.cluster.num_started == num_started
    assert all(table.equals(before[name]) for name, table in tables(made).items())


def test_a_score_that_is_no_number_ends_a_run_with_its_remedy_and_is_not_kept(tmp_path):
    overflows = Simulated(16, 0.01, 0.001, respond, judge=lambda _, labels: (nan,) * len(labels))
    with pytest.raises(UserError, match=r"gives NaN .* scorer\.dtype=float32"):
        run(scored(tmp_path, engine=overflows), "command")
    made = scored(tmp_path)
    run(made, "command")
    assert tables(made)["samples"].to_pandas()["score"].between(0, 1).all()


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "-v"])
def test_a_name_is_that_of_a_folder_that_is_seen(tmp_path, name):
    """A store in a bucket takes hidden files for its own."""
    with pytest.raises(ValueError, match="use letters, digits"):
        experiment(tmp_path, name=name)


def test_a_scorer_has_a_name_of_its_own(tmp_path):
    (model, *_) = scored(tmp_path).models
    own = Labels(model.path, good="1", bad="0", name=model.name)
    with pytest.raises(ValueError, match=r"scorer\.name is .*, which is a model's"):
        scored(tmp_path, scorer=own)


def test_scores_of_samples_that_are_known_are_all_that_is_drawn(tmp_path):
    plain = scored(tmp_path, strategies={"best_of": ParallelSampling(4, SAMPLED)}, scorer=None)
    run(plain, "command")
    num_before = len(keys(tmp_path))
    made = scored(tmp_path, strategies={"best_of": ParallelSampling(4, SAMPLED, is_scored=True)})
    run(made, "command")
    fingerprints = {
        key
        for file in sorted(Path(tmp_path).glob("*/draws/*.parquet"))
        for key in pq.read_table(file)["fingerprint"].to_pylist()
    }
    assert len(fingerprints) == 3
    assert num_before < len(keys(tmp_path)) <= num_before + 2 * 6 * 4


def test_scores_of_answers_that_another_sampling_gave_are_known(tmp_path):
    for temperature in (1.0, 0.5):  # the engine gives the same answers at both
        sampling = Sampling(max_tokens=8, temperature=temperature)
        strategies = {"best_of": ParallelSampling(4, sampling, is_scored=True)}
        run(scored(tmp_path, strategies=strategies), "command")
    assert len(keys(tmp_path)) == len(set(keys(tmp_path)))


def test_a_cluster_where_nobody_answers_is_told_at_once():
    with pytest.raises(UserError, match="no Ray answers there"):
        Cluster("127.0.0.1:1", None).connect()
