"""The report's files: what is written, that it reads back, that nothing a model said can act."""

import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
import synthetic_report as synthetic

from scaling_exp.report import browser, page, wording, write_report

PNGS = ("accuracy_inference", "accuracy_lifetime", "equal_accuracy", "accuracy_level")


@pytest.fixture(scope="module")
def problems():
    return synthetic.problems()


@pytest.fixture(scope="module")
def samples(problems):
    return synthetic.samples(problems)


@pytest.fixture(scope="module")
def analysis(samples):
    return synthetic.analysis(samples)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, analysis, samples, problems):
    run_dir = tmp_path_factory.mktemp("runs") / "quickstart"
    assert write_report(run_dir, analysis, samples, problems, synthetic.manifest()) == (
        run_dir / "report.html"
    )
    return run_dir


@pytest.fixture(scope="module")
def html(run_dir):
    return (run_dir / "report.html").read_text(encoding="utf-8")


def embedded_json(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_four_plots_and_four_tables_are_written(run_dir):
    assert (run_dir / "report.html").stat().st_size < 8_000_000
    for name in PNGS:
        assert (run_dir / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["curves", "lifetimes", "ladder", "exchange"])
def test_a_csv_reads_back_as_the_table_it_was(run_dir, analysis, name):
    table = getattr(analysis, "models" if name == "ladder" else name)
    read = pd.read_csv(run_dir / f"{name}.csv", dtype={"level": str})
    pd.testing.assert_frame_equal(read, table.reset_index(drop=True), check_dtype=False)


def test_the_verdict_comes_before_the_plots_with_its_three_numbers(html, analysis):
    body = html[html.index("<main") :]
    assert wording.sentence(analysis.sentences[0]) in body
    tiles = [body.index(f'data-tile="{name}"') for _, name, _, _ in page.TILES]
    assert tiles == sorted(tiles)
    assert tiles[-1] < body.index('id="plots"') < body.index('id="samples"')


def test_model_output_cannot_end_its_element(html):
    assert synthetic.HOSTILE in embedded_json(html)["browser"]["texts"]
    assert "window.pwned" not in html.replace(r"\u003cscript\u003ewindow.pwned", "").replace(
        r"onerror=window.pwned=2\u003e", ""
    )
    assert (
        "\u2028"
        not in html[html.index('id="data"') : html.index("</script>", html.index('id="data"'))]
    )
    assert html.count("</script>") == 3


def test_hostile_names_are_escaped_in_tables_and_provenance(analysis, samples, problems):
    bad = "<img src=x onerror=alert(1)>"
    manifest = synthetic.manifest() | {"run_id": bad, "command": bad, "config": {bad: [bad]}}
    manifest |= {"generation": {bad: {"num_draws": 3}}, "hardware": bad}
    told = replace(analysis, sentences=(bad, bad))
    html = page.page_html(told, samples, problems, manifest)
    assert bad not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_how_full_the_engines_were_is_told(html):
    generation = html[html.index('id="generation"') : html.index('id="reproduce"')]
    for heading in ("until the last job", "Drain, share of time", "Wait of a request, s"):
        assert heading in generation
    for value in ("99.5", "8.0", "61.5 s", "11.9 s", "23.7"):
        assert value in generation


def test_numbers_that_json_lacks_become_null():
    written = page.json_for_html({"a": [math.nan, math.inf, 0.1], "b": "\ud800 </script>\u2029"})
    assert json.loads(written) == {"a": [None, None, 0.1], "b": "? </script>\u2029"}
    assert not set("<>&\u2028\u2029") & set(written)


def test_what_a_run_did_not_record_is_said_to_be_missing(analysis, samples, problems):
    html = page.page_html(analysis, samples, problems, {})
    reproduce = html[html.index('id="reproduce"') : html.index('id="assumptions"')]
    assert reproduce.count("not recorded") == 10
    generation = html[html.index('id="generation"') : html.index('id="reproduce"')]
    assert "Not recorded" in generation


def test_a_run_without_pairs_or_models_to_compare_still_reports(tmp_path, samples, problems):
    few = problems.head(3)
    one = samples[samples["model"].eq(synthetic.models()[0].name)]
    one = one[one["problem"].isin(few["problem"])]
    settings = synthetic.AnalysisSettings(num_bootstrap=100)
    alone = synthetic.analyse(one, synthetic.models()[:1], settings)
    html = write_report(tmp_path, alone, one, few, {}).read_text(encoding="utf-8")
    assert "cannot be told" in html[html.index("<main") :]


def test_problems_are_chosen_by_seed_and_spread_over_levels(problems):
    chosen = browser.choose_problems(problems, 10, seed=0)
    assert chosen == browser.choose_problems(problems.sample(frac=1.0), 10, seed=0)
    assert chosen != browser.choose_problems(problems, 10, seed=1)
    levels = problems.set_index("problem").loc[chosen, "level"]
    assert set(levels.value_counts()) == {2}


def test_votes_count_every_sample_when_texts_are_thinned(samples, problems, monkeypatch):
    monkeypatch.setattr(browser, "MAX_BYTES", 100_000)
    names = [facts.name for facts in synthetic.models()]
    embedded = browser.embedded_samples(samples, problems, names)
    assert len(json.dumps(page.asdict(embedded))) <= 100_000
    assert embedded.num_samples_shown < embedded.num_samples == len(samples)
    draws = [draw for problem in embedded.problems for draw in problem.draws]
    assert all(sum(vote[1] for vote in draw.votes) == draw.num_samples for draw in draws)  # type: ignore[misc]


def test_adaptive_voting_is_one_point_with_a_mean_number_of_samples(analysis, samples, problems):
    point = analysis.curves.iloc[[0]].assign(
        strategy="adaptive", selector="voting", k=7.25, level="all", accuracy=0.5
    )
    widened = replace(analysis, curves=pd.concat([analysis.curves, point], ignore_index=True))
    lines = embedded_json(page.page_html(widened, samples, problems, {}))["curves"]
    assert [line["k"] for line in lines if line["strategy"] == "adaptive"] == [[7.25]]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (4.62, "4.62"),
        (33.5e6, "3.35×10<sup>7</sup>"),
        (math.inf, "∞"),
        (1500.0, "1 500"),
        (2e-5, "2×10<sup>−5</sup>"),
    ],
)
def test_numbers_are_written_one_way(value, written):
    assert wording.power(value) == written
