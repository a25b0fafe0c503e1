"""Bills: what the draws of models that are paid by the token cost, at which price.

Tokens are those that a provider counted, where one did; a prompt is cheaper as far as the provider said that it had it
in its cache. Prices are pricing.py's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scaling_exp.analysis.pricing import Pricing
from scaling_exp.types import ModelFacts

COLUMNS = ("num_prompt_tokens", "num_cached_tokens", "num_output_tokens")


def bills(samples: pd.DataFrame, models: Sequence[ModelFacts], pricing: Pricing) -> pd.DataFrame:
    """One row per model that is paid by the token: `model`, `dollars`, and the `price` in words.

    A draw that several strategies asked for was paid once. What other models cost is not here.
    """
    drawn = samples.drop_duplicates(["model", "key"])
    rows = []
    for facts in models:
        tariff = pricing.tariff(facts.name, facts.hosted_as)
        if tariff is None:
            continue
        mine = drawn.loc[(drawn["model"] == facts.name).to_numpy(bool)]
        prompt_S, cached_S, output_S = (mine[name].to_numpy(np.float64) for name in COLUMNS)
        if not facts.hosted_as:
            cached_S = np.zeros_like(cached_S)  # by our own cache, which no provider bills
        cached = float(np.minimum(np.nan_to_num(cached_S), prompt_S).sum())
        read, written = float(prompt_S.sum()) - cached, float(output_S.sum())
        dollars = tariff.dollars(input=read, cached_input=cached, output=written)
        rows.append({"model": facts.name, "dollars": dollars, "price": str(tariff)})
    return pd.DataFrame(rows, columns=["model", "dollars", "price"])
