"""W&B and TensorBoard show what the tables hold: written by the process beside a run, read back from the files."""

import json
import math
import os
import signal
import subprocess
import time
import warnings
from collections import defaultdict
from contextlib import contextmanager
from threading import Event

import pytest
import synthetic_report as synthetic
from loopback import serving
from wandb.util import get_core_path

from scaling_exp.__main__ import main
from scaling_exp.config import _sweep
from scaling_exp.store import RunFolder
from scaling_exp.tracking import Disabled, TensorBoard, WeightsAndBiases, metrics
from scaling_exp.tracking.cards import Cards
from scaling_exp.tracking.dashboard import Place, Shown, save, spec
from scaling_exp.tracking.pulse import Drawn, Pulse
from scaling_exp.tracking.shown import Card, Content
from scaling_exp.tracking.view import View
from scaling_exp.types import UserError

CONFIG = {"seed": 0, "task": {"kind": "made up", "num_problems": 6}}
RUN_ID = "quickstart-1a2b3c4d"
OFFLINE = WeightsAndBiases("offline", "scaling_exp")
COLUMNS = {
    "cost/samples": "k",
    "accuracy/estimate": "accuracy",
    "accuracy/low": "accuracy_low",
    "accuracy/high": "accuracy_high",
    "cost/inference_flops": "inference_flops",
    "cost/output_tokens": "output_tokens",
}


@pytest.fixture(scope="module")
def analysis():
    return synthetic.analysis(synthetic.samples(synthetic.problems(6)))


def made_up_run(parent):
    folder = RunFolder(parent / RUN_ID)
    folder.write_json("manifest", {**synthetic.manifest(), "models": []})
    return folder


