"""The command line: `python -m scaling_exp VERB [Hydra overrides]`, also installed as `scaling-exp`.

A user's mistake is one line on stderr and exit code 2; a fault of ours keeps its trace. Nothing heavy is imported
before the verb is known.
"""

from __future__ import annotations

import os
import select
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console, RenderableType

    from scaling_exp.analysis import Analysis
    from scaling_exp.dispatch import SetAside
    from scaling_exp.store import RunFolder
    from scaling_exp.submission import Target

USAGE = """\
scaling_exp: is the next unit of compute better spent on pre-training or on inference?

  python -m scaling_exp VERB [Hydra overrides]

  run       draw what an experiment still misses, analyse it, write the report, print the verdict
              python -m scaling_exp run +experiment=quickstart
  plan      what a run would draw and cost, before it starts
              python -m scaling_exp plan +experiment=quickstart strategies.sampling.num_samples=256
  submit    send a run to a cluster, or detach it from this terminal, and follow its log
              python -m scaling_exp submit +experiment=quickstart cluster=ray cluster.dashboard=http://127.0.0.1:8265
  status    how runs are: models, replicas, speed, what is left and what is spent; from the store alone
              python -m scaling_exp status runs/quickstart-1a2b3c4d watch=5
  logs      follow the log of what was submitted;  stop  end it, to be gone on with later
              python -m scaling_exp logs quickstart-1129-0912-3fa2
  report    analyse and draw a finished run again; needs neither engine nor Ray
              python -m scaling_exp report runs/quickstart-1a2b3c4d [analysis.confidence=0.9 ...]
              python -m scaling_exp report runs/quickstart-1a2b3c4d --regrade [task.grader.seconds=20 ...]
  compare   put runs side by side: curves, paired differences, what was configured differently
              python -m scaling_exp compare runs/quickstart-1a2b3c4d runs/deeper-5e6f7a8b
  dashboard save a workspace and a report of a run in W&B
              python -m scaling_exp dashboard runs/quickstart-1a2b3c4d
  import    bring in data that others made, as a run to report
              python -m scaling_exp import samples.jsonl dry_run=true
  pretrain  train a ladder of small models from scratch, or a scorer from what one draws
              python -m scaling_exp pretrain +ladder=arithmetic
  models    open models that a ladder can name: facts with their sources, training FLOPs, checkpoints
              python -m scaling_exp models family=Qwen2.5 max_parameters=8e9
  bench     measure a part of the program on this machine: engine, schedule, dispatch, store, ...
              python -m scaling_exp bench engine
  doctor    what is installed, what the machine offers, what would go wrong
  completion  what makes a shell complete verbs and overrides: eval "$(scaling-exp completion bash)"

  VERB --help teaches the verb; --cfg job shows a configuration; -m runs a sweep; --config-dir DIR adds your own."""

INCOMPLETE = 1
DIFFERENT = 1
MISTAKE = 2
LIMITED = 3
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
    try:
        VERBS[verb](rest)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_has_left() -> bool:
    """Whether nobody reads what is printed any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def run(arguments: list[str]) -> None:
    """Draw, analyse, report."""

    def task(node: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from scaling_exp.config import experiment_from
        from scaling_exp.experiment import run as run_experiment
        from scaling_exp.spending import LimitReached
        from scaling_exp.watchdog import end_as_interrupted

        end_as_interrupted()
        experiment = experiment_from(node)
        # Of a job, that which sent it is what goes on with it.
        command = os.environ.get("SCALING_EXP_COMMAND") or shlex.join(
            ["python", "-m", "scaling_exp", "run", *arguments]
        )
        is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        leave = None if is_sweep else experiment.cluster.leave  # a sweep's jobs share one Ray
        try:
            finished = run_experiment(experiment, command, leave)
        except KeyboardInterrupt:
            print(
                f"\ninterrupted; every finished draw is kept. Go on with the same command:\n  {command}",
                file=sys.stderr,
            )
            sys.exit(INTERRUPTED)
        except LimitReached as reached:
            print(
                f"\n{reached}.\nGo on with a higher limit:\n  {raised(command, reached.key)}",
                file=sys.stderr,
            )
            sys.exit(LIMITED)
        told = where(experiment.folder, finished.page)
        print("\n".join([*said(finished.analysis), "", *told]))
        if finished.set_aside:
            print(f"\n{_without(finished.set_aside)}\n  {command}", file=sys.stderr)
            sys.exit(INCOMPLETE)

    compose("config", arguments, "run", task)


def where(folder: RunFolder, page: FilePath) -> list[str]:
    """Lines that tell where a report is: on this machine, and in the store if that is elsewhere."""
    places = dict.fromkeys([str(page), folder.url(page)])
    return [f"{head:<8}{place}" for head, place in zip(("report:", ""), places, strict=False)]


def raised(command: str, key: str) -> str:
    """The command with a limit left to fill in."""
    kept = [each for each in shlex.split(command) if not each.startswith(f"{key}=")]
    return f"{shlex.join(kept)} {key}=..."


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


SUBMIT_USAGE = """\
usage: python -m scaling_exp submit [--detach] +experiment=NAME [cluster=NAME] [Hydra overrides as of run]

