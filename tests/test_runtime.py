"""The gate keeps an engine full, whatever shape the jobs have."""

import asyncio
from dataclasses import dataclass
from random import Random

import pytest

from scaling_exp.engines import Counters
from scaling_exp.engines.simulated import Simulated
from scaling_exp.generation import Bound, Forest, Fresh
from scaling_exp.runtime import HEADROOM, Gate, Target, run_all
from scaling_exp.strategies import AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.types import Completion, Sampling

NUM_SLOTS = 64
SAMPLED = Sampling(max_tokens=1000)


@dataclass(frozen=True)
class Levels:
    """The shape of a search without its scores: `width` continuations of every level's first node."""

    width: int
    depth: int

    async def __call__(self, forest):
        parent = ()
        for _ in range(self.depth):
            nodes = await forest.extend_all(parent, range(self.width), SAMPLED)
            parent = nodes[0].path
        forest.accept(parent)

    @property
    def bound(self):
        below = self.width * (self.depth - 1)
        return Bound(self.width, SAMPLED, is_exact=False, num_below=below)


def respond(prefix, seed):
    """Lengths of 20 to 200 tokens; the first token is one of three answers."""
    draw = Random(hash((prefix, seed)))
    return (draw.choice([1, 1, 2, 3]),) * draw.randint(20, 200)


def read(tokens):
    return str(tokens[0])


async def each(jobs):
    for job in jobs:
        yield job


def one(_job):
    """At once: as a job of one request makes them."""
    return 1


@pytest.mark.parametrize(
    ("strategy", "num_jobs"),
    [
        (Greedy(1000), 4000),
        (ParallelSampling(64, SAMPLED), 60),
        (AdaptiveVoting(16, SAMPLED), 400),
        (AdaptiveVoting(64, SAMPLED), 100),
        (Levels(16, 8), 60),
        (Levels(4, 20), 100),
    ],
    ids=lambda value: getattr(type(value), "__name__", str(value)),
)
def test_the_engine_is_full_until_the_last_job_is_admitted(strategy, num_jobs):
    async def measured():
        engine = Simulated(NUM_SLOTS, 0.01, 0.0001, respond).start()
        gate = Gate(engine)
        occupancy = []

        async def run(job):
            occupancy.append(engine.occupancy)
            await strategy(Forest((job,), Fresh(gate), f"root/{job}", read))

        await run_all(each(range(num_jobs)), run, lambda _: strategy.bound.num_samples, gate)
        await engine.close()
        return occupancy[-1], gate.num_in_flight, len(occupancy)

    occupancy, num_in_flight, num_run = asyncio.run(measured())
    assert (num_in_flight, num_run) == (0, num_jobs)
    assert occupancy >= 0.95


class Scripted:
    """An engine that answers when it is told to, and says which requests it was given, in order."""

    def __init__(self, num_slots, num_safe=None):
        self.num_slots = num_slots
        self.num_safe = num_slots if num_safe is None else num_safe
        self.counters = Counters(num_slots=num_slots)
        self.given = []
        self.answers = {}

    async def __call__(self, prefix, sampling, seed):  # noqa: ARG002
        self.given.append(seed)
        self.answers[seed] = asyncio.get_running_loop().create_future()
        await self.answers[seed]
        return Completion((seed,), "stop")

    def answer(self, seed):
        self.answers[seed].set_result(None)


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


def test_jobs_are_admitted_as_there_is_room_and_not_before():
    """One-request jobs: never more in flight than the target."""
    peak = 0

    async def measured():
        nonlocal peak
        gate = Gate(Simulated(8, 0.01, 0.0, respond).start())

        async def run(job):
            nonlocal peak
            drawing = gate((job,), SAMPLED, job)
            peak = max(peak, gate.num_in_flight)
            await drawing

        await run_all(each(range(200)), run, one, gate)
        await gate.engine.close()

    asyncio.run(measured())
    assert peak == round(8 * HEADROOM)


def test_requests_beyond_the_target_are_held_and_go_in_the_order_of_asking():
    async def measured():
        engine = Scripted(4)
        gate = Gate(engine)
        asked = [asyncio.ensure_future(gate((1,), SAMPLED, seed)) for seed in range(12)]
        await turns()
        assert (engine.given, gate.num_in_flight) == ([0, 1, 2, 3, 4, 5], 12)
        for seed in range(12):
            engine.answer(seed)
            await turns()
        assert engine.given == list(range(12))
        await asyncio.gather(*asked)
        assert gate.num_in_flight == 0

    asyncio.run(measured())


def test_a_request_that_is_cancelled_while_it_is_held_takes_no_place():
    async def measured():
        engine = Scripted(1)
        gate = Gate(engine)
        asked = [asyncio.ensure_future(gate((1,), SAMPLED, seed)) for seed in range(5)]
        await turns()
        assert engine.given == [0, 1]
        asked[2].cancel()
        assert gate.num_in_flight == 4
        engine.answer(0)
        asked[3].cancel()  # whether its turn has come in the meantime or not, it must keep no place
        await turns()
        assert engine.given == [0, 1, 4]
        engine.answer(1)
        engine.answer(4)
        await turns()
        assert gate.num_in_flight == 0

    asyncio.run(measured())


