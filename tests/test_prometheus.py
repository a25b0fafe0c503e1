"""Metrics on Ray's port: what is told of a run, and that the Grafana dashboard asks for nothing else."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import ROOT

from scaling_exp.dispatch import Event, Fault, Report, ScorerReport
from scaling_exp.display import Display
from scaling_exp.engines import Counters
from scaling_exp.prometheus import COUNTED, GAUGES, PREFIX, Exposed

SPENDING = SimpleNamespace(flops_of=lambda _model: 1e9)
COUNTERS = Counters(8, 100, 700, 5, 50, 20, 150, 2, 1.5, 9.0)


def event(num_draws, counters=COUNTERS, **changed):
    report = Report(num_draws=num_draws, num_output_tokens=10 * num_draws, counters=counters)
    return Event(0, 0, "4K", replace(report, **changed))


class Told:
    """Stands for one of Ray's metrics."""

    def __init__(self):
        self.values = {}

    def inc(self, value, tags):
        assert value > 0  # what Ray asks for
        self.values[tuple(tags.values())] = self.values.get(tuple(tags.values()), 0) + value

    def set(self, value, tags):
        self.values[tuple(tags.values())] = value


@pytest.fixture
def exposed():
    told = [{name: Told() for name in names} for names in (COUNTED, GAUGES)]
    return Exposed("run-1", Display({"4K": (3, 12)}), SPENDING, *told)


def value(exposed, name, *tags):
    metrics = exposed._gauges if name in GAUGES else exposed._counters
    return metrics[name].values.get(("run-1", *(tags or ("4K", "generator"))), 0)


def test_counters_end_at_the_sums_of_the_display_however_often_they_are_told(exposed):
    for num_draws in (2, 0, 3):
        exposed.display.update(event(num_draws))
        exposed.tell()
    assert value(exposed, "draws") == 5
    assert value(exposed, "output_tokens") == 50
    assert value(exposed, "preemptions") == 2
    assert value(exposed, "slot_steps") / value(exposed, "slots_offered") == COUNTERS.occupancy
    assert value(exposed, "flops") == 1e9


def test_gauges_are_what_is_so_now(exposed):
    exposed.display.update(event(2, num_in_flight=6))
    exposed.tell()
    assert [value(exposed, name) for name in ("in_flight", "replicas", "draws_expected")] == [
        6,
        1,
        12,
    ]
    exposed.display.update(replace(event(0), is_over=True))
    exposed.tell()
    assert [value(exposed, name) for name in ("in_flight", "replicas")] == [0, 0]


def test_a_scorer_has_series_of_its_own(exposed):
    engine = Counters(8, 50, 100, 7, 90, 30, 7, 0, 0.5, 2.0)
    scorer = ScorerReport("judge", engine, engine, {}, num_in_flight=5, load_seconds=1.0)
    exposed.display.update(event(9, num_scores=7, scorer=scorer))
    exposed.tell()
    judge = ("judge", "scorer")
    assert value(exposed, "draws") == 2
    assert value(exposed, "draws", *judge) == 0
    assert value(exposed, "scores", *judge) == 7
    assert value(exposed, "prompt_tokens", *judge) == 90
    assert value(exposed, "prompt_tokens") == COUNTERS.prompt_tokens
    offered = value(exposed, "slots_offered", *judge)
    assert value(exposed, "slot_steps", *judge) / offered == engine.occupancy
    assert value(exposed, "in_flight", *judge) == 5
    assert value(exposed, "flops", *judge) == 1e9


def test_faults_are_counted_by_kind(exposed):
    for kind in ("replica_died", "replica_died", "job_refused"):
        exposed.note(Fault(kind, "because"))
    assert value(exposed, "faults", "replica_died") == 2
    assert value(exposed, "faults", "job_refused") == 1


def test_nothing_is_told_more_often_than_every_two_seconds(exposed, monkeypatch):
    told = []
    monkeypatch.setattr(exposed, "tell", lambda: told.append(1))
    for _ in range(1000):
        exposed.look()
    assert len(told) == 1


def grafana():
    return json.loads((ROOT / "cluster" / "grafana-dashboard.json").read_text())


def test_the_grafana_dashboard_asks_for_every_metric_and_for_no_other():
    asked = set(re.findall(rf"ray_{PREFIX}\w+", json.dumps(grafana())))
    exposed = {f"ray_{PREFIX}{name}_total" for name in COUNTED} | {
        f"ray_{PREFIX}{name}" for name in GAUGES
    }
    assert asked == exposed


def test_no_panel_of_the_grafana_dashboard_lies_on_another():
    cells = [
        (x, y)
        for panel in grafana()["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in grafana()["panels"]]
    assert len(ids) == len(set(ids))
