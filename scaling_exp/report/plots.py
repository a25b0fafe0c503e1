"""An answer's plots as the page reads them: series as lists, thinned where they are long, and how
each of the four styles looks.

The styles are drawn apart everywhere: what was measured, what was kept from a fit, a fit inside the
data, a fit beyond it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from scaling_exp.analysis.answers import Plot, Series, Style

ROUNDING = 1e-9
MAX_POINTS = 400
"""Points of a series that a page or a figure draws."""
STYLES: dict[Style, str] = {
    "measured": "measured",
    "held_out": "held out from the fit",
    "fitted": "fit, inside the data",
    "extrapolated": "extrapolated",
}
SHARE_LABEL = re.compile(r"accuracy|pass@|maj@|coverage|share|gap|error rate|solve rate", re.I)


def place(answer: str, plot: Plot) -> str:
    """Where a plot of an answer stands in the page, and how its PNG is called. A model that the plot is named after may
    be called what is no file's name."""
    name = f"{answer}_{plot.name}"
    plain = re.sub(r"[^\w.@-]", "-", name)
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:4]}"


def plot_data(plot: Plot, names: Sequence[str]) -> dict[str, object]:
    """One plot for page.js; a series of a model that is not in `names` is coloured by its name."""
    return {
        "x_label": plot.x_label,
        "y_label": plot.y_label,
        "is_log_x": plot.is_log_x,
        "is_log_y": plot.is_log_y,
        "is_share_x": is_share(plot.x_label, [each.x for each in plot.series]),
        "is_share_y": is_share(plot.y_label, [each.y for each in plot.series]),
        "series": [
            _series_data(each, variant, names)
            for each, variant in zip(plot.series, variants(plot), strict=True)
            if len(each.x)
        ],
    }


def variants(plot: Plot) -> list[int]:
    """A number for each series that tells it from others of its model and style: 0 for those of the
    first name, 1 for those of the second."""
    met: dict[tuple[str | None, Style], list[str]] = {}
    for each in plot.series:
        of = met.setdefault((each.model, each.style), [])
        if each.name not in of:
            of.append(each.name)
    return [
        0 if each.model is None else met[each.model, each.style].index(each.name)
        for each in plot.series
    ]


def _series_data(series: Series, variant: int, names: Sequence[str]) -> dict[str, object]:
    kept = thinned(len(series.x))

    def take(values: Sequence[float] | None) -> list[float] | None:
        return None if values is None else [float(values[at]) for at in kept]

    return {
        "name": series.name,
        "model": names.index(series.model) if series.model in names else None,
        "style": series.style,
        "variant": variant,
        "x": take(series.x),
        "y": take(series.y),
        "low": take(series.low),
        "high": take(series.high),
    }


def thinned(num_points: int) -> list[int]:
    """Positions of at most `MAX_POINTS` points, the first and the last among them."""
    return np.linspace(0, num_points - 1, min(num_points, MAX_POINTS)).round().astype(int).tolist()


def thinning_note(plot: Plot) -> str:
    """What a caption must add where points are left out."""
    longest = max((len(each.x) for each in plot.series), default=0)
    return f" Of {longest:,} points {MAX_POINTS} are drawn." if longest > MAX_POINTS else ""


def is_share(label: str, values: Sequence[Sequence[float]]) -> bool:
    """Whether an axis is best read in percent: its label says so and all its values are shares."""
    if not SHARE_LABEL.search(label) or "%" in label:
        return False
    known = [value for each in values for value in each if math.isfinite(value)]
    return bool(known) and max(map(abs, known)) <= 1 + ROUNDING


def line_names(plot: Plot) -> list[str]:
    """Names of the series that belong to no model, in order of appearance: they share a colour by
    name."""
    return list(dict.fromkeys(each.name for each in plot.series if each.model is None))
