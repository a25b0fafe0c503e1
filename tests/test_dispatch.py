"""The dispatcher on simulated replicas and a virtual clock: nobody idles, nothing is lost, only the guilty pay."""

import asyncio
import json
import math
from collections import Counter
from dataclasses import dataclass
from random import Random

import pyarrow as pa
import pytest
from conftest import SHIPPED

from scaling_exp.bench.dispatch import (
    MODEL,
    DispatchBench,
    SimulatedReplica,
    Speed,
    run_virtually,
)
from scaling_exp.dispatch import (
    HUNG_SECONDS,
    MAX_ATTEMPTS,
    Dispatch,
    Job,
    JobFailed,
    ReplicaDied,
    Report,
    ScorerReport,
    SetAside,
    StartFailed,
)
from scaling_exp.display import Display
from scaling_exp.engines import Counters, EngineDied, RequestFailed
from scaling_exp.engines.simulated import Simulated
from scaling_exp.models import Model
from scaling_exp.store import DRAWS, Journal, known_by_root
from scaling_exp.strategies import Greedy, ParallelSampling
from scaling_exp.types import Sampling, UserError
from scaling_exp.worker import LocalReplica, Work, Worker

NUM_SAMPLES = 4
SAMPLED = Sampling(max_tokens=50)
STRATEGIES = {"greedy": Greedy(50), "sampling": ParallelSampling(NUM_SAMPLES, SAMPLED)}
DRAWS_PER_JOB = 1 + NUM_SAMPLES
CHECKPOINT = json.loads((SHIPPED / "ladder.json").read_text())["checkpoints"][0]["name"]


def model(name="small"):
    return Model(name, str(SHIPPED / CHECKPOINT), 1000)


def job(number, name="small"):
    root = f"0/{name}/{number}"
    return Job(name, str(number), root, (number % 50, number), tuple(STRATEGIES), DRAWS_PER_JOB)


@dataclass(frozen=True)
class Respond:
    """1 to 40 tokens; raises what `faults` has for the job, which a prefix ends with."""

    faults: dict[int, type[Exception]]

    def __call__(self, prefix, seed):
        if prefix[1] in self.faults:
            raise self.faults[prefix[1]](f"job {prefix[1]}")
        return tuple(range(1, 1 + Random(hash((prefix, seed))).randint(1, 40)))


class Nothing:
    """A task that reads nothing."""

    def read(self, _text):
        return None


def work(faults=(), num_slots=8):
    return Work(
        Simulated(num_slots, 0.01, 0.001, Respond(dict(faults)), pace=1.0), STRATEGIES, Nothing()
    )


class Fleet:
    """Local replicas: a new one whenever one was closed."""

    def __init__(self, num_replicas, make):
        self.num_replicas = num_replicas
        self.make = make
        self.made = []

    @property
    def alive(self):
        return [each for each in self.made if not each.death.done()]

    async def __call__(self, at_most):
        while True:
            while len(self.alive) < min(at_most, self.num_replicas):
                self.made.append(self.make())
                yield self.made[-1]
            await asyncio.sleep(0.2)


@dataclass
class Outcome:
    """What a dispatch left behind."""

    set_aside: list
    rows: list
    display: Display

    @property
    def places(self):
        return Counter((row["root"], row["sampling"], row["sample"]) for row in self.rows)


def dispatched(folder, jobs, fleet, beside=None, models=("small",)):
    """Run jobs on a virtual clock with a real journal; `beside(fleet)` runs at the same time."""

    async def main():
        display = Display({name: (len(jobs), 1) for name in models})
        with Journal(folder, frozenset()) as journal:

            def with_known(asked):
                known = known_by_root(journal.rows([each.root for each in asked]))
                return [_told(each, known.get(each.root, {})) for each in asked]

            dispatch = Dispatch(
                {name: model(name) for name in models},
                fleet,
                with_known,
                journal.append,
                display.update,
            )
            disturbing = asyncio.ensure_future(beside(fleet)) if beside else None
            set_aside = await asyncio.wait_for(dispatch.run(jobs), 10_000)
            if disturbing:
                disturbing.cancel()
        files = list(folder.glob("*.parquet"))
        rows = pa.concat_tables(pa.parquet.read_table(file, schema=DRAWS) for file in files)
        return Outcome(set_aside, rows.to_pylist(), display)

    return run_virtually(main)


def _told(asked, known):
    return Job(*(getattr(asked, name) for name in Job.__slots__[:-1]), known=known)


