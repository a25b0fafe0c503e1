"""From a Hydra configuration to frozen, validated objects; every mistake is one line that names the key.

The dataclasses are their own schema: pydantic validates into them, unknown keys are forbidden, and a `kind:` chooses
the class from an explicit dictionary. Importing this module loads neither torch nor vLLM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from scaling_exp.analysis import AnalysisSettings, settings_from
from scaling_exp.engines import ENGINES, VLLM, EngineConfig
from scaling_exp.experiment import Experiment, Pretraining, ScorerPretraining
from scaling_exp.generation import Strategy
from scaling_exp.ladders import LADDERS, SHIPPED, Trained
from scaling_exp.locations import conf_folder
from scaling_exp.models import Model
from scaling_exp.pretraining import Recipe, Size, read_manifest
from scaling_exp.pretraining.scorer import ScorerRecipe
from scaling_exp.schema import ConfigError, check_keys, of_kind, unknown, validate
from scaling_exp.scorers import SCORERS, ScorerModel
from scaling_exp.spending import limits_from
from scaling_exp.store import folder_of
from scaling_exp.strategies import STRATEGIES, Steps
from scaling_exp.submission import TARGETS, Target
from scaling_exp.tasks import TASKS, SumsAndProducts, Task
from scaling_exp.tracking import TRACKERS
from scaling_exp.types import UserError

if TYPE_CHECKING:
    from scaling_exp.bench import Benchmark
    from scaling_exp.imports import Import

NOT_OF_THE_SCORER = ("recipe", "step")
"""Keys of a scorer's file that others read: how it was trained, and where a search ends a step."""
MULTIRUN = ("-m", "--multirun")


def register_resolvers(arguments: Sequence[str] = ()) -> None:
    """Make `${scaling_exp.ladders:}` the folder of the ladders that travel with the package,
    `${scaling_exp.sweep:}` a name that all runs of one sweep share, empty where `arguments` ask for none,
    `${scaling_exp.stop:}` the texts that end an answer to the task, `${scaling_exp.step:KEY}` what ends a step for the
    scorer (its texts, `stop`, or tokens, `stop_token_ids`), and `${scaling_exp.folder:STORE}` the folder of this
    machine in which a store is."""
    OmegaConf.register_new_resolver("scaling_exp.ladders", lambda: str(SHIPPED), replace=True)
    OmegaConf.register_new_resolver("scaling_exp.sweep", lambda: _sweep(arguments), replace=True)
    OmegaConf.register_new_resolver("scaling_exp.stop", _stop, replace=True)
    OmegaConf.register_new_resolver("scaling_exp.step", _step, replace=True)
    OmegaConf.register_new_resolver(
        "scaling_exp.folder", lambda store: str(folder_of(store)), replace=True
    )


def _stop(*, _root_: DictConfig) -> list[str]:
    """A chat model ends its turn itself, and may write such a text while it thinks."""
    prompt = OmegaConf.select(_root_, "task.prompt") or {}
    return [] if prompt.get("chat") else list(prompt.get("stop", []))


def _step(key: str, *, _root_: DictConfig) -> list[str | int]:
    return list(OmegaConf.select(_root_, f"scorer.step.{key}") or [])


def _dated(settings: AnalysisSettings) -> AnalysisSettings:
    """With the prices of today, unless they name another day."""
    pricing = settings.pricing
    day = pricing.date or datetime.now().astimezone().date().isoformat()
    return replace(settings, pricing=replace(pricing, date=day))


def _sweep(arguments: Sequence[str]) -> str:
    rest = sorted(each for each in arguments if each not in MULTIRUN)
    if len(rest) == len(arguments):
        return ""
    return f"sweep-{sha256(' '.join(rest).encode()).hexdigest()[:8]}"


def experiment_from(node: DictConfig) -> Experiment:
    """The experiment that a composed configuration describes. Raises ConfigError."""
    config = _plain(node)
    with _telling_mistakes():
        parts = _parts(config)
        ladder = of_kind(LADDERS, config["ladder"], "ladder")
        models = as_drawn(ladder.rungs(), parts["engine"])
        parts["scorer"] = _as_asked(parts["scorer"], parts["engine"])
        if isinstance(parts["engine"], VLLM):
            samplings = [each.bound.sampling for each in parts["strategies"].values()]
            parts["engine"].check_thinking(models, samplings)
        return Experiment(models=models, config=config, **parts)


