"""The report in a real browser: offline, without errors, at two widths, light and dark."""

import shutil

import pytest
import synthetic_report as synthetic

from scaling_exp.report import write_report

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
    run_dir = tmp_path_factory.mktemp("run")
    manifest = synthetic.manifest()
    return write_report(run_dir, synthetic.analysis(samples), samples, problems, manifest)


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

    def open_at(width: int = 1280, scheme: str = "light"):
        viewport = {"width": width, "height": 900}
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _only_the_file(request.url, complaints))
        page.goto(report.as_uri())
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
    return page.evaluate(ROLES, f"plot-{plot}")


def test_plots_are_drawn_and_follow_the_selector_and_the_models(open_page):
    page = open_page()
    drawn = roles(page, "inference")
    assert drawn.count(["line", "voting"]) == NUM_MODELS
    assert drawn.count(["line", "single"]) == NUM_MODELS
    assert sum(role == "interval" for role, _ in drawn) == NUM_MODELS
    assert roles(page, "level").count(["line", "voting"]) == NUM_MODELS
    assert roles(page, "exchange")

    page.get_by_role("button", name="Oracle").click()
    assert ["line", "voting"] not in roles(page, "inference")
    assert roles(page, "inference").count(["line", "oracle"]) == NUM_MODELS
    page.get_by_role("button", name="Both").click()
    assert len([1 for role, _ in roles(page, "inference") if role == "line"]) == 3 * NUM_MODELS

    page.locator("#models button").first.click()
    assert roles(page, "inference").count(["line", "voting"]) == NUM_MODELS - 1
    assert page.locator("#models button").first.get_attribute("aria-pressed") == "false"


def test_the_number_of_queries_moves_the_total_compute_plot(open_page):
    page = open_page()
    read = """() => document.getElementById('plot-lifetime').data.flatMap(t => t.x)
        .reduce((a, b) => Math.max(a, b))"""
    assert ["frontier", "voting"] in roles(page, "lifetime")
    before, shown = page.evaluate(read), page.locator("#queries-value").inner_text()
    page.locator("#queries").focus()
    page.keyboard.press("End")
    assert page.evaluate(read) > before
    assert page.locator("#queries-value").inner_text() != shown


def test_hovering_a_point_tells_its_numbers(open_page):
    page = open_page()
    page.locator("#plot-inference").scroll_into_view_if_needed()
    page.evaluate(
        """() => Plotly.Fx.hover('plot-inference', [{curveNumber:
        document.getElementById('plot-inference').data.findIndex(t => t.meta.role === 'line'),
        pointNumber: 0}])"""
    )
    assert page.locator(".modebar-btn").count() > 0
    assert page.locator(".modebar-btn[data-title*=Share]").count() == 0
    told = page.locator("#plot-inference .hoverlayer").text_content()
    assert "accuracy" in told
    assert "FLOPs per query" in told


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


@pytest.mark.parametrize("width", [1280, 400])
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


def test_a_script_that_gets_into_the_page_is_refused(chromium, report, tmp_path):
    injected = tmp_path / "injected.html"
    html = report.read_text(encoding="utf-8")
    injected.write_text(html.replace("<main", "<script>window.pwned=1</script><main", 1), "utf-8")
    page = chromium.new_page()
    page.goto(injected.as_uri())
    page.wait_for_selector("html[data-ready=true]", timeout=15_000)
    assert page.evaluate("() => typeof window.pwned") == "undefined"
    page.close()
