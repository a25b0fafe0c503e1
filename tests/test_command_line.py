"""The command line: a user's mistake is one line, soon, and names what would be right."""

import json
import subprocess
import sys
import time

import pytest
import ray
from conftest import ROOT

from scaling_exp import doctor
from scaling_exp.__main__ import VERBS, main
from scaling_exp.doctor import Finding

QUICK = "+experiment=quickstart"
SECONDS = 20
"""Most that a mistake may take on a busy machine; alone it takes 4."""

MISTAKES = {
    "verb": (["rum", QUICK], ["'rum'", "did you mean run?"]),
    "no experiment": (["run"], ["must be given", "+experiment=quickstart"]),
    "experiment": (["run", "+experiment=quickstrat"], ["'quickstrat'", "quickstart"]),
    "key": (["run", QUICK, "max_token=20"], ["'max_token'", "did you mean max_tokens?"]),
    "deep key": (
        ["run", QUICK, "strategies.sampling.num_sample=8"],
        ["num_sample", "did you mean", "num_samples?"],
    ),
    "added key": (
        ["run", QUICK, "+strategies.sampling.num_sample=8"],
        ["'num_sample'", "did you mean num_samples?"],
    ),
    "sampling key": (
        ["run", QUICK, "+strategies.sampling.sampling.temprature=0.5"],
        ["strategies.sampling.sampling.temprature"],
    ),
    "group option": (["run", QUICK, "engine=vlm_cpu"], ["engine", "vllm_cpu"]),
    "group": (["run", QUICK, "trackin=offline"], ["'trackin'", "did you mean tracking?"]),
    "type": (["run", QUICK, "engine.max_num_seqs=many"], ["engine.max_num_seqs", "'many'"]),
    "deep type": (
        ["run", QUICK, "strategies.sampling.sampling.temperature=hot"],
        ["strategies.sampling", "temperature", "'hot'"],
    ),
    "kind": (
        ["run", QUICK, "strategies.greedy.kind=greddy"],
        ["strategies.greedy.kind", "greedy?"],
    ),
    "seed": (["run", QUICK, "seed=one"], ["seed", "'one'", "whole number"]),
    "name": (["run", QUICK, "name=a/b"], ["name", "'a/b'"]),
    "all samples the same": (
        [
            "run",
            QUICK,
            "strategies.sampling.num_samples=2",
            "strategies.sampling.sampling.temperature=0",
        ],
        ["strategies.sampling", "num_samples is 2", "temperature 0"],
    ),
    "no budget": (
        ["run", QUICK, "+strategies.sampling.budgets={num_samples: []}"],
        ["strategies.sampling.budgets.num_samples is []", "list of different values"],
    ),
    "budget groups": (
        ["run", QUICK, "+strategies.sampling.budgets={sampling: [{a: 1}, {a: 1}]}"],
        ["strategies.sampling.budgets.sampling is", "list of different values"],
    ),
    "unknown budget": (
        ["run", QUICK, "+strategies.sampling.budgets={width: [2, 4]}"],
        ["strategies.sampling_2", "no 'width'"],
    ),
    "two of one name": (
        [
            *("run", QUICK, "+strategies.sampling.budgets={num_samples: [2, 4]}"),
            "+strategies.sampling_4=${strategies.greedy}",
        ],
        ["strategies.sampling_4 is there twice", "rename one"],
    ),
    "strategy": (["run", QUICK, "strategies.sampling=5"], ["strategies.sampling.kind is missing"]),
    "too long": (["run", QUICK, "max_tokens=100000"], ["max_tokens", "100000"]),
    "no end of thinking": (
        ["run", QUICK, "+strategies.sampling.sampling.max_thinking_tokens=9"],
        ["sampling.max_thinking_tokens is 9", "model 4K has no token", "leave it null"],
    ),
    "ladder": (["run", QUICK, "ladder.path=nowhere"], ["nowhere"]),
    "override": (["run", QUICK, "seed=[1"], ["seed=[1"]),
    "report": (["report", "nowhere/quickstart-0"], ["nowhere/quickstart-0", "manifest.json"]),
    "pretrain": (["pretrain"], ["ladder is missing", "+ladder=arithmetic"]),
}


AS_A_PROCESS = ("verb", "key", "group option", "all samples the same", "too long", "report")


