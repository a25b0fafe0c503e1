"""Limits of dollars, FLOPs and wall time: what counts, what stops a run, and how it goes on. Engines are simulated."""

from dataclasses import replace

import pytest
from test_experiment import (
    experiment,
    keys,
    no_report,  # noqa: F401 - a fixture, used by every test
    respond,
    tables,
)
from test_status import log_of

from scaling_exp import recorder
from scaling_exp.analysis import AnalysisSettings
from scaling_exp.analysis.cost import decode_flops, prefill_flops
from scaling_exp.analysis.ledger import ledger
from scaling_exp.analysis.pricing import Pricing, Tariff
from scaling_exp.engines.simulated import Simulated
from scaling_exp.experiment import run
from scaling_exp.generation import Stream
from scaling_exp.plan import plan
from scaling_exp.schema import ConfigError
from scaling_exp.spending import LimitReached, Limits, Spending, Spent, duration, limits_from
from scaling_exp.state import State
from scaling_exp.store import Draw, encode
from scaling_exp.types import Architecture, Billed, Completion, ModelFacts, Sampling, UserError

SLOW = Simulated(16, 0.01, 0.001, respond, pace=0.5)
"""Some 780 draws of the experiment take it two seconds."""
PRICED = AnalysisSettings(num_bootstrap=100, pricing=Pricing(dollars_per_hour=3600.0))


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.02)


def facts(name="m", size=1000.0, hosted_as=""):
    return ModelFacts(name, Architecture.of_size(size, size), 1e6, hosted_as=hosted_as)


def batch(*completions, model="m"):
    stream = Stream("root", (), (1, 2, 3), Sampling(max_tokens=8))
    return encode([Draw(model, "f", stream, at, each) for at, each in enumerate(completions)])


def test_flops_are_those_of_what_was_read_and_written():
    spending = Spending({"m": facts()}, Pricing(), 1)
    spending.add(batch(Completion((5, 6), "stop"), Completion((5,), "stop", num_cached_tokens=3)))
    shape = facts().architecture
    expected = prefill_flops(shape, 3) + decode_flops(shape, 3, 2) + decode_flops(shape, 3, 1)
    spent = spending.spent(2.0, {"m": 4.0})
    assert spent.flops == float(expected)
    assert (spent.num_draws, spent.num_output_tokens, spent.dollars) == (2, 3, None)


def test_a_hosted_model_is_charged_as_its_server_counts():
    pricing = Pricing(tariffs={"m": Tariff(input=1e6, output=2e6, cached_input=1e5)})
    spending = Spending({"m": facts(hosted_as="them/m")}, pricing, 1)
    billed = Billed(num_prompt_tokens=100, num_output_tokens=7, num_reasoning_tokens=None)
    spending.add(batch(Completion((5,), "stop", num_cached_tokens=40, billed=billed)))
    assert spending.spent(1.0, {"m": 50.0}).dollars == pytest.approx(60 * 1 + 40 * 0.1 + 7 * 2)


def test_accelerators_are_charged_for_as_long_as_they_are_held():
    spending = Spending({"m": facts()}, Pricing(dollars_per_hour=3600.0), 4, Spent(dollars=10.0))
    spent = spending.spent(1.0, {"m": 2.5})
    assert (spent.dollars, spent.accelerator_seconds) == (10.0 + 10.0, 10.0)


def test_what_a_run_spends_is_what_its_ledger_finds(tmp_path):
    made = experiment(tmp_path)
    run(made, "command")
    read = tables(made)
    found = ledger(
        read["traces"].to_pandas(),
        read["samples"].to_pandas(),
        [each.facts for each in made.models],
    )
    booked = found[["prefill", "decode", "forced", "wasted"]].to_numpy().sum()
    assert State.read(made.folder).spent.flops == pytest.approx(booked)


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        (Limits(flops=1e6), "limits.flops"),
        (Limits(dollars=1.0), "limits.dollars"),
        (Limits(wall="0.5s"), "limits.wall"),
    ],
)
def test_a_limit_stops_a_run_which_goes_on_when_it_is_raised(tmp_path, limits, key):
    made = experiment(tmp_path, num_samples=64, engine=SLOW, limits=limits, analysis=PRICED)
    with pytest.raises(LimitReached, match=f"^{key}=.* is reached: .* are kept") as stopped:
        run(made, "command")
    assert stopped.value.key == key
    num_kept = len(keys(tmp_path))
    assert 0 < num_kept < 2 * 6 * 65
    state = State.read(made.folder)
    assert (state.phase, state.spent.num_draws) == ("limited", num_kept)
    assert state.limits == limits

    with pytest.raises(UserError, match=f"{key} is reached before anything is drawn"):
        run(made, "command")
    assert len(keys(tmp_path)) == num_kept

    unlimited = replace(made, limits=Limits(), engine=experiment("").engine)
    run(unlimited, "command")
    state = State.read(made.folder)
    assert (state.phase, state.spent.num_draws) == ("finished", 2 * 6 * 65)
    assert state.num_sessions == 3
    alone = replace(unlimited, store=str(tmp_path / "alone"))
    run(alone, "command")
    assert all(table.equals(tables(alone)[name]) for name, table in tables(unlimited).items())


