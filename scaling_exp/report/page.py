"""The page of one run: the verdict card, what was measured, the answers, how the run went, and its
samples.

A part of which nothing is known is left out of the page, or says what is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from scaling_exp.analysis import Analysis
from scaling_exp.report import answers, card, charts, health, ledger, tables, wording
from scaling_exp.report.browser import Embedded
from scaling_exp.report.charts import Lifetime
from scaling_exp.report.document import Section, coloured_models, document, resource
from scaling_exp.report.tables import Row
from scaling_exp.report.wording import text

SCRIPTS = ("base", "plots", "accuracy", "answers", "tables", "samples", "start")
QUESTION = (
    "For the next unit of compute, is it better to pre-train a bigger model or to let a smaller one "
    "think longer?"
)


def page_html(analysis: Analysis, embedded: Embedded | None, manifest: Row) -> str:
    """The whole page as one string, about 5 to 9 MB, of which plotly.js is 4.8 and samples at most
    3.6. `embedded` is None where no samples are known."""
    names = charts.ordered_models(analysis.models)
    opening = (
        '<section id="verdict" aria-labelledby="question">'
        '<p class="eyebrow">Inference scaling against pre-training scaling</p>'
        f'<h1 id="question">{QUESTION}</h1>'
        f"{card.verdict_card(analysis.verdict, analysis.sentences)}</section>"
    )
    return document(
        title=f"scaling_exp report {manifest.get('run_id') or ''}".strip(),
        run_line=_run_line(manifest),
        opening=opening,
        first=("verdict", "Verdict"),
        sections=list(_sections(analysis, embedded, manifest, names)),
        data=page_data(analysis, embedded, names),
        scripts=SCRIPTS,
    )


def page_data(analysis: Analysis, embedded: Embedded | None, names: list[str]) -> dict[str, object]:
    """What the page's script reads: lines, frontiers, matches, answers, colours and the sample
    browser."""
    lines = charts.query_lines(analysis.curves, names)
    lifetimes = charts.lifetime_lines(analysis.lifetimes, names)
    pretraining = dict(
        zip(analysis.models["model"], analysis.models["pretraining_flops"], strict=True)
    )
    matches = charts.matches(analysis.exchange, pretraining, lines, names)
    return {
        "models": coloured_models(names),
        **charts.curves_data(analysis.curves, names),
        "lifetimes": [asdict(line) for line in lifetimes],
        "queries": sorted({line.num_queries for line in lifetimes}),
        "frontiers": list(_frontiers(lifetimes)),
        "matches": [asdict(match) for match in matches],
        "answers": answers.answers_data(analysis.answers, names),
        "line_colours": answers.line_colours(analysis.answers),
        "browser": None if embedded is None else asdict(embedded),
    }


def _frontiers(lifetimes: Sequence[Lifetime]) -> Iterator[dict[str, object]]:
    for num_queries in sorted({line.num_queries for line in lifetimes}):
        for of_oracle in (False, True):
            flops, accuracy = charts.frontier(lifetimes, num_queries, of_oracle=of_oracle)
            yield {
                "num_queries": num_queries,
                "of_oracle": of_oracle,
                "flops": flops,
                "accuracy": accuracy,
            }


def _sections(
    analysis: Analysis, embedded: Embedded | None, manifest: Row, names: list[str]
) -> Iterator[Section]:
    yield from _measured(analysis, names)
    yield from (answers.answer_section(answer, names) for answer in analysis.answers)
    yield from _about_the_run(analysis, manifest, names)
    yield _samples(embedded)
    yield Section(
        "The run", "reproduce", "Reproduce", "How to reproduce", health.reproduce(manifest)
    )


def _measured(analysis: Analysis, names: list[str]) -> Iterator[Section]:
    """The plots and tables of every run, as far as there is something to show."""
    group, lines = "Measured", charts.query_lines(analysis.curves, names)
    sure = card.confidence(analysis.verdict)
    accuracy = resource("accuracy.html").replace("$confidence", sure)
    yield Section(group, "accuracy", "Accuracy and cost", "Accuracy against cost", accuracy)
    lifetimes = charts.lifetime_lines(analysis.lifetimes, names)
    lifetime = resource("lifetime.html") if lifetimes else UNKNOWN_COST
    yield Section(
        group, "lifetime", "Lifetime", "Accuracy against compute over a lifetime", lifetime
    )
    yield Section(
        group, "exchange", "Exchange", "Equal accuracy, two ways to pay", _exchange(analysis, names)
    )
    if charts.gaps(lines):
        gap = resource("gap.html")
        yield Section(group, "gap", "Selection gap", "What the selector leaves on the table", gap)
    if charts.difficulties(lines):
        level = resource("difficulty.html")
        yield Section(group, "difficulty", "Difficulty", "Where the samples help", level)
    yield Section(group, "ladder", "Ladder", "The ladder", _ladder(analysis, names))


UNKNOWN_COST = (
    '<p class="lead">Not known: total compute needs the tokens of a query, the parameters of every '
    "model and the tokens that it was trained on, and these data do not have all three.</p>"
)


def _exchange(analysis: Analysis, names: list[str]) -> str:
    if not len(analysis.exchange):
        return (
            '<p class="lead">No two models of different pre-training compute have several samples a '
            "problem, so there is no pair to exchange.</p>"
        )
    pretraining = dict(
        zip(analysis.models["model"], analysis.models["pretraining_flops"], strict=True)
    )
    lines = charts.query_lines(analysis.curves, names)
    has_plot = charts.matches(analysis.exchange, pretraining, lines, names)
    return (
        (resource("exchange.html") if has_plot else "")
        + '<div class="caption-head"><p class="lead">How many samples k the smaller model needs to '
        "equal one of the larger, how many times its inference compute per query that is, how many "
        "times less pre-training the smaller took, and the number of queries up to which it is "
        'cheaper in all.</p><a class="file" href="exchange.csv">CSV</a></div>'
        + tables.exchange(analysis.exchange, names)
        + '<p class="note">Not reached: no number of samples drawn here was enough. '
        "Crossover ∞: the smaller model is cheaper at any number of queries.</p>"
    )


def _ladder(analysis: Analysis, names: list[str]) -> str:
    return (
        '<div class="caption-head"><p class="lead">Every model, what its pre-training cost, and what '
        "one and many samples reach. maj@k is voting, pass@k the oracle.</p>"
        '<a class="file" href="ladder.csv">CSV</a></div>' + tables.ladder(analysis.models, names)
    )


def _about_the_run(analysis: Analysis, manifest: Row, names: list[str]) -> Iterator[Section]:
    if len(analysis.ledger):
        body = (
            '<div class="caption-head"><p class="lead">Every forward pass that was paid for, by what '
            "it was for. The number after a bar is its total; what a prefix cache saved was not "
            'computed.</p><a class="file" href="ledger.csv">CSV</a></div>'
            + ledger.stacked(analysis.ledger)
            + tables.details("The ledger as numbers", tables.frame(analysis.ledger, names))
        )
        yield Section("The run", "ledger", "Ledger", "Where the FLOPs went", body)
    if manifest.get("generation"):
        body = health.health(manifest, analysis.models, names)
    else:
        body = health.not_drawn_here(manifest)
    yield Section("The run", "health", "Run health", "How the run went", body)


def _samples(embedded: Embedded | None) -> Section:
    if embedded is None or not embedded.problems:
        body = (
            '<p class="lead">There are no samples to browse: these data are counts or points, '
            "without the answers behind them.</p>"
        )
    else:
        body = resource("samples.html").replace("$extent", _extent(embedded))
    return Section("The run", "samples", "Samples", "Samples", body)


def _extent(embedded: Embedded) -> str:
    is_all = embedded.num_samples_shown == embedded.num_samples
    rule = (
        ""
        if is_all
        else " Problems are chosen with a fixed seed and spread over the levels; of each draw some "
        "right, wrong, truncated and unparsable samples are kept. Votes are counted over all "
        "samples of a problem."
    )
    told = any(one.prompt for one in embedded.problems), bool(embedded.texts)
    lacks = {
        (True, True): "",
        (False, True): " The prompts were not imported.",
        (True, False): " The texts were not imported: only answers can be shown.",
        (False, False): " Neither prompts nor texts were imported: only answers can be shown.",
    }[told]
    return (
        f"This page carries {wording.whole(embedded.num_samples_shown)} of "
        f"{wording.whole(embedded.num_samples)} samples, from {len(embedded.problems)} of "
        f"{wording.whole(embedded.num_problems)} problems.{rule}{lacks} The full set is in "
        "<code>samples.parquet</code>."
    )


def _run_line(manifest: Row) -> str:
    return " · ".join(text(manifest[key]) for key in ("run_id", "created") if manifest.get(key))
