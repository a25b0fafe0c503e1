"""Colours of the models: viridis cut into steps, ordered by size, one set legible on white and one
on near-black; and a few colours for lines that belong to no model.

Viridis is ordered and safe for the common colour-vision deficiencies. A step that would vanish into
the background is moved towards black or white until a line of it is legible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

LEAST_CONTRAST = 3.0
"""What the Web Content Accessibility Guidelines 2.1, criterion 1.4.11, ask of graphics."""


@dataclass(frozen=True)
class Theme:
    """A background, and the stretch of viridis that stands out from it."""

    background: str
    span: tuple[float, float]
    named: tuple[str, ...]


LIGHT = Theme(
    "#ffffff",
    (0.86, 0.03),
    (
        *("#17706b", "#b4470f", "#5b4b9a", "#8a6d00", "#a3315f", "#3d6a1f"),
        *("#2a6fdb", "#5f3a26", "#6c757d"),
    ),
)
DARK = Theme(
    "#1a1d21",
    (0.26, 0.98),
    (
        *("#5cc8bd", "#f0935a", "#a99ae6", "#d9b84a", "#e88bb0", "#9ccc72"),
        *("#6ba6ff", "#c9a27e", "#a9b1ba"),
    ),
)


def model_colours(num_models: int, theme: Theme) -> list[str]:
    """Hex colours from the smallest model to the largest; the largest contrasts most with the
    background."""
    steps = np.linspace(*theme.span, max(num_models, 2))[:num_models]
    return [legible(to_hex(colormaps["viridis"](at)), theme.background) for at in steps]


def named_colours(num_names: int, theme: Theme) -> list[str]:
    """Hex colours of lines without a model; they repeat where there are more lines than colours."""
    return [theme.named[at % len(theme.named)] for at in range(num_names)]


def run_colours(nums_models: Sequence[int], theme: Theme) -> list[str]:
    """Hex colours of several runs' models, run by run: a hue for each run, the smallest model the
    nearest to the background."""
    hues = named_colours(len(nums_models), theme)
    front = _opposite(theme.background)
    return [
        legible(blend(hue, theme.background if share > 0 else front, abs(share)), theme.background)
        for hue, num_models in zip(hues, nums_models, strict=True)
        for share in np.linspace(0.4, -0.45, num_models)
    ]


def _opposite(background: str) -> str:
    return "#000000" if luminance(background) > 0.5 else "#ffffff"


def blend(colour: str, other: str, share: float) -> str:
    """A colour with a share of another."""
    red, green, blue = (
        (1 - share) * mine + share * theirs
        for mine, theirs in zip(to_rgb(colour), to_rgb(other), strict=True)
    )
    return to_hex((red, green, blue))


def legible(colour: str, background: str) -> str:
    """The colour, moved away from the background by as little as makes the contrast enough."""
    end = _opposite(background)
    blends = (blend(colour, end, share) for share in np.linspace(0, 1, 41))
    return next(each for each in blends if contrast(each, background) >= LEAST_CONTRAST)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1, definition of contrast ratio)."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of a colour, 0 to 1 (WCAG 2.1)."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