Checks the configuration and what the cluster needs, sends the run there and follows its log. Ctrl-C lets go of it: the
run goes on, and `logs` follows it again. --detach does not follow at all. Sent again it goes on where it stopped.
  cluster=local    a process of its own on this machine, which outlives this terminal
  cluster=ray      a Ray cluster that is running: cluster.dashboard=http://HOST:8265
  cluster=kuberay  a RayJob made by kubectl of cluster.manifest; with cluster.dashboard a RayCluster that stays
  cluster=slurm    sbatch of cluster/slurm.sbatch: +cluster.options.partition=gpu +cluster.options.nodes=2
The working directory travels to a Ray cluster, without what git ignores and cluster.exclude names. Secrets travel by
name: cluster.pass_environment=[HF_TOKEN,WANDB_API_KEY]; cluster/README.md says who keeps their values.

  python -m scaling_exp submit +experiment=quickstart
  python -m scaling_exp submit +experiment=quickstart engine=vllm_gpu cluster=ray store=/workspace/runs"""


def submit(arguments: list[str]) -> None:
    """Send a run somewhere, and follow it."""
    if any(each in ("-h", "--help") for each in arguments):
        print(SUBMIT_USAGE)
        sys.exit(0)
    from tempfile import TemporaryDirectory

    from scaling_exp.config import Destination, destination_from

    sent = [each for each in arguments if each != "--detach"]
    found: list[Destination] = []
    with TemporaryDirectory() as scratch:  # where Hydra would note a sweep; the job notes its own
        is_sweep = any(each in ("-m", "--multirun") for each in sent)
        overrides = [*sent, *([f"hydra.sweep.dir={scratch}"] if is_sweep else [])]
        compose("config", overrides, "submit", lambda node: found.append(destination_from(node)))

    def work() -> None:
        from scaling_exp.submission import submit as send

        destination = found[0]
        job = send(
            destination.target,
            destination.cluster,
            tuple(sent),
            destination.name,
            destination.store,
        )
        print(f"job: {job.id}", flush=True)
        if "--detach" in arguments:
            print(_handles(job.id), file=sys.stderr)
        else:
            _follow(job.id, destination.target, job.handle)

    if found:
        telling_mistakes(work)


JOB_USAGE = {
    "logs": "Follows the log of a job, from its beginning to its end; Ctrl-C lets go of it and the job goes on.",
    "stop": "Ends a job as Ctrl-C would. What was drawn is kept; its command sent again goes on.",
}


def logs(arguments: list[str]) -> None:
    """Follow a job again."""

    def work() -> None:
        id_, target, handle = _job("logs", arguments)
        _follow(id_, target, handle)

    telling_mistakes(work)


def stop(arguments: list[str]) -> None:
    """End a job."""

    def work() -> None:
        from scaling_exp.submission import stop as end

        id_, target, handle = _job("stop", arguments)
        print(f"{id_}: {end(target, handle)}")

    telling_mistakes(work)


def _job(verb: str, arguments: list[str]) -> tuple[str, Target, str]:
    """The job that arguments name, where it was sent, and what it is called there."""
    from scaling_exp.status import job_of, of_jobs
    from scaling_exp.store import Store
    from scaling_exp.submission import TARGETS, Job, jobs, target_of

    names = [each for each in arguments if "=" not in each]
    if len(names) != 1 or names[0].startswith("-"):
        print(f"usage: python -m scaling_exp {verb} JOB | RUN [cluster=...]\n\n{JOB_USAGE[verb]}")
        print(
            "Of what was sent from another machine say where: cluster=ray cluster.dashboard=...\n"
        )
        _show(of_jobs(jobs()[:10]))
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)
    overrides = [each for each in arguments if "=" in each]
    name = job_of(names[0], Store.at("runs"))
    if overrides:
        from scaling_exp.config import cluster_from
        from scaling_exp.schema import of_kind

        return name, of_kind(TARGETS, cluster_from(overrides), "cluster"), name
    job = Job.read(name)
    return job.id, target_of(job), job.handle


def _follow(id_: str, target: Target, handle: str) -> None:
    """Follow a job to its end, and end as it did; or until Ctrl-C."""
    from scaling_exp.submission import follow
    from scaling_exp.types import UserError

    try:
        state = follow(target, handle)
    except KeyboardInterrupt:
        print(f"\nlet go of {id_}, which goes on. {_handles(id_)}", file=sys.stderr)
        sys.exit(0)
    except UserError as error:
        fail(f"{error}; if the job is there it goes on: python -m scaling_exp logs {id_}")
    print(f"{id_}: {state}", file=sys.stderr)
    sys.exit(0 if state == "succeeded" else INCOMPLETE)


def _handles(id_: str) -> str:
    verbs = (("follow it", "logs"), ("see how it is", "status"), ("end it", "stop"))
    lines = (f"  python -m scaling_exp {verb} {id_}" for _, verb in verbs)
    return "Follow it, see how it is, end it:\n" + "\n".join(lines)


STATUS_USAGE = """\
usage: python -m scaling_exp status [RUN | STORE | JOB] [store=FOLDER] [watch=SECONDS]

