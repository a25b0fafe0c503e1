"""Models of a Hub on loopback: at the commit asked for, no more than is needed, and again without a network."""

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from conftest import SHIPPED
from loopback import serving

from scaling_exp.models import Model

OLD, NEW, NEITHER = "a" * 40, "b" * 40, "c" * 40
NOWHERE = "http://127.0.0.1:9"
TOKEN = "hf_planted0secret1in2the3environment"
SMALL, LARGE = "4K-4.0M", "10K-4.0M"
BESIDE = {
    "pytorch_model.bin": b"a pickle of the same weights",
    "modeling_own.py": b"raise SystemExit('a model ran its code')",
    "onnx/model.onnx": b"for another runtime",
    "consolidated.safetensors": b"the same weights once more",
}


def files_of(name):
    """A shipped model's files, and what else repositories hold."""
    here = {file.name: file.read_bytes() for file in (SHIPPED / name).iterdir()}
    return {**here, **BESIDE}


def refusal(status, code=None, message=""):
    """How the Hub says no."""
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return status, headers, b""


@contextmanager
def hub(repositories, branches, refused=None):
    """A Hub with repositories: name -> commit -> path -> content. Yields its address and a log of (path, token).

    `refused`: what it answers, instead of files, whoever asks for those of a repository.
    """
    log = []

    def answer(path, headers, _content):
        log.append((path, headers.get("Authorization")))
        return response(path, repositories, branches, refused or {})

    with serving(answer) as url:
        yield url, log


def response(path, repositories, branches, refused):
    """Status, headers and content of `/api/models/OWNER/NAME/WHAT/REVISION` and `/OWNER/NAME/resolve/REVISION/FILE`."""
    parts = path.partition("?")[0].removeprefix("/api/models").strip("/").split("/", 4)
    repository, (what, revision, name) = "/".join(parts[:2]), [*parts[2:], "", "", ""][:3]
    if repository not in repositories:
        return refusal(401, "RepoNotFound")
    commit = branches.get(revision, revision)
    if commit not in repositories[repository]:
        return refusal(404, "RevisionNotFound")
    files = repositories[repository][commit]
    if what == "revision":
        return 200, {}, json.dumps({"id": repository, "sha": commit}).encode()
    if what == "tree":
        return 200, {}, json.dumps([entry(*each) for each in files.items()]).encode()
    if repository in refused:
        return refused[repository]
    if name not in files:
        return refusal(404, "EntryNotFound")
    etag = entry(name, files[name])["oid"]
    return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, files[name]


def entry(path, content):
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


ASK = """
import json, sys
from pathlib import Path
from scaling_exp.models import Model
from scaling_exp.types import UserError
for keys, wants_weights in json.loads(sys.argv[1]):
    try:
        model = Model("m", **keys)
        told = {"source": model.source, "fingerprint": model.fingerprint,
                "size": model.facts.architecture.num_parameters, "length": model.max_tokens,
                "tokens": model.encode(["1 + 2"])[0], "pinned": model.pinned.revision}
        folder = model.take_weights() if wants_weights else model.folder
        told["files"] = sorted(file.name for file in folder.iterdir())
        print(json.dumps(told))
    except UserError as error:
        print("error:", error)
"""


