"""The report's files: what is written, that it reads back, that nothing a model said can act."""

import json
import math
import re
import resource
from dataclasses import replace

import pandas as pd
import pytest
import synthetic_report as synthetic

from scaling_exp.analysis import Analysis
from scaling_exp.report import (
    answers,
    browser,
    card,
    charts,
    document,
    page,
    palette,
    plots,
    wording,
    write_report,
)
from scaling_exp.store import StoreError

PNGS = (
    *("accuracy_inference", "accuracy_lifetime", "equal_accuracy", "accuracy_level"),
    *("selection_gap", "ledger", "laws_coverage", "quality_price_price"),
)
NAMES = [facts.name for facts in synthetic.models()]


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
    run_dir = synthetic.write_run(tmp_path_factory.mktemp("runs"), samples, problems)
    assert write_report(run_dir, analysis, synthetic.manifest()) == run_dir / "report.html"
    return run_dir


@pytest.fixture(scope="module")
def embedded(run_dir):
    return browser.embedded_samples(run_dir, NAMES)


@pytest.fixture(scope="module")
def html(run_dir):
    return (run_dir / "report.html").read_text(encoding="utf-8")


def section(html: str, name: str) -> str:
    """The markup of one section of the page."""
    start = html.index(f'<section id="{name}"')
    return html[start : html.index("</section>", start)]


def embedded_json(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_and_a_png_of_every_plot_are_written(run_dir):
    assert (run_dir / "report.html").stat().st_size < 10_000_000
    written = {path.stem: path.read_bytes() for path in (run_dir / "figures").iterdir()}
    assert set(written) == set(PNGS)
    assert all(content.startswith(b"\x89PNG") for content in written.values())


@pytest.mark.parametrize("name", ["curves", "lifetimes", "ladder", "exchange", "ledger"])
def test_a_csv_reads_back_as_the_table_it_was(run_dir, analysis, name):
    table = vars(analysis)["models" if name == "ladder" else name]
    read = pd.read_csv(run_dir / f"{name}.csv", dtype={"level": str})
    pd.testing.assert_frame_equal(read, table.reset_index(drop=True), check_dtype=False)


def test_an_answers_tables_lie_beside_the_page_and_old_ones_are_gone(tmp_path, analysis):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "forgotten_fits.csv").write_text("x")
    answers.write_tables(analysis.answers, tmp_path)
    read = pd.read_csv(tmp_path / "answers" / "laws_fits.csv")
    pd.testing.assert_frame_equal(read, analysis.answers[0].tables["fits"], check_dtype=False)
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["laws_fits.csv"]


def test_the_verdict_comes_first_with_its_numbers_assumptions_and_what_would_flip_it(
    html, analysis
):
    body = html[html.index("<main") :]
    assert wording.sentence(analysis.sentences[0]) in body
    tiles = [body.index(f'data-tile="{name}"') for _, name, _, _ in card.TILES]
    assert tiles == sorted(tiles)
    assert tiles[-1] < body.index('id="accuracy"') < body.index('id="samples"')
    verdict = section(html, "verdict")
    assert "What would flip it: 1 of 2 changes" in verdict
    assert verdict.index("flips</b>") < verdict.index("holds</b>")
    assert f"What it assumes ({len(analysis.verdict['assumptions'])})" in verdict


def test_every_section_is_in_the_navigation(html):
    contents = html[html.index("<nav") : html.index("</nav>")]
    sections = re.findall(r'<section id="([^"]+)"', html)
    assert re.findall(r'href="#([^"]+)"', contents) == sections
    assert {"answer-laws", "answer-quality_price", "ledger", "health"} < set(sections)
    assert len(re.findall(r' id="([^"]+)"', html)) == len(set(re.findall(r' id="([^"]+)"', html)))


def test_an_answer_shows_its_sentences_tables_and_assumptions(html):
    laws = section(html, "answer-laws")
    for words in ("Which law does coverage follow?", "0.31–0.40", "beta-binomial", "Problems are"):
        assert words in laws
    assert '<span class="range">0.1 to 0.14</span>' in laws
    assert 'href="answers/laws_fits.csv"' in laws
    assert 'href="figures/laws_coverage.png"' in laws


def test_the_four_styles_of_a_series_reach_the_page(html):
    series = embedded_json(html)["answers"]["laws_coverage"]["series"]
    assert {each["style"] for each in series} == {"measured", "held_out", "fitted", "extrapolated"}
    assert {each["model"] for each in series} == set(range(len(NAMES)))


