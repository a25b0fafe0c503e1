"""The gate keeps an engine full, whatever shape the jobs have."""

import asyncio
from random import Random

import pytest

from scaling_exp.cluster import HEADROOM
from scaling_exp.engines.simulated import Simulated
from scaling_exp.generation import Forest
from scaling_exp.runtime import Gate, run_all
from scaling_exp.strategies import AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.types import Completion, Sampling

NUM_SLOTS = 64
SAMPLED = Sampling(max_tokens=1000)


def respond(prefix, seed):
    """Lengths of 20 to 200 tokens; the first token is one of three answers."""
    draw = Random(hash((prefix, seed)))
    return (draw.choice([1, 1, 2, 3]),) * draw.randint(20, 200)


def read(tokens):
    return str(tokens[0])


async def each(jobs):
    for job in jobs:
        yield job


@pytest.mark.parametrize(
    ("strategy", "num_jobs"),
    [
        (Greedy(1000), 4000),
        (ParallelSampling(64, SAMPLED), 60),
        (AdaptiveVoting(16, SAMPLED), 400),
        (AdaptiveVoting(64, SAMPLED), 100),
    ],
    ids=lambda value: getattr(type(value), "__name__", str(value)),
)
def test_the_engine_is_full_until_the_last_job_is_admitted(strategy, num_jobs):
    async def measured():
        engine = Simulated(NUM_SLOTS, 0.01, 0.0001, respond).start()
        gate = Gate(engine, round(HEADROOM * NUM_SLOTS))
        occupancy = []

        async def run(job):
            occupancy.append(engine.occupancy)
            await strategy(Forest((job,), gate, f"root/{job}", read))

        await run_all(each(range(num_jobs)), run, gate)
        await engine.close()
        return occupancy[-1], gate.num_in_flight, len(occupancy)

    occupancy, num_in_flight, num_run = asyncio.run(measured())
    assert (num_in_flight, num_run) == (0, num_jobs)
    assert occupancy >= 0.95


def test_jobs_are_admitted_as_there_is_room_and_not_before():
    """One-request jobs: never more in flight than the target."""
    peak = 0

    async def measured():
        engine = Simulated(8, 0.01, 0.0, respond).start()

        async def watched(prefix, sampling, seed):
            nonlocal peak
            peak = max(peak, gate.num_in_flight)
            return await engine(prefix, sampling, seed)

        gate = Gate(watched, 10)

        async def run(job):
            await gate((job,), SAMPLED, job)

        await run_all(each(range(200)), run, gate)
        await engine.close()

    asyncio.run(measured())
    assert peak == 10


def test_the_first_job_to_raise_cancels_the_others_and_its_exception_propagates():
    cancelled = []

    async def never(*_):
        await asyncio.Event().wait()
        return Completion((), "stop")

    gate = Gate(never, 4)

    async def run(job):
        if job == 2:
            raise ZeroDivisionError("job 2")
        try:
            await gate((job,), SAMPLED, job)
        except asyncio.CancelledError:
            cancelled.append(job)
            raise

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(asyncio.wait_for(run_all(each(range(100)), run, gate), 5))
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    assert sorted(cancelled) == [0, 1]
    assert gate.num_in_flight == 0


def test_a_failing_engine_releases_its_place():
    async def fails(*_):
        raise OSError("engine died")

    gate = Gate(fails, 1)
    with pytest.raises(OSError, match="engine died"):
        asyncio.run(gate((1,), SAMPLED, 1))
    assert gate.num_in_flight == 0


def test_a_gate_that_never_opens_is_refused():
    with pytest.raises(ValueError, match="gate target is 0"):
        Gate(Simulated(1, 0.01, 0.0, respond).start, 0)