@contextmanager
def _telling_mistakes() -> Iterator[None]:
    """What a constructor finds wrong is the user's mistake."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class Destination:
    """Where a run is sent, what it is called and where it writes."""

    target: Target
    cluster: Mapping[str, Any]
    """The configuration of the target."""
    name: str
    store: str


def destination_from(node: DictConfig) -> Destination:
    """Where a composed configuration sends its run; all of it is checked but for the models, those that score included,
    which need not be here.

    Raises ConfigError.
    """
    config = _plain(node)
    with _telling_mistakes():
        _ = _parts(config)
        _ = of_kind(LADDERS, config["ladder"], "ladder")
    target = of_kind(TARGETS, config["cluster"], "cluster")
    return Destination(target, config["cluster"], config["name"], config["store"])


def cluster_from(overrides: Sequence[str]) -> Mapping[str, Any]:
    """The configuration of a cluster that overrides name, without an experiment. Raises ConfigError."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        node = compose("config", list(overrides))
    return _plain(DictConfig({"cluster": node.cluster}))["cluster"]


def _parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an experiment, all but its models; the scorer's is not looked for. Raises ConfigError."""
    check_keys("", config, ("name", "seed", "store", "max_tokens", "scorer", "limits", *_PARTS))
    for part, remedy in _PARTS.items():
        if not config.get(part):
            raise ConfigError(f"{part} is missing; {remedy}")
    strategies: dict[str, Strategy] = {}
    for name, strategy in _with_budgets(config["strategies"]):
        if name in strategies:
            raise ConfigError(f"strategies.{name} is there twice, once of budgets; rename one")
        strategies[name] = of_kind(STRATEGIES, strategy, f"strategies.{name}")
        steps = getattr(strategies[name], "steps", None)
        if isinstance(steps, Steps) and steps.are_answers:
            raise ConfigError(
                f"strategies.{name}.steps: nothing ends a step before the answer ends; say in scorer.step where one"
                " ends, e.g. {stop: ['\\n\\n'], stop_token_ids: []}, or choose a smaller steps.sampling.max_tokens"
            )
    engine = of_kind(ENGINES, config["engine"], "engine")
    task = of_kind(TASKS, config["task"], "task")
    return {
        "name": _scalar(str, config, "name"),
        "seed": _scalar(int, config, "seed"),
        "store": _scalar(str, config, "store"),
        "task": task,
        "strategies": strategies,
        "engine": engine,
        "cluster": of_kind(TARGETS, config["cluster"], "cluster").cluster,
        "analysis": _dated(settings_from(config["analysis"])),
        "tracking": of_kind(TRACKERS, config["tracking"], "tracking"),
        "scorer": _scorer(config.get("scorer"), strategies, task),
        "limits": limits_from(config.get("limits") or {}),
    }