def test_a_long_series_is_thinned_and_says_so(html):
    [line, _] = embedded_json(html)["answers"]["quality_price_price"]["series"]
    assert len(line["x"]) == len(line["y"]) == plots.MAX_POINTS
    assert (line["x"][0], line["x"][-1]) == (0.001, 100)
    assert "Of 3,000 points 400 are drawn." in section(html, "answer-quality_price")


def test_model_output_cannot_end_its_element(html):
    assert synthetic.HOSTILE in embedded_json(html)["browser"]["texts"]
    start = html.index('id="data"')
    assert "\u2028" not in html[start : html.index("</script>", start)]
    assert html.count("</script>") == 3
    assert "<script>window.pwned" not in html


def test_hostile_names_are_escaped_in_tables_and_provenance(analysis, embedded):
    bad = "<img src=x onerror=alert(1)>"
    manifest = synthetic.manifest() | {"run_id": bad, "command": bad, "config": {bad: [bad]}}
    manifest |= {"generation": {bad: {"num_draws": 3}}, "hardware": bad}
    told = replace(analysis, sentences=(bad, bad))
    html = page.page_html(told, embedded, manifest)
    assert bad not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_disk_that_is_full_costs_one_line_and_keeps_the_page_that_was_there(tmp_path, analysis):
    page = write_report(tmp_path, analysis, synthetic.manifest())
    before = page.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*report\.html: File too large"):
            write_report(tmp_path, analysis, synthetic.manifest())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert page.read_bytes() == before
    (tmp_path / "taken").touch()
    with pytest.raises(StoreError, match=r"cannot write .*taken: File exists; .* another place"):
        write_report(tmp_path / "taken", analysis, synthetic.manifest())


def test_a_plot_is_drawn_whatever_the_models_it_is_named_after_are_called(tmp_path, analysis):
    answer = next(each for each in analysis.answers if each.plots)
    (plot, *_) = answer.plots
    names = ("org/model", "../model", "a$\\frac$b", "org-model")
    drawn = [
        replace(
            plot,
            name=f"of_{name}",
            title=name,
            series=[replace(each, name=name) for each in plot.series],
        )
        for name in names
    ]
    told = replace(analysis, answers=[replace(answer, plots=drawn)])
    write_report(tmp_path / "run", told, synthetic.manifest())
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(figures/[^"]*_of_[^"]*)"', html)
    assert len(set(links)) == len(names)
    assert all((tmp_path / "run" / each).is_file() for each in links)
    places = [each.removeprefix("figures/").removesuffix(".png") for each in links]
    assert set(places) <= set(embedded_json(html)["answers"])


def test_how_full_the_engines_were_and_what_failed_is_told(html):
    health = section(html, "health")
    for heading in (
        "until last job",
        "Drain",
        "Wait, s",
        "Jobs set aside",
        "Without a gradable answer",
    ):
        assert heading in health
    for value in ("99.5", "8.0", "61.5 s", "11.9 s", "23.7", "arithmetic-0099", "ended an engine"):
        assert value in health


def test_the_ledger_stacks_what_was_computed_and_names_what_was_saved(html, analysis):
    ledger = section(html, "ledger")
    first = analysis.ledger.iloc[0]
    spent = first[["prefill", "decode", "scorer", "wasted"]].sum()
    assert f"prefill {wording.percent(first['prefill'] / spent)}" in ledger
    assert f"{wording.power(first['cached'])} saved" in ledger
    assert "forced tokens" not in ledger


def test_numbers_that_json_lacks_become_null():
    written = document.json_for_html(
        {"a": [math.nan, math.inf, 0.1], "b": "\ud800 </script>\u2029"}
    )
    assert json.loads(written) == {"a": [None, None, 0.1], "b": "? </script>\u2029"}
    assert not set("<>&\u2028\u2029") & set(written)


def test_what_a_run_did_not_record_is_said_to_be_missing(analysis):
    html = page.page_html(analysis, None, {})
    assert section(html, "reproduce").count("not recorded") == 9
    assert "not recorded" in section(html, "health")
    assert "no samples to browse" in section(html, "samples")
    assert embedded_json(html)["browser"] is None