def expected_places(jobs):
    return {
        (each.root, sampling, sample)
        for each in jobs
        for sampling, num in (("greedy", 1), ("sampled", NUM_SAMPLES))
        for sample in range(num)
    }


def is_whole(outcome, jobs):
    """Every draw of these jobs is there, none twice."""
    roots = Counter(row["root"] for row in outcome.rows)
    assert max(outcome.places.values()) == 1
    return roots == {each.root: DRAWS_PER_JOB for each in jobs}


def test_every_job_is_drawn_once(tmp_path):
    jobs = [job(number) for number in range(200)]
    outcome = dispatched(tmp_path, jobs, Fleet(3, lambda: LocalReplica(work())))
    assert outcome.set_aside == []
    assert is_whole(outcome, jobs)


def test_models_are_held_side_by_side_and_replicas_move_on_to_the_next(tmp_path):
    jobs = [job(number, name) for name in ("big", "middle", "small") for number in range(50)]
    fleet = Fleet(2, lambda: LocalReplica(work()))
    outcome = dispatched(tmp_path, jobs, fleet, models=("big", "middle", "small"))
    assert is_whole(outcome, jobs)
    held = [(shift.replica, shift.model) for shift in outcome.display.shifts.values()]
    assert {model for _, model in held[:2]} == {"big", "middle"}
    assert {model for _, model in held} == {"big", "middle", "small"}


def test_what_is_held_next_is_fetched_meanwhile_and_need_not_be_there(tmp_path):
    fetched = []

    class Fetching(LocalReplica):
        async def hold(self, model, following=None):
            self.worker.engine.fetch = self.fetch
            return await super().hold(model, following)

        async def fetch(self, model):
            fetched.append(model.name)
            raise UserError("no network")

    names = ("big", "middle", "small")
    jobs = [job(number, name) for name in names for number in range(20)]
    fleet = Fleet(1, lambda: Fetching(work()))
    assert is_whole(dispatched(tmp_path, jobs, fleet, models=names), jobs)
    assert fetched == ["middle", "small"]


@pytest.mark.parametrize("seed", range(3))
def test_replicas_that_are_killed_at_random_lose_and_double_nothing(tmp_path, seed):
    jobs = [job(number) for number in range(300)]

    async def kill(fleet):
        random = Random(seed)
        while True:
            await asyncio.sleep(random.uniform(2.0, 5.0))
            if fleet.alive:
                random.choice(fleet.alive).kill()

    fleet = Fleet(3, lambda: LocalReplica(work()))
    outcome = dispatched(tmp_path, jobs, fleet, kill)
    assert len(fleet.made) > 4
    assert outcome.set_aside == []
    assert is_whole(outcome, jobs)


def test_a_job_that_always_kills_its_engine_is_set_aside_after_three_tries_and_alone(tmp_path):
    jobs = [job(number) for number in range(120)]
    fleet = Fleet(2, lambda: LocalReplica(work({7: EngineDied})))
    outcome = dispatched(tmp_path, jobs, fleet)
    assert [(each.model, each.problem) for each in outcome.set_aside] == [("small", "7")]
    assert "3 times" in outcome.set_aside[0].reason
    assert len(fleet.made) == 2 + MAX_ATTEMPTS - 1 or len(fleet.made) == 2 + MAX_ATTEMPTS
    rest = [each for each in jobs if each.problem != "7"]
    outcome.rows = [row for row in outcome.rows if row["root"] != "0/small/7"]
    assert is_whole(outcome, rest)


def test_a_job_that_the_engine_refuses_is_tried_three_times_and_set_aside_with_the_reason(tmp_path):
    jobs = [job(number) for number in range(50)]
    fleet = Fleet(2, lambda: LocalReplica(work({3: RequestFailed, 9: RequestFailed})))
    outcome = dispatched(tmp_path, jobs, fleet)
    assert sorted(outcome.set_aside, key=lambda each: each.problem) == [
        SetAside("small", "3", "job 3"),
        SetAside("small", "9", "job 9"),
    ]
    assert len(fleet.made) == 2
    assert is_whole(outcome, [each for each in jobs if each.problem not in ("3", "9")])


def test_a_bug_in_a_job_ends_the_run_with_its_trace(tmp_path):
    jobs = [job(number) for number in range(50)]
    fleet = Fleet(2, lambda: LocalReplica(work({5: ZeroDivisionError})))
    with pytest.raises(JobFailed, match=r"(?s)Traceback.*ZeroDivisionError: job 5"):
        dispatched(tmp_path, jobs, fleet)