def _with_budgets(strategies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Strategies by name. `budgets: {width: [4, 16]}` of one makes two: NAME_4 of width 4 and NAME_16 of width 16."""
    for name, strategy in strategies.items():
        budgets = strategy.get("budgets") if isinstance(strategy, dict) else None
        if budgets is None:
            yield str(name), strategy
            continue
        settings = {each: value for each, value in strategy.items() if each != "budgets"}
        key = f"strategies.{name}.budgets"
        if not isinstance(budgets, dict) or len(budgets) != 1:
            raise ConfigError(f"{key} is {budgets!r}; name one setting, e.g. {{width: [4, 16]}}")
        ((setting, values),) = budgets.items()
        names = [str(value) for value in values] if isinstance(values, list) else []
        if not names or len(set(names)) != len(names):
            raise ConfigError(
                f"{key}.{setting} is {values!r}; it must be a list of different values"
            )
        yield from ((f"{name}_{value}", {**settings, setting: value}) for value in values)


def _scorer(config: Any, strategies: Mapping[str, Strategy], task: Task) -> ScorerModel | None:
    """The scorer, which strategies that ask for scores must have."""
    if config:
        settings = {key: value for key, value in config.items() if key not in NOT_OF_THE_SCORER}
        if settings.get("kind") == "exact":
            return of_kind(SCORERS, {"grader": task.grader, **settings}, "scorer")
        return of_kind(SCORERS, settings, "scorer")
    for name, strategy in strategies.items():
        if strategy.bound.is_scored:
            raise ConfigError(
                f"strategies.{name} needs a scorer; choose one with +scorer=arithmetic"
            )
    return None


def _as_asked(scorer: Any, engine: EngineConfig) -> ScorerModel | None:
    """A scorer whose model, if it has one, is as `as_drawn` says."""
    if scorer is None or scorer.model is None:
        return scorer
    (model,) = as_drawn([scorer.model], engine)
    return replace(
        scorer, revision=model.revision, dtype=model.dtype, max_model_len=model.max_model_len
    )


def as_drawn(models: Sequence[Model], engine: EngineConfig) -> tuple[Model, ...]:
    """Models at a commit and in the precision that the engine draws in, both part of a draw's identity, and as long as
    it takes them.

    Raises UserError for one that brings code of its own, unless the engine may run it.
    """
    if isinstance(engine, VLLM):
        engine.check_code(models)
    dtype, length = None, None
    if isinstance(engine, VLLM):
        dtype = None if engine.dtype == "auto" else engine.dtype
        length = engine.max_model_len
    return tuple(
        replace(each.pinned, dtype=each.dtype or dtype, max_model_len=length) for each in models
    )


def pretraining_from(node: DictConfig) -> Pretraining:
    """The pre-training that a composed configuration describes. Raises ConfigError."""
    if "ladder" not in node:
        raise ConfigError(f"ladder is missing; {_PARTS['ladder']}")
    if "recipe" not in node.ladder:
        raise ConfigError(f"ladder has no recipe to train by; {_PARTS['ladder']}")
    config = _plain(node)
    check_keys("", config, ("ladder", "output", "cluster"))
    ladder = of_kind({"trained": Trained}, config["ladder"], "ladder")
    recipe = dict(ladder.recipe)
    corpus = {key: recipe.pop(key) for key in ("modulus", "levels") if key in recipe}
    corpus |= {"num_problems": 1, "seed": 0}
    recipe["sizes"] = {
        str(name): validate(Size, size, f"ladder.recipe.sizes.{name}")
        for name, size in recipe.get("sizes", {}).items()
    }
    recipe["corpus"] = validate(SumsAndProducts, corpus, "ladder.recipe")
    check_keys("ladder.recipe.", recipe, [each.name for each in fields(Recipe)])
    return Pretraining(
        recipe=validate(Recipe, recipe, "ladder.recipe"),
        output=FilePath(_scalar(str, config, "output")),
        cluster=of_kind(TARGETS, config["cluster"], "cluster").cluster,
    )


def scorer_pretraining_from(node: DictConfig) -> ScorerPretraining:
    """The training of a scorer that a composed configuration describes. Raises ConfigError."""
    config = _plain(node)
    check_keys("", config, ("scorer", "output", "cluster"))
    if "recipe" not in config["scorer"]:
        raise ConfigError(
            "scorer has no recipe to train by; choose one that has with +scorer=arithmetic"
        )
    recipe = dict(config["scorer"]["recipe"])
    missing = [each for each in ("ladder", "held_out") if each not in recipe]
    if missing:
        raise ConfigError(f"scorer.recipe.{missing[0]} is missing")
    folder = FilePath(recipe.pop("ladder"))
    ladder = read_manifest(folder)
    corpus = {**ladder["recipe"]["corpus"], **recipe.pop("held_out")}
    recipe["corpus"] = validate(SumsAndProducts, corpus, "scorer.recipe.held_out")
    recipe["ladder"] = ladder["hash"]
    recipe |= {key: config["scorer"].get(key) for key in ("good", "bad", "step_end")}
    check_keys("scorer.recipe.", recipe, [each.name for each in fields(ScorerRecipe)])
    return ScorerPretraining(
        recipe=validate(ScorerRecipe, recipe, "scorer.recipe"),
        ladder=folder,
        output=FilePath(_scalar(str, config, "output")),
        cluster=of_kind(TARGETS, config["cluster"], "cluster").cluster,
    )


def bench_from(node: DictConfig) -> Benchmark:
    """The benchmark that a composed configuration describes. Raises ConfigError."""
    from scaling_exp.bench import BENCHES, Benchmark, Setup  # a second that no other verb needs

    config = _plain(node)
    check_keys("", config, ("bench", "output", "ladder", "task", "engine"))
    try:
        return Benchmark(
            bench=of_kind(BENCHES, config["bench"], "bench"),
            setup=Setup(
                models=of_kind(LADDERS, config["ladder"], "ladder").rungs(),
                task=of_kind(TASKS, config["task"], "task"),
                engine=of_kind(ENGINES, config["engine"], "engine"),
            ),
            output=FilePath(_scalar(str, config, "output")) / f"{config['bench']['kind']}.json",
            settings={key: config[key] for key in ("bench", "engine")},
        )
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def import_from(node: DictConfig) -> Import:
    """The import that a composed configuration describes. Raises ConfigError."""
    from scaling_exp.imports import Import, Source  # DuckDB, which no other verb needs

    config = _plain(node)
    rest = {key: config.pop(key) for key in ("store", "dry_run", "analysis") if key in config}
    settings_from(rest["analysis"])  # a mistake in it is told now, not by the report
    if not isinstance(rest["dry_run"], bool):
        raise ConfigError(f"dry_run is {rest['dry_run']!r}; it must be true or false")
    try:
        source = validate(Source, config, "import")
    except ConfigError as error:
        raise ConfigError(re.sub(r"^import(\.|: )", "", str(error))) from None
    return Import(
        source=source,
        store=_scalar(str, rest, "store"),
        analysis=rest["analysis"],
        is_dry=rest["dry_run"],
    )


_PARTS = {
    "ladder": "choose one with +ladder=arithmetic",
    "task": "choose one with +task=arithmetic",
    "strategies": "add one with +strategy@strategies.greedy=greedy",
    "engine": "choose one with engine=vllm_cpu",
    "cluster": "choose one with cluster=local",
    "analysis": "choose one with analysis=default",
    "tracking": "choose one with tracking=offline",
}


def changed_analysis(node: DictConfig, config_name: str) -> dict[str, Any]:
    """What of `analysis` a composed configuration says that its defaults do not. Raises ConfigError."""
    from hydra import compose

    settings_from(_plain(node)["analysis"])
    default = OmegaConf.to_container(compose(config_name), resolve=True)
    assert isinstance(default, dict)
    return _difference(_plain(node)["analysis"], default["analysis"])


def _difference(changed: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `changed` whose values are not those of `default`, deeply."""
    nested = {
        name: _difference(value, default[name])
        for name, value in changed.items()
        if isinstance(value, dict) and isinstance(default.get(name), dict)
    }
    plain = {name: value for name, value in changed.items() if name not in nested}
    differing = {
        name: value
        for name, value in plain.items()
        if name not in default or value != default[name]
    }
    return differing | {name: value for name, value in nested.items() if value}


def _plain(node: DictConfig) -> dict[str, Any]:
    missing = OmegaConf.missing_keys(node)
    if missing:
        keys = ", ".join(sorted(missing))
        raise ConfigError(f"{keys} must be given: choose an experiment with +experiment=quickstart")
    config = OmegaConf.to_container(node, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _scalar(kind: type, config: Mapping[str, Any], key: str) -> Any:
    value = config[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(
            f"{key} is {value!r}; it must be {'text' if kind is str else 'a whole number'}"
        )
    return value


def explain(error: Exception, conf: str, config_name: str, arguments: Sequence[str]) -> str:
    """Hydra's and OmegaConf's errors in one line, with the nearest valid key or option."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = found.groups()
        return unknown(group, option, _options(FilePath(conf) / group, text))
    if found := re.search(r"Could not override '([^'@]+)[^']*'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    ):
        return unknown("key", found[1], _known_keys(conf, config_name, arguments))
    if found := re.search(r"Primary config directory not found|mismatched input|no viable", text):
        return f"cannot read the overrides {' '.join(arguments)!r}: {text.splitlines()[0]}"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{found[1]} must be given, e.g. {found[1]}=..."
    key = getattr(error, "full_key", None)
    return f"{key}: {text.splitlines()[0]}" if key else text


def _options(folder: FilePath, text: str) -> list[str]:
    listed = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
    return listed or sorted(file.stem for file in folder.glob("*.yaml"))


def _known_keys(conf: str, config_name: str, arguments: Sequence[str]) -> list[str]:
    """Keys and groups that overrides could have meant, given the groups that they add."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    groups = [argument for argument in arguments if argument.startswith("+")]
    folders = [each.name for each in FilePath(conf).iterdir() if each.is_dir()]
    with initialize_config_dir(conf, version_base="1.3"):
        node = compose(config_name, groups)
    return folders + _flat_keys("", OmegaConf.to_container(node))


def _flat_keys(prefix: str, node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = [f"{prefix}{name}" for name in node]
    return keys + [key for name in node for key in _flat_keys(f"{prefix}{name}.", node[name])]
