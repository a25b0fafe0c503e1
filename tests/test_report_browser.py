"""The report in a real browser: offline, without errors, at two widths, light and dark."""

import math
import pathlib
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import synthetic_report as synthetic

from scaling_exp.report import write_report
from scaling_exp.report.palette import contrast

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (apt-get install chromium)"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NUM_MODELS = len(synthetic.SIZES)
ROLES = "id => (document.getElementById(id).data ?? []).map(t => [t.meta.role, t.meta.selector])"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    problems = synthetic.problems()
    samples = synthetic.samples(problems)
    run_dir = synthetic.write_run(tmp_path_factory.mktemp("run"), samples, problems)
    return write_report(run_dir, synthetic.analysis(samples), synthetic.manifest())


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, report):
    """Opens the report; a request over a network or a word on the console fails the test."""
    contexts, complaints = [], []

    def open_at(width: int = 1280, scheme: str = "light", path: pathlib.Path = report):
        viewport = {"width": width, "height": 900}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _only_the_file(request.url, complaints))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=true]", timeout=15_000)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []


def _only_the_file(url: str, complaints: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        complaints.append(f"request to {url}")


def roles(page, plot: str) -> list[list[str]]:
    """What a plot draws, once it has come near the window and is drawn."""
    place = page.locator(f"#plot-{plot}")
    place.scroll_into_view_if_needed()
    place.locator(".main-svg, .empty").first.wait_for()
    return page.evaluate(ROLES, f"plot-{plot}")


def test_plots_are_drawn_and_follow_the_selectors_and_the_models(open_page):
    page = open_page()
    drawn = roles(page, "accuracy")
    assert drawn.count(["line", "voting"]) == NUM_MODELS
    assert drawn.count(["line", "single"]) == NUM_MODELS
    assert sum(role == "interval" for role, _ in drawn) == NUM_MODELS
    assert roles(page, "difficulty").count(["line", "voting"]) == NUM_MODELS
    assert roles(page, "gap").count(["gap", "voting"]) == NUM_MODELS
    assert roles(page, "exchange")

    page.get_by_role("button", name="Oracle").click()
    assert len([1 for role, _ in roles(page, "accuracy") if role == "line"]) == 3 * NUM_MODELS
    page.get_by_role("button", name="Voting").click()
    assert ["line", "voting"] not in roles(page, "accuracy")
    assert roles(page, "accuracy").count(["line", "oracle"]) == NUM_MODELS

    page.locator("#models button").first.click()
    assert roles(page, "accuracy").count(["line", "oracle"]) == NUM_MODELS - 1
    assert page.locator("#models button").first.get_attribute("aria-pressed") == "false"


def test_the_cost_axis_and_the_problems_can_be_chosen(open_page):
    page = open_page()
    roles(page, "accuracy")
    title = "() => document.getElementById('plot-accuracy').layout.xaxis.title.text"
    assert page.evaluate(title) == "Inference FLOPs a query"
    assert page.locator("#axis option").count() == 4
    page.locator("#axis").select_option("output_tokens")
    assert page.evaluate(title) == "Output tokens a query"
    page.locator("#axis").select_option("k")
    highest = "() => Math.max(...document.getElementById('plot-accuracy').data.flatMap(t => t.x))"
    assert page.evaluate(highest) == synthetic.NUM_SAMPLES
    accuracy = "() => document.getElementById('plot-accuracy').data.flatMap(t => t.y).join()"
    before = page.evaluate(accuracy)
    page.locator("#level").select_option("6")
    assert page.evaluate(accuracy) != before


def test_the_number_of_queries_moves_the_total_compute_plot(open_page):
    page = open_page()
    read = """() => document.getElementById('plot-lifetime').data.flatMap(t => t.x)
        .reduce((a, b) => Math.max(a, b))"""
    assert ["frontier", "selected"] in roles(page, "lifetime")
    before, shown = page.evaluate(read), page.locator("#queries-value").inner_text()
    page.locator("#queries").focus()
    page.keyboard.press("End")
    assert page.evaluate(read) > before
    assert page.locator("#queries-value").inner_text() != shown


def test_hovering_a_point_tells_its_numbers(open_page):
    page = open_page()
    roles(page, "accuracy")
    page.evaluate(
        """() => Plotly.Fx.hover('plot-accuracy', [{curveNumber:
        document.getElementById('plot-accuracy').data.findIndex(t => t.meta.role === 'line'),
        pointNumber: 0}])"""
    )
    assert page.locator(".modebar-btn").count() > 0
    assert page.locator(".modebar-btn[data-title*=Share]").count() == 0
    told = page.locator("#plot-accuracy .hoverlayer").text_content()
    assert "accuracy" in told
    assert "FLOPs a query" in told


def test_an_answers_measurements_fits_and_extrapolations_look_different(open_page):
    page = open_page()
    drawn = roles(page, "laws_coverage")
    for style in ("measured", "held_out", "fitted", "extrapolated"):
        assert [role for role, _ in drawn].count(style) == NUM_MODELS
    looks = page.evaluate(
        """() => Object.fromEntries(document.getElementById('plot-laws_coverage').data.map(
        t => [t.meta.role, [t.mode, t.line.dash, t.marker?.color].join()]))"""
    )
    assert len(set(looks.values())) == len(looks) == 5
    words = page.locator("[data-key=laws_coverage] .style-word").all_inner_texts()
    assert words == ["measured", "held out from the fit", "fit, inside the data", "extrapolated"]
    page.locator("[data-key=laws_coverage] button").first.click()
    assert [role for role, _ in roles(page, "laws_coverage")].count("fitted") == NUM_MODELS - 1


def test_a_table_is_sorted_by_a_press_on_its_heading(open_page):
    page = open_page()
    table = page.locator("#answer-laws table")
    cells = lambda: table.locator("tbody tr td:nth-of-type(3)").all_inner_texts()  # noqa: E731
    table.get_by_role("button", name="Exponent").click()
    ascending = [cell.split("\n")[0] for cell in cells()]
    assert ascending == ["0.12", "0.24", "0.36", "0.6", "—"]
    table.get_by_role("button", name="Exponent").click()
    assert [cell.split("\n")[0] for cell in cells()] == ["0.6", "0.36", "0.24", "0.12", "—"]
    sorted_by = table.locator("th[aria-sort]")
    assert sorted_by.get_attribute("aria-sort") == "descending"


def test_samples_are_browsed_and_model_output_stays_text(open_page):
    page = open_page()
    listed = page.locator("#problem-list button")
    assert listed.count() == 40
    page.get_by_role("button", name="Next problem").click()
    assert page.locator("#problem-name").inner_text() == listed.nth(1).locator(".name").inner_text()

    page.locator("#problem-list button", has_text="arithmetic-0000").click()
    page.locator("#draws button", has_text="parallel").first.click()
    texts = page.locator("#texts .sample")
    assert texts.count() == synthetic.NUM_SAMPLES
    assert texts.first.locator("pre").evaluate("node => node.textContent") == synthetic.HOSTILE
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    assert page.locator("#votes .vote").count() >= 2
    assert "<b>step by step</b>" in page.locator("#problem-prompt").inner_text()

    page.locator("#filter-level").select_option("3")
    assert page.locator("#problem-list .level").all_inner_texts()
    assert all(
        at.startswith("level 3") for at in page.locator("#problem-list .level").all_inner_texts()
    )
    page.locator("#filter-outcome").select_option("outvoted")
    for button in page.locator("#problem-list button").all():
        button.click()
        assert "✓" not in page.locator("#votes .vote").first.inner_text()


def test_a_problem_is_found_by_its_words_and_samples_by_their_kind(open_page):
    page = open_page()
    page.locator("#filter-text").fill("0003 compute STEP")
    assert page.locator("#problem-list .name").all_inner_texts() == ["arithmetic-0003"]
    page.locator("#filter-text").fill("0017")
    assert page.locator("#problem-name").inner_text() == "arithmetic-0017"
    page.locator("#filter-text").fill("")
    page.locator("#filter-outcome").select_option("truncated")
    page.locator("#kinds button", has_text="truncated").click()
    shown = page.locator("#texts .sample").all()
    assert shown
    assert all(sample.locator(".tag").inner_text() == "truncated" for sample in shown)
    page.locator("#kinds button", has_text="right").click()
    assert page.locator("#texts .sample:not(.right)").count() == 0


def test_the_keyboard_steps_through_the_problems(open_page):
    page = open_page()
    names = page.locator("#problem-list .name").all_inner_texts()
    shown = lambda: page.locator("#problem-name").inner_text()  # noqa: E731
    page.locator("#browser").scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert shown() == names[2]
    page.keyboard.press("k")
    assert shown() == names[1]
    page.locator("#problem-list [aria-current]").focus()
    page.keyboard.press("ArrowDown")
    assert shown() == names[2]
    assert page.evaluate("() => document.activeElement.matches('#problem-list [aria-current]')")
    page.keyboard.press("/")
    page.keyboard.type("0031")
    assert shown() == "arithmetic-0031"


def test_the_contents_open_on_a_narrow_screen_and_follow_the_reader(open_page):
    page = open_page(390)
    assert not page.locator("#toc").is_visible()
    page.locator("#contents").click()
    page.locator("#toc a", has_text="Run health").click()
    assert not page.locator("#toc").is_visible()
    page.wait_for_function("() => location.hash === '#health'")
    page.wait_for_function(
        "() => document.querySelector('#toc [aria-current]')?.hash === '#health'", timeout=5_000
    )


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_the_theme_is_the_readers(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    background = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    brightness = sum(map(int, before.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness < 200) == (scheme == "dark")
    page.locator("#theme").click()
    assert page.evaluate(background) != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(open_page, scheme):
    page = open_page(1280, scheme)
    tokens = page.evaluate(
        """() => Object.fromEntries(["page", "card", "sunk", "ink", "soft", "faint", "accent", "wrong"]
        .map(name => [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))"""
    )
    for name in ("ink", "soft", "faint", "accent", "wrong"):
        for behind in ("page", "card"):
            assert contrast(tokens[name], tokens[behind]) >= 4.5, (name, behind)


def test_paper_has_everything_open_and_no_controls(open_page, tmp_path):
    page = open_page(1280, "dark")
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").stat().st_size > 100_000
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("#plot-laws_coverage .main-svg").count() > 0
    assert not page.locator("#models").is_visible()
    assert not page.locator("#toc").is_visible()
    widest = (
        "() => Math.max(...[...document.querySelectorAll('.main-svg')].map(n => n.clientWidth))"
    )
    assert page.evaluate(widest) <= 44 * 16
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("details[open]").count() == 0
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_a_page_without_samples_or_costs_works(open_page, tmp_path):
    samples = synthetic.samples(synthetic.problems())
    full = synthetic.analysis(samples)
    counts = full.curves[full.curves["selector"].isin(["oracle", "single"])]
    unknown = {name: math.nan for name in counts if name.startswith(("inference", "output"))}
    bare = replace(
        full,
        curves=counts.assign(**unknown),
        lifetimes=full.lifetimes.assign(total_flops=math.nan),
        exchange=full.exchange.head(0),
        answers=(),
        ledger=pd.DataFrame(),
    )
    page = open_page(390, path=write_report(tmp_path, bare, {}))
    assert roles(page, "accuracy").count(["line", "oracle"]) == NUM_MODELS
    assert page.locator("#axis").input_value() == "k"
    assert page.locator("#browser").count() == 0
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_a_script_that_gets_into_the_page_is_refused(chromium, report, tmp_path):
    injected = tmp_path / "injected.html"
    html = report.read_text(encoding="utf-8")
    injected.write_text(html.replace("<main", "<script>window.pwned=1</script><main", 1), "utf-8")
    page = chromium.new_page()
    page.goto(injected.as_uri())
    page.wait_for_selector("html[data-ready=true]", timeout=15_000)
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    page.close()
