"""What is missing, by counting: the same as by running every strategy. And what jobs and tables make of a pool."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_exp.dispatch import UNKNOWN, Job
from scaling_exp.experiment import jobs_of, with_known
from scaling_exp.generation import Forest, Stream
from scaling_exp.grading import Exact
from scaling_exp.store import Draw, Known, Store, StoreError, encode, known_by_root, stream_of
from scaling_exp.strategies import AdaptiveVoting, Greedy, ParallelSampling
from scaling_exp.survey import Prompted, survey
from scaling_exp.tables import write_tables
from scaling_exp.types import Completion, Problem, Sampling

SAMPLED = Sampling(max_tokens=4)
GREEDY = Sampling(max_tokens=4, temperature=0.0)
NUM_PROBLEMS = 4
PROBLEMS = [Problem(f"p{at}", "?", str(at), "all") for at in range(NUM_PROBLEMS)]


@dataclass(frozen=True)
class Echo:
    """A model whose tokens are its text, and says of a stream and a sample always the same."""

    name: str = "m"
    fingerprint: str = "f" * 32
    max_tokens: int = 100

    def prompts(self, problems):
        return [(at, 1) for at, _ in enumerate(problems)]

    stop_token_ids = ()

    def decode(self, tokens):
        return " ".join(map(str, tokens))


class FirstWord:
    """The answer is the first word; 0 is none."""

    num_read = 0

    def __init__(self):
        self.grader = Counted()

    def problems(self):
        return PROBLEMS

    def read(self, text):
        self.num_read += 1
        return text.split()[0] if text and text[0] != "0" else None


class Counted(Exact):
    graded: ClassVar[list[str]] = []

    def quick(self, problem, answer):
        self.graded.append(answer)
        return super().quick(problem, answer)


def prompted(model=None):
    return Prompted.of(model or Echo(), PROBLEMS, 0, {})


def said(problem, sample):
    return Completion(((problem * 7 + sample * sample) % 3, sample % 2), "stop", sample % 4)


def drawn(places, sampling=SAMPLED, model=None):
    """Draws of (problem, sample)."""
    every = prompted(model)
    return [
        Draw(
            every.model.name,
            every.model.fingerprint,
            Stream(every.roots[problem], (), every.prompts[problem], sampling),
            sample,
            said(problem, sample),
        )
        for problem, sample in places
    ]


def write(store, run, draws):
    with store.run(run).journal(store.parts()) as journal:
        journal.append(encode(draws), len(draws))


@dataclass
class Noting:
    """A source that notes what is not known, and makes an empty answer of it."""

    fingerprint: str
    known: Known
    missing: set[tuple[int, int]] = field(default_factory=set)

    async def __call__(self, stream, samples):
        name = stream_of(self.fingerprint, stream)
        known = self.known.get(name, {})
        self.missing.update((name, sample) for sample in samples if sample not in known)
        return [known.get(sample, Completion((), "length")) for sample in samples]


def replayed_missing(store, strategies):
    """Per problem, who misses draws and all draws that are missed, found by running every strategy."""
    every, task = prompted(), FirstWord()
    found = []

    def read(tokens):
        return task.read(every.model.decode(tokens))

    for root, prompt in zip(every.roots, every.prompts, strict=True):
        known = known_by_root([store.pool(every.model.fingerprint).rows([root])]).get(root, {})
        replays = {name: Noting(every.model.fingerprint, known) for name in strategies}

        async def grow(prompt=prompt, root=root, replays=replays):
            for name, strategy in strategies.items():
                await strategy(Forest(prompt, replays[name], root, read))

        asyncio.run(grow())
        found.append({name: replay.missing for name, replay in replays.items()})
    return found


PLACES = st.sets(st.tuples(st.integers(0, NUM_PROBLEMS - 1), st.integers(0, 9)), min_size=1)


@settings(max_examples=30)
@given(places=PLACES, num_fixed=st.integers(0, 8), num_adaptive=st.integers(1, 8))
def test_counting_finds_what_running_the_strategies_finds(
    tmp_path_factory, places, num_fixed, num_adaptive
):
    store = Store(tmp_path_factory.mktemp("store"))
    write(store, "a", drawn(places) + drawn([(0, 0)], GREEDY))
    strategies = {"greedy": Greedy(4), "adaptive": AdaptiveVoting(num_adaptive, SAMPLED)}
    if num_fixed:
        strategies["sampling"] = ParallelSampling(num_fixed, SAMPLED)
    surveyed = survey(prompted(), store.pool("f" * 32), strategies, FirstWord())
    jobs = {job.problem: job for job in jobs_of(surveyed)}
    for problem, missing in zip(PROBLEMS, replayed_missing(store, strategies), strict=True):
        missed = set().union(*missing.values())
        if not missed:
            assert problem.name not in jobs
            continue
        job = jobs[problem.name]
        for name in ("greedy", "sampling"):
            assert (name in job.strategies) == bool(missing.get(name))
        # What an adaptive strategy misses may be drawn by a fixed one: then it is not asked to draw.
        by_fixed = set().union(*(missing[name] for name in job.strategies if name != "adaptive"))
        if "adaptive" in job.strategies:
            assert missing["adaptive"]
        else:
            assert missing["adaptive"] <= by_fixed
        assert job.num_draws >= len(missed)
        assert job.num_draws == len(missed) or "adaptive" in job.strategies


def test_a_top_up_asks_for_the_difference_and_tells_jobs_what_is_known(tmp_path):
    store = Store(tmp_path)
    write(
        store,
        "a",
        drawn((problem, sample) for problem in range(NUM_PROBLEMS) for sample in range(4)),
    )
    pool = store.pool("f" * 32)
    surveyed = survey(prompted(), pool, {"s": ParallelSampling(8, SAMPLED)}, FirstWord())
    assert surveyed.num_known_P.tolist() == surveyed.num_missing_P.tolist() == [4] * NUM_PROBLEMS
    with store.run("b").journal(store.parts()) as journal:
        jobs = with_known({"m": pool}, None, journal, jobs_of(surveyed))
    for at, job in enumerate(jobs):
        assert (job.num_draws, job.num_known, job.strategies) == (4, 4, ("s",))
        (samples,) = job.known.values()
        assert samples == {sample: said(at, sample) for sample in range(4)}


@pytest.mark.parametrize("seal_bytes", [1, 1 << 30])
def test_a_job_of_a_replica_that_died_learns_what_came_back_from_it(tmp_path, seal_bytes):
    """From the live journal or from a part that was sealed since the run began."""
    store = Store(tmp_path)
    every, pool = prompted(), store.pool("f" * 32)
    job = Job("m", "p1", every.roots[1], every.prompts[1], ("s",), num_draws=8)
    with store.run("a").journal(store.parts()) as journal:
        journal.seal_bytes = seal_bytes
        for sample in range(3):
            draws = drawn([(1, sample), (2, sample)])
            journal.append(encode(draws), len(draws))
        (again,) = with_known({"m": pool}, None, journal, [replace(job, num_known=UNKNOWN)])
    (samples,) = again.known.values()
    assert samples == {sample: said(1, sample) for sample in range(3)}


STRATEGIES = {"sampling": ParallelSampling(6, SAMPLED), "adaptive": AdaptiveVoting(6, SAMPLED)}


def complete(store, run="a"):
    write(store, run, drawn((problem, i) for problem in range(NUM_PROBLEMS) for i in range(6)))
    return [(prompted(), store.pool("f" * 32))]


def test_tables_hold_a_row_for_every_accepted_sample_and_every_node(tmp_path):
    store, task = Store(tmp_path), FirstWord()
    folder = store.run("a")
    Counted.graded.clear()
    write_tables(folder, complete(store), STRATEGIES, task)
    samples, traces = folder.read_table("samples").to_pylist(), folder.read_table("traces")
    sampled = [row for row in samples if row["strategy"] == "sampling"]
    assert [(row["problem"], row["sample"]) for row in sampled] == [
        (problem.name, i) for problem in PROBLEMS for i in range(6)
    ]
    for row in samples:
        problem, sample = int(row["problem"][1:]), row["sample"]
        tokens = said(problem, sample).tokens
        (draw,) = drawn([(problem, sample)])
        assert row["text"] == Echo().decode(tokens)
        assert row["answer"] == (str(tokens[0]) if tokens[0] else None)
        assert row["is_correct"] == (row["answer"] == str(problem))
        assert (row["key"], row["seed"]) == (draw.key, draw.seed)
        assert (row["num_prompt_tokens"], row["num_output_tokens"]) == (2, 2)
        assert (row["num_cached_tokens"], row["truncated"]) == (sample % 4, False)
    assert traces.num_rows == len(samples)
    assert all(traces["is_accepted"].to_pylist())
    grades = folder.read_table("grades").to_pylist()
    assert len(grades) == len({(row["problem"], row["answer"]) for row in grades})
    assert len(grades) == len(Counted.graded)
    assert {row["grader"] for row in grades} == {"exact 1"}
    outcomes = {row["answer"] and row["outcome"] for row in samples if not row["is_correct"]}
    assert outcomes == {None, "wrong"}
    assert folder.read_table("problems")["problem"].to_pylist() == [each.name for each in PROBLEMS]


def test_a_completion_that_comes_often_is_read_once(tmp_path):
    store, task = Store(tmp_path), FirstWord()
    write_tables(store.run("a"), complete(store), STRATEGIES, task)
    distinct = {said(problem, i).tokens for problem in range(NUM_PROBLEMS) for i in range(6)}
    assert task.num_read == len(distinct) < NUM_PROBLEMS * 6


def test_tables_made_in_chunks_are_the_same_tables(tmp_path, monkeypatch):
    from scaling_exp import tables

    store = Store(tmp_path)
    pools = complete(store)
    write_tables(store.run("a"), pools, STRATEGIES, FirstWord())
    monkeypatch.setattr(tables, "TOKENS_PER_CHUNK", 1)
    write_tables(store.run("b"), pools, STRATEGIES, FirstWord())
    for name in ("samples", "traces", "grades", "problems"):
        one, other = (store.run(run).read_table(name) for run in "ab")
        assert one.equals(other)
        assert one.num_rows


def test_tables_of_draws_that_are_not_there_are_refused(tmp_path):
    store = Store(tmp_path)
    pools = complete(store)
    more = {"sampling": ParallelSampling(7, SAMPLED)}
    with pytest.raises(StoreError, match=r"lacks sample 6 of 0/m/p0; run the same command again"):
        write_tables(store.run("a"), pools, more, FirstWord())
    with pytest.raises(StoreError, match="has not finished"):
        store.run("a").read_table("samples")


def test_a_problem_that_was_set_aside_is_in_no_table(tmp_path):
    store = Store(tmp_path)
    ((every, pool),) = complete(store)
    write_tables(store.run("a"), [(every.without({"p1"}), pool)], STRATEGIES, FirstWord())
    for name in ("samples", "traces", "grades", "problems"):
        names = set(store.run("a").read_table(name)["problem"].to_pylist())
        assert "p1" not in names
        assert names >= {"p0", "p2"} or name == "grades"
