"""Runs as jobs: what travels, what each kind of cluster needs, and a job's life. Scripts play programs of others."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from conftest import ROOT
from loopback import serving

from scaling_exp.__main__ import main
from scaling_exp.schema import ConfigError, of_kind
from scaling_exp.state import State
from scaling_exp.store import RunFolder
from scaling_exp.submission import TARGETS, Job, follow, jobs, stop, submit
from scaling_exp.submission import directory as travel
from scaling_exp.submission.directory import pack, travelling
from scaling_exp.submission.job import Shipment, folder_of, new_id
from scaling_exp.submission.kuberay import KubeRay, rayjob
from scaling_exp.submission.local import Local
from scaling_exp.submission.ray_jobs import EXCLUDE, RayJobs
from scaling_exp.submission.slurm import Slurm
from scaling_exp.types import UserError

SECRET = "planted-5e1f"
SENT = Shipment(
    "quick-1129-0912-3fa2",
    ("+experiment=quickstart", "cluster=ray", "cluster.dashboard=http://h:1", "name=a b"),
    "python -m scaling_exp submit +experiment=quickstart",
    "/shared/runs",
)


@pytest.fixture(autouse=True)
def state_home(tmp_path, monkeypatch):
    """Notes of jobs go here; nothing of the user's is seen or changed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that comes first on PATH, and a way to put a shell script there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return folder / name

    return put


# ---- what travels


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


EVERYTHING = (
    *(
        "mine/code.py",
        "conf/experiment/mine.yaml",
        "mine/data/table.csv",
        "mine/__pycache__/code.pyc",
    ),
    *("runs/r/manifest.json", "outputs/page.html", "data/big.bin", ".venv/bin/python", ".env"),
)
TRAVELS = ["conf/experiment/mine.yaml", "mine/code.py", "mine/data/table.csv"]


def test_code_and_configuration_travel_and_outputs_data_and_environments_do_not(tmp_path):
    root = files(tmp_path / "work", *EVERYTHING)
    assert [str(each) for each in travelling(root, EXCLUDE)] == TRAVELS