def test_what_was_spent_before_there_was_a_price_counts_toward_the_limit(tmp_path):
    made = experiment(tmp_path, num_samples=64, engine=SLOW, limits=Limits(wall="0.2s"))
    with pytest.raises(LimitReached):
        run(made, "command")
    before = State.read(made.folder).spent
    assert before.dollars is None
    limited = replace(made, limits=Limits(dollars=before.accelerator_seconds / 2), analysis=PRICED)
    with pytest.raises(UserError, match=r"limits\.dollars is reached before anything is drawn"):
        run(limited, "command")
    more = replace(limited, limits=Limits(dollars=before.accelerator_seconds + 0.3))
    with pytest.raises(LimitReached, match=r"^limits\.dollars="):
        run(more, "command")


def test_tokens_that_were_paid_before_there_was_a_tariff_are_told_to_be_unknown():
    tariff = Pricing(tariffs={"m": Tariff(input=1e6, output=2e6)})
    before = Spent(dollars=None, num_draws=3)
    spending = Spending({"m": facts(hosted_as="them/m")}, tariff, 1, before)
    with pytest.raises(
        UserError, match=r"limits\.dollars is 5, and what earlier sessions spent is"
    ):
        spending.check(Limits(dollars=5.0))
    spending.check(Limits(flops=5.0))


def test_a_run_that_has_nothing_to_draw_is_not_stopped_by_a_limit_that_is_reached(tmp_path):
    made = experiment(tmp_path)
    run(made, "command")
    run(replace(made, limits=Limits(flops=1.0)), "command")
    assert State.read(made.folder).phase == "finished"


def test_a_limit_that_could_never_be_told_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        UserError, match=r"limits.dollars is 5, and nothing says what .* costs: set"
    ):
        run(experiment(tmp_path, limits=Limits(dollars=5)), "command")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="the size of m is not known"):
        Limits(flops=1.0).check([facts(size=float("nan"))], Pricing())


@pytest.mark.parametrize(
    ("wall", "seconds"), [("2h30m", 9000), ("45m", 2700), ("1.5h", 5400), ("1h1s", 3601)]
)
def test_wall_time_is_read(wall, seconds):
    assert Limits(wall=wall).wall_seconds == seconds


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"wall": 90}, "limits.wall is '90'; give hours, minutes and seconds"),
        ({"wall": ""}, "limits.wall is ''"),
        ({"flops": 0}, "limits.flops is 0"),
        ({"dollar": 3}, "did you mean dollars"),
    ],
)
def test_a_mistake_in_a_limit_names_the_key(node, complaint):
    with pytest.raises(ConfigError, match=complaint):
        limits_from(node)


def test_the_plan_says_which_limits_would_be_reached(tmp_path):
    run(experiment(tmp_path), "command")
    more = experiment(tmp_path, num_samples=20, analysis=PRICED)
    told = " ".join(plan(replace(more, limits=Limits(flops=1e4, wall="3h"))).split())
    assert "limits.flops=10000 would be reached, and the run would stop before its end" in told
    assert "limits.wall=3h is enough" in told
    unknown = plan(replace(more, store=str(tmp_path / "empty"), limits=Limits(dollars=1)))
    assert "limits.dollars=1 cannot be compared" in unknown
    assert "limits" not in plan(more)


def test_durations_are_short():
    assert [duration(each) for each in (42.4, 200, 7500)] == ["42s", "3m20s", "2h05m"]


def test_the_log_tells_of_loads_and_of_the_limit(tmp_path):
    made = experiment(tmp_path, num_samples=64, engine=SLOW, limits=Limits(wall="0.1s"))
    with pytest.raises(LimitReached):
        run(made, "command")
    lines = log_of(made)
    events = [each["event"] for each in lines]
    assert events[0] == "session_started"
    assert events[-2:] == ["limit_reached", "session_ended"]
    loaded = {each["model"] for each in lines if each["event"] == "model_loaded"}
    assert loaded == {each.name for each in made.models}