def test_a_held_request_may_be_cancelled_in_the_very_turn_in_which_a_place_comes_free():
    async def measured():
        engine = Scripted(1)
        gate = Gate(engine)
        asked = [asyncio.ensure_future(gate((1,), SAMPLED, seed)) for seed in range(4)]
        await turns()
        engine.answer(0)
        asked[2].cancel()
        outcomes = await asyncio.gather(asked[0], asked[2], return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        await turns()
        assert engine.given == [0, 1, 3]

    asyncio.run(measured())


def test_a_held_request_that_entered_is_cancelled_in_the_engine():
    async def measured():
        engine = Scripted(1)
        gate = Gate(engine)
        asked = [gate((1,), SAMPLED, seed) for seed in range(3)]
        await turns()
        engine.answer(0)
        await turns()
        asked[2].cancel()
        await turns()
        assert engine.given == [0, 1, 2]
        assert engine.answers[2].cancelled()
        assert gate.num_in_flight == 1

    asyncio.run(measured())


def test_an_engine_that_raises_at_once_fails_the_request_and_not_the_gate():
    """Also one that was held, which nobody is calling then."""

    class Refuses(Scripted):
        def __call__(self, prefix, sampling, seed):
            if seed:
                raise OSError(f"request {seed}")
            return super().__call__(prefix, sampling, seed)

    async def measured():
        engine = Refuses(1, num_safe=1)
        gate = Gate(engine)
        first = gate((1,), SAMPLED, 0)
        with pytest.raises(OSError, match="request 1"):
            gate((1,), SAMPLED, 1)
        second = gate((1,), SAMPLED, 0)
        held = gate((1,), SAMPLED, 2)
        await turns()
        engine.answer(0)
        with pytest.raises(OSError, match="request 2"):
            await held
        first.cancel()
        second.cancel()
        await turns()
        return gate.num_in_flight

    assert asyncio.run(measured()) == 0


def test_an_engine_with_little_memory_starts_at_what_is_safe_and_is_filled_until_it_thrashes():
    """An engine that must preempt whenever more than 20 requests run, though it has 64 slots."""
    peaks = []

    async def measured():
        engine = Scripted(64, num_safe=4)
        gate = Gate(engine)
        assert gate.target == 4
        asked = [asyncio.ensure_future(gate((1,), SAMPLED, seed)) for seed in range(1500)]
        for seed in range(1500):
            await turns()
            running = len(engine.given) - seed
            peaks.append(running)
            if running > 20:
                engine.counters.num_preemptions += 1
            engine.answer(seed)
        await asyncio.gather(*asked)

    asyncio.run(measured())
    settled = peaks[800:-30]
    assert max(settled) <= 22
    assert min(settled) >= 0.85 * 20


def test_the_target_doubles_with_every_batch_until_the_engine_thrashes_and_then_grows_by_one():
    target = Target(safe=8, ceiling=100)
    for _ in range(40):
        target.finished(0, int(target.value))
    assert target.value == 48
    for _ in range(5):
        target.finished(6, 48)
    assert target.value == pytest.approx(0.9 * 48)
    for _ in range(44):
        target.finished(0, 44)
    assert target.value == pytest.approx(0.9 * 48 + 1)


def test_the_target_bears_a_few_preemptions_and_never_goes_below_what_is_safe():
    target = Target(safe=8, ceiling=20)
    for number in range(200):
        target.finished(int(number % 4 == 0), 20)
    assert target.value == 20
    for _ in range(400):
        target.finished(3, 20)
    assert target.value == 8


def test_the_target_does_not_grow_while_there_is_nothing_to_fill_it():
    target = Target(safe=8, ceiling=100)
    for _ in range(40):
        target.finished(0, 3)
    assert target.value == 8


def test_the_first_job_to_raise_cancels_the_others_and_its_exception_propagates():
    cancelled = []

    async def measured():
        gate = Gate(Scripted(3))

        async def run(job):
            if job == 2:
                raise ZeroDivisionError("job 2")
            try:
                await gate((job,), SAMPLED, job)
            except asyncio.CancelledError:
                cancelled.append(job)
                raise

        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(run_all(each(range(100)), run, one, gate), 5)
        return gate, caught.value.exceptions

    gate, (error,) = asyncio.run(measured())
    assert isinstance(error, ZeroDivisionError)
    assert sorted(cancelled) == [0, 1, 3]  # those that were admitted with it
    assert gate.num_in_flight == 0


def test_a_failing_engine_releases_its_place():
    class Fails(Scripted):
        async def __call__(self, prefix, sampling, seed):  # noqa: ARG002
            raise OSError("engine died")

    async def measured():
        gate = Gate(Fails(1))
        with pytest.raises(OSError, match="engine died"):
            await gate((1,), SAMPLED, 1)
        return gate.num_in_flight

    assert asyncio.run(measured()) == 0
