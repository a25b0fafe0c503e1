"""What several test files share: the command line as a user meets it, and the two smallest shipped models."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "scaling_exp" / "ladders" / "arithmetic"
# Ray's token authentication wants a token file; on one machine there is nobody to keep out.
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "COLUMNS": "200"}

PUBLIC_DATA = Path(os.environ.get("SCALING_EXP_DATA", ROOT.parent / "shared" / "data"))

settings.register_profile("scaling_exp", deadline=None, derandomize=True)
settings.load_profile("scaling_exp")


class CommandLine:
    """`python -m scaling_exp` in a process of its own."""

    def __call__(
        self,
        *arguments: object,
        timeout: float = 120,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments),
            cwd=ROOT,
            env={**ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """The command in a process group of its own, so that all of it can be killed."""
        return subprocess.Popen(
            self._command(arguments),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "scaling_exp", *map(str, arguments)]


@pytest.fixture(scope="session")
def command_line() -> CommandLine:
    return CommandLine()


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line without a process of its own, which would take seconds to import what is imported here."""
    from scaling_exp.__main__ import main

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        code = 0
        monkeypatch.setattr(sys, "argv", sys.argv)
        try:
            main([*map(str, arguments)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def two_smallest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder folder with the last checkpoints of the two smallest shipped sizes."""
    folder = tmp_path_factory.mktemp("ladder")
    manifest = json.loads((SHIPPED / "ladder.json").read_text())
    last = {each["size"]: each for each in manifest["checkpoints"]}
    kept = sorted(last.values(), key=lambda each: each["num_parameters"])[:2]
    for checkpoint in kept:
        shutil.copytree(SHIPPED / checkpoint["name"], folder / checkpoint["name"])
    (folder / "ladder.json").write_text(json.dumps({**manifest, "checkpoints": kept}))
    return folder


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """Path of a file of public data, e.g. `public_data("gsm8k/test.jsonl")`; skips where there is none."""

    def find(name: str) -> Path:
        file = PUBLIC_DATA / name
        if not file.exists():
            pytest.skip(f"public data not found: {name} (SCALING_EXP_DATA names its folder)")
        return file

    return find
