"""The page of several runs: what is written, and that nothing in a run's name can act."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_report as synthetic

from scaling_exp.analysis.comparison import DIFFERENCES, Comparison
from scaling_exp.report.comparison import Shown, comparison_html, write_comparison
from scaling_exp.report.palette import DARK, LIGHT, contrast, run_colours
from scaling_exp.store import StoreError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs():
    problems = synthetic.problems(20)
    curves = synthetic.analysis(synthetic.samples(problems)).curves
    better = curves.assign(accuracy=np.minimum(1.0, curves["accuracy"] + 0.05))
    return [
        Shown("first", curves, "../first/report.html", "2026-11-23"),
        Shown("second", better, "../second/report.html", "2026-11-24"),
    ]


def comparison(first: str = "first", second: str = "second") -> Comparison:
    """One pair of models, compared at three numbers of samples, and once at its final answers."""
    model = synthetic.models()[0].name
    same = {"run_a": first, "model_a": model, "run_b": second, "model_b": model, "num_problems": 20}
    sides = {"strategy_a": "parallel", "strategy_b": "parallel", "accuracy_a": 0.2}
    gains = {"difference": 0.05, "difference_low": 0.01, "difference_high": 0.09}
    rows = [
        {**same, **sides, **gains, "accuracy_b": 0.25, "selector": selector, "k": k}
        for selector, k in (("voting", 1), ("voting", 2), ("voting", 4), ("final", np.nan))
    ]
    return Comparison(
        sentences=(f"{second} is 5.0 points better.",),
        runs=pd.DataFrame({"run": [first, second], "num_models": [5, 5], "num_problems": [20, 20]}),
        differences=pd.DataFrame(rows, columns=pd.Index([*DIFFERENCES])),
        configuration=pd.DataFrame({"key": ["config.seed"], first: ["0"], second: ["1"]}),
    )


def embedded(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_curves_of_all_runs_stand_in_one_plot_with_a_colour_for_each_pair(runs):
    data = embedded(comparison_html(comparison(), runs))
    names = [facts.name for facts in synthetic.models()]
    assert [each["name"] for each in data["models"]] == [
        f"{run.name} · {name}" for run in runs for name in names
    ]
    assert len({each["light"] for each in data["models"]}) == 2 * len(names)
    assert {line["model"] for line in data["curves"]} == set(range(2 * len(names)))


def test_differences_over_k_are_drawn_and_final_ones_stand_in_the_table(runs):
    html = comparison_html(comparison(), runs)
    [plot] = embedded(html)["answers"].values()
    [series] = plot["series"]
    assert (series["x"], series["y"]) == ([1, 2, 4], [0.05] * 3)
    assert (series["low"], series["high"]) == ([0.01] * 3, [0.09] * 3)
    assert series["name"] == "ladder-0.04M, parallel: second less first"
    table = html[html.index('<section id="answer-differences"') :]
    assert '<td class="text">final</td>' in table
    assert '<span class="range">1.0 % to 9.0 %</span>' in table


def test_the_page_its_plots_and_its_tables_are_written_with_links_to_the_runs(runs, tmp_path):
    page = write_comparison(comparison(), runs, tmp_path)
    html = page.read_text(encoding="utf-8")
    assert 'href="../second/report.html"' in html
    assert "config.seed" in html
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        *("accuracy_inference", "selection_gap", "differences_voting")
    }
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {
        *("differences_differences.csv", "configuration_configuration.csv")
    }


def test_a_place_that_is_taken_is_one_line(runs, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(StoreError, match=r"cannot write .*taken: File exists"):
        write_comparison(comparison(), runs, tmp_path / "taken")


def test_runs_of_hostile_names_stay_text(runs):
    bad = [Shown(HOSTILE, runs[0].curves, HOSTILE, HOSTILE), runs[1]]
    html = comparison_html(comparison(first=HOSTILE), bad)
    assert HOSTILE not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_runs_that_share_no_problem_are_shown_without_differences(runs):
    nothing = comparison()
    nothing = Comparison(
        nothing.sentences, nothing.runs, nothing.differences.head(0), nothing.configuration.head(0)
    )
    html = comparison_html(nothing, runs)
    assert "Nothing could be paired." in html
    assert "Nothing differs." in html


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_of_runs_stand_out_and_differ(theme):
    colours = run_colours([5, 5, 3], theme)
    assert len(set(colours)) == 13
    assert min(contrast(each, theme.background) for each in colours) >= 3