How runs are, told from the store alone: from any machine that sees it, while they work and after. Without a name all
runs of the store (store=runs if not given); with one, that run in full: models, replicas, tokens a second, occupancy,
faults, what is left (ETA, at most), and what all its sessions spent in FLOPs, dollars and time, beside its limits.
A run whose driver is gone is told as interrupted, with the command that goes on. A job is what `submit` printed.
watch=5 looks again every five seconds, until Ctrl-C or the end. Dollars want a price: analysis.pricing.

  python -m scaling_exp status
  python -m scaling_exp status runs/quickstart-1a2b3c4d watch=5
  python -m scaling_exp status quickstart-1129-0912-3fa2"""


def status(arguments: list[str]) -> None:
    """Say how runs are."""
    names = [each for each in arguments if "=" not in each]
    options = dict(each.split("=", 1) for each in arguments if "=" in each)
    if len(names) > 1 or names[:1] in (["-h"], ["--help"]) or options.keys() - {"store", "watch"}:
        print(STATUS_USAGE)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)
    telling_mistakes(lambda: _status("".join(names), options))


def _status(name: str, options: Mapping[str, str]) -> None:
    from rich.live import Live

    from scaling_exp.status import look, seconds_of
    from scaling_exp.store import Store

    store = Store.at(options.get("store", "runs"))
    shown, may_change = look(name, store)
    if "watch" not in options:
        _show(shown)
        return
    seconds = seconds_of(options["watch"])
    try:
        with Live(shown, console=_console(), auto_refresh=False) as live:
            while may_change:
                time.sleep(seconds)
                shown, may_change = look(name, store)
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        sys.exit(0)


def _show(shown: RenderableType) -> None:
    _console().print(shown)


def _console() -> Console:
    """Of what it shows nothing is markup: commands and names of models may hold brackets."""
    from rich.console import Console

    # A pipe has no width to fit into.
    return Console(width=None if sys.stdout.isatty() else 160, markup=False)


def pretrain(arguments: list[str]) -> None:
    """Train a ladder, or a scorer of one."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import pretraining_from
        from scaling_exp.experiment import pretrain as pretrain_ladder

        if "scorer" in node:
            _pretrain_scorer(node)
            return
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


def _pretrain_scorer(node: DictConfig) -> None:
    from scaling_exp.config import scorer_pretraining_from
    from scaling_exp.experiment import pretrain_scorer

    pretraining = scorer_pretraining_from(node)
    print(f"training a scorer; recipe {pretraining.recipe.hash}", file=sys.stderr)
    scorer = pretrain_scorer(pretraining)
    print("\n".join([*scorer.lines(), f"scorer: {pretraining.output}"]))


