"""The command line: `python -m scaling_exp VERB [Hydra overrides]`, also installed as `scaling-exp`.

A user's mistake is one line on stderr and exit code 2; a fault of ours keeps its trace. Nothing heavy is imported
before the verb is known.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from scaling_exp.analysis import Analysis
    from scaling_exp.dispatch import SetAside

USAGE = """\
scaling_exp: is the next unit of compute better spent on pre-training or on inference?

  python -m scaling_exp VERB [Hydra overrides]

  run       draw what an experiment still misses, analyse it, write the report, print the verdict
              python -m scaling_exp run +experiment=quickstart
  plan      what a run would draw and cost, before it starts
              python -m scaling_exp plan +experiment=quickstart strategies.sampling.num_samples=256
  report    analyse and draw a finished run again; needs neither engine nor Ray
              python -m scaling_exp report runs/quickstart-1a2b3c4d [analysis.confidence=0.9 ...]
              python -m scaling_exp report runs/quickstart-1a2b3c4d --regrade [task.grader.seconds=20 ...]
  compare   put runs side by side: curves, paired differences, what was configured differently
              python -m scaling_exp compare runs/quickstart-1a2b3c4d runs/deeper-5e6f7a8b
  import    bring in data that others made, as a run to report
              python -m scaling_exp import samples.jsonl dry_run=true
  pretrain  train a ladder of small models from scratch
              python -m scaling_exp pretrain +ladder=arithmetic
  models    open models that a ladder can name: facts with their sources, training FLOPs, checkpoints
              python -m scaling_exp models family=Qwen2.5 max_parameters=8e9
  bench     measure a part of the program on this machine: engine, schedule, dispatch, store, ...
              python -m scaling_exp bench engine
  doctor    what is installed, what the machine offers, what would go wrong

  VERB --help teaches the verb; --cfg job shows a configuration; -m runs a sweep; --config-dir DIR adds your own."""

INCOMPLETE = 1
DIFFERENT = 1
MISTAKE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and exit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        sys.exit(0 if arguments else MISTAKE)
    verb, rest = arguments[0], arguments[1:]
    if verb in ("-V", "--version"):
        from scaling_exp import __version__

        print(__version__)
        sys.exit(0)
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(VERBS)}"
        fail(f"there is no verb {verb!r}; {hint}")
    VERBS[verb](rest)


def run(arguments: list[str]) -> None:
    """Draw, analyse, report."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import experiment_from
        from scaling_exp.experiment import run as run_experiment
        from scaling_exp.watchdog import end_as_interrupted

        end_as_interrupted()
        experiment = experiment_from(node)
        command = shlex.join(["python", "-m", "scaling_exp", "run", *arguments])
        try:
            finished = run_experiment(experiment, command)
        except KeyboardInterrupt:
            print(
                f"\ninterrupted; every finished draw is kept. Go on with the same command:\n  {command}",
                file=sys.stderr,
            )
            sys.exit(INTERRUPTED)
        print("\n".join([*said(finished.analysis), "", f"report: {finished.page}"]))
        if finished.set_aside:
            print(f"\n{_without(finished.set_aside)}\n  {command}", file=sys.stderr)
            sys.exit(INCOMPLETE)

    compose("config", arguments, "run", task)


def _without(set_aside: Sequence[SetAside]) -> str:
    """What a run was finished without."""
    lines = [f"  {each.model} {each.problem}: {each.reason}" for each in set_aside[:10]]
    more = [f"  and {len(set_aside) - 10} more"] if len(set_aside) > 10 else []
    head = f"{len(set_aside)} jobs were set aside, and their problems are left out for every model:"
    return "\n".join([head, *lines, *more, "try them again with the same command:"])


def plan(arguments: list[str]) -> None:
    """Say what a run would draw and cost."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import experiment_from
        from scaling_exp.plan import plan as plan_experiment

        print(plan_experiment(experiment_from(node)))

    compose("config", arguments, "plan", task)


def pretrain(arguments: list[str]) -> None:
    """Train a ladder."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import pretraining_from
        from scaling_exp.experiment import pretrain as pretrain_ladder

        pretraining = pretraining_from(node)
        recipe = pretraining.recipe
        print(
            f"training {len(recipe.sizes)} sizes on {recipe.tokens:,} tokens each; recipe {recipe.hash}",
            file=sys.stderr,
        )
        for each in pretrain_ladder(pretraining):
            print(
                f"{each.name:>12}  N {each.num_parameters:>9,}  D {each.tokens:>12,}"
                f"  {each.pretraining_flops:.2e} FLOPs  held-out loss {each.held_out_loss:.4f}"
                f"  {each.train_seconds:.0f} s",
                flush=True,
            )
        print(f"ladder: {pretraining.output}")

    compose("pretrain", arguments, "pretrain", task)