def drawn(seconds, num_draws):
    return Drawn(seconds, num_draws, num_draws // 4, 10 * num_draws, 3, 1, 0, 90, 100, {"4K": 10})


def shown(tracker, folder, analysis):
    """A run of two points that is shown; fails on a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with View(tracker, folder, CONFIG) as view:
            for seconds in (0.0, 6.0, 12.0):
                view.look(seconds, lambda at=seconds: drawn(at, int(at)))
            view.show(analysis)


@pytest.fixture(scope="module")
def logged(analysis, tmp_path_factory):
    """A run shown twice, and the records of every W&B run by its name."""
    folder = made_up_run(tmp_path_factory.mktemp("runs"))
    shown(OFFLINE, folder, analysis)
    ids = {each.name.split("-")[-1] for each in folder.path.glob("wandb/offline-run-*")}
    shown(OFFLINE, folder, analysis)
    return ids, {run["display_name"]: (run, lines) for run, lines in read_all(folder)}


def read_all(folder):
    for file in folder.path.glob("wandb/offline-run-*/*.wandb"):
        done = subprocess.run(
            # What `wandb leet inspect --json FILE` starts, without a second of Python.
            [get_core_path(), "leet", "inspect", "--json", "-run-file", str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        (run,) = (line["run"] for line in lines if line["type"] == "run")
        yield run, lines


def items(lines):
    return [line["history"]["item"] for line in lines if line["type"] == "history"]


def artifacts(lines):
    return [line["artifact"] for line in lines if line["type"] == "artifact"]


def curves(analysis):
    rows = defaultdict(list)
    for row in analysis.curves.sort_values("k").to_dict("records"):
        if row["level"] == "all":
            rows[f"{row['model']}/{row['strategy']}/{row['selector']}"].append(row)
    return rows


def test_a_run_shown_again_has_the_same_ids_and_one_copy_of_each(logged):
    ids, records = logged
    assert {run["run_id"] for run, _ in records.values()} == ids
    assert len(records) == len(ids)


def test_there_is_a_run_for_every_curve_one_for_sampling_and_one_for_the_report(analysis, logged):
    _, records = logged
    assert set(records) == {"sampling", "report", *curves(analysis)}
    assert {run["run_group"] for run, _ in records.values()} == {RUN_ID}
    assert {run["job_type"] for run, _ in records.values()} == {"sampling", "report", "curve"}


def test_the_values_of_every_curve_are_those_of_the_table(analysis, logged):
    _, records = logged
    for name, rows in curves(analysis).items():
        for values, row in zip(items(records[name][1]), rows, strict=True):
            assert {key: values[key] for key in COLUMNS} == pytest.approx(
                {key: row[column] for key, column in COLUMNS.items()}
            )
            for axis in ("inference_flops", "output_tokens", "pretraining_flops"):
                assert values[f"cost/log10_{axis}"] == pytest.approx(math.log10(row[axis]))


def test_accuracy_is_drawn_against_compute(analysis, logged):
    _, records = logged
    name = next(iter(curves(analysis)))
    steps = {
        line["metric"]["glob_name"]: line["metric"]["step_metric"]
        for line in records[name][1]
        if line["type"] == "metric" and "step_metric" in line["metric"]
    }
    assert steps["accuracy/*"] == "cost/log10_inference_flops"


def test_live_points_of_both_sessions_are_shown(logged):
    _, records = logged
    points = items(records["sampling"][1])
    assert [each["sampling/seconds"] for each in points] == [6, 12, 18, 24]
    assert [each["sampling/draws"] for each in points] == [6, 12, 18, 24]
    assert points[1]["sampling/tokens_per_second"] == pytest.approx(10.0)


def test_lineage_goes_from_draws_to_curves_to_the_report(analysis, logged):
    _, records = logged
    for name in curves(analysis):
        run, lines = records[name]
        used = [each["name"] for each in artifacts(lines) if each.get("use_after_commit")]
        made = [each["name"] for each in artifacts(lines) if not each.get("use_after_commit")]
        assert (used, made) == ([f"draws-{RUN_ID}"], [f"curve-{run['run_id']}"])
    used = [each for each in artifacts(records["report"][1]) if each.get("use_after_commit")]
    assert len(used) == len(curves(analysis))


def test_the_report_has_the_verdict_and_bounded_tables(analysis, logged):
    _, records = logged
    summary = {}
    for line in records["report"][1]:
        if line["type"] == "summary":
            summary |= line["summary"]["update"]
    assert summary["verdict"] == " ".join(analysis.sentences)
    assert summary["tables/curves.nrows"] == len(analysis.curves)


def test_what_was_shown_last_is_not_shown_again(analysis, tmp_path):
    folder = made_up_run(tmp_path)
    with View(OFFLINE, folder, CONFIG) as view:
        view.show(analysis)
    with View(OFFLINE, folder, CONFIG) as view:
        view.show(analysis)
        assert view._aside._process is None


def test_disabled_starts_no_process_and_keeps_the_pulse(analysis, tmp_path):
    folder = made_up_run(tmp_path)
    shown(Disabled(), folder, analysis)
    assert sorted(each.name for each in folder.path.iterdir()) == [
        "manifest.json",
        "sampling.jsonl",
    ]


def test_tensorboard_writes_a_folder_for_every_card(analysis, tmp_path):
    folder = made_up_run(tmp_path)
    shown(TensorBoard(), folder, analysis)
    found = {
        str(file.parent.relative_to(folder.path / "tensorboard"))
        for file in folder.path.glob("tensorboard/**/events.*")
    }
    assert found == {
        "sampling/sampling",
        "report/report",
        *(f"curve/{name}" for name in curves(analysis)),
    }


def test_what_a_model_is_called_takes_tensorboard_nowhere_else(tmp_path):
    kept = tmp_path / "models" / "small" / "weights"
    kept.parent.mkdir(parents=True)
    kept.touch()
    name = "../../../models/small"
    card = Card("run", name, "curve", {}, {}, metrics.SAMPLES)
    TensorBoard().open(card, str(tmp_path / "run")).finish(Content())
    assert kept.is_file()
    assert list(tmp_path.glob("run/tensorboard/curve/models/small/events.*"))


def test_a_pulse_survives_a_line_that_was_cut_short(tmp_path):
    pulse = Pulse.of(tmp_path)
    pulse.begin()
    pulse.beat(drawn(6.0, 6))
    with pulse.file.open("a") as file:
        file.write('{"sampling/seconds": 1')
    again = Pulse.of(tmp_path)
    again.begin()
    assert [each["sampling/draws"] for each in again.points] == [6]
    assert again.beat(drawn(6.0, 6))["sampling/draws"] == 12


@pytest.mark.parametrize("hangs", [True, False])
def test_a_server_that_hangs_or_fails_costs_a_warning_and_bounded_time(
    hangs, analysis, tmp_path, monkeypatch
):
    folder = made_up_run(tmp_path)
    is_over = Event()

    def answer(*_):
        if not hangs:
            return 500, {}, b""
        is_over.wait(60)
        return None

    with serving(answer) as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        view = View(WeightsAndBiases("online", "scaling_exp"), folder, CONFIG)
        view._aside.patience_seconds = 5.0
        started = time.monotonic()
        with pytest.warns(UserWarning, match="the run is not affected"), view:
            view.show(analysis)
        assert time.monotonic() - started < 12
        is_over.set()


def test_a_missing_key_costs_a_warning(analysis, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = made_up_run(tmp_path)
    with (
        pytest.warns(UserWarning, match="the run is not affected"),
        View(WeightsAndBiases("online", "scaling_exp"), folder, CONFIG) as view,
    ):
        view.show(analysis)
    assert not (folder.path / "tracked.json").exists()


def test_a_process_that_dies_costs_a_warning(analysis, tmp_path):
    folder = made_up_run(tmp_path)
    view = View(OFFLINE, folder, CONFIG)
    view.look(0.0, lambda: drawn(0.0, 0))
    os.kill(view._aside._process.pid, signal.SIGKILL)
    view._aside._process.wait()
    view.show(analysis)
    with pytest.warns(UserWarning, match="the run is not affected"):
        view.__exit__(None)


def test_all_runs_of_a_sweep_share_a_group_and_a_single_run_has_its_own():
    assert _sweep(["+experiment=quickstart", "seed=0"]) == ""
    sweep = _sweep(["+experiment=quickstart", "-m", "seed=0,1"])
    assert sweep.startswith("sweep-")
    assert sweep == _sweep(["-m", "seed=0,1", "+experiment=quickstart"])


@pytest.fixture
def dashboard(analysis, tmp_path, monkeypatch):
    """A run's cards, and a machine without a login."""
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = made_up_run(tmp_path)
    (folder.path / "report.html").write_text("<html></html>")
    pulse = Pulse.of(folder.path)
    pulse.begin()
    pulse.beat(drawn(6.0, 6))
    return folder, Shown(Cards(folder, analysis, CONFIG).all())


def found(node, key):
    """All values under a key, however deep."""
    if isinstance(node, dict):
        mine = [node[key]] if key in node else []
        return mine + [each for value in node.values() for each in found(value, key)]
    return [each for value in node for each in found(value, key)] if isinstance(node, list) else []


def test_a_dashboard_is_built_without_a_login_and_names_only_what_is_logged(dashboard, logged):
    _, shown = dashboard
    told = json.loads(spec(shown, Place("", "scaling_exp", RUN_ID)))
    _, records = logged
    known = {name for _, lines in records.values() for item in items(lines) for name in item}
    for _, lines in records.values():
        for line in lines:
            known |= set(line["summary"].get("update", {})) if line["type"] == "summary" else set()
    for view in told.values():
        named = {name for names in found(view, "metrics") for name in names}
        assert named | set(found(view, "xAxis")) - {"_step"} <= known
        assert {"accuracy/estimate", "sampling/occupancy", "frontier_1e+06/estimate"} <= named


def test_a_dashboard_has_a_section_for_every_question(dashboard, analysis):
    _, shown = dashboard
    told = json.loads(spec(shown, Place("", "scaling_exp", RUN_ID)))
    sections = found(told["workspace"], "sections")[0]
    names = [each["name"] for each in sections]
    assert names == ["Accuracy against cost", "Frontier", "Exchange rate", "Engines", "Report"]
    assert all(each["panels"] for each in sections)
    text = json.dumps(told["report"])
    assert all(sentence[:60] in text for sentence in analysis.sentences)
    models = set(analysis.curves["model"])
    assert models <= set(found(told["report"], "text"))


def test_the_runs_of_a_sweep_are_grouped_by_curve(dashboard):
    _, shown = dashboard
    groupings = {
        group: found(
            json.loads(spec(shown, Place("", "scaling_exp", group)))["workspace"], "grouping"
        )
        for group in (RUN_ID, "sweep-1a2b3c4d")
    }
    assert groupings[RUN_ID] == [[]]
    names = [each["name"] for each in groupings["sweep-1a2b3c4d"][0]]
    assert [name.split(".")[0] for name in names] == ["model", "strategy", "selector"]


def test_without_a_login_a_dashboard_is_not_saved_and_says_why(dashboard):
    folder, shown = dashboard
    with pytest.raises(UserError, match="wandb login"):
        save(shown, Place("me", "scaling_exp", RUN_ID), folder)
    assert not (folder.path / "dashboard.json").exists()


def test_a_run_that_was_not_tracked_has_no_dashboard(dashboard):
    folder, _ = dashboard
    with pytest.raises(UserError, match="tracking=online"):
        Place.of(folder, {"tracking": {"kind": "disabled"}}, {})
    place = Place.of(folder, {"tracking": {"kind": "disabled"}}, {"project": "mine"})
    assert place == Place("", "mine", RUN_ID)


def test_a_dashboard_is_saved_once_and_then_replaced(dashboard, monkeypatch):
    folder, shown = dashboard
    with wandb_server() as (url, views):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        first, second = (save(shown, Place("", "scaling_exp", RUN_ID), folder) for _ in range(2))
    assert first == second
    assert [view["type"] for view in views] == ["project-view", "runs"] * 2
    assert [view.get("id") for view in views] == [None, None, "view-1", "view-2"]
    assert {view["entityName"] for view in views} == {"me"}


@contextmanager
def wandb_server():
    """A loopback server that keeps the views that it is sent, as W&B does; its address and these views."""
    views = []

    def told(query, variables):
        if "upsertView" in query:
            views.append(variables)
            kept = {"id": variables.get("id") or f"view-{len(views)}"}
            given = {key: variables[key] for key in ("name", "displayName", "description", "spec")}
            project = {"name": "scaling_exp", "entityName": "me"}
            return {"upsertView": {"view": {**given, **kept, "project": project}, "inserted": True}}
        if "internalId" in query:
            return {"project": {"id": "p", "internalId": "7"}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}}
        page = {"hasNextPage": False, "endCursor": None}
        node = {
            "id": "p",
            "name": "scaling_exp",
            "entityName": "me",
            "isBenchmark": False,
            "user": None,
        }
        edge = {"node": {**node, "createdAt": "2026-01-01T00:00:00"}, "cursor": "c"}
        return {"models": {"totalCount": 1, "edges": [edge], "pageInfo": page}}

    def answer(path, _headers, content):
        asked = json.loads(content) if path == "/graphql" else {}
        data = told(asked["query"], asked.get("variables") or {}) if asked else {}
        return 200, {}, json.dumps({"data": data}).encode()

    with serving(answer) as url:
        yield url, views


def test_dashboard_wants_a_run(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["dashboard"])
    assert ended.value.code == 2
    assert "dashboard RUN_DIR" in capsys.readouterr().out
