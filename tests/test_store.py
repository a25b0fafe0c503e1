"""The store: nothing lost, nothing doubled, whatever kills the writer."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.store import Draw, Pooled, Replay, RunFolder, Store, StoreError, draw_key
from scaling_exp.types import Completion, Sampling

SAMPLED = Sampling(max_tokens=8)
FINGERPRINT = "f" * 32


def draw(at, **changes):
    made = Draw(
        model="small",
        fingerprint=FINGERPRINT,
        root=f"0/small/problem-{at % 3}",
        prefix=(1, 2, at),
        sampling=SAMPLED,
        seed=(1 << 62) + at,
        completion=Completion((at, 5, 6), "stop", at % 2),
    )
    return replace(made, **changes)


def pooled(store):
    """Completions by key over all roots of the one model."""
    return {key: each for known in store.pool(FINGERPRINT).values() for key, each in known.items()}


def count_with_duckdb(store):
    parts = f"{store.root}/*/draws/*.parquet"
    (counts,) = duckdb.sql(f"SELECT count(*), count(DISTINCT key) FROM '{parts}'").fetchall()
    return counts


# A writer that says how many draws it has been promised, until it is killed.
WRITER = """
import sys
from test_store import draw
from scaling_exp.store import RunFolder
from pathlib import Path
with RunFolder(Path(sys.argv[1])).journal() as journal:
    for batch in range(100_000):
        journal.append([draw(7 * batch + i) for i in range(7)])
        print(journal.num_draws, flush=True)
