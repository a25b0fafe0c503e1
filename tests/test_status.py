"""What `status` tells of a run that works, has ended, was killed or failed; from the store alone."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from test_experiment import (
    experiment,
    no_report,  # noqa: F401 - a fixture, used by every test
    respond,
)

from scaling_exp import recorder
from scaling_exp.__main__ import main
from scaling_exp.dispatch import ReplicaDied
from scaling_exp.engines import RequestFailed
from scaling_exp.engines.simulated import Simulated
from scaling_exp.experiment import run
from scaling_exp.spending import Limits
from scaling_exp.state import State
from scaling_exp.status import Seen, look
from scaling_exp.store import Store, StoreError
from scaling_exp.types import UserError
from scaling_exp.worker import LocalReplica


def told(name, store, width=140):
    shown, may_change = look(str(name), Store(store))
    console = Console(width=width, record=True, file=StringIO())
    console.print(shown)
    return console.export_text(), may_change


def log_of(made):
    return [json.loads(line) for line in (made.folder.path / "log.jsonl").read_text().splitlines()]


def test_a_finished_run_is_told_with_what_it_spent(tmp_path):
    made = experiment(tmp_path)
    run(made, "the command")
    text, may_change = told(made.folder.path, tmp_path)
    assert not may_change
    assert f"{made.run_id}: finished" in text
    assert all(each.name in text for each in made.models)
    assert f"{6 * 9}/{6 * 9}" in text
    assert "output tokens" in text
    assert "FLOPs" in text
    assert f"{made.folder.path}/report.html" in text.replace("\n", "")
    overview, _ = told("", tmp_path)
    assert made.run_id in overview
    assert "100%" in overview
    # A name in the store is enough, and the folder of a store lists its runs.
    assert told(made.run_id, tmp_path)[0].split("said")[0] == text.split("said")[0]
    assert made.run_id in told(tmp_path, tmp_path / "another")[0]


def test_a_run_is_told_while_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(recorder, "STOCK_SECONDS", 0.05)
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.05)
    slow = Simulated(16, 0.01, 0.001, respond, pace=0.5)
    made = experiment(tmp_path, num_samples=64, engine=slow, limits=Limits(wall="1h"))
    with ThreadPoolExecutor(1) as beside:
        working = beside.submit(run, made, "the command")
        deadline = time.monotonic() + 20
        while not ((state := State.read(made.folder)) and state.tokens_per_second):
            assert time.monotonic() < deadline
            assert not working.done() or working.result()
            time.sleep(0.02)
        text, may_change = told(made.folder.path, tmp_path)
        assert may_change
        assert f"{made.run_id}: drawing" in text
        assert "in flight" in text
        assert "output tokens/s, at most" in text
        assert "limits.wall=1h" in text
        assert f"on {state.host}, process {os.getpid()}" in text
        working.result()
    assert 0 < state.num_draws <= state.num_draws_expected == 2 * 6 * 65
    assert state.eta_seconds is not None
    assert len(state.replicas) == 2


def test_a_run_whose_driver_is_gone_is_interrupted_with_the_command_that_goes_on(tmp_path):
    made = experiment(tmp_path)
    run(made, "the command")
    at_work = replace(State.read(made.folder), phase="drawing")
    at_work.write(made.folder)
    text, may_change = told(made.folder.path, tmp_path)
    assert not may_change
    assert f"{made.run_id}: interrupted" in text
    assert "go on    the command" in text
    with made.folder.locked():
        assert Seen.of(made.folder).phase == "drawing"
        silent = json.loads((made.folder.path / "state.json").read_text())
        made.folder.write_json("state", {**silent, "written": time.time() - 600})
        assert Seen.of(made.folder).phase == "silent"


def test_a_run_that_failed_says_why(tmp_path):
    def refuse(_prefix, _seed):
        raise RequestFailed("no model")

    made = experiment(tmp_path, engine_respond=refuse)
    with pytest.raises(UserError):
        run(made, "the command")
    text, _ = told(made.folder.path, tmp_path)
    assert ": failed" in text
    assert "every problem was set aside; the first because: no model" in text
    assert f"{2 * 6} job set aside" in text
    lines = log_of(made)
    aside = [each for each in lines if each["event"] == "job_set_aside"]
    assert {each["reason"] for each in aside} == {"no model"}
    assert {each["level"] for each in aside} == {"warning"}


def test_a_replica_that_dies_is_a_line_of_the_log(tmp_path):
    made = experiment(tmp_path)

    class DiesOnce(LocalReplica):
        has_died = False

        async def exchange(self, jobs, seconds):
            report = await super().exchange(jobs, seconds)
            if report.num_draws and not DiesOnce.has_died:
                DiesOnce.has_died = True
                raise ReplicaDied("its node is gone", blames_jobs=False)
            return report

    async def replicas(work, _at_most):
        for _ in range(3):
            yield DiesOnce(work)

    made.cluster.replicas = replicas
    run(made, "the command")
    lines = log_of(made)
    (died,) = (each for each in lines if each["event"] == "replica_died")
    assert died["reason"] == "its node is gone"
    assert died["num_open_jobs"] > 0
    assert State.read(made.folder).faults == {"replica_died": 1}


def test_what_cannot_be_kept_is_a_warning_and_the_run_ends_well(tmp_path, monkeypatch):
    def no_room(*_):
        raise StoreError("cannot write")

    monkeypatch.setattr(State, "write", no_room)
    made = experiment(tmp_path)
    with pytest.warns(UserWarning, match="the run is not affected"):
        run(made, "the command")
    assert made.folder.has_table("samples")


def test_no_run_no_store_and_no_job_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for arguments, complaint in (
        (["status", f"store={tmp_path}"], "has no runs"),
        (["status", "quickstart-1129-0912-3fa2"], "there is no job 'quickstart-1129-0912-3fa2'"),
        (["status", "nowhere/it"], "no run and no store"),
        (["status", str(tmp_path), "watch=often"], "has no runs"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert complaint in line


def test_a_state_that_cannot_be_read_hides_no_other_run_and_is_not_taken_for_nothing(tmp_path):
    """What earlier sessions spent is known from it alone."""
    made, other = experiment(tmp_path), experiment(tmp_path, name="other")
    run(made, "the command")
    run(other, "the command")
    (made.folder.path / "state.json").write_text('{"run_id": "of another version"}')
    overview, _ = told("", tmp_path)
    assert "no state" in overview
    assert "finished" in overview
    with pytest.raises(StoreError, match=r"state.json cannot be read .*; move it away"):
        run(made, "the command")


def test_watching_ends_with_the_run(tmp_path, capsys):
    made = experiment(tmp_path)
    run(made, "the command")
    main(["status", str(made.folder.path), "watch=0.01"])
    assert "finished" in capsys.readouterr().out