def asked(home, endpoint, *questions, **environment):
    """What a process with a cache of its own tells of models on this Hub: of each (keys of the model, with weights)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    ran = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(questions)],
        env={**kept, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    return [each if each.startswith("error: ") else json.loads(each) for each in lines]


def test_a_model_is_that_of_its_commit_and_weights_are_taken_when_they_are_loaded(tmp_path):
    repositories = {"lab/m": {OLD: files_of(SMALL), NEW: files_of(LARGE)}}
    description = ["config.json", "generation_config.json", "tokenizer.json"]
    description.append("tokenizer_config.json")
    with hub(repositories, {"main": NEW}) as (address, log):
        old, new, main = asked(
            tmp_path,
            address,
            *(({"path": "lab/m", "revision": each}, False) for each in (OLD, NEW, None)),
        )
        assert not [path for path, _ in log if "resolve" in path and "model.safetensors" in path]
        (loaded,) = asked(tmp_path, address, ({"path": "lab/m", "revision": OLD}, True))
        taken = {path.rpartition("/")[2] for path, _ in log if "/resolve/" in path}
        num_asked = len(log)
        again = asked(tmp_path, address, ({"path": "lab/m", "revision": OLD}, True))
    assert (old["source"], new["source"]) == (f"lab/m@{OLD}", f"lab/m@{NEW}")
    assert main == new
    assert main["pinned"] == NEW
    assert old["files"] == description
    assert loaded["files"] == sorted([*description, "model.safetensors"])
    assert taken == {*description, "model.safetensors"}  # no pickle, no code, nothing of others
    assert len({old["fingerprint"], new["fingerprint"]}) == 2
    for name, told in ((SMALL, old), (LARGE, new)):
        here = Model("m", str(SHIPPED / name))
        assert told["size"] == here.facts.architecture.num_parameters
        assert told["length"] == here.max_tokens
        assert tuple(told["tokens"]) == here.encode(["1 + 2"])[0]
    assert again == [loaded]
    assert not [path for path, _ in log[num_asked:] if "/resolve/" in path]
    here = [({"path": "lab/m", "revision": OLD}, True), ({"path": "lab/m"}, False)]
    lacking = [({"path": "lab/m", "revision": each}, True) for each in (NEW, NEITHER)]
    lacking.append(({"path": "lab/other"}, False))
    for switched in ({}, {"HF_HUB_OFFLINE": "1"}):
        started = time.monotonic()
        offline = asked(tmp_path, NOWHERE, *here, *lacking, **switched)
        assert time.monotonic() - started < 20  # the library itself tries twice 23 seconds
        assert offline[:2] == [loaded, new]
        for said, repository in zip(offline[2:], ("lab/m", "lab/m", "lab/other"), strict=True):
            assert said.startswith(f"error: {repository} is not in the cache, not whole at least,")
            assert "run `hf download" in said


GATED = (403, "GatedRepo", "Access to model lab/m is restricted and you are not in the list.")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (GATED, "lab/m is gated: accept its terms at {address}/lab/m, and set HF_TOKEN"),
        ((401, "GatedRepo", "Access is restricted."), "lab/m is gated: accept its terms at"),
        (
            (401, None, "Invalid credentials in Authorization header"),
            "lab/m cannot be had from the Hub: status 401: the token (HF_TOKEN, or that of",
        ),
        ((403, None, "Forbidden"), "lab/m cannot be had from the Hub: status 403"),
        ((404, "EntryNotFound", "Entry not found"), "lab/m cannot be had from the Hub: status 404"),
    ],
    ids=["not accepted", "without a token", "a wrong token", "forbidden", "a file is gone"],
)
def test_a_model_that_may_not_be_had_is_one_line_that_says_why(tmp_path, answer, said):
    repositories = {"lab/m": {OLD: files_of(SMALL)}}
    with hub(repositories, {"main": OLD}, {"lab/m": refusal(*answer)}) as (address, log):
        (told,) = asked(tmp_path, address, ({"path": "lab/m"}, False), HF_TOKEN=TOKEN)
        assert told.startswith("error: " + said.format(address=address)), told
        assert TOKEN not in told
        sent = {token for path, token in log if "/lab/m/" in path}
        assert sent == {f"Bearer {TOKEN}"}


def test_what_a_repository_lacks_is_said(tmp_path):
    whole = files_of(SMALL)
    lacking = {
        name: {OLD: {path: content for path, content in whole.items() if path != name}}
        for name in ("config.json", "tokenizer.json")
    }
    repositories = {f"lab/no.{name}": commits for name, commits in lacking.items()}
    with hub(repositories, {"main": OLD}) as (address, _):
        told = asked(
            tmp_path,
            address,
            *(({"path": name}, False) for name in repositories),
            ({"path": "lab/none"}, False),
            ({"path": "lab/no.config.json", "revision": "v2"}, False),
        )
    assert told[0].startswith("error: model m: ")
    assert told[0].endswith("config.json is missing")
    assert "tokenizer.json" in told[1]
    assert told[2].startswith(
        "error: lab/none is no model on the Hub that may be seen: correct its"
    )
    assert told[3].startswith("error: lab/no.config.json has no revision 'v2'")
