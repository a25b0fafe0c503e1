"""Rows come out the same whatever the file, from the Hub at the commit that was asked for, and without a network."""

import bz2
import gzip
import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import serving

from scaling_exp.tasks.files import read_rows
from scaling_exp.tasks.sources import DataSet
from scaling_exp.types import UserError

ROWS = [
    {"question": "Was it 007, or\n{8}?", "answer": "007", "day": "2024-01-05"},
    {"question": 'She said "none".', "answer": "None", "day": ""},
]


def written(folder, name, rows=ROWS):
    """`rows` in a file whose format its name says."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(each) + "\n" for each in rows)
    if ".parquet" in name:
        pq.write_table(pa.Table.from_pylist(rows), file)
        return file
    if ".json" in name and ".jsonl" not in name:
        lines = json.dumps(rows, indent=1)
    if ".csv" in name or ".tsv" in name:
        by = "," if ".csv" in name else "\t"
        cells = [list(rows[0]), *(each.values() for each in rows)]
        quoted = [by.join('"' + str(c).replace('"', '""') + '"' for c in row) for row in cells]
        lines = "\ufeff" + "\r\n".join(quoted)
    content = lines.encode()
    if name.endswith(".gz"):
        content = gzip.compress(content)
    if name.endswith(".bz2"):
        content = bz2.compress(content)
    if name.endswith(".zst"):
        content = pa.compress(content, "zstd", asbytes=True)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    "name",
    ["q.jsonl", "q.json", "q.csv", "q.tsv", "q.parquet", "q.jsonl.gz", "q.csv.bz2", "q.json.zst"],
)
def test_every_format_gives_the_same_rows_and_guesses_no_types(tmp_path, name):
    assert DataSet(path=str(written(tmp_path, name))).rows() == ROWS


def test_json_keeps_numbers_lists_and_missing_keys(tmp_path):
    rows = [{"a": 1, "b": [1, {"c": None}]}, {"a": 2**70, "d": 0.1}]
    assert read_rows(written(tmp_path, "q.jsonl", rows)) == rows
    assert read_rows(written(tmp_path, "lines.json", rows)) == rows


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("q.jsonl", b'{"a": 1}\n{"a": \n', "q.jsonl line 2: not JSON"),
        ("q.jsonl", b'{"a": 1}\n[1]\n', "line 2: a row is a JSON object, not '[1]'"),
        ("q.json", b"[1, 2]", "a row is a JSON object, not 1"),
        ("q.csv", b"a,b\n1,2\n3\n", "q.csv line 3: 1 cells, but the header has 2 columns"),
        ("q.csv", b"a,a\n1,2\n", "two columns have the same name"),
        ("q.csv", b'a,b\n"1,2\n', "q.csv line"),
        ("q.csv", b"a,b\n", "has no rows"),
        ("q.csv", b"a\n\xff\n", "not UTF-8 at byte 2"),
        ("q.parquet", b"no parquet", "cannot be read"),
        ("q.jsonl.gz", b"no gzip", "cannot be read"),
        ("q.txt", b"", "rows are read from jsonl, ndjson, json, csv, tsv, parquet files"),
        ("questions", b"", "rows are read from"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        DataSet(path=str(tmp_path / name)).rows()
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_read_like_the_hub(tmp_path):
    repository(tmp_path)
    source = DataSet(path=str(tmp_path), subset="main", split="test")
    assert [each["answer"] for each in source.rows()] == ["2", "3"]
    named = DataSet(path=str(tmp_path), files=("main/*.jsonl",))
    assert [each["answer"] for each in named.rows()] == ["2", "3", "1"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"subset": "mian", "split": "test"}, "did you mean main? (there is main, other)"),
        ({"split": "test"}, "task.source.subset is missing; it is one of main, other"),
        ({"subset": "main", "split": "dev"}, "there is no 'dev'; it is one of train, test"),
        ({"subset": "main"}, "task.source.split is missing; it is one of train, test"),
        ({"files": ("*.csv",)}, "task.source.files: no *.csv in"),
    ],
)
def test_an_unknown_part_of_a_data_set_names_what_there_is(tmp_path, keys, told):
    repository(tmp_path)
    with pytest.raises(UserError) as error:
        DataSet(path=str(tmp_path), **keys).rows()
    assert told in str(error.value)


def test_a_folder_without_data_and_a_missing_file_are_one_line(tmp_path):
    (tmp_path / "notes.docx").write_text("nothing here")
    with pytest.raises(UserError, match="holds no files that `datasets` knows"):
        DataSet(path=str(tmp_path)).rows()
    with pytest.raises(UserError, match=r"none\.jsonl does not exist; run `hf download a/b"):
        DataSet(hub="a/b", path=str(tmp_path / "none.jsonl")).rows()
    with pytest.raises(ValueError, match=r"task\.source\.path is missing"):
        DataSet()


README = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train*}
  - {split: test, path: main/test*}
- config_name: other
  data_files: [{split: test, path: other/*}]
---
"""


