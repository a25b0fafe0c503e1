"""The self-contained HTML page: verdict, plots, tables, provenance and samples in one file that
opens no connection.

A content security policy allows exactly the scripts written here, by hash, and no network; data is
embedded as JSON that cannot end its own element. What the run did not record is said to be missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from string import Template

import pandas as pd
from plotly.offline import get_plotlyjs

from scaling_exp.analysis import Analysis
from scaling_exp.report import browser, charts, tables, wording
from scaling_exp.report.palette import DARK_SPAN, LIGHT_SPAN, model_colours
from scaling_exp.report.tables import Row
from scaling_exp.report.wording import Format, interval, number, text

TILES: tuple[tuple[str, str, Format, str], ...] = (
    ("Samples to match", "k_match", wording.words, "samples per query, by majority vote"),
    (
        "Exchange rate",
        "exchange_rate",
        wording.times,
        "less pre-training for ten times the inference, along the ladder",
    ),
    (
        "Crossover",
        "crossover_queries",
        wording.words,
        "queries, up to which the smaller model is the cheaper choice",
    ),
)


UNKNOWN, UNLIMITED = "cannot be told", "without limit"
WORDS = (UNKNOWN, UNLIMITED)


def page_html(
    analysis: Analysis,
    samples: pd.DataFrame,
    problems: pd.DataFrame,
    manifest: Mapping[str, object],
) -> str:
    """The whole page as one string, about 5 to 8 MB, of which plotly.js is 4.8 and samples at most
    2.5."""
    names = charts.ordered_models(analysis.models)
    embedded = browser.embedded_samples(samples, problems, names)
    payload = page_data(analysis, embedded, names)
    script, plotly = _resource("page.js"), get_plotlyjs()
    return Template(_resource("page.html")).substitute(
        policy=_policy(plotly, script),
        title=text(f"scaling_exp report {manifest.get('run_id') or ''}".strip()),
        css=_resource("page.css"),
        run_line=_run_line(manifest),
        sentences="".join(
            f"<p>{wording.sentence(sentence)}</p>" for sentence in analysis.sentences
        ),
        tiles=_tiles(analysis.verdict),
        confidence=_confidence(analysis.verdict),
        ladder=_ladder(analysis, names),
        exchange=_exchange(analysis, names),
        generation=_generation(manifest, names),
        reproduce=_reproduce(manifest),
        assumptions=_assumptions(analysis.verdict),
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
        names,
        model_colours(len(names), LIGHT_SPAN),
        model_colours(len(names), DARK_SPAN),
        strict=True,
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
    """JSON that is safe inside a script element: no `<`, `>`, `&`, U+2028 or U+2029; not-a-number
    as null."""
    written = json.dumps(
        _plain(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
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
                {
                    "num_queries": num_queries,
                    "selector": selector,
                    "flops": flops,
                    "accuracy": accuracy,
                }
            )
    return found


def _resource(name: str) -> str:
    return (files("scaling_exp.report") / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _run_line(manifest: Mapping[str, object]) -> str:
    return " · ".join(text(manifest[key]) for key in ("run_id", "created") if manifest.get(key))


def _confidence(verdict: Mapping[str, object]) -> str:
    confidence = verdict.get("confidence")
    return f"{100 * confidence:g} %" if isinstance(confidence, float) else "bootstrap"


def _assumptions(verdict: Mapping[str, object]) -> str:
    assumptions = verdict.get("assumptions")
    if not isinstance(assumptions, (list, tuple)):
        return f"<p>{wording.MISSING}</p>"
    return f'<ul class="assumptions">{"".join(f"<li>{text(one)}</li>" for one in assumptions)}</ul>'


def _tiles(verdict: Mapping[str, object]) -> str:
    """Three numbers of the verdict, each for voting and, below it, for the oracle."""
    selectors = _mapping(verdict, "selectors")
    voting, oracle = _mapping(selectors, "voting"), _mapping(selectors, "oracle")
    written = "".join(
        _tile(*tile, _quantity(voting, tile[1]), _quantity(oracle, tile[1])) for tile in TILES
    )
    return f'<div class="tiles">{written}</div>{_pair_line(verdict, voting)}'


def _tile(heading: str, name: str, write: Format, means: str, voting: Row, oracle: Row) -> str:
    value, span = _value(voting, write), _span(voting, write)
    words = " words" if value in WORDS else ""
    beside = ", ".join(part for part in (_value(oracle, write), _span(oracle, write)) if part)
    return (
        f'<div class="tile" data-tile="{name}"><h3>{heading}</h3><p class="big{words}">{value}</p>'
        f'<p class="interval">{span or "no interval"}</p><p class="means">{means}</p>'
        f'<p class="oracle">With the oracle: <b>{beside}</b></p></div>'
    )


def _value(quantity: Row, write: Format) -> str:
    value = quantity.get("value")
    if wording.is_missing(value):
        return UNKNOWN
    return UNLIMITED if value == "inf" else number(_float(value), write)


def _span(quantity: Row, write: Format) -> str:
    return interval(_float(quantity.get("low")), _float(quantity.get("high")), write)


def _quantity(selector: Row, name: str) -> Row:
    return _mapping(selector if name == "exchange_rate" else _mapping(selector, "headline"), name)


def _pair_line(verdict: Row, voting: Row) -> str:
    pair = _mapping(voting, "headline")
    if not pair:
        return '<p class="pairline">No pair of models could be matched by voting.</p>'
    smaller, larger = (_mapping(pair, end).get("name") for end in ("smaller", "larger"))
    target = _float(_mapping(pair, "accuracy_target").get("value"))
    return (
        f'<p class="pairline"><b>{text(smaller)}</b> standing in for <b>{text(larger)}</b>, at '
        f"{number(target, wording.percent)} accuracy. Ranges are {_confidence(verdict)} intervals "
        f"over {text(verdict.get('num_problems'))} problems; the oracle is a bound that no user "
        "can reach.</p>"
    )


def _mapping(parent: Row, key: str) -> Row:
    nested = parent.get(key)
    return nested if isinstance(nested, Mapping) else {}


def _float(value: object) -> float:
    """A number of the verdict, in which infinity is "inf" and what is missing is None."""
    return float(value) if isinstance(value, (int, float, str)) else math.nan


def _ladder(analysis: Analysis, names: list[str]) -> str:
    return (
        '<p class="lead">Every model, what its pre-training cost, and what one and many samples '
        "reach. maj@k is voting, pass@k the oracle.</p>" + tables.ladder(analysis.models, names)
    )


def _exchange(analysis: Analysis, names: list[str]) -> str:
    return (
        '<p class="lead">How many samples k the smaller model needs to equal one of the larger, '
        "how many times its inference compute per query that is, how many times less "
        "pre-training the smaller took, and the number of queries up to which it is cheaper in "
        "all.</p>"
        + tables.exchange(analysis.exchange, names)
        + '<p class="note">Not reached: no number of samples drawn here was enough. '
        "Crossover ∞: the smaller model is cheaper at any number of queries.</p>"
    )


def _generation(manifest: Mapping[str, object], names: list[str]) -> str:
    models = _mapping(manifest, "generation")
    rows = {name: each for name, each in models.items() if isinstance(each, Mapping)}
    table = tables.generation(rows, names)
    session = _mapping(manifest, "session")
    pairs = [
        ("Wall time, start of Ray to the last draw", _measured(session, "wall_seconds", _seconds)),
        ("To the first draw", _measured(session, "seconds_to_first_draw", _seconds)),
        (
            "Replicas' time in which no tokens were made",
            _measured(session, "share_without_tokens", wording.percent),
        ),
    ]
    return (
        '<p class="lead">How full the engines were kept. Occupancy is the share of batch slots in '
        "use; until the last job: before the engine only drains. The same for every replica is in "
        f"<code>engines.parquet</code>.</p>{table}{tables.facts(pairs)}"
    )


def _measured(record: Row, key: str, write: Callable[[float], str]) -> str | None:
    value = record.get(key)
    return write(value) if isinstance(value, (int, float)) else None


def _seconds(value: float) -> str:
    return f"{wording.significant(value)} s"


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
    block = f'<pre class="block" tabindex="0">{body}</pre>'
    return f"<details><summary>{summary}</summary>{block}</details>"


def _inline(value: object) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {nested}" for key, nested in value.items()) or None
    return None if value is None else str(value)


def _extent(embedded: browser.Embedded) -> str:
    return (
        f"This page carries {wording.whole(embedded.num_samples_shown)} of "
        f"{wording.whole(embedded.num_samples)} samples, from {len(embedded.problems)} of "
        f"{wording.whole(embedded.num_problems)} problems, chosen with a fixed seed and spread "
        f"over the levels. "
        "Votes are counted over all samples of a problem. The full set is in "
        "<code>samples.parquet</code>."
    )
