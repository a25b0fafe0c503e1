"""The verdict card: the two sentences, three numbers for voting and the oracle, what would flip the
verdict, and what it assumes.

It reads the verdict as it lies in verdict.json: infinity is "inf", what is missing is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scaling_exp.report import tables, wording
from scaling_exp.report.tables import Row
from scaling_exp.report.wording import Format, interval, number, text

TILES: tuple[tuple[str, str, Format, str], ...] = (
    ("Samples to match", "k_match", wording.words, "samples a query, by majority vote"),
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


def verdict_card(verdict: Row, sentences: Sequence[str]) -> str:
    """The whole card as markup."""
    said = "".join(f"<p>{wording.sentence(each)}</p>" for each in sentences)
    return (
        f'<div class="sentences">{said}</div>{_tiles(verdict)}'
        f'<div class="beneath">{_sensitivity(verdict)}{_assumptions(verdict)}</div>'
    )


def confidence(verdict: Row) -> str:
    """How sure the intervals are, in words."""
    share = verdict.get("confidence")
    return f"{100 * share:g} %" if isinstance(share, float) else "bootstrap"


def _sensitivity(verdict: Row) -> str:
    """Changes of an assumption, those that flip the verdict first."""
    changes = verdict.get("sensitivity")
    if not isinstance(changes, (list, tuple)) or not changes:
        return ""
    rows = sorted(changes, key=lambda change: not change["flips"])
    num_flips = sum(bool(change["flips"]) for change in changes)
    summary = f"What would flip it: {num_flips or 'none'} of {len(changes)} changes"
    items = "".join(_change(change) for change in rows)
    return tables.details(summary, f'<ul class="changes">{items}</ul>')


def _change(change: Row) -> str:
    kind, word = ("flips", "flips") if change["flips"] else ("holds", "holds")
    return (
        f'<li class="{kind}"><b class="badge">{word}</b><span><strong>{text(change["change"])}'
        f'</strong> <span class="of">{text(change["assumption"])}</span><br>'
        f"{wording.sentence(str(change['verdict']))}</span></li>"
    )


def _assumptions(verdict: Row) -> str:
    assumptions = verdict.get("assumptions")
    if not isinstance(assumptions, (list, tuple)) or not assumptions:
        return f'<p class="note">Assumptions: {wording.MISSING}</p>'
    return tables.details(f"What it assumes ({len(assumptions)})", tables.bullets(assumptions))


def _tiles(verdict: Row) -> str:
    """Three numbers of the verdict, each for voting and, below it, for the oracle; nothing where
    none of them can be told."""
    selectors = mapping(verdict, "selectors")
    voting, oracle = mapping(selectors, "voting"), mapping(selectors, "oracle")
    pairs = [(tile, _quantity(voting, tile[1]), _quantity(oracle, tile[1])) for tile in TILES]
    is_known = any(not wording.is_missing(q.get("value")) for _, *both in pairs for q in both)
    if not is_known:
        return _pair_line(verdict, voting)
    written = "".join(_tile(*tile, own, other) for tile, own, other in pairs)
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
    """The estimate, or that it is more than was seen: a factor beyond the span of pre-training
    compute that was measured is not printed."""
    value = quantity.get("value")
    if wording.is_missing(value):
        return UNKNOWN
    if _float(value) > _seen(quantity):
        return f"over {write(_seen(quantity))}"
    return UNLIMITED if value == "inf" else number(_float(value), write)


def _span(quantity: Row, write: Format) -> str:
    low, high = _float(quantity.get("low")), _float(quantity.get("high"))
    if high > _seen(quantity) >= low:
        return f"at least {write(low)}"
    return "" if low > _seen(quantity) else interval(low, high, write)


def _seen(quantity: Row) -> float:
    """How large an exchange rate can be seen with these models; infinite for other numbers."""
    return _float(quantity.get("pretraining_span", math.inf))


def _quantity(selector: Row, name: str) -> Row:
    return mapping(selector if name == "exchange_rate" else mapping(selector, "headline"), name)


def _pair_line(verdict: Row, voting: Row) -> str:
    pair = mapping(voting, "headline")
    if not pair:
        return '<p class="pairline">No pair of models could be matched by voting.</p>'
    smaller, larger = (mapping(pair, end).get("name") for end in ("smaller", "larger"))
    target = _float(mapping(pair, "accuracy_target").get("value"))
    return (
        f'<p class="pairline"><b>{text(smaller)}</b> standing in for <b>{text(larger)}</b>, at '
        f"{number(target, wording.percent)} accuracy. Ranges are {confidence(verdict)} intervals "
        f"over {text(verdict.get('num_problems'))} problems; the oracle is a bound that no user "
        "can reach.</p>"
    )


def mapping(parent: Row, key: str) -> Row:
    """What is nested under a key; nothing where it is absent."""
    nested = parent.get(key)
    return nested if isinstance(nested, Mapping) else {}


def _float(value: object) -> float:
    return float(value) if isinstance(value, (int, float, str)) else math.nan
