"""How sure a model was of an answer while it wrote it: the sequence's likelihood and DeepConf's confidences.

Axes: T tokens of an answer, G windows of tokens that follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np

from scaling_exp.analysis.estimators import FloatArray

BOTTOM = 0.1
"""Share of the windows that `bottom` is the mean of."""
MEASURES = ("likelihood", "mean_likelihood", "confidence", "group", "tail", "bottom")


def confidences(told: FloatArray, window: int) -> Mapping[str, float]:
    """`MEASURES` of an answer, from log-probability and confidence of each of its tokens, in turn; 0 for one without a
    token.

    `likelihood` is the sum of the log-probabilities, `mean_likelihood` their mean; `confidence` is the mean confidence,
    `group` the least mean of `window` tokens that follow one another, `tail` the mean of the last `window`, `bottom`
    that of the tenth of the windows that are the least (Fu et al. 2025, arXiv 2508.15260, section 3.1). A shorter
    answer is one window.
    """
    if not len(told):
        return dict.fromkeys(MEASURES, 0.0)
    logprob_T, confidence_T = told[0::2], told[1::2]
    width = min(window, len(confidence_T))
    sums = np.concatenate([[0.0], np.cumsum(confidence_T)])
    mean_G = np.sort((sums[width:] - sums[:-width]) / width)
    values = (
        logprob_T.sum(),
        logprob_T.mean(),
        confidence_T.mean(),
        mean_G[0],
        confidence_T[-width:].mean(),
        mean_G[: ceil(BOTTOM * len(mean_G))].mean(),
    )
    return dict(zip(MEASURES, map(float, values), strict=True))