def repository(folder: Path, shift: int = 0) -> dict[str, bytes]:
    """The files of a small data set, also written to a folder: their content by path."""
    golds = [{"question": f"{n}?", "answer": str(n + shift)} for n in (1, 2, 3)]
    written(folder, "main/train.jsonl", golds[:1])
    written(folder, "main/test.jsonl", golds[1:])
    written(folder, "other/test-00000-of-00001.parquet", golds)
    (folder / "README.md").write_text(README)
    # A script of the data set's own, which must never run.
    (folder / "questions.py").write_text("raise SystemExit('a data set ran its code')")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def hub(commits: dict[str, dict[str, bytes]], branches: dict[str, str]):
    """A Hub with one data set, `lab/questions`, as far as downloads need one. Yields its address."""

    with serving(lambda path, *_: response(path, commits, branches)) as url:
        yield url


def response(
    path: str, commits: dict[str, dict[str, bytes]], branches: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content of `[/api]/datasets/lab/questions/WHAT/REVISION/FILE`."""
    _, _, rest = path.partition("?")[0].partition("/datasets/lab/questions/")
    what, revision, name = [*rest.split("/", 2), "", ""][:3]
    commit = branches.get(revision, revision)
    if not rest:
        return 401, {"X-Error-Code": "RepoNotFound"}, b""
    if commit not in commits:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b""
    files = commits[commit]
    if what == "revision":
        return 200, {}, json.dumps({"id": "lab/questions", "sha": commit}).encode()
    if what == "tree":
        return 200, {}, json.dumps([entry(*each) for each in files.items()]).encode()
    etag = entry(name, files[name])["oid"]
    return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, files[name]


def entry(path: str, content: bytes) -> dict[str, object]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


READ = """
import json, sys
from scaling_exp.tasks.sources import DataSet
from scaling_exp.types import UserError
for keys in json.loads(sys.argv[1]):
    try:
        source = DataSet(**keys)
        source.rows()
        print(" ".join(each["answer"] for each in source.rows()))
    except UserError as error:
        print("error:", error)
"""


def reading(home: Path, endpoint: str, *sources: dict[str, str]) -> tuple[list[str], str]:
    """What a process with a cache of its own and this Hub reads, a line a source, and what it says on stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    keys = [{"hub": "lab/questions", "subset": "main", "split": "test", **each} for each in sources]
    ran = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(keys)],
        env={**environment, "HF_HOME": str(home), "HF_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.splitlines(), ran.stderr


OLD, NEW = "a" * 40, "b" * 40
NOWHERE = "http://127.0.0.1:9"


def test_the_hub_gives_the_commit_that_was_asked_for_and_the_cache_gives_it_again(tmp_path):
    commits = {
        OLD: repository(tmp_path / "old"),
        NEW: repository(tmp_path / "new", shift=10),
    }
    home = tmp_path / "home"
    with hub(commits, {"main": OLD}) as address:
        newest, said = reading(home, address, {})
    assert newest == ["2 3"]
    assert said.count("lab/questions is taken at its newest commit") == 1
    assert f"task.source.revision={OLD}" in said
    with hub(commits, {"main": NEW}) as address:
        read, said = reading(
            home,
            address,
            {"revision": OLD},
            {"revision": NEW},
            {"revision": OLD, "subset": "other"},
            {"revision": "c" * 40},
            {"hub": "lab/answers"},
        )
    assert read[:3] == ["2 3", "12 13", "1 2 3"]
    assert read[3] == (
        f"error: task.source: lab/questions has no revision {'c' * 40!r}: see"
        f" {address}/datasets/lab/questions/commits"
    )
    assert read[4].startswith("error: task.source: lab/answers is no data set on the Hub that may")
    assert said == ""
    assert reading(home, NOWHERE, {"revision": OLD}) == (["2 3"], "")
    assert reading(tmp_path / "empty", NOWHERE, {"revision": OLD})[0] == [
        "error: task.source: lab/questions is not in the cache, not whole at least, and the Hub cannot be reached:"
        f" run `hf download lab/questions --repo-type dataset --revision {OLD}` where there is a network, and bring"
        " the cache here (HF_HOME), or name a file that holds its rows: task.source.path=FILE"
    ]
    assert {each.name for each in tmp_path.iterdir()} == {"old", "new", "home"}


def test_what_hf_download_fetched_is_enough(tmp_path):
    commits = {OLD: repository(tmp_path / "old")}
    with hub(commits, {"main": OLD}) as address:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": address}
        subprocess.run(
            [
                *(str(Path(sys.executable).parent / "hf"), "download", "lab/questions"),
                *("--repo-type", "dataset", "--revision", OLD),
            ],
            env=environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
    assert reading(tmp_path / "home", NOWHERE, {"revision": OLD}) == (["2 3"], "")
