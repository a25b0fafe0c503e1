"""Lists with sources and dates, and settings that cannot be priced refused with the remedy."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scaling_exp.analysis.pricing import Pricing, Tariff, accelerator, price_list, tariff


@pytest.mark.parametrize("name", ["accelerators", "rents", "tariffs"])
def test_every_price_says_where_and_when_it_was_read(name: Any) -> None:
    rows = price_list(name)
    assert len(rows) >= 10
    for key, row in rows.items():
        assert row["source"].startswith("https://"), key
        assert row["read_in"].startswith("https://"), key
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["date"]), key


def test_everything_that_is_listed_can_be_used() -> None:
    for name in price_list("accelerators"):
        assert 50 < accelerator(name, "bfloat16").intensity < 700
        assert Pricing(accelerator=name).roofline("bfloat16") == accelerator(name, "bfloat16")
    for name in price_list("rents"):
        assert Pricing(rent=name).roofline("bfloat16") is not None
    for name in price_list("tariffs"):
        assert 0 < tariff(name).input <= tariff(name).output


def test_intensities() -> None:
    """H100: 295 FLOPs a byte in bfloat16; B200: 562.5 in 8 bits (Kinetics, arXiv 2506.05333)."""
    assert accelerator("H100-SXM", "bfloat16").intensity == pytest.approx(295.3, abs=0.1)
    assert accelerator("B200-SXM", "float8").intensity == 562.5


def test_game_of_24_case() -> None:
    """Yao et al. 2023: 6748.62 completion and 2185.0 prompt tokens a case cost $0.4705."""
    dollars = tariff("openai/gpt-4-2023").dollars(input=2185.0, output=6748.62)
    assert dollars == pytest.approx(0.4705, abs=5e-5)


def test_a_cached_prompt_is_no_cheaper_unless_the_tariff_says_so() -> None:
    assert Tariff(2.0, 8.0).dollars(cached_input=1e6) == 2.0
    assert Tariff(2.0, 8.0, 0.5).dollars(cached_input=1e6) == 0.5


def test_an_hour_has_a_price_by_number_or_by_name() -> None:
    assert Pricing().dollars_per_second is None
    assert Pricing(dollars_per_hour=3.6).dollars_per_second == pytest.approx(1e-3)
    assert Pricing(rent="runpod/H100-SXM").dollars_per_second == pytest.approx(3.99 / 3600)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"accelerator": "H100"}, r"pricing.accelerator is H100; accelerators.csv has .*H100-SXM"),
        ({"accelerator": "A100-80GB-SXM", "dtype": "float8"}, "does not compute; use bfloat16"),
        ({"batch_size": 0}, "pricing.batch_size is 0; it must be at least 1"),
        ({"rent": "moon/H100"}, "pricing.rent is moon/H100; rents.csv has"),
        ({"rent": "aws/H100-SXM", "dollars_per_hour": 1.0}, "give one of them"),
        ({"rent": "aws/H100-SXM", "accelerator": "L4"}, "rent is of a H100-SXM"),
        ({"dollars_per_hour": -1.0}, "must be 0 or more"),
        ({"listed_tariffs": {"m": "gpt"}}, "listed_tariffs.m is gpt; tariffs.csv has"),
        (
            {"listed_tariffs": {"m": "openai/o1"}, "tariffs": {"m": Tariff(1.0, 2.0)}},
            "two tariffs for m",
        ),
    ],
)
def test_what_cannot_be_priced_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Pricing(**settings)


def test_a_price_is_not_negative() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        Tariff(-1.0, 1.0)


def test_a_hosted_model_has_its_listed_price_unless_another_is_said():
    listed = tariff("openai/gpt-4o-mini")
    assert Pricing().tariff("mini", "openai/gpt-4o-mini") == listed
    assert Pricing().tariff("mini", "nobody/nothing") is None
    assert Pricing().tariff("mini") is None
    batch = Pricing(listed_tariffs={"mini": "openai/gpt-4o-mini:batch"})
    assert batch.tariff("mini", "openai/gpt-4o-mini") == tariff("openai/gpt-4o-mini:batch")
    own = Pricing(tariffs={"mini": Tariff(1.0, 2.0)})
    assert own.tariff("mini", "openai/gpt-4o-mini") == Tariff(1.0, 2.0)
