"""Experiments on models and tasks that are not their own: published comparisons on the embedded ladder, and what was
written for the embedded ladder on open models. The commands are those that the heads of the files tell."""

import re
import shlex
from dataclasses import replace

import pytest
from conftest import ROOT, SHIPPED
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from test_experiment import InProcess

from scaling_exp.config import (
    conf_folder,
    destination_from,
    experiment_from,
    register_resolvers,
)
from scaling_exp.experiment import run
from scaling_exp.schema import ConfigError
from scaling_exp.survey import Prompted
from scaling_exp.types import UserError

TEXTS = {
    file.stem: file.read_text() for file in sorted((ROOT / "conf" / "experiment").glob("*.yaml"))
}
COMMAND = re.compile(r"^# +python -m scaling_exp run (.*)$", re.MULTILINE)
OTHERS = re.compile(r"^# Other models: (.*)$", re.MULTILINE)
OPEN = ["ladder=qwen2_5", "task=math500", "engine=vllm_gpu", "max_tokens=1024"]


def told(pattern, name):
    """Overrides that the head of an experiment's file tells; none where it tells none."""
    found = pattern.search(TEXTS[name].replace("\\\n#", ""))
    return shlex.split(found[1]) if found else []


EMBEDDED = [name for name, text in TEXTS.items() if "/ladder: arithmetic" in text]
PUBLISHED = [name for name in TEXTS if "ladder=arithmetic" in " ".join(told(COMMAND, name))]


@pytest.fixture(scope="module", autouse=True)
def configuration():
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield


def composed(*overrides):
    """A configuration of which all is checked but the models, which are not here, as a plain dictionary."""
    node = compose("config", list(overrides))
    destination_from(node)
    config = OmegaConf.to_container(node, resolve=True)
    assert isinstance(config, dict)
    return config


def design(config):
    """Strategies but for their budgets, and what is asked."""
    strategies = {name: each["kind"] for name, each in config["strategies"].items()}
    return strategies, config["analysis"]["questions"], "scorer" in config


def test_every_published_comparison_tells_how_it_runs_on_the_embedded_ladder():
    assert len(PUBLISHED) == 5
    assert set(TEXTS) == {*PUBLISHED, *EMBEDDED, "family"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_comparison_on_the_embedded_ladder_is_the_same_design(name):
    words = told(COMMAND, name)
    assert words[0] == f"+experiment={name}"
    assert design(composed(*words)) == design(composed(words[0]))
    experiment = experiment_from(compose("config", words))
    assert all(str(SHIPPED) in each.path for each in experiment.models)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_experiment_of_the_embedded_ladder_takes_open_models(name):
    scorer = ["scorer=math_shepherd"] if "/scorer:" in TEXTS[name] else []
    config = composed(f"+experiment={name}", *OPEN, *scorer)
    assert config["ladder"]["names"][0] == "Qwen2.5-0.5B"
    for strategy in config["strategies"].values():
        if steps := strategy.get("steps"):
            assert (steps["sampling"]["stop"], steps["sampling"]["stop_token_ids"]) == (["\n"], [])
            assert steps["stop"] == ["\nProblem:"]


@pytest.mark.parametrize("name", [each for each in TEXTS if told(OTHERS, each)])
def test_an_experiment_takes_the_open_models_that_its_head_tells(name):
    assert composed(f"+experiment={name}", *told(OTHERS, name))["ladder"]["kind"] == "family"


def test_steps_that_nothing_ends_are_told():
    words = ("+experiment=compute_optimal", "scorer.step.stop_token_ids=[]")
    with pytest.raises(
        ConfigError, match=r"^strategies\.beam_4\.steps: nothing ends .*scorer\.step"
    ):
        composed(*words)
    composed(*words, "strategies.beam.steps.sampling.max_tokens=8")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "strategies.forcing.thinking.stop_token_ids=[]",
            "strategies.forcing_1 makes model 112K say 'Wait', of which it does not know every word",
        ),
        (
            "strategies.forcing.wait='='",
            "strategies.forcing_0 stops at token 151649, but model 112K has 74",
        ),
    ],
)
def test_words_of_other_models_are_told_before_anything_is_drawn(override, said):
    words = [each for each in told(COMMAND, "s1_budget_forcing") if "strategy@" not in each]
    small = ("thinking.max_tokens=60", "max_answer_tokens=4", "end_of_thinking=''")
    words += [f"strategies.forcing.{each}" for each in small]
    one = experiment_from(compose("config", [*words, override]))
    with pytest.raises(UserError, match=said):
        Prompted.of(one.models[0], one.task.problems(), one.seed, one.strategies)


@pytest.mark.slow
def test_a_published_comparison_is_answered_on_real_models(tmp_path):
    """vLLM in this process: two models, a scorer, samples, a search, four questions and their figures."""
    small = (
        "ladder.sizes=[10K,29K]",
        "task.num_problems=20",
        "strategies.sampling.num_samples=8",
        "strategies.beam.budgets.width=[4]",
        "analysis.questions.compute_optimal.num_bins=2",
        "analysis.questions.compute_optimal.num_folds=2",
        "analysis.num_bootstrap=100",
        f"store={tmp_path}",
        "tracking=disabled",
    )
    words = told(COMMAND, "snell_flops_matched")
    one = replace(experiment_from(compose("config", [*words, *small])), cluster=InProcess(1))
    finished = run(one, "command")
    assert not finished.set_aside
    answers = {each.name: each for each in finished.analysis.answers}
    asked = ["compute_optimal", "flops_matched", "small_vs_big", "strategies"]
    assert sorted(answers) == asked
    told_all = {name: each.tables for name, each in answers.items() if name != "small_vs_big"}
    assert all(told_all.values())  # one checkpoint a size stands in for no other
    table = answers["strategies"].tables["strategies"]
    assert set(table["strategy"]) == {"greedy", "sampling", "beam_4"}
    assert {"voting", "best_of", "weighted_voting"} <= set(table["selector"])
    assert set(table["model"]) == {"10K", "29K"}
    assert (finished.analysis.ledger["scorer"] > 0).all()
    figures = {file.stem for file in (one.folder.path / "figures").glob("*.png")}
    assert {"strategies_strategies_29K", "compute_optimal_compute_optimal_29K"} <= figures