def test_what_the_user_must_mend_ends_the_run_in_one_line(tmp_path):
    jobs = [job(number) for number in range(50)]
    fleet = Fleet(2, lambda: LocalReplica(work({5: UserError})))
    with pytest.raises(UserError, match=r"^job 5$"):
        dispatched(tmp_path, jobs, fleet)


def test_a_model_that_cannot_be_loaded_ends_the_run_after_three_starts_with_the_reason(tmp_path):
    class Unloadable(LocalReplica):
        async def hold(self, _model, _following):
            raise StartFailed("ValueError: no room for the KV cache")

    fleet = Fleet(1, lambda: Unloadable(work()))
    with pytest.raises(UserError, match="no room for the KV cache"):
        dispatched(tmp_path, [job(1)], fleet)
    assert len(fleet.made) == 3


def test_replicas_that_die_whenever_they_start_end_the_run(tmp_path):
    class DiesAlways(LocalReplica):
        async def start(self):
            raise ReplicaDied("killed for want of memory")

    fleet = Fleet(1, lambda: DiesAlways(work()))
    with pytest.raises(UserError, match="killed for want of memory"):
        dispatched(tmp_path, [job(1)], fleet)
    assert len(fleet.made) == 3


def test_a_replica_that_dies_while_it_starts_is_replaced(tmp_path):
    class DiesFirst(LocalReplica):
        async def start(self):
            if len(fleet.made) == 1:
                raise ReplicaDied("out of memory")
            await super().start()

    jobs = [job(number) for number in range(20)]
    fleet = Fleet(1, lambda: DiesFirst(work()))
    assert is_whole(dispatched(tmp_path, jobs, fleet), jobs)


class Mute(LocalReplica):
    """Answers nothing any more after five exchanges, and lives."""

    num_exchanges = 0

    async def exchange(self, jobs, seconds):
        self.num_exchanges += 1
        if self.num_exchanges > 5:
            await asyncio.sleep(math.inf)
        return await super().exchange(jobs, seconds)


class Stuck(LocalReplica):
    """Its engine makes no step any more from a moment on; the worker answers on."""

    async def hold(self, model, following=None):
        asyncio.get_running_loop().call_later(1.0, self.worker.engine._driver.cancel)
        return await super().hold(model, following)


class StuckScorer(LocalReplica):
    """Its jobs wait for scores, and the scorer's engine makes no step any more."""

    async def exchange(self, jobs, seconds):  # noqa: ARG002 - none is ever done
        await asyncio.sleep(seconds)
        engine = Counters(num_slots=8, steps=5)
        scorer = ScorerReport("judge", engine, engine, {}, num_in_flight=3, load_seconds=0.0)
        return Report(scorer=scorer)


@pytest.mark.parametrize("hangs", [Mute, Stuck, StuckScorer])
def test_a_replica_that_hangs_and_lives_is_replaced_and_its_jobs_are_drawn(tmp_path, hangs):
    jobs = [job(number) for number in range(200)]
    fleet = Fleet(2, lambda: hangs(work()) if not fleet.made else LocalReplica(work()))
    started = []

    async def note(fleet):
        while not (fleet.made and fleet.made[0].death.done()):
            await asyncio.sleep(1.0)
        started.append(asyncio.get_running_loop().time())

    outcome = dispatched(tmp_path, jobs, fleet, note)
    assert outcome.set_aside == []
    assert is_whole(outcome, jobs)
    assert HUNG_SECONDS < started[0] < HUNG_SECONDS + 60
    assert len(fleet.made) == 3


def test_a_load_may_take_as_long_as_it_wants(tmp_path):
    class Slow(LocalReplica):
        async def hold(self, model, following=None):
            await asyncio.sleep(3 * HUNG_SECONDS)
            return await super().hold(model, following)

    jobs = [job(number) for number in range(20)]
    fleet = Fleet(1, lambda: Slow(work()))
    assert is_whole(dispatched(tmp_path, jobs, fleet), jobs)
    assert len(fleet.made) == 1


