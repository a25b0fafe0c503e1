"""`bench`: a table and a JSON file that say the same, small sizes of every benchmark that needs no engine."""

import json

import pytest

from scaling_exp.bench.result import ratio_of_medians

SMALL = {
    "schedule": ("bench.num_problems=20", "bench.num_slots=16", "bench.num_samples=8"),
    "analysis": ("bench.num_problems=20", "bench.num_samples=16", "bench.rounds=1"),
    "store": ("bench.num_draws=4000", "bench.num_samples=16", "bench.num_replayed=2000"),
    "grading": (
        "bench.num_numbers=500",
        "bench.num_formulas=8",
        "bench.num_hanging=1",
        "bench.seconds=2",
    ),
    "dispatch": (
        "bench.num_replicas=[1,4]",
        "bench.num_jobs=200",
        "bench.jobs_per_replica=50",
        "bench.rpc_microseconds=500",
    ),
}


def measured(command_line, name, tmp_path, *settings):
    done = command_line("bench", name, *settings, f"output={tmp_path}", timeout=120)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / f"{name}.json").read_text())
    return done.stdout, written


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_what_it_writes_and_the_hardware(command_line, tmp_path, name):
    stdout, written = measured(command_line, name, tmp_path, *SMALL[name])
    assert " ".join(written["title"].split()) in " ".join(
        stdout.split()
    )  # a narrow terminal breaks it
    assert written["command"].startswith(f"python -m scaling_exp bench {name} ")
    assert {"num_cpus", "memory_gib", "processor"} <= written["hardware"].keys()
    assert written["settings"]["bench"]["kind"] == name
    assert len(written["rows"]) > 1
    assert all(row.keys() == written["rows"][0].keys() for row in written["rows"])


def test_the_gate_keeps_an_engine_fuller_than_barriers_do(command_line, tmp_path):
    few = ("bench.num_problems=100", "bench.num_samples=8")
    _, written = measured(command_line, "schedule", tmp_path, *few)
    for row in written["rows"]:
        assert row["one at a time"] < row["batches of 25"] < row["gate"]
        assert row["gate, until the last"] > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "bench wants a name first"),
        (("speed",), "there is no 'speed'"),
        (("dispatch", "bench.num_slots=0"), "bench.num_slots is 0; it must be above 0"),
        (("engine", "bench.samples=[1,0]"), "bench.samples is (1, 0); it must be above 0"),
        (("engine", "bench.model=1B"), "the ladder has 4K, 10K"),
        (("store", "bench.num_samples=1"), "bench.num_samples must be 2 or more"),
    ],
)
def test_a_mistake_is_one_line(in_process, arguments, message):
    done = in_process("bench", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_ratio_has_an_interval_over_rounds_that_are_drawn_in_pairs():
    """On a machine that is half as fast in every other round nothing is lost by pairing them."""
    theirs = [10.0, 20.0] * 10
    assert ratio_of_medians([9.0, 18.0] * 10, theirs) == {
        "ratio": pytest.approx(0.9),
        "95 %": "0.900-0.900",
    }
    noisy = ratio_of_medians([9.0, 20.0, 12.0, 11.0], [10.0, 10.0, 10.0, 10.0])
    low, high = map(float, noisy["95 %"].split("-"))
    assert low < noisy["ratio"] == 1.15 < high
