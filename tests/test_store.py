"""The store: nothing lost, nothing doubled, whatever kills the writer, whoever else writes, however full the disk."""

import asyncio
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from scaling_exp.generation import Stream, seed_of
from scaling_exp.store import (
    Draw,
    Index,
    NotDrawn,
    Pooled,
    Replay,
    RunFolder,
    Store,
    StoreError,
    draw_key,
    encode,
    known_by_root,
    stream_of,
)
from scaling_exp.store.draws import BILLED, SCORES
from scaling_exp.types import Billed, Completion, Sampling

SAMPLED = Sampling(max_tokens=8)
GREEDY = Sampling(max_tokens=8, temperature=0.0)
FINGERPRINT = "f" * 32
ROOTS = [f"0/small/problem-{at}" for at in range(3)]


def draw(at, model="small", root=None, prefix=None, sampling=SAMPLED):
    """Draw `at` of many: three roots, and streams of eight samples."""
    root = ROOTS[at % 3] if root is None else root
    prefix = (1, 2, at // 24) if prefix is None else prefix
    stream = Stream(root, (), prefix, sampling)
    sample = at // 3 % 8
    return Draw(model, FINGERPRINT, stream, sample, Completion((at, 5, 6), "stop", at % 2))


def append(journal, draws):
    journal.append(encode(draws), len(draws))


def write(store, run, draws, surveyed=frozenset()):
    with store.run(run).journal(surveyed) as journal:
        append(journal, draws)


def pooled(store, fingerprint=FINGERPRINT, roots=ROOTS):
    """Completions by (stream, sample) over all roots of the one model."""
    known = known_by_root([store.pool(fingerprint).rows(roots)])
    return {
        (stream, sample): completion
        for of_root in known.values()
        for stream, samples in of_root.items()
        for sample, completion in samples.items()
    }


def as_pooled(draws):
    return {(stream_of(FINGERPRINT, each.stream), each.sample): each.completion for each in draws}


def count_with_duckdb(store):
    parts = f"{store.root}/*/draws/*.parquet"
    (counts,) = duckdb.sql(f"SELECT count(*), count(DISTINCT key) FROM '{parts}'").fetchall()
    return counts


# A writer that says how many draws it has been promised, until it is killed. It seals a part now and then.
WRITER = """
import sys
from test_store import append, draw
from scaling_exp.store import RunFolder
from pathlib import Path
with RunFolder(Path(sys.argv[1])).journal(frozenset()) as journal:
    journal.seal_bytes = int(sys.argv[2])
    for batch in range(100_000):
        append(journal, [draw(7 * batch + i) for i in range(7)])
        print(journal.num_draws, flush=True)
"""


def start_writer(folder, seal_bytes=1 << 30):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seal_bytes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_draws_come_back_as_they_were(tmp_path):
    store = Store(tmp_path)
    draws = [draw(at) for at in range(20)]
    with store.run("a").journal(frozenset()) as journal:
        append(journal, draws[:12])
        append(journal, draws[12:])
    assert pooled(store) == as_pooled(draws)
    assert pooled(store, "another model") == {}
    assert pooled(store, roots=[]) == {}
    assert pooled(Store(tmp_path / "nowhere")) == {}


def test_what_a_server_charged_comes_back_with_the_draw_and_beside_draws_that_none_counted(
    tmp_path,
):
    store = Store(tmp_path)
    charges = [Billed(30, 9, 4), Billed(31, 8, None), None]
    draws = [
        each._replace(completion=replace(each.completion, billed=billed))
        for each, billed in zip(map(draw, range(3)), charges, strict=True)
    ]
    write(store, "a", draws)
    write(store, "b", [draw(3)])
    assert pooled(store) == as_pooled([*draws, draw(3)])
    assert [each.completion.num_output_tokens for each in draws] == [9, 8, 3]


@pytest.mark.parametrize("lacking", [[*BILLED, SCORES], [SCORES]])
def test_a_part_from_before_a_column_is_read_as_it_was_meant(tmp_path, lacking):
    store = Store(tmp_path)
    write(store, "a", [draw(at) for at in range(20)])
    (part,) = store.parts()
    pq.write_table(pq.read_table(part).drop_columns(lacking), part)
    write(store, "b", [draw(at) for at in range(20, 30)], store.parts())
    assert pooled(store) == as_pooled(draw(at) for at in range(30))


def test_the_pool_is_the_union_of_all_runs(tmp_path):
    store = Store(tmp_path)
    for run in range(3):
        write(store, f"run-{run}", [draw(10 * run + at) for at in range(10)])
    assert pooled(store) == as_pooled(draw(at) for at in range(30))


def test_a_row_says_which_node_of_which_forest_a_draw_is(tmp_path):
    store = Store(tmp_path)
    deep = Draw(
        "small", FINGERPRINT, Stream("r", (2, 0), (1, 9), GREEDY), 3, Completion((), "length")
    )
    write(store, "a", [draw(30), deep])
    (part,) = store.parts()
    rows = {row["root"]: row for row in pq.read_table(part).to_pylist()}
    row, deeper = rows[ROOTS[0]], rows["r"]
    assert (row["path"], row["sample"], row["tokens"], row["prefix"]) == (
        "2",
        2,
        [30, 5, 6],
        [1, 2, 1],
    )
    assert row["seed"] == seed_of(ROOTS[0], (2,)) == draw(30).seed
    assert row["key"] == draw_key(FINGERPRINT, (1, 2, 1), SAMPLED, row["seed"]) == draw(30).key
    assert (deeper["path"], deeper["seed"], deeper["tokens"]) == ("2.0.3", 0, [])
    assert deeper["key"] == deep.key


def test_seeds_and_keys_are_what_they_have_always_been():
    """They name every draw of every store: whoever changes them makes all of these worthless."""
    assert seed_of("0/small/problem-1", (5,)) == 3118432176232790189
    assert seed_of("0/small/problem-1", (2, 0, 3)) == 644018518905932838
    assert draw_key(FINGERPRINT, (1, 2, 3), SAMPLED, 5) == "de3f9283d038cb5b85e47a84740665d9"


def test_a_draw_that_comes_twice_is_kept_once(tmp_path):
    store = Store(tmp_path)
    with store.run("a").journal(frozenset()) as journal:
        append(journal, [draw(1), draw(1), draw(2)])
        append(journal, [draw(2), draw(3)])
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
    one = draw(1, sampling=GREEDY)
    assert one.key == draw(1, model="renamed", root="elsewhere", sampling=GREEDY).key


def test_duckdb_and_pandas_read_the_parts_as_they_lie(tmp_path):
    store = Store(tmp_path)
    for run in ("a", "b"):
        write(store, run, [draw(at, root=run, prefix=(ord(run), at)) for at in range(5)])
    assert count_with_duckdb(store) == (10, 10)
    table = pd.concat(pd.read_parquet(part) for part in tmp_path.glob("*/draws/*.parquet"))
    assert table["key"].is_unique
    assert set(table["seed"]) == {seed_of(run, (at // 3,)) for run in "ab" for at in range(5)}
    assert table["tokens"].map(list).tolist()[0][1:] == [5, 6]


@pytest.mark.parametrize("trial", range(6))
def test_a_killed_writer_loses_nothing_that_it_promised(tmp_path, trial):
    """SIGKILL while it writes, each trial at another moment."""
    store = Store(tmp_path)
    writer = start_writer(tmp_path / "run", seal_bytes=1 << 30 if trial % 2 else 20_000)
    assert writer.stdout is not None
    promised = [int(writer.stdout.readline())]
    assert store.recover() == 0, "a journal that is being written belongs to its writer"
    assert store.drawing() == ["run"]
    time.sleep(random.Random(trial).uniform(0, 0.1))
    writer.send_signal(signal.SIGKILL)
    promised += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()

    store.recover()
    num_kept, num_keys = count_with_duckdb(store)
    # One batch may have reached the file whose promise did not reach us.
    assert num_kept == num_keys
    assert promised[-1] <= num_kept <= promised[-1] + 7
    assert pooled(store) == as_pooled(draw(at) for at in range(num_kept))
    assert store.recover() == 0
    assert store.drawing() == []
    assert not list(tmp_path.glob("*/draws/*.journal"))
    assert not list(tmp_path.glob("*/draws/.*.parquet.*"))


def journal_of(store):
    (journal,) = store.root.glob("*/draws/*.journal")
    return journal


def test_a_torn_tail_is_ignored_wherever_it_was_torn(tmp_path):
    store = Store(tmp_path)
    ends = []
    with store.run("whole").journal(frozenset()) as journal:
        for batch in range(3):
            append(journal, [draw(4 * batch + i) for i in range(4)])
            ends.append(journal_of(store).stat().st_size)
        content = journal_of(store).read_bytes()
    shutil.rmtree(store.run("whole").path)
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
    with store.run("a").journal(frozenset()) as journal:
        append(journal, [draw(at) for at in range(9)])
        file = journal_of(store)
        content = file.read_bytes()
    file.write_bytes(content)
    assert store.recover() == 9
    assert count_with_duckdb(store) == (9, 9)


def test_a_run_that_raises_keeps_its_draws(tmp_path):
    store = Store(tmp_path)

    def fails():
        with store.run("a").journal(frozenset()) as journal:
            append(journal, [draw(1)])
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

    stream = Stream("root", (), (1,), SAMPLED)
    known = {stream_of(FINGERPRINT, stream): {5: Completion((55,), "stop")}}

    async def ask():
        source = Pooled("small", FINGERPRINT, known, engine, recorded.append)
        return await asyncio.gather(
            *(source(stream, samples) for samples in ([5, 6], [6, 7, 6], [8]))
        )

    seeds = [stream.seed(sample) for sample in (6, 7, 8)]
    answers = asyncio.run(ask())
    assert [[each.tokens for each in some] for some in answers] == [
        [(55,), (seeds[0],)],
        [(seeds[0],), (seeds[1],), (seeds[0],)],
        [(seeds[2],)],
    ]
    assert asked == seeds
    assert [(each.sample, each.seed) for each in recorded] == list(
        zip((6, 7, 8), seeds, strict=True)
    )
    assert {each.path for each in recorded} == {(6,), (7,), (8,)}


def test_a_replay_answers_from_the_pool_and_from_nothing_else():
    stream = Stream("root", (), (1,), SAMPLED)
    name = stream_of(FINGERPRINT, stream)
    replay = Replay(FINGERPRINT, {name: {5: Completion((55,), "stop")}})
    (known,) = asyncio.run(replay(stream, [5]))
    assert known.tokens == (55,)
    with pytest.raises(NotDrawn):
        asyncio.run(replay(stream, [5, 6]))
    with pytest.raises(NotDrawn):
        asyncio.run(replay(replace(stream, parent=(0,)), [5]))


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


# Two runs at once


def test_two_runs_that_draw_the_same_at_once_leave_each_draw_once(tmp_path):
    """Both know nothing of each other's draws when they begin; the one that seals first is right."""
    store = Store(tmp_path)
    seen = store.parts()
    with store.run("a").journal(seen) as one, store.run("b").journal(seen) as other:
        append(one, [draw(at) for at in range(20)])
        append(
            other, [draw(at)._replace(completion=Completion((7,), "stop")) for at in range(10, 30)]
        )
    assert count_with_duckdb(store) == (30, 30)
    last = {**as_pooled(draw(at) for at in range(20))}
    other = as_pooled(
        draw(at)._replace(completion=Completion((7,), "stop")) for at in range(10, 30)
    )
    assert pooled(store) == {**last, **other}, "`b` ended first, as contexts do"


def test_what_two_killed_runs_both_drew_is_recovered_once(tmp_path):
    store = Store(tmp_path)
    journals = {}
    for run, draws in (("a", range(20)), ("b", range(10, 30))):
        with store.run(run).journal(frozenset()) as journal:
            append(journal, [draw(at) for at in draws])
            file = journal_of(store)
            journals[file] = file.read_bytes()
        shutil.rmtree(store.run(run).path)
    for file, content in journals.items():
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    assert store.recover() == 40
    assert count_with_duckdb(store) == (30, 30)


def test_two_processes_that_write_and_recover_at_once_corrupt_nothing(tmp_path):
    store = Store(tmp_path)
    writers = [start_writer(tmp_path / run, seal_bytes=200_000) for run in "ab"]
    promised = [0, 0]
    for _ in range(20):
        assert store.recover() == 0
        promised = [int(writer.stdout.readline()) for writer in writers]
    for writer in writers:
        writer.kill()
    promised = [
        [n, *map(int, writer.stdout)][-1] for n, writer in zip(promised, writers, strict=True)
    ]
    for writer in writers:
        writer.wait()
        writer.stdout.close()
    store.recover()
    num_rows, num_keys = count_with_duckdb(store)
    assert num_rows == num_keys
    assert max(promised) <= num_rows <= max(promised) + 7


def test_a_draw_that_two_parts_hold_counts_once(tmp_path):
    """As after a copy of a run, say; the reader does not mind."""
    store = Store(tmp_path)
    write(store, "a", [draw(at) for at in range(9)])
    shutil.copytree(store.run("a").path, store.run("copy").path)
    pool = store.pool(FINGERPRINT)
    assert pool.index().num_draws == 9
    assert pooled(store) == as_pooled(draw(at) for at in range(9))


# What a run reads back


def test_an_index_counts_like_a_set_of_places():
    generator = np.random.default_rng(0)
    stream, sample = generator.integers(0, 5, 300) * (1 << 50), generator.integers(0, 90, 300)
    places = set(zip(stream.tolist(), sample.tolist(), strict=True))
    index = Index.of([(stream[:100], sample[:100]), (stream[100:], sample[100:])])
    assert index.num_draws == len(places)
    asked = np.array([0, 1 << 50, 4 << 50, 77, -5])
    for first, last in ((0, 90), (3, 4), (10, 70), (80, 200)):
        counts = index.count(asked, np.full(5, first), np.full(5, last))
        assert counts.tolist() == [
            sum(of == each and first <= at < last for of, at in places) for each in asked.tolist()
        ]
    assert Index.of([]).count(asked, np.zeros(5, int), np.full(5, 9)).tolist() == [0] * 5


def test_draws_of_a_few_roots_are_found_among_many_without_reading_the_others(
    tmp_path, monkeypatch
):
    from scaling_exp.store import parts

    monkeypatch.setattr(parts, "ROWS_PER_GROUP", 8)
    store = Store(tmp_path)
    roots = [f"root-{at:03d}" for at in range(100)]
    write(store, "a", [draw(3 * at, root=root) for root in roots for at in range(8)])
    read = []
    monkeypatch.setattr(
        parts,
        "_group",
        lambda part, at, columns: read.append(at) or parts._read(part, [at], columns),
    )
    rows = store.pool(FINGERPRINT).rows(["root-007", "root-042"])
    assert sorted(set(rows["root"].to_pylist())) == ["root-007", "root-042"]
    assert rows.num_rows == 16
    assert read == [7, 42]


def test_what_a_run_has_appended_it_can_read_back_at_once_sealed_or_not(tmp_path):
    store = Store(tmp_path)
    with store.run("a").journal(frozenset()) as journal:
        journal.seal_bytes = 5_000
        for first in range(0, 120, 12):
            append(journal, [draw(at) for at in range(first, first + 12)])
            tables = [*journal.rows(ROOTS[:1]), store.pool(FINGERPRINT).rows(ROOTS[:1])]
            known = known_by_root(tables)
            assert list(known) == ROOTS[:1]
            drawn = as_pooled(draw(at) for at in range(0, first + 12, 3))
            assert {
                (s, i): each for s, of in known[ROOTS[0]].items() for i, each in of.items()
            } == drawn
    assert len(store.parts()) > 1
    assert count_with_duckdb(store) == (120, 120)


# Full disks and torn files


def limited(num_bytes):
    """No file of this process may grow beyond so many bytes: what a full disk looks like, without being root."""
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (num_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    )


@pytest.fixture
def limit_files():
    yield limited
    limited(resource.RLIM_INFINITY)


def test_a_full_disk_is_one_line_and_costs_nothing_that_was_acknowledged(tmp_path, limit_files):
    store = Store(tmp_path)
    num_kept = 0

    def draws_until_it_is_full():
        nonlocal num_kept
        with store.run("a").journal(frozenset()) as journal:
            limit_files(20_000)
            while True:
                append(journal, [draw(at) for at in range(num_kept, num_kept + 10)])
                num_kept += 10

    with pytest.raises(
        StoreError, match="File too large; every draw that was acknowledged is kept: free"
    ) as full:
        draws_until_it_is_full()
    assert "\n" not in str(full.value)
    assert num_kept > 20
    limit_files(resource.RLIM_INFINITY)
    store.recover()
    assert pooled(store) == as_pooled(draw(at) for at in range(num_kept))
    write(store, "b", [draw(at) for at in range(num_kept, num_kept + 5)], store.parts())
    assert count_with_duckdb(store) == (num_kept + 5, num_kept + 5)


def test_a_part_that_finds_no_room_leaves_its_journal_for_the_next_run(tmp_path, limit_files):
    store = Store(tmp_path)
    draws = [draw(at) for at in range(300)]

    def seals_on_a_full_disk():
        with store.run("a").journal(frozenset()) as journal:
            append(journal, draws)
            limit_files(4_000)

    with pytest.raises(StoreError, match=r"cannot write .*\.parquet: File too large"):
        seals_on_a_full_disk()
    with pytest.raises(StoreError, match="free space and run the same command again"):
        store.recover()
    limit_files(resource.RLIM_INFINITY)
    assert store.recover() == 300
    assert pooled(store) == as_pooled(draws)
    assert not list(tmp_path.glob("*/draws/.*"))


def test_a_place_that_cannot_be_written_and_a_damaged_manifest_are_one_line_each(tmp_path):
    (tmp_path / "taken").touch()
    for write_it in (
        lambda run: run.write_json("manifest", {}),
        lambda run: run.locked().__enter__(),
    ):
        with pytest.raises(StoreError, match="Not a directory; make it writable, or choose"):
            write_it(Store(tmp_path / "taken").run("a"))
    run = Store(tmp_path).run("a")
    run.write_json("manifest", {})
    run.manifest.write_text('{"run_id": ')
    with pytest.raises(StoreError, match=r"manifest\.json is damaged .* once it is moved away"):
        run.read_manifest()


@pytest.mark.parametrize("kept", [0, 5, 0.5, -1])
def test_a_torn_part_is_set_aside_with_a_warning_and_its_draws_are_missing(tmp_path, kept):
    store = Store(tmp_path)
    write(store, "a", [draw(at) for at in range(20)])
    (torn,) = store.parts()
    write(store, "b", [draw(at) for at in range(20, 30)], store.parts())
    content = torn.read_bytes()
    torn.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else kept])
    with pytest.warns(UserWarning, match=f"{torn} is torn; set aside as {torn.stem}.torn"):
        store.recover()
    assert pooled(store) == as_pooled(draw(at) for at in range(20, 30))
    assert [file.name for file in torn.parent.iterdir()] == [f"{torn.stem}.torn"]


def test_a_torn_part_whose_journal_is_still_there_loses_nothing(tmp_path):
    store = Store(tmp_path)
    with store.run("a").journal(frozenset()) as journal:
        append(journal, [draw(at) for at in range(9)])
        file = journal_of(store)
        content = file.read_bytes()
    file.write_bytes(content)
    part = file.with_suffix(".parquet")
    part.write_bytes(part.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="is torn"):
        assert store.recover() == 9
    assert pooled(store) == as_pooled(draw(at) for at in range(9))


def test_a_part_of_another_layout_is_refused_by_name(tmp_path):
    store = Store(tmp_path)
    folder = store.run("old").path / "draws"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"key": ["k"]}), folder / "x.parquet")
    with pytest.raises(StoreError, match=r"x\.parquet was written by another version"):
        store.pool(FINGERPRINT)