def test_in_a_checkout_what_git_ignores_stays_too(tmp_path):
    root = files(tmp_path / "work", *EVERYTHING, "scratch/notes.txt", ".gitignore")
    (root / ".gitignore").write_text("scratch/\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    assert [str(each) for each in travelling(root, EXCLUDE)] == [".gitignore", *TRAVELS]


def test_the_same_files_make_the_same_archive_with_their_modes(tmp_path):
    root = files(tmp_path / "work", *EVERYTHING)
    (root / "mine/code.py").chmod(0o755)
    archives = [tmp_path / name for name in ("a.zip", "b.zip")]
    for archive in archives:
        assert pack(root, EXCLUDE, archive) == 3
        (root / "mine/code.py").touch()
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with ZipFile(archives[0]) as packed:
        assert packed.namelist() == TRAVELS
        assert packed.getinfo("mine/code.py").external_attr >> 16 == 0o755


def test_a_directory_that_is_too_big_is_refused_with_what_is_largest(tmp_path, monkeypatch):
    root = files(tmp_path / "work", "weights/model/w.bin", "mine/code.py")
    (root / "weights/model/w.bin").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(travel, "MAX_MIB", 2)
    with pytest.raises(
        UserError, match=r"is 3 MiB, .* the 2 that travel .*weights/model 3.*cluster.exclude"
    ):
        pack(root, EXCLUDE, tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"working_directory is .*, which is no directory"):
        pack(tmp_path / "nowhere", EXCLUDE, tmp_path / "a.zip")


def test_the_checkout_itself_travels():
    sizes = [(ROOT / each).stat().st_size for each in travelling(ROOT, EXCLUDE)]
    assert Path("scaling_exp/__main__.py") in travelling(ROOT, EXCLUDE)
    assert sum(sizes) < 32 << 20


def test_a_driver_inside_joins_the_cluster_it_is_in():
    assert SENT.elsewhere == ("+experiment=quickstart", "name=a b", "cluster=ray")


def test_names_of_jobs_suit_kubernetes_and_differ():
    names = {new_id("My_Experiment.with a long name indeed") for _ in range(20)}
    assert len(names) == 20
    assert all(len(each) <= 47 and each == each.lower() and "_" not in each for each in names)


# ---- configuration and secrets


def test_every_kind_has_a_configuration_that_is_valid_and_says_all_its_keys():
    for kind, cls in TARGETS.items():
        node = yaml.safe_load((ROOT / "conf" / "cluster" / f"{kind}.yaml").read_text())
        target = of_kind(TARGETS, node, "cluster")
        assert target == cls()
        assert set(node) == {"kind", *asdict(target)}


@pytest.mark.parametrize("kind", ["ray", "kuberay", "slurm"])
def test_a_value_where_a_name_belongs_is_refused_and_not_repeated(kind):
    node = {"kind": kind, "pass_environment": [f"HF_TOKEN={SECRET}"]}
    with pytest.raises(ConfigError, match="not the name of a variable") as refused:
        of_kind(TARGETS, node, "cluster")
    assert SECRET not in str(refused.value)


def test_a_name_that_is_not_set_is_told(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    target = RayJobs(pass_environment=("HF_TOKEN",))
    with pytest.raises(UserError, match="names HF_TOKEN, which is not set here"):
        target.check(SENT)


# ---- this machine


@pytest.fixture
def driver(programs, monkeypatch):
    """Plays Python: says what it was called with, and ends on SIGTERM as a driver does."""
    script = 'echo "called with $@"; trap "echo sealed; exit 130" TERM; echo "$SCALING_EXP_JOB"\n'
    fake = programs("driver", script + 'if [ "$4" = long ]; then sleep 30 & wait $!; fi; exit $5')
    monkeypatch.setattr(sys, "executable", str(fake))


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(("code", "state"), [("0", "succeeded"), ("3", "failed")])
def test_a_run_on_this_machine_is_followed_to_its_end(capsys, code, state):
    job = submit(Local(), {"kind": "local"}, ("short", code), "mine", "runs")
    assert follow(Local(), job.handle) == state
    said = capsys.readouterr().out
    assert f"called with -m scaling_exp run short {code}" in said
    assert job.id in said
    assert follow(Local(), job.handle) == state  # as often as wanted
    assert capsys.readouterr().out == said


@pytest.mark.usefixtures("driver")
def test_a_run_on_this_machine_is_stopped_as_by_ctrl_c(capsys, monkeypatch):
    monkeypatch.setattr(Local, "send", _send_long)
    job = submit(Local(), {"kind": "local"}, ("long", "0"), "mine", "runs")
    assert Local().state(job.handle) == "running"
    assert stop(Local(), job.handle) == "stopped"
    follow(Local(), job.handle)
    assert "sealed" in capsys.readouterr().out


@pytest.mark.usefixtures("driver")
def test_a_job_is_noted_for_its_user_alone_and_found_by_its_name(state_home):
    job = submit(Local(3), {"kind": "local", "num_cpus": 3}, ("short", "0"), "mine", "runs")
    assert Job.read(job.id) == job
    assert jobs() == [job]
    assert (state_home / "scaling-exp" / "jobs" / job.id).stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match=f"no job 'another' .*the latest: {job.id}"):
        Job.read("another")


def test_a_note_that_cannot_be_read_hides_no_other_job(capsys):
    command = (
        "python -m scaling_exp submit 'ladder.sizes=[small,large]' 'cluster.exclude=[/runs,/data]'"
    )
    job = Job.of(replace(SENT, command=command), "7", {"kind": "local"})
    job.write()
    for name, said in (("cut-short", ""), ("of-another-version", '{"id": "it"}')):
        (folder_of(name)).mkdir()
        (folder_of(name) / "job.json").write_text(said)
    assert [each.id for each in jobs()] == [job.id]
    with pytest.raises(
        UserError, match=r"cut-short/job\.json cannot be read .*move its folder away"
    ):
        Job.read("cut-short")
    with pytest.raises(SystemExit):
        main(["stop"])
    told = " ".join(capsys.readouterr().out.split())
    assert "[small,large]" in told
    assert "[/runs,/data]" in told


# ---- Slurm


def test_slurm_gets_the_script_the_options_and_names_of_variables(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    shutil.copy(ROOT / "cluster" / "slurm.sbatch", tmp_path)
    programs("sbatch", 'printf "%s\\n" "$@" > asked; env > environment; echo "41;cluster"')
    programs("squeue", "cat queue 2>/dev/null")
    programs("scancel", 'echo "$@" > cancelled')
    target = Slurm("slurm.sbatch", {"partition": "gpu"}, ("HF_TOKEN",))
    target.check(SENT)
    handle = target.send(SENT)
    assert handle == f"41:{tmp_path}/slurm-41.log"
    asked = (tmp_path / "asked").read_text().splitlines()
    export = next(each for each in asked if each.startswith("--export=")).split("=")[1].split(",")
    assert "HF_TOKEN" in export
    assert "SCALING_EXP_JOB" in export
    assert SECRET not in "\n".join(asked)
    assert f"HF_TOKEN={SECRET}" in (tmp_path / "environment").read_text()
    assert asked[-4:] == ["--partition=gpu", "slurm.sbatch", "+experiment=quickstart", "name=a b"]

    told = {
        **dict.fromkeys(("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"), "waiting"),
        **dict.fromkeys(("RUNNING", "COMPLETING", "SIGNALING", "STOPPED"), "running"),
        "TIMEOUT": "failed",
    }
    for word, state in told.items():
        (tmp_path / "queue").write_text(f"{word}\n")
        assert target.state(handle) == state
    (tmp_path / "queue").write_text("COMPLETED\n")
    (tmp_path / "slurm-41.log").write_text("drawing\n")
    written = []
    target.follow(handle, written.append)
    assert "".join(written) == "drawing\n"
    (tmp_path / "queue").unlink()
    assert target.state(handle) == "unknown"  # neither queue nor accounts know it
    monkeypatch.setattr("scaling_exp.submission.STOP_SECONDS", 0.0)
    assert stop(target, handle) == "unknown"
    assert (tmp_path / "cancelled").read_text() == "41\n"


@pytest.mark.parametrize(
    ("word", "state"),
    [("COMPLETED", "succeeded"), ("CANCELLED by 1000", "stopped"), ("OUT_OF_MEMORY", "failed")],
)
def test_how_a_job_ended_that_the_queue_forgot_is_in_the_accounts(programs, word, state):
    programs("squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    # As sacct does: ten characters where no width is given.
    cut = f"{word[:9]}+" if len(word) > 10 else word
    programs("sacct", f'case "$*" in *State%32*) echo "{word}";; *) echo "{cut}";; esac')
    assert Slurm().state("41:/nowhere") == state


def test_what_slurm_refuses_is_one_line(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    programs("sbatch", 'echo "sbatch: error: invalid partition" >&2; exit 1')
    with pytest.raises(UserError, match=r"sbatch .* failed: sbatch: error: invalid partition"):
        Slurm().send(SENT)


# ---- Kubernetes


@pytest.fixture
def manifest(tmp_path):
    filled = (ROOT / "cluster" / "kuberay-rayjob.yaml").read_text().replace("REGISTRY/", "here/")
    (tmp_path / "rayjob.yaml").write_text(filled)
    return tmp_path / "rayjob.yaml"


KUBECTL = """
case "$*" in
  *"get crd"*) echo customresourcedefinition/rayjobs.ray.io ;;
  *create*) cat > "$DIR/created"; echo rayjob.ray.io/quick-1129-0912-3fa2 ;;
  *"get rayjob"*) cat "$DIR/status" ;;
  *logs*) echo "drawing" ;;
  *delete*) echo "$*" > "$DIR/deleted" ;;
esac
"""


def test_a_rayjob_is_the_manifest_with_the_run_in_it(programs, manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("DIR", str(tmp_path))
    programs("kubectl", KUBECTL)
    target = KubeRay(manifest=str(manifest), namespace="ours", pass_environment=("HF_TOKEN",))
    target.check(SENT)
    assert target.send(SENT) == SENT.id
    created = json.loads((tmp_path / "created").read_text())
    written = yaml.safe_load(manifest.read_text())
    assert (
        created["spec"]
        .pop("entrypoint")
        .endswith("python3 -m scaling_exp run +experiment=quickstart 'name=a b' cluster=ray")
    )
    written["spec"].pop("entrypoint")
    assert created["spec"] == written["spec"]
    assert created["metadata"] == {"name": SENT.id}

    for told, state in (
        ("", "stopped"),
        ("/Initializing", "waiting"),
        ("RUNNING/Running", "running"),
        ("RUNNING/Failed", "failed"),
        ("SUCCEEDED/Complete", "succeeded"),
    ):
        (tmp_path / "status").write_text(told)
        assert target.state(SENT.id) == state
    lines = []
    target.follow(SENT.id, lines.append)
    assert lines == ["drawing\n"]
    target.stop(SENT.id)
    assert f"--namespace=ours delete rayjob {SENT.id}" in (tmp_path / "deleted").read_text()


def test_a_rayjob_of_ours_is_valid_by_the_schema_of_kuberay(manifest):
    from kuberay_schema import validate  # the strict schema that the manifests are checked by

    validate(rayjob(yaml.safe_load(manifest.read_text()), SENT, "python3"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"manifest": "nowhere.yaml"}, "cluster.manifest is nowhere.yaml, which is not here"),
        ({"working_directory": "."}, "none travels with a RayJob"),
        ({"pass_environment": ["MY_KEY"]}, "MY_KEY, of which .* has no env entry: add"),
        ({"manifest": str(ROOT / "cluster" / "kuberay-rayjob.yaml")}, "what is marked EDIT"),
        ({"manifest": str(ROOT / "cluster" / "kuberay-shared.yaml")}, "kuberay-shared.yaml"),
        ({"dashboard": "http://127.0.0.1:1"}, "no Ray answers there"),
    ],
)
def test_what_a_rayjob_lacks_is_one_line(programs, manifest, settings, complaint):
    programs("kubectl", KUBECTL)
    node = {"kind": "kuberay", "manifest": str(manifest), **settings}
    with pytest.raises(UserError, match=complaint):
        of_kind(TARGETS, node, "cluster").check(SENT)


@pytest.mark.parametrize(
    "text", ["", "---", "- a list", "kind: RayJob", "kind: [", "kind: Pod\n---\nkind: RayJob"]
)
def test_what_is_no_rayjob_is_one_line(programs, tmp_path, text):
    programs("kubectl", KUBECTL)
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(UserError, match=r"it\.yaml, which is not one RayJob"):
        KubeRay(manifest=str(tmp_path / "it.yaml")).check(SENT)


# ---- Ray


@pytest.mark.parametrize(
    ("status", "complaint"), [(404, "answers 404 that is no Ray"), (401, "wants its token: export")]
)
def test_what_is_wrong_with_a_dashboard_is_one_line(status, complaint):
    with serving(lambda *_: (status, {}, b"")) as url, pytest.raises(UserError, match=complaint):
        RayJobs(dashboard=url).check(SENT)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["cluster=ray"], "store is runs, inside of the copy"),
        (["cluster=ray", "store=/tmp/x", "cluster.dashboard=http://127.0.0.1:1"], "no Ray answers"),
        (["cluster=ray", "store=/tmp/x", "cluster.dashboard=head:8265"], "'head:8265'; give"),
        (["cluster=slurm", "+cluster.options.p=gpu"], "'p'; give sbatch's long options"),
        (["cluster=slurm"], "sbatch is not on PATH"),
        (["cluster=kuberay"], "kubectl is not on PATH"),
        (["cluster=slum"], "did you mean slurm?"),
        (["max_token=3"], "did you mean max_tokens?"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_sent(
    arguments, complaint, tmp_path, monkeypatch, capfd, state_home
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["submit", "+experiment=quickstart", *arguments])
    assert ended.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert complaint in line
    assert not state_home.exists()


@pytest.mark.usefixtures("driver")
def test_the_verbs_of_a_job(capsys, monkeypatch, tmp_path):
    """Sent by the command line, detached; then its state, its end and its log by its name."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(Local, "send", _send_long)
    main(["submit", "--detach", "+experiment=quickstart"])
    out, err = capsys.readouterr()
    name = out.removeprefix("job: ").strip()
    assert f"python -m scaling_exp logs {name}" in err
    main(["status", name])
    assert f"{name}: running" in capsys.readouterr().out
    # The run that the job drives stands for it, and one that is no job is told where it is driven.
    state = State("jobs-1", "drawing", "the command", "here", 1, 0.0, 0.0, job=name)
    (tmp_path / "jobs-1").mkdir()
    state.write(RunFolder(tmp_path / "jobs-1"))
    main(["stop", str(tmp_path / "jobs-1")])
    assert f"{name}: stopped" in capsys.readouterr().out
    replace(state, job="").write(RunFolder(tmp_path / "jobs-1"))
    with pytest.raises(SystemExit):
        main(["logs", str(tmp_path / "jobs-1")])
    assert "was not submitted, so it is no job: process 1 on here" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["logs", name])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert "sealed" in out
    assert f"{name}: stopped" in err


@pytest.mark.usefixtures("driver")
def test_a_sweep_is_one_job(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", sys.argv)
    store = f"store={tmp_path}/not/made/here"
    main(["submit", "--detach", "+experiment=quickstart", "-m", "seed=0,1", store])
    (job,) = jobs()
    assert job.id in capsys.readouterr().out
    follow(Local(), job.handle)
    said = capsys.readouterr().out
    assert f"run +experiment=quickstart -m seed=0,1 {store}" in said
    assert not (tmp_path / "not").exists()


SEND = Local.send


def _send_long(target, shipment):
    """A run that works until it is stopped, when it has come so far that it can be."""
    handle = SEND(target, Shipment(shipment.id, ("long", "0"), shipment.command, shipment.store))
    log = folder_of(handle) / "log"
    while len(log.read_text().splitlines()) < 2:
        time.sleep(0.01)
    return handle