def test_replicas_that_join_during_a_run_get_jobs(tmp_path):
    jobs = [job(number) for number in range(300)]

    async def grow(fleet):
        await asyncio.sleep(2.0)
        fleet.num_replicas = 4

    outcome = dispatched(tmp_path, jobs, Fleet(1, lambda: LocalReplica(work())), grow)
    assert is_whole(outcome, jobs)
    drawn = [shift.num_draws for shift in outcome.display.shifts.values()]
    assert len(drawn) == 4
    assert min(drawn) > 100


def simulated(num_jobs, slownesses, num_slots=16, draws_per_job=4):
    """Utilisation by replica and the seconds of a dispatch to replicas of different speeds."""
    speed = Speed(num_slots, [1.0] * 4096)
    made = [SimulatedReplica(speed, slowness=each) for each in slownesses]

    async def replicas(_at_most):
        for each in made:
            yield each

    async def main():
        dispatch = Dispatch(
            {MODEL.name: MODEL}, replicas, list, lambda *_: None, lambda _event: None
        )
        jobs = [
            Job(MODEL.name, str(number), "", (), (), draws_per_job) for number in range(num_jobs)
        ]
        assert await dispatch.run(jobs) == []
        return asyncio.get_running_loop().time()

    seconds = run_virtually(main)
    return [each.busy_seconds / seconds / num_slots for each in made], seconds, made


def test_nobody_idles_while_another_hoards():
    busy, _, _ = simulated(2000, [1.0, 1.0, 1.0])
    assert min(busy) > 0.97


def test_idle_replicas_take_from_a_slow_one_what_it_has_not_started():
    busy, seconds, made = simulated(1000, [1.0, 1.0, 20.0])
    # 16 slots draw 4000 draws of 1 s: 125 s for two fast replicas. The slow one keeps only what it has started.
    assert made[2].num_releases > 0
    assert min(busy[:2]) > 0.8
    assert seconds < 125 + 2 * 20


def test_many_replicas_are_kept_busy_by_a_driver_of_less_than_a_core():
    bench = DispatchBench((64,), 3_000, 1000, 8, 16, 5.0, 300.0)
    (row,) = bench.run(None).rows
    assert row["driver cores"] < 1
    assert row["utilisation %"] > 80


def test_the_record_of_a_run_adds_up(tmp_path):
    jobs = [job(number) for number in range(100)]
    outcome = dispatched(tmp_path, jobs, Fleet(2, lambda: LocalReplica(work())))
    display = outcome.display
    summary = display.tallies["small"].summary()
    assert summary["num_draws"] == len(outcome.rows)
    assert summary["output_tokens"] == sum(len(row["tokens"]) for row in outcome.rows)
    assert summary["full_occupancy"] > 0.95
    assert summary["full_occupancy"] >= summary["occupancy"] > 0.5
    assert 0 < summary["drain_share"] < 0.5
    assert summary["preemptions"] == 0
    rows = display.engine_rows()
    assert [row["replica"] for row in rows] == [0, 1]
    assert sum(row["num_draws"] for row in rows) == len(outcome.rows)
    assert all(row["busy_seconds"] <= row["wall_seconds"] for row in rows)
    assert display.tallies["small"].num_in_flight == 0


@dataclass(frozen=True)
class RefusesGreedy:
    """Refuses the greedy draw of every job at once; all others take a while."""

    def __call__(self, _prefix, seed):
        if seed == 0:
            raise RequestFailed("not greedily")
        return tuple(range(1, 41))


def test_requests_beside_a_refused_one_are_taken_back():
    async def story():
        worker = Worker(
            Work(Simulated(8, 0.01, 0.0, RefusesGreedy(), pace=1.0), STRATEGIES, Nothing())
        )
        await worker.start()
        await worker.hold(model())
        report = await worker.exchange([job(1)], 5.0)
        while not report.refused:
            report = await worker.exchange([], 5.0)
        num_in_flight = worker.gate.num_in_flight
        await worker.close()
        return report, num_in_flight

    report, num_in_flight = run_virtually(story)
    assert report.refused == {"1": "not greedily"}
    assert num_in_flight == 0


def test_a_worker_whose_queue_is_taken_back_only_drains_from_then_on():
    async def story():
        worker = Worker(work(num_slots=1))
        await worker.start()
        await worker.hold(model())
        await worker.exchange([job(number) for number in range(6)], 0.05)
        released = await worker.release("small", 1000)
        report = await worker.exchange([], 60.0)
        await worker.close()
        return released, report

    released, report = run_virtually(story)
    assert len(released) > 1
    assert 0 < report.full_seconds < report.seconds
    assert report.full.occupancy is not None