def bench(arguments: list[str]) -> None:
    """Measure a part of the program."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import bench_from

        benchmark = bench_from(node)
        command = shlex.join(["python", "-m", "scaling_exp", "bench", *arguments])
        result = benchmark.bench.run(benchmark.setup)
        result.write_json(benchmark.output, command, benchmark.settings)
        print("\n".join([result.table(), hardware_line(), f"json: {benchmark.output}"]))

    from scaling_exp.bench.result import hardware_line

    names = arguments[:1] if arguments and "=" not in arguments[0] else []
    if names and not names[0].startswith("-"):
        compose("bench", [f"+bench={names[0]}", *arguments[1:]], "bench", task)
    elif arguments in (["-h"], ["--help"]):
        compose("bench", ["--help"], "bench", task)
    else:
        fail("bench wants a name first, e.g. python -m scaling_exp bench engine; --help lists them")


def report(arguments: list[str]) -> None:
    """Analyse and draw a finished run again; with --regrade its answers are read and graded again before."""
    if "--regrade" in arguments:
        arguments = [each for each in arguments if each != "--regrade"]
        changes = [each for each in arguments if each.startswith("task.")]
        arguments = [each for each in arguments if each not in changes]
        telling_mistakes(lambda: _regrade(arguments, changes))

    def redraw_with(changed: Mapping[str, Any]) -> None:
        from scaling_exp.report import redraw
        from scaling_exp.store import RunFolder

        analysis, page = redraw(RunFolder(FilePath(arguments[0])), changed)
        print("\n".join([*said(analysis), "", f"report: {page}"]))

    def task(node: DictConfig) -> None:
        from scaling_exp.config import changed_analysis

        redraw_with(changed_analysis(node, "report"))

    if not arguments or arguments[0].startswith("-"):
        if arguments[:1] not in (["-h"], ["--help"]):
            fail(
                "report wants a run's folder first, e.g. python -m scaling_exp report runs/NAME-HASH"
            )
        compose("report", ["--help"], "report", task)
    elif arguments[1:]:
        compose("report", arguments[1:], "report", task)
    else:
        telling_mistakes(lambda: redraw_with({}))


def _regrade(arguments: list[str], changes: list[str]) -> None:
    """Grade a run again, by its own task with some of its keys changed."""
    from omegaconf import OmegaConf

    from scaling_exp.regrade import regrade, task_config_of
    from scaling_exp.store import RunFolder
    from scaling_exp.types import UserError

    if not arguments or not FilePath(arguments[0]).is_dir():
        raise UserError("report wants a run's folder first, before --regrade")
    folder = RunFolder(FilePath(arguments[0]))
    task = OmegaConf.merge({"task": dict(task_config_of(folder))}, OmegaConf.from_dotlist(changes))
    config = OmegaConf.to_container(task)
    assert isinstance(config, dict)
    print(regrade(folder, config["task"]), file=sys.stderr)


COMPARE_USAGE = """\
usage: python -m scaling_exp compare RUN_DIR RUN_DIR ... [output=FOLDER]

Runs side by side on one page: curves overlaid, paired differences on the problems that they share, and what differs in
their configuration. Every run wants a report first (run and report write it). Without output= the page goes to
outputs/compare-HASH."""


def compare(arguments: list[str]) -> None:
    """Put runs side by side."""
    outputs = [each.removeprefix("output=") for each in arguments if each.startswith("output=")]
    folders = [FilePath(each) for each in arguments if not each.startswith("output=")]
    if len(folders) < 2 or any(str(each).startswith("-") for each in folders):
        print(COMPARE_USAGE)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)

    def work() -> None:
        from hashlib import sha256

        from scaling_exp.report.comparison import compare_runs
        from scaling_exp.store import RunFolder

        names = " ".join(sorted(str(each.resolve()) for each in folders))
        output = (
            outputs[-1] if outputs else f"outputs/compare-{sha256(names.encode()).hexdigest()[:8]}"
        )
        comparison, page = compare_runs([RunFolder(each) for each in folders], FilePath(output))
        print("\n".join([*comparison.sentences, "", f"report: {page}"]))

    telling_mistakes(work)


def said(analysis: Analysis) -> list[str]:
    """The verdict, and the answer to every question that was asked beside it."""
    answers = [f"{each.question}\n  {each.sentences[0]}" for each in analysis.answers]
    return ["", *analysis.sentences, *(f"\n{answer}" for answer in answers)]


def import_data(arguments: list[str]) -> None:
    """Bring in a file that others made."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import import_from
        from scaling_exp.imports import import_source, write

        node.path = files[0]
        wanted = import_from(node)
        imported = import_source(wanted.source)
        print(imported.summary)
        if wanted.is_dry:
            print("\nnothing is written; without dry_run=true it becomes a run")
            return
        command = shlex.join(["python", "-m", "scaling_exp", "import", *arguments])
        folder = write(wanted, imported, command)
        print(f"\nimported: {folder.path}\n  python -m scaling_exp report {folder.path}")

    # The path does not go through Hydra, which would read quotes, commas and '=' in it.
    files = [each for each in arguments[:1] if FilePath(each).exists() or each[0] != "-"]
    if files:
        compose("import", arguments[1:], "import", task)
    elif arguments in (["-h"], ["--help"]):
        compose("import", ["--help"], "import", task)
    else:
        fail(
            "import wants a file first, e.g. python -m scaling_exp import samples.jsonl; --help teaches it"
        )