def test_a_run_without_pairs_or_models_to_compare_still_reports(tmp_path, samples, problems):
    few = problems.head(3)
    one = samples[samples["model"].eq(synthetic.models()[0].name)]
    one = one[one["problem"].isin(few["problem"])]
    settings = synthetic.AnalysisSettings(num_bootstrap=100)
    measured = synthetic.Measured(synthetic.models()[:1], samples=one)
    alone = synthetic.analyse(measured, settings)
    run_dir = synthetic.write_run(tmp_path, one, few)
    html = write_report(run_dir, alone, {}).read_text(encoding="utf-8")
    assert "No pair of models could be matched" in section(html, "verdict")
    assert "no pair to exchange" in section(html, "exchange")


def widened(analysis: Analysis, **columns: object) -> Analysis:
    """The analysis with one more point, like its first but for some columns."""
    point = analysis.curves.iloc[[0]].assign(**columns)
    return replace(analysis, curves=pd.concat([analysis.curves, point], ignore_index=True))


def test_adaptive_voting_is_one_point_with_a_mean_number_of_samples(analysis):
    more = widened(analysis, strategy="adaptive", selector="voting", k=7.25, level="all")
    lines = embedded_json(page.page_html(more, None, {}))["curves"]
    assert [line["k"] for line in lines if line["strategy"] == "adaptive"] == [[7.25]]


def test_only_axes_and_selectors_that_are_there_are_offered(analysis):
    html = page.page_html(analysis, None, {})
    data = embedded_json(html)
    assert list(data["axes"]) == ["inference_flops", "output_tokens", "k", "pretraining_flops"]
    assert data["selectors"] == ["voting", "oracle"]
    priced = analysis.curves.assign(dollars=0.01 * analysis.curves["k"], roofline_seconds=math.nan)
    more = widened(replace(analysis, curves=priced), selector="best_of")
    data = embedded_json(page.page_html(more, None, {}))
    assert list(data["axes"]) == [
        "inference_flops",
        "output_tokens",
        "dollars",
        "k",
        "pretraining_flops",
    ]
    assert data["selectors"] == ["voting", "best_of", "oracle"]


def test_the_selection_gap_is_oracle_minus_selected(analysis, html):
    gap = embedded_json(html)["gaps"][0]
    curves = analysis.curves
    at = curves[
        curves["model"].eq(NAMES[gap["model"]])
        & curves["strategy"].eq(gap["strategy"])
        & curves["level"].eq(gap["level"])
        & curves["k"].eq(gap["k"][-1])
    ].set_index("selector")["accuracy"]
    assert gap["gap"][-1] == pytest.approx(at["oracle"] - at["voting"], abs=1e-5)


def test_data_without_tokens_are_shown_against_the_number_of_samples(analysis, tmp_path):
    nothing = {
        name: math.nan for name in analysis.curves if name.startswith(("inference", "output"))
    }
    unknown = replace(
        analysis,
        curves=analysis.curves.assign(**nothing),
        lifetimes=analysis.lifetimes.assign(total_flops=math.nan),
    )
    html = write_report(tmp_path, unknown, {}).read_text(encoding="utf-8")
    assert list(embedded_json(html)["axes"]) == ["k", "pretraining_flops"]
    assert "Not known: total compute needs the tokens" in section(html, "lifetime")


@pytest.mark.parametrize(
    ("levels", "ordered"),
    [
        (["10", "9", "all"], ["9", "10"]),
        (["Level 10", "Level 9"], ["Level 9", "Level 10"]),
        (["hard", "easy", "medium"], ["easy", "medium", "hard"]),
    ],
)
def test_levels_run_by_number_or_else_from_easy_to_hard(levels, ordered):
    ease = {"easy": 0.9, "medium": 0.5, "hard": 0.1}
    lines = [
        charts.Line(0, "parallel", "oracle", level, [1], [ease.get(level, 0.5)], [0], [1], {})
        for level in levels
    ]
    assert charts.ordered_levels(lines) == ordered


def test_what_an_import_said_of_its_data_is_told(analysis):
    manifest = {
        "source": {"file": "evals.csv", "kind": "points"},
        "notes": ["3 rows are <b>bad</b>"],
        "unknown_models": [{"name": "gpt-4"}],
    }
    health = section(page.page_html(analysis, None, manifest), "health")
    for words in ("evals.csv", "points", "3 rows are &lt;b&gt;bad", "gpt-4"):
        assert words in health


def test_an_exchange_rate_beyond_what_the_models_span_is_not_printed():
    rate = {"value": 684.0, "low": 25.2, "high": "inf", "pretraining_span": 43.7}
    shown = card.verdict_card({"selectors": {"voting": {"exchange_rate": rate}}}, ())
    assert "over 43.7×" in shown
    assert "at least 25.2×" in shown
    assert "684" not in shown


