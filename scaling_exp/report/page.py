"""The self-contained HTML page: verdict, plots, tables, provenance and samples in one file that opens no connection.

A content security policy allows exactly the scripts written here, by hash, and no network; data is embedded as JSON
that cannot end its own element. What the run did not record is said to be missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from scaling_exp.analysis import Analysis
from scaling_exp.report import browser, charts, tables, wording
from scaling_exp.report.palette import DARK_SPAN, LIGHT_SPAN, model_colours
from scaling_exp.report.wording import interval, number, text

ASSUMPTIONS = (
    "Pre-training costs 6ND FLOPs: N all parameters, D training tokens.",
    "Inference costs 2 N_active + 4 L H d_head s FLOPs per token at context s. A problem's prompt is prefilled once, "
    "the decode of every sample is charged, truncated ones included.",
    "Accuracy at k is the exact expectation over which k of the drawn samples had been seen (pass@k for the oracle, "
    "maj@k with ties broken uniformly for voting), not one draw of k.",
    "An answer that could not be parsed, or was cut off before it came, is counted wrong; it abstains from the vote.",
    "Intervals are percentile bootstraps over problems. They cover the choice of problems, not of a training seed.",
    "The oracle needs to know the right answer and is an upper bound; voting is what a user could run.",
    "A lifetime costs the pre-training once plus the mean inference cost times the number of queries.",
)


def page_html(
    analysis: Analysis,
    samples: pd.DataFrame,
    problems: pd.DataFrame,
    manifest: Mapping[str, object],
) -> str:
    """The whole page as one string, about 5 to 8 MB, of which plotly.js is 4.8 and samples at most 2.5."""
    names = charts.ordered_models(analysis.models)
    embedded = browser.embedded_samples(samples, problems, names)
    payload = page_data(analysis, embedded, names)
    script, plotly = _resource("page.js"), get_plotlyjs()
    return Template(_resource("page.html")).substitute(
        policy=_policy(plotly, script),
        title=text(f"scaling_exp report {manifest.get('run_id') or ''}".strip()),
        css=_resource("page.css"),
        run_line=_run_line(manifest),
        sentences="".join(f"<p>{text(sentence)}</p>" for sentence in analysis.sentences),
        tiles=_tiles(analysis),
        confidence=_confidence(manifest),
        ladder=_ladder(analysis, names),
        exchange=_exchange(analysis, names),
        generation=_generation(manifest, names),
        reproduce=_reproduce(manifest),
        assumptions=f'<ul class="assumptions">{"".join(f"<li>{text(a)}</li>" for a in ASSUMPTIONS)}</ul>',
        extent=_extent(embedded),
        data=json_for_html(payload),
        plotly=plotly,
        script=script,
    )


def page_data(
    analysis: Analysis, embedded: browser.Embedded, names: list[str]
) -> dict[str, object]:
    """What page.js reads: lines, frontiers, matches, colours and the sample browser."""
    lines = charts.query_lines(analysis.curves, names)
    lifetimes = charts.lifetime_lines(analysis.lifetimes, names)
    queries = sorted({line.num_queries for line in lifetimes})
    palette = zip(
        names, model_colours(len(names), LIGHT_SPAN), model_colours(len(names), DARK_SPAN), strict=True
    )
    draws = [draw for problem in embedded.problems for draw in problem.draws]
    widest = max(draws, key=lambda draw: draw.num_samples, default=None)
    return {
        "models": [{"name": name, "light": light, "dark": dark} for name, light, dark in palette],
        "curves": [asdict(line) for line in lines],
        "lifetimes": [asdict(line) for line in lifetimes],
        "frontiers": _frontiers(lifetimes, queries),
        "matches": [asdict(match) for match in charts.matches(analysis, names)],
        "queries": queries,
        "levels": charts.ordered_levels(lines),
        "num_strategies": len({draw.strategy for draw in draws}),
        "browser": {
            **asdict(embedded),
            "first_draw": f"{widest.model} {widest.strategy}" if widest else None,
        },
    }


def json_for_html(payload: object) -> str:
    """JSON that is safe inside a script element: no `<`, `>`, `&`, U+2028 or U+2029; not-a-number as null."""
    written = json.dumps(_plain(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def _plain(value: object) -> object:
    """Numbers to six significant digits, NaN and infinities to null, lone surrogates replaced."""
    if isinstance(value, Mapping):
        return {str(key): _plain(nested) for key, nested in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(nested) for nested in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _frontiers(lifetimes: list[charts.Line], queries: list[float]) -> list[dict[str, object]]:
    found = []
    for num_queries in queries:
        for selector in charts.SELECTORS:
            flops, accuracy = charts.frontier(charts.of_selector(lifetimes, selector, num_queries))
            found.append(
                {"num_queries": num_queries, "selector": selector, "flops": flops, "accuracy": accuracy}
            )
    return found


def _resource(name: str) -> str:
    return (files("scaling_exp.report") / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _run_line(manifest: Mapping[str, object]) -> str:
    return " · ".join(text(manifest[key]) for key in ("run_id", "created") if manifest.get(key))


def _confidence(manifest: Mapping[str, object]) -> str:
    config = manifest.get("config")
    settings = config.get("analysis") if isinstance(config, Mapping) else None
    confidence = settings.get("confidence") if isinstance(settings, Mapping) else None
    return f"{100 * confidence:g} %" if isinstance(confidence, float) else "bootstrap"


def _tiles(analysis: Analysis) -> str:
    pair = headline_pair(analysis)
    if pair is None:
        return '<p class="pairline missing">No pair of models could be compared.</p>'
    smaller, larger = pair
    table = analysis.exchange
    rows = table[(table["smaller"] == smaller) & (table["larger"] == larger)].to_dict("records")
    by_selector = {str(row["selector"]): row for row in rows}
    voting, oracle = by_selector.get("voting", {}), by_selector.get("oracle", {})
    ratio = number(voting.get("pretraining_ratio"), wording.times)
    tiles = (
        ("Samples to match", "k_match", wording.power, "samples per query, by majority vote"),
        ("Exchange rate", "inference_ratio", wording.times, f"the inference per query, for {ratio} less pre-training"),
        ("Crossover", "crossover_queries", wording.power, "queries, up to which the smaller model is the cheaper choice"),
    )
    written = "".join(_tile(*tile, voting, oracle) for tile in tiles)
    return (
        f'<div class="tiles">{written}</div>'
        f'<p class="pairline"><b>{text(smaller)}</b> with voting, standing in for <b>{text(larger)}</b> '
        f"at {number(voting.get('accuracy_target'), wording.percent)} accuracy. "
        "Ranges are intervals over problems; the oracle is an upper bound no user can run.</p>"
    )


def _tile(
    heading: str, column: str, write: wording.Format, means: str, voting: Mapping, oracle: Mapping
) -> str:
    def value(row: Mapping) -> str:
        found = row.get(column)
        if not row:
            return "not recorded"
        if wording.is_missing(found) or (column == "k_match" and math.isinf(found)):
            return "not reached"
        if column == "crossover_queries" and math.isinf(found):
            return "any number"
        return number(found, write)

    def ends(row: Mapping) -> str:
        return interval(row.get(f"{column}_low"), row.get(f"{column}_high"), write) if row else ""

    big = value(voting)
    words = " words" if big in ("not reached", "not recorded", "any number") else ""
    span = ends(oracle)
    return (
        f'<div class="tile" data-tile="{column}"><h3>{heading}</h3><p class="big{words}">{big}</p>'
        f'<p class="interval">{ends(voting) or "no interval"}</p><p class="means">{means}</p>'
        f'<p class="oracle">With the oracle <b>{value(oracle)}</b>{f", {span}" if span else ""}</p></div>'
    )


def headline_pair(analysis: Analysis) -> tuple[str, str] | None:
    """The smaller and the larger model of the verdict."""
    table = analysis.exchange
    if table.empty:
        return None
    voting = table[table["selector"] == "voting"]
    reached = voting[voting["k_match"].map(math.isfinite)]
    candidates = reached if len(reached) else voting if len(voting) else table
    row = candidates.sort_values("pretraining_ratio").iloc[-1]
    return str(row["smaller"]), str(row["larger"])


def _ladder(analysis: Analysis, names: list[str]) -> str:
    return (
        '<p class="lead">Every model, what its pre-training cost, and what one and many samples reach. '
        "maj@k is voting, pass@k the oracle.</p>" + tables.ladder(analysis.models, names)
    )


def _exchange(analysis: Analysis, names: list[str]) -> str:
    return (
        '<p class="lead">How many samples the smaller model needs to equal the larger one, what that costs per query '
        "against what it saves in pre-training, and the number of queries up to which it is cheaper in all.</p>"
        + tables.exchange(analysis.exchange, names)
        + '<p class="note">Not reached: no number of samples drawn here was enough. '
        "∞: at any number of queries the smaller model is the cheaper one.</p>"
    )


def _generation(manifest: Mapping[str, object], names: list[str]) -> str:
    statistics = manifest.get("generation")
    return tables.generation(statistics if isinstance(statistics, Mapping) else {}, names)


def _reproduce(manifest: Mapping[str, object]) -> str:
    command = manifest.get("command")
    if isinstance(command, (list, tuple)):
        command = " ".join(map(str, command))
    overrides = manifest.get("overrides")
    if isinstance(overrides, (list, tuple)):
        overrides = " ".join(map(str, overrides)) or "none"
    pairs = [
        ("Run", manifest.get("run_id")),
        ("Created", manifest.get("created")),
        ("Overrides", overrides),
        ("Git commit", manifest.get("git_commit")),
        ("Hardware", _inline(manifest.get("hardware"))),
        ("Task", _inline(manifest.get("task"))),
        ("Versions", _inline(manifest.get("versions"))),
    ]
    shown = wording.MISSING if command is None else text(command)
    return (
        f'<pre class="block" tabindex="0">{shown}</pre>{tables.facts(pairs)}'
        + _details("Configuration, resolved", manifest.get("config"))
        + _details("Models", manifest.get("models"))
    )


def _details(summary: str, value: object) -> str:
    body = text(tables.yaml_like(value)) if value else wording.MISSING
    return f'<details><summary>{summary}</summary><pre class="block" tabindex="0">{body}</pre></details>'


def _inline(value: object) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {nested}" for key, nested in value.items()) or None
    return None if value is None else str(value)


def _extent(embedded: browser.Embedded) -> str:
    return (
        f"This page carries {wording.whole(embedded.num_samples_shown)} of "
        f"{wording.whole(embedded.num_samples)} samples, from {len(embedded.problems)} of "
        f"{wording.whole(embedded.num_problems)} problems, chosen with a fixed seed and spread over the levels. "
        "Votes are counted over all samples of a problem. The full set is in <code>samples.parquet</code>."
    )