"""


def test_draws_come_back_as_they_were(tmp_path):
    store = Store(tmp_path)
    draws = [draw(at) for at in range(20)]
    with store.run("a").journal() as journal:
        journal.append(draws[:12])
        journal.append(draws[12:])
    pool = store.pool(FINGERPRINT)
    assert {
        (root, key): completion for root, known in pool.items() for key, completion in known.items()
    } == {(each.root, each.key): each.completion for each in draws}
    assert store.pool("another model") == {}
    assert Store(tmp_path / "nowhere").pool(FINGERPRINT) == {}


def test_the_pool_is_the_union_of_all_runs(tmp_path):
    store = Store(tmp_path)
    for run in range(3):
        with store.run(f"run-{run}").journal() as journal:
            journal.append([draw(10 * run + at) for at in range(10)])
    assert len(pooled(store)) == 30


def test_a_draw_that_comes_twice_is_written_once(tmp_path):
    store = Store(tmp_path)
    with store.run("a").journal() as journal:
        journal.append([draw(1), draw(1), draw(2)])
        journal.append([draw(2), draw(3)])
        assert journal.num_draws == 3
    assert count_with_duckdb(store) == (3, 3)


@given(
    prefix=st.lists(st.integers(0, 1 << 31), max_size=6).map(tuple),
    seed=st.integers(0, (1 << 63) - 1),
)
def test_a_key_changes_with_every_component(prefix, seed):
    key = draw_key(FINGERPRINT, prefix, SAMPLED, seed)
    assert key == draw_key(FINGERPRINT, prefix, SAMPLED, seed)
    others = [
        draw_key("e" * 32, prefix, SAMPLED, seed),
        draw_key(FINGERPRINT, (*prefix, 0), SAMPLED, seed),
        draw_key(FINGERPRINT, (0, *prefix), SAMPLED, seed),
        draw_key(FINGERPRINT, prefix, SAMPLED, seed ^ 1),
        draw_key(FINGERPRINT, prefix, SAMPLED, seed ^ (1 << 62)),
    ]
    others += [
        draw_key(FINGERPRINT, prefix, replace(SAMPLED, **{name: value}), seed)
        for name, value in {
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "min_p": 0.1,
            "stop_token_ids": (3,),
        }.items()
    ]
    assert key not in others


def test_names_are_no_part_of_a_key():
    assert draw(1).key == draw(1, model="renamed", root="elsewhere").key


def test_duckdb_and_pandas_read_the_parts_as_they_lie(tmp_path):
    store = Store(tmp_path)
    for run in ("a", "b"):
        with store.run(run).journal() as journal:
            journal.append([draw(at, root=run, prefix=(ord(run), at)) for at in range(5)])
    assert count_with_duckdb(store) == (10, 10)
    table = pd.concat(pd.read_parquet(part) for part in tmp_path.glob("*/draws/*.parquet"))
    assert table["key"].is_unique
    assert sorted(table["seed"]) == sorted([(1 << 62) + at for at in range(5)] * 2)
    assert table["tokens"].map(list).tolist()[0][1:] == [5, 6]


@pytest.mark.parametrize("trial", range(6))
def test_a_killed_writer_loses_nothing_that_it_promised(tmp_path, trial):
    """SIGKILL while it writes, each trial at another moment."""
    store = Store(tmp_path)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    promised = [int(writer.stdout.readline())]
    assert store.recover() == 0, "a journal that is being written belongs to its writer"
    time.sleep(random.Random(trial).uniform(0, 0.1))
    writer.send_signal(signal.SIGKILL)
    promised += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()

    num_recovered = store.recover()
    # One batch may have reached the file whose promise did not reach us.
    assert promised[-1] <= num_recovered <= promised[-1] + 7
    assert pooled(store) == {draw(at).key: draw(at).completion for at in range(num_recovered)}
    assert count_with_duckdb(store) == (num_recovered, num_recovered)
    assert store.recover() == 0
    assert not list(tmp_path.glob("*/draws/*.journal"))


def test_a_torn_tail_is_ignored_wherever_it_was_torn(tmp_path):
    store = Store(tmp_path)
    ends = []
    with store.run("whole").journal() as journal:
        for batch in range(3):
            journal.append([draw(4 * batch + i) for i in range(4)])
            ends.append(journal.path.stat().st_size)
        content = journal.path.read_bytes()
    torn = store.run("torn").path / "draws"
    torn.mkdir(parents=True)
    for cut in [*range(0, len(content), 37), *ends, *(end - 1 for end in ends)]:
        (torn / "x.journal").write_bytes(content[:cut])
        num_whole = 4 * sum(end <= cut for end in ends)
        assert store.recover() == num_whole, cut
        for part in torn.glob("x.*"):
            part.unlink()


def test_a_crash_between_the_part_and_the_end_of_its_journal_doubles_nothing(tmp_path):
    store = Store(tmp_path)
    with store.run("a").journal() as journal:
        journal.append([draw(at) for at in range(9)])
        content = journal.path.read_bytes()
    journal.path.write_bytes(content)
    assert store.recover() == 9
    assert count_with_duckdb(store) == (9, 9)


def test_a_run_that_raises_keeps_its_draws(tmp_path):
    store = Store(tmp_path)

    def fails():
        with store.run("a").journal() as journal:
            journal.append([draw(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(pooled(store)) == 1


def test_the_engine_is_asked_once_for_each_draw():
    asked, recorded = [], []

    async def engine(_prefix, _sampling, seed):
        asked.append(seed)
        await asyncio.sleep(0)
        return Completion((seed,), "stop")

    known = {draw_key(FINGERPRINT, (1,), SAMPLED, 5): Completion((55,), "stop")}

    async def ask():
        sampler = Pooled("small", FINGERPRINT, "root", known, engine, recorded.append)
        return await asyncio.gather(*(sampler((1,), SAMPLED, seed) for seed in (5, 6, 6, 7, 6)))

    answers = asyncio.run(ask())
    assert [each.tokens for each in answers] == [(55,), (6,), (6,), (7,), (6,)]
    assert asked == [6, 7]
    assert [each.seed for each in recorded] == [6, 7]


def test_a_replay_answers_from_the_pool_and_notes_what_is_missing():
    known = {draw_key(FINGERPRINT, (1,), SAMPLED, 5): Completion((55,), "stop")}
    replay = Replay(FINGERPRINT, known)
    assert asyncio.run(replay((1,), SAMPLED, 5)).tokens == (55,)
    assert asyncio.run(replay((1,), SAMPLED, 6)).tokens == ()
    assert replay.missing == {draw_key(FINGERPRINT, (1,), SAMPLED, 6)}


def test_a_run_belongs_to_one_process(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with (
        folder.locked(),
        pytest.raises(StoreError, match="is being written by another process"),
        folder.locked(),
    ):
        pass
    with folder.locked():
        pass


def test_a_table_is_replaced_as_a_whole(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_table("samples", pa.table({"k": [1, 2]}))
    folder.write_table("samples", pa.table({"k": [3]}))
    assert folder.read_table("samples").to_pydict() == {"k": [3]}
    assert [file.name for file in folder.path.iterdir()] == ["samples.parquet"]


def test_what_is_not_there_is_said_with_the_remedy(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(StoreError, match=r"it has no manifest\.json; give the folder"):
        folder.read_manifest()
    with pytest.raises(StoreError, match="run it again to go on"):
        folder.read_table("samples")
