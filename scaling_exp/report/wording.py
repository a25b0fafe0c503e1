"""Numbers as HTML: one way to write FLOPs, shares, counts and intervals, and one way to say that a
value is missing.

Every function here returns markup that is safe to insert; text from outside goes through `text`.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

Format = Callable[[float], str]

MISSING = '<span class="missing">not recorded</span>'
DASH = '<span class="missing" title="not recorded">—</span>'


def text(value: object) -> str:
    """Escape anything for HTML; None is shown as missing."""
    return MISSING if value is None else html.escape(str(value))


def sentence(written: str) -> str:
    """A sentence of an answer; ranges and percentages do not break over lines."""
    kept = re.sub(r"(?<=\d) %", "\u00a0%", text(written))
    return re.sub(
        r"(?<![\w.-])\d[\w.+]*-(?:\d[\w.+]*|unbounded)(?![\w-])",
        lambda found: f'<span class="whole">{found[0].replace("-", "–")}</span>',
        kept,
    )


def power(value: float, digits: int = 2) -> str:
    """1.23 x 10^9 from 1.23e9; plain below 10 000."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return significant(value)
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    sign = "−" if exponent.startswith("-") else ""
    return f"{mantissa}×10<sup>{sign}{abs(int(exponent))}</sup>"


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits without an exponent, thousands separated by a thin space."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    num_decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    written = f"{value:,.{num_decimals}f}".replace(",", " ").replace("-", "−")
    return written.rstrip("0").rstrip(".") if "." in written else written


def whole(value: float) -> str:
    """An integer, thousands separated by a thin space."""
    return f"{value:,.0f}".replace(",", " ")


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def times(value: float) -> str:
    """A ratio: 3.2x."""
    return power(value) if math.isinf(value) else f"{power(value)}×"


def words(value: float) -> str:
    """A large number as it is said: 85.9 million; powers of ten beyond a thousand trillion."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if 1e15 > value >= size * 0.9995:
            return f"{significant(value / size)} {word}"
    return power(value) if value >= 1e6 else significant(value)


def parameters(value: float) -> str:
    """A parameter count with its customary suffix: 1.2M."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return significant(value / size) + suffix
    return significant(value)


def heading(name: str) -> str:
    """A column's or a question's name as it is read: underscores are spaces, the first letter a
    capital, what only says the type is left out. Names with a number for k (maj@64) stay."""
    spaced = re.sub(r"^(num|is)_", "", name).replace("_", " ").strip()
    spaced = re.sub(r"\bflops\b", "FLOPs", spaced)
    return spaced if "@" in spaced else spaced[:1].upper() + spaced[1:]


def is_missing(value: object) -> bool:
    """True for None and NaN: what was not measured or is undefined."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def number(value: object, write: Format) -> str:
    """`write(value)`, or a dash for None and NaN."""
    if is_missing(value):
        return DASH
    assert isinstance(value, (int, float, np.number)), value
    return write(float(value))


def interval(low: object, high: object, write: Format) -> str:
    """The two ends of an interval, or nothing where either was not measured or both are
    infinite."""
    if is_missing(low) or is_missing(high) or (low == high == math.inf):
        return ""
    return f"{number(low, write)} to {number(high, write)}"
