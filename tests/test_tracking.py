"""W&B shows what the tables hold: curves are written offline and read back with W&B's own reader."""

import json
import math
import subprocess
import sys
from collections import defaultdict

import pytest
import synthetic_report as synthetic

from scaling_exp.tracking import Tracking

CONFIG = {"seed": 0, "task": {"kind": "made up", "num_problems": 6}}
COLUMNS = {
    "k": "k",
    "accuracy/value": "accuracy",
    "accuracy/low": "accuracy_low",
    "accuracy/high": "accuracy_high",
    "compute/inference_flops": "inference_flops",
    "compute/output_tokens": "output_tokens",
}


@pytest.fixture(scope="module")
def analysis():
    return synthetic.analysis(synthetic.samples(synthetic.problems(6)))


@pytest.fixture(scope="module")
def logged(analysis, tmp_path_factory):
    """The number of curves that were logged, and the records of every W&B run by its name."""
    folder = tmp_path_factory.mktemp("runs") / "quickstart-1a2b3c4d"
    folder.mkdir()
    num_curves = Tracking("offline", "scaling_exp").log(folder, analysis, CONFIG)
    records = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        lines = read_back(file)
        (started,) = (line["run"] for line in lines if line["type"] == "run")
        records[started["display_name"]] = lines
    return num_curves, records


def read_back(file):
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def curves(analysis):
    """Points of every curve over all levels, the cheapest first, by the name of its W&B run."""
    rows = defaultdict(list)
    for row in analysis.curves.sort_values("inference_flops").to_dict("records"):
        if row["level"] == "all":
            rows[f"{row['model']}/{row['strategy']}/{row['selector']}"].append(row)
    return rows


def test_there_is_a_run_for_every_curve_and_one_for_the_verdict(analysis, logged):
    num_curves, records = logged
    assert num_curves == len(curves(analysis)) > 0
    assert set(records) == {"verdict", *curves(analysis)}


def test_the_values_of_every_curve_are_those_of_the_table(analysis, logged):
    _, records = logged
    for name, rows in curves(analysis).items():
        points = [line["history"]["item"] for line in records[name] if line["type"] == "history"]
        assert len(points) == len(rows)
        for values, row in zip(points, rows, strict=True):
            assert {key: values[key] for key in COLUMNS} == {
                key: row[column] for key, column in COLUMNS.items()
            }
            assert values["compute/log10_inference_flops"] == math.log10(row["inference_flops"])
            assert values["compute/log10_pretraining_flops"] == math.log10(row["pretraining_flops"])


def test_runs_are_grouped_and_carry_the_configuration(logged):
    _, records = logged
    for name, lines in records.items():
        (started,) = (line["run"] for line in lines if line["type"] == "run")
        assert started["run_group"] == "quickstart-1a2b3c4d"
        assert started["project"] == "scaling_exp"
        shown = started["config"]["update"]
        assert {key: shown[key] for key in CONFIG} == CONFIG
        if name != "verdict":
            assert "/".join(shown[key] for key in ("model", "strategy", "selector")) == name


def test_the_verdict_is_in_the_summary(analysis, logged):
    _, records = logged
    summary = {}
    for line in records["verdict"]:
        if line["type"] == "summary":
            summary |= line["summary"]["update"]
    assert summary["verdict"] == " ".join(analysis.sentences)


def test_disabled_writes_nothing(analysis, tmp_path):
    assert Tracking("disabled", "scaling_exp").log(tmp_path, analysis, CONFIG) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_wandb_costs_a_warning_and_not_the_run(analysis, tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError("no space left on device")

    monkeypatch.setattr("wandb.init", refuse)
    with pytest.warns(UserWarning, match="the run is not affected: no space left"):
        assert Tracking("offline", "scaling_exp").log(tmp_path, analysis, CONFIG) == 0
