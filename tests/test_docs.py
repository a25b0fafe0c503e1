"""The documentation: no broken link, every command is one that the program takes, examples work."""

import importlib.util
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from test_strategies import SAMPLED, grow, truth

from scaling_exp.__main__ import DASHBOARD_OPTIONS, VERBS
from scaling_exp.completion import AFTER_A_FILE, COMPOSED
from scaling_exp.config import conf_folder, experiment_from, register_resolvers
from scaling_exp.generation import Bound, Forest
from scaling_exp.schema import of_kind
from scaling_exp.strategies.parallel import draw
from scaling_exp.tasks import TASKS
from scaling_exp.types import Sampling

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
COMMAND = re.compile(r"(?:python3?(?: -m)? -m scaling_exp|(?<![\w/-])scaling-exp) +([a-z].*)")
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITH_VALUE = ("--config-dir", "--cfg", "--config-name")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def commands(text):
    """What follows `python -m scaling_exp` in blocks of commands, continued lines joined and comments cut."""
    found = []
    for language, block in BLOCK.findall(text):
        if language in ("", "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                command = COMMAND.search(line)
                if command and not line.lstrip().startswith("#"):
                    found.append(_cut(line[: command.start()], command[1]))
    return found


def _cut(before, command):
    """The command alone, where it is quoted as a whole or goes on with another."""
    if before.count("'") % 2:
        command = command.split("'")[0]
    return re.split(r" (?:&&|\|\|?|;|>) ", command)[0]


def test_commands_are_found():
    text = "```\npython -m scaling_exp run a=1 \\\n  b=2 # why\nbash -c 'cd x && python3 -m scaling_exp plan c=3'\n```"
    assert commands(text) == ["run a=1    b=2 # why", "plan c=3"]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 50


ALL = sorted({(page.name, each) for page in PAGES for each in commands(page.read_text())})


@pytest.mark.parametrize("page", sorted({page for page, _ in ALL}))
def test_every_command_is_one_that_the_program_takes(page, composing):
    for of, command in ALL:
        if of == page:
            check(command, composing)


def check(command, composing):
    verb, *words = shlex.split(command, comments=True)
    assert verb in VERBS or verb.startswith("-") or verb == "VERB", command
    words = [word for word in words if word != "..."]
    if verb == "dashboard":
        assert {word.split("=")[0] for word in words[1:]} <= DASHBOARD_OPTIONS, command
    if verb in COMPOSED and not {"-h", "--help"} & set(words):
        named = [word.replace("+experiment=NAME", "+experiment=quickstart") for word in words]
        composing(COMPOSED[verb], overrides(verb, named))


def overrides(verb, words):
    """What Hydra composes: no flags, of a sweep the first choices, of a file or benchmark what follows it."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in WITH_VALUE:
            next(rest)
        elif not word.startswith("-"):
            kept.append(word)
    if verb == "bench":
        kept[:1] = [f"+bench={kept[0]}"]
    if verb in AFTER_A_FILE:
        kept = [word for word in kept[1:] if not word.startswith("task.")]
    if {"-m", "--multirun"} & set(words):
        kept = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in kept]
    return kept


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The tutorial's own files, where its commands look for them."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in re.findall(
        r"^```yaml\n# (mine/\S+)\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE
    ):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "mine"


@pytest.fixture(scope="module")
def composing(mine):
    register_resolvers()

    def composed(config_name, words):
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            return compose(config_name, [*words, f"hydra.searchpath=[file://{mine}]"])

    return composed


def test_the_tutorials_experiment_is_valid(composing):
    experiment = experiment_from(composing("config", ["+experiment=hotter"]))
    assert experiment.name == "hotter"
    assert len(experiment.task.problems()) == 150


def test_the_tutorials_questions_are_read(composing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (rows,) = re.findall(r"^```json\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
    Path("mine.jsonl").write_text(rows)
    config = OmegaConf.to_container(composing("config", ["+task=mine"]).task, resolve=True)
    first, second = of_kind(TASKS, config, "task").problems()
    assert first.prompt == "Question: What is 17 * 23?\nAnswer:"
    assert second.answer == "12"


def test_the_tutorials_strategy_draws_more_only_when_the_first_disagree():
    (code,) = re.findall(r"^```python\n(.*?)^```", TUTORIAL, re.DOTALL | re.MULTILINE)
    names = {"dataclass": dataclass, "Bound": Bound, "Forest": Forest, "Sampling": Sampling}
    names["draw"] = draw
    exec(code, names)
    strategy = names["SecondOpinion"](4, 16, SAMPLED)
    assert len(grow(strategy, truth([0, 1]))[0].nodes) == 4
    assert len(grow(strategy, truth([0.5, 0.5]))[0].nodes) == 16


def test_the_site_is_built_without_a_broken_link(tmp_path):
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs is not installed; `make install` installs it")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    configuration = (tmp_path / "reference" / "configuration" / "index.html").read_text()
    assert all(f"task={file.stem}" in configuration for file in (ROOT / "conf" / "task").iterdir())
    assert (tmp_path / "science" / "index.html").read_text().count("<math") > 40
    assert "num_before" in (tmp_path / "reference" / "python" / "index.html").read_text()


def hooks():
    """scripts/docs.py, as MkDocs loads it."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_are_left_alone_in_code():
    told = hooks().with_formulas("a $x^2$ `$HOME` b\n```\n$OUT $x$\n```\n")
    assert told.count("<math") == 1
    assert "`$HOME`" in told
    assert "$OUT $x$" in told