def assert_mends(stdout, stderr, expected):
    """Nothing but one line on stderr, which names what is wrong and what would be right."""
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in expected), line


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_what_is_right(name, tmp_path, monkeypatch, capfd):
    """In this process, which shows that neither Ray nor anything else was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    arguments, expected = MISTAKES[name]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert_mends(*capfd.readouterr(), expected)
    assert not ray.is_initialized()
    assert not list(tmp_path.glob("runs/*/draws"))


@pytest.mark.parametrize("name", AS_A_PROCESS)
def test_a_mistake_is_told_within_seconds(command_line, tmp_path, name):
    arguments, expected = MISTAKES[name]
    store = [f"store={tmp_path}/runs"] if arguments[0] == "run" else []
    started = time.perf_counter()
    done = command_line(*arguments, *store, timeout=3 * SECONDS)
    seconds = time.perf_counter() - started
    assert done.returncode == 2, done.stderr
    assert_mends(done.stdout, done.stderr, expected)
    assert seconds < SECONDS


@pytest.mark.parametrize(
    "arguments", [["--help"], *([verb, "--help"] for verb in ("run", "pretrain", "report"))]
)
def test_help_teaches_by_example(in_process, arguments):
    done = in_process(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "python -m scaling_exp" in done.stdout
    named = VERBS if arguments == ["--help"] else arguments[:1]
    assert all(verb in done.stdout for verb in named)


def test_no_verb_is_a_mistake_that_shows_all_verbs(command_line):
    done = command_line()
    assert done.returncode == 2
    assert all(verb in done.stdout + done.stderr for verb in VERBS)


def test_ctrl_c_ends_a_verb_with_a_word(monkeypatch, capsys):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "models", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["models"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_whoever_reads_may_leave(tmp_path):
    """As `| head` does: that is no fault."""
    command = [sys.executable, "-m", "scaling_exp", "models"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as models:
        models.stdout.close()
        assert models.stderr.read() == b""
    assert models.returncode == 0


def test_version(command_line):
    from scaling_exp import __version__

    assert command_line("--version").stdout == f"{__version__}\n"


def test_cfg_job_shows_the_configuration_and_runs_nothing(command_line, tmp_path):
    done = command_line("run", QUICK, "seed=7", f"store={tmp_path}/runs", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "seed: 7\n" in done.stdout
    assert "num_samples: 64" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_plan_says_what_a_run_would_draw_and_starts_nothing(command_line, two_smallest, tmp_path):
    done = command_line(
        "plan",
        QUICK,
        f"ladder.path={two_smallest}",
        f"store={tmp_path}/runs",
        "task.num_problems=6",
        "strategies.sampling.num_samples=8",
        "strategies.adaptive.num_samples=8",
    )
    assert done.returncode == 0, done.stderr
    assert f"{2 * 6 * (8 + 1)} " in done.stdout
    assert not list(tmp_path.glob("runs/*/draws"))


# Calls the verb in-process on a run that is not there, and prints what was imported on the way.
REPORT = """
import json, sys
from scaling_exp.__main__ import main
try:
    main(["report", sys.argv[1]])
except SystemExit:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_report_imports_neither_engine_nor_cluster_nor_configuration(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = json.loads(done.stdout)
    assert "scaling_exp" in imported
    assert {"vllm", "torch", "transformers", "ray", "hydra", "omegaconf", "wandb"}.isdisjoint(
        imported
    )


@pytest.mark.parametrize(
    ("worst", "code"),
    [
        (Finding("conf", "is there", True, True), 0),
        (Finding("memory", "is small", False), 0),
        (Finding("vllm", "is not installed", False, True), 1),
    ],
)
def test_doctor_fails_only_where_a_run_would(monkeypatch, capsys, worst, code):
    findings = [Finding("versions", "are these"), worst]
    monkeypatch.setattr("scaling_exp.doctor.examine", lambda: findings)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == code
    assert capsys.readouterr().out.splitlines() == [str(each) for each in findings]


def test_doctor_misses_the_library_that_small_images_lack(monkeypatch):
    assert list(doctor._libraries()) == []
    monkeypatch.setattr(doctor, "LIBNUMA", "libnowhere.so.1")
    (finding,) = doctor._libraries()
    assert str(finding).startswith("FAIL  libnowhere.so.1")
    assert "apt-get install libnuma1" in finding.detail
