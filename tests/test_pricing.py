"""Lists with sources and dates, and settings that cannot be priced refused with the remedy."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaling_exp.analysis import pricing, record, settings_from
from scaling_exp.analysis.pricing import (
    Pricing,
    Tariff,
    accelerator,
    listed_tariffs,
    price_list,
    read_tariffs,
)
from scaling_exp.schema import ConfigError

LISTS = Path(pricing.__file__).parent


def tariff(name: str) -> Tariff:
    """The latest of a name."""
    return listed_tariffs()[name][-1]


@pytest.mark.parametrize("name", ["accelerators", "rents", "tariffs"])
def test_every_price_says_where_and_when_it_was_read(name: str) -> None:
    with open(LISTS / f"{name}.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) >= 10
    for row in rows:
        key = row["name"]
        assert row["source"].startswith("https://"), key
        assert row["read_in"].startswith("https://"), key
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["date"]), key


def test_everything_that_is_listed_can_be_used() -> None:
    for name in price_list("accelerators"):
        assert 50 < accelerator(name, "bfloat16").intensity < 700
        assert Pricing(accelerator=name).roofline("bfloat16") == accelerator(name, "bfloat16")
    for name in price_list("rents"):
        assert Pricing(rent=name).roofline("bfloat16") is not None
    for name in listed_tariffs():
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
            {"listed_tariffs": {"m": "openai/o1"}, "date": "2026-04-30"},
            "openai/o1, of which no price on 2026-04-30 is known: the first is of 2026-05",
        ),
        ({"date": "May 2026"}, "pricing.date is May 2026; it must be a date like 2026-05-31"),
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
    for price in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be 0 or more"):
            Tariff(price, 1.0)


def test_a_hosted_model_has_its_listed_price_unless_another_is_said():
    listed = tariff("openai/gpt-4o-mini")
    assert Pricing().tariff("mini", "openai/gpt-4o-mini") == listed
    assert Pricing().tariff("mini", "nobody/nothing") is None
    assert Pricing().tariff("mini") is None
    batch = Pricing(listed_tariffs={"mini": "openai/gpt-4o-mini:batch"})
    assert batch.tariff("mini", "openai/gpt-4o-mini") == tariff("openai/gpt-4o-mini:batch")
    own = Pricing(tariffs={"mini": Tariff(1.0, 2.0)})
    assert own.tariff("mini", "openai/gpt-4o-mini") == Tariff(1.0, 2.0)


OWN = """name,input,output,cached_input,date,remark
lab/m,1,2,,2026-01,
lab/m,3,4,0.3,2026-06-15,cheaper when cached
openai/gpt-4o,2,8,,2026-07,our contract
"""


def own(tmp_path: Path, text: str = OWN) -> Pricing:
    file = tmp_path / "own.csv"
    file.write_text(text)
    return settings_from({"pricing": {"price_list": str(file)}}).pricing


def test_a_query_has_the_price_of_its_day(tmp_path: Path) -> None:
    listed = own(tmp_path)
    on = {
        day: replace(listed, date=day).tariff("m", "lab/m")
        for day in (None, "2025-12-31", "2026-01-20", "2026-06-14", "2026-06-15", "2027-01-01")
    }
    old = Tariff(1.0, 2.0, None, "lab/m", "2026-01")
    new = Tariff(3.0, 4.0, 0.3, "lab/m", "2026-06-15")
    assert list(on.values()) == [new, None, old, old, new, new]
    assert str(new) == "lab/m of 2026-06-15"


def test_a_list_of_ones_own_goes_first_and_is_recorded_whole(tmp_path: Path) -> None:
    listed = own(tmp_path)
    assert listed.tariff("m", "openai/gpt-4o") == Tariff(2.0, 8.0, None, "openai/gpt-4o", "2026-07")
    assert listed.tariff("m", "openai/gpt-4o-mini") == tariff("openai/gpt-4o-mini")
    settings = settings_from({"pricing": {"price_list": str(tmp_path / "own.csv")}})
    (tmp_path / "own.csv").unlink()
    assert settings_from(record(settings)) == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,input\n", "own.csv has no column output; it needs name, input and output"),
        ("name,input,output\nm,1,\n", "own.csv, line 2: could not convert string to float: ''"),
        ("name,input,output\nm,1,-2\n", "own.csv, line 2: .* must be 0 or more"),
        ("name,input,output,date\nm,1,2,soon\n", "own.csv, line 2: .*must be a date like"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"analysis\.pricing\.price_list: .*" + said):
        own(tmp_path, text)
    with pytest.raises(ValueError, match=r"none\.csv cannot be read: No such file"):
        read_tariffs(tmp_path / "none.csv")
