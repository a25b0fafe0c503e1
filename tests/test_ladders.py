"""Ladders as configuration: trained here, families of the registry and their checkpoints, or a user's own list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scaling_exp.config import conf_folder, experiment_from, pretraining_from, register_resolvers
from scaling_exp.ladders import LADDERS, SHIPPED, Ladder
from scaling_exp.models import Model, registry
from scaling_exp.schema import ConfigError, of_kind
from scaling_exp.types import UserError

FAMILIES = sorted(
    file.stem
    for file in (conf_folder() / "ladder").glob("*.yaml")
    if OmegaConf.load(file).get("kind") == "family"  # pyright: ignore[reportAttributeAccessIssue]
)


@pytest.fixture(autouse=True)
def conf():
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        yield


def node(*overrides: str) -> dict[str, Any]:
    composed = OmegaConf.to_container(compose("config", list(overrides)).ladder, resolve=True)
    assert isinstance(composed, dict)
    return {str(key): value for key, value in composed.items()}


def ladder(*overrides: str) -> Ladder:
    return of_kind(LADDERS, node(*overrides), "ladder")


def rungs(*overrides: str) -> tuple[Model, ...]:
    return ladder(*overrides).rungs()


def test_the_families_that_are_one_line():
    assert set(FAMILIES) >= {
        "pythia",
        "pythia_checkpoints",
        "qwen2_5",
        "qwen2_5_instruct",
        "qwen3",
        "llama3",
        "olmo2",
        "olmo2_checkpoints",
        "smollm2",
        "gemma3",
        "r1_distill",
        "llemma",
        "gpt_oss",
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_built_without_a_network(name, monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a ladder asked for a network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    models = rungs(f"+ladder={name}")
    assert len(models) > 1
    assert len({each.name for each in models}) == len(models)
    for model in models:
        entry = registry.find(model.path)
        assert entry is not None
        assert model.path == entry.hub_id
        assert model.family == entry.family
        assert model.is_distilled is (entry.is_distilled is True)
        assert (model.pretraining_tokens is None) is (entry.pretraining_tokens is None)


def test_checkpoints_differ_in_what_they_saw_alone():
    models = rungs("+ladder=pythia_checkpoints", "ladder.checkpoints=[step1000,step2000,main]")
    assert [each.name for each in models] == [
        "pythia-410m-step1000",
        "pythia-410m-step2000",
        "pythia-410m",
    ]
    assert [each.revision for each in models] == ["step1000", "step2000", None]
    assert [each.pretraining_tokens for each in models] == [
        2_097_152_000,
        4_194_304_000,
        299_892_736_000,
    ]
    assert {each.path for each in models} == {"EleutherAI/pythia-410m"}


def test_several_sizes_have_every_checkpoint():
    models = rungs(
        "+ladder=pythia", "ladder.names=[pythia-70m,pythia-1b]", "ladder.checkpoints=[step1,main]"
    )
    assert [each.name for each in models] == [
        "pythia-70m-step1",
        "pythia-70m",
        "pythia-1b-step1",
        "pythia-1b",
    ]


def test_data_counts_as_repeated_only_once_it_was():
    early, late = rungs(
        "+ladder=pythia",
        "ladder.names=[pythia-70m-deduped]",
        "ladder.checkpoints=[step98000,step99000]",
    )
    assert (early.unique_tokens, late.unique_tokens) == (None, 207_000_000_000)


def test_precision_reaches_every_model():
    models = rungs("+ladder=llemma", "ladder.dtype=bfloat16", "ladder.quantization=fp8")
    assert {(each.dtype, each.quantization) for each in models} == {("bfloat16", "fp8")}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+ladder=pythia", "ladder.names=[pythia-70]"), r"did you mean pythia-70m\?"),
        (("+ladder=pythia", "ladder.names=[]"), "ladder.names is empty"),
        (("+ladder=pythia", "ladder.names=[pythia-1b,pythia-1b]"), "have pythia-1b twice"),
        (("+ladder=pythia", "ladder.checkpoints=[step0]"), "has seen no token"),
        (("+ladder=pythia", "ladder.checkpoints=[step1500]"), "the nearest is step1000"),
        (("+ladder=smollm2", "+ladder.checkpoints=[step1000]"), "none are known of SmolLM2-135M"),
        (("+ladder=models",), "ladder.models is empty; add each with"),
        (("+ladder=models", "+ladder.models.a.pretraining_tokens=1"), "ladder.models.a.path"),
        (
            ("+ladder=models", "+ladder.models.a.paht=x"),
            "ladder.models.a.paht|ladder.models.a.path",
        ),
        (
            ("+ladder=models", "+ladder.models.a={path: x, pretraining_tokens: 0}"),
            "give D > 0, or null",
        ),
        (("+ladder=pythia", "ladder.kind=familly"), "did you mean family"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        rungs(*overrides)
    assert "\n" not in str(caught.value)


def test_local_copies_are_found_under_the_name_or_the_one_on_the_hub(tmp_path):
    for name in ("Llama-3.1-8B", "Meta-Llama-3-8B", "pythia-70m-step1000"):
        (tmp_path / name).mkdir()
    names = "ladder.names=[Llama-3.1-8B,Llama-3-8B]"
    models = rungs("+ladder=llama3", names, f"ladder.folder={tmp_path}")
    assert [Path(each.path).name for each in models] == ["Llama-3.1-8B", "Meta-Llama-3-8B"]
    assert {each.revision for each in models} == {None}
    checkpoint = ("ladder.names=[pythia-70m]", "ladder.checkpoints=[step1000]")
    (model,) = rungs("+ladder=pythia", *checkpoint, f"ladder.folder={tmp_path}")
    assert model.path == str(tmp_path / "pythia-70m-step1000")


def test_a_copy_that_is_missing_is_named_with_the_command_that_fetches_it(tmp_path):
    (tmp_path / "pythia-70m").mkdir()  # the finished weights, not the checkpoint
    with pytest.raises(UserError) as caught:
        rungs(
            "+ladder=pythia",
            "ladder.names=[pythia-70m]",
            "ladder.checkpoints=[step1000]",
            f"ladder.folder={tmp_path}",
        )
    place = tmp_path / "pythia-70m-step1000"
    assert str(caught.value) == (
        f"ladder.folder: {place} is missing; fetch it where there is a network: hf download"
        f" EleutherAI/pythia-70m --revision step1000 --local-dir {place}"
    )


def test_a_list_of_ones_own_takes_what_the_registry_knows_of_a_hub_id_and_nothing_else():
    overrides = ["+ladder=models"]
    overrides += ["+ladder.models.known.path=Qwen/Qwen2.5-7B"]
    overrides += ["+ladder.models.said={path: Qwen/Qwen2.5-7B, pretraining_tokens: 1e12}"]
    overrides += ["+ladder.models.tuned={path: Qwen/Qwen2.5-7B, revision: mine}"]
    overrides += ["+ladder.models.unknown.path=someone/Qwen2.5-7B"]
    known, said, tuned, unknown = rungs(*overrides)
    assert (known.pretraining_tokens, known.family) == (18 * 10**12, "Qwen2.5")
    assert (said.pretraining_tokens, said.family) == (10**12, "Qwen2.5")
    assert (tuned.pretraining_tokens, tuned.family) == (None, "")
    assert (unknown.pretraining_tokens, unknown.family) == (None, "")


def test_any_local_directory_is_a_model(two_smallest):
    folder = next(each for each in sorted(two_smallest.iterdir()) if each.is_dir())
    (model,) = rungs("+ladder=models", f"+ladder.models.mine.path={folder}")
    assert model.facts.architecture.num_parameters > 1000
    assert not model.facts.has_compute


def test_a_trained_ladder_is_the_folder_that_it_was():
    manifest = json.loads((SHIPPED / "arithmetic" / "ladder.json").read_text())
    last = rungs("+ladder=arithmetic")
    every = rungs("+ladder=arithmetic", "ladder.include=all")
    assert [each.name for each in last] == ["4K", "10K", "29K", "112K", "436K"]
    assert [each.name for each in every] == [each["name"] for each in manifest["checkpoints"]]
    assert all(each.pretraining_loss is not None for each in last)


def test_an_experiment_over_ones_own_models_is_composed(two_smallest, tmp_path):
    places = sorted(each for each in two_smallest.iterdir() if each.is_dir())
    for place, name in zip(places, ("a", "b"), strict=True):
        shutil.copytree(place, tmp_path / name)
    experiment = experiment_from(
        compose(
            "config",
            [
                "+experiment=quickstart",
                "ladder=models",
                f"+ladder.models.a={{path: {tmp_path / 'a'}, pretraining_tokens: 4000000}}",
                f"+ladder.models.b.path={tmp_path / 'b'}",
            ],
        )
    )
    assert [each.facts.has_compute for each in experiment.models] == [True, False]


def quickstart(*overrides: str):
    return experiment_from(compose("config", ["+experiment=quickstart", *overrides]))


def test_a_model_that_brings_code_is_refused_by_the_name_of_what_it_brings(two_smallest, tmp_path):
    place = next(each for each in sorted(two_smallest.iterdir()) if each.is_dir())
    mine = shutil.copytree(place, tmp_path / "mine")
    config = json.loads((mine / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    (mine / "config.json").write_text(json.dumps(config))
    overrides = ("ladder=models", f"+ladder.models.mine.path={mine}")
    with pytest.raises(UserError) as refused:
        quickstart(*overrides)
    told = str(refused.value)
    assert "modeling_mine.MineForCausalLM (config.json)" in told
    assert "engine.trust_remote_code=true" in told
    assert quickstart(*overrides, "engine.trust_remote_code=true").models[0].name == "mine"


def test_precision_is_a_part_of_what_a_draw_is():
    def fingerprint(*overrides: str) -> str:
        return quickstart(*overrides).models[0].fingerprint

    float32 = fingerprint()
    assert fingerprint("engine.dtype=auto") == float32  # as the weights are
    assert fingerprint("engine.dtype=bfloat16") != float32


def test_a_family_has_nothing_to_train():
    with pytest.raises(ConfigError, match="no recipe to train by"):
        pretraining_from(compose("pretrain", ["+ladder=pythia"]))
