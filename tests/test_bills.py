"""What hosted models cost, by the token, once drawn: by hand arithmetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scaling_exp.analysis.bills import bills
from scaling_exp.analysis.pricing import Pricing, Tariff
from scaling_exp.report.ledger import bars
from scaling_exp.types import Architecture, ModelFacts

SIZE = Architecture.of_size(float("nan"), float("nan"))
MODELS = [
    ModelFacts("mini", SIZE, float("nan"), hosted_as="lab/mini"),
    ModelFacts("mine", SIZE, float("nan")),
    ModelFacts("free", SIZE, float("nan")),
]
LIST = (
    Tariff(1.0, 4.0, 0.25, "lab/mini", "2026-01"),
    Tariff(2.0, 8.0, 0.5, "lab/mini", "2026-06"),
)


def samples() -> pd.DataFrame:
    """`mini` has three draws, one of which two strategies asked for."""
    rows = [
        ("mini", "greedy", "a", 1000, 0, 10),
        ("mini", "vote", "a", 1000, 0, 10),
        ("mini", "vote", "b", 1000, 896, 20),
        ("mini", "vote", "c", 1000, None, 30),
        ("mine", "vote", "d", 100, 96, 5),
        ("free", "vote", "e", 100, 0, 5),
    ]
    names = ("model", "strategy", "key", "num_prompt_tokens", "num_cached_tokens")
    return pd.DataFrame(rows, columns=[*names, "num_output_tokens"])


@pytest.mark.parametrize(
    ("date", "price", "factor"),
    [
        ("2026-03-01", "lab/mini of 2026-01", 1),
        ("2026-06-01", "lab/mini of 2026-06", 2),
        (None, "lab/mini of 2026-06", 2),
    ],
)
def test_each_draw_is_paid_once_at_the_price_of_the_day(
    date: str | None, price: str, factor: int
) -> None:
    pricing = Pricing(prices=LIST, date=date, tariffs={"mine": Tariff(10.0, 10.0, 0.0)})
    found = bills(samples(), MODELS, pricing).set_index("model")
    assert found.index.tolist() == ["mini", "mine"]
    paid = ((3000 - 896) * 1.0 + 896 * 0.25 + 60 * 4.0) / 1e6
    assert found.loc["mini", "dollars"] == pytest.approx(factor * paid)
    assert found.loc["mini", "price"] == price
    assert found.loc["mine", "dollars"] == pytest.approx(105 * 10 / 1e6)  # our cache saves nobody


def test_before_the_first_price_there_is_no_bill() -> None:
    assert bills(samples(), MODELS, Pricing(prices=LIST, date="2025-12-31")).empty


def test_the_ledger_tells_dollars_and_their_price() -> None:
    table = pd.DataFrame(
        {"model": ["mini", "free"], "prefill": [np.nan, 1.0], "dollars": [12.345, np.nan]}
    )
    table["price"] = ["lab/mini of 2026-06", np.nan]
    assert [each.bill for each in bars(table)] == ["$12.35 at the price of lab/mini of 2026-06", ""]