def bench(arguments: list[str]) -> None:
    """Measure a part of the program."""

    def task(node: DictConfig) -> None:
        from scaling_exp.config import bench_from

        benchmark = bench_from(node)
        command = shlex.join(["python", "-m", "scaling_exp", "bench", *arguments])
        result = benchmark.bench.run(benchmark.setup)
        print("\n".join([result.table(), hardware_line()]))
        with writing(benchmark.output):
            result.write_json(benchmark.output, command, benchmark.settings)
        print(f"json: {benchmark.output}")

    from scaling_exp.bench.result import hardware_line
    from scaling_exp.store.files import writing

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

        folder = RunFolder.at(arguments[0])
        with folder.sending():
            analysis, page = redraw(folder, changed)
            here, *elsewhere = where(folder, page)
            print("\n".join([*said(analysis), "", here]), flush=True)
        print("".join(elsewhere), end="\n" if elsewhere else "")

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
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from scaling_exp.regrade import regrade, task_config_of
    from scaling_exp.store import RunFolder
    from scaling_exp.types import UserError

    folder = RunFolder.at(arguments[0]) if arguments else None
    if folder is None or not folder.path.is_dir():
        raise UserError("report wants a run's folder first, before --regrade")
    try:
        changed = OmegaConf.from_dotlist(changes)
        task = OmegaConf.merge({"task": dict(task_config_of(folder))}, changed)
        config = OmegaConf.to_container(task)
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"cannot read {' '.join(changes)}: {error}; quote a text that is no plain word: task.KEY='\"TEXT\"'"
        ) from None
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
    folders = [each for each in arguments if not each.startswith("output=")]
    if len(folders) < 2 or any(each.startswith("-") for each in folders):
        print(COMPARE_USAGE)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)

    def work() -> None:
        from hashlib import sha256

        from scaling_exp.report.comparison import compare_runs
        from scaling_exp.store import RunFolder

        runs = [RunFolder.at(each) for each in folders]
        names = " ".join(sorted(str(each.path.resolve()) for each in runs))
        output = (
            outputs[-1] if outputs else f"outputs/compare-{sha256(names.encode()).hexdigest()[:8]}"
        )
        comparison, page = compare_runs(runs, FilePath(output))
        print("\n".join([*comparison.sentences, "", f"report: {page}"]))

    telling_mistakes(work)


DASHBOARD_USAGE = """\
usage: python -m scaling_exp dashboard RUN_DIR [output=FILE] [entity=NAME] [project=NAME]

Saves a workspace and a report in W&B: accuracy against every cost per model and strategy, frontier, exchange rate,
engines. Send the run first (tracking=online, or wandb sync RUN_DIR/wandb/offline-run-*). The project is the one that
the run was tracked in, the entity that of the login. With output= both go to a file as JSON, without W&B."""


def dashboard(arguments: list[str]) -> None:
    """Save a dashboard of a run in W&B."""
    folders = [each for each in arguments if "=" not in each]
    options = dict(each.split("=", 1) for each in arguments if "=" in each)
    if len(folders) != 1 or folders[0].startswith("-") or options.keys() - DASHBOARD_OPTIONS:
        print(DASHBOARD_USAGE)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)

    def work() -> None:
        from scaling_exp.report import analysed
        from scaling_exp.store import RunFolder
        from scaling_exp.store.files import writing
        from scaling_exp.tracking.cards import Cards
        from scaling_exp.tracking.dashboard import Place, Shown, save, spec

        folder = RunFolder.at(folders[0])
        analysis, manifest = analysed(folder)
        place = Place.of(folder, manifest["config"], options)
        shown = Shown(Cards(folder, analysis, manifest["config"]).all())
        if "output" in options:
            file = FilePath(options["output"])
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(spec(shown, place))
            print(f"dashboard: {options['output']}")
        else:
            print("\n".join(f"{name}: {url}" for name, url in save(shown, place, folder).items()))

    telling_mistakes(work)


DASHBOARD_OPTIONS = {"output", "entity", "project"}


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
        print(
            f"\nimported: {folder.path}\n  python -m scaling_exp report {folder.url(folder.path)}"
        )

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


def completion(arguments: list[str]) -> None:
    """What a shell completes from: the script for it, and at every Tab what could follow."""
    from scaling_exp.completion import SHELLS, USAGE, candidates

    match arguments:
        case ["query", line]:
            print("\n".join(candidates(line, VERBS)))
        case [shell] if shell in SHELLS:
            print(SHELLS[shell], end="")
        case _:
            print(USAGE)
            sys.exit(0 if arguments in (["-h"], ["--help"]) else MISTAKE)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "run": run,
    "plan": plan,
    "submit": submit,
    "status": status,
    "logs": logs,
    "stop": stop,
    "report": report,
    "compare": compare,
    "dashboard": dashboard,
    "import": import_data,
    "pretrain": pretrain,
    "models": models,
    "bench": bench,
    "doctor": doctor,
    "completion": completion,
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

    from scaling_exp.config import MULTIRUN, conf_folder, explain, register_resolvers
    from scaling_exp.types import UserError

    register_resolvers(arguments)
    conf = str(conf_folder())
    # Hydra takes no overrides on both sides of a flag.
    sys.argv = [f"scaling_exp {verb}", *sorted(arguments, key=lambda each: each not in MULTIRUN)]

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
