"""Colours of the models: viridis cut into steps, ordered by size, one set legible on white and one
on near-black.

Viridis is perceptually uniform and safe for the common colour-vision deficiencies; the ends that
vanish into the background are left out.
"""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

LIGHT_SPAN = (0.86, 0.04)
DARK_SPAN = (0.4, 0.98)


def model_colours(num_models: int, span: tuple[float, float]) -> list[str]:
    """Hex colours from the smallest model to the largest; the largest contrasts most with the
    background."""
    return [to_hex(colormaps["viridis"](at)) for at in np.linspace(*span, max(num_models, 2))][
        :num_models
    ]
