"""`submit` against a real Ray head with its dashboard: sent, let go of, followed again, stopped and gone on with.

Draws come from a chat server in this process, which answers the same to the same question and seed.
"""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import psutil
import pytest
from aiohttp import web
from conftest import ENVIRONMENT, ROOT
from hydra import compose, initialize_config_dir
from test_experiment import InProcess, keys

from scaling_exp.config import conf_folder, experiment_from, register_resolvers
from scaling_exp.experiment import run
from scaling_exp.state import State
from scaling_exp.status import Seen
from scaling_exp.store import RunFolder
from scaling_exp.submission import Job, target_of

pytestmark = pytest.mark.slow

SECRET = "planted-91ce"
NUM_PROBLEMS, NUM_SAMPLES = 30, 8
NUM_DRAWS = 2 * NUM_PROBLEMS * NUM_SAMPLES


class Chats:
    """Answers after `seconds`."""

    def __init__(self):
        self.seconds = 0.0
        self.started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self.started.wait()

    async def _serve(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self.started.set()
        await asyncio.Event().wait()

    async def _list(self, _request):
        return web.json_response({"data": [{"id": "any"}]})

    async def _complete(self, request):
        body = await request.json()
        await asyncio.sleep(self.seconds)
        seed = body["seed"] if body.get("temperature") else 0
        drawn = Random(f"{body['messages']} {body['model']} {seed}").randrange(4)
        answer = {"message": {"role": "assistant", "content": f"It is {drawn}."}}
        return web.json_response(
            {
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", **answer}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 4},
            }
        )


@pytest.fixture(scope="module")
def chats():
    return Chats()


@pytest.fixture(scope="module")
def dashboard():
    """The address of a head's dashboard, started as a user would."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: a socket of Ray's lies below it
    port, gcs, agent, client = _free_ports(4)
    environment = {**ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--include-dashboard=true", f"--dashboard-port={port}", f"--port={gcs}"),
        # Another Ray on this machine may have the usual ones.
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        *("--num-cpus=2", f"--temp-dir={folder}", "--disable-usage-stats"),
    ]
    with (Path(folder) / "said").open("wb") as said:
        head = subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, start_new_session=True
        )
    deadline = time.monotonic() + 60
    while "Ray runtime started" not in (Path(folder) / "said").read_text():
        assert head.poll() is None, (Path(folder) / "said").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    family = psutil.Process(head.pid).children(recursive=True)
    head.terminate()
    head.wait(30)
    for each in psutil.wait_procs(family, timeout=10)[1]:
        each.kill()


def _free_ports(count):
    import socket

    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def arguments(chats, dashboard, tmp_path):
    """Of a run in `store`, and of the cluster that it is sent to."""
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n % 4)} for n in range(NUM_PROBLEMS)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    models = [
        f"+ladder.models.{name}.{key}={value}"
        for name, size in (("small", 1e6), ("large", 1e7))
        for key, value in (
            *(("provider", "fake"), ("served_name", name)),
            *(("num_parameters", size), ("pretraining_tokens", 1_000_000)),
        )
    ]

    def of(store):
        return [
            *("name=jobs", "max_tokens=16", "tracking=disabled", "analysis.num_bootstrap=50"),
            *("+ladder=hosted", *models, "engine=openai", f"engine.base_urls=[{chats.url}]"),
            *("+task=file", f"task.source.path={tmp_path}/questions.jsonl"),
            "engine.max_in_flight=16",
            "+strategy@strategies.sampling=sampling",
            f"strategies.sampling.num_samples={NUM_SAMPLES}",
            f"store={tmp_path / store}",
            *("cluster=ray", f"cluster.dashboard={dashboard}", f"cluster.python={sys.executable}"),
            "cluster.pass_environment=[HF_TOKEN]",
        ]

    return of


@pytest.fixture
def call(tmp_path):
    """The command line with the secret planted in its environment."""
    environment = {**ENVIRONMENT, "XDG_STATE_HOME": str(tmp_path / "state"), "HF_TOKEN": SECRET}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "scaling_exp", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def said(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{out}\n{err}"
    assert SECRET not in out + err
    return out, err


def until(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_run_is_sent_let_go_of_followed_again_stopped_and_gone_on_with(
    call, arguments, chats, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    chats.seconds = 3.0  # long enough to be let go of on a slow machine
    out, _ = said(call("submit", "--detach", *arguments("store")))
    job = Job.read(out.removeprefix("job: ").strip())
    target = target_of(job)

    following = call("logs", job.id)
    line = following.stdout.readline()
    while "drawing up to" not in line:
        assert line, following.stderr.read()
        line = following.stdout.readline()
    folder = until(lambda: [f for f in (tmp_path / "store").glob("jobs-*") if _has_drawn(f)])[0]
    following.send_signal(signal.SIGINT)
    _, err = said(following)
    assert f"let go of {job.id}, which goes on" in err
    assert f"python -m scaling_exp logs {job.id}" in err
    assert target.state(job.handle) == "running"
    assert Seen.of(RunFolder(folder)).phase == "drawing"

    out, _ = said(call("stop", job.id))
    assert out == f"{job.id}: stopped\n"
    state = State.read(RunFolder(folder))
    assert (state.phase, state.job) == ("interrupted", job.id)
    num_kept = len(keys(tmp_path / "store"))
    assert 0 < num_kept < NUM_DRAWS
    assert not list(folder.glob("draws/*.journal"))  # it had the time to seal what came back

    chats.seconds = 0.0
    # What `status` says goes on with it: what was sent, word by word.
    out, _ = said(call(*shlex.split(state.command)[3:]))
    assert "report:" in out
    assert len(keys(tmp_path / "store")) == len(set(keys(tmp_path / "store"))) == NUM_DRAWS
    state = State.read(RunFolder(folder))
    assert (state.phase, state.num_sessions) == ("finished", 2)

    undisturbed = run_in_this_process(arguments("alone"))
    for name in ("samples", "traces", "grades"):
        first, second = (each.read_table(name) for each in (RunFolder(folder), undisturbed))
        assert first.equals(second)
    written = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert not [each for each in written if SECRET.encode() in each.read_bytes()]


def run_in_this_process(overrides):
    """The folder of the same run, which no cluster had a part in."""
    register_resolvers()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        made = experiment_from(compose("config", overrides))
    made = replace(made, cluster=InProcess(1))
    run(made, "command")
    return made.folder


def _has_drawn(folder):
    state = State.read(RunFolder(folder))
    return state and state.num_draws > 0