def test_problems_are_chosen_by_seed_and_spread_over_levels(problems):
    chosen = browser.choose_problems(problems, 10, seed=0)
    assert chosen == browser.choose_problems(problems.sample(frac=1.0), 10, seed=0)
    assert chosen != browser.choose_problems(problems, 10, seed=1)
    assert set(chosen) > set(browser.choose_problems(problems, 5, seed=0))
    levels = problems.set_index("problem").loc[chosen, "level"]
    assert set(levels.value_counts()) == {2}


def test_everything_is_carried_where_it_fits(embedded, samples):
    assert embedded.num_samples_shown == embedded.num_samples == len(samples)
    assert len(embedded.problems) == 40
    shown = [sample for one in embedded.problems for draw in one.draws for sample in draw.samples]
    assert sum(sample[2] for sample in shown) == samples["is_correct"].sum()
    assert sum(sample[1] is None for sample in shown) == samples["answer"].isna().sum()
    assert {embedded.texts[sample[5]] for sample in shown} == set(samples["text"])


def test_votes_count_every_sample_when_texts_are_thinned(run_dir, samples, monkeypatch):
    monkeypatch.setattr(browser, "MAX_BYTES", 100_000)
    embedded = browser.embedded_samples(run_dir, NAMES)
    assert embedded is not None
    assert len(document.json_for_html(page.asdict(embedded))) <= 100_000
    assert embedded.num_samples_shown < embedded.num_samples == len(samples)
    draws = [draw for problem in embedded.problems for draw in problem.draws]
    assert all(
        sum(vote[1] for vote in draw.votes) + draw.num_unparsable == draw.num_samples
        for draw in draws
    )


def test_a_right_a_wrong_and_an_unparsable_sample_are_kept_of_each(run_dir, monkeypatch):
    monkeypatch.setattr(browser, "TEXTS_PER_DRAW", (4,))
    embedded = browser.embedded_samples(run_dir, NAMES)
    assert embedded is not None
    for draw in (draw for one in embedded.problems for draw in one.draws):
        assert len(draw.samples) == min(4, draw.num_samples)
        assert any(sample[2] for sample in draw.samples) == (draw.num_right > 0)
        assert any(sample[1] is None for sample in draw.samples) == (draw.num_unparsable > 0)
        assert any(sample[3] for sample in draw.samples) == (draw.num_truncated > 0)


def test_only_a_part_of_a_very_large_run_is_read(run_dir, monkeypatch):
    monkeypatch.setattr(browser, "MAX_ROWS", 1_700)
    embedded = browser.embedded_samples(run_dir, NAMES)
    assert embedded is not None
    assert len(embedded.problems) == 10


def test_a_score_without_bounds_ends_no_report(tmp_path, samples):
    run_dir = synthetic.write_run(tmp_path, samples.assign(score=-math.inf), None)
    found = browser.embedded_samples(run_dir, NAMES)
    assert found is not None
    assert {
        sample[-1] for one in found.problems for each in one.draws for sample in each.samples
    } == {None}


def test_samples_without_text_prompt_or_tokens_can_be_browsed(tmp_path, samples):
    bare = samples[["model", "strategy", "problem", "level", "sample", "answer", "is_correct"]]
    scored = bare.assign(score=samples["is_correct"] + 0.25)
    run_dir = synthetic.write_run(tmp_path, scored, None)
    embedded = browser.embedded_samples(run_dir, NAMES)
    assert embedded is not None
    [first, *_] = embedded.problems
    assert (first.prompt, first.answer, embedded.texts) == (None, None, [])
    votes = [vote for draw in first.draws for vote in draw.votes]
    assert {(right, score) for _, _, right, score in votes} <= {(True, 1.25), (False, 0.25)}
    assert "Neither prompts nor texts were imported" in page.page_html(
        synthetic.analysis(samples), embedded, {}
    )


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK])
@pytest.mark.parametrize("num_models", [1, 2, 5, 40])
def test_every_colour_stands_out_from_its_background(theme, num_models):
    colours = palette.model_colours(num_models, theme) + list(theme.named)
    assert min(palette.contrast(each, theme.background) for each in colours) >= 3
    assert len(set(colours)) == len(colours)


def test_model_names_with_hyphens_are_not_ranges():
    assert wording.sentence("Llama-3-8B at 3.5-7.1 %") == (
        'Llama-3-8B at <span class="whole">3.5–7.1</span>\u00a0%'
    )


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
