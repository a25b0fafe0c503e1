"""Secrets of the environment are planted, and looked for in all that a run writes and prints."""

import shutil
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NAMES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)


def files_with(secret, folder):
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink() and secret in file.read_bytes()
    ]


def test_no_secret_reaches_the_store_the_report_the_logs_or_the_terminal(
    command_line, two_smallest, tmp_path
):
    secrets = {name: f"planted-{at}-c0ffee{at * 7919}" for at, name in enumerate(NAMES)}
    home = tmp_path / "huggingface"
    home.mkdir()
    (home / "token").write_text("planted-file-c0ffee")
    session = Path(tempfile.mkdtemp(prefix="ray-"))  # short: a socket of Ray's lies below it
    done = command_line(
        "run",
        "+experiment=quickstart",
        f"ladder.path={two_smallest}",
        f"store={tmp_path / 'runs'}",
        "task.num_problems=20",
        "strategies.sampling.num_samples=4",
        "strategies.adaptive.num_samples=4",
        "analysis.num_bootstrap=100",
        "tracking=offline",
        timeout=300,
        environment={**secrets, "HF_HOME": str(home), "RAY_TMPDIR": str(session)},
    )
    assert done.returncode == 0, done.stderr
    assert files_with(b"adaptive", tmp_path / "runs")  # the search finds what is there
    logs = list(session.rglob("*.log")) + list(session.rglob("*.out"))
    assert logs
    for secret in (*secrets.values(), "planted-file-c0ffee"):
        assert secret not in done.stdout + done.stderr
        assert files_with(secret.encode(), tmp_path / "runs") == []
        assert [file for file in logs if secret.encode() in file.read_bytes()] == []
    shutil.rmtree(session)