MODELS_USAGE = """\
usage: python -m scaling_exp models [TEXT ...] [KEY=VALUE ...] [--json]
       python -m scaling_exp models show NAME
       python -m scaling_exp models check [NAME] CONFIG_JSON_OR_FOLDER

Lists the open models whose names a ladder takes (ladder=qwen2_5 'ladder.names=[Qwen2.5-7B]'). TEXT must be somewhere in
a model's names; the keys are
  family=Qwen2.5            that family and its variants; 'family=Qwen2.5 Math' that variant
  post_training=base        or instruct, reasoning
  is_distilled=true         pruned or distilled from a larger model
  has_tokens=true           D is known, so it can take part in a trade
  has_checkpoints=true      weights along the pre-training were kept
  licence=apache-2.0
  min_parameters=1e9 max_parameters=8e9
  format=csv                or json (--json), with all shapes and sources; default table
show tells every fact of one model with its source. check compares an entry with a config.json line by line, and ends
with 1 when they differ; without NAME it tells what the shapes of any model give.

  python -m scaling_exp models llama post_training=instruct
  python -m scaling_exp models show OLMo-2-0425-1B
  python -m scaling_exp models check Qwen2.5-7B /models/Qwen2.5-7B"""


def models(arguments: list[str]) -> None:
    """List the registry of models, tell one's facts, or check them."""
    if any(each in ("-h", "--help") for each in arguments):
        print(MODELS_USAGE)
        sys.exit(0)
    telling_mistakes(lambda: _models(arguments))


def _models(arguments: list[str]) -> None:
    from scaling_exp.models.checking import check, weigh
    from scaling_exp.models.listing import describe, listing

    match arguments:
        case ["show", name]:
            print(describe(name))
        case ["check", path]:
            print(weigh(path))
        case ["check", name, path]:
            told, is_same = check(name, path)
            print(told)
            sys.exit(0 if is_same else DIFFERENT)
        case ["show" | "check", *_]:
            fail("models show wants a NAME, and models check [NAME] CONFIG_JSON_OR_FOLDER")
        case _:
            print(listing(arguments))


def doctor(arguments: list[str]) -> None:
    """Say what would go wrong."""
    if arguments:
        print("usage: python -m scaling_exp doctor")
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)
    from scaling_exp.doctor import examine

    findings = examine()
    print("\n".join(map(str, findings)))
    sys.exit(1 if any(each.is_fatal and not each.is_good for each in findings) else 0)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "run": run,
    "plan": plan,
    "report": report,
    "compare": compare,
    "import": import_data,
    "pretrain": pretrain,
    "models": models,
    "bench": bench,
    "doctor": doctor,
}


def compose(
    config_name: str, arguments: list[str], verb: str, task: Callable[[DictConfig], None]
) -> None:
    """Let Hydra compose the configuration and call `task` with it, once or (`-m`) once a job."""
    # Errors reach us instead of being printed by Hydra.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from scaling_exp.config import conf_folder, explain, register_resolvers
    from scaling_exp.types import UserError

    register_resolvers(arguments)
    conf = str(conf_folder())
    sys.argv = [f"scaling_exp {verb}", *arguments]

    def checked(node: DictConfig) -> None:
        """`task`, ended here by a mistake: of what leaves it Hydra prints a line of its own."""
        try:
            task(node)
        except UserError as error:
            fail(str(error))
        except OmegaConfBaseException as error:
            fail(explain(error, conf, config_name, arguments))

    try:
        hydra.main(version_base="1.3", config_path=conf, config_name=config_name)(checked)()
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error, conf, config_name, arguments))


def telling_mistakes(work: Callable[[], None]) -> None:
    """Do `work`; a user's mistake ends it with one line."""
    from scaling_exp.types import UserError

    try:
        work()
    except UserError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End with one line: the user's mistake and its remedy."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
